"""From a data set, looked up by its name, to the arrays of a data file.

A data set is a file of :mod:`samedge.data.sets` under its name, with a function::

    @DATASETS.register("my_digits")
    def my_digits(request: Request) -> Examples:
        return images(..., description="my digits", origin="my scanner")

The function may return more than was asked for: :func:`prepare` cuts and checks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samedge.base.errors import UserError
from samedge.base.registry import Registry
from samedge.data.file import CLASSES, require_labels
from samedge.data.packages import ARCHIVES, SAMPLE_PACKAGES

#: Where data come from: the archives of packages, TensorFlow Datasets, a file of the user's own.
SOURCES = ("sample", "tfds", "file")
#: What captions call the examples of each kind.
CALLED = {"images": "images", "characters": "characters", "regression": "examples"}
TEST_LINES = 10_000
# Fixes the order of samples; changing it changes the sample data.
SAMPLE_SEED = 20240101


@dataclass(frozen=True)
class Request:
    """What a data set's function is asked for.

    Attributes
    ----------
    name : the data set
    source : one of :data:`SOURCES`
    train_examples, test_examples : how many images or characters are wanted; None means all
    archive : the package that serves the sample data, on disk
    file : the file that holds the data set, if it is one of the user's own
    """

    name: str
    source: str
    train_examples: int | None
    test_examples: int | None
    archive: Path | None = None
    file: Path | None = None

    @property
    def component(self) -> str:
        """The name in the registry: ``tfds`` of ``tfds:fashion_mnist``."""
        return self.name.partition(":")[0]

    @property
    def argument(self) -> str:
        """What comes after the colon: ``fashion_mnist`` of ``tfds:fashion_mnist``."""
        return self.name.partition(":")[2]

    def count(self, split: str, available: int) -> int:
        """Return how many examples of "train" or "test" to use, of those available.

        Raises
        ------
        UserError : if fewer are available than asked for, or fewer than one is asked for
        """
        asked = getattr(self, f"{split}_examples")
        where = f"data set '{self.name}' (source: {self.source}), {split}_examples"
        if available == 0:
            raise UserError(f"{where}: the data set has none")
        if asked is None:
            return available
        if asked < 1:
            raise UserError(f"{where}: {asked} is not a positive number, nor null for all")
        if asked > available:
            raise UserError(
                f"{where}: {asked:,} asked for, but only {available:,} are available; ask for at "
                f"most {available:,}, or null for all"
            )
        return asked

    def sample_archive(self) -> Path:
        """Return the archive of the sample data, or raise :class:`UserError` if none was given."""
        if self.archive is None:
            package = SAMPLE_PACKAGES[self.name]
            raise UserError(
                f"data set '{self.name}' with source: sample needs --archive, the archive of "
                f"{ARCHIVES[package].label} that download_sample fetches"
            )
        return self.archive


@dataclass(frozen=True)
class Examples:
    """A data set, whole or in part, before :func:`prepare` cuts it to the request.

    Attributes
    ----------
    kind : "images", "characters" or "regression"
    arrays : as listed in :mod:`samedge.data.file`
    description : what the examples are, to follow "1,000 training images of ..."
    origin : where they come from
    stand_in : whether they only stand in for the data set of that name
    classes : of images, how many labels there are, from 0; None for one more than the largest here
    """

    kind: str
    arrays: dict[str, np.ndarray]
    description: str
    origin: str
    stand_in: bool = False
    classes: int | None = None


DATASETS: Registry[Callable[[Request], Examples]] = Registry("dataset")


def prepare(request: Request) -> tuple[dict[str, np.ndarray], dict[str, str | bool | int]]:
    """Return a data set's arrays, cut to the request and checked, and its attributes.

    Raises
    ------
    UserError : if the data set or source is unknown, the set is too small, arrays do not fit
        together, a label is no class, or a text holds a character that is not ASCII, or NUL
    """
    if request.source not in SOURCES:
        raise UserError(f"unknown source '{request.source}' (known: {', '.join(SOURCES)})")
    examples = DATASETS[request.component](request)
    check = {"images": _check_images, "characters": _check_text, "regression": _check_regression}[
        examples.kind
    ]
    arrays: dict[str, np.ndarray] = {}
    counts = {}
    for split in ("train", "test"):
        part = {n: a for n, a in examples.arrays.items() if n.startswith(f"{split}_")}
        check(request.name, split, part)
        counts[split] = request.count(split, len(next(iter(part.values()))))
        arrays |= {name: array[: counts[split]] for name, array in part.items()}
    _check_alike(request.name, arrays)
    classes = _classes(request.name, examples) if examples.kind == "images" else CLASSES
    attributes: dict[str, str | bool | int] = {
        "name": request.name,
        "kind": examples.kind,
        "source": request.source,
        "stand_in": examples.stand_in,
        "description": f"{counts['train']:,} training {CALLED[examples.kind]} of "
        f"{examples.description}",
        "origin": examples.origin,
    }
    if classes != CLASSES:
        attributes["classes"] = classes
    return arrays, attributes


def images(
    arrays: dict[str, np.ndarray],
    *,
    description: str,
    origin: str,
    stand_in: bool = False,
    classes: int | None = None,
) -> Examples:
    """Return images: train_inputs uint8 (n, h, w, c), train_labels (n,), and test alike.

    Labels count from 0. Without ``classes`` there are as many as the largest label says.
    """
    return Examples("images", arrays, description, origin, stand_in, classes)


def regression(arrays: dict[str, np.ndarray], *, description: str, origin: str) -> Examples:
    """Return numbers with targets: train_inputs floats (n, …), train_targets floats (n, m), and
    test alike.
    """
    return Examples("regression", arrays, description, origin)


def text_by_lines(
    text: bytes,
    *,
    description: str,
    origin: str,
    stand_in: bool = False,
    test_lines: int = TEST_LINES,
) -> Examples:
    """Return a text split as in the paper: the last 10,000 lines are the test text."""
    lines = text.splitlines(keepends=True)
    parts = {"train_text": lines[:-test_lines], "test_text": lines[-test_lines:]}
    arrays = {name: np.frombuffer(b"".join(part), np.uint8) for name, part in parts.items()}
    return Examples("characters", arrays, description, origin, stand_in)


def cut_test(inputs: np.ndarray, labels: np.ndarray, test: int) -> dict[str, np.ndarray]:
    """Return images and labels as arrays of a data set, the last ``test`` of them to test."""
    return {
        "train_inputs": inputs[:-test],
        "train_labels": labels[:-test],
        "test_inputs": inputs[-test:],
        "test_labels": labels[-test:],
    }


def _check_images(name: str, split: str, arrays: dict[str, np.ndarray]) -> None:
    inputs, labels = arrays[f"{split}_inputs"], arrays[f"{split}_labels"]
    if inputs.dtype != np.uint8 or inputs.ndim != 4:
        raise UserError(
            f"data set '{name}', {split}_inputs: expected uint8 (n, height, width, channels), got "
            f"{inputs.dtype} {inputs.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != inputs.shape[:1]:
        raise UserError(
            f"data set '{name}', {split}_labels: expected integers ({len(inputs)},), one for each "
            f"image, got {labels.dtype} {labels.shape}"
        )


def _check_regression(name: str, split: str, arrays: dict[str, np.ndarray]) -> None:
    inputs, targets = arrays[f"{split}_inputs"], arrays[f"{split}_targets"]
    for part, array, shape in (("inputs", inputs, "(n, …)"), ("targets", targets, "(n, outputs)")):
        where = f"data set '{name}', {split}_{part}"
        if array.dtype.kind != "f" or array.ndim < 2 or (part == "targets" and array.ndim > 2):
            raise UserError(f"{where}: expected floats {shape}, got {array.dtype} {array.shape}")
        wrong = np.argwhere(~np.isfinite(array))
        if wrong.size:
            raise UserError(
                f"{where}{wrong[0].tolist()}: found {array[tuple(wrong[0])]}, must be a finite "
                f"number; {len(wrong)} of {array.size} are not"
            )
    if len(inputs) != len(targets):
        raise UserError(
            f"data set '{name}', {split}_targets: expected {len(inputs)}, one for each of "
            f"{split}_inputs, got {len(targets)}"
        )


def _check_alike(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Refuse examples of the test set that are not shaped as those to train on."""
    for part in ("inputs", "targets"):
        shapes = [
            arrays[f"{split}_{part}"].shape[1:]
            for split in ("train", "test")
            if f"{split}_{part}" in arrays
        ]
        if len(set(shapes)) > 1:
            raise UserError(
                f"data set '{name}', test_{part}: expected examples of {shapes[0]} as in "
                f"train_{part}, got {shapes[1]}"
            )


def _classes(name: str, examples: Examples) -> int:
    """Return how many classes there are; refuse labels that are none."""
    labels = {split: examples.arrays[f"{split}_labels"] for split in ("train", "test")}
    largest = max(int(part.max()) for part in labels.values())
    classes = largest + 1 if examples.classes is None else examples.classes
    for split, part in labels.items():
        require_labels(part, classes, f"data set '{name}', {split}_labels")
    return classes


def _check_text(name: str, split: str, arrays: dict[str, np.ndarray]) -> None:
    codes = arrays[f"{split}_text"]
    wrong = np.flatnonzero((codes == 0) | (codes > 127))
    if wrong.size == 0:
        return
    before = codes[: wrong[0]].tobytes().decode("ascii")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    raise UserError(
        f"data set '{name}', {split} text, line {line}, column {column}: "
        f"{_character(codes[wrong[0] : wrong[0] + 4].tobytes())}; a text holds ASCII characters "
        "(codes 1 to 127) only, because 0 is the padding token and the vocabulary has 128"
    )


def _character(start: bytes) -> str:
    """Name the first character of some bytes: UTF-8 if it is, else the byte."""
    if start[0] == 0:
        return "NUL (code 0)"
    for length in range(2, 5):
        try:
            character = start[:length].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return f"'{character}' (U+{ord(character):04X})"
    return f"the byte 0x{start[0]:02X}"
