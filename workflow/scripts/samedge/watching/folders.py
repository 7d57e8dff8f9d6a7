"""The folders that are watched: what is in them, and what to say where no experiment is."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from samedge.base.errors import UserError, did_you_mean
from samedge.config.settings import RunSettings
from samedge.records.progress import lines


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, but for hidden ones; none if it is not there."""
    return _within(folder, os.DirEntry.is_file)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, but for hidden ones; none if it is not there."""
    return _within(folder, os.DirEntry.is_dir)


def _within(folder: Path, wanted: Callable[[os.DirEntry], bool]) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if wanted(entry) and not entry.name.startswith(".")
            )
    except OSError:
        return []


def is_experiment(folder: Path) -> bool:
    """Tell whether a folder has the results of an experiment, be they begun only."""
    return any((folder / name).is_dir() for name in (lines.RUNS, lines.FOLDER))


def require_experiment(folder: Path) -> bool:
    """Tell whether a folder has runs made by hand rather than an experiment's results.

    Raises
    ------
    UserError
        If it has neither.
    """
    if is_experiment(folder):
        return False
    if not folder.exists():
        near = Path("results") / folder
        others = [path.name for path in folders_in(folder.absolute().parent)]
        hint = (
            f"; did you mean {near}?" if is_experiment(near) else did_you_mean(folder.name, others)
        )
        raise UserError(f"{folder}: no such folder{hint}")
    if not folder.is_dir():
        raise UserError(f"{folder}: a file; give the folder of an experiment, results/<experiment>")
    if any(path.suffix == ".nc" or path.name.endswith(lines.BESIDE) for path in files_in(folder)):
        return True
    within = [path for path in folders_in(folder) if is_experiment(path)]
    if within:
        raise UserError(
            f"{folder}: holds {len(within)} experiment{'s' if len(within) > 1 else ''}; name one: "
            f"{', '.join(map(str, within))}"
        )
    above = next(
        (parent for parent in folder.absolute().parents[:2] if is_experiment(parent)), None
    )
    hint = "" if above is None else f"; did you mean {os.path.relpath(above)}?"
    raise UserError(
        f"{folder}: no experiment: it has neither {lines.RUNS}/ nor {lines.FOLDER}/; give "
        f"results/<experiment> of a workflow that has started{hint}"
    )


def logs_of(results: Path, settings: RunSettings) -> Iterator[Path]:
    """Yield the logs of the jobs that may have been to train a run."""
    parts = settings.name.split("_")
    for rule in ("train_run", "train_parent"):
        yield results / "logs" / rule / settings.task / f"{settings.name}.log"
    for path in files_in(results / "logs" / "train_together" / settings.task):
        if path.stem == "all" or {*path.stem.split("_")} <= {*parts}:
            yield path


def error_in(log: Path) -> str:
    """Return the error that a job ended with, "" without one."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.findall(r"^(?:\S+\.py: )?error: (.*)$", text, re.MULTILINE)
    return found[-1] if found else ""


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return what tells that a file has changed, when it did first; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
