"""The spectral density at some of a run's checks."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from samedge.config.settings import RunSettings
from samedge.curvature.density import SpectralDensity, spectral_density
from samedge.machine.signals import raise_if_signalled
from samedge.tasks.problems import Problem
from samedge.training.observers.observer import DENSITY_KEY, Snapshot
from samedge.training.schedule import Shares


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
