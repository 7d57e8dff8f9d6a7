"""NetCDF files, written whole and sealed; of one that cannot be read it is said why."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from samedge.base.errors import UserError
from samedge.base.files import check_seal, seal, whole_file


def write(
    dataset: xr.Dataset, path: str | os.PathLike, encoding: Mapping[str, Mapping[str, object]]
) -> None:
    """Write a dataset so that ``path`` is either absent, as it was, or whole.

    The same dataset gives the same bytes. ``encoding`` says how its variables are stored.

    Raises
    ------
    OSError
        If the disk is full, or the folder cannot be written to.
    """
    with whole_file(path) as temporary:
        try:
            dataset.to_netcdf(temporary, engine="netcdf4", encoding=dict(encoding))
        except RuntimeError as error:
            _try_to_write(temporary)
            raise UserError(f"{path}: cannot be written ({error})") from error
        seal(temporary)


def read(path: str | os.PathLike) -> xr.Dataset:
    """Return the dataset in ``path``, loaded, the file closed again.

    Raises
    ------
    UserError
        If the file is missing, damaged, truncated, or not NetCDF.
    """
    with readable(path), xr.open_dataset(path, engine="netcdf4", cache=False) as opened:
        return opened.load()


@contextmanager
def readable(path: str | os.PathLike) -> Iterator[None]:
    """See that ``path`` is there and as it was sealed; say so if what reads it then fails.

    Raises
    ------
    UserError
        If the file is missing, damaged, truncated, or not NetCDF.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    check_seal(path)
    try:
        yield
    # A file cut short shows as any of these, depending on where the cut lies.
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path}: truncated, or not a NetCDF file ({str(error).strip().splitlines()[0]})"
        ) from error


def _try_to_write(path: Path) -> None:
    """Raise the OSError that writing gives, if it does: HDF5 does not say why it has failed."""
    with path.open("ab") as file:
        file.write(bytes(2**20))
        file.flush()
        os.fsync(file.fileno())
