"""CIFAR-10; the sample is a stand-in, patches of photographs."""

import io
from pathlib import Path

import numpy as np

from samedge.data import tfds
from samedge.data.packages import ARCHIVES, SAMPLE_PACKAGES, read_members
from samedge.data.prepare import DATASETS, SAMPLE_SEED, Examples, Request, cut_test, images

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


@DATASETS.register("cifar10")
def cifar10(request: Request) -> Examples:
    """CIFAR-10: 32x32x3 photographs of ten classes. The sample is a stand-in."""
    if request.source == "sample":
        origin = ARCHIVES[SAMPLE_PACKAGES["cifar10"]].label
        return images(
            photograph_patches(request.sample_archive()),
            description=(
                "a stand-in for CIFAR-10 (32x32 patches of ten photographs carried by "
                f"{origin}, one class each)"
            ),
            origin=origin,
            stand_in=True,
            classes=10,
        )
    data = tfds.open_splits("cifar10", ("train", "test"))
    arrays: dict[str, np.ndarray] = {}
    for split, source in data.splits.items():
        count = request.count(split, len(source))
        # The id (train_00042) holds the place in the original order, in which "the first 1,000"
        # is meant.
        examples = sorted(data.read(split), key=lambda example: example["id"])
        inputs, labels = tfds.labelled_images(examples[:count])
        arrays |= {f"{split}_inputs": inputs, f"{split}_labels": labels}
    return images(
        arrays,
        description=f"CIFAR-10 ({data.label}, in the original order)",
        origin=data.label,
        classes=10,
    )


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
        order = np.random.default_rng([SAMPLE_SEED, label]).permutation(len(patches))
        classes.append(patches[order[:PATCHES_PER_PHOTOGRAPH]])
    inputs = np.stack(classes, axis=1).reshape(-1, PATCH, PATCH, 3)
    labels = np.tile(np.arange(len(classes), dtype=np.uint8), PATCHES_PER_PHOTOGRAPH)
    return cut_test(inputs, labels, PATCH_TEST_IMAGES)


def _patches(image: np.ndarray) -> np.ndarray:
    """Cut an image (height, width, 3) into disjoint patches (n, 32, 32, 3), row by row."""
    rows, columns = image.shape[0] // PATCH, image.shape[1] // PATCH
    grid = image[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH, 3)
    return grid.swapaxes(1, 2).reshape(-1, PATCH, PATCH, 3)
