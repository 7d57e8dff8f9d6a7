"""The paper's models behind one interface; looked up by name in :data:`MODELS`.

A model's function takes its settings as keywords and returns a :class:`Model`. Your own is one
more function here and its name in the configuration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp

from samedge.losses import PADDING
from samedge.registry import Registry

MODELS = Registry("model")

Params = Any  # a pytree of float32 arrays


@dataclass(frozen=True)
class Model:
    """``init(key, inputs) -> params`` and ``apply(params, inputs) -> outputs``, both pure."""

    init: Callable[[jax.Array, jax.Array], Params]
    apply: Callable[[Params, jax.Array], jax.Array]


@MODELS.register("mlp")
def mlp(outputs: int, *, depth: int, width: int) -> Model:
    """Return a fully connected ReLU network of ``depth`` weight layers (paper, Section 4.1).

    Weights are Glorot normal, biases zero. Inputs ``(examples, …)`` are flattened.
    """
    return _flax_model(Perceptron(depth=depth, width=width, outputs=outputs))


@MODELS.register("cnn")
def cnn(outputs: int, *, blocks: int, channels: int) -> Model:
    """Return the paper's convolutional network (Section 4.2).

    Each block is a 3×3 convolution ("SAME"), ReLU, LayerNorm over channels and 2×2 max pooling;
    the first has ``channels`` channels and each further block doubles them; a dense layer ends
    it. Weights are Glorot normal, biases zero. Inputs ``(examples, height, width, colours)``.
    """
    return _flax_model(ConvolutionalNetwork(blocks=blocks, channels=channels, outputs=outputs))


@MODELS.register("transformer")
def transformer(
    outputs: int,
    *,
    layers: int,
    heads: int,
    key_size: int,
    model_size: int,
    sequence_length: int,
    widening_factor: int,
) -> Model:
    """Return the paper's character-level Transformer (Section 4.3), in Haiku, without dropout.

    Pre-LayerNorm, GELU, learned positions, untied output with ``outputs`` logits per position
    (the vocabulary). Weights VarianceScaling(2 / layers), embeddings truncated normal 0.02.
    Inputs are int32 characters ``(examples, sequence_length)``; 0 is padding.
    """

    def forward(tokens: jax.Array) -> jax.Array:
        # The names, and so the parameters' paths, are those of the published implementation.
        body = TransformerBody(
            layers, heads, key_size, model_size, widening_factor, name="transformer"
        )
        head = LanguageModel(body, outputs, model_size, sequence_length, name="language_model")
        return head(tokens)

    transformed = hk.without_apply_rng(hk.transform(forward))
    return Model(init=transformed.init, apply=transformed.apply)


def _flax_model(module: nn.Module) -> Model:
    return Model(init=module.init, apply=module.apply)


_glorot = nn.initializers.glorot_normal()


class Perceptron(nn.Module):
    """Dense layers with ReLU between them."""

    depth: int
    width: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        x = x.reshape((x.shape[0], -1))
        for layer in range(self.depth - 1):
            x = nn.relu(nn.Dense(self.width, kernel_init=_glorot, name=f"dense_{layer}")(x))
        return nn.Dense(self.outputs, kernel_init=_glorot, name=f"dense_{self.depth - 1}")(x)


class ConvolutionalNetwork(nn.Module):
    """Blocks of convolution, ReLU, LayerNorm and pooling, then a dense layer."""

    blocks: int
    channels: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        for block in range(self.blocks):
            x = nn.relu(Convolution(self.channels * 2**block, name=f"conv_{block}")(x))
            x = _pool(nn.LayerNorm(name=f"norm_{block}")(x))
        return nn.Dense(self.outputs, kernel_init=_glorot, name="dense")(
            x.reshape((x.shape[0], -1))
        )


class Convolution(nn.Module):
    """A 3×3 convolution, stride 1, "SAME", in the formulation that is fast on the platform."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        kernel = self.param("kernel", _glorot, (3, 3, x.shape[-1], self.channels))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,))
        convolve = shifted_convolution if jax.default_backend() == "cpu" else native_convolution
        return convolve(x, kernel) + bias


def native_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve ``(n, h, w, in)`` with ``(3, 3, in, out)`` by XLA's convolution."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def shifted_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve as nine shifted slices and one matrix product; same shapes as the native one.

    On CPUs XLA's convolution is many times slower than this, above all inside a loop.
    """
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    slices = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(slices, axis=-1) @ kernel.reshape((-1, kernel.shape[-1]))


def _pool(x: jax.Array) -> jax.Array:
    """Take the 2×2 maximum of ``(n, h, w, c)``; of equal values the first has the derivative."""
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    rows = _larger(x[:, :, 0::2], x[:, :, 1::2])
    return _larger(rows[:, 0::2], rows[:, 1::2])


def _larger(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.where(first >= second, first, second)


class TransformerBody(hk.Module):
    """The stack of attention and feed-forward layers, each behind a LayerNorm, with residuals."""

    def __init__(
        self,
        layers: int,
        heads: int,
        key_size: int,
        model_size: int,
        widening_factor: int,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.layers = layers
        self.heads = heads
        self.key_size = key_size
        self.model_size = model_size
        self.widening_factor = widening_factor

    def __call__(self, x: jax.Array, unmasked: jax.Array) -> jax.Array:
        """Map embeddings ``(n, T, D)`` to ``(n, T, D)``; ``unmasked`` (n, T) bool."""
        initializer = hk.initializers.VarianceScaling(2 / self.layers)
        length = x.shape[1]
        causal = jnp.tril(jnp.ones((1, 1, length, length), dtype=bool))
        mask = unmasked[:, None, None, :] & causal  # (n, head, T, T)
        for _ in range(self.layers):
            attention = hk.MultiHeadAttention(
                self.heads, self.key_size, w_init=initializer, model_size=self.model_size
            )
            normed = _layer_norm(x)
            x = x + attention(normed, normed, normed, mask)
            normed = _layer_norm(x)
            hidden = hk.Linear(self.widening_factor * self.model_size, w_init=initializer)(normed)
            x = x + hk.Linear(self.model_size, w_init=initializer)(jax.nn.gelu(hidden))
        return _layer_norm(x)


class LanguageModel(hk.Module):
    """Embeddings and positions in front of a body, and logits behind it."""

    def __init__(
        self,
        body: TransformerBody,
        vocabulary: int,
        model_size: int,
        sequence_length: int,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.body = body
        self.vocabulary = vocabulary
        self.model_size = model_size
        self.sequence_length = sequence_length

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map characters ``(n, T)`` to logits ``(n, T, vocabulary)``."""
        initializer = hk.initializers.TruncatedNormal(0.02)
        embedded = hk.Embed(self.vocabulary, self.model_size, w_init=initializer)(tokens)
        positions = hk.get_parameter(
            "positional_embeddings", (self.sequence_length, self.model_size), init=initializer
        )
        hidden = self.body(embedded + positions[None], tokens != PADDING)
        return hk.Linear(self.vocabulary)(hidden)


def _layer_norm(x: jax.Array) -> jax.Array:
    return hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)(x)
