"""What other runs start from, kept at some of a run's checks."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from samedge.records.states import KeptState
from samedge.training.observers.keeper import Keeper
from samedge.training.observers.observer import Snapshot


class StateKeeper(Keeper[KeptState]):
    """Keeps what decides the rest of the run at some of its checks, for runs that start there."""

    def __call__(self, snapshot: Snapshot) -> None:
        """Keep a copy of the state if this check is chosen."""
        places = self._shares.reached(snapshot.share)
        if places:
            state = _without_past(snapshot.before)
            self.kept += [KeptState(self.at[place], state) for place in places]

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes, see :class:`Resumable`."""
        kept = [{"at": one.at, "state": one.state} for one in self.kept]
        return {"passed": self._shares.passed, "kept": kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was kept up to a checkpoint."""
        self._shares.passed = state["passed"]
        self.kept = [KeptState(one["at"], one["state"]) for one in state["kept"]]


def _without_past(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a run's state without what was recorded up to it.

    Of its observers only what they start a solver from is left.
    """
    observers = {
        name: {"start": own["start"]}
        for name, own in state["observers"].items()
        if own.get("start") is not None
    }
    left = {**state, "records": [], "observers": observers}
    return jax.tree.map(lambda x: np.array(x) if isinstance(x, jax.Array) else x, left)
