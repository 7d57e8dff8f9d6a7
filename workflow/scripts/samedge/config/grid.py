"""The grid of one task as one line of JSON: how a list of runs reaches a command line or a cube.

A grid is a run's settings with lists in place of ``eta``, ``rho`` and ``seed``. Its length does
not grow with the number of runs, and it is what a cube keeps as its ``settings`` attribute.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import product

from samedge.base.errors import UserError
from samedge.config.settings import RunSettings, build

AXES = ("eta", "rho", "seed")


def grid_json(runs: Sequence[RunSettings]) -> str:
    """Return the grid of ``runs``, each axis in numerical order, as canonical JSON.

    Raises
    ------
    ValueError
        If the runs are not every combination of their axes with all other settings equal.
    """
    axes = {
        axis: sorted({getattr(run, axis) for run in runs}, key=lambda value: Decimal(str(value)))
        for axis in AXES
    }
    first = {axis: getattr(runs[0], axis) for axis in AXES}
    if {(run.eta, run.rho, run.seed) for run in runs} != {*product(*axes.values())} or any(
        replace(run, **first) != runs[0] for run in runs
    ):
        raise ValueError(f"the {len(runs)} runs are not the full grid of eta, rho and seed")
    return json.dumps(json.loads(runs[0].to_json()) | axes, sort_keys=True)


def grid_runs(text: str) -> list[RunSettings]:
    """Return the runs of a grid written by :func:`grid_json`, in order of eta, rho and seed.

    Raises
    ------
    UserError
        If the text is no such grid.
    """
    try:
        grid = json.loads(text)
        points = [
            dict(zip(AXES, point, strict=True)) for point in product(*(grid[axis] for axis in AXES))
        ]
        # Built and checked once: thousands of runs differ in nothing but their place.
        shared = build(RunSettings, grid | dict.fromkeys(AXES, ""))
        return [replace(shared, **point) for point in points]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "the grid must be the JSON of a run's settings with lists for eta, rho and seed, as in "
            f"a cube's 'settings' attribute ({type(error).__name__}: {error})"
        ) from error
