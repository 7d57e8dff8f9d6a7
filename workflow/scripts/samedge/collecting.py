"""Merge run files into the cube of a task, name every run that does not belong, filter cubes."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from samedge import records, variables
from samedge.errors import UserError
from samedge.grid import grid_json
from samedge.settings import RunSettings


@dataclass(frozen=True)
class Collected:
    """The run files that belong to a grid, by run name, and what is wrong with the others."""

    runs: Mapping[str, xr.Dataset]
    problems: Mapping[str, str]


def read_runs(expected: Sequence[RunSettings], folder: Path) -> Collected:
    """Read ``folder/<run name>.nc`` of every expected run and sort the good from the bad.

    Bad is a file that is missing, truncated or no run file, one whose settings are not those
    expected, and one that was trained on other data than most of the rest.
    """
    runs: dict[str, xr.Dataset] = {}
    problems: dict[str, str] = {}
    for settings in expected:
        try:
            run = records.read_run(Path(folder) / f"{settings.name}.nc")
        except UserError as error:
            problems[settings.name] = str(error)
            continue
        other = list(differences(records.settings_of(run), json.loads(settings.to_json())))
        if other:
            problems[settings.name] = "other settings: " + "; ".join(other)
        else:
            runs[settings.name] = run
    checksums = Counter(run.attrs["data_checksum"] for run in runs.values())
    if len(checksums) > 1:
        usual, votes = checksums.most_common(1)[0]
        for name, run in list(runs.items()):
            if run.attrs["data_checksum"] != usual:
                problems[name] = (
                    f"other data: its data checksum is {run.attrs['data_checksum']}, that of "
                    f"{votes} of the runs is {usual}"
                )
                del runs[name]
    return Collected(runs, problems)


def collect(
    expected: Sequence[RunSettings], folder: Path, allow_missing: bool = False
) -> xr.Dataset:
    """Return the cube of the expected runs, read from ``folder``.

    Parameters
    ----------
    expected
        Every run of the task's grid; see :mod:`samedge.grid`.
    folder
        Where the run files lie, each named ``<run name>.nc``.
    allow_missing
        Leave bad runs out, as status "missing", and name them in the attribute ``missing_runs``.

    Raises
    ------
    UserError
        If a run is bad, naming all that are, unless ``allow_missing``; if no run is left.
    """
    collected = read_runs(expected, folder)
    if collected.problems and not (allow_missing and collected.runs):
        listing = "\n".join(f"  {name}: {text}" for name, text in collected.problems.items())
        raise UserError(
            f"{len(collected.problems)} of {len(expected)} runs cannot be merged:\n{listing}\n"
            "Train them again (delete the files, then rerun the workflow); or, if at least one "
            "run is good, leave the others out with --allow-missing."
        )
    return _merge(expected, collected)


def drop_diverged(cube: xr.Dataset) -> xr.Dataset:
    """Return the cube without the runs that did not complete.

    Their values become NaN and their status "missing"; an eta, rho or seed of which no run is
    left is dropped. The attribute ``removed_runs`` says which went, and why.
    """
    gone = cube["status"].values != variables.COMPLETED
    filtered = cube.copy(deep=True)
    for name in cube.data_vars:
        variable = variables.VARIABLES[name]
        if variable.dims[:3] == variables.PER_RUN:
            filtered[name].values[gone] = variable.fill
    kept = ~gone
    filtered = filtered.isel(
        eta=kept.any(axis=(1, 2)), rho=kept.any(axis=(0, 2)), seed=kept.any(axis=(0, 1))
    )
    removed = [f"{run_name(cube, *index)} ({ending(cube, *index)})" for index in np.argwhere(gone)]
    filtered.attrs["history"] += "\nruns that did not complete removed by samedge"
    filtered.attrs["removed_runs"] = "; ".join(removed)
    return filtered


def run_name(cube: xr.Dataset, eta: int, rho: int, seed: int) -> str:
    """Return the name of the run at these indices, as in its file name."""
    labels = cube["eta_label"].values[eta], cube["rho_label"].values[rho]
    return f"eta{labels[0]}_rho{labels[1]}_seed{cube['seed'].values[seed]}"


def ending(cube: xr.Dataset, eta: int, rho: int, seed: int) -> str:
    """Return how the run at these indices ended: "completed", "missing" or "diverged at ..."."""
    status = int(cube["status"].values[eta, rho, seed])
    if status == variables.DIVERGED:
        step = int(cube["end_step"].values[eta, rho, seed])
        return f"diverged at step {step:,}: {cube['end_reason'].values[eta, rho, seed]}"
    return {value: name for name, value in variables.STATUS.items()}[status]


def differences(
    found: object,
    wanted: object,
    key: str = "",
    between: tuple[str, str] = ("is {}", "expected {}"),
) -> Iterator[str]:
    """Yield "key is X, expected Y", in these words, for every leaf of dictionaries that differs."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted(found.keys() | wanted.keys()):
            where = f"{key}.{name}" if key else name
            yield from differences(found.get(name), wanted.get(name), where, between)
    elif found != wanted:
        values = zip(between, (found, wanted), strict=True)
        yield f"{key} " + ", ".join(words.format(json.dumps(value)) for words, value in values)


def _merge(expected: Sequence[RunSettings], collected: Collected) -> xr.Dataset:
    """Put every good run where its eta, rho and seed belong; the rest stays "missing"."""
    grid = json.loads(grid_json(expected))
    good = collected.runs.values()
    sizes = {
        **records.density_sizes(grid),
        **{axis: len(grid[axis]) for axis in variables.PER_RUN},
        "check": max(run.sizes["check"] for run in good),
        "rank": max(run.sizes["rank"] for run in good),
    }
    metrics = [metric for metric in variables.TEST_METRICS if any(metric in run for run in good)]
    names = variables.variable_names(metrics, density=bool(grid["density"]["at"]))
    values = variables.blank_values(names, sizes)
    for settings in expected:
        run = collected.runs.get(settings.name)
        if run is None:
            continue
        point = tuple(grid[axis].index(getattr(settings, axis)) for axis in variables.PER_RUN)
        for name, array in values.items():
            if name in run and variables.VARIABLES[name].dims[:3] == variables.PER_RUN:
                found = run[name].values[0, 0, 0]
                array[point + tuple(slice(length) for length in np.shape(found))] = found
    environment = {
        name: _shared([run.attrs[name] for run in good]) for name in records.ENVIRONMENT_ATTRIBUTES
    }
    attributes = records.global_attributes(
        f"Curvature along the training runs of {grid['task']}",
        "trained and measured by samedge\nruns merged by samedge",
        grid_json(expected),
        environment,
    )
    if collected.problems:
        attributes["missing_runs"] = "; ".join(
            f"{name} ({text})" for name, text in collected.problems.items()
        )
    return records.assemble(values, grid["eta"], grid["rho"], grid["seed"], attributes)


def _shared(values: Sequence) -> object:
    """Return the value that all runs share, or the distinct ones as a JSON list."""
    distinct = sorted(set(values))
    return distinct[0] if len(distinct) == 1 else json.dumps([str(value) for value in distinct])
