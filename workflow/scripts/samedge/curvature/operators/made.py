"""Operators that are made of others: of a model and a loss, of a map and a diagonal."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from samedge.curvature import arguments
from samedge.curvature.operators.operator import Operator

REMEMBERED = 128  # functions made of others, so that what is compiled for them is found again


def gauss_newton(
    outputs: Callable[..., Any],
    loss: Callable[..., jax.Array],
    params: Any,
    inputs: tuple[Any, ...],
    targets: tuple[Any, ...] = (),
) -> Operator:
    r"""Return the Gauss-Newton matrix of ``loss(outputs(params, *inputs), *targets)``.

    It is :math:`J^\top H_\ell J` with the Jacobian J of the outputs and the Hessian of the loss
    with respect to them (Schraudolph 2002): the Hessian without the curvature of the model. Where
    the loss is convex in the outputs it has no negative eigenvalue.

    Raises
    ------
    TypeError, ValueError
        For parameters that are not arrays of float32, or of float64.
    """
    function = _gauss_newton_product(outputs, loss)
    return Operator(function, params, params, tuple(inputs), tuple(targets))


def congruent(
    hessian: Callable[[Any], Any], like: Any, diagonal: Any, *, symmetric: bool = False
) -> Operator:
    r"""Return :math:`D A D` of a symmetric map A and a diagonal D, a pytree like ``like``.

    With :math:`D = P^{-1/2}` it has the eigenvalues of the preconditioned :math:`P^{-1}A`, which is
    not symmetric itself.

    Parameters
    ----------
    hessian
        A map of pytrees that is one itself, as :func:`samedge.curvature.products.hessian_map`
        returns.
    like
        The parameters.
    diagonal
        What it multiplies by, on both sides.
    symmetric
        Whether it is certain that the map is linear and symmetric, so that it need not be tried.
    """
    return Operator(_congruent_product, like, hessian, diagonal, symmetric=symmetric)


@lru_cache(REMEMBERED)
def _gauss_newton_product(
    outputs: Callable[..., Any], loss: Callable[..., jax.Array]
) -> Callable[..., Any]:
    def multiplied(params: Any, inputs: Any, targets: Any, vector: Any) -> Any:
        def model(point: Any) -> Any:
            return outputs(point, *inputs)

        def slope(made: Any) -> Any:
            return jax.grad(lambda x: arguments.scalar(loss(x, *targets)))(made)

        made, back = jax.vjp(model, params)
        _, change = jax.jvp(model, (params,), (vector,))
        return back(jax.jvp(slope, (made,), (change,))[1])[0]

    return multiplied


def _congruent_product(hessian: Any, diagonal: Any, vector: Any) -> Any:
    inner = hessian(jax.tree.map(jnp.multiply, diagonal, vector))
    return jax.tree.map(jnp.multiply, diagonal, inner)
