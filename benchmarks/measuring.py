"""What every benchmark shares: interleaved timings, their spread, the machine, results in JSON.

Timings of two things compare when both are taken in one process, in turns: what slows the
machine for a while then slows both. So a comparison is a set of cases that are run in rounds, and
a ratio is the median over rounds of the ratio within a round.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from samedge.base.files import whole_file

RESULTS = Path(__file__).resolve().parent / "results"
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """What one call returned, and the wall-clock seconds it took."""

    seconds: float
    result: Result


def interleave(
    cases: Mapping[str, Callable[[int], Result]], repetitions: int, warm_up: bool = True
) -> dict[str, list[Timed[Result]]]:
    """Time every case once in each of ``repetitions`` rounds.

    The order is turned by one from round to round, so that no case always follows the same one.

    Parameters
    ----------
    cases
        Functions of the round, 0, 1, …, from which they take their random numbers. They must
        return only when their work is done, not when it has been dispatched.
    repetitions
        Number of rounds.
    warm_up
        Whether to call every case once before, with round 0 and untimed, which compiles.

    Returns
    -------
    For each case its timings, by round.
    """
    if warm_up:
        for case in cases.values():
            case(0)
    timings: dict[str, list[Timed[Result]]] = {name: [] for name in cases}
    for taken in rounds(cases, repetitions):
        for name, timing in taken.items():
            timings[name].append(timing)
    return timings


def rounds(
    cases: Mapping[str, Callable[[int], Result]], repetitions: int
) -> Iterator[dict[str, Timed[Result]]]:
    """Take the rounds of :func:`interleave` one by one, so that each can be stored when it ends."""
    names = list(cases)
    for repetition in range(repetitions):
        turn = repetition % max(1, len(names))
        yield {name: timed(cases[name], repetition) for name in names[turn:] + names[:turn]}


def timed(function: Callable[..., Result], *arguments: Any) -> Timed[Result]:
    """Call a function and time it."""
    begun = time.perf_counter()
    result = function(*arguments)
    return Timed(time.perf_counter() - begun, result)


def spread(values: Sequence[float]) -> dict[str, float | list[float]]:
    """Return the median, the smallest, the largest and all of some values, ready for JSON."""
    values = [float(value) for value in values]
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": values,
    }


def seconds(timings: Sequence[Timed[Any]]) -> dict[str, float | list[float]]:
    """Return the spread of the seconds of some timings."""
    return spread([timing.seconds for timing in timings])


def ratio(
    numerators: Sequence[Timed[Any]], denominators: Sequence[Timed[Any]]
) -> dict[str, float | list[float]]:
    """Return the spread, over rounds, of the ratio of two cases' seconds within a round."""
    pairs = zip(numerators, denominators, strict=True)
    return spread([above.seconds / below.seconds for above, below in pairs])


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Describe the machine, the interpreter and the versions of some installed packages."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def read_results(path: Path) -> dict[str, Any]:
    """Return the results stored in a file; none if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def merge_results(path: Path, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Put entries into a results file, over those of the same name, and return all of it.

    The file is replaced as a whole, so that it is valid at any time.
    """
    merged = read_results(path) | dict(entries)
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    return merged


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of text in columns, the first one on the left; row 0 is the heading."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *rest = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
