"""Exact Hessian-vector products: forward over reverse differentiation (Pearlmutter 1994).

Nothing here is a finite difference.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree

from samedge.batching import mean_over_microbatches

Loss = Callable[..., jax.Array]


def hessian_vector_product(
    loss: Loss, params: Any, data: tuple[Any, ...], vector: Any, microbatch: int | None = None
) -> Any:
    """Return the Hessian of ``loss(params, *data)`` times ``vector``, a pytree like ``params``.

    With ``microbatch``, the loss must be a mean over the examples (leading axis) of the data, each
    of which is computed by itself.
    """

    def product(*piece: Any) -> Any:
        gradient = jax.grad(lambda point: loss(point, *piece))
        return jax.jvp(gradient, (params,), (vector,))[1]

    return mean_over_microbatches(product, data, microbatch)


def hessian_map(
    loss: Loss, params: Any, data: tuple[Any, ...], microbatch: int | None = None
) -> Callable[[Any], Any]:
    """Return the Hessian of ``loss(params, *data)`` as a linear map of pytrees like ``params``.

    Without microbatches the gradient is linearised here, once, and a product costs only what
    depends on the vector; the intermediate values of the whole data are kept meanwhile. With
    microbatches each product recomputes them, a piece at a time. The map is a pytree itself, so
    that a compiled program can return it and others take it.
    """
    if microbatch is None or microbatch == data[0].shape[0]:
        return jax.linearize(jax.grad(lambda point: loss(point, *data)), params)[1]

    def product(point: Any, examples: tuple[Any, ...], vector: Any) -> Any:
        return hessian_vector_product(loss, point, examples, vector, microbatch)

    return jax.tree_util.Partial(product, params, data)


def hessian_operator(
    loss: Loss, params: Any, data: tuple[Any, ...], microbatch: int | None = None
) -> Callable[[jax.Array], jax.Array]:
    """Return the Hessian as a linear map of flat vectors ``(n,)``; see :func:`hessian_map`."""
    _, unravel = ravel_pytree(params)
    linear = hessian_map(loss, params, data, microbatch)
    return lambda vector: ravel_pytree(linear(unravel(vector)))[0]
