"""Runs per hour where one job trains all runs of a task, over those of a job for each run.

    python -m benchmarks.packing --tasks mnist cifar10 tiny_shakespeare --repetitions 3

The runs are those of each task of ``config.yaml``, whole, checks and densities included, on the
real data. They are trained

apart
    each in a job of its own, one job after the other,
in turn
    all in one job, one run after the other, as such a job does on a CPU,
at once
    all in one job, their steps vectorised, as it does on a GPU,

in turns, after a round that leaves the compiled programs of all three in the cache.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import jobs, measuring
from benchmarks.gpu_kit import POINTS
from samedge.base.errors import run_script
from samedge.config.settings import RunSettings

PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy")
APART = "apart"


def measure(task: str, repetitions: int) -> dict[str, Any]:
    """Train all runs of a task in every way, in turns."""
    runs = jobs.grid_of(task)
    with (
        jobs.data_file(runs[0]) as data,
        tempfile.TemporaryDirectory(prefix="samedge-benchmark-") as cache,
    ):
        files = data, Path(cache)
        cases: dict[str, Callable[[int], int]] = {
            APART: partial(_apart, runs, files),
            "in turn": partial(_together, runs, 1, files),
            "at once": partial(_together, runs, len(runs), files),
        }
        timings = measuring.interleave(cases, repetitions)
    return {
        "runs": len(runs),
        "ways": {
            way: {
                "runs_per_hour": measuring.spread([3600 * len(runs) / t.seconds for t in taken]),
                "ratio": measuring.ratio(timings[APART], taken),
                "peak_gib": measuring.spread([t.result / 2**30 for t in taken]),
            }
            for way, taken in timings.items()
        },
    }


def _apart(runs: Sequence[RunSettings], files: tuple[Path, Path], repetition: int) -> int:
    """Train each run in a job of its own; return the most memory (bytes) that one of them took."""
    return max(jobs.run_job(run, *files).peak_memory for run in runs)


def _together(
    runs: Sequence[RunSettings], at_once: int, files: tuple[Path, Path], repetition: int
) -> int:
    """Train all runs in one job; return the memory (bytes) that it took."""
    return jobs.run_together(runs, at_once, *files).peak_memory


def report(results: Mapping[str, Any]) -> str:
    """Lay out the results as text."""
    rows = [("task", "runs/h", "ratio (min-max)", "peak memory (GiB)")]
    for task, found in results.items():
        for way, taken in found["ways"].items():
            ratio = taken["ratio"]
            rows.append(
                (
                    f"{task}, {found['runs']} runs {way}",
                    f"{taken['runs_per_hour']['median']:.0f}",
                    f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})",
                    f"{taken['peak_gib']['median']:.2f}",
                )
            )
    return measuring.table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and store, task by task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=list(POINTS), default=list(POINTS))
    parser.add_argument("--repetitions", type=int, default=3, help="timed rounds of each task")
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "packing.json")
    arguments = parser.parse_args(argv)
    for task in arguments.tasks:
        entry = measure(task, arguments.repetitions)
        print(report({task: entry}), flush=True)
        entry["machine"] = measuring.machine(PACKAGES)
        measuring.merge_results(arguments.output, {task: entry})


if __name__ == "__main__":
    run_script(main)
