"""JAX as jobs set it up: whatever a person has set, the same numbers, or a trace of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samedge.machine.device import PINNED

# What a run draws and computes after prepare_jax, and what its file will say of JAX.
JOB = """
import json, sys, warnings
warnings.simplefilter("ignore")
from samedge.machine.device import prepare_jax
prepare_jax("highest", sys.argv[1])
import jax, jax.numpy as jnp
from samedge.machine.provenance import jax_settings
key = jax.random.key(3)
drawn = jax.random.normal(key, (3,), jnp.float32)
soft = jax.jvp(jax.nn.softmax, (drawn,), (drawn * drawn,))[1]
picked = jax.random.categorical(key, drawn, shape=(20,))
none = jnp.float32(0) / jnp.float32(0) + drawn.sum() + jnp.ones((2, 3), jnp.float32) * drawn
print(json.dumps([drawn.tolist(), soft.tolist(), picked.tolist(), str(none)]))
print(jax_settings())
"""


def job(repository, device="cpu", **environment):
    """Return the finished job; what it printed is its numbers and its settings of JAX."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    kept.pop("XLA_FLAGS", None)
    return subprocess.run(
        [sys.executable, "-c", JOB, device],
        env=kept | {"PYTHONPATH": str(repository / "workflow/scripts")} | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def undisturbed(repository):
    return job(repository).stdout.splitlines()


def test_what_a_person_has_set_changes_neither_numbers_nor_settings(repository, undisturbed):
    """Every setting that is pinned, set otherwise, and some that decide no number."""
    environment = {
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_RANDOM_SEED_OFFSET": "5",
        "JAX_HIGH_DYNAMIC_RANGE_GUMBEL": "1",
        "JAX_SOFTMAX_CUSTOM_JVP": "1",
        "JAX_USE_DIRECT_LINEARIZE": "0",
        "JAX_DEFAULT_DEVICE": "cpu",
        "JAX_DISABLE_JIT": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_DEBUG_NANS": "1",
        "JAX_DEBUG_INFS": "1",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
    }
    assert environment.keys() == {name.upper() for name in PINNED}
    environment |= {
        "JAX_ENABLE_X64": "1",
        "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
        "JAX_NUMPY_DTYPE_PROMOTION": "standard",
        "JAX_LOG_COMPILES": "0",
        "JAX_COMPILATION_CACHE_MAX_SIZE": "1000",
        "XLA_FLAGS": "--xla_dump_to=",
    }
    done = job(repository, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == undisturbed
    recorded = json.loads(undisturbed[1])
    assert recorded == PINNED | {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}


def test_what_is_not_pinned_and_may_decide_numbers_is_recorded(repository, undisturbed):
    environment = {"JAX_OPTIMIZATION_LEVEL": "O1", "NVIDIA_TF32_OVERRIDE": "0"}
    flags = "--xla_cpu_enable_fast_math=true  --xla_dump_to="
    done = job(repository, XLA_FLAGS=flags, **environment)
    assert done.returncode == 0, done.stderr
    environment["XLA_FLAGS"] = "--xla_cpu_enable_fast_math=true --xla_gpu_deterministic_ops=true"
    assert json.loads(done.stdout.splitlines()[1]) == json.loads(undisturbed[1]) | environment


def test_every_pinned_setting_has_its_default_here():
    """So that pinning changes no number: what JAX has by itself, in a fresh process."""
    code = (
        "import json, sys, jax\n"
        "print(json.dumps({name: jax.config.values[name] for name in sys.argv[1:]}))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *PINNED], env=kept, capture_output=True, check=True
    )
    assert json.loads(done.stdout) == PINNED


@pytest.mark.parametrize(
    ("device", "environment", "parts"),
    [
        ("auto", {"JAX_PLATFORMS": "cuda"}, ["JAX_PLATFORMS=cuda", "unset it"]),
        ("auto", {"JAX_PLATFORMS": "abacus"}, ["JAX_PLATFORMS=abacus", "unset it"]),
        ("gpu", {}, ["--device gpu", "set device: auto", "make environment GPU=1"]),
        ("gpu", {"JAX_PLATFORMS": "cpu"}, ["--device gpu", "set device: auto"]),
    ],
)
def test_a_device_that_is_not_there_is_answered_with_what_asked_for_it(
    repository, device, environment, parts
):
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU")
    done = job(repository, device, **environment)
    assert done.returncode == 1
    [message] = [line for line in done.stderr.splitlines() if "UserError:" in line]
    assert all(part in message for part in parts), message
    assert ("set device: auto" in message) == (device == "gpu")


def test_a_platform_asked_for_by_the_environment_is_taken(repository, undisturbed):
    done = job(repository, "auto", JAX_PLATFORMS="cpu")
    assert done.stdout.splitlines() == undisturbed
