"""The squared error, as the paper uses it for images."""

import jax
import jax.numpy as jnp

from samedge.tasks.loss import LOSSES


@LOSSES.register("squared_error", mean_over_examples=True)
def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the mean over examples **and** outputs of (output - target)², with no factor ½.

    Source: the paper, Section 4.1; shapes ``(examples, outputs)`` both.
    """
    return jnp.mean(jnp.square(outputs - targets))
