"""Losses, looked up by name in :data:`LOSSES`; each is a file of :mod:`samedge.tasks.losses`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from samedge.base.registry import Registry
from samedge.tasks.inputs import PADDING

Loss = Callable[[jax.Array, jax.Array], jax.Array]  # of outputs and targets

LOSSES: Registry[Loss] = Registry("loss")


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
