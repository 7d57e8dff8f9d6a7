"""Sums over microbatches: the same mean in bounded memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def mean_over_microbatches(
    function: Callable[..., Any], data: tuple[Any, ...], microbatch: int | None
) -> Any:
    """Return the mean of ``function(*piece)`` over equal pieces of the data.

    For a loss that is a mean over examples, each of which is computed by itself, this is the
    function of the whole data up to rounding, be it the loss, its gradient or a Hessian-vector
    product. With batch normalisation it is not: each piece is normalised by itself.

    Parameters
    ----------
    function
        Takes arguments like ``data`` with ``microbatch`` examples; returns a pytree.
    data
        Pytrees of arrays whose leading axis is the examples; their number is a multiple of
        ``microbatch`` (:func:`samedge.curvature.arguments.require_pieces`).
    microbatch
        Examples of a piece; None applies ``function`` to the whole.
    """
    if microbatch is None or microbatch == (examples := number_of_examples(data)):
        return function(*data)
    pieces = jax.tree.map(
        lambda x: x.reshape((examples // microbatch, microbatch, *x.shape[1:])), data
    )

    def add(total: Any, piece: tuple[Any, ...]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(*piece)), None

    shapes = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], pieces))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(add, zero, pieces)
    return jax.tree.map(lambda x: x * (microbatch / examples), total)


def number_of_examples(data: tuple[Any, ...]) -> int:
    """Return the length of the leading axis of data that can be cut into microbatches."""
    return jax.tree.leaves(data)[0].shape[0]
