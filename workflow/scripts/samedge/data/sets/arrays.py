"""Arrays of one's own, from a NumPy archive."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from samedge.base.errors import UserError, did_you_mean
from samedge.data.prepare import DATASETS, Examples, Request, images, regression

IMAGES = ("train_inputs", "train_labels", "test_inputs", "test_labels")
NUMBERS = ("train_inputs", "train_targets", "test_inputs", "test_targets")
CLASSES = "classes"


@DATASETS.register("arrays")
def arrays(request: Request) -> Examples:
    """Arrays of a ``.npz`` file, as ``numpy.savez`` writes it.

    Images with labels have train_inputs uint8 (n, height, width, channels), train_labels whole
    numbers (n,) from 0, test_inputs and test_labels alike, and ``classes``, a whole number, where
    there are more than the largest label says. A regression has train_inputs floats (n, …),
    train_targets floats (n, outputs), test_inputs and test_targets alike.
    """
    if request.file is None:
        raise UserError("data set 'arrays' needs --file, the .npz that holds it")
    found = _read(request.file)
    classes = found.pop(CLASSES, None)
    wanted = NUMBERS if "train_targets" in found else IMAGES
    missing, unknown = set(wanted) - set(found), sorted(set(found) - set(wanted))
    if missing:
        hint = (did_you_mean(unknown[0], wanted) if unknown else "") or "."
        raise UserError(
            f"{request.file}: lacks {', '.join(sorted(missing))}; it has "
            f"{', '.join(found) or 'nothing'}{hint} Images need {', '.join(IMAGES)}; a "
            f"regression {', '.join(NUMBERS)}"
        )
    if unknown:
        raise UserError(f"{request.file}: has {', '.join(unknown)} too; leave out what is not used")
    name, digest = request.file.name, hashlib.sha256(request.file.read_bytes()).hexdigest()
    origin = f"{name}, SHA-256 {digest}"
    if wanted is NUMBERS:
        return regression(found, description=name, origin=origin)
    known = None if classes is None else int(classes)
    return images(found, description=name, origin=origin, classes=known)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an archive."""
    if path.is_file() and not zipfile.is_zipfile(path):
        raise UserError(f"{path}: is no .npz file; numpy.savez writes one")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    # What a damaged archive makes of its readers: errors of zlib, zipfile and NumPy.
    except Exception as error:
        raise UserError(
            f"{path}: is no .npz file of plain arrays ({error}); numpy.savez writes one"
        ) from error
