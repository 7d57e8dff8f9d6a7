"""SAM as in the paper; at ``rho = 0`` gradient descent."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from samedge.curvature.scaling import scaled_norm
from samedge.updates import edges
from samedge.updates.rule import RULES, UpdateRule


def normalized(gradient: Any, rho: jax.Array, epsilon: float) -> Any:
    """Return the displacement of length ``rho`` along the gradient (paper, equation 1)."""
    norm, factor = scaled_norm(gradient)
    length = norm + epsilon * factor
    # A gradient of zero has no direction, whatever epsilon.
    share = jnp.where(norm > 0, rho / jnp.where(length > 0, length, 1), 0)
    return optax.tree.scale(share, optax.tree.scale(factor, gradient))


@RULES.register("sam")
def sam() -> UpdateRule:
    """Return SAM as in the paper: a perturbation of length rho along the gradient, then SGD."""
    return UpdateRule(perturb=normalized, optimizer=optax.sgd, edge=edges.sam_edge)
