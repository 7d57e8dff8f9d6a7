"""A small Vision Transformer, in Flax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from samedge.tasks.layers import dropout, layer_norm
from samedge.tasks.model import MODELS, Model

_glorot = nn.initializers.glorot_normal()


@MODELS.register("vit")
def vit(
    outputs: int,
    *,
    patch: int,
    layers: int,
    heads: int,
    model_size: int,
    widening_factor: int,
    dropout: float = 0.0,
) -> Model:
    """Return a Vision Transformer (Dosovitskiy et al. 2021).

    Squares of ``patch`` pixels a side, a divisor of both sides of an image, are embedded in
    ``model_size`` numbers and learned positions added; layers of attention and GELU network, each
    behind a LayerNorm, follow; a LayerNorm, the mean over patches and a dense layer end it. Weights
    are Glorot normal, biases zero, positions normal 0.02.

    ``dropout`` is the probability, below 1, with which a number of what attention and the GELU
    network add is left out in a step.
    """
    if model_size % heads:
        raise ValueError(f"model_size must be a multiple of heads, found {model_size} and {heads}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, found {dropout}")
    module = VisionTransformer(patch, layers, heads, model_size, widening_factor, outputs, dropout)

    def with_noise(params: Any, image: jax.Array, key: jax.Array) -> Any:
        return module.apply(params, image[None], rngs={"dropout": key})[0]

    def apply(params: Any, images: jax.Array, keys: jax.Array | None = None) -> Any:
        if keys is None:
            return module.apply(params, images)
        return jax.vmap(with_noise, in_axes=(None, 0, 0))(params, images, keys)

    return Model(init=module.init, apply=apply, noisy=dropout > 0)


class VisionTransformer(nn.Module):
    """Layers of attention between embedded patches and a dense layer."""

    patch: int
    layers: int
    heads: int
    model_size: int
    widening_factor: int
    outputs: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        x = nn.Dense(self.model_size, kernel_init=_glorot)(patches(x, self.patch))
        positions = self.param("positions", nn.initializers.normal(0.02), x.shape[1:], jnp.float32)
        x = x + positions
        for _ in range(self.layers):
            attention = nn.MultiHeadDotProductAttention(self.heads, kernel_init=_glorot)
            x = x + self.thinned(attention(layer_norm(x)))
            hidden = nn.Dense(self.widening_factor * self.model_size, kernel_init=_glorot)
            result = nn.Dense(self.model_size, kernel_init=_glorot)
            x = x + self.thinned(result(nn.gelu(hidden(layer_norm(x)))))
        return nn.Dense(self.outputs, kernel_init=_glorot)(layer_norm(x).mean(axis=1))

    def thinned(self, x: jax.Array) -> jax.Array:
        """Apply dropout, if there is noise."""
        if not self.has_rng("dropout"):
            return x
        return dropout(x, self.make_rng("dropout"), self.dropout)


def patches(x: jax.Array, side: int) -> jax.Array:
    """Cut images ``(n, h, w, c)`` into squares ``(n, h w / side², side² c)``, row by row."""
    count, height, width, channels = x.shape
    if height % side or width % side:
        raise ValueError(f"patch: {side} does not divide images of {height} × {width}")
    cut = x.reshape((count, height // side, side, width // side, side, channels))
    return cut.swapaxes(2, 3).reshape((count, -1, side * side * channels))
