"""How time grows: a step with width, examples and depth, a check with the parameters.

    python -m benchmarks.scaling --repetitions 5

The network is the paper's for MNIST, on real images. A series varies one size and keeps the
others; all its sizes take turns. A slope is that of a straight line through logarithms; for
steps, the slope of the floating-point operations of their matrix products stands beside it.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import jobs, measuring
from benchmarks.scaling_figure import draw
from benchmarks.training import PACKAGES, one_step, step_operations
from samedge.base.errors import run_script
from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.machine.device import prepare_jax
from samedge.tasks.problems import Problem, build_problem

#: The sizes of a series; the others stay at the middle one of theirs.
SIZES = {
    "width": (100, 200, 400, 800, 1600),
    "examples": (500, 1000, 2000, 4000, 8000),
    "depth": (2, 4, 8, 16, 32),
}
FIXED = {"width": 400, "examples": 1000, "depth": 4}
CHECKED_WIDTHS = (50, 100, 200, 400, 800)
STEPS_BEFORE_CHECK = 20  # so that a check is not one of random weights
STEPS_TIMED = 5


def steps(series: str, repetitions: int) -> dict[str, Any]:
    """Time a step at every size of a series."""
    runs = {size: run_of(**{series: size}) for size in SIZES[series]}
    problems = {size: build_problem(run, jobs.data_of(run)) for size, run in runs.items()}
    cases = {str(size): some_steps(runs[size], problems[size]) for size in runs}
    timings = measuring.interleave(cases, repetitions)
    operations = [step_operations(runs[size], problems[size]) for size in runs]
    seconds = [
        measuring.spread([timing.seconds / STEPS_TIMED for timing in timings[str(size)]])
        for size in runs
    ]
    return {
        "sizes": list(runs),
        "seconds": seconds,
        "operations": operations,
        "slope": slope(list(runs), [found["median"] for found in seconds]),
        "slope_of_operations": slope(list(runs), operations),
    }


def checks(repetitions: int) -> dict[str, Any]:
    """Time a measurement of the top three eigenpairs against the number of parameters."""
    cases, parameters = {}, []
    for width in CHECKED_WIDTHS:
        run = run_of(width=width)
        problem = build_problem(run, jobs.data_of(run))
        cases[str(width)], size = check(run, problem)
        parameters.append(size)
    timings = list(measuring.interleave(cases, repetitions).values())
    products = [measuring.spread([timing.result for timing in found]) for found in timings]
    seconds = [measuring.seconds(found) for found in timings]
    each = [
        measuring.spread([timing.seconds / timing.result for timing in found]) for found in timings
    ]
    medians = {
        name: [entry["median"] for entry in found]
        for name, found in (("seconds", seconds), ("products", products), ("each", each))
    }
    return {
        "widths": list(CHECKED_WIDTHS),
        "sizes": parameters,
        "seconds": seconds,
        "products": products,
        "seconds_per_product": each,
        "slope": slope(parameters, medians["seconds"]),
        "slope_of_products": slope(parameters, medians["products"]),
        "slope_per_product": slope(parameters, medians["each"]),
    }


def run_of(**sizes: int) -> RunSettings:
    """Return a SAM run on MNIST of these sizes, the others as in :data:`FIXED`."""
    chosen = FIXED | sizes
    run = jobs.settings_of("mnist", "0.1", "0.1", jobs.PAPER)
    shape = {"width": chosen["width"], "depth": chosen["depth"]}
    return replace(
        run,
        model=replace(run.model, settings=shape),
        dataset=replace(run.dataset, train_examples=chosen["examples"]),
    )


def some_steps(run: RunSettings, problem: Problem) -> Callable[[int], None]:
    """Return a function that takes a few steps as a job does."""
    step = one_step(run, problem)

    def take(repetition: int) -> None:
        for _ in range(STEPS_TIMED):
            step(repetition)

    return take


def check(run: RunSettings, problem: Problem) -> tuple[Callable[[int], int], int]:
    """Return a function that measures and returns the products it took, and the parameters."""
    step = one_step(run, problem)
    for _ in range(STEPS_BEFORE_CHECK):
        params = step(0)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))

    def measure(repetition: int) -> int:
        top = top_eigenpairs(problem.loss, params, problem.train, key=jax.random.key(repetition))
        return top.hvp_count

    return measure, size


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the straight line through the logarithms, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def report(results: Mapping[str, Any]) -> str:
    """Lay out the slopes as text."""
    rows = [("time of", "against", "from", "to", "slope", "by operations")]
    for series in SIZES:
        found = results[series]
        expected = f"{found['slope_of_operations']:.2f}"
        rows.append(("a step", series, *_ends(found), f"{found['slope']:.2f}", expected))
    found = results["checks"]
    for what, key in (
        ("a check", "slope"),
        ("its products", "slope_of_products"),
        ("a product", "slope_per_product"),
    ):
        rows.append((what, "parameters", *_ends(found), f"{found[key]:.2f}", ""))
    return measuring.table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all series, print and store their slopes and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5, help="timed rounds of each series")
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "scaling.json")
    arguments = parser.parse_args(argv)
    prepare_jax("highest", "cpu")
    results: dict[str, Any] = {name: steps(name, arguments.repetitions) for name in SIZES}
    results |= {"checks": checks(arguments.repetitions), "fixed": FIXED}
    results["machine"] = measuring.machine(PACKAGES)
    print(report(results), flush=True)
    draw(measuring.merge_results(arguments.output, results))


def _ends(found: Mapping[str, Any]) -> tuple[str, str]:
    return f"{found['sizes'][0]:,}", f"{found['sizes'][-1]:,}"


if __name__ == "__main__":
    run_script(main)
