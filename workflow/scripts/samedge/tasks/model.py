"""The paper's models behind one interface; looked up by name in :data:`MODELS`.

A model's function takes its settings as keywords and returns a :class:`Model`. Your own is one
more function here and its name in the configuration. Each function imports the library that it
builds on itself: a job needs one of them, and each takes a while.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from samedge.base.registry import Registry

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
    from samedge.tasks.models.flax_networks import Perceptron

    module = Perceptron(depth=depth, width=width, outputs=outputs)
    return Model(init=module.init, apply=module.apply)


@MODELS.register("cnn")
def cnn(outputs: int, *, blocks: int, channels: int) -> Model:
    """Return the paper's convolutional network (Section 4.2).

    Each block is a 3×3 convolution ("SAME"), ReLU, LayerNorm over channels and 2×2 max pooling;
    the first has ``channels`` channels and each further block doubles them; a dense layer ends
    it. Weights are Glorot normal, biases zero. Inputs ``(examples, height, width, colours)``.
    """
    from samedge.tasks.models.flax_networks import ConvolutionalNetwork

    module = ConvolutionalNetwork(blocks=blocks, channels=channels, outputs=outputs)
    return Model(init=module.init, apply=module.apply)


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
    import haiku as hk

    from samedge.tasks.models.haiku_transformer import LanguageModel, TransformerBody

    def forward(tokens: jax.Array) -> jax.Array:
        # The names, and so the parameters' paths, are those of the published implementation.
        body = TransformerBody(
            layers, heads, key_size, model_size, widening_factor, name="transformer"
        )
        head = LanguageModel(body, outputs, model_size, sequence_length, name="language_model")
        return head(tokens)

    transformed = hk.without_apply_rng(hk.transform(forward))
    return Model(init=transformed.init, apply=transformed.apply)
