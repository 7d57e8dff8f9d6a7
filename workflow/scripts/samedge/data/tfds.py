"""Data sets as TensorFlow Datasets (TFDS) prepares them: found, prepared if need be, and read.

Reading needs no TensorFlow; preparing does, and the data environment of ``--sdm conda`` has it.
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samedge.base.errors import UserError, did_you_mean

DATA_DIR_VARIABLE = "TFDS_DATA_DIR"
FILE_FORMAT = "array_record"

# The fields of one example, by name.
Example = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its splits, which decode examples on access."""

    name: str
    folder: Path
    version: str
    splits: Mapping[str, Sequence[Example]]
    classes: int | None = None  # of images with labels

    @property
    def label(self) -> str:
        """Return the data set and its version, as captions name them."""
        return f"TFDS {self.name} {self.version}"

    def read(self, split: str, count: int | None = None) -> list[Example]:
        """Decode the first ``count`` examples of a split, or all; damage is a UserError."""
        try:
            return list(islice(self.splits[split], count))
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"could not read the split {split} of the data set '{self.name}' in "
                f"{self.folder}: {error}; it is incomplete or damaged: fetch or prepare it again"
            ) from error


def data_dir() -> Path:
    """Return the folder of prepared data: ``TFDS_DATA_DIR``, or TFDS's own default."""
    return Path(os.environ.get(DATA_DIR_VARIABLE) or "~/tensorflow_datasets").expanduser().resolve()


def open_splits(
    name: str, splits: tuple[str, ...], instead: Mapping[str, str] | None = None
) -> Prepared:
    """Open the splits of a data set, preparing it first if it is not there and TensorFlow is.

    ``instead`` has by name the split to take where one is not there.

    Raises
    ------
    UserError : if the data set is not prepared and cannot be, is prepared in a form that needs
        TensorFlow, lacks a split, or cannot be opened
    """
    folder = data_dir()
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"source: tfds needs the package tensorflow-datasets ({error}); run with `--sdm "
            "conda`, whose data environment has it, or set `source: sample`"
        ) from error
    try:
        builder = tfds.builder(name, data_dir=folder)
        if not builder.is_prepared():
            _prepare(builder, name, folder)
        there = builder.info.splits
        stored = {
            split: split if split in there else (instead or {}).get(split, split)
            for split in splits
        }
        missing = [
            split if place == split else f"{split} or {place}"
            for split, place in stored.items()
            if place not in there
        ]
        if missing:
            raise UserError(
                f"the data set '{name}' in {folder} lacks the split {', '.join(missing)}; it has "
                f"{', '.join(there)}. If that is not all of it, delete its folder there and "
                "prepare it again"
            )
        sources = {split: builder.as_data_source(split=place) for split, place in stored.items()}
        features = builder.info.features
        labelled = features is not None and "label" in features
        classes = getattr(features["label"], "num_classes", None) if labelled else None
    except tfds.core.DatasetNotFoundError as error:
        there = sorted(path.name for path in folder.glob("*") if path.is_dir())
        known = [*there, *tfds.list_builders(with_community_datasets=False)]
        hint = did_you_mean(name, known) or "."
        raise UserError(
            f"TensorFlow Datasets has no data set '{name}'{hint} Prepared in {folder}: "
            f"{', '.join(there) or 'none'}; the others are listed at "
            "https://www.tensorflow.org/datasets/catalog"
        ) from error
    except NotImplementedError as error:
        raise UserError(
            f"the data set '{name}' in {folder} is not in the form {FILE_FORMAT}, the one that "
            f"reads without TensorFlow; point {DATA_DIR_VARIABLE} elsewhere, or delete it there "
            f'and prepare it with `download_and_prepare(file_format="{FILE_FORMAT}")`'
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"could not open the data set '{name}' in {folder}: {error}") from error
    return Prepared(name, folder, str(builder.version), sources, classes)


def labelled_images(examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of some examples, uint8 (n, h, w, c), and their labels, uint8 (n,)."""
    inputs = np.stack([example["image"] for example in examples])
    return inputs, np.array([example["label"] for example in examples], dtype=np.uint8)


def _prepare(builder: Any, name: str, folder: Path) -> None:
    ways = (
        f"Set {DATA_DIR_VARIABLE} to a folder that holds it in the form {FILE_FORMAT}, or run "
        "with `--sdm conda`, whose data environment has TensorFlow and prepares it, or set "
        "`source: sample` in the configuration"
    )
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"the data set '{name}' is not prepared in {folder} and TensorFlow, which prepares it, "
            f"is not installed. {ways}."
        )
    try:
        builder.download_and_prepare(file_format=FILE_FORMAT)
    # TFDS, its downloader and TensorFlow raise errors of many kinds; each ends the preparation.
    except Exception as error:
        raise UserError(
            f"could not download and prepare the data set '{name}' in {folder}: "
            f"{type(error).__name__}: {error}\n{ways}."
        ) from error
