"""Runs that start from others, at one of their checks.

A fork starts with what the other run was just before the check (:mod:`samedge.records.states`): it
measures there anew, and with nothing changed it comes to what the run itself came to.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.records.cubes import differences
from samedge.records.files import Outcome
from samedge.records.states import read_states


@dataclass(frozen=True)
class Start:
    """Where a fork starts.

    Attributes
    ----------
    parent
        The settings of the run that it starts from.
    state
        What that run was at the check, None if it ended before.
    outcome
        How that run ended.
    digest
        The SHA-256 of the file that says so.
    """

    parent: RunSettings
    state: Mapping[str, Any] | None
    outcome: Outcome
    digest: str

    def keeps_optimizer(self, settings: RunSettings) -> bool:
        """Tell whether a run goes on with the optimizer's state: if its update rule is equal."""
        return self.parent.update == settings.update


def read_start(path: Path, settings: RunSettings, data_checksum: str) -> Start:
    """Return where a run starts, by the state file of the run that it starts from.

    Raises
    ------
    UserError
        If the file cannot be read, or is not of the run that ``settings`` name, or of other data.
    """
    start, parent = settings.start_from, settings.parent
    if start is None or parent is None:
        raise UserError(
            f"--start-from: the settings of {settings.task} {settings.name} have no start_from, so "
            "that it starts at the beginning; leave out --start-from"
        )
    content = read_states(path)
    if content["settings"] != parent.to_json():
        other = differences(json.loads(content["settings"]), json.loads(parent.to_json()))
        raise UserError(
            f"{path}: not of the run that {settings.task} {settings.name} starts from: "
            f"{'; '.join(other)}"
        )
    if content["data_checksum"] != data_checksum:
        raise UserError(
            f"{path}: trained on the data with the SHA-256 {content['data_checksum']}, the data "
            f"file of {settings.task} has {data_checksum}; a fork goes on with the data it began on"
        )
    found = [one["state"] for one in content["kept"] if one["at"] == start.at]
    outcome = Outcome(**content["outcome"])
    if not found and outcome.status == "completed":
        shares = ", ".join(str(one["at"]) for one in content["kept"]) or "none"
        raise UserError(
            f"{path}: has no state at the share {start.at} of the budget (it has: {shares}); train "
            f"{parent.task} {parent.name} again with --states-at {start.at}"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Start(parent, found[0] if found else None, outcome, digest)
