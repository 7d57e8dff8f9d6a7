"""The data file that training reads.

A data file is a NumPy archive (``.npz``) of a few arrays, their attributes and a SHA-256 checksum
over both. Equal contents give equal bytes, and a damaged file is noticed when it is read.

Images (attribute ``kind`` = "images"):
    train_inputs uint8 (n, height, width, channels), train_labels whole numbers (n,) from 0,
    test_inputs and test_labels alike. The attribute ``classes`` is how many labels there are; in a
    file without it, ten.
Text (attribute ``kind`` = "characters"):
    train_text uint8 (n,), test_text uint8 (m,): ASCII codes from 1 to 127.
Regression (attribute ``kind`` = "regression"):
    train_inputs floats (n, …), train_targets floats (n, m), test_inputs and test_targets alike.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from samedge.base.errors import UserError
from samedge.base.files import Attributes, checksum, whole_file

CLASSES = 10  # of a data file that does not say

# The two entries of a data file beside its arrays; arrays may not take these names.
_ATTRIBUTES = "attributes"
_CHECKSUM = "checksum"


@dataclass(frozen=True)
class TaskData:
    """What a data file holds.

    Attributes
    ----------
    arrays : the arrays by name, as listed at the top of this module
    attributes : name, kind ("images", "characters" or "regression"), source, stand_in, description
        (one line, for captions) and origin; of images with other than ten classes also classes
    checksum : SHA-256 (hexadecimal) over arrays and attributes
    """

    arrays: dict[str, np.ndarray]
    attributes: dict[str, str | bool | int]
    checksum: str


def write_data(path: Path | str, arrays: Mapping[str, np.ndarray], attributes: Attributes) -> str:
    """Write a data file and return its checksum.

    The file appears whole or not at all, and equal contents give equal bytes.
    """
    digest = checksum(arrays, attributes)
    text = json.dumps(dict(attributes), sort_keys=True)
    entries: dict[str, Any] = {**arrays, _ATTRIBUTES: np.array(text), _CHECKSUM: np.array(digest)}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **entries)
    return digest


def read_data(path: Path | str, pause: Callable[[], None] = lambda: None) -> TaskData:
    """Read a data file and verify its checksum.

    ``pause`` is called between the pieces that are read; what it raises ends the reading.

    Raises
    ------
    UserError : if the file is missing, is no data file, or is damaged
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"the data file {path} is missing; the rule prepare_data writes it")
    remedy = "delete it and let the rule prepare_data write it again"
    try:
        with (
            path.open("rb") as handle,
            np.load(_Pausing(handle, pause), allow_pickle=False) as file,
        ):
            entries = {name: file[name] for name in file.files}
        attributes = json.loads(str(entries.pop(_ATTRIBUTES)))
        expected = str(entries.pop(_CHECKSUM))
    # What a damaged archive makes of its readers: errors of zlib, zipfile, NumPy and JSON.
    except Exception as error:
        raise UserError(
            f"{path} is damaged or is no data file of samedge ({error}); {remedy}"
        ) from error
    found = checksum(entries, attributes)
    if found != expected:
        raise UserError(
            f"{path} is damaged: its contents have the SHA-256 {found}, it states {expected}; "
            f"{remedy}"
        )
    return TaskData(entries, attributes, expected)


def require_labels(labels: np.ndarray, classes: int, where: str) -> None:
    """Refuse labels that are no class, by the first of them and its place.

    Raises
    ------
    UserError : if a label is not from 0 to ``classes`` - 1
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise UserError(
            f"{where}[{wrong[0]}]: the label is {labels[wrong[0]]}, and the {classes} classes have "
            f"the labels 0 to {classes - 1}; {wrong.size} of {len(labels)} labels are no class"
        )


def number_of_classes(data: TaskData) -> int:
    """Return how many classes the images of a data file have, every label being one of them.

    Raises
    ------
    UserError : as :func:`require_labels`
    """
    classes = int(data.attributes.get("classes", CLASSES))
    for split in ("train", "test"):
        where = f"data set '{data.attributes['name']}', {split}_labels"
        require_labels(data.arrays[f"{split}_labels"], classes, where)
    return classes


class _Pausing:
    """A file to read from, which makes a pause before each piece."""

    def __init__(self, file: BinaryIO, pause: Callable[[], None]) -> None:
        self._pause, self._read = pause, file.read
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes (all that are left for -1), as the file does."""
        self._pause()
        return self._read(size)
