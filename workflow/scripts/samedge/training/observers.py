"""Observers: what is recorded at some of a run's checks, beyond what every check measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax

from samedge.config.settings import RunSettings
from samedge.curvature.density import SpectralDensity, spectral_density
from samedge.machine.signals import raise_if_signalled
from samedge.records.parameters import Kept
from samedge.tasks.leaves import named_leaves
from samedge.tasks.problems import Problem
from samedge.training.schedule import Shares

# The first two keys of a seed are those of the initial weights and of the eigenvalue solver.
DENSITY_KEY = 2


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


class DensityObserver:
    """Estimates the spectral density at the checks that ``density.at`` asks for.

    Attributes
    ----------
    records
        For each share of ``density.at`` what :func:`samedge.records.files.run_dataset` takes, None
        until the run has got there. Where one check is the first for two shares, both have it.
    """

    def __init__(
        self, settings: RunSettings, problem: Problem, report: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.problem = problem
        self.report = report
        self.shares = Shares(settings.density.at)
        self.key = jax.random.fold_in(jax.random.key(settings.seed), DENSITY_KEY)
        self.records: list[Mapping[str, Any] | None] = [None] * len(settings.density.at)

    def __call__(self, snapshot: Snapshot) -> None:
        """Estimate and record the density if this check is the first to have reached a share."""
        places = self.shares.reached(snapshot.share)
        if not places:
            return
        density = spectral_density(
            self.problem.loss,
            snapshot.params,
            snapshot.batch,
            self.settings.density.probes,
            self.settings.density.steps,
            key=jax.random.fold_in(self.key, snapshot.step),
            microbatch=self.settings.microbatch,
            pure=True,
            pause=raise_if_signalled,
        )
        record = _record(snapshot.step, density)
        for place in places:
            self.records[place] = record
        self.report(
            f"step {snapshot.step}  density: mean eigenvalue {density.mean.value:.3g} ± "
            f"{density.mean.error:.1g}  {density.hvp_count} products"
        )

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes, see :class:`Resumable`."""
        return {"passed": self.shares.passed, "records": list(self.records)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was estimated up to a checkpoint."""
        self.shares.passed, self.records = state["passed"], state["records"]


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


def _record(step: int, density: SpectralDensity) -> dict[str, Any]:
    return {
        "density_step": step,
        "density_node": density.nodes,
        "density_weight": density.weights,
        "density_mean": density.mean.value,
        "density_mean_error": density.mean.error,
        "density_mean_square": density.mean_square.value,
        "density_mean_square_error": density.mean_square.error,
        "density_size": density.size,
        "density_products": density.hvp_count,
    }
