"""The paper's three networks and their losses in PyTorch, on parameters that JAX holds.

A network takes the leaves of the JAX parameters, in their order and their layout, so that a flat
vector of parameters means the same in both, and so does a Hessian-vector product.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from samedge.config.parts import ModelSettings
from samedge.tasks.inputs import PADDING

Leaves = Mapping[str, torch.Tensor]

FLAX_EPSILON, HAIKU_EPSILON = 1e-6, 1e-5  # of LayerNorm, where the networks come from


class Network(nn.Module):
    """Parameters by the path of their JAX leaf, and a forward function of all of them."""

    def __init__(
        self, params: Any, forward: Callable[[Leaves, torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            self.register_parameter(name, nn.Parameter(torch.from_numpy(np.array(leaf))))
        self.calculate = forward

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.calculate(dict(self.named_parameters()), inputs)


def network(model: ModelSettings, params: Any) -> Network:
    """Return the network of a model's settings; ``model.name`` is one of the paper's three."""
    settings = model.settings

    def forward(leaves: Leaves, inputs: torch.Tensor) -> torch.Tensor:
        return FORWARD[model.name](leaves, inputs, **settings)

    return Network(params, forward)


def mlp(leaves: Leaves, x: torch.Tensor, *, depth: int, width: int) -> torch.Tensor:
    """Map images ``(n, …)`` to ``(n, outputs)`` as :func:`samedge.tasks.models.mlp` does."""
    del width  # the parameters have it
    x = x.reshape(x.shape[0], -1)
    for layer in range(depth):
        x = x if layer == 0 else F.relu(x)
        x = x @ leaves[f"params/dense_{layer}/kernel"] + leaves[f"params/dense_{layer}/bias"]
    return x


def cnn(leaves: Leaves, x: torch.Tensor, *, blocks: int, channels: int) -> torch.Tensor:
    """Map images ``(n, h, w, c)`` to ``(n, outputs)`` as :func:`samedge.tasks.models.cnn` does."""
    del channels
    for block in range(blocks):
        kernel = leaves[f"params/conv_{block}/kernel"].permute(3, 2, 0, 1)
        bias = leaves[f"params/conv_{block}/bias"]
        x = F.conv2d(x.permute(0, 3, 1, 2), kernel, bias, padding=1).permute(0, 2, 3, 1)
        scale, offset = (leaves[f"params/norm_{block}/{part}"] for part in ("scale", "bias"))
        x = F.layer_norm(F.relu(x), x.shape[-1:], scale, offset, FLAX_EPSILON)
        x = F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return x.reshape(x.shape[0], -1) @ leaves["params/dense/kernel"] + leaves["params/dense/bias"]


def transformer(
    leaves: Leaves,
    tokens: torch.Tensor,
    *,
    layers: int,
    heads: int,
    key_size: int,
    model_size: int,
    sequence_length: int,
    widening_factor: int,
) -> torch.Tensor:
    """Map characters ``(n, T)`` to logits as :func:`samedge.tasks.models.transformer` does."""
    del model_size, sequence_length, widening_factor
    x = leaves["language_model/embed/embeddings"][tokens]
    x = x + leaves["language_model/positional_embeddings"]
    length = tokens.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = (tokens != PADDING)[:, None, None, :] & causal  # (n, head, T, T)
    for layer in range(layers):
        normed = _layer_norm(leaves, 2 * layer, x)
        attention = f"transformer/multi_head_attention{_number(layer)}"
        x = x + _attention(leaves, attention, normed, mask, heads, key_size)
        hidden = _linear(leaves, _name(2 * layer), _layer_norm(leaves, 2 * layer + 1, x))
        x = x + _linear(leaves, _name(2 * layer + 1), F.gelu(hidden, approximate="tanh"))
    return _linear(leaves, "language_model/linear", _layer_norm(leaves, 2 * layers, x))


FORWARD = {"mlp": mlp, "cnn": cnn, "transformer": transformer}


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over examples and outputs of (output - target)²."""
    return torch.mean((outputs - targets) ** 2)


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean negative log-likelihood (nats) per character that is not padding."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING)


LOSSES = {"squared_error": squared_error, "cross_entropy": cross_entropy}


def _number(index: int) -> str:
    return f"_{index}" if index else ""  # as Haiku counts modules of one name


def _name(index: int) -> str:
    return f"transformer/linear{_number(index)}"


def _linear(leaves: Leaves, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ leaves[f"{name}/w"] + leaves[f"{name}/b"]


def _layer_norm(leaves: Leaves, index: int, x: torch.Tensor) -> torch.Tensor:
    name = f"transformer/layer_norm{_number(index)}"
    scale, offset = leaves[f"{name}/scale"], leaves[f"{name}/offset"]
    return F.layer_norm(x, x.shape[-1:], scale, offset, HAIKU_EPSILON)


def _attention(
    leaves: Leaves, name: str, x: torch.Tensor, mask: torch.Tensor, heads: int, key_size: int
) -> torch.Tensor:
    def split(part: str) -> torch.Tensor:
        return _linear(leaves, f"{name}/{part}", x).unflatten(-1, (heads, key_size)).transpose(1, 2)

    query, key, value = split("query"), split("key"), split("value")  # (n, head, T, key_size)
    logits = query @ key.transpose(2, 3) / key_size**0.5
    weights = torch.softmax(logits.masked_fill(~mask, -1e30), dim=-1)
    return _linear(leaves, f"{name}/linear", (weights @ value).transpose(1, 2).flatten(2))
