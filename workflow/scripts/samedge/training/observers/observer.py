"""What an observer is: something that records more at some of a run's checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax

from samedge.curvature.eigenpairs import RitzPairs

# The first two keys of a seed are those of the initial weights and of the eigenvalue solver.
DENSITY_KEY, BLOCK_KEY, STOCHASTIC_KEY = 2, 3, 4


@dataclass(frozen=True)
class Snapshot:
    """What a check sees, for whatever else is to be recorded there.

    Attributes
    ----------
    step
        Optimiser steps taken.
    share
        The share of the budget that is spent, 0 to 1 and, at the last check, at least 1.
    params
        The parameters. The next step reuses their memory: who keeps them keeps a copy.
    batch
        Inputs and targets that the check measures on.
    optimizer_state
        The optimizer's state, whose memory the next step reuses too.
    spectrum
        The Ritz pairs that the check found, those of its eigenvalues first.
    before
        The state of the run as it was before this check, see
        :meth:`samedge.training.state.RunState.save`.
    """

    step: int
    share: float
    params: Any
    batch: tuple[jax.Array, ...]
    optimizer_state: Any = None
    spectrum: RitzPairs | None = None
    before: Mapping[str, Any] = field(default_factory=dict)


Observer = Callable[[Snapshot], None]


@runtime_checkable
class Resumable(Protocol):
    """An observer that a run which goes on from a checkpoint takes along.

    Its state is a dictionary of nested dictionaries and lists of numbers, text, None and arrays; a
    state that was returned does not change afterwards.
    """

    def state(self) -> Any:
        """Return all that the observer has gathered so far."""
        ...

    def restore(self, state: Any) -> None:
        """Go on from such a state."""
        ...
