"""The sharpness of blocks of the Hessian at some of a run's checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import Eigenpairs, top_eigenpairs
from samedge.curvature.operators.blocks import chosen_parameters, hessian_block, layers
from samedge.tasks.problems import Problem
from samedge.training.measuring import solver_options
from samedge.training.observers.observer import BLOCK_KEY, Snapshot
from samedge.training.schedule import Shares
from samedge.training.steps import StepSpec, measure_gradients


@dataclass(frozen=True)
class Block:
    """What chooses the parameters of a block, and how many these are."""

    pattern: str
    size: int


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
        self.blocks = _blocks(settings, problem)
        checks = len(settings.blocks.at)
        self.records: dict[str, list[Mapping[str, Any] | None]] = {
            name: [None] * checks for name in self.blocks
        }

    def __call__(self, snapshot: Snapshot) -> None:
        """Measure and record every block if this check is the first to have reached a share."""
        places = self.shares.reached(snapshot.share)
        if not places:
            return
        rho = jnp.float32(self.settings.rho)
        *_, hessian = measure_gradients(self.spec, snapshot.params, rho, snapshot.batch)
        key = jax.random.fold_in(self.key, snapshot.step)
        found: dict[str, dict[str, Any]] = {}
        for number, (name, block) in enumerate(self.blocks.items()):
            top = top_eigenpairs(
                hessian_block(hessian, snapshot.params, block.pattern),
                k=1,
                key=jax.random.fold_in(key, number),
                ends=False,
                **solver_options(self.settings.curvature),
            )
            found[name] = _record(snapshot.step, block.size, top)
            for place in places:
                self.records[name][place] = found[name]
        curvatures = "  ".join(
            f"{name} {one['block_curvature']:.3g}" for name, one in found.items()
        )
        products = sum(one["block_products"] for one in found.values())
        self.report(f"step {snapshot.step}  blocks: {curvatures}  {products} products")

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes, see :class:`Resumable`."""
        records = {name: list(found) for name, found in self.records.items()}
        return {"passed": self.shares.passed, "records": records}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was measured up to a checkpoint."""
        self.shares.passed, self.records = state["passed"], state["records"]


def _blocks(settings: RunSettings, problem: Problem) -> dict[str, Block]:
    """Return the blocks that a run measures, by name; none where it measures none."""
    if not settings.blocks.at:
        return {}
    params = jax.eval_shape(problem.init, jax.random.key(0))
    blocks = {}
    for name, pattern in (settings.blocks.patterns or layers(params)).items():
        try:
            inside, _ = chosen_parameters(params, pattern)
        except ValueError as error:
            where = f"task {settings.task}: blocks.{name}"
            raise UserError(f"{where}: {str(error).removeprefix('names: ')}") from error
        blocks[name] = Block(pattern, sum(leaf.size for leaf in inside.values()))
    return blocks


def _record(step: int, size: int, top: Eigenpairs) -> dict[str, Any]:
    return {
        "block_step": step,
        "block_curvature": float(top.values[0]),
        "block_residual": float(top.residuals[0]),
        "block_converged": bool(top.converged[0]),
        "block_overlooked": top.overlooked,
        "block_size": size,
        "block_products": top.hvp_count,
    }
