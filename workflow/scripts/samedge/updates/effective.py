r"""The operator whose largest eigenvalue meets the edge of a rule, where it is not the Hessian.

A preconditioned step moves the parameters by :math:`-\eta P^{-1}h`, with the gradient h taken at
the displacement :math:`r T^2 g`. On a quadratic of Hessian H, with r, T and P held where they are,
it is a step along the gradient of one whose curvature is :math:`P^{-1}(H + rHT^2H)`, which has the
eigenvalues of the symmetric

.. math:: P^{-1/2}(H + r H T^2 H)P^{-1/2}.
"""

from typing import Any

import jax
import jax.numpy as jnp

from samedge.curvature.krylov.hessian import OnHost
from samedge.curvature.operators.operator import Operator


def effective_operator(
    hessian: Any,
    params: Any,
    preconditioner: Any = None,
    slope: jax.Array | None = None,
    scale: Any = None,
) -> Operator:
    """Return that operator. Each product takes two with the Hessian, one without ``slope``.

    Parameters
    ----------
    hessian
        The Hessian as a map, as :func:`samedge.curvature.products.linearized` gives it.
    params
        The parameters.
    preconditioner
        P, a pytree like the parameters, above zero; None is 1.
    slope
        r, where the displacement is r T² times the gradient; None without one.
    scale
        T, a pytree like the parameters; None is 1.
    """
    diagonal = squares = None
    if preconditioner is not None:
        diagonal = jax.tree.map(lambda x: 1 / jnp.sqrt(x), preconditioner)
    if slope is not None:
        one = jax.tree.map(jnp.ones_like, params) if scale is None else scale
        squares = jax.tree.map(lambda x: slope * jnp.square(x), one)
    return Operator(
        _product,
        params,
        hessian,
        diagonal,
        squares,
        on_host=isinstance(hessian, OnHost),
        symmetric=True,
    )


def part_of(state: Any, kind: type) -> Any:
    """Return the one part of an optimizer's state that is of a kind, such as Adam's."""
    parts = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kind))
    [found] = [part for part in parts if isinstance(part, kind)]
    return found


def _product(hessian: Any, diagonal: Any, squares: Any, vector: Any) -> Any:
    made = hessian(_times(diagonal, vector))
    if squares is not None:
        made = jax.tree.map(jnp.add, made, hessian(_times(squares, made)))
    return _times(diagonal, made)


def _times(factor: Any, vector: Any) -> Any:
    return vector if factor is None else jax.tree.map(jnp.multiply, factor, vector)
