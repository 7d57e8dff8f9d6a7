r"""The way to the SAM point, and what a step changes along the principal directions.

With w the parameters at a check, L the loss on the examples that the check measures on, g and H its
gradient and Hessian at w, d the rule's displacement there (:math:`\rho g/\lVert g\rVert` for SAM)
and u the unit vector along it:

- *on the way*, at points w + t d with t from 0 to 1: L, the slope :math:`u^\top\nabla L`, the
  curvature :math:`u^\top\nabla^2L\,u`, and the absolute cosine of :math:`\nabla L` with the
  eigenvector of H of rank 1 at w. On a quadratic the curvature is the same at every point;
- *of the step* s that the rule takes at w on these examples: the change L(w + s) - L(w), and the
  changes by its part Ps in the span of the eigenvectors that the check found and by the rest
  s - Ps; beside each what the quadratic at w predicts, :math:`g^\top p+p^\top Hp/2` for a part p.
  On a quadratic they are equal, and the two parts add up to the whole.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from samedge.config.settings import RunSettings
from samedge.curvature.krylov.hessian import trees
from samedge.machine.signals import raise_if_signalled
from samedge.tasks.problems import Problem
from samedge.training.measuring import NON_FINITE_PRODUCT
from samedge.training.observers.observer import Snapshot
from samedge.training.schedule import Shares
from samedge.training.steps import StepSpec, alignment, as_optax_promotes, norm_of
from samedge.updates.rule import displacement

#: Hessian-vector products of the step: with its part in the principal directions and with the rest.
STEP_PRODUCTS = 2

#: What is measured at every point of the way.
WAY_POINTS = ("way_loss", "way_gradient_norm", "way_slope", "way_curvature", "way_alignment")

Batch = tuple[jax.Array, ...]
dot = optax.tree.vdot


@partial(jax.jit, static_argnames="spec")
def displaced_by(spec: StepSpec, params: Any, rho: jax.Array, batch: Batch) -> Any:
    """Return the displacement of the spec's rule on a batch, which is zero where rho is."""
    _, gradient, _ = spec.gradients(params, jnp.zeros_like(rho), batch)
    return displacement(spec.rule, params, gradient, rho, spec.epsilon)


@partial(jax.jit, static_argnames="spec")
def point_on_way(
    spec: StepSpec, params: Any, along: Any, share: jax.Array, first: Any, batch: Batch
) -> dict[str, jax.Array]:
    """Return what is measured at a share of the way ``along`` a displacement that is not zero.

    ``first`` is the eigenvector of rank 1 at the parameters.
    """
    point = optax.tree.add(params, optax.tree.scale(share, along))
    loss, gradient, _, hessian = spec.gradients_and_hessian(point, jnp.zeros_like(share), batch)
    unit = optax.tree.scale(1 / optax.tree.norm(along), along)
    return {
        "way_loss": loss,
        "way_gradient_norm": norm_of(gradient),
        "way_slope": dot(unit, gradient),
        "way_curvature": dot(unit, hessian(unit)),
        "way_alignment": alignment(gradient, first),
    }


@partial(jax.jit, static_argnames="spec")
def split_step(
    spec: StepSpec,
    params: Any,
    state: Any,
    eta: jax.Array,
    rho: jax.Array,
    principal: tuple[Any, ...],
    batch: Batch,
) -> dict[str, jax.Array]:
    """Return what the rule's step changes, in all and by its parts, and what the quadratic says.

    ``principal`` are unit eigenvectors of the Hessian, orthogonal to each other.
    """
    _, gradient, along, hessian = spec.gradients_and_hessian(params, rho, batch)
    with as_optax_promotes():
        step, _ = spec.optimizer(eta).update(along, state, params)
    inside = optax.tree.zeros_like(step)
    for vector in principal:
        inside = optax.tree.add(inside, optax.tree.scale(dot(step, vector), vector))
    rest = optax.tree.sub(step, inside)
    curved, curved_rest = hessian(inside), hessian(rest)

    def loss(part: Any) -> jax.Array:
        return spec.gradients(optax.tree.add(params, part), jnp.zeros_like(rho), batch)[0]

    before = loss(optax.tree.zeros_like(step))

    by_parts = {
        "principal": dot(gradient, inside) + dot(inside, curved) / 2,
        "rest": dot(gradient, rest) + dot(rest, curved_rest) / 2,
    }
    return {
        "step_length": optax.tree.norm(step),
        "step_length_principal": optax.tree.norm(inside),
        "step_change": loss(step) - before,
        "step_change_principal": loss(inside) - before,
        "step_change_rest": loss(rest) - before,
        "step_predicted": by_parts["principal"] + by_parts["rest"] + dot(inside, curved_rest),
        "step_predicted_principal": by_parts["principal"],
        "step_predicted_rest": by_parts["rest"],
    }


class WayObserver:
    """Measures the way to the SAM point, and the next step, at the checks of ``way.at``.

    Attributes
    ----------
    records
        For each share of ``way.at`` what :func:`samedge.records.files.run_dataset` takes, None
        until the run has got there. Of a rule without displacement the way is NaN.
    """

    def __init__(
        self, settings: RunSettings, problem: Problem, report: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.spec = StepSpec.of(settings, problem.loss)
        self.report = report
        self.shares = Shares(settings.way.at)
        self.records: list[Mapping[str, Any] | None] = [None] * len(settings.way.at)

    def __call__(self, snapshot: Snapshot) -> None:
        """Measure and record if this check is the first to have reached a share.

        Raises
        ------
        FloatingPointError
            If anything that is measured is not finite.
        ValueError
            If the snapshot has no spectrum.
        """
        places = self.shares.reached(snapshot.share)
        if not places:
            return
        if snapshot.spectrum is None:
            raise ValueError("the snapshot has no spectrum, of which the principal directions are")
        count = self.settings.curvature.eigenvalues
        principal = trees(snapshot.params, snapshot.spectrum.ritz_vectors[:count])
        way, products = self._way(snapshot, principal[0])
        raise_if_signalled()
        rate = jnp.float32(self.settings.eta)
        rho = jnp.float32(self.settings.rho)
        at = (snapshot.params, snapshot.optimizer_state, rate, rho)
        split = split_step(self.spec, *at, tuple(principal), snapshot.batch)
        record = {name: float(value) for name, value in split.items()}
        if not np.all(np.isfinite([*record.values()])):
            raise FloatingPointError(NON_FINITE_PRODUCT)
        record = {
            "way_step": snapshot.step,
            **way,
            **record,
            "way_products": products + STEP_PRODUCTS,
        }
        for place in places:
            self.records[place] = record
        self.report(
            f"step {snapshot.step}  step changes the loss by {record['step_change']:.3g}, "
            f"predicted {record['step_predicted']:.3g}, of it along the principal directions "
            f"{record['step_predicted_principal']:.3g}  {record['way_products']} products"
        )

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes, see :class:`Resumable`."""
        return {"passed": self.shares.passed, "records": list(self.records)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was measured up to a checkpoint."""
        self.shares.passed, self.records = state["passed"], state["records"]

    def _way(self, snapshot: Snapshot, first: Any) -> tuple[dict[str, Any], int]:
        """Return what is measured on the way, and the Hessian-vector products that were spent."""
        rho, points = jnp.float32(self.settings.rho), self.settings.way.points
        along = displaced_by(self.spec, snapshot.params, rho, snapshot.batch)
        length = float(optax.tree.norm(along))
        if length == 0:
            return {"way_length": 0.0, **dict.fromkeys(WAY_POINTS, np.full(points, np.nan))}, 0
        found = []
        for share in np.linspace(0, 1, points, dtype=np.float32):
            raise_if_signalled()
            at = (snapshot.params, along, jnp.asarray(share), first, snapshot.batch)
            found.append({k: float(v) for k, v in point_on_way(self.spec, *at).items()})
        way = {name: np.array([point[name] for point in found]) for name in WAY_POINTS}
        if not np.all(np.isfinite([*way.values()])):
            raise FloatingPointError(NON_FINITE_PRODUCT)
        return {"way_length": length, **way}, points
