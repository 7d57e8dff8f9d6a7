"""Measure every contender of a row in turns, and relate the project's solver to the others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.contenders import OURS, contenders
from benchmarks.measuring import Timed, machine, rounds, seconds, spread, timed
from benchmarks.peers import TOLERANCE, Answer, Contender, error, size
from benchmarks.problems import ROWS, load_point, truth

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "matfree", "torch", "hessian-eigenthings")
HOPELESS = 5  # times the products of the best, beyond which nothing is timed again

Timings = Mapping[str, Sequence[Timed[Answer]]]


def measure_row(name: str, repetitions: int) -> Iterator[dict[str, Any]]:
    """Measure one row of the comparison; after each round, yield all that is to be stored of it.

    A row of large problems takes hours: what was measured is then kept if the rest is not.
    """
    print(f"{name}: {ROWS[name].title}", flush=True)
    point = load_point(name)
    true_values = truth(name, point)
    entrants, notes = contenders(name, point, true_values, repetitions)
    first = {entrant.name: _first(entrant, true_values) for entrant in entrants}
    again = _worth_repeating(first, true_values)
    timings = {name: [timing] for name, timing in first.items() if name not in again}
    repeated = {entrant.name: entrant.solve for entrant in entrants if entrant.name in again}
    timings |= {name: [] for name in repeated}
    for number, taken in enumerate(rounds(repeated, repetitions), start=1):
        for entrant, timing in taken.items():
            timings[entrant].append(timing)
        cases = {
            entrant.name: _case(entrant, timings[entrant.name], true_values) for entrant in entrants
        }
        yield {
            "title": ROWS[name].title,
            "parameters": size(point),
            "truth": true_values.tolist(),
            "repetitions": number,
            "accuracy": TOLERANCE,
            "machine": machine(PACKAGES),
            "notes": notes,
            "cases": cases,
            "comparisons": compare(cases, timings),
        }


def _first(entrant: Contender, true_values: np.ndarray) -> Timed[Answer]:
    first = timed(entrant.solve, 0)
    missed = error(first.result.values, true_values)
    print(f"  {entrant.name}: {first.result.products} products, error {missed:.1e}", flush=True)
    return first


def _worth_repeating(first: Mapping[str, Timed[Answer]], true_values: np.ndarray) -> set[str]:
    """Return the names of those that reached the accuracy, not with far more products than some."""
    products = {
        name: timing.result.products
        for name, timing in first.items()
        if error(timing.result.values, true_values) <= TOLERANCE
    }
    least = min(products.values(), default=0)
    return {name for name, count in products.items() if count <= HOPELESS * least}


def _case(
    entrant: Contender, timings: Sequence[Timed[Answer]], true_values: np.ndarray
) -> dict[str, Any]:
    errors = [error(timing.result.values, true_values) for timing in timings]
    return {
        "solver": entrant.solver,
        "certifies": entrant.certifies,
        "warm": entrant.warm,
        "reached": max(errors) <= TOLERANCE,
        "seconds": seconds(timings),
        "products": spread([timing.result.products for timing in timings]),
        "error": spread(errors),
    }


def compare(cases: Mapping[str, Mapping[str, Any]], timings: Timings) -> dict[str, Any]:
    """Relate each case of ours to the fastest cold peer that reached the accuracy in every round.

    Returns
    -------
    For each group of peers ("all"; "certifying", those that tell by themselves when they are
    done): the name of its fastest by the median, and by our case the spread of our seconds over
    the least of the group's in the same round.
    """
    most = max(map(len, timings.values()))
    timed_fully = {
        name: case for name, case in cases.items() if case["reached"] and len(timings[name]) == most
    }
    ours = [name for name, case in timed_fully.items() if case["solver"] == OURS]
    rivals = {
        name: case
        for name, case in timed_fully.items()
        if case["solver"] != OURS and not case["warm"]
    }
    groups = {
        "all": list(rivals),
        "certifying": [name for name, case in rivals.items() if case["certifies"]],
    }
    comparisons = {}
    for group, names in groups.items():
        if not names:
            continue
        least = [min(found) for found in zip(*(_seconds(timings[n]) for n in names), strict=True)]
        ratios = {
            name: spread([a / b for a, b in zip(_seconds(timings[name]), least, strict=True)])
            for name in ours
        }
        best = min(names, key=lambda name: cases[name]["seconds"]["median"])
        comparisons[group] = {"best": best, "ratio": ratios}
    return comparisons


def _seconds(timings: Sequence[Timed[Any]]) -> list[float]:
    return [timing.seconds for timing in timings]
