"""Start-up: what the first and the second job of a task compile and take, and what imports take.

    python -m benchmarks.startup --repetitions 5

Jobs are processes, as the workflow starts them, of runs of ``config.yaml`` cut down to two steps:
they need every program that the whole run needs. A round takes an empty folder of compiled
programs; the second job is another run of the task's grid.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import jobs, measuring
from samedge.base.errors import run_script

PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy", "xarray", "matplotlib")
#: Learning rate and radius of the first and the second job.
GRID_POINTS = {
    "mnist": (("0.3", "0.1"), ("1.0", "0")),
    "cifar10": (("0.003", "0.1"), ("0.01", "0")),
    "tiny_shakespeare": (("0.05", "0.3"), ("0.2", "0")),
}
IMPORTS = {
    "the interpreter": "pass",
    "jax": "import jax",
    "all that a training job imports": (
        "import train_run, samedge.records.files, samedge.training.observers, "
        "samedge.records.parameters, samedge.tasks.problems, samedge.machine.compilation_cache, "
        "samedge.machine.provenance, samedge.training.loop"
    ),
    "all that a collecting job imports": "import collect_runs",
    "all that a figure job imports": "import plot_figure",
}
LAST_LINE = re.compile(
    r"; (\d+) programs compiled, (\d+) from the cache, ready in ([\d.]+) s$", re.M
)


def first_and_second(repetitions: int) -> dict[str, Any]:
    """Run two jobs of each task on an empty folder of programs, as often as asked."""
    tasks = {}
    for task, points in GRID_POINTS.items():
        runs = [jobs.steps_only(jobs.settings_of(task, *point), 2) for point in points]
        rounds = []
        with jobs.data_file(runs[0]) as data:
            for _ in range(repetitions):
                with tempfile.TemporaryDirectory() as cache:
                    rounds.append([jobs.run_job(run, data, Path(cache)) for run in runs])
        first, second = (list(map(job_facts, found)) for found in zip(*rounds, strict=True))
        tasks[task] = {"first": gathered(first), "second": gathered(second)}
    return tasks


def job_facts(job: jobs.Job) -> dict[str, float]:
    """Return a job's seconds, the programs it compiled and found, and the seconds these took."""
    match = LAST_LINE.search(job.log)
    if match is None:
        raise RuntimeError(f"the log says nothing of compiled programs:\n{job.log}")
    compiled, found, ready = match.groups()
    return {
        "seconds": job.seconds,
        "compiled": int(compiled),
        "found": int(found),
        "seconds_to_ready": float(ready),
    }


def gathered(facts: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the spread of each fact."""
    return {name: measuring.spread([fact[name] for fact in facts]) for name in facts[0]}


def imports(repetitions: int) -> dict[str, Any]:
    """Time interpreters that import and end, in turns."""
    cases = {name: interpreter(code) for name, code in IMPORTS.items()}
    timings = measuring.interleave(cases, repetitions)
    return {name: measuring.seconds(found) for name, found in timings.items()}


def interpreter(code: str) -> Callable[[int], None]:
    """Return a function that runs code in an interpreter of its own, among the scripts."""
    command = [sys.executable, "-c", code]
    return lambda _: subprocess.run(command, cwd=jobs.SCRIPT.parent, check=True) and None


def report(results: Mapping[str, Any]) -> str:
    """Lay out the results as text."""
    rows = [("job", "seconds (min-max)", "compiled", "from the cache", "seconds to get them ready")]
    for task, pair in results["jobs"].items():
        for which, job in pair.items():
            counts = [f"{job[name]['median']:.0f}" for name in ("compiled", "found")]
            ready = f"{job['seconds_to_ready']['median']:.1f}"
            rows.append((f"{which} of {task}", _seconds(job["seconds"]), *counts, ready))
    lines = [("imports", "seconds (min-max)")]
    lines += [(name, _seconds(found)) for name, found in results["imports"].items()]
    return f"{measuring.table(rows)}\n\n{measuring.table(lines)}"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5, help="rounds of jobs and imports")
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "startup.json")
    arguments = parser.parse_args(argv)
    results = {
        "imports": imports(arguments.repetitions),
        "jobs": first_and_second(arguments.repetitions),
        "machine": measuring.machine(PACKAGES),
    }
    print(report(results), flush=True)
    measuring.merge_results(arguments.output, results)


def _seconds(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})"


if __name__ == "__main__":
    run_script(main)
