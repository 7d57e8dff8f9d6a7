"""What a workflow is to train: a small file that it writes when it starts, for whoever watches it.

It is JSON beside the progress files: ``version``, ``at``, when the workflow started (UTC), and
``tasks``, the grid of each (:mod:`samedge.config.grid`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from samedge.base.errors import UserError
from samedge.base.files import write_whole
from samedge.config.grid import grid_json, grid_runs
from samedge.config.settings import RunSettings
from samedge.records.progress.lines import FOLDER

NAME = "planned.json"
VERSION = 1


@dataclass(frozen=True)
class Plan:
    """The runs of each task, and when the workflow that is to train them started."""

    started: datetime
    tasks: Mapping[str, Sequence[RunSettings]]


def write_plan(results: Path, tasks: Mapping[str, Sequence[RunSettings]]) -> None:
    """Write the plan of an experiment, given the folder of its results.

    Raises
    ------
    OSError
        If that is not possible.
    """
    content = {
        "version": VERSION,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tasks": {task: json.loads(grid_json(runs)) for task, runs in tasks.items()},
    }
    write_whole(results / FOLDER / NAME, json.dumps(content))


def read_plan(results: Path) -> Plan | None:
    """Return the plan of an experiment, None if it has none.

    Raises
    ------
    UserError
        If it cannot be read, is damaged, or is of another version.
    """
    path = results / FOLDER / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise UserError(
                f"{path}: of version {content['version']}, and this samedge knows {VERSION}"
            )
        tasks = {task: grid_runs(json.dumps(grid)) for task, grid in content["tasks"].items()}
        return Plan(datetime.fromisoformat(content["at"]), tasks)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged; deleting it harms no run") from error
