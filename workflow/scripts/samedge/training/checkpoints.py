"""Checkpoints of a run in progress: written whole, verified before use, gone when it is done.

A checkpoint is a NumPy archive (``.npz``) of the run's state and its identity: all that decides
its numbers. Its name, ``<key>-<number>-<digest>.npz``, has the key of that identity, its place in
the order, and the SHA-256 of its bytes, so that neither damage nor another run's checkpoint can
pass for it, whatever the clocks of the machines say.
"""

import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from samedge.base.arrays import decode, encode
from samedge.base.errors import UserError
from samedge.base.files import locked

KEPT = 2
DIGITS = 16  # of a SHA-256, in names
NAME = re.compile(r"(?P<key>[0-9a-f]{16})-(?P<number>[0-9]{8,})-(?P<digest>[0-9a-f]{16})\.npz")
LOCK = "lock"
UNFINISHED = ".unfinished.npz"

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Interval:
    """How far apart checkpoints are: minutes of the job's time, or steps, whichever is first.

    None is no limit; with neither, checkpoints are only written when the job is asked to end.
    """

    minutes: float | None = None
    steps: int | None = None


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    folder
        Where they lie: a folder for this run alone.
    identity
        All that decides the run's numbers, as plain values: only a checkpoint of an equal one is
        ever used.
    interval
        How far apart they are written.
    report
        Called with a line about everything that was written, used or passed over.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], interval: Interval, report: Report
    ) -> None:
        self.folder = Path(folder)
        self.identity = json.loads(json.dumps(identity))
        text = json.dumps(self.identity, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
        self.interval = interval
        self.report = report
        self.written = time.monotonic()
        self.written_step = 0
        self.damaged: set[str] = set()

    def latest(self) -> dict[str, Any] | None:
        """Return the state in the newest checkpoint that is whole, None if there is none.

        Arrays come back as NumPy arrays, tuples as lists. Every damaged one is named.
        """
        for path in reversed(self._own()):
            try:
                state = read_checkpoint(path, self.identity)
            except UserError as problem:
                self.damaged.add(path.name)
                self.report(f"{problem}; passed over")
                continue
            self.written_step = state["step"]
            self.report(f"going on from step {state['step']}, by {path}")
            return state
        others = len(self._files()) - len(self._own())
        if others:
            self.report(
                f"{others} checkpoints in {self.folder} are of other settings, data, sources or "
                "packages and are not used"
            )
        return None

    def steps_left(self, step: int) -> int | None:
        """Return the steps until the next checkpoint is due, None if steps do not count."""
        if self.interval.steps is None:
            return None
        return max(1, self.written_step + self.interval.steps - step)

    def due(self, step: int) -> bool:
        """Tell whether it is time for a checkpoint, after so many steps of the run."""
        minutes, steps = self.interval.minutes, self.interval.steps
        by_time = minutes is not None and time.monotonic() - self.written >= 60 * minutes
        return by_time or (steps is not None and step - self.written_step >= steps)

    def save(self, state: Mapping[str, Any]) -> bool:
        """Write a checkpoint and keep the newest two; tell whether that was possible.

        A full disk is no reason to give up a run that may still end well: it is reported.

        Parameters
        ----------
        state
            Nested dictionaries and lists of numbers, text, None and arrays; ``step`` is the steps
            taken.
        """
        number = 1 + max((_number(path) for path in self._own()), default=0)
        self.written, self.written_step = time.monotonic(), state["step"]
        content = {"identity": self.identity, "state": state}
        try:
            path = _write(self.folder, f"{self.key}-{number:08d}", content)
        except OSError as error:
            self.report(
                f"no checkpoint at step {state['step']}: {self.folder}: {error.strerror}; "
                f"{'the one before stays' if self._own() else 'there is none yet'}"
            )
            return False
        kept = [other for other in self._own() if other.name not in self.damaged][-KEPT:]
        for other in self._own():
            if other not in kept:
                other.unlink(missing_ok=True)
        self.written = time.monotonic()
        self.report(f"checkpoint at step {state['step']}: {path}")
        return True

    def remove(self) -> None:
        """Remove this run's checkpoints; those of other identities stay."""
        for path in [*self._own(), self.folder / UNFINISHED]:
            path.unlink(missing_ok=True)

    def _own(self) -> list[Path]:
        """Return the checkpoints of this run's identity, oldest first."""
        own = [path for path in self._files() if path.name.startswith(f"{self.key}-")]
        return sorted(own, key=_number)

    def _files(self) -> list[Path]:
        """Return the checkpoints of every identity."""
        return [path for path in self.folder.glob("*.npz") if NAME.fullmatch(path.name)]


@contextmanager
def sole_writer(folder: Path, report: Report) -> Iterator[bool]:
    """Keep other processes from writing the checkpoints in ``folder`` while the context lasts.

    Where one is at it, as when a workflow was killed and its job lives on, its end is waited for.
    Yields whether it was so. A folder in which nothing is left is removed.
    """
    lock = Path(folder) / LOCK

    def waiting() -> None:
        report(f"another process is at this run (it has the lock {lock}); waiting")

    with locked(lock, waiting) as waited:
        try:
            yield waited
        finally:
            if list(lock.parent.iterdir()) == [lock]:
                lock.unlink()
                lock.parent.rmdir()


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state in a checkpoint.

    Raises
    ------
    UserError
        If the file cannot be read, is damaged, or is of another identity.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    named = NAME.fullmatch(path.name)
    if named is None or digest != named["digest"]:
        raise UserError(f"{path}: damaged, its contents do not have the SHA-256 in its name")
    with np.load(path, allow_pickle=False) as file:
        content = decode({name: file[name] for name in file.files})
    if content["identity"] != identity:
        raise UserError(f"{path}: a checkpoint of another run, or of other settings")
    return content["state"]


def _write(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write a checkpoint whose name ends in its digest. One process at a time does so."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / UNFINISHED
    try:
        with unfinished.open("w+b") as file:
            arrays: dict[str, Any] = encode(content)
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
        path = folder / f"{name}-{digest}.npz"
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _number(path: Path) -> int:
    found = NAME.fullmatch(path.name)
    return int(found["number"]) if found else 0
