"""Parameters kept at some of a run's checks."""

from collections.abc import Mapping
from typing import Any

from samedge.records.parameters import Kept
from samedge.tasks.leaves import named_leaves
from samedge.training.observers.keeper import Keeper
from samedge.training.observers.observer import Snapshot


class ParameterKeeper(Keeper[Kept]):
    """Keeps the parameters of some checks, for an audit."""

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
