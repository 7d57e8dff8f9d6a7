"""Losses, each with its normalisation stated; looked up by name in :data:`LOSSES`."""

import jax
import jax.numpy as jnp
import optax

from samedge.base.registry import Registry

LOSSES = Registry("loss")

PADDING = 0  # the token that fills the last window of a text


@LOSSES.register("squared_error")
def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the mean over examples **and** outputs of (output - target)², with no factor ½.

    Source: the paper, Section 4.1; shapes ``(examples, outputs)`` both.
    """
    return jnp.mean(jnp.square(outputs - targets))


@LOSSES.register("cross_entropy")
def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the mean negative log-likelihood (nats) per character that is not padding.

    Shapes: logits ``(examples, length, vocabulary)``, targets ``(examples, length)`` int32.
    """
    total, count = character_losses(logits, targets)
    return jnp.sum(total) / jnp.sum(count)


def character_losses(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return each window's summed negative log-likelihood (nats) and its unmasked characters."""
    unmasked = (targets != PADDING).astype(logits.dtype)
    if jax.default_backend() == "cpu":
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    else:
        # The derivative of picking a logit by its index is a scatter, which a GPU does one index
        # after the other where its operations are to be deterministic.
        labels = jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
        losses = optax.softmax_cross_entropy(logits, labels)
    return jnp.sum(losses * unmasked, axis=-1), jnp.sum(unmasked, axis=-1)


# A mean over examples of equal weight is the mean over its microbatches; a mean over unmasked
# characters is not, since windows may hold different numbers of them.
MEANS_OVER_EXAMPLES = frozenset({"squared_error"})
