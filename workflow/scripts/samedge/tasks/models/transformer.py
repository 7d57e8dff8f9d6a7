"""The paper's Transformer for characters, in Haiku."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from samedge.tasks.inputs import PADDING
from samedge.tasks.model import MODELS, Model


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

    transformed: Any = hk.without_apply_rng(hk.transform(forward))
    return Model(init=transformed.init, apply=transformed.apply)


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
        embed = hk.Embed(self.vocabulary, self.model_size, w_init=initializer)
        embedded = _look_up(embed, tokens)
        positions = hk.get_parameter(
            "positional_embeddings", (self.sequence_length, self.model_size), init=initializer
        )
        hidden = self.body(embedded + positions[None], tokens != PADDING)
        return hk.Linear(self.vocabulary)(hidden)


def _look_up(embed: hk.Embed, tokens: jax.Array) -> jax.Array:
    """Return the embeddings of tokens, in the formulation that is fast on the platform.

    The derivative of indexing is a scatter, which a GPU does one index after the other where its
    operations are to be deterministic; that of a product with one-hot rows is a product.
    """
    if jax.default_backend() == "cpu":
        return embed(tokens)
    rows = embed.embeddings
    return jax.nn.one_hot(tokens, len(rows), dtype=rows.dtype) @ rows


def _layer_norm(x: jax.Array) -> jax.Array:
    return hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)(x)
