"""Sums over microbatches: the same mean in bounded memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def mean_over_microbatches(
    function: Callable[..., Any], data: tuple[jax.Array, ...], microbatch: int | None
) -> Any:
    """Return the mean of ``function(*piece)`` over equal pieces of the data.

    For a loss that is a mean over examples, each of which is computed by itself, this is the
    function of the whole data up to rounding, be it the loss, its gradient or a Hessian-vector
    product. With batch normalisation it is not: each piece is normalised by itself.

    Parameters
    ----------
    function
        Takes arrays shaped like ``data`` with ``microbatch`` examples; returns a pytree.
    data
        Arrays whose leading axis is the examples; their number is a multiple of ``microbatch``.
    microbatch
        Examples of a piece; None applies ``function`` to the whole.
    """
    examples = data[0].shape[0]
    if microbatch is None or microbatch == examples:
        return function(*data)
    pieces = tuple(x.reshape((examples // microbatch, microbatch, *x.shape[1:])) for x in data)

    def add(total: Any, piece: tuple[jax.Array, ...]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(*piece)), None

    shapes = jax.eval_shape(function, *(x[0] for x in pieces))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(add, zero, pieces)
    return jax.tree.map(lambda x: x * (microbatch / examples), total)
