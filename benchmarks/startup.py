"""Start-up: what the first and the second job of a task compile and take, and what imports take.

    python -m benchmarks.startup --before 3210f3b --repetitions 3

Jobs are processes, as the workflow starts them, of runs of ``config.yaml`` cut down to two steps:
they need every program that the whole run needs. A round takes an empty folder of compiled
programs; the second job is another run of the task's grid. With ``--before`` each round is one of
that revision, from a copy of its files, and one of the files as they are.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import jobs, measuring
from benchmarks.experiment import copy_checkout
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


def round_of(checkout: Path) -> dict[str, Any]:
    """Measure one round with the files of a checkout, by its own program."""
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "startup.json"
        command = ["-m", "benchmarks.startup", "--repetitions", "1", "--output", str(output)]
        paths = os.pathsep.join([str(checkout / "workflow" / "scripts"), str(checkout)])
        environment = os.environ | {"PYTHONPATH": paths}
        subprocess.run([sys.executable, *command], cwd=checkout, env=environment, check=True)
        return measuring.read_results(output)


def gathered_rounds(taken: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rounds that were measured apart as the results of all of them."""

    def spread(*entries: Any) -> Any:
        if "median" in entries[0]:
            return measuring.spread([entry["median"] for entry in entries])
        return {name: spread(*(entry[name] for entry in entries)) for name in entries[0]}

    return {part: spread(*(each[part] for each in taken)) for part in ("imports", "jobs")}


def ratios(now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the seconds of each job and import over those of before, from round to round."""

    def seconds(results: Mapping[str, Any]) -> dict[str, float]:
        jobs_of = {
            f"{which} of {task}": job["seconds"]["median"]
            for task, pair in results["jobs"].items()
            for which, job in pair.items()
        }
        return jobs_of | {name: found["median"] for name, found in results["imports"].items()}

    pairs = [(seconds(ours), seconds(theirs)) for ours, theirs in zip(now, before, strict=True)]
    return {
        name: measuring.spread([ours[name] / theirs[name] for ours, theirs in pairs])
        for name in pairs[0][0]
    }


def in_turns(revision: str, repetitions: int) -> dict[str, Any]:
    """Measure rounds of a revision and of the files as they are, in turns."""
    with tempfile.TemporaryDirectory(prefix="samedge-startup-") as temporary:
        checkouts = {"now": jobs.REPOSITORY, "before": Path(temporary) / "before"}
        checkouts["before"].mkdir()
        copy_checkout(checkouts["before"], revision)
        cases = {
            name: lambda _, checkout=checkout: round_of(checkout)
            for name, checkout in checkouts.items()
        }
        timings = measuring.interleave(cases, repetitions, warm_up=False)
    taken = {name: [timing.result for timing in found] for name, found in timings.items()}
    return compared(revision, **taken)


def compared(
    revision: str, now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the results of now, with those of a revision before and the ratios."""
    return gathered_rounds(now) | {
        "before": gathered_rounds(before) | {"revision": revision},
        "over_before": ratios(now, before),
    }


def report(results: Mapping[str, Any]) -> str:
    """Lay out the results as text, those of a revision before behind them."""
    text = _tables(results)
    if "before" not in results:
        return text
    before = results["before"]
    lines = [("seconds over before", "median (min-max)")]
    lines += [(name, _seconds(found)) for name, found in results["over_before"].items()]
    return (
        f"now\n{text}\n\nbefore, revision {before['revision']}\n{_tables(before)}\n\n"
        f"{measuring.table(lines)}"
    )


def _tables(results: Mapping[str, Any]) -> str:
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
    parser.add_argument("--before", help="a revision to measure in turns with this one")
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "startup.json")
    arguments = parser.parse_args(argv)
    if arguments.before:
        results = in_turns(arguments.before, arguments.repetitions)
    else:
        results = {
            "imports": imports(arguments.repetitions),
            "jobs": first_and_second(arguments.repetitions),
        }
    results |= {"machine": measuring.machine(PACKAGES)}
    print(report(results), flush=True)
    measuring.merge_results(arguments.output, results)


def _seconds(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})"


if __name__ == "__main__":
    run_script(main)
