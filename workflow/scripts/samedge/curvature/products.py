"""Exact Hessian-vector products: forward over reverse differentiation (Pearlmutter 1994).

Nothing here is a finite difference.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
from jax.flatten_util import ravel_pytree

from samedge.curvature import arguments
from samedge.curvature.microbatches import mean_over_microbatches, number_of_examples
from samedge.curvature.scaling import Factors, scaled

Loss = Callable[..., jax.Array]


@contextmanager
def explained_derivatives() -> Iterator[None]:
    """Say what to do where JAX cannot differentiate a custom backward pass once more."""
    try:
        yield
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise TypeError(
            "the loss has a custom_vjp whose backward pass uses a custom_vjp again, and JAX cannot "
            "differentiate that forward, as a Hessian-vector product does; define it by "
            "jax.custom_jvp, or write the backward pass in plain JAX"
        ) from error


@explained_derivatives()
def hessian_vector_product(
    loss: Loss, params: Any, data: tuple[Any, ...], vector: Any, microbatch: int | None = None
) -> Any:
    """Return the Hessian of ``loss(params, *data)`` times ``vector``, a pytree like ``params``.

    With ``microbatch``, the loss must be a mean over the examples (leading axis) of the data, each
    of which is computed by itself.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not of the kind described, see
        :func:`samedge.curvature.arguments.require`; and for a loss that cannot be differentiated
        twice.
    """
    arguments.require(loss, params, data, microbatch)
    arguments.require_like("vector", vector, params)
    return _product(loss, microbatch, params, data, None, vector)


def hessian_map(
    loss: Loss,
    params: Any,
    data: tuple[Any, ...],
    microbatch: int | None = None,
    factors: Factors | None = None,
) -> Callable[[Any], Any]:
    """Return the Hessian of ``loss(params, *data)`` as a linear map of pytrees like ``params``.

    Without microbatches the gradient is linearised here, once, and a product costs only what
    depends on the vector; the intermediate values of the whole data are kept meanwhile. With
    microbatches each product recomputes them, a piece at a time. The map is a pytree itself, so
    that a compiled program can return it and others take it.

    With ``factors`` it is the Hessian times all of them.
    """
    if _all_at_once(data, microbatch):
        linear = jax.linearize(_gradient(loss, data, factors), params)[1]
        return linear if factors is None else jax.tree_util.Partial(scaled, linear, factors)

    def product(point: Any, examples: tuple[Any, ...], factors: Any, vector: Any) -> Any:
        linear = partial(_product, loss, microbatch, point, examples, factors)
        return linear(vector) if factors is None else scaled(linear, factors, vector)

    return jax.tree_util.Partial(product, params, data, factors)


def linearized(
    loss: Loss, params: Any, data: tuple[Any, ...], microbatch: int | None = None
) -> tuple[jax.Array, Any, Callable[[Any], Any]]:
    """Return the loss, its gradient, and the Hessian as :func:`hessian_map` gives it.

    What is kept for the products is what the loss and the gradient were computed with.
    """
    if _all_at_once(data, microbatch):
        value_and_grad = jax.value_and_grad(lambda point: arguments.scalar(loss(point, *data)))
        (value, gradient), linear = jax.linearize(value_and_grad, params)
        return value, gradient, jax.tree_util.Partial(_second, linear)
    piecewise = partial(jax.value_and_grad(loss), params)
    value, gradient = mean_over_microbatches(piecewise, data, microbatch)
    return value, gradient, hessian_map(loss, params, data, microbatch)


def _all_at_once(data: tuple[Any, ...], microbatch: int | None) -> bool:
    return microbatch is None or microbatch == number_of_examples(data)


def _second(linear: Callable[[Any], tuple[Any, Any]], vector: Any) -> Any:
    """Return the derivative of the gradient, where that of the loss stands before it."""
    return linear(vector)[1]


def hessian_operator(
    loss: Loss, params: Any, data: tuple[Any, ...], microbatch: int | None = None
) -> Callable[[jax.Array], jax.Array]:
    """Return the Hessian as a linear map of flat vectors ``(n,)``; see :func:`hessian_map`."""
    _, unravel = ravel_pytree(params)
    linear = hessian_map(loss, params, data, microbatch)
    return lambda vector: ravel_pytree(linear(unravel(vector)))[0]


def _product(
    loss: Loss,
    microbatch: int | None,
    params: Any,
    data: tuple[Any, ...],
    factors: Factors | None,
    vector: Any,
) -> Any:
    def product(*piece: Any) -> Any:
        return jax.jvp(_gradient(loss, piece, factors), (params,), (vector,))[1]

    return mean_over_microbatches(product, data, microbatch)


def _gradient(loss: Loss, data: tuple[Any, ...], factors: Factors | None) -> Callable[[Any], Any]:
    """Return the gradient of the loss, times its factor if there is one, as a function."""

    def multiple(point: Any) -> jax.Array:
        value = arguments.scalar(loss(point, *data))
        return value if factors is None else value * factors.loss.astype(value.dtype)

    return jax.grad(multiple)
