"""Whole training jobs on the device: sharing a card, going on after a kill, runs of paper size.

sharing
    Jobs of the default MNIST run, three of them unless the kit is small, at the same time on one
    card, by ``jobs_per_gpu``, over one after the other; those of the same seed must end with the
    same numbers.
resume
    A job of each task that is killed after its first checkpoint and goes on, over one that is not:
    every number equal, to the bit.
runs
    One run of each task at the paper's size, for as long as there is time.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks import measuring
from benchmarks.gpu_kit import POINTS, Kit, Store, cut_to_steps, train_command, train_job
from samedge.config.parts import BudgetSettings, CheckSettings
from samedge.config.settings import RunSettings

TIMES = ("training_time", "wall_time")
RESUMED_STEPS, RESUMED_CHECKS, CHECKPOINT_STEPS = 60, 4, 20
CHECKS = 15  # of a run of paper size, about
START_UP = 25.0  # seconds of a job that are not training and measuring, put by
KEPT = ("step", "training_loss", "sam_edge", "gradient_norm", "eigenvalue")


@dataclass(frozen=True)
class Jobs:
    """What jobs are made of: kit, where to store results, their folders, their device."""

    kit: Kit
    store: Store
    folder: Path
    cache: Path
    device: str


def measure_sharing(jobs: Jobs) -> None:
    """Run jobs on one card, after each other and at the same time."""
    kit, store, folder, device = jobs.kit, jobs.store, jobs.folder, jobs.device
    folder.mkdir(parents=True, exist_ok=True)
    settings, data = kit.settings("default/mnist"), kit.data_file("default/mnist")
    count = kit.sizes.sharing
    seeds = [replace(settings, seed=seed) for seed in range(count)]
    shared = ["--cache", str(jobs.cache), "--jobs-per-gpu", str(count)]
    train_job(settings, data, folder / "first.nc", device, *shared)  # compiles
    alone = measuring.timed(
        lambda: [
            train_job(run, data, folder / f"alone{run.seed}.nc", device, *shared) for run in seeds
        ]
    ).seconds

    def at_once() -> None:
        processes = [
            subprocess.Popen(
                train_command(run, data, folder / f"shared{run.seed}.nc", device, *shared),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for run in seeds
        ]
        logs = [process.communicate()[0] for process in processes]
        for process, log in zip(processes, logs, strict=True):
            if process.returncode:
                raise RuntimeError(log)

    together = measuring.timed(at_once).seconds
    store("jobs", count)
    store("seconds_one_after_the_other", alone)
    store("seconds_at_once", together)
    pairs = [(folder / f"alone{run.seed}.nc", folder / f"shared{run.seed}.nc") for run in seeds]
    store("differing", sorted({name for pair in pairs for name in differing(*pair)}))


def measure_resume(jobs: Jobs) -> None:
    """Kill a job of each task once it has a checkpoint, let it go on, and compare the run files."""
    kit, store, folder, device = jobs.kit, jobs.store, jobs.folder, jobs.device
    for task in kit.sizes.tasks:
        here = folder / task
        here.mkdir(parents=True, exist_ok=True)
        run = cut_to_steps(kit.settings(f"default/{task}"), RESUMED_STEPS, RESUMED_CHECKS)
        data = kit.data_file(f"default/{task}")
        options = [
            "--cache",
            str(folder.parent / "programs"),
            "--checkpoint-steps",
            str(CHECKPOINT_STEPS),
        ]
        train_job(run, data, here / "whole.nc", device, *options)
        killed = here / "killed.nc"
        command = train_command(run, data, killed, device, *options)
        store(f"{task}_killed", _kill_at_checkpoint(command, killed.with_suffix(".checkpoints")))
        log = train_job(run, data, killed, device, *options).stdout
        store(f"{task}_went_on", "going on from step" in log)
        store(f"{task}_differing", differing(here / "whole.nc", killed))


def _kill_at_checkpoint(command: Sequence[str], checkpoints: Path) -> bool:
    """Start a job and kill it when its first checkpoint is there; tell whether it was in time."""
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while job.poll() is None:
        if any(not path.name.startswith(".") for path in checkpoints.glob("*.npz")):
            job.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    return job.wait() == -signal.SIGKILL


def differing(one: Path, other: Path) -> list[str]:
    """Name the variables, but for times, that two run files do not hold to the same bit."""
    with xr.open_dataset(one) as first, xr.open_dataset(other) as second:
        return [
            str(name)
            for name in first.variables
            if name not in TIMES
            and not np.array_equal(
                first[name].values, second[name].values, equal_nan=first[name].dtype.kind == "f"
            )
        ]


def measure_runs(jobs: Jobs, seconds: float) -> None:
    """Train one run of each task at the paper's size, in equal shares of the time that is left."""
    kit, store, folder, device = jobs.kit, jobs.store, jobs.folder, jobs.device
    begun = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    for place, task in enumerate(kit.sizes.tasks):
        left = seconds - (time.monotonic() - begun)
        share = left / (len(kit.sizes.tasks) - place) - START_UP
        share = min(share, kit.sizes.run_seconds)
        if share <= 0:
            store(f"{task}_left_out", f"{left:.0f} s left")
            continue
        settings = _for_seconds(kit.settings(f"paper/{task}"), share)
        output = folder / f"{task}.nc"
        cache = ["--cache", str(jobs.cache)]
        train_job(settings, kit.data_file(f"paper/{task}"), output, device, *cache)
        with xr.open_dataset(output) as file:
            run = file.isel(eta=0, rho=0, seed=0).load()
        shutil.copyfile(output, folder.parents[1] / f"{task}.nc")
        entry = {name: run[name].values.tolist() for name in KEPT}
        entry |= {name: float(run[name].values[-1]) for name in TIMES}
        entry["products"] = int(run["hessian_vector_products"].sum())
        entry["eta"], entry["rho"] = settings.eta, settings.rho
        store(task, entry)


def _for_seconds(settings: RunSettings, seconds: float) -> RunSettings:
    """Return a run of so many seconds, of which about half is training, measured now and then."""
    training = seconds / 2
    return replace(
        settings,
        budget=BudgetSettings(steps=None, hours=training / 3600),
        checks=CheckSettings(spacing="time", count=None, minutes=training / 60 / CHECKS),
        density=replace(settings.density, at=()),
        audit=replace(settings.audit, at=()),
    )


def report(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out jobs as text."""
    lines = []
    sharing, resume = parts.get("sharing", {}), parts.get("resume", {})
    if "differing" in sharing:
        gain = sharing["seconds_one_after_the_other"] / sharing["seconds_at_once"]
        lines.append(
            f"{sharing['jobs']} jobs on one card in {sharing['seconds_at_once']:.1f} s, one after "
            f"the other in {sharing['seconds_one_after_the_other']:.1f} s: {gain:.2f} times as "
            f"fast; {_equality(sharing['differing'])}"
        )
    for task in POINTS:
        if f"{task}_differing" in resume:
            killed = "killed" if resume[f"{task}_killed"] else "NOT killed in time"
            went_on = "went on" if resume[f"{task}_went_on"] else "did NOT go on"
            lines.append(f"{task}, {killed}, {went_on}: {_equality(resume[f'{task}_differing'])}")
    rows = [("a run of paper size", "steps", "training s", "checks", "products", "λ1/edge, last")]
    for task, found in parts.get("runs", {}).items():
        if isinstance(found, dict):
            last = abs(found["eigenvalue"][-1][0]) / found["sam_edge"][-1]
            rows.append(
                (
                    f"{task}, η {found['eta']}, ρ {found['rho']}",
                    f"{found['step'][-1]:.0f}",
                    f"{found['training_time']:.1f}",
                    str(len(found["step"])),
                    str(found["products"]),
                    f"{last:.3f}",
                )
            )
    tables = [measuring.table(rows)] if len(rows) > 1 else []
    return "\n\n".join(filter(None, ["\n".join(lines), *tables]))


def _equality(names: Sequence[str]) -> str:
    return f"these differ: {', '.join(names)}" if names else "every number equal to the bit"
