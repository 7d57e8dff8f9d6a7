"""The one loop of training: steps of a group of runs, and between them what each run asks for.

A single run is a group of one, which steps by a program of its own; those of several runs are
vectorised over the runs. Only steps are taken together. Every run is measured on its own, keeps
its own records and checkpoints, and ends on its own, see :mod:`samedge.training.run`.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from samedge.base.errors import Interrupted
from samedge.config.settings import MOST_TOGETHER, RunSettings
from samedge.machine.signals import listening, raise_if_signalled
from samedge.tasks.problems import Problem
from samedge.training.checkpoints import Checkpoints
from samedge.training.forks import Start
from samedge.training.observers.observer import Observer
from samedge.training.observers.progress import ProgressFile
from samedge.training.run import Result, Run
from samedge.training.schedule import SECONDS_BETWEEN_LOOKS
from samedge.training.steps import take_steps, take_steps_together

Item = TypeVar("Item")
StepsTaken = tuple[int, bool]  # how many, and whether all of it was finite


@dataclass(frozen=True)
class Member:
    """One of several runs: what :func:`train` takes, but for the problem; and where it tells of
    itself while it is under way.
    """

    settings: RunSettings
    report: Callable[[str], None]
    observers: Sequence[Observer] = ()
    checkpoints: Checkpoints | None = None
    start: Start | None = None
    progress: ProgressFile | None = None


def batch_limit(most: int | None) -> int:
    """Return how many runs to train at once, by ``together.most``.

    None leaves it to the device: a CPU is busy with the steps of one run, and vectorised ones take
    it longer.
    """
    if most is not None:
        return most
    return 1 if jax.default_backend() == "cpu" else MOST_TOGETHER


def split_evenly(items: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """Cut a sequence into the fewest groups of at most ``most``, of sizes as equal as can be.

    Which items are together depends on their number alone.
    """
    count = -(-len(items) // most)
    bounds = [len(items) * number // count for number in range(count + 1)]
    return [items[first:end] for first, end in itertools.pairwise(bounds)]


def train(
    settings: RunSettings,
    problem: Problem,
    report: Callable[[str], None],
    observers: Sequence[Observer] = (),
    checkpoints: Checkpoints | None = None,
    start: Start | None = None,
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
        Those that are :class:`~samedge.training.observers.observer.Resumable` are part of a
        checkpoint.
    checkpoints
        Where the run goes on from, if there is a checkpoint, and where it writes its own. What
        follows from a checkpoint is, on a CPU, to the bit what would have followed without.
    start
        Where a run starts whose settings have a ``start_from``, if there is no checkpoint.

    Returns
    -------
    The records of the checks (see :func:`samedge.records.files.run_dataset`) and how the run ended.
    A run that diverges ends at once, with its records up to there.

    Raises
    ------
    Interrupted
        When SIGTERM or SIGINT has asked the process to end, with a checkpoint written.
    """
    member = Member(settings, report, observers, checkpoints, start)
    [result] = train_together([member], problem, save_results=False)
    return result


def train_together(
    members: Sequence[Member], problem: Problem, save_results: bool = True
) -> list[Result]:
    """Train several runs at once and measure each at every one of its checks.

    A run comes to what :func:`train` comes to, up to the rounding of products that are computed for
    several runs at a time; one run alone, to just that. It does not depend on what becomes of the
    others: one that has ended keeps its place, so that the program of the others stays what it was.
    Training time is shared equally by the runs that took steps in it.

    Parameters
    ----------
    members
        The runs. Their settings differ in learning rate, radius and seed alone.
    problem
        Their common model, loss and data.
    save_results
        Whether a run that has ended writes a checkpoint of its result, from which it comes back
        should the process end before the others have: until the checkpoints are removed.

    Returns
    -------
    What :func:`train` returns, for each of them.

    Raises
    ------
    ValueError
        If their settings differ in anything else.
    Interrupted
        When SIGTERM or SIGINT has asked the process to end, with a checkpoint written of each.
    """
    first = members[0].settings
    for settings in (member.settings for member in members):
        if replace(settings, eta=first.eta, rho=first.rho, seed=first.seed) != first:
            raise ValueError(f"{settings.name}: other settings than those of {first.name}")
    runs = [
        Run(m.settings, problem, m.report, m.observers, m.checkpoints, m.start, m.progress)
        for m in members
    ]
    _Group(runs, save_results).train()
    return [run.result for run in runs if run.result is not None]  # all have ended


def advance(run: Run, count: int) -> StepsTaken:
    """Take up to ``count`` steps of one run; stop early at a non-finite loss or gradient."""
    state = run.state
    state.params, state.optimizer_state, taken, finite = take_steps(
        run.spec,
        state.params,
        state.optimizer_state,
        run.eta,
        run.rho,
        run.problem.train,
        run.indices(count),
        count,
        run.noise,
    )
    return int(taken), bool(finite)


class _Group:
    """Runs in progress, in an order that does not change."""

    def __init__(self, runs: Sequence[Run], save_results: bool) -> None:
        self.runs = runs
        self.save_results = save_results
        self.longest = 1  # steps that take about as long as may lie between two looks

    def train(self) -> None:
        """Train until all have ended."""
        with listening():
            if self._going_on():
                raise_if_signalled()
                self._advance(0)  # compiles, so that training time is time spent training
                self._each(Run.start)
            while self._going_on():
                self._round()

    @cached_property
    def eta(self) -> jax.Array:
        """Learning rates, (runs,)."""
        return jnp.stack([run.eta for run in self.runs])

    @cached_property
    def rho(self) -> jax.Array:
        """Radii, (runs,), or the one that all have."""
        if len({run.settings.rho for run in self.runs}) == 1:
            return self.runs[0].rho
        return jnp.stack([run.rho for run in self.runs])

    def _going_on(self) -> list[Run]:
        return [run for run in self.runs if run.result is None]

    def _round(self) -> None:
        """Take as many steps as every run may take next, so that none has to wait for others."""
        going_on = self._going_on()
        begun = time.perf_counter()
        came = self._advance(min(self.longest, *(run.next_chunk for run in going_on)))
        seconds = time.perf_counter() - begun
        most = max(steps for steps, _ in came.values())
        self.longest = max(1, round(SECONDS_BETWEEN_LOOKS * most / seconds))
        self._each(lambda run: run.after_steps(*came[run], seconds / len(going_on)))

    def _advance(self, count: int) -> dict[Run, StepsTaken]:
        """Take up to ``count`` steps of every run that has not ended."""
        if len(self.runs) == 1:
            [run] = self.runs
            return {run: advance(run, count)}
        return self._advance_vectorised(count)

    def _advance_vectorised(self, count: int) -> dict[Run, StepsTaken]:
        first = self.runs[0]
        counts = [count if run.result is None else 0 for run in self.runs]
        rows = [run.indices(own) for run, own in zip(self.runs, counts, strict=True)]
        examples = [row for row in rows if row is not None]  # of each run or of none
        params, states, taken, finite = take_steps_together(
            first.spec,
            tuple(run.state.params for run in self.runs),
            tuple(run.state.optimizer_state for run in self.runs),
            self.eta,
            self.rho,
            first.problem.train,
            np.stack(examples) if examples else None,
            np.array(counts, np.int32),
            jax.tree.map(lambda *parts: np.stack(parts), *(run.noise for run in self.runs)),
        )
        for run, own_params, own_state in zip(self.runs, params, states, strict=True):
            run.state.params, run.state.optimizer_state = own_params, own_state
        steps = zip(taken.tolist(), finite.tolist(), strict=True)
        return dict(zip(self.runs, steps, strict=True))

    def _each(self, act: Callable[[Run], None]) -> None:
        """Let each run go on. If the process is to end, it does when each has a checkpoint."""
        asked, waiting = None, []
        for run in self._going_on():
            try:
                act(run)
            except Interrupted as interrupted:
                asked = interrupted
                continue
            if run.result is None:
                waiting.append(run)
            elif self.save_results:
                run.save_result()
        if asked is not None:
            for run in waiting:
                with suppress(Interrupted):
                    run.checkpoint_if_due()
            raise asked
