"""Where a rule takes its second gradient: at a displacement along the first.

A displacement is ``r g``. Along an eigenvector of curvature λ the gradient there is ``(1 + rλ)g``,
so that a rule whose own limit is s sees the curvature ``λ(1 + rλ)`` reach it at
:func:`samedge.updates.edges.displaced_edge`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from samedge.curvature.operators.operator import Operator
from samedge.curvature.scaling import norm, scaled_norm
from samedge.updates import edges
from samedge.updates.effective import effective_operator
from samedge.updates.rule import Point, UpdateRule


@dataclass(frozen=True)
class Displacement:
    """A displacement along the gradient.

    Attributes
    ----------
    perturb
        ``(gradient, rho, epsilon) -> displacement``.
    slope
        ``(gradient_norm, rho) -> r``, what it multiplies the gradient by.
    """

    perturb: Callable[[Any, jax.Array, float], Any]
    slope: Callable[[Any, Any], Any]

    def rule(
        self, optimizer: Callable[[Any], optax.GradientTransformation], coefficient: float
    ) -> UpdateRule:
        """Return the rule that steps along the gradient there.

        Parameters
        ----------
        optimizer
            ``eta -> optax.GradientTransformation``.
        coefficient
            c, where the optimizer alone turns unstable at the curvature c/η.
        """

        def edge(gradient_norm: float, eta: float, rho: float) -> float:
            return edges.displaced_edge(coefficient / eta, self.slope(gradient_norm, rho))

        return UpdateRule(self.perturb, optimizer, edge)

    def preconditioned(
        self,
        optimizer: Callable[[Any], optax.GradientTransformation],
        limit: Callable[[float], float],
        preconditioner: Callable[[Point], Any],
    ) -> UpdateRule:
        """Return a rule whose optimizer divides by a preconditioner.

        Parameters
        ----------
        optimizer
            ``eta -> optax.GradientTransformation``.
        limit
            ``eta -> s``, the effective curvature at which it turns unstable.
        preconditioner
            ``point -> P``, of the step that follows.
        """

        def edge(gradient_norm: float, eta: float, rho: float) -> float:
            del gradient_norm, rho  # the displacement is in the curvature that meets it
            return limit(eta)

        def effective(hessian: Any, at: Point) -> Operator:
            if at.state is None:
                raise TypeError(
                    "what meets the edge of a preconditioned rule depends on the optimizer's "
                    "state; give state"
                )
            slope = None
            if float(at.rho) > 0:
                slope = self.slope(norm(at.gradient) + at.epsilon, at.rho)
            return effective_operator(hessian, at.params, preconditioner(at), slope)

        return UpdateRule(self.perturb, optimizer, edge, effective)


def normalized(gradient: Any, rho: jax.Array, epsilon: float) -> Any:
    """Return the displacement of length ``rho`` along the gradient (paper, equation 1)."""
    scaled, factor = scaled_norm(gradient)
    length = scaled + epsilon * factor
    # A gradient of zero has no direction, whatever epsilon.
    share = jnp.where(scaled > 0, rho / jnp.where(length > 0, length, 1), 0)
    return optax.tree.scale(share, optax.tree.scale(factor, gradient))


def unnormalized(gradient: Any, rho: jax.Array, epsilon: float) -> Any:
    """Return the displacement ``rho`` times the gradient (Andriushchenko & Flammarion 2022)."""
    del epsilon  # nothing is divided by
    return optax.tree.scale(rho, gradient)


DISPLACEMENTS = {
    "sam": Displacement(normalized, lambda gradient_norm, rho: rho / gradient_norm),
    "unnormalized": Displacement(unnormalized, lambda gradient_norm, rho: rho),
}


def displacement(name: str) -> Displacement:
    """Return the displacement of a name.

    Raises
    ------
    ValueError
        For any other, with those there are.
    """
    if name not in DISPLACEMENTS:
        raise ValueError(f"displacement: found '{name}', must be one of {', '.join(DISPLACEMENTS)}")
    return DISPLACEMENTS[name]
