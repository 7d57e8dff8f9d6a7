"""Layers that several models have, in Flax, in the type of what goes into them."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

_glorot = nn.initializers.glorot_normal()

#: By default Flax brings float32 into a norm whatever the activations are, and subtracts the
#: squared mean from the mean square, at a loss of digits.
EXACT: dict[str, Any] = {"force_float32_reductions": False, "use_fast_variance": False}


def layer_norm(x: jax.Array, name: str | None = None) -> jax.Array:
    """Normalise over the last axis of ``(n, …, c)``, with scale and bias."""
    return nn.LayerNorm(param_dtype=x.dtype, name=name, **EXACT)(x)


def group_norm(x: jax.Array, groups: int) -> jax.Array:
    """Normalise each example of ``(n, h, w, c)`` over places and groups of channels."""
    return nn.GroupNorm(num_groups=groups, param_dtype=x.dtype, **EXACT)(x)


def batch_norm(x: jax.Array) -> jax.Array:
    """Normalise ``(n, h, w, c)`` by mean and variance of this very batch, with scale and bias.

    No running averages are kept; the module's ``batch_stats`` are to be mutable, and left alone.
    """
    norm = partial(nn.BatchNorm, use_running_average=False, param_dtype=x.dtype)
    return norm(**EXACT)(x)


def dropout(x: jax.Array, key: jax.Array, rate: float) -> jax.Array:
    """Set each number to zero with a probability, and scale up the others, so that means stay.

    What is drawn does not depend on the type of ``x``, so that a run can be audited.
    """
    kept = jax.random.uniform(key, x.shape, jnp.float32) >= rate
    return jnp.where(kept, x / (1 - rate), 0)


class Convolution(nn.Module):
    """A 3×3 convolution, stride 1, "SAME"."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        kernel = self.param("kernel", _glorot, (3, 3, x.shape[-1], self.channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
        return shifted_convolution(x, kernel) + bias


def shifted_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve ``(n, h, w, in)`` with ``(3, 3, in, out)``, "SAME", by one matrix product.

    Its one factor is nine shifted slices side by side. XLA's own convolution is many times slower
    on CPUs, above all inside a loop, and 1.8 times in a Hessian-vector product on an H200.
    """
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    slices = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(slices, axis=-1) @ kernel.reshape((-1, kernel.shape[-1]))
