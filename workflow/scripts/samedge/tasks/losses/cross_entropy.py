"""The cross entropy: of characters, as the paper uses it for text, or of the classes of images."""

import jax
import jax.numpy as jnp
import optax

from samedge.tasks.loss import LOSSES, character_losses


@LOSSES.register("cross_entropy", mean_over_examples=("images",))
def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the mean negative log-likelihood (nats) per image, or per character but for padding.

    Shapes: logits and targets ``(examples, classes)``, each row of the targets adding up to one; or
    logits ``(examples, length, vocabulary)`` and targets ``(examples, length)`` int32.
    """
    if logits.shape == targets.shape:
        return jnp.mean(optax.softmax_cross_entropy(logits, targets))
    total, count = character_losses(logits, targets)
    return jnp.sum(total) / jnp.sum(count)
