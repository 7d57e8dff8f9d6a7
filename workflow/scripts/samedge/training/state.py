"""What decides the rest of a run, and how a checkpoint holds it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from samedge.curvature.eigenpairs import RitzPairs
from samedge.records.files import Outcome
from samedge.training.observers.observer import Observer, Resumable
from samedge.training.schedule import DivergenceWatch, Schedule

Check = dict[str, Any]


@dataclass
class RunState:
    """Everything that decides the rest of a run, its records so far, its outcome.

    Minibatches and random vectors follow from the seed and the step.

    Attributes
    ----------
    params, optimizer_state
        Where the next step starts. It reuses their memory.
    schedule, divergence, observers
        What counts steps and time, what counts bad checks, and what else is recorded at checks.
    spectrum, effective_spectrum
        Of the last check: the next one starts from it. The second is of the operator whose
        curvature meets the rule's edge, None where that is the Hessian.
    records
        Of every check so far, see :func:`samedge.records.files.run_dataset`.
    outcome
        None until the run has ended.
    checks_before
        How many checks the runs have behind them that this one starts from, and those from theirs.
    """

    params: Any
    optimizer_state: Any
    schedule: Schedule
    divergence: DivergenceWatch
    observers: Sequence[Observer] = ()
    spectrum: RitzPairs | None = None
    effective_spectrum: RitzPairs | None = None
    records: list[Check] = field(default_factory=list)
    outcome: Outcome | None = None
    checks_before: int = 0
    # Spent before the checkpoint that this process goes on from.
    _seconds_before: float = field(init=False, default=0.0)
    _started: float = field(init=False, default_factory=time.perf_counter)

    def start_clock(self) -> None:
        """Count the time from here on."""
        self._started = time.perf_counter()

    def wall_time(self) -> float:
        """Return the seconds spent on the run, by this process and by those before it."""
        return self._seconds_before + time.perf_counter() - self._started

    def save(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes, for a checkpoint.

        Valid until the next training step, which reuses the parameters' memory.
        """
        return {
            "step": self.schedule.step,
            "seconds": self.schedule.seconds,
            "next_seconds": self.schedule.next_seconds,
            "wall_time": self.wall_time(),
            "params": jax.tree.leaves(self.params),
            "state": jax.tree.leaves(self.optimizer_state),
            "spectrum": None if self.spectrum is None else list(self.spectrum),
            "effective_spectrum": (
                None if self.effective_spectrum is None else list(self.effective_spectrum)
            ),
            "records": list(self.records),
            "bound": self.divergence.bound,
            "exceeded": self.divergence.exceeded,
            "outcome": None if self.outcome is None else asdict(self.outcome),
            "checks": self.checks,
            "observers": {name: one.state() for name, one in self._resumable().items()},
        }

    @property
    def checks(self) -> int:
        """How many checks this run has behind it, with those of the runs that it starts from."""
        return self.checks_before + len(self.records)

    def restore(self, found: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self._take_over(found)
        self.optimizer_state = _with_leaves(self.optimizer_state, found["state"])
        self.records = found["records"]
        self.checks_before = found["checks"] - len(self.records)
        for name, observer in self._resumable().items():
            observer.restore(found["observers"][name])
        if found["outcome"] is not None:
            self.outcome = Outcome(**found["outcome"])

    def begin(self, found: Mapping[str, Any], same_rule: bool) -> None:
        """Start from what a state file holds of another run, with records of its own.

        What belongs to an update rule is taken over where the other run has the ``same_rule``; the
        optimizer begins anew where it has not, but counts the steps of a schedule from there.
        """
        self._take_over(found)
        self.checks_before = found["checks"]
        if same_rule:
            self.optimizer_state = _with_leaves(self.optimizer_state, found["state"])
        else:
            self.optimizer_state = _with_steps(self.optimizer_state, self.schedule.step)
            self.effective_spectrum = None
        for name, observer in self._resumable().items():
            if name in found["observers"]:
                observer.restore({"records": [], **found["observers"][name]})

    def _take_over(self, found: Mapping[str, Any]) -> None:
        """Take over what the rest of a run depends on whatever it records or steps by."""
        self.schedule.step, self.schedule.seconds = found["step"], found["seconds"]
        self.schedule.next_seconds = found["next_seconds"]
        self._seconds_before = found["wall_time"]
        self.params = _with_leaves(self.params, found["params"])
        for name in ("spectrum", "effective_spectrum"):
            if found[name] is not None:
                values, vectors = found[name]
                setattr(self, name, RitzPairs(values, jnp.array(vectors)))
        self.divergence.bound, self.divergence.exceeded = found["bound"], found["exceeded"]

    def _resumable(self) -> dict[str, Resumable]:
        """Return the observers that a run takes along, by the names of their classes."""
        observers: Sequence[object] = self.observers
        return {type(one).__name__: one for one in observers if isinstance(one, Resumable)}


def _with_leaves(like: Any, leaves: Sequence[np.ndarray]) -> Any:
    """Return a pytree of the structure and types of ``like`` with these leaves, copied."""
    pairs = zip(jax.tree.leaves(like), leaves, strict=True)
    # A type that NumPy does not know, such as bfloat16, comes back as bare bytes.
    typed = [jnp.array(np.asarray(leaf).view(old.dtype)) for old, leaf in pairs]
    return jax.tree.unflatten(jax.tree.structure(like), typed)


def _with_steps(state: Any, steps: int) -> Any:
    """Return a new optimizer's state whose learning-rate schedule, if any, has counted steps."""

    def counted(part: Any) -> Any:
        if not isinstance(part, optax.ScaleByScheduleState):
            return part
        return part._replace(count=jnp.asarray(steps, part.count.dtype))

    return jax.tree.map(
        counted, state, is_leaf=lambda part: isinstance(part, optax.ScaleByScheduleState)
    )
