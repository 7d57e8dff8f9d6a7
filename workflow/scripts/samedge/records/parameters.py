"""Parameters kept at checks of a run, for an audit: their file.

A parameters file (NetCDF) belongs to one run file. Its variables are ``step (kept)``, the
optimiser steps before each check that was kept, and for every leaf of the parameters one variable
``parameter.<path> (kept, …)`` in the leaf's own type; the exact path is its attribute ``path``.
The attributes are those of a run file. What the checks measured on follows from the settings and
the step, see :func:`samedge.tasks.problems.measured_batch`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from samedge.base.errors import UserError
from samedge.base.files import checksum
from samedge.records import files, netcdf, schema

if TYPE_CHECKING:
    from samedge.config.settings import RunSettings

PREFIX = "parameter."
CHECKSUM = "parameters_checksum"


@dataclass(frozen=True)
class Kept:
    """The parameters at one check: every leaf by its path, and the optimiser steps before it."""

    step: int
    leaves: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SavedParameters:
    """What a parameters file holds: its run's settings (JSON), its data's checksum, the checks."""

    settings: str
    data_checksum: str
    kept: tuple[Kept, ...]


def write_parameters(
    path: str | os.PathLike,
    settings: "RunSettings",
    kept: Sequence[Kept],
    attributes: Mapping[str, object],
) -> None:
    """Write the parameters file of a run, whole or not at all; ``kept`` may be empty.

    ``attributes`` are the global attributes of ``schema.ENVIRONMENT_ATTRIBUTES``.
    """
    name = f"{settings.task}, eta = {settings.eta}, rho = {settings.rho}, seed {settings.seed}"
    dataset = xr.Dataset(
        {
            "step": (
                ("kept",),
                np.array([check.step for check in kept], np.int64),
                {"long_name": "optimiser steps taken before the check", "units": "1"},
            )
        },
        attrs=files.global_attributes(
            f"Parameters along one training run: {name}",
            "trained by samedge",
            settings.to_json(),
            attributes,
        ),
    )
    for path_of_leaf in kept[0].leaves if kept else ():
        stacked = np.stack([check.leaves[path_of_leaf] for check in kept])
        variable = PREFIX + path_of_leaf.replace("/", ".")
        if variable in dataset:
            raise ValueError(f"two leaves of the parameters would be the variable {variable}")
        dims = [f"{variable}_{axis}" for axis in range(stacked.ndim - 1)]
        dataset[variable] = (("kept", *dims), stacked, {"path": path_of_leaf})
    dataset.attrs[CHECKSUM] = _checksum(dataset)
    whole = {str(variable): {"_FillValue": None} for variable in dataset.data_vars}
    netcdf.write(dataset, path, whole)


def read_parameters(path: str | os.PathLike) -> SavedParameters:
    """Read a parameters file and verify its checksum.

    Raises
    ------
    UserError
        If the file is missing, no parameters file, damaged, or of a version of the schema that is
        not known yet.
    """
    path = Path(path)
    dataset = netcdf.read(path)
    schema.require_known_version(path, dataset.attrs)
    stated = dataset.attrs.get(CHECKSUM)
    if stated is None or "step" not in dataset:
        raise UserError(f"{path}: not a parameters file of samedge")
    if _checksum(dataset) != stated:
        raise UserError(
            f"{path}: damaged, its contents do not have the SHA-256 that it states; delete it, "
            "and let the rule train_run write it again"
        )
    leaves = {
        dataset[name].attrs["path"]: dataset[name].values
        for name in map(str, dataset.data_vars)
        if name.startswith(PREFIX)
    }
    kept = tuple(
        Kept(int(step), {name: stacked[number] for name, stacked in leaves.items()})
        for number, step in enumerate(dataset["step"].values)
    )
    return SavedParameters(dataset.attrs["settings"], dataset.attrs["data_checksum"], kept)


def _checksum(dataset: xr.Dataset) -> str:
    """Return the SHA-256 over every variable, and over what says whose parameters they are."""
    arrays = {str(name): dataset[name].values for name in dataset.data_vars}
    return checksum(arrays, {name: dataset.attrs[name] for name in ("settings", "data_checksum")})
