"""Run files and cubes: built, written and read; :mod:`samedge.records.schema` has their variables.

A *run file* holds one training job. A *cube* holds every run of a task. Both have the same
variables with the dimensions ``eta, rho, seed, check, rank``; a run file is a cube whose ``eta``,
``rho`` and ``seed`` have length 1. Where a spectral density is estimated there are also
``density_check, probe, node``, where blocks are measured ``block_check, block``. What was not
measured is NaN (``-1`` for the flags, which cannot be NaN), never zero.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from samedge.base.errors import UserError
from samedge.records import netcdf, schema
from samedge.updates.edges import gd_edge

if TYPE_CHECKING:
    from samedge.config.settings import RunSettings

REFERENCES = (
    "Long and Bartlett (2024), Sharpness-Aware Minimization and the Edge of Stability, "
    "Journal of Machine Learning Research 25; this file's software: samedge"
)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``status`` is "completed" or "diverged"; ``step`` counts steps taken.

    ``test_metric`` is the value of ``test_metric_name`` ("test_error" or "test_loss") after the
    last step, NaN for a run that diverged.
    """

    status: str
    step: int
    reason: str
    test_metric_name: str
    test_metric: float

    def __post_init__(self) -> None:
        """Refuse a status or a metric that the schema does not know."""
        if self.status not in ("completed", "diverged"):
            raise ValueError(f"outcome status is 'completed' or 'diverged', not {self.status!r}")
        if self.test_metric_name not in schema.TEST_METRICS:
            raise ValueError(
                f"test metric is one of {schema.TEST_METRICS}, not {self.test_metric_name!r}"
            )


def assemble(
    values: Mapping[str, np.ndarray],
    eta: Sequence[str],
    rho: Sequence[str],
    seed: Sequence[int],
    attributes: Mapping[str, object],
    blocks: Sequence[str] = (),
) -> xr.Dataset:
    """Return the cube with these values on the grid of these labels (decimal strings).

    ``blocks`` are the names of blocks, where they are measured. ``gd_edge`` is filled in from
    ``eta``; the coordinates ``eta`` and ``rho`` are the numbers, ``eta_label`` and ``rho_label``
    the spelling of the config.
    """
    eta_numbers = np.array([float(label) for label in eta], np.float64)
    rho_numbers = np.array([float(label) for label in rho], np.float64)
    checks, ranks = np.shape(values["eigenvalue"])[-2:]
    settings = json.loads(str(attributes["settings"]))
    shares, block_shares = settings["density"]["at"], schema.block_shares(settings)
    way = schema.way_of(settings)
    coordinates = {
        "eta": (("eta",), eta_numbers, {"long_name": "step size", "units": "1"}),
        "rho": (("rho",), rho_numbers, {"long_name": "SAM radius; 0 is GD or SGD", "units": "1"}),
        "seed": (("seed",), np.array(seed, np.int64), {"long_name": "random seed"}),
        "check": (("check",), np.arange(checks), {"long_name": "number of the check"}),
        "rank": (("rank",), np.arange(1, ranks + 1), {"long_name": "rank by magnitude"}),
        "eta_label": (("eta",), np.array(eta, object), {"long_name": "eta as configured"}),
        "rho_label": (("rho",), np.array(rho, object), {"long_name": "rho as configured"}),
    }
    meaning = {"long_name": "share of the budget spent", "units": "1"}
    if shares:
        coordinates["density_check"] = (("density_check",), np.array(shares, np.float64), meaning)
    if block_shares:
        where = np.array(block_shares, np.float64)
        coordinates["block_check"] = (("block_check",), where, meaning)
        named = {"long_name": "layer, or block of parameters as configured"}
        coordinates["block"] = (("block",), np.array(blocks, object), named)
    if way["at"]:
        coordinates["way_check"] = (("way_check",), np.array(way["at"], np.float64), meaning)
        along = {"long_name": "share of the way to the SAM point", "units": "1"}
        coordinates["point"] = (("point",), np.linspace(0, 1, way["points"]), along)
    filled = {**values, "gd_edge": np.array([gd_edge(number) for number in eta_numbers])}
    data = {
        name: (schema.VARIABLES[name].dims, filled[name], schema.VARIABLES[name].attributes())
        for name in schema.VARIABLES
        if name in filled
    }
    return xr.Dataset(data, coordinates, dict(attributes))


def run_dataset(
    settings: "RunSettings",
    checks: Sequence[Mapping[str, object]],
    outcome: Outcome,
    attributes: Mapping[str, object],
    densities: Sequence[Mapping[str, object] | None] = (),
    history: str = "trained and measured by samedge",
    blocks: Mapping[str, Sequence[Mapping[str, object] | None]] | None = None,
    stochastic: Sequence[Mapping[str, object]] = (),
    ways: Sequence[Mapping[str, object] | None] = (),
) -> xr.Dataset:
    """Return the run file of one run.

    Parameters
    ----------
    settings
        Everything that determined the run; stored whole, as JSON.
    checks
        One mapping per check with exactly the keys of ``schema.CHECK_KEYS``: scalars, and arrays
        of shape (k,) for the eigenvalues, their residuals and whether they converged.
    outcome
        How the run ended.
    attributes
        The global attributes of ``schema.ENVIRONMENT_ATTRIBUTES``.
    densities
        For each share of ``settings.density.at`` a mapping with exactly the keys of
        ``schema.DENSITY_KEYS``, nodes and weights of shape (probes, steps); None where the run
        ended before.
    history
        How it was trained, in words.
    blocks
        For each block, by name, and each share of ``settings.blocks.at`` a mapping with exactly the
        keys of ``schema.BLOCK_KEYS``; None where the run ended before.
    stochastic
        For each check, or all but the last ones, a mapping with exactly the keys of
        ``schema.STOCHASTIC_KEYS``, where the settings ask for it.
    ways
        For each share of ``settings.way.at`` a mapping with exactly the keys of
        ``schema.WAY_KEYS``; None where the run ended before.

    Raises
    ------
    ValueError
        If anything of these has other keys, or is not one for each check or share.
    """
    _require_keys("attributes", attributes, schema.ENVIRONMENT_ATTRIBUTES)
    for number, check in enumerate(checks):
        _require_keys(f"check {number}", check, schema.CHECK_KEYS)
    blocks = blocks or {}
    _require_shares("density", densities, settings.density.at, schema.DENSITY_KEYS)
    _require_shares("way", ways, settings.way.at, schema.WAY_KEYS)
    for name, checked in blocks.items():
        _require_shares(f"block {name}", checked, settings.blocks.at, schema.BLOCK_KEYS)
    for number, found in enumerate(stochastic):
        _require_keys(f"minibatches of check {number}", found, schema.STOCHASTIC_KEYS)
    ranks = np.asarray(checks[0]["eigenvalue"]).size if checks else 0
    sizes = {"eta": 1, "rho": 1, "seed": 1, "check": len(checks), "rank": ranks}
    sizes |= schema.sizes_of(dataclasses.asdict(settings)) | {"block": len(blocks)}
    measured = schema.measured_in(dataclasses.asdict(settings))
    names = schema.variable_names([outcome.test_metric_name], measured)
    values = schema.blank_values(names, sizes)
    for name in schema.CHECK_KEYS:
        for number, check in enumerate(checks):
            values[name][0, 0, 0, number] = np.asarray(check[name])
    for records in (densities, stochastic, ways):
        for number, record in enumerate(records):
            for name, value in (record or {}).items():
                values[name][0, 0, 0, number] = np.asarray(value)
    for place, checked in enumerate(blocks.values()):
        for number, block in enumerate(checked):
            for name, value in (block or {}).items():
                values[name][0, 0, 0, number, place] = np.asarray(value)
    values["status"][:] = schema.STATUS[outcome.status]
    values["end_step"][:] = outcome.step
    values["end_reason"][:] = outcome.reason
    values[outcome.test_metric_name][:] = outcome.test_metric
    name = f"{settings.task}, eta = {settings.eta}, rho = {settings.rho}, seed {settings.seed}"
    return assemble(
        values,
        [settings.eta],
        [settings.rho],
        [settings.seed],
        global_attributes(
            f"Curvature along one training run: {name}",
            history,
            settings.to_json(),
            attributes,
        ),
        [*blocks],
    )


def global_attributes(
    title: str, history: str, settings: str, environment: Mapping[str, object]
) -> dict[str, object]:
    """Return the global attributes of a run file or cube, always in the same order."""
    return {
        "Conventions": "CF-1.11",
        "title": title,
        "source": "Training runs measured by samedge with exact Hessian-vector products",
        "history": history,
        "references": REFERENCES,
        schema.VERSION_ATTRIBUTE: schema.VERSION,
        "settings": settings,
        **{name: _plain(environment[name]) for name in schema.ENVIRONMENT_ATTRIBUTES},
    }


def write(dataset: xr.Dataset, path: str | os.PathLike) -> None:
    """Write a run file or cube, see :func:`samedge.records.netcdf.write`."""
    netcdf.write(dataset, path, _encoding(dataset))


def read_cube(path: str | os.PathLike) -> xr.Dataset:
    """Return the cube in ``path``, loaded, the file closed again.

    It comes in today's version of the schema, whatever that of the file: with variables and
    attributes that came later, as "not there".

    Raises
    ------
    UserError
        If the file is missing, damaged, truncated, not a cube, or of a version of the schema that
        is not known yet.
    """
    dataset = netcdf.read(path)
    dims = {
        str(name): tuple(map(str, variable.dims)) for name, variable in dataset.variables.items()
    }
    schema.require(path, dims, dataset.attrs)
    return _in_todays_version(dataset)


def read_cubes(paths: Iterable[Path]) -> dict[str, xr.Dataset]:
    """Return the cubes in these files by their task, in the order of the paths.

    Raises
    ------
    UserError
        As :func:`read_cube`, and if two are of one task.
    """
    cubes: dict[str, xr.Dataset] = {}
    origins: dict[str, Path] = {}
    for path in paths:
        cube = read_cube(path)
        task = settings_of(cube)["task"]
        if task in origins:
            raise UserError(
                f"{origins[task]} and {path} both hold the task '{task}'; give one cube a task"
            )
        cubes[task], origins[task] = cube, path
    return cubes


def read_run(path: str | os.PathLike) -> xr.Dataset:
    """Return the run file in ``path``, loaded.

    Raises
    ------
    UserError
        As :func:`read_cube`, and if the file holds more than one run.
    """
    dataset = read_cube(path)
    require_one_run(path, dataset["status"].size)
    return dataset


def require_one_run(path: str | os.PathLike, runs: int) -> None:
    """Raise UserError unless a file holds one run."""
    if runs != 1:
        raise UserError(f"{path}: holds {runs} runs, a run file holds one; is it a cube?")


def settings_of(dataset: xr.Dataset) -> dict:
    """Return the settings stored in a run file or cube, as a dictionary."""
    return json.loads(dataset.attrs["settings"])


def _in_todays_version(dataset: xr.Dataset) -> xr.Dataset:
    """Return a cube with what versions of the schema after its own brought, as "not there"."""
    present = [*map(str, dataset.variables)]
    absent = [name for name in schema.names_beside(present) if name not in dataset]
    dims = {dim for name in absent for dim in schema.VARIABLES[name].dims}
    # A dimension that came later has nothing along it.
    sizes = {dim: dataset.sizes.get(dim, 0) for dim in dims}
    values = schema.blank_values(absent, sizes)
    later = {
        name: (schema.VARIABLES[name].dims, values[name], schema.VARIABLES[name].attributes())
        for name in absent
    }
    attributes = dict.fromkeys(schema.ENVIRONMENT_ATTRIBUTES, "") | dataset.attrs
    complete = dataset.assign(later)
    in_order = [name for name in schema.VARIABLES if name in complete]
    return complete[in_order].assign_attrs(attributes | {schema.VERSION_ATTRIBUTE: schema.VERSION})


def _require_keys(where: str, found: Mapping[str, object], wanted: Sequence[str]) -> None:
    """Raise ValueError unless ``found`` has exactly the ``wanted`` keys."""
    missing = [key for key in wanted if key not in found]
    unknown = [key for key in found if key not in wanted]
    if missing or unknown:
        raise ValueError(f"{where}: missing keys {missing}, unknown keys {unknown}")


def _require_shares(
    what: str,
    records: Sequence[Mapping[str, object] | None],
    shares: Sequence[float],
    wanted: Sequence[str],
) -> None:
    """Raise ValueError unless there is one record for each share, None or of the wanted keys."""
    if len(records) != len(shares):
        raise ValueError(f"{what}: {len(records)} checks, expected {len(shares)}")
    for number, found in enumerate(records):
        if found is not None:
            _require_keys(f"{what}, check {number}", found, wanted)


def _plain(value: object) -> object:
    """Return an attribute value in a type that NetCDF knows: text stays, truth becomes 0 or 1."""
    return int(value) if isinstance(value, bool | np.bool_) else value


# Dimensions of what is measured at shares of the budget.
_SHARES = ("density_check", "block_check", "way_check")


def _encoding(dataset: xr.Dataset) -> dict[str, dict]:
    """Return how each variable is stored: the long ones compressed, coordinates never masked."""
    numbers = ("eta", "rho", *_SHARES, "point")
    encoding: dict[str, dict] = {name: {"_FillValue": None} for name in numbers if name in dataset}
    for name in map(str, dataset.data_vars):
        if {"check", *_SHARES} & {*schema.VARIABLES[name].dims}:
            encoding[name] = {"zlib": True, "complevel": 4}
        elif schema.VARIABLES[name].dtype is np.float64:
            encoding[name] = {"_FillValue": np.nan}
    return encoding
