"""Run files and cubes: built, written and read; :mod:`samedge.records.schema` has their variables.

A *run file* holds one training job. A *cube* holds every run of a task. Both have the same
variables with the dimensions ``eta, rho, seed, check, rank``; a run file is a cube whose ``eta``,
``rho`` and ``seed`` have length 1. Where a spectral density is estimated there are also
``density_check, probe, node``. What was not measured is NaN (``-1`` for the one flag that cannot
be NaN), never zero.
"""

import dataclasses
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from samedge.base.errors import UserError
from samedge.base.files import check_seal, seal, whole_file
from samedge.records.schema import (
    CHECK_KEYS,
    DENSITY_KEYS,
    STATUS,
    TEST_METRICS,
    VARIABLES,
    blank_values,
    variable_names,
)
from samedge.updates.edges import gd_edge

if TYPE_CHECKING:
    from samedge.config.settings import RunSettings

REFERENCES = (
    "Long and Bartlett (2024), Sharpness-Aware Minimization and the Edge of Stability, "
    "Journal of Machine Learning Research 25; this file's software: samedge"
)
#: Global attributes that the training job supplies; everything else is added here.
ENVIRONMENT_ATTRIBUTES = (
    "git_commit",
    "package_versions",
    "unlocked_packages",
    "device",
    "matmul_precision",
    "jax_settings",
    "data_source",
    "data_description",
    "data_stand_in",
    "data_checksum",
)
#: Those of them that the files of earlier versions lack.
LATER_ATTRIBUTES = ("jax_settings",)


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
        if self.test_metric_name not in TEST_METRICS:
            raise ValueError(f"test metric is one of {TEST_METRICS}, not {self.test_metric_name!r}")


def assemble(
    values: Mapping[str, np.ndarray],
    eta: Sequence[str],
    rho: Sequence[str],
    seed: Sequence[int],
    attributes: Mapping[str, object],
) -> xr.Dataset:
    """Return the cube with these values on the grid of these labels (decimal strings).

    ``gd_edge`` is filled in from ``eta``; the coordinates ``eta`` and ``rho`` are the numbers,
    ``eta_label`` and ``rho_label`` the spelling of the config.
    """
    eta_numbers = np.array([float(label) for label in eta], np.float64)
    rho_numbers = np.array([float(label) for label in rho], np.float64)
    checks, ranks = np.shape(values["eigenvalue"])[-2:]
    shares = json.loads(attributes["settings"])["density"]["at"]
    coordinates = {
        "eta": (("eta",), eta_numbers, {"long_name": "step size", "units": "1"}),
        "rho": (("rho",), rho_numbers, {"long_name": "SAM radius; 0 is GD or SGD", "units": "1"}),
        "seed": (("seed",), np.array(seed, np.int64), {"long_name": "random seed"}),
        "check": (("check",), np.arange(checks), {"long_name": "number of the check"}),
        "rank": (("rank",), np.arange(1, ranks + 1), {"long_name": "rank by magnitude"}),
        "eta_label": (("eta",), np.array(eta, object), {"long_name": "eta as configured"}),
        "rho_label": (("rho",), np.array(rho, object), {"long_name": "rho as configured"}),
    }
    if shares:
        meaning = {"long_name": "share of the budget spent", "units": "1"}
        coordinates["density_check"] = (("density_check",), np.array(shares, np.float64), meaning)
    filled = {**values, "gd_edge": np.array([gd_edge(number) for number in eta_numbers])}
    data = {
        name: (VARIABLES[name].dims, filled[name], VARIABLES[name].attributes())
        for name in VARIABLES
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
) -> xr.Dataset:
    """Return the run file of one run.

    Parameters
    ----------
    settings
        Everything that determined the run; stored whole, as JSON.
    checks
        One mapping per check with exactly the keys :data:`CHECK_KEYS`: scalars, and arrays of
        shape (k,) for the eigenvalues, their residuals and whether they converged.
    outcome
        How the run ended.
    attributes
        The global attributes named in :data:`ENVIRONMENT_ATTRIBUTES`.
    densities
        For each share of ``settings.density.at`` a mapping with exactly the keys
        :data:`DENSITY_KEYS`, nodes and weights of shape (probes, steps); None where the run ended
        before.
    history
        How it was trained, in words.

    Raises
    ------
    ValueError
        If a check, a density or ``attributes`` has other keys than these, or the densities are
        not one for each share.
    """
    _require_keys("attributes", attributes, ENVIRONMENT_ATTRIBUTES)
    for number, check in enumerate(checks):
        _require_keys(f"check {number}", check, CHECK_KEYS)
    if len(densities) != len(settings.density.at):
        raise ValueError(f"{len(densities)} densities, expected {len(settings.density.at)}")
    for number, density in enumerate(densities):
        if density is not None:
            _require_keys(f"density {number}", density, DENSITY_KEYS)
    ranks = len(np.atleast_1d(checks[0]["eigenvalue"])) if checks else 0
    sizes = {"eta": 1, "rho": 1, "seed": 1, "check": len(checks), "rank": ranks}
    sizes |= density_sizes(dataclasses.asdict(settings))
    values = blank_values(variable_names([outcome.test_metric_name], bool(densities)), sizes)
    for name in CHECK_KEYS:
        for number, check in enumerate(checks):
            values[name][0, 0, 0, number] = np.asarray(check[name])
    for number, density in enumerate(densities):
        for name, value in (density or {}).items():
            values[name][0, 0, 0, number] = np.asarray(value)
    values["status"][:] = STATUS[outcome.status]
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
        "settings": settings,
        **{name: _plain(environment[name]) for name in ENVIRONMENT_ATTRIBUTES},
    }


def write(dataset: xr.Dataset, path: str | os.PathLike) -> None:
    """Write a run file or cube, see :func:`write_netcdf`."""
    write_netcdf(dataset, path, _encoding(dataset))


def write_netcdf(
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


def _try_to_write(path: Path) -> None:
    """Raise the OSError that writing gives, if it does: HDF5 does not say why it has failed."""
    with path.open("ab") as file:
        file.write(bytes(2**20))
        file.flush()
        os.fsync(file.fileno())


def read_cube(path: str | os.PathLike) -> xr.Dataset:
    """Return the cube in ``path``, loaded, the file closed again.

    Raises
    ------
    UserError
        If the file is missing, damaged, truncated, or not a cube of this schema.
    """
    dataset = read_netcdf(path)
    dims = {name: variable.dims for name, variable in dataset.variables.items()}
    require_schema(path, dims, dataset.attrs)
    return dataset


def read_netcdf(path: str | os.PathLike) -> xr.Dataset:
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


def require_schema(
    path: str | os.PathLike, dims: Mapping[str, tuple[str, ...]], attributes: Collection[str]
) -> None:
    """Raise UserError unless variables of these dimensions, and these attributes, are a cube's."""
    problem = _schema_problem(dims, attributes)
    if problem:
        raise UserError(f"{path}: not a run file or cube of samedge: {problem}")


def _schema_problem(dims: Mapping[str, tuple[str, ...]], attributes: Collection[str]) -> str:
    metrics = [metric for metric in TEST_METRICS if metric in dims]
    for name in variable_names(metrics, density=any(name in dims for name in DENSITY_KEYS)):
        if name not in dims:
            return f"it has no variable '{name}'"
        if dims[name] != VARIABLES[name].dims:
            return f"'{name}' has dimensions {dims[name]}, not {VARIABLES[name].dims}"
    for name in ("settings", *ENVIRONMENT_ATTRIBUTES):
        if name not in attributes and name not in LATER_ATTRIBUTES:
            return f"it has no global attribute '{name}'"
    return ""


def settings_of(dataset: xr.Dataset) -> dict:
    """Return the settings stored in a run file or cube, as a dictionary."""
    return json.loads(dataset.attrs["settings"])


def density_sizes(settings: Mapping) -> dict[str, int]:
    """Return the sizes of the dimensions of the spectral density, from settings as a dictionary."""
    density = settings["density"]
    return {
        "density_check": len(density["at"]),
        "probe": density["probes"],
        "node": density["steps"],
    }


def _require_keys(where: str, found: Mapping[str, object], wanted: Sequence[str]) -> None:
    """Raise ValueError unless ``found`` has exactly the ``wanted`` keys."""
    missing = [key for key in wanted if key not in found]
    unknown = [key for key in found if key not in wanted]
    if missing or unknown:
        raise ValueError(f"{where}: missing keys {missing}, unknown keys {unknown}")


def _plain(value: object) -> object:
    """Return an attribute value in a type that NetCDF knows: text stays, truth becomes 0 or 1."""
    return int(value) if isinstance(value, bool | np.bool_) else value


def _encoding(dataset: xr.Dataset) -> dict[str, dict]:
    """Return how each variable is stored: the long ones compressed, coordinates never masked."""
    numbers = ("eta", "rho", "density_check")
    encoding: dict[str, dict] = {name: {"_FillValue": None} for name in numbers if name in dataset}
    for name in dataset.data_vars:
        if {"check", "density_check"} & {*VARIABLES[name].dims}:
            encoding[name] = {"zlib": True, "complevel": 4}
        elif VARIABLES[name].dtype is np.float64:
            encoding[name] = {"_FillValue": np.nan}
    return encoding
