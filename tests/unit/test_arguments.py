"""What the functions of the Python API accept, and what they say of anything else."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.curvature.eigenpairs import (
    RitzPairs,
    hessian_vector_product,
    spectral_density,
    top_eigenpairs,
)
from samedge.updates.edges import edge_ratio, gd_edge, sam_edge, unnormalized_sam_edge
from samedge.updates.rule import sam_gradient

pytestmark = pytest.mark.usefixtures("strict_jax")

EXAMPLES, INPUTS = 8, 3


def arrays(dtype=np.float32):
    random = np.random.default_rng(0)
    return {
        "params": {"first": random.normal(size=(INPUTS, 4)), "second": random.normal(size=4)},
        "inputs": random.normal(size=(EXAMPLES, INPUTS)),
        "targets": random.normal(size=EXAMPLES),
    }


def as_float32(tree):
    return jax.tree.map(lambda leaf: leaf.astype(np.float32), tree)


RAW = arrays()
PARAMS = as_float32(RAW["params"])
INPUT, TARGET = as_float32((RAW["inputs"], RAW["targets"]))
DATA = (INPUT, TARGET)
KEY = jax.random.key(0)


def outputs(params, inputs):
    return jnp.tanh(inputs @ params["first"]) @ params["second"]


def loss(params, inputs, targets):
    return jnp.mean((outputs(params, inputs) - targets) ** 2)


def of_dictionary(params, batch):
    return loss(params, batch["inputs"], batch["targets"])


def weighted(params, inputs, targets, weight):
    return loss(params, inputs, targets) * jnp.sum(weight)


def noisy(params, inputs, targets, key):
    return loss(params, inputs + jax.random.normal(key, inputs.shape, inputs.dtype), targets)


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, back: (back * jnp.cos(x),))


@jax.custom_vjp
def cosine(x):
    return jnp.cos(x)


cosine.defvjp(lambda x: (jnp.cos(x), x), lambda x, back: (-back * jnp.sin(x),))


@jax.custom_vjp
def sine_by_cosine(x):
    return jnp.sin(x)


sine_by_cosine.defvjp(lambda x: (jnp.sin(x), x), lambda x, back: (back * cosine(x),))


def through(function, params, inputs, targets):
    return jnp.mean(function(outputs(params, inputs) - targets) ** 2)


def top(loss=loss, params=PARAMS, data=DATA, k=2, key=KEY, **options):
    found = top_eigenpairs(loss, params, data, k, key=key, **options)
    assert found.converged.all()
    return found.values


def density(loss=loss, params=PARAMS, data=DATA, probes=2, steps=3, key=KEY, **options):
    return spectral_density(loss, params, data, probes, steps, key=key, **options).mean.value


def both(loss=loss, params=PARAMS, data=DATA, rho=0.1, **options):
    return jax.tree.leaves(sam_gradient(loss, params, data, rho, **options))


def product(loss=loss, params=PARAMS, data=DATA, vector=PARAMS, microbatch=None):
    return jax.tree.leaves(hessian_vector_product(loss, params, data, vector, microbatch))


def dense(function=loss, data=DATA):
    """Return the dense Hessian, by forward differentiation of a gradient written in plain JAX."""
    flat, unravel = jax.flatten_util.ravel_pytree(PARAMS)
    return np.asarray(jax.hessian(lambda point: function(unravel(point), *data))(flat), np.float64)


def expected_top(matrix):
    values = np.linalg.eigvalsh(matrix)
    return values[np.argsort(-np.abs(values))][:2]


def converted(dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(dtype), PARAMS)


HALF = {name: converted(name) for name in ("float16", "bfloat16", "complex64", "int32")}
START = RitzPairs(np.array([np.nan, 1.0]), jnp.zeros((2, 16), jnp.float32))

REFUSED = {
    "half precision": (lambda: top(params=HALF["float16"]), TypeError, r"\['first'\] is float16"),
    "bfloat16": (lambda: density(params=HALF["bfloat16"]), TypeError, "is bfloat16; parameters"),
    "complex parameters": (lambda: top(params=HALF["complex64"]), TypeError, "is complex64"),
    "complex parameters of SAM": (lambda: both(params=HALF["complex64"]), TypeError, "complex64"),
    "an integer leaf": (
        lambda: top(params=PARAMS | {"step": np.int32(3)}),
        TypeError,
        r"params\['step'\] is int32; .* pass it through data",
    ),
    "a leaf that is a float": (
        lambda: top(params=PARAMS | {"bias": 1.0}),
        TypeError,
        r"params\['bias'\] is a float; parameters are arrays of float32",
    ),
    "a leaf that is a key": (lambda: both(params=PARAMS | {"key": KEY}), TypeError, "key<"),
    "no parameters": (lambda: top(params={}), ValueError, "params hold no numbers"),
    "parameters of size 0": (
        lambda: density(params={"w": np.zeros((0, 3), np.float32)}),
        ValueError,
        "params hold no numbers",
    ),
    "float64 without 64-bit mode": (
        lambda: top(params=RAW["params"]),
        ValueError,
        r"params\['first'\] is float64, and JAX would compute in float32",
    ),
    "parameters that are NaN": (
        lambda: top(params=jax.tree.map(lambda leaf: leaf * np.float32(np.nan), PARAMS)),
        FloatingPointError,
        "Hessian-vector product is not finite",
    ),
    "a density at parameters that are NaN": (
        lambda: density(params=jax.tree.map(lambda leaf: leaf * np.float32(np.nan), PARAMS)),
        FloatingPointError,
        "Hessian-vector product is not finite",
    ),
    "a loss that is no function": (lambda: top(loss=3), TypeError, "loss is a int"),
    "data that is a dictionary": (
        lambda: top(of_dictionary, data={"inputs": INPUT, "targets": TARGET}),
        TypeError,
        r"data is a dict; give a tuple .* data=\(batch,\)",
    ),
    "data that is an array": (
        lambda: density(lambda params, inputs: loss(params, inputs, TARGET), data=INPUT),
        TypeError,
        r"data is a float32\[8, 3\]; give a tuple",
    ),
    "a SAM gradient of an array": (
        lambda: both(lambda params, inputs: loss(params, inputs, TARGET), data=INPUT),
        TypeError,
        "data is a float32",
    ),
    "data that hold text": (
        lambda: top(lambda params, *data: loss(params, *data[:2]), data=(*DATA, "mean")),
        TypeError,
        r"data\[2\] is a str, .* functools.partial",
    ),
    "a function in the data": (
        lambda: top(lambda params, *data: loss(params, *data[:2]), data=(*DATA, jnp.tanh)),
        TypeError,
        r"data\[2\] is a function|data\[2\] is a .*, and data are arrays",
    ),
    "microbatches that do not divide": (
        lambda: top(microbatch=3),
        ValueError,
        "microbatch 3 does not divide the 8 examples",
    ),
    "a microbatch of 0": (lambda: density(microbatch=0), ValueError, "microbatch is 0"),
    "a microbatch of 2.0": (lambda: top(microbatch=2.0), TypeError, "microbatch is 2.0"),
    "microbatches and a key": (
        lambda: top(noisy, data=(*DATA, KEY), microbatch=4),
        ValueError,
        r"data\[2\] is a single key<fry>\[\], and microbatches cut all data",
    ),
    "microbatches and an old key": (
        lambda: product(noisy, data=(*DATA, jax.random.PRNGKey(0)), microbatch=4),
        ValueError,
        r"8 in data\[0\], 8 in data\[1\], 2 in data\[2\]",
    ),
    "microbatches and a scalar weight": (
        lambda: top(weighted, data=(*DATA, np.float32(2)), microbatch=4),
        ValueError,
        r"data\[2\] is a single float32\[\]",
    ),
    "microbatches and class weights": (
        lambda: density(weighted, data=(*DATA, np.ones(10, np.float32)), microbatch=4),
        ValueError,
        r"10 in data\[2\]",
    ),
    "microbatches without data": (
        lambda: top(lambda params: jnp.sum(params["second"] ** 2), data=(), microbatch=4),
        ValueError,
        "no data that microbatches could cut",
    ),
    "k = 0": (lambda: top(k=0), ValueError, "k is 0, and has to be a whole number of at least 1"),
    "k = -1": (lambda: top(k=-1), ValueError, "k is -1"),
    "k = 2.5": (lambda: top(k=2.5), TypeError, "k is 2.5, and has to be a whole number"),
    "a k beyond the parameters": (
        lambda: top(k=17),
        ValueError,
        "17 eigenpairs of a Hessian of 16",
    ),
    "a tolerance of 2": (lambda: top(tolerance=2), ValueError, "tolerance is 2, and .* below 1"),
    "a tolerance of 0": (lambda: top(tolerance=0.0), ValueError, "tolerance is 0"),
    "a negative tolerance": (lambda: top(tolerance=-1e-3), ValueError, "tolerance is -0.001"),
    "a tolerance that is NaN": (lambda: top(tolerance=np.nan), ValueError, "tolerance is nan"),
    "a tolerance that is text": (lambda: top(tolerance="1e-3"), TypeError, "tolerance is a str"),
    "an overlook of 2": (
        lambda: top(overlook=2),
        ValueError,
        "overlook is a probability above 0, and 2",
    ),
    "no products": (lambda: top(max_products=0), ValueError, "max_products is 0"),
    "a key that is a seed": (
        lambda: top(key=0),
        TypeError,
        r"key is a int; give a PRNG key, such as jax.random.key\(0\)",
    ),
    "no key": (lambda: density(key=None), TypeError, "key is a NoneType"),
    "several keys": (
        lambda: top(key=jax.random.split(KEY, 3)),
        TypeError,
        r"key holds PRNG keys of shape \(3,\); give one",
    ),
    "a start that is an array": (lambda: top(start=np.zeros(3)), TypeError, "start is a ndarray"),
    "a start that is NaN": (lambda: top(start=START), ValueError, "not finite"),
    "no probes": (lambda: density(probes=0), ValueError, "probes is 0"),
    "no steps": (lambda: density(steps=0), ValueError, "steps is 0"),
    "half a probe": (lambda: density(probes=0.5), TypeError, "probes is 0.5"),
    "a negative radius": (lambda: both(rho=-0.1), ValueError, "rho is -0.1, .* of at least 0"),
    "a radius that is NaN": (lambda: both(rho=np.nan), ValueError, "rho is nan"),
    "an infinite radius": (lambda: both(rho=np.inf), ValueError, "rho is inf"),
    "a radius for each example": (
        lambda: both(rho=np.ones(3)),
        TypeError,
        r"rho is a float64\[3\]",
    ),
    "a negative epsilon": (lambda: both(epsilon=-1.0), ValueError, "epsilon is -1"),
    "a loss for each example": (
        lambda: top(lambda params, *data: (outputs(params, data[0]) - data[1]) ** 2),
        TypeError,
        r"the loss returns float32\[8\], and has to return a real scalar",
    ),
    "a loss of shape (1,)": (
        lambda: both(lambda *arguments: loss(*arguments)[None]),
        TypeError,
        r"the loss returns float32\[1\]",
    ),
    "auxiliary output": (
        lambda: density(lambda *arguments: (loss(*arguments), 3)),
        TypeError,
        "the loss returns a tuple; it has to return the scalar alone",
    ),
    "auxiliary output for SAM": (
        lambda: both(lambda *arguments: (loss(*arguments), 3)),
        TypeError,
        "the loss returns a tuple",
    ),
    "a loss of whole numbers": (
        lambda: top(lambda *arguments: jnp.int32(3)),
        TypeError,
        r"the loss returns int32\[\]",
    ),
    "a complex loss": (
        lambda: product(lambda *arguments: loss(*arguments).astype(jnp.complex64)),
        TypeError,
        "the loss returns complex64",
    ),
    "a loss of nothing": (lambda: top(lambda *arguments: None), TypeError, "returns a NoneType"),
    "a backward pass with a custom_vjp": (
        lambda: top(partial(through, sine_by_cosine)),
        TypeError,
        "custom_vjp whose backward pass uses a custom_vjp again.* jax.custom_jvp",
    ),
    "a product with a vector of another shape": (
        lambda: product(vector=PARAMS | {"second": np.zeros(5, np.float32)}),
        TypeError,
        r"vector\['second'\] is float32\[5\], and params\['second'\] float32\[4\]",
    ),
    "a product with a vector of other leaves": (
        lambda: product(vector=PARAMS["first"]),
        TypeError,
        "vector is PyTreeDef",
    ),
    "eigenpairs inside jit": (
        lambda: jax.jit(lambda params: top(params=params))(PARAMS),
        TypeError,
        "top_eigenpairs decides by the values it finds, and cannot run inside jit",
    ),
    "a density inside jit": (
        lambda: jax.jit(lambda params: density(params=params))(PARAMS),
        TypeError,
        "spectral_density decides by the values",
    ),
    "a learning rate of 0": (lambda: gd_edge(0), ValueError, "eta is 0, and .* above 0"),
    "a learning rate that is text": (lambda: gd_edge("0.1"), TypeError, "eta is a str"),
    "a negative learning rate": (lambda: gd_edge(np.array([0.1, -0.2])), ValueError, "eta is -0.2"),
    "an edge at a gradient of 0": (
        lambda: sam_edge(0.0, 0.1, 0.1),
        ValueError,
        "gradient_norm is 0",
    ),
    "an edge at a negative radius": (lambda: sam_edge(1.0, 0.1, -1), ValueError, "rho is -1"),
    "an edge at a radius of NaN": (lambda: sam_edge(1.0, 0.1, np.nan), ValueError, "rho is nan"),
    "another edge at a negative radius": (
        lambda: unnormalized_sam_edge(0.1, -1),
        ValueError,
        "rho is -1",
    ),
    "an edge ratio at 0": (lambda: edge_ratio(0.0), ValueError, "alpha is 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_measured_is_refused_by_name(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


MEASURED = {
    "plain": (top, loss, DATA),
    "a list": (lambda: top(data=list(DATA)), loss, DATA),
    "a dictionary in the tuple": (
        lambda: top(of_dictionary, data=({"inputs": INPUT, "targets": TARGET},)),
        loss,
        DATA,
    ),
    "a dictionary in microbatches": (
        lambda: top(of_dictionary, data=({"inputs": INPUT, "targets": TARGET},), microbatch=2),
        loss,
        DATA,
    ),
    "a key in the data": (lambda: top(noisy, data=(*DATA, KEY)), noisy, (*DATA, KEY)),
    "an old key": (lambda: top(key=jax.random.PRNGKey(0)), loss, DATA),
    "a weight that is a number": (
        lambda: top(weighted, data=(*DATA, 2.0)),
        weighted,
        (*DATA, 2.0),
    ),
    "class weights without microbatches": (
        lambda: top(weighted, data=(*DATA, np.ones(3, np.float32))),
        weighted,
        (*DATA, np.ones(3, np.float32)),
    ),
    "a backward pass of one's own": (
        lambda: top(partial(through, sine)),
        partial(through, jnp.sin),
        DATA,
    ),
    "a backward pass of one's own, in microbatches": (
        lambda: top(partial(through, sine), microbatch=4),
        partial(through, jnp.sin),
        DATA,
    ),
    "a loss under jit": (lambda: top(jax.jit(loss)), loss, DATA),
    "data of float64": (lambda: top(data=(RAW["inputs"], RAW["targets"])), loss, DATA),
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_can_be_measured_is_right(name):
    call, plain, data = MEASURED[name]
    expected = expected_top(dense(plain, data))
    np.testing.assert_allclose(call(), expected, atol=1e-3 * abs(expected[0]))


def test_float64_in_64_bit_mode_is_measured():
    with jax.enable_x64(True):
        found = top(params=RAW["params"], data=(RAW["inputs"], RAW["targets"]), tolerance=1e-9)
    expected = expected_top(dense())
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float64


def test_a_traced_radius_is_taken_and_an_array_of_no_dimensions_too():
    plain = both(rho=0.1)
    traced = jax.jit(lambda rho: both(rho=rho))(0.1)
    for rho in (np.float64(0.1), jnp.float32(0.1)):
        for one, other, third in zip(plain, both(rho=rho), traced, strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(one, third, rtol=1e-5, atol=1e-7)


def test_edges_pass_over_what_is_missing_and_work_traced():
    np.testing.assert_array_equal(gd_edge(np.array([np.nan, 2.0])), [np.nan, 1.0])
    assert float(jax.jit(sam_edge)(1.0, 0.1, 0.1)) == pytest.approx(sam_edge(1.0, 0.1, 0.1))
