"""Any image classification set of TensorFlow Datasets: ``tfds:fashion_mnist``."""

import numpy as np

from samedge.base.errors import UserError
from samedge.data import tfds
from samedge.data.prepare import DATASETS, Examples, Request, images

FIELDS = ("image", "label")


@DATASETS.register("tfds")
def any_tfds(request: Request) -> Examples:
    """Images with labels, in the order of the set's files.

    The test set is the split ``test``, or ``validation`` where there is no other.
    """
    data = tfds.open_splits(request.argument, ("train", "test"), {"test": "validation"})
    arrays: dict[str, np.ndarray] = {}
    for split, source in data.splits.items():
        where = f"data set '{request.name}', split {split}"
        examples = data.read(split, request.count(split, len(source)))
        missing = [field for field in FIELDS if field not in examples[0]]
        if missing:
            raise UserError(
                f"{where}: has no field {', '.join(missing)}, which images with labels have; its "
                f"fields are {', '.join(examples[0])}"
            )
        shapes = {np.shape(example["image"]) for example in examples}
        if len(shapes) > 1:
            few = ", ".join(map(str, sorted(shapes)[:3]))
            raise UserError(f"{where}: its images are not of one size, but of {few}, …")
        arrays |= {
            f"{split}_inputs": np.stack([example["image"] for example in examples]),
            f"{split}_labels": np.array([example["label"] for example in examples]),
        }
    return images(
        arrays,
        description=f"{data.name} ({data.label}, in the order of its files)",
        origin=data.label,
        classes=data.classes,
    )
