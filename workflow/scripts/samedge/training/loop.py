"""Several runs of one task in one job, their steps vectorised over the runs.

Only steps are taken together. Every run is measured on its own, keeps its own records and
checkpoints, and ends on its own, as in :mod:`samedge.training.run`.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from samedge.base.errors import Interrupted
from samedge.config.settings import MOST_TOGETHER, RunSettings
from samedge.machine.signals import listening, raise_if_signalled
from samedge.tasks.problems import Problem
from samedge.training.checkpoints import Checkpoints
from samedge.training.run import Observer, Result, Run
from samedge.training.schedule import SECONDS_BETWEEN_LOOKS
from samedge.training.steps import take_steps_together

Item = TypeVar("Item")


@dataclass(frozen=True)
class Member:
    """One of several runs: what :func:`samedge.training.run.train` takes, but for the problem."""

    settings: RunSettings
    report: Callable[[str], None]
    observers: Sequence[Observer] = ()
    checkpoints: Checkpoints | None = None


def most_at_once(most: int | None) -> int:
    """Return how many runs to train at once, by ``together.most``.

    None leaves it to the device: a CPU is busy with the steps of one run, and vectorised ones take
    it longer.
    """
    if most is not None:
        return most
    return 1 if jax.default_backend() == "cpu" else MOST_TOGETHER


def groups(items: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """Cut a sequence into the fewest groups of at most ``most``, of sizes as equal as can be.

    Which items are together depends on their number alone.
    """
    count = -(-len(items) // most)
    bounds = [len(items) * number // count for number in range(count + 1)]
    return [items[first:end] for first, end in itertools.pairwise(bounds)]


def train_together(members: Sequence[Member], problem: Problem) -> list[Result]:
    """Train several runs at once and measure each at every one of its checks.

    A run comes to what :func:`samedge.training.run.train` comes to, up to the rounding of products
    that are computed for several runs at a time; one run alone, to just that. It does not depend
    on what becomes of the others: one that has ended keeps its place, so that the program of the
    others stays what it was. Training time is shared equally by the runs that took steps in it.

    Parameters
    ----------
    members
        The runs. Their settings differ in learning rate, radius and seed alone.
    problem
        Their common model, loss and data.

    Returns
    -------
    What :func:`samedge.training.run.train` returns, for each of them. The checkpoints of a run that
    has ended hold its result, until they are removed.

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
    runs = [Run(m.settings, problem, m.report, m.observers, m.checkpoints) for m in members]
    going_on = [run for run in runs if run.result is None]
    if len(runs) > 1:
        _Together(runs).train()
    elif going_on:
        runs[0].train()
        runs[0].keep_result()
    return [run.result for run in runs]


class _Together:
    """Runs in progress, in an order that does not change."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.eta = jnp.stack([run.eta for run in runs])
        one_radius = len({run.settings.rho for run in runs}) == 1
        self.rho = runs[0].rho if one_radius else jnp.stack([run.rho for run in runs])
        self.longest = 1  # steps that take about as long as may lie between two looks

    def train(self) -> None:
        """Take steps until all have ended."""
        with listening():
            if self._going_on():
                raise_if_signalled()
                self._advance(0)  # compiles, so that training time is time spent training
                self._each(Run.start)
            while self._going_on():
                self._round()

    def _going_on(self) -> list[Run]:
        return [run for run in self.runs if run.result is None]

    def _round(self) -> None:
        """Take as many steps as all runs want, so that none has to wait for others."""
        going_on = self._going_on()
        begun = time.perf_counter()
        came = self._advance(min(self.longest, *(run.wanted for run in going_on)))
        seconds = time.perf_counter() - begun
        most = max(steps for steps, _ in came.values())
        self.longest = max(1, round(SECONDS_BETWEEN_LOOKS * most / seconds))
        self._each(lambda run: run.took(*came[run], seconds / len(going_on)))

    def _advance(self, count: int) -> dict[Run, tuple[int, bool]]:
        """Take up to ``count`` steps of every run that has not ended.

        Returns how many each has taken and whether all of it was finite.
        """
        first = self.runs[0]
        counts = [count if run.result is None else 0 for run in self.runs]
        indices = None
        if first.batches is not None:
            pairs = zip(self.runs, counts, strict=True)
            indices = np.stack([run.indices(own) for run, own in pairs])
        params, states, taken, finite = take_steps_together(
            first.spec,
            tuple(run.params for run in self.runs),
            tuple(run.state for run in self.runs),
            self.eta,
            self.rho,
            first.problem.train,
            indices,
            np.array(counts, np.int32),
        )
        came = {}
        outcomes = zip(self.runs, params, states, taken.tolist(), finite.tolist(), strict=True)
        for run, run.params, run.state, steps, fine in outcomes:
            came[run] = steps, fine
        return came

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
            else:
                run.keep_result()
        if asked is not None:
            for run in waiting:
                with suppress(Interrupted):
                    run.keep()
            raise asked
