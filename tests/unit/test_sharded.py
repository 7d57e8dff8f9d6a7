"""Parameters and data may lie on several devices; here they are two, made of one processor."""

import json
import os
import subprocess
import sys

import pytest

MEASURE = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import samedge

def loss(params, inputs, targets):
    return jnp.mean((jnp.tanh(inputs @ params["first"]) @ params["second"] - targets) ** 2)

mesh = jax.make_mesh((2,), ("devices",), axis_types=(AxisType.Auto,))
random = np.random.default_rng(0)
shapes = {"first": (8, 16), "second": (16, 2)}
params = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
data = tuple(random.normal(size=shape).astype(np.float32) for shape in [(64, 8), (64, 2)])

def placed(tree, axes):
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))

found = {}
split = ("devices",)
for name, arguments in {
    "one device": (params, data),
    "data": (placed(params, ()), placed(data, split)),
    "parameters": (placed(params, split), placed(data, ())),
}.items():
    cold = samedge.top_eigenpairs(loss, *arguments, k=3, key=jax.random.key(0))
    warm = samedge.top_eigenpairs(loss, *arguments, k=3, key=jax.random.key(1), start=cold)
    gradient, ascended = samedge.sam_gradient(loss, *arguments, rho=0.1)
    found[name] = {
        "devices": len(jax.tree.leaves(jax.device_put(arguments))[0].devices()),
        "values": [cold.values.tolist(), warm.values.tolist()],
        "converged": bool(cold.converged.all() and warm.converged.all()),
        "gradients": ravel_pytree((gradient, ascended))[0].tolist(),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(repository):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env=os.environ
        | {"PYTHONPATH": str(repository / "workflow" / "scripts"), "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("sharded", ["data", "parameters"])
def test_what_lies_on_two_devices_is_measured_as_on_one(found, sharded):
    one, two = found["one device"], found[sharded]
    assert (one["devices"], two["devices"]) == (1, 2)
    assert one["converged"] and two["converged"]
    for expected, values in zip(one["values"], two["values"], strict=True):
        assert values == pytest.approx(expected, rel=1e-5)
    assert two["gradients"] == pytest.approx(one["gradients"], rel=1e-4, abs=1e-6)
