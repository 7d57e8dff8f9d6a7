"""The sharpness of blocks of the Hessian at some of a run's checks."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import Eigenpairs, top_eigenpairs
from samedge.curvature.operators.blocks import chosen_parameters, hessian_block, layers
from samedge.machine.signals import raise_if_signalled
from samedge.tasks.problems import Problem
from samedge.training.observers.observer import BLOCK_KEY, Snapshot
from samedge.training.schedule import Shares
from samedge.training.steps import StepSpec, measure_gradients


class BlockObserver:
    """Measures the sharpness of blocks of the Hessian at the checks that ``blocks.at`` asks for.

    Attributes
    ----------
    records
        For each block, by name, and each share of ``blocks.at`` what
        :func:`samedge.records.files.run_dataset` takes, None until the run has got there.

    Raises
    ------
    UserError
        If the pattern of a block is that of no parameter, or no regular expression.
    """

    def __init__(
        self, settings: RunSettings, problem: Problem, report: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.spec = StepSpec.of(settings, problem.loss)
        self.report = report
        self.shares = Shares(settings.blocks.at)
        self.key = jax.random.fold_in(jax.random.key(settings.seed), BLOCK_KEY)
        self.patterns = _patterns(settings, problem)
        checks = len(settings.blocks.at)
        self.records: dict[str, list[Mapping[str, Any] | None]] = {
            name: [None] * checks for name in self.patterns
        }

    def __call__(self, snapshot: Snapshot) -> None:
        """Measure and record every block if this check is the first to have reached a share."""
        places = self.shares.reached(snapshot.share)
        if not places:
            return
        rho, curvature = jnp.float32(self.settings.rho), self.settings.curvature
        *_, hessian = measure_gradients(self.spec, snapshot.params, rho, snapshot.batch)
        key = jax.random.fold_in(self.key, snapshot.step)
        for number, (name, pattern) in enumerate(self.patterns.items()):
            block = hessian_block(hessian, snapshot.params, pattern)
            top = top_eigenpairs(
                block,
                k=1,
                tolerance=curvature.tolerance,
                key=jax.random.fold_in(key, number),
                max_products=curvature.max_products,
                max_vectors=curvature.max_vectors,
                overlook=curvature.overlook,
                ends=False,
                pause=raise_if_signalled,
            )
            inside, _ = chosen_parameters(snapshot.params, pattern)
            size = sum(leaf.size for leaf in inside.values())
            record = _record_of_block(snapshot.step, size, top)
            for place in places:
                self.records[name][place] = record
        measured = [found[places[0]] for found in self.records.values()]
        products = sum(record["block_products"] for record in measured if record)
        curvatures = "  ".join(
            f"{name} {record['block_curvature']:.3g}"
            for name, record in zip(self.records, measured, strict=True)
            if record
        )
        self.report(f"step {snapshot.step}  blocks: {curvatures}  {products} products")

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes, see :class:`Resumable`."""
        records = {name: list(found) for name, found in self.records.items()}
        return {"passed": self.shares.passed, "records": records}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was measured up to a checkpoint."""
        self.shares.passed, self.records = state["passed"], state["records"]


def _patterns(settings: RunSettings, problem: Problem) -> Mapping[str, str]:
    """Return what chooses the parameters of each block, by its name, all of them tried."""
    if not settings.blocks.at:
        return {}
    params = jax.eval_shape(problem.init, jax.random.key(0))
    patterns = settings.blocks.patterns or layers(params)
    for name, pattern in patterns.items():
        try:
            chosen_parameters(params, pattern)
        except ValueError as error:
            where = f"task {settings.task}: blocks.{name}"
            raise UserError(f"{where}: {str(error).removeprefix('names: ')}") from error
    return patterns


def _record_of_block(step: int, size: int, top: Eigenpairs) -> dict[str, Any]:
    return {
        "block_step": step,
        "block_curvature": float(top.values[0]),
        "block_residual": float(top.residuals[0]),
        "block_converged": bool(top.converged[0]),
        "block_overlooked": top.overlooked,
        "block_size": size,
        "block_products": top.hvp_count,
    }
