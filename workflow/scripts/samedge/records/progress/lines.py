"""The progress file of a run: what it says while it is under way, one line of JSON at a time.

Each line is an object with ``line``, its kind, and ``at``, when it was written (UTC):

``begin``
    A process begins, or goes on: ``version`` of this format, ``settings`` of the run, and the
    process as ``host``, ``place``, ``pid`` and ``born``, see
    :class:`samedge.base.process.ProcessMark`.
``ready``
    Data and device are there: ``environment``, the attributes that a run file has of them.
``check``
    A check: ``values``, those of a run file, and ``left``, about how many seconds the run will take
    yet, null where that is not known. A number that is not finite is null.
``alive``
    A sign of life between checks: ``step``, ``training_time`` and ``left``.
``end``
    The end: ``status`` (one of :data:`ENDS`), the ``step`` and, in words, the ``reason``.

A process that was killed leaves no ``end``, and may leave a last line that is not whole.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from samedge.base.errors import UserError
from samedge.base.process import ProcessMark
from samedge.config.settings import RunSettings
from samedge.records.variables import CHECK_KEYS

VERSION = 1
#: The folder of progress files, beside that of the run files.
FOLDER, RUNS = "progress", "runs"
SUFFIX = ".jsonl"
#: What the name of a progress file ends in that lies beside its run file.
BESIDE = ".progress.jsonl"
ENDS = ("completed", "diverged", "failed", "interrupted")


@dataclass(eq=False)
class Progress:
    """What a progress file says.

    Attributes
    ----------
    settings, process, began
        Of the run, and of the last process that was at it.
    environment
        The attributes of a run file that say of data and device, None before they are there.
    checks
        The values of every check so far, in order of their steps.
    step, training_time, left
        How far the run is: steps, seconds of training, and seconds that it will take yet, None
        where that is not known.
    going
        Whether its last process has measured or trained yet.
    status, reason
        How it ended, one of :data:`ENDS`, and why; None and "" while it has not.
    heard, gap
        When the last line was written, and the longest time in seconds between two so far.
    """

    settings: RunSettings
    process: ProcessMark
    began: datetime
    heard: datetime
    environment: Mapping[str, Any] | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    training_time: float = 0.0
    left: float | None = None
    going: bool = False
    status: str | None = None
    reason: str = ""
    gap: float = 0.0


def path_of(output: Path) -> Path:
    """Return the progress file of a run by its run file.

    It is ``progress/<task>/<run>.jsonl`` where that is ``runs/<task>/<run>.nc``, and beside any
    other one.
    """
    if output.parent.parent.name == RUNS:
        folder = output.parent.parent.with_name(FOLDER) / output.parent.name
        return folder / f"{output.stem}{SUFFIX}"
    return output.with_name(f"{output.stem}{BESIDE}")


def begin(settings: RunSettings, process: ProcessMark) -> str:
    """Return the line with which a process begins."""
    own = json.loads(settings.to_json())
    return _line("begin", version=VERSION, settings=own, **asdict(process))


def ready(environment: Mapping[str, Any]) -> str:
    """Return the line that says on which data and device a run is trained."""
    return _line("ready", environment=dict(environment))


def check(values: Mapping[str, Any], left: float | None) -> str:
    """Return the line of a check."""
    return _line("check", values=dict(values), left=left)


def alive(step: int, training_time: float, left: float | None) -> str:
    """Return the line of a sign of life."""
    return _line("alive", step=step, training_time=training_time, left=left)


def end(status: str, step: int | None, reason: str) -> str:
    """Return the last line; ``step`` is None if no step was taken yet."""
    return _line("end", status=status, step=step, reason=reason)


def whole_lines(content: bytes) -> list[str]:
    """Return the lines of a progress file without a last one that is not whole."""
    return content.decode("utf-8", "replace").split("\n")[:-1]


def read(path: Path) -> Progress | None:
    """Return what a progress file says, None if it has no whole line yet.

    Raises
    ------
    UserError
        If the file cannot be read, is damaged, or is of a later version of the format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return parse(path, whole_lines(content))


def parse(path: Path, lines: list[str]) -> Progress | None:
    """Return what the lines of a progress file say, None if there are none.

    Raises
    ------
    UserError
        Naming the file as ``path``, as :func:`read`.
    """
    found: Progress | None = None
    for number, text in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            line = json.loads(text)
            if line["line"] == "begin":
                found = _begun(where, line, found)
            elif found is None:
                raise ValueError("nothing began before it")
            else:
                _take(found, line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{where}: damaged ({what}); deleting the file harms no run") from error
    return found


def _begun(where: str, line: Mapping[str, Any], before: Progress | None) -> Progress:
    """Return the progress of a process that has begun, with the checks of the one before it."""
    version = line["version"]
    if version != VERSION:
        raise UserError(
            f"{where}: of version {version} of the format, and this samedge knows {VERSION}; "
            "read it with another samedge, a newer one if the version is later"
        )
    settings = RunSettings.from_json(json.dumps(line["settings"]))
    process = ProcessMark(line["host"], line["place"], line["pid"], line["born"])
    at = datetime.fromisoformat(line["at"])
    found = Progress(settings, process, at, at)
    if before is not None and before.settings == settings:
        found.environment, found.checks = before.environment, before.checks
        found.step, found.training_time = before.step, before.training_time
    return found


def _take(found: Progress, line: Mapping[str, Any]) -> None:
    """Take one more line into account."""
    at = datetime.fromisoformat(line["at"])
    found.gap = max(found.gap, (at - found.heard).total_seconds())
    found.heard = at
    match line["line"]:
        case "ready":
            found.environment = dict(line["environment"])
        case "check":
            found.going = True
            values = {name: _numbers(line["values"][name]) for name in CHECK_KEYS}
            # A process that goes on from before the last check makes it again.
            while found.checks and found.checks[-1]["step"] >= values["step"]:
                found.checks.pop()
            found.checks.append(values)
            found.step, found.training_time = int(values["step"]), values["training_time"]
            found.left = line["left"]
        case "alive":
            found.going = True
            found.step, found.training_time = int(line["step"]), float(line["training_time"])
            found.left = line["left"]
        case "end":
            if line["status"] not in ENDS:
                raise ValueError(f"its status is '{line['status']}', not one of {', '.join(ENDS)}")
            found.status, found.reason, found.left = line["status"], str(line["reason"]), None
            found.step = found.step if line["step"] is None else int(line["step"])
        case kind:
            raise ValueError(f"its kind is '{kind}'")


def _numbers(value: Any) -> Any:
    """Return a number, or an array of them, in which null was not finite."""
    if isinstance(value, list):
        return np.array(value, np.float64)  # None becomes NaN
    return math.nan if value is None else float(value)


def _line(kind: str, **content: Any) -> str:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    whole = {"line": kind, "at": at} | {name: _plain(value) for name, value in content.items()}
    return json.dumps(whole, allow_nan=False, separators=(",", ":"), default=str) + "\n"


def _plain(value: Any) -> Any:
    """Return a value in the types of JSON, which knows no number that is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
