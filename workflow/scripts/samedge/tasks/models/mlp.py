"""The paper's fully connected network, in Flax."""

import flax.linen as nn
import jax

from samedge.tasks.model import MODELS, Model

_glorot = nn.initializers.glorot_normal()


@MODELS.register("mlp")
def mlp(outputs: int, *, depth: int, width: int) -> Model:
    """Return a fully connected ReLU network of ``depth`` weight layers (paper, Section 4.1).

    Weights are Glorot normal, biases zero. Inputs ``(examples, …)`` are flattened.
    """
    module = Perceptron(depth=depth, width=width, outputs=outputs)
    # Called so, it returns the outputs alone.
    return Model(init=module.init, apply=module.apply)  # type: ignore[arg-type]


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
