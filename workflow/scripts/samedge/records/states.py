"""What a run keeps for others to start from: its file.

A state file (``.npz``) belongs to one run. Of every check that was asked for it holds what decided
the rest of the run just before it. It says of which settings and data it is, and how the run ended,
so that a fork of one that diverged too early is known to have nothing to start from.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samedge.base.arrays import decode, encode
from samedge.base.errors import UserError
from samedge.base.files import whole_file
from samedge.config.settings import RunSettings
from samedge.records.files import Outcome

FORMAT = "samedge states 1"


@dataclass(frozen=True)
class KeptState:
    """What decided the rest of a run before the check that first reached a share of its budget."""

    at: float
    state: Mapping[str, Any]


def write_states(
    path: Path,
    settings: RunSettings,
    data_checksum: str,
    kept: Sequence[KeptState],
    outcome: Outcome,
) -> None:
    """Write the state file of a run that has ended, whole or not at all; ``kept`` may be empty."""
    content = {
        "format": FORMAT,
        "settings": settings.to_json(),
        "data_checksum": data_checksum,
        "kept": [{"at": one.at, "state": one.state} for one in kept],
        "outcome": asdict(outcome),
    }
    arrays: dict[str, Any] = encode(content)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_states(path: Path) -> dict[str, Any]:
    """Return what a state file holds: what :func:`write_states` was given, as plain values.

    Raises
    ------
    UserError
        If the file cannot be read, or is no state file.
    """
    try:
        # Opened here, as NumPy does not close what turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            content = decode({name: archive[name] for name in archive.files})
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, not {FORMAT}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: not the states that a run keeps for others, or damaged ({error}); delete it "
            "to have the run trained anew"
        ) from error
    return content
