"""An experiment in a folder of one's own: a configuration, a plugin, claims, arrays.

The update rule is the one of docs/extending.md whose edge is one of another curvature than the
Hessian's.
"""

import re
from pathlib import Path

import jax
import numpy as np
import yaml

PLUGIN = """
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from samedge.tasks.model import MODELS, Model
from samedge.updates.displacement import DISPLACEMENTS
from samedge.updates.effective import part_of
from samedge.updates.rule import RULES, UpdateRule

with (Path({mark!r}) / "imported").open("a") as file:
    file.write("once\\n")


@MODELS.register("linear")
def linear(outputs: int, *, scale: float = 1.0) -> Model:
    def init(key, inputs):
        return {{"w": scale * jax.random.normal(key, (inputs[0].size, outputs), jnp.float32)}}

    def apply(params, inputs):
        return inputs.reshape((len(inputs), -1)) @ params["w"]

    return Model(init, apply)


"""
EXTENDING = Path(__file__).parents[2] / "docs/extending.md"
CLAIMS = """
[edge_of_nadam]
claim = "The edge of NAdam is 6.79 times that of gradient descent."
source = "linear stability"
tasks = ["numbers"]
statistic = "early_edge_fraction"
rho = "all"
eta = "all"
over = "min"
effect = "the edge over 2/η"
holds = { at_least = 6.7, at_most = 6.8 }
why = "(1 + 0.9) / ((1 - 0.9) (1 + 2 0.9)) is 6.79."
"""
TASK = {
    "dataset": {"name": "arrays", "file": "mine.npz", "train_examples": 30, "test_examples": 10},
    "kind": "regression",
    "model": {"name": "linear", "settings": {"scale": 0.1}},
    "loss": {"name": "squared_error"},
    "update": {"name": "nadam", "epsilon": 1.0e-5, "settings": {"b1": 0.9}},
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
    "blocks": {"at": [1]},
    "claims": "mine.toml",
    "plugins": ["mine.py"],
    "tasks": {"mnist": None, "cifar10": None, "tiny_shakespeare": None, "numbers": TASK},
}


def effective_curvature(folder: Path, seed: int = 0) -> float:
    """Return that of the first check without SAM, from the dense matrix.

    The loss is the mean of ``(Xw - y)²``, so that its Hessian is a block ``2 X'X / (n outputs)``
    for each output. NAdam's first step divides by its preconditioner ``(1 - b1) |g|``.
    """
    with np.load(folder / "mine.npz") as data:
        inputs, targets = data["train_inputs"], data["train_targets"]
    outputs = targets.shape[1]
    key, _ = jax.random.split(jax.random.key(seed))
    weights = 0.1 * np.asarray(jax.random.normal(key, (inputs.shape[1], outputs), np.float32))
    block = 2 / targets.size * inputs.T @ inputs
    gradient = 2 / targets.size * inputs.T @ (inputs @ weights - targets)
    root = 1 / np.sqrt((1 - 0.9) * np.abs(gradient))
    blocks = [root[:, [i]] * block * root[:, i] for i in range(outputs)]
    return max(float(np.linalg.eigvalsh(matrix)[-1]) for matrix in blocks)


def write(folder: Path) -> Path:
    """Write all of it into a folder, and return the configuration's path.

    The plugin leaves a line in the file ``imported`` there whenever it is imported.
    """
    text = EXTENDING.read_text(encoding="utf-8")
    [rule] = re.findall(r'```python\n(@RULES\.register\("nadam"\)\n.*?)```', text, flags=re.DOTALL)
    plugin = f"{PLUGIN.format(mark=str(folder))}\n{rule}"
    (folder / "mine.py").write_text(plugin, encoding="utf-8")
    (folder / "mine.toml").write_text(CLAIMS, encoding="utf-8")
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
