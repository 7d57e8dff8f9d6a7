"""The workflow on 100, 1,000 and 10,000 runs: seconds and memory of everything but the training.

    python -m benchmarks.scale --runs 100 1000

Run files are made up, see :mod:`benchmarks.scale_runs`, in the format of real ones; of each size
the dry run of the whole experiment is timed, and the jobs that read every run, each as a process of
its own in a copy of this checkout. Processor seconds are those of the process and what it starts;
on a machine that others use they say more than the clock does.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import jobs, measuring
from benchmarks.experiment import copy_checkout
from samedge.base.errors import UserError, run_script
from samedge.config.experiment import load
from samedge.config.grid import grid_json

PACKAGES = ("snakemake", "numpy", "xarray", "netCDF4", "matplotlib")
#: Learning rates, radii and seeds of each number of runs.
GRIDS = {100: (5, 4, 5), 1_000: (10, 10, 10), 10_000: (20, 20, 25)}
TASK = "mnist"
CHECKS = 41
PARTS = {
    "plan": "planning",
    "collect_runs": "merging",
    "filter_diverged": "leaving diverged runs out",
    "judge_claims": "judging claims",
    "plot_edge_map": "drawing the edge map",
    "plot_figure": "drawing figure 4",
    "write_explorer": "writing the explorer",
    "plot_supplement": "drawing every run",
}
#: Of more runs than this not every one is drawn, which takes most of a second each.
MOST_DRAWN = 1_000


def overlay(runs: int) -> dict[str, Any]:
    """Return what configures an experiment of so many runs, over the default one."""
    etas, rhos, seeds = GRIDS[runs]
    budget = {"steps": 10 * (CHECKS - 1), "hours": None}
    grid = {
        "eta": [round(0.01 * number, 2) for number in range(1, etas + 1)],
        "rho": [round(0.1 * number, 1) for number in range(rhos)],
        "figure_rho": 0.1,
        "budget": budget,
        "checks": {"spacing": "even", "count": CHECKS, "minutes": None},
    }
    others = {"cifar10": None, "tiny_shakespeare": None}
    return {
        "experiment": f"runs_{runs}",
        "seeds": list(range(seeds)),
        "density": {"at": []},
        "tasks": {TASK: grid, **others},
    }


def measure(runs: int, checkout: Path) -> dict[str, Any]:
    """Make so many runs in a checkout and measure what reads them, and the planning before."""
    config = checkout / f"runs_{runs}.yaml"
    config.write_text(json.dumps(overlay(runs)), encoding="utf-8")
    configured = ["--configfile", config.name]
    results = checkout / "results" / f"runs_{runs}"
    folder, cube = results / "runs" / TASK, results / "cubes" / f"{TASK}.nc"
    grid = grid_json(load([checkout / "config.yaml", config]).runs(TASK))
    pictures = ["--output-pdf", str(results / "a.pdf"), "--output-png", str(results / "a.png")]
    read = ["--cube", str(cube)]
    commands = {
        "plan": ["-m", "snakemake", "--dry-run", *configured],
        "collect_runs": ["--grid", grid, "--runs", str(folder), "--output", str(cube)],
        "filter_diverged": ["--input", str(cube), "--output", str(results / "converged.nc")],
        "judge_claims": [
            *("--cubes", str(cube), "--rho", "0.1", "--csv", str(results / "claims.csv")),
            *("--json", str(results / "claims.json"), *pictures),
        ],
        "plot_edge_map": [*read, *pictures],
        "plot_figure": ["--number", "4", *read, "--rho", "0.1", "--axis", "step", *pictures],
        "write_explorer": ["--cubes", str(cube), "--output", str(results / "explorer.html")],
    }
    if runs <= MOST_DRAWN:
        commands["plot_supplement"] = [
            *("--cube", str(results / "converged.nc")),
            *("--output", str(results / "supplement")),
        ]
    found = {"plan": _run(commands.pop("plan"), checkout)}
    _run(["-m", "benchmarks.scale_runs", "--grid", grid, "--output", str(folder)], checkout)
    for name, arguments in commands.items():
        found[name] = _run([f"workflow/scripts/{name}.py", *arguments], checkout)
    return {
        "parts": found,
        "run_files_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "cube_bytes": cube.stat().st_size,
        "explorer_bytes": (results / "explorer.html").stat().st_size,
    }


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope between the last two points, both on logarithmic scales."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def report(results: Mapping[str, Any]) -> str:
    """Lay out the results as text, a line for each part; slopes are those of the last tenfold."""
    found = {int(runs): entry for runs, entry in results.items()}
    sizes = sorted(found)

    def row(name: str, unit: str, values: Sequence[float], layout: str) -> tuple[str, ...]:
        steep = f"{slope(sizes[: len(values)], values):.2f}" if len(values) > 1 else ""
        blank = [""] * (len(sizes) - len(values))
        return name, unit, *map(layout.format, values), *blank, steep

    rows = [("part", "of", *(f"{runs:,} runs" for runs in sizes), "slope")]
    quantities = {
        "processor s": ("processor_seconds", 1, "{:.1f}"),
        "s": ("seconds", 1, "{:.1f}"),
        "GiB": ("peak_memory", 2**30, "{:.2f}"),
    }
    for part, name in PARTS.items():
        measured = [found[runs]["parts"][part] for runs in sizes if part in found[runs]["parts"]]
        if not measured:
            continue
        for unit, (key, divisor, layout) in quantities.items():
            rows.append(row(name, unit, [each[key] / divisor for each in measured], layout))
            name = ""
    for key, name in (("run_files", "run files"), ("cube", "cube"), ("explorer", "explorer")):
        values = [found[runs][f"{key}_bytes"] / 2**20 for runs in sizes]
        rows.append(row(f"size of the {name}", "MiB", values, "{:.1f}"))
    return measuring.table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="+", type=int, choices=GRIDS, default=list(GRIDS))
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "scale.json")
    arguments = parser.parse_args(argv)
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory(prefix="samedge-scale-") as temporary:
            checkout = Path(temporary) / "checkout"
            checkout.mkdir()
            copy_checkout(checkout, None)
            entry = measure(runs, checkout)
        entry["machine"] = measuring.machine(PACKAGES)
        results = measuring.merge_results(arguments.output, {str(runs): entry})
        print(report(results), flush=True)


def _run(arguments: Sequence[str], checkout: Path) -> dict[str, float]:
    """Run the interpreter in a checkout; return its seconds and peak memory (bytes)."""
    process = jobs.run_process([sys.executable, *arguments], cwd=checkout)
    if process.status:
        raise UserError(f"{' '.join(arguments)[:200]} failed:\n{process.log[-2000:]}")
    return {
        "seconds": process.seconds,
        "processor_seconds": process.processor_seconds,
        "peak_memory": process.peak_memory,
    }


if __name__ == "__main__":
    run_script(main)
