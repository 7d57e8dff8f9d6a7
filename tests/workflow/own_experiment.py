"""An experiment in a folder of one's own: a configuration, a plugin, arrays."""

from pathlib import Path

import numpy as np
import yaml

PLUGIN = """
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from samedge.tasks.model import MODELS, Model
from samedge.updates import edges
from samedge.updates.rule import RULES, UpdateRule
from samedge.updates.rules.sam import normalized

with (Path({mark!r}) / "imported").open("a") as file:
    file.write("once\\n")


@MODELS.register("linear")
def linear(outputs: int, *, scale: float = 1.0) -> Model:
    def init(key, inputs):
        return {{"w": scale * jax.random.normal(key, (inputs[0].size, outputs), jnp.float32)}}

    def apply(params, inputs):
        return inputs.reshape((len(inputs), -1)) @ params["w"]

    return Model(init, apply)


@RULES.register("heavy_ball")
def heavy_ball(*, momentum: float) -> UpdateRule:
    def edge(gradient_norm, eta, rho):
        return edges.sam_edge(gradient_norm, eta / (1 + momentum), rho)

    return UpdateRule(normalized, partial(optax.sgd, momentum=momentum), edge)
"""
TASK = {
    "dataset": {"name": "arrays", "file": "mine.npz", "train_examples": 30, "test_examples": 10},
    "kind": "regression",
    "model": {"name": "linear", "settings": {"scale": 0.1}},
    "loss": {"name": "squared_error"},
    "update": {"name": "heavy_ball", "epsilon": 1.0e-5, "settings": {"momentum": 0.9}},
    "batch_size": None,
    "microbatch": None,
    "eta": [0.01],
    "rho": [0, 0.1],
    "figure_rho": 0.1,
    "budget": {"steps": 10, "hours": None},
    "checks": {"spacing": "even", "count": 3, "minutes": None},
}
MINE = {
    "experiment": "mine",
    "density": {"at": []},
    "plugins": ["mine.py"],
    "tasks": {"mnist": None, "cifar10": None, "tiny_shakespeare": None, "numbers": TASK},
}


def write(folder: Path) -> Path:
    """Write all of it into a folder, and return the configuration's path.

    The plugin leaves a line in the file ``imported`` there whenever it is imported.
    """
    (folder / "mine.py").write_text(PLUGIN.format(mark=str(folder)), encoding="utf-8")
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 30), ("test", 10)):
        inputs = random.normal(size=(count, 4))
        arrays[f"{split}_inputs"] = inputs
        arrays[f"{split}_targets"] = inputs @ random.normal(size=(4, 2))
    np.savez(folder / "mine.npz", **arrays)
    return write_configuration(folder, MINE)


def write_configuration(folder: Path, configuration: dict) -> Path:
    """Write a configuration, and return its path."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    return path
