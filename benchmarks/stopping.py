"""Beside the solvers that stop by themselves, as their users meet them: cold, and warm.

    python -m benchmarks.stopping --rows mnist_sam_100 mnist_sam_1000 --repetitions 5

Nothing is known beforehand here, neither a depth nor a size of the basis: every solver has the
tolerance of 1e-3 that residuals are to reach and its defaults otherwise, and is timed until it
reports that it is done. Cold ones start from random vectors, warm ones from the eigenvectors of the
check before. Rows, accuracy and rounds are those of :mod:`benchmarks.curvature`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.curvature import parse
from benchmarks.measuring import RESULTS, merge_results, table
from samedge.base.errors import run_script
from samedge.machine.device import prepare_jax

if TYPE_CHECKING:
    from benchmarks.peers import Contender
    from benchmarks.problems import Point

PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


def entrants(
    name: str, point: "Point", truth: np.ndarray, repetitions: int
) -> tuple[list["Contender"], dict[str, Any]]:
    """Return the solvers of a row that stop by themselves, and nothing else that is to be known."""
    from benchmarks import peers

    del name, repetitions
    n = peers.size(point)

    def start(repetition: int) -> np.ndarray:
        return np.random.default_rng(repetition).standard_normal(n, dtype=np.float32)

    previous = peers.own_previous(point, False)
    directions = peers.flat_vectors(previous)
    eigsh = partial(peers.Contender, "SciPy eigsh", certifies=True)
    solve = partial(peers.scipy_eigsh, point, tol=peers.TOLERANCE, ncv=None)
    return [
        eigsh("cold", warm=False, solve=solve(start)),
        eigsh("warm", warm=True, solve=solve(peers.sum_of(directions))),
        *peers.lobpcg_contenders(point, start, directions, truth),
        *peers.own_contenders(point, {False: previous}),
    ], {}


def report(entry: Mapping[str, Any]) -> str:
    """Lay out one row's results as text."""
    heads = ("solver", "products", "seconds (min–max)", "error", "reached")
    lines = [(*heads, "over best cold peer (min–max)", "over best warm peer (min–max)")]
    groups = [entry["comparisons"].get(name, {}) for name in ("certifying", "warm")]
    for name, case in entry["cases"].items():
        taken = case["seconds"]
        ratios = [group.get("ratio", {}).get(name) for group in groups]
        lines.append(
            (
                name,
                f"{case['products']['median']:g}",
                f"{taken['median']:.3f} ({taken['min']:.3f}–{taken['max']:.3f})",
                f"{case['error']['max']:.0e}",
                "yes" if case["reached"] else "no",
                *(
                    f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"
                    if ratio
                    else ""
                    for ratio in ratios
                ),
            )
        )
    best = [
        f"fastest of {kind} peers: {group['best']}"
        for kind, group in zip(("cold", "warm"), groups, strict=True)
        if group
    ]
    head = f"{entry['title']}; rounds: {entry['repetitions']}; parameters: {entry['parameters']:,}"
    return "\n".join([head, table(lines), *best, ""])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print a table of each and store them."""
    prepare_jax("highest", "cpu")
    # JAX is imported only now that its device is chosen.
    from benchmarks.comparison import measure_row

    arguments = parse(argv, __doc__.splitlines()[0], RESULTS / "stopping.json")
    for name in arguments.rows:
        for entry in measure_row(name, arguments.repetitions, entrants, PACKAGES):
            merge_results(arguments.output, {name: entry})
        print(report(entry), flush=True)


if __name__ == "__main__":
    run_script(main)
