"""Parameters kept at some of a run's checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samedge.records.parameters import Kept
from samedge.tasks.leaves import named_leaves
from samedge.training.observers.observer import Snapshot
from samedge.training.schedule import Shares


@dataclass
class ParameterKeeper:
    """Keeps the parameters of some checks, for an audit.

    Attributes
    ----------
    at
        Shares of the budget, ascending; each chooses the first check at or after it.
    kept
        What has been kept so far.
    """

    at: tuple[float, ...]
    kept: list[Kept] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._shares = Shares(self.at)

    def __call__(self, snapshot: Snapshot) -> None:
        """Keep a copy of the parameters if this check is chosen."""
        if self._shares.reached(snapshot.share):
            self.kept.append(Kept(snapshot.step, named_leaves(snapshot.params)))

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes, see :class:`Resumable`."""
        kept = [{"step": check.step, "leaves": dict(check.leaves)} for check in self.kept]
        return {"passed": self._shares.passed, "kept": kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was kept up to a checkpoint."""
        self._shares.passed = state["passed"]
        self.kept = [Kept(check["step"], check["leaves"]) for check in state["kept"]]
