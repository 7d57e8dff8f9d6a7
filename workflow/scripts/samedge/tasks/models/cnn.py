"""The paper's convolutional network, in Flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from samedge.tasks.layers import Convolution, layer_norm
from samedge.tasks.model import MODELS, Model

_glorot = nn.initializers.glorot_normal()


@MODELS.register("cnn")
def cnn(outputs: int, *, blocks: int, channels: int) -> Model:
    """Return the paper's convolutional network (Section 4.2).

    Each block is a 3×3 convolution ("SAME"), ReLU, LayerNorm over channels and 2×2 max pooling;
    the first has ``channels`` channels and each further block doubles them; a dense layer ends
    it. Weights are Glorot normal, biases zero. Inputs ``(examples, height, width, colours)``.
    """
    module = ConvolutionalNetwork(blocks=blocks, channels=channels, outputs=outputs)
    # Called so, it returns the outputs alone.
    return Model(init=module.init, apply=module.apply)  # type: ignore[arg-type]


class ConvolutionalNetwork(nn.Module):
    """Blocks of convolution, ReLU, LayerNorm and pooling, then a dense layer."""

    blocks: int
    channels: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        for block in range(self.blocks):
            x = nn.relu(Convolution(self.channels * 2**block, name=f"conv_{block}")(x))
            x = _pool(layer_norm(x, name=f"norm_{block}"))
        return nn.Dense(self.outputs, kernel_init=_glorot, name="dense")(
            x.reshape((x.shape[0], -1))
        )


def _pool(x: jax.Array) -> jax.Array:
    """Take the 2×2 maximum of ``(n, h, w, c)``; of equal values the first has the derivative."""
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    rows = _larger(x[:, :, 0::2], x[:, :, 1::2])
    return _larger(rows[:, 0::2], rows[:, 1::2])


def _larger(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.where(first >= second, first, second)
