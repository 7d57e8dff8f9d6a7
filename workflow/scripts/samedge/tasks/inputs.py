"""What training makes of a data file: inputs, windows of text, minibatches. NumPy alone, no JAX."""

from dataclasses import dataclass

import numpy as np

from samedge.base.errors import UserError
from samedge.data.file import TaskData

PIXEL_SCALE = 256
PADDING = 0  # the token that fills the last window of a text


def image_arrays(data: TaskData, dtype: np.dtype | type = np.float32) -> dict[str, np.ndarray]:
    """Scale and centre images: pixels / 256 minus the mean training image.

    The mean is over the training images in the file, pixel by pixel, and centres the test images
    too.

    Returns
    -------
    train_inputs, test_inputs : (n, height, width, channels), computed in ``dtype``
    train_labels, test_labels : int32 (n,)
    """
    arrays = data.arrays
    mean = arrays["train_inputs"].mean(axis=0, dtype=np.float64) / PIXEL_SCALE
    centred = {}
    for split in ("train", "test"):
        pixels = arrays[f"{split}_inputs"].astype(dtype)
        pixels /= PIXEL_SCALE
        pixels -= mean.astype(dtype)
        centred[f"{split}_inputs"] = pixels
        centred[f"{split}_labels"] = arrays[f"{split}_labels"].astype(np.int32)
    return centred


def number_arrays(data: TaskData, dtype: np.dtype | type = np.float32) -> dict[str, np.ndarray]:
    """Return a regression's inputs (n, …) and targets (n, m), as they are but for the type."""
    return {
        f"{split}_{part}": data.arrays[f"{split}_{part}"].astype(dtype)
        for split in ("train", "test")
        for part in ("inputs", "targets")
    }


def character_windows(text: np.ndarray, sequence_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut a text into consecutive windows of ``sequence_length + 1`` characters.

    Parameters
    ----------
    text : (n,) character codes; 0 is the padding token and does not occur
    sequence_length : L, the number of characters that the model sees at once

    Returns
    -------
    inputs : int32 (windows, L), each window without its last character
    targets : int32 (windows, L), each window without its first character; the last window is
        padded with 0
    """
    width = sequence_length + 1
    windows = -(-len(text) // width)
    padded = np.full(windows * width, PADDING, dtype=np.int32)
    padded[: len(text)] = text
    cut = padded.reshape(windows, width)
    return cut[:, :-1].copy(), cut[:, 1:].copy()


@dataclass(frozen=True)
class Minibatches:
    """The minibatches of every step of a run, a function of the seed and the step only.

    An epoch is a permutation of the examples cut into ``examples // batch_size`` minibatches; the
    examples that are left over sit that epoch out.
    """

    examples: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.examples:
            raise UserError(
                f"batch_size: {self.batch_size} is not between 1 and {self.examples}, the number "
                "of training examples (images, or windows of text)"
            )

    @property
    def per_epoch(self) -> int:
        """Return the number of minibatches in an epoch."""
        return self.examples // self.batch_size

    def epoch(self, epoch: int) -> np.ndarray:
        """Return the minibatches of an epoch, int32 (per_epoch, batch_size)."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.examples)
        kept = order[: self.per_epoch * self.batch_size]
        return kept.reshape(self.per_epoch, self.batch_size).astype(np.int32)

    def indices(self, first_step: int, count: int) -> np.ndarray:
        """Return the examples of steps ``first_step`` and on, int32 (count, batch_size)."""
        if count == 0:
            return np.empty((0, self.batch_size), dtype=np.int32)
        first_epoch, offset = divmod(first_step, self.per_epoch)
        last_epoch = (first_step + count - 1) // self.per_epoch
        epochs = [self.epoch(epoch) for epoch in range(first_epoch, last_epoch + 1)]
        return np.concatenate(epochs)[offset : offset + count]
