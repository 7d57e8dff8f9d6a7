"""Runs to time: settings taken from the shipped configurations, real data, jobs as processes."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from samedge.base.files import checksum
from samedge.config.experiment import load
from samedge.config.grid import grid_json
from samedge.config.parts import AuditSettings, BudgetSettings, CheckSettings
from samedge.config.settings import RunSettings
from samedge.data.file import TaskData, write_data
from samedge.data.prepare import Request, prepare

REPOSITORY = Path(__file__).resolve().parents[1]
DEFAULT = REPOSITORY / "config.yaml"
PAPER = REPOSITORY / "config" / "paper.yaml"
SCRIPT = REPOSITORY / "workflow" / "scripts" / "train_run.py"


def settings_of(task: str, eta: str, rho: str, *configurations: Path) -> RunSettings:
    """Return a run of a shipped configuration, on the real data."""
    run = load(configurations or [DEFAULT]).run(task, eta, rho, seed=0)
    return replace(run, source="tfds")


def grid_of(task: str, *configurations: Path) -> list[RunSettings]:
    """Return all runs of a task of a shipped configuration, on the real data."""
    return [replace(run, source="tfds") for run in load(configurations or [DEFAULT]).runs(task)]


def hardly_measured(settings: RunSettings, products: int = 2) -> RunSettings:
    """Return the same run with checks of one eigenvalue and so many products, and no more.

    The checks stand where they did; two products are the fewest that the solver takes.
    """
    return replace(
        settings,
        curvature=replace(settings.curvature, eigenvalues=1, max_products=products),
        density=replace(settings.density, at=()),
        audit=AuditSettings(at=()),
    )


def steps_only(settings: RunSettings, steps: int) -> RunSettings:
    """Return the same run with this budget of steps and a check at both ends of it."""
    return replace(
        settings,
        budget=BudgetSettings(steps=steps, hours=None),
        checks=CheckSettings(spacing="even", count=2, minutes=None),
    )


def data_of(settings: RunSettings) -> TaskData:
    """Return the data of a run.

    Raises
    ------
    UserError
        If they are not where ``TFDS_DATA_DIR`` points to.
    """
    wanted = settings.dataset
    request = Request(wanted.name, settings.source, wanted.train_examples, wanted.test_examples)
    arrays, attributes = prepare(request)
    return TaskData(arrays, attributes, checksum(arrays, attributes))


@contextmanager
def data_file(settings: RunSettings) -> Iterator[Path]:
    """Write the data file of a run, for jobs to read, while the context lasts."""
    data = data_of(settings)
    with tempfile.TemporaryDirectory(prefix="samedge-benchmark-") as folder:
        path = Path(folder) / "data.npz"
        write_data(path, data.arrays, data.attributes)
        yield path


@dataclass(frozen=True)
class Job:
    """How a training job went, from outside: wall-clock seconds, peak memory (bytes), its log."""

    seconds: float
    peak_memory: int
    log: str


def run_job(settings: RunSettings, data: Path, cache: Path | None = None) -> Job:
    """Run one training job as the workflow does, in a process of its own.

    Raises
    ------
    RuntimeError
        If the job fails; the message is its log.
    """
    return _run(["--settings", settings.to_json()], "run.nc", data, cache)


def run_together(
    runs: Sequence[RunSettings], at_once: int, data: Path, cache: Path | None = None
) -> Job:
    """Run one job that trains a whole grid of runs, so many at once, as :func:`run_job` does one.

    Raises
    ------
    RuntimeError
        If the job fails; the message is its log.
    """
    return _run(["--grid", grid_json(runs), "--most", str(at_once)], "runs", data, cache)


def _run(trained: Sequence[str], output: str, data: Path, cache: Path | None) -> Job:
    with tempfile.TemporaryDirectory(prefix="samedge-benchmark-") as folder:
        command = [sys.executable, str(SCRIPT), *trained]
        command += ["--device", "cpu", "--data", str(data), "--output", f"{folder}/{output}"]
        command += ["--cache", str(cache)] if cache is not None else []
        process = run_process(command)
    if process.status != 0:
        raise RuntimeError(process.log)
    return Job(process.seconds, process.peak_memory, process.log)


@dataclass(frozen=True)
class Process:
    """How a process went: wall-clock and processor seconds, peak memory (bytes), log, status."""

    seconds: float
    processor_seconds: float
    peak_memory: int
    log: str
    status: int


def run_process(command: Sequence[str], cwd: Path | None = None) -> Process:
    """Run a command, and account for it and what it starts."""
    with tempfile.TemporaryFile("w+") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=subprocess.STDOUT)
        # Not resource.getrusage, which knows the largest of all children so far, and no other.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    processor = usage.ru_utime + usage.ru_stime
    return Process(seconds, processor, _bytes(usage), text, process.returncode)


def _bytes(usage: resource.struct_rusage) -> int:
    """Return the peak memory of a process, which the system counts in KiB, on macOS in bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
