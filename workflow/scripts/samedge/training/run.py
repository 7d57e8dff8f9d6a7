"""The training loop: many steps per dispatch, a check of the curvature now and then.

What a check measures is a function of the parameters (and of the minibatch that comes next) only.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from samedge.base.errors import Interrupted
from samedge.config.settings import DivergenceSettings, RunSettings
from samedge.curvature.eigenpairs import RitzPairs, top_eigenpairs
from samedge.machine.signals import listening, raise_if_signalled
from samedge.records.files import Outcome
from samedge.tasks.inputs import Minibatches
from samedge.tasks.problems import Problem, measured_batch
from samedge.training.checkpoints import Checkpoints
from samedge.training.schedule import Schedule
from samedge.training.steps import (
    StepSpec,
    alignment,
    measure_gradients,
    norm_of,
    take_steps,
)

LONGEST_CHUNK = 256  # steps of one dispatch
SECONDS_BETWEEN_LINES = 60.0  # of progress, between checks

Check = dict[str, Any]
Result = tuple[list[Check], Outcome]


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
    """

    step: int
    share: float
    params: Any
    batch: tuple[jax.Array, ...]


Observer = Callable[[Snapshot], None]


@runtime_checkable
class Resumable(Protocol):
    """An observer that a run which goes on from a checkpoint takes along.

    Its state is nested dictionaries and lists of numbers, text, None and arrays; a state that was
    returned does not change afterwards.
    """

    def state(self) -> Any:
        """Return all that the observer has gathered so far."""
        ...

    def restore(self, state: Any) -> None:
        """Go on from such a state."""
        ...


def train(
    settings: RunSettings,
    problem: Problem,
    report: Callable[[str], None],
    observers: Sequence[Observer] = (),
    checkpoints: Checkpoints | None = None,
) -> Result:
    """Train one run and measure it at every check.

    Parameters
    ----------
    settings
        Everything that determines the run.
    problem
        Its model, loss and data, see :func:`samedge.tasks.problems.build_problem`.
    report
        Called with one line of progress at a time.
    observers
        Each is called at every check, in this order, after the check has been recorded; training
        time leaves them out. A :class:`FloatingPointError` of theirs ends the run as diverged.
        Those that are :class:`Resumable` are part of a checkpoint.
    checkpoints
        Where the run goes on from, if there is a checkpoint, and where it writes its own. What
        follows from a checkpoint is, on a CPU, to the bit what would have followed without.

    Returns
    -------
    The records of the checks (see :func:`samedge.records.files.run_dataset`) and how the run ended.
    A run that diverges ends at once, with its records up to there.

    Raises
    ------
    Interrupted
        When SIGTERM or SIGINT has asked the process to end, with a checkpoint written.
    """
    return Run(settings, problem, report, observers, checkpoints).train()


class Run:
    """A run in progress: parameters on the device, counters on the host.

    It begins at its newest checkpoint, if there is one. ``wanted`` is how many steps are to be
    taken next; :meth:`train` takes them, or somebody else does, for several runs at once, and says
    what came of them (:meth:`took`). Checks and checkpoints lie in between. ``result`` is None
    until the run has ended.
    """

    def __init__(
        self,
        settings: RunSettings,
        problem: Problem,
        report: Callable[[str], None],
        observers: Sequence[Observer],
        checkpoints: Checkpoints | None,
    ) -> None:
        self.settings = settings
        self.problem = problem
        self.report = report
        self.observers = observers
        self.checkpoints = checkpoints
        self.spec = StepSpec.of(settings, problem.loss)
        self.eta, self.rho = jnp.float32(settings.eta), jnp.float32(settings.rho)
        key = jax.random.key(settings.seed)
        init_key, self.solver_key = jax.random.split(key)
        self.batches = (
            None
            if settings.batch_size is None
            else Minibatches(problem.train[0].shape[0], settings.batch_size, settings.seed)
        )
        self.schedule = Schedule(settings.checks, settings.budget)
        self.divergence = DivergenceWatch(settings.divergence)
        self.records: list[Check] = []
        self.spectrum: RitzPairs | None = None  # of the last check: the next one starts from it
        self.wall_time = 0.0  # spent before the checkpoint that this process goes on from
        self.wanted = 0
        self.result: Result | None = None
        self.params = jax.jit(problem.init)(init_key)
        self.state = self.spec.rule.optimizer(self.eta).init(self.params)
        found = checkpoints.latest() if checkpoints is not None else None
        if found is not None:
            self._restore(found)

    def train(self) -> Result:
        """Take all steps that are wanted, until the run has ended."""
        with listening():
            if self.result is None:
                raise_if_signalled()
                self.advance(0)  # compiles, so that training time is time spent training
                self.start()
            while self.result is None:
                begun = time.perf_counter()
                taken, finite = self.advance(self.wanted)
                self.took(taken, finite, time.perf_counter() - begun)
        return self.result

    def start(self) -> None:
        """Start the clock, and measure if a check is due."""
        self.started = self.last_line = time.perf_counter()
        self._look()

    def took(self, steps: int, finite: bool, seconds: float) -> None:
        """Go on after steps that took some training time (s); ``params`` and ``state`` are theirs.

        Raises
        ------
        Interrupted
            When the process has been asked to end, with a checkpoint written.
        """
        self.schedule.advance(steps, seconds)
        if not finite:
            self._diverged("non-finite loss, gradient or parameter")
            return
        self.keep()
        if time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES:
            self._report(self._time_left())
        self._look()

    def _look(self) -> None:
        """Measure if a check is due, and see whether the run has ended or what it wants next."""
        before = self._snapshot()
        try:
            raise_if_signalled()
            reason = self._check() if self._check_due() else None
        except Interrupted as interrupted:
            # A check may take long; the parameters do not change in it, so it is given up.
            self._interrupted(interrupted, before)
        if reason is not None:
            self._diverged(reason)
        elif self.schedule.finished():
            self._completed()
        else:
            self.keep()
            self.wanted = self._chunk()

    def _check_due(self) -> bool:
        """Tell whether to measure now; a run that goes on may have measured here before."""
        checked = bool(self.records) and self.records[-1]["step"] == self.schedule.step
        return not checked and self.schedule.check_due()

    def _chunk(self) -> int:
        """Return how many steps to take before anything else is looked at."""
        left = self.checkpoints.steps_left(self.schedule.step) if self.checkpoints else None
        return self.schedule.chunk(LONGEST_CHUNK if left is None else min(left, LONGEST_CHUNK))

    def keep(self) -> None:
        """Write a checkpoint if it is time for one, or if the process is asked to end.

        Raises
        ------
        Interrupted
            If it is asked to end.
        """
        try:
            raise_if_signalled()
        except Interrupted as interrupted:
            self._interrupted(interrupted, self._snapshot())
        if self.checkpoints is not None and self.checkpoints.due(self.schedule.step):
            self.checkpoints.save(self._snapshot())

    def keep_result(self) -> None:
        """Write a checkpoint of a run that has ended."""
        if self.checkpoints is not None:
            self.checkpoints.save(self._snapshot())

    def _interrupted(self, interrupted: Interrupted, snapshot: dict[str, Any]) -> NoReturn:
        kept = self.checkpoints is not None and self.checkpoints.save(snapshot)
        again = "the same command goes on from there" if kept else "no checkpoint was written"
        self._report(f"{interrupted}; {again}")
        raise interrupted

    def _snapshot(self) -> dict[str, Any]:
        """Return everything that determines the rest of the run, its records so far, its outcome.

        Minibatches and random vectors follow from the seed and the step. Valid until the next
        training step, which reuses the parameters' memory.
        """
        return {
            "step": self.schedule.step,
            "seconds": self.schedule.seconds,
            "next_seconds": self.schedule.next_seconds,
            "wall_time": self._wall_time(),
            "params": jax.tree.leaves(self.params),
            "state": jax.tree.leaves(self.state),
            "spectrum": None if self.spectrum is None else list(self.spectrum),
            "records": list(self.records),
            "bound": self.divergence.bound,
            "exceeded": self.divergence.exceeded,
            "outcome": None if self.result is None else asdict(self.result[1]),
            "observers": [
                observer.state() for observer in self.observers if isinstance(observer, Resumable)
            ],
        }

    def _restore(self, found: dict[str, Any]) -> None:
        self.schedule.step, self.schedule.seconds = found["step"], found["seconds"]
        self.schedule.next_seconds = found["next_seconds"]
        self.wall_time = found["wall_time"]
        self.params = _with_leaves(self.params, found["params"])
        self.state = _with_leaves(self.state, found["state"])
        if found["spectrum"] is not None:
            values, vectors = found["spectrum"]
            self.spectrum = RitzPairs(values, jnp.array(vectors))
        self.records = found["records"]
        self.divergence.bound, self.divergence.exceeded = found["bound"], found["exceeded"]
        observers = [observer for observer in self.observers if isinstance(observer, Resumable)]
        for observer, state in zip(observers, found["observers"], strict=True):
            observer.restore(state)
        if found["outcome"] is not None:
            self.result = self.records, Outcome(**found["outcome"])

    def _wall_time(self) -> float:
        """Return the seconds (s) spent on the run, by this process and by those before it."""
        return self.wall_time + time.perf_counter() - self.started

    def advance(self, count: int) -> tuple[int, bool]:
        """Take up to ``count`` steps; stop early at a non-finite loss or gradient.

        Returns how many were taken and whether all was finite.
        """
        self.params, self.state, taken, finite = take_steps(
            self.spec,
            self.params,
            self.state,
            self.eta,
            self.rho,
            self.problem.train,
            self.indices(count),
            count,
        )
        return int(taken), bool(finite)

    def indices(self, count: int) -> np.ndarray | None:
        """Return the examples of the next steps, (LONGEST_CHUNK, batch), those after ``count`` 0.

        None if every step takes all examples.
        """
        if self.batches is None:
            return None
        indices = np.zeros((LONGEST_CHUNK, self.batches.batch_size), np.int32)
        indices[:count] = self.batches.indices(self.schedule.step, count)
        return indices

    def _check(self) -> str | None:
        """Measure and record; return the reason if the run has diverged."""
        step = self.schedule.step
        batch = measured_batch(self.settings, self.problem.train, step)
        loss, gradient, ascended = measure_gradients(
            self.spec,
            self.params,
            self.rho,
            batch,
        )
        loss = float(loss)
        gradient_norm, sam_gradient_norm = (float(norm_of(x)) for x in (gradient, ascended))
        if not np.all(np.isfinite([loss, gradient_norm, sam_gradient_norm])):
            return "non-finite loss or gradient"
        # Programs may have been compiled for it, and more may be for what follows.
        raise_if_signalled()
        curvature = self.settings.curvature
        try:
            top = top_eigenpairs(
                self.problem.loss,
                self.params,
                batch,
                curvature.eigenvalues,
                curvature.tolerance,
                key=jax.random.fold_in(self.solver_key, step),
                max_products=curvature.max_products,
                max_vectors=curvature.max_vectors,
                overlook=curvature.overlook,
                microbatch=self.settings.microbatch,
                start=self.spectrum,
                pure=True,
                pause=raise_if_signalled,
            )
        except FloatingPointError:
            return "non-finite Hessian-vector product"
        self.spectrum = RitzPairs(top.ritz_values, top.ritz_vectors)
        # A gradient of norm zero has an edge as a limit: 2/eta without SAM, else zero.
        limited_norm = max(gradient_norm, float(np.finfo(np.float32).tiny))
        edge = self.spec.rule.edge(limited_norm, float(self.settings.eta), float(self.settings.rho))
        self.records.append(
            {
                "step": step,
                "training_time": self.schedule.seconds,
                "wall_time": self._wall_time(),
                "training_loss": loss,
                "gradient_norm": gradient_norm,
                "sam_gradient_norm": sam_gradient_norm,
                "sam_edge": edge,
                "eigenvalue": top.values,
                "eigenvalue_residual": top.residuals,
                "eigenvalue_converged": top.converged,
                "overlooked": top.overlooked,
                "largest_eigenvalue": top.largest,
                "smallest_eigenvalue": top.smallest,
                "gradient_alignment": float(alignment(gradient, top.vectors[0])),
                "sam_gradient_alignment": float(alignment(ascended, top.vectors[0])),
                "hessian_vector_products": top.hvp_count,
            }
        )
        self._report(
            f"loss {loss:.4g}  λ1 {top.values[0]:.4g}  λ1/edge {top.values[0] / edge:.3f}  "
            f"{top.hvp_count} products{'' if top.converged.all() else ' (not converged)'}  "
            f"{self._time_left()}"
        )
        snapshot = Snapshot(step, self.schedule.share_done(), self.params, batch)
        try:
            for observe in self.observers:
                observe(snapshot)
        except FloatingPointError:
            return "non-finite Hessian-vector product"
        return self.divergence.judge(loss)

    def _report(self, text: str) -> None:
        self.last_line = time.perf_counter()
        total = self.settings.budget.steps
        of = f"/{total}" if total is not None else ""
        self.report(f"step {self.schedule.step}{of}  {text}")

    def _time_left(self) -> str:
        done = self.schedule.share_done()
        if done == 0.0:
            return ""
        seconds = self._wall_time() * (1 / min(done, 1.0) - 1)
        if seconds < 100:
            return f"{seconds:.0f} s left"
        return f"{seconds / 60:.0f} min left" if seconds < 6000 else f"{seconds / 3600:.1f} h left"

    def _completed(self) -> None:
        try:
            metric = self.problem.test(self.params)
        except Interrupted as interrupted:
            self._interrupted(interrupted, self._snapshot())
        self._report(f"completed  {self.problem.metric} {metric:.4g}")
        outcome = Outcome("completed", self.schedule.step, "", self.problem.metric, metric)
        self.result = self.records, outcome

    def _diverged(self, reason: str) -> None:
        self._report(f"diverged: {reason}")
        outcome = Outcome("diverged", self.schedule.step, reason, self.problem.metric, float("nan"))
        self.result = self.records, outcome


class DivergenceWatch:
    """Counts checks in a row whose loss exceeds a multiple of the first one."""

    def __init__(self, settings: DivergenceSettings) -> None:
        self.settings = settings
        self.bound: float | None = None
        self.exceeded = 0

    def judge(self, loss: float) -> str | None:
        """Take the loss of the next check; return the reason once the run counts as diverged."""
        if self.bound is None:
            factor = self.settings.loss_factor
            # As far above a negative loss, in units of its size, as above a positive one.
            self.bound = (factor if loss >= 0 else 2 - factor) * loss
        self.exceeded = self.exceeded + 1 if loss > self.bound else 0
        if self.exceeded < self.settings.checks:
            return None
        return (
            f"loss above {self.settings.loss_factor:g} times the initial one at "
            f"{self.settings.checks} checks in a row"
        )


def _with_leaves(like: Any, leaves: Sequence[np.ndarray]) -> Any:
    """Return a pytree of the structure and types of ``like`` with these leaves, copied."""
    pairs = zip(jax.tree.leaves(like), leaves, strict=True)
    # A type that NumPy does not know, such as bfloat16, comes back as bare bytes.
    typed = [jnp.array(np.asarray(leaf).view(old.dtype)) for old, leaf in pairs]
    return jax.tree.unflatten(jax.tree.structure(like), typed)
