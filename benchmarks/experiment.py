"""The default experiment as a whole, by two revisions in turns: total time, and where it went.

    python -m benchmarks.experiment --before 3210f3b --rounds 3

The files are copied into a fresh folder and the workflow runs there as ``make figures`` runs it,
from nothing to figures, on all cores; the sample data come from the package index. Snakemake's
benchmark files say what each job took, the logs of training jobs how much of it was training and
measuring: start-up and getting programs ready are left out.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from benchmarks import jobs, measuring
from samedge.base.errors import UserError, run_script

PACKAGES = ("snakemake", "jax", "jaxlib", "numpy", "xarray", "matplotlib")
COMMAND = ("-m", "snakemake", "--cores", "all", "--resources", "gpu=1")
RESULTS = Path("results") / "default"
TRAINED = re.compile(r"^trained and measured for ([\d.]+) s;", re.M)
TRAINING_RULE = "train_run"


def run_and_account(checkout: Path) -> dict[str, Any]:
    """Run the default experiment in a checkout and return where the time went.

    Raises
    ------
    UserError
        If the workflow fails; the message ends with what it said last.
    """
    # Jobs call ``python``, which is to be the interpreter of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *COMMAND],
        cwd=checkout,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    total = time.perf_counter() - begun
    if done.returncode:
        raise UserError(f"the default experiment failed:\n{done.stdout[-2000:]}")
    return account(checkout / RESULTS, total)


def account(results: Path, total: float) -> dict[str, Any]:
    """Return where the time of an experiment went, from its results and its total time (s)."""
    rules: dict[str, dict[str, float]] = {}
    for path in sorted((results / "benchmarks").rglob("*.tsv")):
        rule = path.relative_to(results / "benchmarks").parts[0]
        found = rules.setdefault(rule, {"jobs": 0, "seconds": 0.0})
        found["jobs"] += 1
        found["seconds"] += _seconds_of_job(path)
    working = sum(training_seconds(results, path) for path in (results / "runs").rglob("*.nc"))
    return {
        "total_seconds": total,
        "products_per_check": products_per_check(results),
        "training_and_measuring_seconds": working,
        "share": working / total,
        "rules": rules,
    }


def training_seconds(results: Path, run: Path) -> float:
    """Return the seconds that a run spent training and measuring.

    A checkout from before the log said so has the wall time of the last check.
    """
    name = run.relative_to(results / "runs").with_suffix(".log")
    log = (results / "logs" / TRAINING_RULE / name).read_text(encoding="utf-8")
    match = TRAINED.search(log)
    if match:
        return float(match[1])
    # Not by samedge.records.files, which refuses a revision from before the schema had versions
    # that lacks variables of the first.
    with netCDF4.Dataset(run) as file:
        return float(np.nanmax(np.ma.filled(file["wall_time"][:], np.nan)))


def products_per_check(results: Path) -> dict[str, float]:
    """Return the Hessian-vector products of a check of each task, the mean over all its runs."""
    found: dict[str, list[np.ndarray]] = {}
    for path in sorted((results / "runs").rglob("*.nc")):
        with netCDF4.Dataset(path) as file:
            products = np.ma.filled(file["hessian_vector_products"][:], np.nan)
        found.setdefault(path.parent.name, []).append(products.ravel())
    return {task: float(np.nanmean(np.concatenate(taken))) for task, taken in found.items()}


def copy_checkout(folder: Path, revision: str | None) -> None:
    """Put a revision of this repository into a folder, or its files as they are now."""
    git = ["git", "-C", str(jobs.REPOSITORY)]
    if revision is not None:
        command = [*git, "archive", "--format=tar", f"--output={folder}.tar", revision]
        _run(command, f"--revision {revision}: git knows no such revision")
        _run(["tar", "-x", "-C", str(folder), "-f", f"{folder}.tar"], "tar failed")
        return
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run([*git, *listing], check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, names.split("\0")):
        source = jobs.REPOSITORY / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())


def run_revision(revision: str | None) -> dict[str, Any]:
    """Run the default experiment of a revision, or of the files as they are, and account for it."""
    with tempfile.TemporaryDirectory(prefix="samedge-experiment-") as temporary:
        checkout = Path(temporary) / "checkout"
        checkout.mkdir()
        copy_checkout(checkout, revision)
        return run_and_account(checkout)


def summary(taken: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return of each revision the round of median total time, with all totals and their ratio."""
    totals = {
        name: [entry["total_seconds"] for entry in entries] for name, entries in taken.items()
    }
    found = {}
    for name, entries in taken.items():
        ordered = sorted(entries, key=lambda entry: entry["total_seconds"])
        found[name] = dict(ordered[len(ordered) // 2])
        found[name]["totals"] = measuring.spread(totals[name])
        pairs = zip(totals[name], totals["before"], strict=True)
        found[name]["over_before"] = measuring.spread([above / below for above, below in pairs])
    return found


def report(name: str, entry: Mapping[str, Any]) -> str:
    """Lay out the results of a revision as text."""
    rows = [("rule", "jobs", "seconds")]
    rows += [
        (rule, f"{found['jobs']:.0f}", f"{found['seconds']:.1f}")
        for rule, found in entry["rules"].items()
    ]
    products = "".join(
        f"\nproducts a check, {task}: {count:.1f}"
        for task, count in entry["products_per_check"].items()
    )
    totals, ratio = entry["totals"], entry["over_before"]
    return (
        f"{measuring.table(rows)}\n{name}: {entry['total_seconds']:.0f} s in all "
        f"({totals['min']:.0f}–{totals['max']:.0f}), of which "
        f"{entry['training_and_measuring_seconds']:.0f} s training and measuring, a share of "
        f"{entry['share']:.0%}{products}\nover before: {ratio['median']:.2f} "
        f"({ratio['min']:.2f}–{ratio['max']:.2f})"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment of both revisions in turns, print and store where the time went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", default="3210f3b", help="the revision to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "experiment.json")
    arguments = parser.parse_args(argv)
    revisions = {"now": None, "before": arguments.before}
    cases = {
        name: lambda _, revision=each: run_revision(revision) for name, each in revisions.items()
    }
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in revisions}
    for each in measuring.rounds(cases, arguments.rounds):
        for name, timing in each.items():
            taken[name].append(timing.result)
        # Stored at the end of every round: all of them take most of an hour.
        found = summary(taken)
        for name, entry in found.items():
            entry |= {"revision": revisions[name], "machine": measuring.machine(PACKAGES)}
            print(report(name, entry), flush=True)
        measuring.merge_results(arguments.output, found)


def _seconds_of_job(path: Path) -> float:
    header, *_, last = path.read_text(encoding="utf-8").splitlines()
    return float(dict(zip(header.split("\t"), last.split("\t"), strict=True))["s"])


def _run(command: Sequence[str], complaint: str) -> None:
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(f"{complaint} ({done.stderr.strip()})")


if __name__ == "__main__":
    run_script(main)
