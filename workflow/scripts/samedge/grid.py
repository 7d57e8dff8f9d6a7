"""The grid of one task as one line of JSON: how a list of runs reaches a command line or a cube.

A grid is a run's settings with lists in place of ``eta``, ``rho`` and ``seed``. Its length does
not grow with the number of runs, and it is what a cube keeps as its ``settings`` attribute.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import product

from samedge.errors import UserError
from samedge.settings import RunSettings

AXES = ("eta", "rho", "seed")


def grid_json(runs: Sequence[RunSettings]) -> str:
    """Return the grid of ``runs``, each axis in numerical order, as canonical JSON.

    Raises
    ------
    ValueError
        If the runs are not every combination of their axes with all other settings equal.
    """
    plain = [json.loads(run.to_json()) for run in runs]
    grid = dict(plain[0])
    for axis in AXES:
        grid[axis] = sorted({run[axis] for run in plain}, key=lambda value: Decimal(str(value)))
    wanted = {json.dumps(run, sort_keys=True) for run in _combinations(grid)}
    if wanted != {run.to_json() for run in runs}:
        raise ValueError(f"the {len(runs)} runs are not the full grid of eta, rho and seed")
    return json.dumps(grid, sort_keys=True)


def grid_runs(text: str) -> list[RunSettings]:
    """Return the runs of a grid written by :func:`grid_json`, in order of eta, rho and seed.

    Raises
    ------
    UserError
        If the text is no such grid.
    """
    try:
        return [RunSettings.from_json(json.dumps(run)) for run in _combinations(json.loads(text))]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "the grid must be the JSON of a run's settings with lists for eta, rho and seed, as in "
            f"a cube's 'settings' attribute ({type(error).__name__}: {error})"
        ) from error


def _combinations(grid: dict) -> list[dict]:
    """Return the settings of every run of the grid, as plain dictionaries."""
    axes = [grid[axis] for axis in AXES]
    return [{**grid, **dict(zip(AXES, point, strict=True))} for point in product(*axes)]
