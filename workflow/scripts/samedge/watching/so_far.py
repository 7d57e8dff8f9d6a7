"""Cubes of runs as they stand: those that have ended by their files, others as far as they are.

A run that has not ended has the status "missing", with its checks so far, so that no statistic
takes it for a whole one.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from samedge.base.errors import UserError
from samedge.config.grid import AXES
from samedge.config.settings import RunSettings
from samedge.records import schema
from samedge.records.cubes import cube_of
from samedge.records.merging import Gathering, RunFile
from samedge.watching.run import (
    DIVERGED,
    FAILED,
    FINISHED,
    KILLED,
    STOPPED,
    TRAINING,
    WAITING,
    WatchedRun,
    in_words,
)

#: What stands for data and device of runs that have not said on which they are trained.
UNKNOWN: Mapping[str, Any] = dict.fromkeys(schema.ENVIRONMENT_ATTRIBUTES, "") | {
    "package_versions": "{}",
    "plugins": "{}",
    "data_stand_in": 0,
}

#: How sentences say that a run stands as it does, where it is not "is".
VERBS = {FAILED: "has", KILLED: "was", STOPPED: "was"}


@dataclass
class SoFar:
    """An experiment as it stands.

    Attributes
    ----------
    cubes
        By task.
    unfinished
        By task and name of the run, how each stands that has not ended by itself: one of
        :data:`samedge.watching.runs.STATES`, and a sentence.
    left_out
        Runs that are in no cube, each with the reason.
    """

    cubes: dict[str, xr.Dataset] = field(default_factory=dict)
    unfinished: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def so_far(runs: Iterable[WatchedRun]) -> SoFar:
    """Return the cubes of runs as they stand; runs of other settings than most are left out."""
    found = SoFar()
    for task, group in itertools.groupby(
        sorted(runs, key=lambda run: run.task), key=lambda run: run.task
    ):
        _gather(found, task, list(group))
    return found


def _gather(found: SoFar, task: str, runs: Sequence[WatchedRun]) -> None:
    """Add the cube of a task, if any of its runs says of which settings it is."""
    known = [run for run in runs if run.settings is not None]
    left_out = [f"{task} {run.name}: {run.note}" for run in runs if run.settings is None]
    if known:
        [(usual, _)] = Counter(run.shared for run in known).most_common(1)
        left_out += [
            f"{task} {run.name}: other settings than most runs of the task"
            for run in known
            if run.shared != usual
        ]
        known = [run for run in known if run.shared == usual]
        gathering = Gathering(_grid([run.settings for run in known if run.settings]))
        unfinished = found.unfinished.setdefault(task, {})
        environment = _environment(known)
        for run in known:
            assert run.settings is not None
            try:
                contents = run.contents if run.file else _contents(run, environment)
            except UserError as error:
                left_out.append(f"{task} {run.name}: {error}")
                continue
            if run.file and gathering.blocks and contents.blocks != gathering.blocks:
                left_out.append(f"{task} {run.name}: other blocks than the runs before")
                continue
            gathering.put(run.settings, contents)
            if not run.file:
                unfinished[run.name] = run.state, _sentence(run)
        if gathering.environments:
            found.cubes[task] = cube_of(gathering, {})
    found.left_out += left_out


def _grid(settings: Sequence[RunSettings]) -> list[RunSettings]:
    """Return every run of the grid that these runs lie on."""
    axes = [dict.fromkeys(getattr(one, axis) for one in settings) for axis in AXES]
    return [
        replace(settings[0], **dict(zip(AXES, point, strict=True)))
        for point in itertools.product(*axes)
    ]


def _environment(runs: Sequence[WatchedRun]) -> Mapping[str, Any]:
    """Return on which data and device runs are trained, by the first that says so."""
    for run in runs:
        if run.file is not None:
            try:
                return run.contents.attributes
            except UserError:
                continue
        if run.progress is not None and run.progress.environment is not None:
            return run.progress.environment
    return UNKNOWN


def _contents(run: WatchedRun, environment: Mapping[str, Any]) -> RunFile:
    """Return what a run file would hold of a run so far."""
    assert run.settings is not None
    checks = run.progress.checks if run.progress is not None else []
    own = run.progress.environment if run.progress is not None else None
    sizes = {"check": len(checks), "rank": np.size(checks[0]["eigenvalue"]) if checks else 0}
    values = {
        name: np.array([check[name] for check in checks]) for name in schema.CHECK_KEYS if checks
    }
    attributes = {**(own or environment), "settings": run.settings.to_json()}
    return RunFile(sizes, values | {"end_step": np.array(float(run.step))}, attributes)


def _sentence(run: WatchedRun) -> str:
    """Return how a run stands, as a sentence."""
    of = "" if run.steps is None else f" of {run.steps:,}"
    where = f"step {run.step:,}{of}"
    if run.state == WAITING:
        return "This run has not started."
    if run.state in (FINISHED, DIVERGED):
        note = f": {run.note}" if run.note else ""
        return f"This run has {run.state} at {where}{note}; its job has not written its file yet."
    if run.state == TRAINING and run.left is not None:
        return f"This run is training: {where}, about {in_words(run.left)} left."
    note = f": {run.note}" if run.note else ""
    verb = VERBS.get(run.state, "is")
    return f"This run {verb} {run.state} at {where}{note}."
