"""A small residual network, in Flax."""

from typing import Any

import flax.linen as nn
import jax

from samedge.tasks.layers import Convolution, batch_norm, group_norm
from samedge.tasks.model import MODELS, Model

GROUPS = 4
NORMS = ("batch", "group")
_glorot = nn.initializers.glorot_normal()


@MODELS.register("resnet")
def resnet(outputs: int, *, stages: int, blocks: int, channels: int, norm: str) -> Model:
    """Return a residual network of basic blocks (He et al. 2016).

    After a first 3×3 convolution come ``stages`` of ``blocks`` blocks each. A block is convolution,
    norm, ReLU, convolution, norm, beside the identity, with a ReLU behind their sum. Each further
    stage begins with 2×2 mean pooling and has twice the channels, the first having ``channels``; a
    dense layer on the mean over places ends it. Weights are Glorot normal, biases zero.

    ``norm`` is "group" (groups of channels, four of them) or "batch". With the latter what becomes
    of an example depends on its batch: loss, gradients and Hessian are those of the batch with its
    own statistics, derivatives through them included, and no running averages are kept.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, found '{norm}'")
    if channels % GROUPS:
        raise ValueError(f"channels must be a multiple of {GROUPS}, found {channels}")
    module = ResidualNetwork(stages, blocks, channels, norm, outputs)

    def init(key: jax.Array, inputs: jax.Array) -> Any:
        return {"params": module.init(key, inputs)["params"]}

    def apply(params: Any, inputs: jax.Array) -> jax.Array:
        return module.apply(params, inputs, mutable=["batch_stats"])[0]

    return Model(init=init, apply=apply)


class ResidualNetwork(nn.Module):
    """Stages of residual blocks between a convolution and a dense layer."""

    stages: int
    blocks: int
    channels: int
    norm: str
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        x = nn.relu(self.normalized(Convolution(self.channels)(x)))
        for stage in range(self.stages):
            if stage:
                x = halved(x)
            for _ in range(self.blocks):
                x = self.block(x, self.channels * 2**stage)
        return nn.Dense(self.outputs, kernel_init=_glorot)(x.mean(axis=(1, 2)))

    def block(self, x: jax.Array, channels: int) -> jax.Array:
        """Map ``(n, h, w, c)`` to ``(n, h, w, channels)``."""
        y = nn.relu(self.normalized(Convolution(channels)(x)))
        y = self.normalized(Convolution(channels)(y))
        if x.shape[-1] != channels:
            x = nn.Dense(channels, use_bias=False, kernel_init=_glorot)(x)
        return nn.relu(x + y)

    def normalized(self, x: jax.Array) -> jax.Array:
        """Apply the norm."""
        return batch_norm(x) if self.norm == "batch" else group_norm(x, GROUPS)


def halved(x: jax.Array) -> jax.Array:
    """Take the mean of 2×2 squares of ``(n, h, w, c)``; an odd row or column is left out."""
    count, height, width, channels = x.shape
    even = x[:, : height // 2 * 2, : width // 2 * 2]
    squares = even.reshape((count, height // 2, 2, width // 2, 2, channels))
    return squares.mean(axis=(2, 4))
