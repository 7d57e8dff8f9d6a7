"""Adaptive SAM (Kwon et al. 2021): a perturbation in proportion to the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from samedge.curvature.operators.operator import Operator
from samedge.curvature.scaling import norm
from samedge.updates.displacement import normalized
from samedge.updates.effective import effective_operator
from samedge.updates.rule import RULES, Point, UpdateRule


@RULES.register("asam")
def asam(*, adaptive: float = 0.01) -> UpdateRule:
    r"""Return ASAM with gradient descent.

    The second gradient is taken at :math:`\rho T^2g/\lVert Tg\rVert`, where T is
    :math:`|w|+\eta_A` on weights, arrays of two axes or more, and 1 on biases; ``adaptive`` is
    :math:`\eta_A`. The curvature that meets :math:`2/\eta` is that of
    :math:`H + \frac{\rho}{\lVert Tg\rVert}HT^2H`.
    """
    if not adaptive > 0:
        raise ValueError(f"adaptive: found {adaptive}, must be above 0")

    def scale(params: Any) -> Any:
        return jax.tree.map(
            lambda w: jnp.abs(w) + adaptive if w.ndim > 1 else jnp.ones_like(w), params
        )

    def displace(params: Any, gradient: Any, rho: jax.Array, epsilon: float) -> Any:
        factors = scale(params)
        along = normalized(jax.tree.map(jnp.multiply, factors, gradient), rho, epsilon)
        return jax.tree.map(jnp.multiply, factors, along)

    def effective(hessian: Any, at: Point) -> Operator:
        if not float(at.rho) > 0:
            return effective_operator(hessian, at.params)
        factors = scale(at.params)
        length = norm(jax.tree.map(jnp.multiply, factors, at.gradient)) + at.epsilon
        return effective_operator(hessian, at.params, slope=at.rho / length, scale=factors)

    def edge(gradient_norm: float, eta: float, rho: float) -> float:
        del gradient_norm, rho  # the displacement is in the curvature that meets it
        return 2 / eta

    return UpdateRule(normalized, optax.sgd, edge, effective, displace)
