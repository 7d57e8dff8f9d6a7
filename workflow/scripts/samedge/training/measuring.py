"""What a check measures: a function of the parameters and of a batch, of nothing else in a run.

Somebody with a training loop of their own measures as a run does by calling :func:`measure`; the
audit in float64 is made of its parts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samedge.config.parts import CurvatureSettings
from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import Eigenpairs, RitzPairs, top_eigenpairs
from samedge.curvature.operators.hosted import HostLoss
from samedge.curvature.products import Loss
from samedge.machine.signals import raise_if_signalled
from samedge.training.steps import (
    StepSpec,
    alignment,
    cosines,
    measure_gradients,
    norm_of,
)
from samedge.updates.rule import Point

NON_FINITE_GRADIENT = "non-finite loss or gradient"
NON_FINITE_PRODUCT = "non-finite Hessian-vector product"

#: What a check that is not certified does not measure.
CERTIFICATE = (
    "overlooked",
    "largest_eigenvalue",
    "smallest_eigenvalue",
    "largest_eigenvalue_bound",
    "smallest_eigenvalue_bound",
)
#: Absolute cosine with the vector of the same rank before from which on a pair is the same one.
#: Where another pair has taken the rank it is near zero.
SAME_PAIR = 0.9
# Folded into a key they are none of the two that the key is split into.
FOLLOWING, EFFECTIVE = 2, 3
#: What asks the solver for residuals alone.
UNCERTIFIED: dict[str, Any] = {"overlook": 1.0, "ends": False}

Batch = tuple[jax.Array, ...]


@dataclass(frozen=True)
class Gradients:
    """The loss at a point, its gradient, and the gradient that the update rule steps along.

    The norms are those of the two gradients, which are pytrees shaped like the parameters. The
    Hessian is a map of such pytrees, from the pass that gave the loss.
    """

    loss: float
    gradient: Any
    ascended: Any
    norm: float
    ascended_norm: float
    hessian: Callable[[Any], Any]


@dataclass(frozen=True)
class Measurement:
    """What a check measured, and what the next one's solver starts from.

    Attributes
    ----------
    values
        The variables of a check that follow from the point, by the names of
        :func:`samedge.records.files.run_dataset`: all but ``step`` and the two times.
    spectrum
        The Ritz pairs of the solver.
    effective_spectrum
        Those of the operator whose curvature meets the rule's edge, None where that is the Hessian.
    """

    values: dict[str, Any]
    spectrum: RitzPairs
    effective_spectrum: RitzPairs | None = None


def gradients_at(spec: StepSpec, params: Any, rho: jax.Array, batch: Batch) -> Gradients:
    """Return the loss and both gradients at the parameters; ``rho`` is of the parameters' type."""
    if isinstance(spec.loss, HostLoss):
        made = spec.gradients_and_hessian(params, rho, batch)
    else:
        made = measure_gradients(spec, params, rho, batch)
    loss, gradient, ascended, hessian = made
    norms = float(norm_of(gradient)), float(norm_of(ascended))
    return Gradients(float(loss), gradient, ascended, *norms, hessian)


def eigenpairs_at(
    settings: RunSettings,
    loss: Loss,
    params: Any,
    batch: Batch,
    key: jax.Array,
    start: RitzPairs | None = None,
    ends: bool = True,
    known: Callable[[Any], Any] | None = None,
) -> Eigenpairs:
    """Return the top of the Hessian's spectrum, certified as ``settings.curvature`` asks for it.

    With ``ends``, both ends of the spectrum are known as well as it says, too. ``known`` is the
    Hessian as a map, where there is one already.

    Raises
    ------
    FloatingPointError
        If a Hessian-vector product is not finite.
    Interrupted
        If a signal has come, see :mod:`samedge.machine.signals`.
    """
    share = settings.curvature.ends if ends else False
    return _solve(settings, loss, params, batch, key, start, ends=share, known=known)


def _solve(
    settings: RunSettings,
    loss: Loss,
    params: Any,
    batch: Batch,
    key: jax.Array,
    start: RitzPairs | None,
    **changes: Any,
) -> Eigenpairs:
    """Return what the solver finds with the settings of a run, but for ``changes``."""
    return top_eigenpairs(
        loss,
        params,
        batch,
        settings.curvature.eigenvalues,
        key=key,
        microbatch=settings.microbatch,
        start=start,
        pure=True,
        **(solver_options(settings.curvature) | changes),
    )


def solver_options(curvature: CurvatureSettings) -> dict[str, Any]:
    """Return what a run asks of the solver, whatever the operator and however many pairs."""
    return {
        "tolerance": curvature.tolerance,
        "max_products": curvature.max_products,
        "max_vectors": curvature.max_vectors,
        "overlook": curvature.overlook,
        "pause": raise_if_signalled,
    }


def _followed(
    settings: RunSettings,
    loss: Loss,
    params: Any,
    batch: Batch,
    key: jax.Array,
    start: RitzPairs,
    known: Callable[[Any], Any],
) -> tuple[Eigenpairs, bool]:
    """Follow the pairs of the check before by their residuals alone, and say if that is certified.

    Where they are not followed, or have become others, a certified measurement goes on from what
    was found. It has the products that are left of ``max_products``; where these are too few, no
    pair counts as converged, as at any check that reaches the cap.
    """
    # Not the random vectors of what may come after: those must know nothing of what was found.
    own = jax.random.fold_in(key, FOLLOWING)
    top = _solve(settings, loss, params, batch, own, start, known=known, **UNCERTIFIED)
    if top.converged.all() and _continues(top, start):
        return top, False
    wanted, left = settings.curvature.eigenvalues, settings.curvature.max_products - top.hvp_count
    if left < 2 * wanted:
        return top._replace(converged=np.zeros(wanted, bool)), False
    found = RitzPairs(top.ritz_values, top.ritz_vectors)
    again = _solve(
        settings,
        loss,
        params,
        batch,
        key,
        found,
        max_products=left,
        ends=settings.curvature.ends,
        known=known,
    )
    return again._replace(hvp_count=top.hvp_count + again.hvp_count), True


def _certificate(top: Eigenpairs) -> dict[str, float]:
    """Return what a certified measurement knows beyond its pairs, by the names of a check."""
    ends = (top.largest, top.smallest, top.largest_bound, top.smallest_bound)
    return dict(zip(CERTIFICATE, (top.overlooked, *ends), strict=True))


def _continues(top: Eigenpairs, before: RitzPairs) -> bool:
    """Tell whether every pair lies along that of its rank at the check before."""
    if top.ritz_vectors.shape != before.ritz_vectors.shape:
        return False
    found = np.asarray(cosines(top.ritz_vectors, before.ritz_vectors))
    return bool(np.all(found[: len(top.vectors)] >= SAME_PAIR))


def measure(
    settings: RunSettings,
    spec: StepSpec,
    params: Any,
    batch: Batch,
    key: jax.Array,
    start: RitzPairs | None = None,
    certify: bool = True,
    *,
    state: Any = None,
    step: int = 0,
    effective_start: RitzPairs | None = None,
) -> Measurement:
    """Measure at the parameters what a check records.

    Parameters
    ----------
    settings
        The run's settings, of which learning rate, radius, microbatch and curvature count.
    spec
        The loss that is measured, and the update rule (:meth:`StepSpec.of`); the same one at every
        check, so that nothing is compiled twice.
    params
        The parameters; they stay as they are.
    batch
        Inputs and targets to measure on, see :func:`samedge.tasks.problems.measured_batch`.
    key
        Of the random vectors of the eigenvalue solver.
    start
        ``spectrum`` of the measurement before, which spares the solver products; None without one.
    certify
        Whether to challenge the eigenvalues and to bound both ends of the spectrum, as
        ``settings.curvature`` asks for. Without, or rather with ``start`` too, the pairs of
        ``start`` are followed by their residuals alone, and ``overlooked``, the ends and their
        bounds are NaN; unless they cannot be followed or a rank has another pair than it had,
        which is certified after all.
    state
        The optimizer's state, which the effective curvature of a rule with a preconditioner
        depends on.
    step
        Steps taken so far, which a schedule makes the learning rate of.
    effective_start
        ``effective_spectrum`` of the measurement before.

    Raises
    ------
    TypeError
        If the rule's curvature needs the optimizer's state, and there is none.
    FloatingPointError
        If the loss, a gradient or a Hessian-vector product is not finite; its text says which.
    Interrupted
        If a signal has come, see :mod:`samedge.machine.signals`.
    """
    found = gradients_at(spec, params, jnp.float32(settings.rho), batch)
    if not np.all(np.isfinite([found.loss, found.norm, found.ascended_norm])):
        raise FloatingPointError(NON_FINITE_GRADIENT)
    # Programs may have been compiled for it, and more may be for what follows.
    raise_if_signalled()
    try:
        point = settings, spec.loss, params, batch, key
        if certify or start is None:
            top, certified = eigenpairs_at(*point, start, known=found.hessian), True
        else:
            top, certified = _followed(*point, start, found.hessian)
        curvature, spectrum, products = _effective(
            settings, spec, params, found, key, state, effective_start, certified
        )
    except FloatingPointError as error:
        raise FloatingPointError(NON_FINITE_PRODUCT) from error
    if curvature is None:
        curvature = top.values[0]
    # A gradient of norm zero has an edge as a limit: 2/eta without SAM, else zero.
    limited_norm = max(found.norm, float(np.finfo(np.float32).tiny))
    eta = spec.learning_rate(float(settings.eta), step)
    # A step that does not move has none.
    edge = spec.rule.edge(limited_norm, eta, float(settings.rho)) if eta > 0 else np.nan
    values = {
        "training_loss": found.loss,
        "gradient_norm": found.norm,
        "sam_gradient_norm": found.ascended_norm,
        "learning_rate": eta,
        "sam_edge": edge,
        "effective_curvature": curvature,
        "edge_ratio": np.abs(curvature) / edge,
        "eigenvalue": top.values,
        "eigenvalue_residual": top.residuals,
        "eigenvalue_converged": top.converged,
        **(_certificate(top) if certified else dict.fromkeys(CERTIFICATE, np.nan)),
        "gradient_alignment": float(alignment(found.gradient, top.vectors[0])),
        "sam_gradient_alignment": float(alignment(found.ascended, top.vectors[0])),
        "hessian_vector_products": top.hvp_count + products,
    }
    return Measurement(values, RitzPairs(top.ritz_values, top.ritz_vectors), spectrum)


def _effective(
    settings: RunSettings,
    spec: StepSpec,
    params: Any,
    found: Gradients,
    key: jax.Array,
    state: Any,
    start: RitzPairs | None,
    certify: bool,
) -> tuple[float | None, RitzPairs | None, int]:
    """Return the curvature that meets the edge where it is not the Hessian's, and its price.

    It is the algebraically largest eigenvalue of the rule's operator, with what the next
    measurement starts from and the Hessian-vector products that were spent.
    """
    if spec.rule.effective is None:
        return None, None, 0
    rho = jnp.float32(settings.rho)
    at = Point(params, state, found.gradient, found.ascended, rho, spec.epsilon)
    curvature = settings.curvature
    asked = solver_options(curvature) | ({"ends": curvature.ends} if certify else UNCERTIFIED)
    top = top_eigenpairs(
        spec.rule.effective(found.hessian, at),
        k=1,
        key=jax.random.fold_in(key, EFFECTIVE),
        start=start,
        **asked,
    )
    value = float(top.values[0]) if top.values[0] > 0 else top.largest
    each = 2 if float(settings.rho) > 0 else 1
    return value, RitzPairs(top.ritz_values, top.ritz_vectors), each * top.hvp_count
