"""The runs of an experiment as they stand: from run files, progress files, logs and the plan.

Everything is only read, and read again only where it has changed. A run's latest word counts: its
run file, unless a progress file was written since.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.records.progress import lines
from samedge.records.progress.lines import Progress
from samedge.records.progress.plan import Plan, read_plan
from samedge.watching.folders import (
    error_in,
    files_in,
    folders_in,
    logs_of,
    require_experiment,
    stamp_of,
)
from samedge.watching.run import (
    DAMAGED,
    FAILED,
    STATES,
    WAITING,
    WatchedRun,
    of_progress,
    of_run_file,
    place_of,
)

Found = TypeVar("Found")
Stamp = tuple[int, int, int]


class Watch:
    """Looks at the runs of an experiment, again and again.

    Parameters
    ----------
    folder
        The results of an experiment, or a folder of run files made by hand.

    Raises
    ------
    UserError
        If it is none; the message says what is there instead.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_hand = require_experiment(folder)
        self._known: dict[Path, tuple[Stamp, Any]] = {}
        self._kept: dict[tuple[str, str], WatchedRun] = {}

    def look(self) -> list[WatchedRun]:
        """Return the runs as they stand now, in order of task, eta, rho and seed.

        Raises
        ------
        UserError
            If the plan is damaged.
        """
        plan = None if self.by_hand else read_plan(self.folder)
        found: dict[tuple[str, str], WatchedRun] = {}
        if plan is not None:
            for task, settings in plan.tasks.items():
                found |= {(task, one.name): self._planned(plan, task, one) for one in settings}
        entries = dict(self._entries())
        for key, (run_file, progress_file) in entries.items():
            run = self._run(key, run_file, progress_file)
            if run is not None:
                found[(run.task, run.name) if not self.by_hand else key] = run
        # What has not changed stays the same object, so that its curve is read once.
        for place, run in found.items():
            before = self._kept.get(place)
            if before is not None and run == before:
                found[place] = before
        self._kept = found
        return sorted(found.values(), key=_place)

    def _entries(self) -> Iterator[tuple[tuple[str, str], tuple[Path | None, Path | None]]]:
        """Yield task and name of every run that has a run file or a progress file, and these."""
        run_files: dict[tuple[str, str], Path] = {}
        progress_files: dict[tuple[str, str], Path] = {}
        if self.by_hand:
            for path in files_in(self.folder):
                if path.name.endswith(lines.BESIDE):
                    progress_files["", path.name.removesuffix(lines.BESIDE)] = path
                elif path.suffix == ".nc":
                    run_files["", path.stem] = path
        for kind, suffix, found in (
            (lines.RUNS, ".nc", run_files),
            (lines.FOLDER, lines.SUFFIX, progress_files),
        ):
            if not self.by_hand:
                for task in folders_in(self.folder / kind):
                    for path in files_in(task):
                        if path.suffix == suffix:
                            found[task.name, path.stem] = path
        for key in dict.fromkeys([*run_files, *progress_files]):
            yield key, (run_files.get(key), progress_files.get(key))

    def _run(
        self, key: tuple[str, str], run_file: Path | None, progress_file: Path | None
    ) -> WatchedRun | None:
        """Return a run by its files, None if neither is there any more, or a run's."""
        stamps = {
            path: stamp for path in (run_file, progress_file) if path and (stamp := stamp_of(path))
        }
        if progress_file in stamps and (
            run_file not in stamps or stamps[progress_file][0] > stamps[run_file][0]
        ):
            run = self._progress(key, progress_file, stamps[progress_file])
            if run is not None:
                return run
        if run_file is None or run_file not in stamps:
            return None
        return self._once(run_file, stamps[run_file], partial(of_run_file, key, run_file))

    def _progress(self, key: tuple[str, str], path: Path, stamp: Stamp) -> WatchedRun | None:
        def read() -> Progress | UserError | None:
            try:
                return lines.read(path)
            except UserError as error:
                return error

        progress = self._once(path, stamp, read)
        if progress is None:
            return None
        if isinstance(progress, UserError):
            return WatchedRun(*place_of(*key), DAMAGED, str(progress))
        return of_progress(progress, time.time() - stamp[0] / 1e9)

    def _once(self, path: Path, stamp: Stamp, read: Callable[[], Found]) -> Found:
        """Read a file unless it was read as it is."""
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        found = read()
        self._known[path] = stamp, found
        return found

    def _planned(self, plan: Plan, task: str, settings: RunSettings) -> WatchedRun:
        """Return a run of which there is no file: it has failed early, if its log says so."""
        place = (task, settings.eta, settings.rho, str(settings.seed))
        steps = settings.budget.steps
        for log in logs_of(self.folder, settings):
            stamp = stamp_of(log)
            if stamp is not None and stamp[0] / 1e9 >= plan.started.timestamp():
                reason = self._once(log, stamp, partial(error_in, log))
                if reason:
                    return WatchedRun(*place, FAILED, reason, steps=steps, settings=settings)
        return WatchedRun(*place, WAITING, steps=steps, settings=settings)


def count(runs: Iterable[WatchedRun]) -> dict[str, int]:
    """Return how many runs stand in which way, in the order of :data:`STATES`."""
    states = [run.state for run in runs]
    return {state: states.count(state) for state in STATES if state in states}


def _place(run: WatchedRun) -> tuple:
    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return np.inf

    return run.task, number(run.eta), number(run.rho), number(run.seed), run.eta
