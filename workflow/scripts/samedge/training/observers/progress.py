"""What runs tell of themselves while they are under way, in their progress files.

:mod:`samedge.records.progress.lines` has the format. Nothing depends on these files: one that
cannot be written is reported once, and one that was deleted comes back whole with the next line.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from samedge.base.errors import Interrupted, UserError, user_message
from samedge.base.files import whole_file
from samedge.base.process import ProcessMark
from samedge.config.settings import RunSettings
from samedge.records.progress import lines

SECONDS_BETWEEN_SIGNS = 20.0  # of life, between checks

Report = Callable[[str], None]


class Planned(Protocol):
    """A run of a job, see :class:`samedge.training.job.PlannedRun`."""

    @property
    def settings(self) -> RunSettings:
        """Return what determines the run."""
        ...

    @property
    def output(self) -> Path:
        """Return its run file."""
        ...


class ProgressFile:
    """The progress file of a run that this process is at.

    Parameters
    ----------
    output
        The run file, which says where the progress file lies.
    settings
        Of the run.
    report
        Called with a line, once, if the file cannot be written.
    """

    def __init__(self, output: Path, settings: RunSettings, report: Report) -> None:
        self.output = output
        self.path = lines.path_of(output)
        self.settings = settings
        self.report = report
        self.checks = 0
        self.step: int | None = None
        self._lines = self._before()
        self._size = -1  # of what was written; nothing has been yet
        self._told = False
        self._written = 0.0
        self._append(lines.begin(settings, ProcessMark.own()))

    def ready(self, environment: Mapping[str, Any]) -> None:
        """Say on which data and device the run is trained."""
        self._append(lines.ready(environment))

    def go_on(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Say which checks the run has behind it: those of its checkpoint, none without one."""
        kinds = ('{"line":"begin"', '{"line":"ready"')
        last = [[one for one in self._lines if one.startswith(kind)][-1:] for kind in kinds]
        before = [lines.check(record, None) for record in records]
        self.checks = len(records)
        self._lines, self._size = [*last[0], *last[1], *before], -1
        self._write()

    def check(self, record: Mapping[str, Any], left: float | None) -> None:
        """Record a check; ``left`` is about how many seconds the run will take yet."""
        self.checks += 1
        self.step = int(record["step"])
        self._append(lines.check(record, left))

    def alive(self, step: int, training_time: float, left: float | None) -> None:
        """Give a sign of life, if there was none for a while."""
        self.step = step
        if time.monotonic() - self._written >= SECONDS_BETWEEN_SIGNS:
            self._append(lines.alive(step, training_time, left))

    def end(self, status: str, step: int | None, reason: str) -> None:
        """Say how the run ended."""
        self._append(lines.end(status, step, reason))

    def fail(self, status: str, reason: str) -> None:
        """Say that the job has ended before the run, or before the run's file was written.

        Where it was written, the file is removed; and beside a run file nothing is left of a job
        that has not measured anything.
        """
        nothing = self.path.name.endswith(lines.BESIDE) and not self.checks
        if nothing or self._is_written():
            self.remove()
        else:
            self.end(status, self.step, reason)

    def remove(self) -> None:
        """Remove the file: the run file says it all."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _is_written(self) -> bool:
        """Tell whether the run file was written after the last line."""
        try:
            return self.output.stat().st_mtime_ns > self.path.stat().st_mtime_ns
        except OSError:
            return False

    def _before(self) -> list[str]:
        """Return the lines of an earlier process at the same run, none if these are of no use."""
        try:
            found = lines.whole_lines(self.path.read_bytes())
            progress = lines.parse(self.path, found)
        except (OSError, UserError):
            return []
        if progress is None or progress.settings != self.settings:
            return []
        return [f"{line}\n" for line in found]

    def _append(self, line: str) -> None:
        self._lines.append(line)
        self._write()

    def _write(self) -> None:
        """Write the last line, or all of them where the file is not as it was left."""
        self._written = time.monotonic()
        try:
            self._size = self._append_last() or self._write_all()
        except OSError as error:
            self._size = -1
            if not self._told:
                self.report(
                    f"no progress file: {self.path}: {error.strerror}; the run goes on without"
                )
            self._told = True

    def _append_last(self) -> int | None:
        """Append the last line in one piece; return the size, None if there is more to write."""
        line = self._lines[-1].encode()
        with suppress(FileNotFoundError):
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                if os.fstat(file).st_size == self._size and os.write(file, line) == len(line):
                    return self._size + len(line)
            finally:
                os.close(file)
        return None

    def _write_all(self) -> int:
        content = "".join(self._lines).encode()
        with whole_file(self.path) as temporary:
            temporary.write_bytes(content)
        return len(content)


@contextmanager
def progress_files(runs: Sequence[Planned], report: Report) -> Iterator[list[ProgressFile]]:
    """Begin the progress files of a job's runs.

    If the context is left by an error, they say so; else they are removed, as the job has written
    its run files.
    """
    files = [ProgressFile(run.output, run.settings, report) for run in runs]
    try:
        yield files
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        reason = user_message(error) if isinstance(error, Exception) else str(error)
        for file in files:
            file.fail("interrupted" if stopped else "failed", reason)
        raise
    for file in files:
        file.remove()
