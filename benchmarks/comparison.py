"""Measure every contender of a row in turns, and relate the project's solver to the others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.measuring import Timed, machine, rounds, seconds, spread, timed
from benchmarks.peers import OURS, TOLERANCE, Answer, Contender, error, size
from benchmarks.problems import ROWS, Point, load_point, truth

HOPELESS = 5  # times the products of the best cold or warm one, beyond which none is timed again

Timings = Mapping[str, Sequence[Timed[Answer]]]
#: From a row's name, point and true eigenvalues, and the number of rounds, to who takes part, and
#: what a reader should know of it.
Entrants = Callable[[str, Point, np.ndarray, int], tuple[list[Contender], dict[str, Any]]]


def measure_row(
    name: str, repetitions: int, contenders: Entrants, packages: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Measure one row of the comparison; after each round, yield all that is to be stored of it.

    A row of large problems takes hours: what was measured is then kept if the rest is not. The
    versions of ``packages`` are stored too.
    """
    print(f"{name}: {ROWS[name].title}", flush=True)
    point = load_point(name)
    true_values = truth(name, point)
    entrants, notes = contenders(name, point, true_values, repetitions)
    first = {entrant.name: _first(entrant, true_values) for entrant in entrants}
    again = {
        name
        for warm in (False, True)
        for name in _worth_repeating(
            {e.name: first[e.name] for e in entrants if e.warm is warm}, true_values
        )
    }
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
            "machine": machine(packages),
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
    """Relate each case of ours to the fastest peer that reached the accuracy in every round.

    Returns
    -------
    For each group of peers ("all" cold ones; "certifying", those of them that tell by themselves
    when they are done; "warm", those that do and start from the check before): the name of its
    fastest by the median, and by our case the spread of our seconds over the least of the group's
    in the same round.
    """
    most = max(map(len, timings.values()))
    timed_fully = {
        name: case for name, case in cases.items() if case["reached"] and len(timings[name]) == most
    }
    ours = [name for name, case in timed_fully.items() if case["solver"] == OURS]
    rivals = {name: case for name, case in timed_fully.items() if case["solver"] != OURS}
    cold = [name for name, case in rivals.items() if not case["warm"]]
    certifying = [name for name, case in rivals.items() if case["certifies"]]
    groups = {
        "all": cold,
        "certifying": [name for name in certifying if name in cold],
        "warm": [name for name in certifying if name not in cold],
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
