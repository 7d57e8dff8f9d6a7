"""Merge run files into the cube of a task, name every run that does not belong, filter cubes."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.records import files, schema
from samedge.records.merging import Gathering, read_run_file


def read_runs(expected: Sequence[RunSettings], folder: Path) -> tuple[Gathering, dict[str, str]]:
    """Read ``folder/<run name>.nc`` of every expected run and sort the good from the bad.

    Bad is a file that is missing, truncated or no run file, one whose settings are not those
    expected, and one that was trained on other data, or with other settings of JAX, than most of
    the rest. Files of earlier versions do not say with which; they are good.

    Returns
    -------
    The good runs in the arrays of a cube, and for each bad one, by name, what is wrong with it.
    """
    gathering, problems = Gathering(expected), {}
    for settings in expected:
        try:
            run = read_run_file(Path(folder) / f"{settings.name}.nc")
        except UserError as error:
            problems[settings.name] = str(error)
            continue
        wanted = settings.to_json()
        if run.attributes["settings"] != wanted:
            other = differences(json.loads(str(run.attributes["settings"])), json.loads(wanted))
            problems[settings.name] = "other settings: " + "; ".join(other)
        elif gathering.blocks and run.blocks != gathering.blocks:
            problems[settings.name] = (
                f"other blocks: it has {', '.join(run.blocks)}, and the runs before "
                f"{', '.join(gathering.blocks)}"
            )
        else:
            gathering.put(settings, run)
    problems |= _outvoted(gathering, expected, "data_checksum", _other_data)
    problems |= _outvoted(gathering, expected, "jax_settings", _other_jax)
    return gathering, problems


def collect(
    expected: Sequence[RunSettings], folder: Path, allow_missing: bool = False
) -> xr.Dataset:
    """Return the cube of the expected runs, read from ``folder``.

    Parameters
    ----------
    expected
        Every run of the task's grid; see :mod:`samedge.config.grid`.
    folder
        Where the run files lie, each named ``<run name>.nc``.
    allow_missing
        Leave bad runs out, as status "missing", and name them in the attribute ``missing_runs``.

    Raises
    ------
    UserError
        If a run is bad, naming all that are, unless ``allow_missing``; if no run is left.
    """
    gathering, problems = read_runs(expected, folder)
    if problems and not (allow_missing and gathering.environments):
        listing = "\n".join(f"  {name}: {text}" for name, text in problems.items())
        raise UserError(
            f"{len(problems)} of {len(expected)} runs cannot be merged:\n{listing}\n"
            "Train them again (delete the files, then rerun the workflow); or, if at least one "
            "run is good, leave the others out with --allow-missing."
        )
    return cube_of(gathering, problems)


def drop_diverged(cube: xr.Dataset) -> xr.Dataset:
    """Return the cube without the runs that did not complete.

    Their values become NaN and their status "missing"; an eta, rho or seed of which no run is
    left is dropped. The attribute ``removed_runs`` says which went, and why.
    """
    gone = cube["status"].values != schema.COMPLETED
    filtered = cube.copy(deep=True)
    for name in map(str, cube.data_vars):
        variable = schema.VARIABLES[name]
        if variable.dims[:3] == schema.PER_RUN:
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
    if status == schema.DIVERGED:
        step = int(cube["end_step"].values[eta, rho, seed])
        return f"diverged at step {step:,}: {cube['end_reason'].values[eta, rho, seed]}"
    return {value: name for name, value in schema.STATUS.items()}[status]


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


def cube_of(gathering: Gathering, problems: dict[str, str]) -> xr.Dataset:
    """Return the cube of the runs that were put in; the rest of its grid is "missing".

    ``problems`` says of these by name what is wrong with them.
    """
    grid = json.loads(gathering.settings)
    environments = gathering.environments.values()
    attributes = files.global_attributes(
        f"Curvature along the training runs of {grid['task']}",
        "trained and measured by samedge\nruns merged by samedge",
        gathering.settings,
        {
            name: _shared({environment[name] for environment in environments})
            for name in schema.ENVIRONMENT_ATTRIBUTES
        },
    )
    if problems:
        attributes["missing_runs"] = "; ".join(
            f"{name} ({text})" for name, text in problems.items()
        )
    eta, rho, seed = (grid[axis] for axis in schema.PER_RUN)
    return files.assemble(gathering.values(), eta, rho, seed, attributes, gathering.blocks)


def _outvoted(
    gathering: Gathering,
    expected: Sequence[RunSettings],
    attribute: str,
    describe: Callable[[str, str, int], str],
) -> dict[str, str]:
    """Take out the runs that have this attribute otherwise than most; return what is wrong.

    ``describe`` puts in words what a run has, what most have, and how many these are.
    """
    found = {
        settings.name: (settings, str(gathering.environments[settings.name][attribute]))
        for settings in expected
        if settings.name in gathering.environments
    }
    stated = Counter(value for _, value in found.values() if value)
    if len(stated) < 2:
        return {}
    usual, votes = stated.most_common(1)[0]
    problems = {}
    for name, (settings, value) in found.items():
        if value not in ("", usual):
            problems[name] = describe(value, usual, votes)
            gathering.remove(settings)
    return problems


def _other_data(checksum: str, usual: str, votes: int) -> str:
    return f"other data: its data checksum is {checksum}, that of {votes} of the runs is {usual}"


def _other_jax(found: str, usual: str, votes: int) -> str:
    between = ("is {}", f"{{}} for {votes} of the runs")
    lines = differences(json.loads(found), json.loads(usual), between=between)
    return f"other settings of JAX, which decide numbers: {'; '.join(lines)}"


def _shared(values: Collection) -> object:
    """Return the value that all runs share, or the distinct ones as a JSON list."""
    distinct = sorted(values)
    return distinct[0] if len(distinct) == 1 else json.dumps([str(value) for value in distinct])
