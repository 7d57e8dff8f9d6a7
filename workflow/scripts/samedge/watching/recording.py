"""The run file of a training loop of one's own: the project's, written anew at each measurement."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from samedge.base.errors import UserError
from samedge.config.parts import BudgetSettings
from samedge.config.settings import RunSettings
from samedge.machine.provenance import provenance
from samedge.records import files, schema


@dataclass(frozen=True)
class _OwnData:
    """What a run file says of data that the monitor never sees whole."""

    checksum: str = ""

    @property
    def attributes(self) -> Mapping[str, str | bool | int]:
        """Return what the file says of its data."""
        described = "a training loop of one's own"
        return {"source": "own", "description": described, "stand_in": False}


class Recording:
    """The run file at a path (.nc)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _provenance(self) -> dict[str, object]:
        """What made the run: asked for once, as it looks at the checkout."""
        return provenance(_OwnData())

    def write(
        self,
        settings: RunSettings,
        records: Sequence[Mapping[str, Any]],
        step: int,
        diverged: str,
    ) -> None:
        """Write the measurements so far; ``diverged`` is the reason, or empty."""
        whole = replace(settings, budget=BudgetSettings(max(step, 1), None))
        status = "diverged" if diverged else "completed"
        outcome = files.Outcome(status, step, diverged, "test_loss", math.nan)
        dataset = files.run_dataset(
            whole,
            records,
            outcome,
            self._provenance | {"matmul_precision": settings.precision},
            history="measured by samedge.Monitor in a training loop of one's own",
        )
        files.write(dataset, self.path)

    def read(self, settings: RunSettings) -> tuple[RunSettings, list[dict[str, Any]]]:
        """Return the settings with eta and rho of the file, and the measurements in it.

        Raises
        ------
        UserError
            If it is the file of another monitor, or none.
        """
        dataset = files.read_run(self.path)
        found = RunSettings.from_json(str(dataset.attrs["settings"]))
        if found != replace(settings, eta=found.eta, rho=found.rho, budget=found.budget):
            raise UserError(
                f"{self.path}: holds a run of other settings than this monitor's (name, rule, k, "
                "tolerance, certify or seed); give another file, or delete it"
            )
        columns = {name: dataset[name].values[0, 0, 0] for name in schema.CHECK_KEYS}
        records = [
            {name: values[check] for name, values in columns.items()}
            for check in range(dataset.sizes["check"])
        ]
        return replace(settings, eta=found.eta, rho=found.rho), records
