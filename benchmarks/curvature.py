"""Time and products to the top three eigenpairs, beside peers tuned to the same accuracy.

    python -m benchmarks.curvature --rows mnist_sam_100 mnist_sam_1000 --repetitions 5

Every row is a check of a real training run (see :mod:`benchmarks.problems`). Each contender is
called once before anything is timed, which compiles. One that misses the accuracy then, or takes
five times the products of the best, is reported with that call and not timed again; the others
take turns. The accuracy is a relative error of 1e-3 in each of the three eigenvalues, against a
float64 truth.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import IMAGES, RESULTS, merge_results, table
from samedge.base.errors import run_script
from samedge.machine.device import prepare_jax


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print a table of each, store them and draw the picture."""
    prepare_jax("highest", "cpu")
    # JAX is imported only now that its device is chosen.
    from benchmarks.comparison import measure_row
    from benchmarks.contenders import PACKAGES, contenders
    from benchmarks.curvature_figure import draw
    from benchmarks.problems import ROWS

    arguments = parse(argv, __doc__.splitlines()[0], RESULTS / "curvature.json")
    for name in arguments.rows:
        for entry in measure_row(name, arguments.repetitions, contenders, PACKAGES):
            results = merge_results(arguments.output, {name: entry})
            print(report(entry), flush=True)
    picture = IMAGES if arguments.output.parent == RESULTS else arguments.output.parent
    draw(
        {name: results[name] for name in ROWS if name in results},
        picture / f"benchmark_{arguments.output.stem}.png",
    )


def parse(argv: Sequence[str] | None, description: str, output: Path) -> argparse.Namespace:
    """Return which rows to measure, how often, and where to store that; JAX must be prepared."""
    from benchmarks.problems import ROWS

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--repetitions", type=int, default=5, help="timed rounds of each row")
    parser.add_argument("--output", type=Path, default=output)
    return parser.parse_args(argv)


def report(entry: Mapping[str, Any]) -> str:
    """Lay out one row's results as text."""
    lines = [
        (
            "solver",
            "products",
            "seconds (min–max)",
            "error",
            "reached",
            "certifies",
            "over best peer",
            "over best certifying peer",
        )
    ]
    comparisons = entry["comparisons"]
    ratios = [comparisons.get(group, {}).get("ratio", {}) for group in ("all", "certifying")]
    for name, case in entry["cases"].items():
        taken = case["seconds"]
        over = [f"{found[name]['median']:.2f}" if name in found else "" for found in ratios]
        lines.append(
            (
                name,
                f"{case['products']['median']:g}",
                f"{taken['median']:.3f} ({taken['min']:.3f}–{taken['max']:.3f})",
                f"{case['error']['max']:.0e}",
                "yes" if case["reached"] else "no",
                "yes" if case["certifies"] else "",
                *over,
            )
        )
    best = [f"fastest of {group} peers: {found['best']}" for group, found in comparisons.items()]
    product = entry["notes"]["product_seconds"]
    head = (
        f"{entry['title']}; rounds: {entry['repetitions']}\n"
        f"{entry['parameters']:,} parameters; a product takes "
        f"{product['jax']:.3g} s in JAX, {product['torch']:.3g} s in PyTorch"
    )
    return "\n".join([head, table(lines), *best, ""])


if __name__ == "__main__":
    run_script(main)
