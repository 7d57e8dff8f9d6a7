"""How large a model is, from its settings alone: closed forms, by the model's name.

They are told without JAX, before a job starts; the tests hold them against the models themselves.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from samedge.base.registry import Registry


@dataclass(frozen=True)
class Size:
    """How many numbers a model has for parameters, and for the activations of one example."""

    parameters: int
    activations: int


SIZES: Registry[Callable[..., Size]] = Registry("model's size")


@SIZES.register("mlp")
def mlp(shape: tuple[int, ...], outputs: int, *, depth: int, width: int) -> Size:
    """Dense layers of ``width``, each with its value before and after ReLU."""
    widths = [math.prod(shape), *[width] * (depth - 1), outputs]
    parameters = sum(_dense(*pair) for pair in itertools.pairwise(widths))
    return Size(parameters, widths[0] + 2 * width * (depth - 1) + outputs)


@SIZES.register("cnn")
def cnn(shape: tuple[int, ...], outputs: int, *, blocks: int, channels: int) -> Size:
    """Blocks of convolution of nine shifted copies, ReLU, LayerNorm and pooling."""
    height, width, before = shape
    parameters = activations = 0
    for block in range(blocks):
        after = channels * 2**block
        parameters += _dense(9 * before, after) + 2 * after
        activations += height * width * (9 * before + 4 * after)
        height, width, before = height // 2, width // 2, after
    flat = height * width * before
    return Size(parameters + _dense(flat, outputs), activations + flat + outputs)


@SIZES.register("resnet")
def resnet(
    shape: tuple[int, ...], outputs: int, *, stages: int, blocks: int, channels: int, norm: str
) -> Size:
    """Blocks of two convolutions of nine shifted copies, each with its norm."""
    del norm  # both have a scale and a bias for each channel
    height, width, before = shape
    parameters = _dense(9 * before, channels) + 2 * channels
    activations = height * width * (9 * before + 3 * channels)
    before = channels
    for stage in range(stages):
        after = channels * 2**stage
        if stage:
            height, width = height // 2, width // 2
        for _ in range(blocks):
            parameters += _dense(9 * before, after) + _dense(9 * after, after) + 4 * after
            parameters += before * after if before != after else 0
            activations += height * width * (9 * before + 9 * after + 7 * after)
            before = after
    return Size(parameters + _dense(before, outputs), activations + before + outputs)


@SIZES.register("vit")
def vit(
    shape: tuple[int, ...],
    outputs: int,
    *,
    patch: int,
    layers: int,
    heads: int,
    model_size: int,
    widening_factor: int,
    dropout: float = 0.0,
) -> Size:
    """Layers of attention and GELU network between embedded patches and a mean over them."""
    height, width, colours = shape
    count, pixels = (height // patch) * (width // patch), patch * patch * colours
    hidden, norm = widening_factor * model_size, 2 * model_size
    layer = 4 * _dense(model_size, model_size) + _dense(model_size, hidden) + 2 * norm
    layer += _dense(hidden, model_size)
    ends = _dense(pixels, model_size) + count * model_size + norm + _dense(model_size, outputs)
    # Of a patch: queries, keys, values and what is attended; logits and weights of every head;
    # both normed inputs and both results; the hidden layer before and after GELU. With dropout
    # what is left of the results, and what was drawn.
    position = (12 if dropout else 8) * model_size + 2 * heads * count + 2 * hidden
    return Size(layers * layer + ends, count * (layers * position + pixels + 2 * model_size))


@SIZES.register("transformer")
def transformer(
    shape: tuple[int, ...],
    outputs: int,
    *,
    layers: int,
    heads: int,
    key_size: int,
    model_size: int,
    sequence_length: int,
    widening_factor: int,
) -> Size:
    """Layers of attention and feed-forward network between embeddings and logits."""
    del shape  # characters: the sequence's length is the model's own
    attended, hidden, norm = heads * key_size, widening_factor * model_size, 2 * model_size
    attention = 3 * _dense(model_size, attended) + _dense(attended, model_size)
    feed_forward = _dense(model_size, hidden) + _dense(hidden, model_size)
    ends = (outputs + sequence_length) * model_size + norm + _dense(model_size, outputs)
    # Of a position: queries, keys, values and what is attended; logits and weights of every head;
    # both normed inputs and both results; the hidden layer before and after GELU.
    position = 4 * attended + 2 * heads * sequence_length + 4 * model_size + 2 * hidden
    return Size(
        layers * (attention + feed_forward + 2 * norm) + ends,
        sequence_length * (layers * position + 2 * model_size + 2 * outputs),
    )


def _dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs
