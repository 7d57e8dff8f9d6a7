"""A run as it stands, by its progress file or by its run file."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import netCDF4
import numpy as np

from samedge.analysis.quantities import ratio_to_edge
from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.records import files, netcdf, schema
from samedge.records.merging import RunFile, read_run_file
from samedge.records.progress.lines import Progress

#: How a run stands, in the order in which runs are of interest.
STARTING, TRAINING, SILENT = "starting", "training", "silent"
FAILED, KILLED, STOPPED, DAMAGED = "failed", "killed", "stopped", "damaged"
DIVERGED, FINISHED, WAITING = "diverged", "finished", "not started"
STATES = (
    *(TRAINING, STARTING, SILENT, FAILED, KILLED, STOPPED, DAMAGED),
    *(DIVERGED, FINISHED, WAITING),
)
IN_PROGRESS = (TRAINING, STARTING, SILENT)
#: Without a word for longer a run on another machine is called silent: seconds, and how many times
#: the longest time between two words so far.
PATIENCE, TIMES = 300.0, 3.0

RUN_NAME = re.compile(r"eta(?P<eta>[^_]+)_rho(?P<rho>[^_]+)_seed(?P<seed>\d+)")


@dataclass(frozen=True)
class Curve:
    """What was measured of a run so far, at its checks: what meets the edge, over it; and the last
    check's training loss and first eigenvalue, NaN without one.
    """

    ratios: np.ndarray
    loss: float = np.nan
    eigenvalue: float = np.nan


@dataclass(frozen=True)
class WatchedRun:
    """A run as it stands.

    Attributes
    ----------
    task, eta, rho, seed
        Its place; eta and rho as configured, "" where a damaged file does not tell.
    state
        One of :data:`STATES`.
    note
        Why, in words, where there is more to say.
    step, steps
        Steps taken, and those of its budget, None if that is one of hours or not known.
    share
        The share of the budget spent, 0 to 1, NaN where it is not known.
    left
        Seconds that it will take yet, about; None where that is not known.
    settings
        All that determines it, None where a damaged file does not tell.
    progress, file
        The progress file's contents, or else the run file, that say so; None without one.
    """

    task: str
    eta: str
    rho: str
    seed: str
    state: str
    note: str = ""
    step: int = 0
    steps: int | None = None
    share: float = np.nan
    left: float | None = None
    settings: RunSettings | None = None
    progress: Progress | None = None
    file: Path | None = None

    @property
    def name(self) -> str:
        """The run's name within its task."""
        return f"eta{self.eta}_rho{self.rho}_seed{self.seed}"

    @cached_property
    def shared(self) -> str:
        """What it has in common with the other runs of a grid, as text."""
        assert self.settings is not None
        return replace(self.settings, eta="", rho="", seed=0).to_json()

    @cached_property
    def contents(self) -> RunFile:
        """What its run file holds.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        assert self.file is not None
        return read_run_file(self.file)

    @cached_property
    def curve(self) -> Curve:
        """What was measured so far; of a run that has ended it is read now.

        Raises
        ------
        UserError
            If the run file is damaged.
        """
        if self.progress is not None and self.progress.checks:
            checks = self.progress.checks
            ratios = np.array([check["edge_ratio"] for check in checks])
            return Curve(ratios, checks[-1]["training_loss"], float(checks[-1]["eigenvalue"][0]))
        if self.file is None:
            return Curve(np.array([]))
        run = files.read_run(self.file)
        if not run.sizes["check"] or not run.sizes["rank"]:
            return Curve(np.array([]))
        last = run.isel(eta=0, rho=0, seed=0, check=-1)
        first = float(last["eigenvalue"][0])
        return Curve(ratio_to_edge(run)[0, 0, 0], float(last["training_loss"]), first)


def of_progress(progress: Progress, silence: float) -> WatchedRun:
    """Return a run by its progress file, which was written so many seconds ago."""
    settings = progress.settings
    state, note = _state_of(progress, silence)
    budget = settings.budget
    shares = [progress.step / budget.steps] if budget.steps else []
    shares += [progress.training_time / 3600 / budget.hours] if budget.hours else []
    return WatchedRun(
        settings.task,
        settings.eta,
        settings.rho,
        str(settings.seed),
        state,
        note,
        progress.step,
        budget.steps,
        min(1.0, max(shares, default=np.nan)),
        progress.left if state in IN_PROGRESS else None,
        settings,
        progress,
    )


def _state_of(progress: Progress, silence: float) -> tuple[str, str]:
    """Return how a run stands by its progress file, and why."""
    process = progress.process
    if progress.status is not None:
        state = {
            "completed": FINISHED,
            "diverged": DIVERGED,
            "failed": FAILED,
            "interrupted": STOPPED,
        }[progress.status]
        return state, progress.reason
    lives = process.lives()
    if lives is False:
        return KILLED, f"process {process.pid} on {process.host} is gone, and left no last word"
    if lives is None and silence > max(PATIENCE, TIMES * progress.gap):
        return SILENT, f"nothing heard from {process.host} for {in_words(silence)}"
    return (TRAINING if progress.going else STARTING), ""


def in_words(seconds: float) -> str:
    """Return a time in words, to two digits or so: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def of_run_file(key: tuple[str, str], path: Path) -> WatchedRun | None:
    """Return a run by its run file: without what was measured, which takes longer to read."""
    try:
        with netcdf.readable(path), netCDF4.Dataset(path) as file:
            if file.variables["status"].size != 1:
                return None  # it is a cube
            status, step = (int(file.variables[name][:].item()) for name in ("status", "end_step"))
            reason = str(file.variables["end_reason"][:].item())
            settings = RunSettings.from_json(file.getncattr("settings"))
    except (UserError, ValueError) as error:
        return WatchedRun(*place_of(*key), DAMAGED, str(error))
    ended = DIVERGED if status == schema.DIVERGED else FINISHED
    place = settings.task, settings.eta, settings.rho, str(settings.seed)
    note = reason if ended == DIVERGED else ""
    steps = settings.budget.steps
    return WatchedRun(*place, ended, note, step, steps, 1.0, settings=settings, file=path)


def place_of(task: str, name: str) -> tuple[str, str, str, str]:
    """Return the place of a run by its task and the name of its file."""
    found = RUN_NAME.fullmatch(name)
    if found is None:
        return task, name, "", ""
    return task, found["eta"], found["rho"], found["seed"]
