"""Thirty spectra made to fool an eigensolver, each with its truth in float64.

    python -m benchmarks.traps

Each is the Hessian of a quadratic with planted eigenvalues. Half of them start from an earlier
measurement, of a Hessian in which one of the leading eigenvalues was still zero: what it found
is orthogonal to the direction that has since become one of the largest, or the largest of all.

Then random spectra with a lone eigenvalue planted beyond each end of the bulk, to count how often
the bounds of the ends are crossed.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measuring import RESULTS, machine, merge_results, table
from samedge.curvature.eigenpairs import Eigenpairs, top_eigenpairs

SIZE = 300
K = 3
TOLERANCE = 1e-3
OVERLOOKS = (1e-3, 1e-1)  # at which the bounds of ends are tried


@dataclass(frozen=True)
class Trap:
    """A spectrum of ``SIZE`` eigenvalues, and which one a warm start knows nothing of."""

    name: str
    eigenvalues: tuple[float, ...]
    unseen: int | None = None


def _trap(
    name: str, top: Sequence[float], low: float, high: float, unseen: int | None = None
) -> Trap:
    return Trap(name, (*top, *np.linspace(low, high, SIZE - len(top))), unseen)


TRAPS = (
    _trap("three within 2 %", [1.0, 0.99, 0.98], -0.1, 0.5),
    _trap("three within 0.2 %", [1.0, 0.999, 0.998], -0.1, 0.5),
    _trap("ten within 2 %", np.linspace(0.98, 1.0, 10), -0.05, 0.3),
    _trap("ten within 10 %", np.linspace(0.9, 1.0, 10), -0.05, 0.3),
    _trap("cluster on the bulk", [1.0, 0.995, 0.99], 0.0, 0.97),
    _trap("a triple", [1.0, 1.0, 1.0], -0.1, 0.5),
    _trap("a double below the top", [2.0, 1.0, 1.0], -0.1, 0.5),
    _trap("a double above the third", [1.0, 1.0, 0.8], -0.1, 0.5),
    _trap("five equal", [1.0] * 5, -0.1, 0.5),
    _trap("a dominant negative end", [-923.0, 313.0, -250.0], -20.0, 40.0),
    _trap("two equal ends", [1.0, -1.0, 0.9], -0.4, 0.4),
    _trap("only negative", [-1.0, -0.99, -0.98], -0.5, 0.0),
    _trap("a negative double", [1.0, -0.9, -0.9], -0.1, 0.5),
    Trap("rank 1", (5.0, *[0.0] * (SIZE - 1))),
    Trap("rank 2", (5.0, -4.0, *[0.0] * (SIZE - 2))),
    Trap("the zero matrix", (0.0,) * SIZE),
    Trap("the identity", (1.0,) * SIZE),
    _trap("tiny", [1e-7, 9e-8, 8e-8], -1e-8, 5e-8),
    _trap("a new largest", [1.5, 1.0, 0.99, 0.98], -0.1, 0.5, unseen=0),
    _trap("a new largest, just", [1.01, 1.0, 0.99, 0.98], -0.1, 0.5, unseen=0),
    _trap("a new second", [1.0, 0.95, 0.9, 0.85], -0.1, 0.5, unseen=1),
    _trap("a new third", [1.0, 0.98, 0.95, 0.9], -0.1, 0.5, unseen=2),
    _trap("a new third near the bulk", [1.0, 0.98, 0.7, 0.6], -0.1, 0.5, unseen=2),
    _trap("a new negative largest", [-1.2, 1.0, 0.99, 0.98], -0.1, 0.5, unseen=0),
    _trap("a new negative third", [1.0, 0.98, -0.95, 0.9], -0.3, 0.5, unseen=2),
    _trap("a new copy of the largest", [1.0, 1.0, 0.9, 0.8], -0.1, 0.5, unseen=1),
    _trap("a new copy of the third", [1.0, 0.95, 0.9, 0.9], -0.1, 0.5, unseen=3),
    _trap("a new one in a cluster of ten", np.linspace(1.0, 0.98, 10), -0.1, 0.3, unseen=1),
    Trap("rank 1 become rank 2", (5.0, 3.0, *[0.0] * (SIZE - 2)), unseen=0),
    Trap("zero become rank 1", (5.0, *[0.0] * (SIZE - 1)), unseen=0),
)


@dataclass(frozen=True)
class Outcome:
    """What the solver said of a trap beside the truth, (k,) each, and the products it took."""

    found: np.ndarray
    truth: np.ndarray
    converged: bool
    products: int

    @property
    def right(self) -> bool:
        """Tell whether every magnitude agrees within the tolerance times the operator norm."""
        error = np.max(np.abs(np.abs(self.found) - np.abs(self.truth)))
        return bool(error <= TOLERANCE * np.abs(self.truth[0]))


def spring(trap: Trap, seed: int = 0) -> Outcome:
    """Run the solver on a trap; ``seed`` makes the matrix and the solver's random vectors."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))[0]
    matrix = _float32(rotation, np.asarray(trap.eigenvalues))
    start = None
    if trap.unseen is not None:
        before = np.array(trap.eigenvalues)
        before[trap.unseen] = 0.0
        start = solve(_float32(rotation, before), seed)
    top = solve(matrix, seed + 1, start)
    values = np.linalg.eigvalsh(matrix.astype(np.float64))
    truth = values[np.argsort(-np.abs(values), kind="stable")][:K]
    return Outcome(top.values, truth, bool(top.converged.all()), top.hvp_count)


def solve(
    matrix: np.ndarray, seed: int, start: Eigenpairs | None = None, **options: Any
) -> Eigenpairs:
    """Return what the solver finds at the top of the spectrum of a matrix."""
    return top_eigenpairs(
        _quadratic,
        jnp.zeros(SIZE, jnp.float32),
        (jnp.asarray(matrix),),
        K,
        TOLERANCE,
        key=jax.random.key(seed),
        start=start,
        **options,
    )


def _quadratic(point: jax.Array, matrix: jax.Array) -> jax.Array:
    return 0.5 * point @ (matrix @ point)


def _float32(rotation: np.ndarray, eigenvalues: np.ndarray) -> np.ndarray:
    matrix = (rotation * eigenvalues) @ rotation.T
    return np.asarray((matrix + matrix.T) / 2, np.float32)


@dataclass(frozen=True)
class PlantedEnds:
    """Whether the bounds of a measurement hold for a spectrum whose ends were planted.

    Attributes
    ----------
    crossed
        Of the lower and the upper bound, whether an end lies beyond it, and not by rounding.
    open
        The distances of both bounds from the values found, as shares of the operator norm.
    """

    crossed: tuple[bool, bool]
    open: tuple[float, float]


def plant_ends(seed: int, overlook: float, **options: Any) -> PlantedEnds:
    """Measure a random spectrum: a top of three, a bulk, and a lone eigenvalue beyond each end.

    The lone ones lie at random distances from the bulk, up to half of the operator norm, where a
    random vector may have next to nothing of them.
    """
    random = np.random.default_rng(seed)
    low, high = np.sort(random.uniform(-0.4, 0.4, 2))
    ends = low - random.uniform(0, 0.5), high + random.uniform(0, 0.5)
    top = random.uniform(0.92, 1, 3) * random.choice([-1, 1], 3)
    bulk = random.uniform(low, high, SIZE - len(top) - len(ends))
    rotation = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    matrix = _float32(rotation, np.concatenate([top, ends, bulk]))
    found = solve(matrix, seed, overlook=overlook, **options)
    truth = np.linalg.eigvalsh(matrix.astype(np.float64))
    norm = np.abs(truth).max()
    rounding = 1e-5 * norm
    return PlantedEnds(
        (
            bool(truth[0] < found.smallest_bound - rounding),
            bool(truth[-1] > found.largest_bound + rounding),
        ),
        (
            float(found.smallest - found.smallest_bound) / norm,
            float(found.largest_bound - found.largest) / norm,
        ),
    )


def report(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out the results as text."""
    lines = [
        [name, f"{row['right']}/{row['seeds']}", str(row["fooled"]), f"{row['products']:.0f}"]
        for name, row in rows.items()
    ]
    return table([["trap", "right", "converged but wrong", "products"], *lines])


def report_ends(ends: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out how often planted ends lay beyond their bounds."""
    head = [
        "probability stated",
        "spectra",
        "beyond the lower",
        "beyond the upper",
        "farthest bound",
    ]
    lines = [
        [
            overlook,
            str(found["spectra"]),
            *map(str, found["crossed"]),
            f"{max(found['open']):.3f}",
        ]
        for overlook, found in ends.items()
    ]
    return table([head, *lines])


def main(argv: Sequence[str] | None = None) -> None:
    """Run every trap with several seeds, print and store how often the solver was fooled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="matrices and starts of each trap")
    parser.add_argument("--ends", type=int, default=1000, help="spectra with planted ends")
    arguments = parser.parse_args(argv)
    jax.config.update("jax_default_matmul_precision", "highest")
    rows: dict[str, Any] = {}
    for trap in TRAPS:
        outcomes = [spring(trap, 1000 * seed) for seed in range(arguments.seeds)]
        rows[trap.name] = {
            "right": sum(outcome.right for outcome in outcomes),
            "fooled": sum(outcome.converged and not outcome.right for outcome in outcomes),
            "seeds": len(outcomes),
            "products": float(np.median([outcome.products for outcome in outcomes])),
        }
    print(report(rows), flush=True)
    ends = {}
    for overlook in OVERLOOKS:
        found = [plant_ends(seed, overlook) for seed in range(arguments.ends)]
        ends[f"{overlook:g}"] = {
            "spectra": len(found),
            "crossed": np.sum([planted.crossed for planted in found], axis=0).tolist(),
            "open": np.max([planted.open for planted in found], axis=0).tolist(),
        }
    print(report_ends(ends))
    entries = {"traps": rows, "ends": ends, "machine": machine(["jax", "numpy"])}
    merge_results(RESULTS / "traps.json", entries)


if __name__ == "__main__":
    main()
