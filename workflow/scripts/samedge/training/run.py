"""A run in progress: what is to be done between its steps.

The steps are taken by :mod:`samedge.training.loop`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from samedge.base.errors import Interrupted, UserError
from samedge.config.settings import RunSettings
from samedge.machine.signals import raise_if_signalled
from samedge.records.files import Outcome
from samedge.tasks.inputs import Minibatches
from samedge.tasks.model import Noise
from samedge.tasks.problems import Problem, measured_batch
from samedge.training.checkpoints import Checkpoints
from samedge.training.forks import Start
from samedge.training.measuring import NON_FINITE_PRODUCT, measure
from samedge.training.observers.observer import Observer, Snapshot
from samedge.training.observers.progress import ProgressFile
from samedge.training.schedule import DivergenceWatch, Schedule
from samedge.training.state import Check, RunState
from samedge.training.steps import StepSpec

LONGEST_CHUNK = 256  # steps of one dispatch
SECONDS_BETWEEN_LINES = 60.0  # of progress, between checks

Result = tuple[list[Check], Outcome]


class Run:
    """A run in progress: parameters on the device, counters on the host.

    It begins at its newest checkpoint, if there is one, with :meth:`start`. Whoever takes its steps
    takes ``next_chunk`` of them at a time, leaves parameters and optimizer state in ``state``, and
    says what came of them to :meth:`after_steps`. Checks and checkpoints lie in between. ``result``
    is None until the run has ended.
    """

    def __init__(
        self,
        settings: RunSettings,
        problem: Problem,
        report: Callable[[str], None],
        observers: Sequence[Observer] = (),
        checkpoints: Checkpoints | None = None,
        start: Start | None = None,
        file: ProgressFile | None = None,
    ) -> None:
        self.settings = settings
        self.problem = problem
        self.checkpoints = checkpoints
        self.spec = StepSpec.of(settings, problem.loss)
        self.eta, self.rho = jnp.float32(settings.eta), jnp.float32(settings.rho)
        init_key, self.solver_key = jax.random.split(jax.random.key(settings.seed))
        self.batches = (
            None
            if settings.batch_size is None
            else Minibatches(problem.train[0].shape[0], settings.batch_size, settings.seed)
        )
        params = jax.jit(problem.init)(init_key)
        self.state = RunState(
            params,
            self.spec.optimizer(self.eta).init(params),
            Schedule(settings.checks, settings.budget),
            DivergenceWatch(settings.divergence),
            observers,
        )
        found = checkpoints.latest() if checkpoints is not None else None
        if found is not None:
            self.state.restore(found)
        self.schedule = self.state.schedule
        self.progress = _Progress(report, self.state, settings.budget.steps, file)
        if found is None and start is not None:
            self._begin(start)
        self.next_chunk = 0

    @property
    def result(self) -> Result | None:
        """The records of the checks and how the run ended, None until it has."""
        outcome = self.state.outcome
        return None if outcome is None else (self.state.records, outcome)

    def start(self) -> None:
        """Start the clock, and measure if a check is due."""
        self.state.start_clock()
        self.progress.start()
        self.check_and_plan()

    def after_steps(self, steps: int, finite: bool, seconds: float) -> None:
        """Go on after steps that took some training time (s), once ``state`` has what they made.

        Raises
        ------
        Interrupted
            When the process has been asked to end, with a checkpoint written.
        """
        self.schedule.advance(steps, seconds)
        if not finite:
            self._diverged("non-finite loss, gradient or parameter")
            return
        self.checkpoint_if_due()
        self.progress.give_signs()
        self.check_and_plan()

    def _begin(self, start: Start) -> None:
        """Start from the state of another run, or end with one that had diverged before."""
        of = f"{start.parent.task} {start.parent.name}"
        if start.state is None:
            self.schedule.step = start.outcome.step
            self._diverged(f"{of}, from which it starts, had: {start.outcome.reason}")
            return
        same_rule = start.keeps_optimizer(self.settings)
        self.state.begin(start.state, same_rule)
        if self.schedule.finished():
            raise UserError(
                f"{self.settings.task} {self.settings.name}: starts at step {self.schedule.step} "
                f"of {of}, where its budget is spent already; it counts from the first step of "
                f"{of}, so raise it"
            )
        anew = "" if same_rule else ", the optimizer anew"
        self.progress.say(f"starts from {of}{anew}")

    def check_and_plan(self) -> None:
        """Measure if a check is due, and see whether the run has ended or what its next chunk is.

        Raises
        ------
        Interrupted
            When the process has been asked to end, with a checkpoint written.
        """
        before = self.state.save()
        try:
            raise_if_signalled()
            reason = self._check(before) if self._check_due() else None
        except Interrupted as interrupted:
            # A check may take long; the parameters do not change in it, so it is given up.
            self._interrupted(interrupted, before)
        if reason is not None:
            self._diverged(reason)
        elif self.schedule.finished():
            self._completed()
        else:
            self.checkpoint_if_due()
            self.next_chunk = self._plan()

    def checkpoint_if_due(self) -> None:
        """Write a checkpoint if it is time for one, or if the process is asked to end.

        Raises
        ------
        Interrupted
            If it is asked to end.
        """
        try:
            raise_if_signalled()
        except Interrupted as interrupted:
            self._interrupted(interrupted, self.state.save())
        if self.checkpoints is not None and self.checkpoints.due(self.schedule.step):
            self.checkpoints.save(self.state.save())

    def save_result(self) -> None:
        """Write a checkpoint of a run that has ended."""
        if self.checkpoints is not None:
            self.checkpoints.save(self.state.save())

    def indices(self, count: int) -> np.ndarray | None:
        """Return the examples of the next steps, (LONGEST_CHUNK, batch), those after ``count`` 0.

        None if every step takes all examples.
        """
        if self.batches is None:
            return None
        indices = np.zeros((LONGEST_CHUNK, self.batches.batch_size), np.int32)
        indices[:count] = self.batches.indices(self.schedule.step, count)
        return indices

    @property
    def noise(self) -> Noise | None:
        """Return that of the next steps, None if the problem has none."""
        return Noise.of(self.settings.seed, self.schedule.step) if self.problem.noisy else None

    def _check_due(self) -> bool:
        """Tell whether to measure now; a run that goes on may have measured here before.

        One that starts from another does at once, whatever its schedule.
        """
        records = self.state.records
        checked = bool(records) and records[-1]["step"] == self.schedule.step
        return not checked and (self.schedule.check_due() or not records)

    def _plan(self) -> int:
        """Return how many steps to take before anything else is looked at."""
        left = self.checkpoints.steps_left(self.schedule.step) if self.checkpoints else None
        return self.schedule.chunk(LONGEST_CHUNK if left is None else min(left, LONGEST_CHUNK))

    def _check(self, before: Mapping[str, Any]) -> str | None:
        """Measure and record; return the reason if the run has diverged.

        ``before`` is the state that the check found.
        """
        state, step = self.state, self.schedule.step
        # Every m-th check, the first among them, and the last: a check that ends a budget, be it of
        # steps or of hours, finds it spent. Which check a divergence makes the last is known only
        # when it has been measured; it stays as it is, as the ends of diverged runs are not judged.
        certify = state.checks % self.settings.curvature.certify == 0
        certify = certify or self.schedule.finished()
        batch = measured_batch(self.settings, self.problem, step)
        key = jax.random.fold_in(self.solver_key, step)
        try:
            found = measure(
                self.settings,
                self.spec,
                state.params,
                batch,
                key,
                state.spectrum,
                certify,
                state=state.optimizer_state,
                step=step,
                effective_start=state.effective_spectrum,
            )
        except FloatingPointError as error:
            return str(error)
        state.spectrum, state.effective_spectrum = found.spectrum, found.effective_spectrum
        times = {"training_time": self.schedule.seconds, "wall_time": state.wall_time()}
        state.records.append({"step": step, **times, **found.values})
        self.progress.say_check(state.records[-1])
        share = self.schedule.share_done()
        snapshot = Snapshot(
            step, share, state.params, batch, state.optimizer_state, found.spectrum, before
        )
        try:
            for observe in state.observers:
                observe(snapshot)
        except FloatingPointError:
            return NON_FINITE_PRODUCT
        return state.divergence.judge(found.values["training_loss"])

    def _interrupted(self, interrupted: Interrupted, saved: dict[str, Any]) -> NoReturn:
        kept = self.checkpoints is not None and self.checkpoints.save(saved)
        again = "the same command goes on from there" if kept else "no checkpoint was written"
        self.progress.say(f"{interrupted}; {again}")
        raise interrupted

    def _completed(self) -> None:
        try:
            metric = self.problem.test(self.state.params)
        except Interrupted as interrupted:
            self._interrupted(interrupted, self.state.save())
        self.progress.say(f"completed  {self.problem.metric} {metric:.4g}")
        self._end("completed", "", metric)

    def _diverged(self, reason: str) -> None:
        self.progress.say(f"diverged: {reason}")
        self._end("diverged", reason, float("nan"))

    def _end(self, status: str, reason: str, metric: float) -> None:
        self.state.outcome = Outcome(
            status, self.schedule.step, reason, self.problem.metric, metric
        )
        self.progress.end(self.state.outcome)


class _Progress:
    """What tells how far a run is: lines of its log, and its progress file, if it has one.

    ``steps`` is its budget of them, if it has one.
    """

    def __init__(
        self,
        report: Callable[[str], None],
        state: RunState,
        steps: int | None,
        file: ProgressFile | None,
    ) -> None:
        self.report = report
        self.state = state
        self.of = f"/{steps}" if steps is not None else ""
        self.file = file
        if file is not None:
            file.go_on(state.records)
        if state.outcome is not None:
            self.end(state.outcome)

    def start(self) -> None:
        self.last_line = time.perf_counter()

    def say(self, text: str) -> None:
        self.last_line = time.perf_counter()
        self.report(f"step {self.state.schedule.step}{self.of}  {text}")

    def give_signs(self) -> None:
        """Say how far the run is, in the log and in the file, where that was long ago."""
        if time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES:
            self.say(self._time_left())
        if self.file is not None:
            schedule = self.state.schedule
            self.file.alive(schedule.step, schedule.seconds, self._seconds_left())

    def say_check(self, record: Check) -> None:
        first, converged = record["eigenvalue"][0], record["eigenvalue_converged"].all()
        self.say(
            f"loss {record['training_loss']:.4g}  λ1 {first:.4g}  "
            f"λ1/edge {record['edge_ratio']:.3f}  {record['hessian_vector_products']} "
            f"products{'' if converged else ' (not converged)'}  {self._time_left()}"
        )
        if self.file is not None:
            self.file.check(record, self._seconds_left())

    def end(self, outcome: Outcome) -> None:
        if self.file is not None:
            self.file.end(outcome.status, outcome.step, outcome.reason)

    def _seconds_left(self) -> float | None:
        """Return about how long the run will take yet, None before its first step."""
        done = self.state.schedule.share_done()
        return None if done == 0.0 else self.state.wall_time() * (1 / min(done, 1.0) - 1)

    def _time_left(self) -> str:
        seconds = self._seconds_left()
        if seconds is None:
            return ""
        if seconds < 100:
            return f"{seconds:.0f} s left"
        return f"{seconds / 60:.0f} min left" if seconds < 6000 else f"{seconds / 3600:.1f} h left"
