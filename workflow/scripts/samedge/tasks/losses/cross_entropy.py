"""The cross entropy of characters, as the paper uses it for text."""

import jax
import jax.numpy as jnp

from samedge.tasks.loss import LOSSES, character_losses


@LOSSES.register("cross_entropy")
def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the mean negative log-likelihood (nats) per character that is not padding.

    Shapes: logits ``(examples, length, vocabulary)``, targets ``(examples, length)`` int32.
    """
    total, count = character_losses(logits, targets)
    return jnp.sum(total) / jnp.sum(count)
