"""Whether examples are computed each by itself, found by trying a model or a loss on a few of them.

Both are tried at parameters a little away from the initial ones, since initial zeros, in a last
layer say, hide what a model does.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PROBED = 4  # examples that are tried
ROUNDING = 1e-4  # relative; what a batch's mean adds up in another order differs by far less

Init = Callable[[jax.Array], Any]


def depends_on_batch(
    apply: Callable[[Any, jax.Array], jax.Array],
    init: Init,
    inputs: jax.Array,
    dtype: np.dtype | type,
) -> bool:
    """Tell whether the output for an example changes, in any bit, with the rest of its batch.

    Parameters
    ----------
    apply, init
        ``(params, inputs) -> outputs`` and ``key -> params``.
    inputs
        Of all examples (n, …); the trial takes some that are spread over them.
    dtype
        Floating-point type of the parameters.
    """
    place = 1
    picked = _spread(len(inputs))

    @jax.jit
    def output(params: Any, inputs: jax.Array, chosen: jax.Array) -> jax.Array:
        return apply(_moved(params, dtype), inputs[chosen])[place]

    params = jax.jit(init)(jax.random.key(0))
    among_others, repeated = (
        output(params, inputs, chosen) for chosen in (picked, np.full_like(picked, picked[place]))
    )
    return not np.array_equal(among_others, repeated, equal_nan=True)


def is_mean_over_halves(
    loss: Callable[..., jax.Array],
    init: Init,
    data: tuple[jax.Array, ...],
    dtype: np.dtype | type,
) -> bool:
    """Tell whether a batch's loss is the mean of those of its halves, up to rounding.

    ``loss`` takes parameters and then arrays like those of ``data``, (n, …) each; the rest is as
    for :func:`depends_on_batch`.
    """
    picked = _spread(len(data[0]))

    @jax.jit
    def value(params: Any, data: tuple[jax.Array, ...], chosen: jax.Array) -> jax.Array:
        return loss(_moved(params, dtype), *(x[chosen] for x in data))

    params = jax.jit(init)(jax.random.key(0))
    whole, *halves = (
        float(value(params, data, chosen))
        for chosen in (picked, picked[: PROBED // 2], picked[PROBED // 2 :])
    )
    return bool(np.isclose(whole, np.mean(halves), rtol=ROUNDING, atol=0, equal_nan=True))


def _spread(examples: int) -> np.ndarray:
    """Return the places of :data:`PROBED` examples, spread over all of them."""
    return np.linspace(0, examples - 1, PROBED).round().astype(np.int32)


def _moved(params: Any, dtype: np.dtype | type) -> Any:
    """Return parameters a little away from these."""

    def move(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        wave = jnp.sin(jnp.arange(1, leaf.size + 1, dtype=dtype)).reshape(leaf.shape)
        return leaf.astype(dtype) + 0.1 * wave

    return jax.tree.map(move, params)
