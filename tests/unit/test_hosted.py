"""A loss that another library computes: measured, monitored and refused as a loss in JAX is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import samedge
from samedge.explorer.page import page
from samedge.records import files

ETA, RHO = 0.3, 0.05
INPUTS = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
LABELS = (INPUTS @ np.arange(-2.0, 4.0) > 0).astype(np.float32)
START = np.full(6, 0.3, np.float32)


def probabilities(vector, inputs):
    return 1 / (1 + np.exp(-inputs @ vector))


def value_and_gradient(vector, inputs, labels):
    """Logistic regression, by hand in NumPy."""
    found = probabilities(vector, inputs)
    value = -np.mean(labels * np.log(found) + (1 - labels) * np.log(1 - found))
    return value, inputs.T @ (found - labels) / len(labels)


def product(vector, inputs, labels, direction):
    found = probabilities(vector, inputs)
    return inputs.T @ (found * (1 - found) * (inputs @ direction)) / len(labels)


def in_jax(vector, inputs, labels):
    logits = inputs @ vector
    return jnp.mean(jnp.logaddexp(0, logits) - labels * logits)


HOSTED, DATA = samedge.HostLoss(value_and_gradient, product), (INPUTS, LABELS)


def test_its_eigenpairs_and_density_are_those_of_the_loss_in_jax():
    dense = np.linalg.eigvalsh(jax.hessian(in_jax)(jnp.asarray(START), *DATA))[::-1]
    top = samedge.top_eigenpairs(HOSTED, START, DATA, k=2, key=jax.random.key(0))
    np.testing.assert_allclose(top.values, dense[:2], atol=1e-3 * dense[0])
    assert top.converged.all()
    assert top.largest_bound >= dense[0]
    density = samedge.spectral_density(HOSTED, START, DATA, 4, 6, key=jax.random.key(1))
    assert density.nodes.max() == pytest.approx(dense[0], rel=1e-4)


@pytest.mark.parametrize("rule", ["sam", "adam"])
def test_a_monitor_measures_it_as_it_does_the_loss_in_jax(rule, tmp_path):
    found = {}
    optimizer = optax.adam(ETA) if rule == "adam" else optax.sgd(ETA)
    for name, loss in (("host", HOSTED), ("jax", in_jax)):
        path = tmp_path / f"{name}.nc"
        monitor = samedge.Monitor(loss, every=3, k=2, rule=rule, file=path, name="logistic")
        vector, measured = jnp.asarray(START), []
        state = optimizer.init(vector)
        for step in range(8):
            given = START if step == 0 and name == "host" else vector
            values = monitor(step, given, DATA, eta=ETA, rho=RHO, state=state)
            measured += [values] if values else []
            with jax.numpy_dtype_promotion("standard"):  # which Optax counts on
                updates, state = optimizer.update(jax.grad(in_jax)(vector, *DATA), state)
            vector = optax.apply_updates(vector, updates)
        assert [record["step"] for record in monitor.records] == [0, 3, 6]
        found[name] = measured
        run = files.read_run(path)
        assert run.sizes["check"] == 3
        assert "logistic" in page([run])
    for host, known in zip(found["host"], found["jax"], strict=True):
        assert host.keys() == known.keys()
        for one in ("training_loss", "gradient_norm", "sam_gradient_norm", "sam_edge"):
            assert host[one] == pytest.approx(known[one], rel=1e-4)
        for one in ("eigenvalue_1", "eigenvalue_2", "effective_curvature"):
            assert host[one] == pytest.approx(known[one], abs=2e-3 * abs(known["eigenvalue_1"]))
        for one in ("gradient_alignment", "sam_gradient_alignment"):
            assert host[one] == pytest.approx(known[one], abs=0.02)


def with_gradient(made):
    return samedge.HostLoss(lambda vector, *data: made(vector), product)


@pytest.mark.parametrize(
    ("loss", "given", "error", "problem"),
    [
        (HOSTED, {"params": {"w": START}}, TypeError, r"one flat vector \(n,\)"),
        (HOSTED, {"params": START.astype(int)}, TypeError, "params is int64"),
        (HOSTED, {"batch": INPUTS}, TypeError, "give a tuple of what the loss takes"),
        (HOSTED, {"microbatch": 4}, ValueError, "JAX does not see the examples"),
        (with_gradient(lambda v: 1.0), {}, TypeError, "returns a float; it has to return the loss"),
        (with_gradient(lambda v: (v, v)), {}, TypeError, r"returns a loss of shape \(6,\)"),
        (with_gradient(lambda v: (1.0, v[1:])), {}, ValueError, r"gradient of shape \(5,\), and"),
        (
            samedge.HostLoss(value_and_gradient, lambda v, *rest: rest[-1][1:]),
            {},
            ValueError,
            r"product is of shape \(5,\)",
        ),
        (
            samedge.HostLoss(value_and_gradient, lambda v, *rest: np.cumsum(rest[-1])),
            {},
            ValueError,
            "not symmetric",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(loss, given, error, problem):
    monitor = samedge.Monitor(loss, every=1, microbatch=given.get("microbatch"))
    with pytest.raises(error, match=problem):
        monitor(0, given.get("params", START), given.get("batch", DATA), eta=ETA)


def test_jax_cannot_trace_it():
    assert float(HOSTED(START, *DATA)) == pytest.approx(float(in_jax(START, *DATA)), rel=1e-5)
    with pytest.raises(TypeError, match=r"a HostLoss .* cannot run inside jit, grad or vmap"):
        samedge.sam_gradient(HOSTED, START, DATA, 0.1)


def test_it_is_made_of_functions():
    with pytest.raises(TypeError, match="product of a HostLoss is None; give a function"):
        samedge.HostLoss(value_and_gradient, None)


def test_a_loss_that_is_no_longer_finite_is_said_once():
    monitor = samedge.Monitor(with_gradient(lambda v: (np.nan, v)), every=1)
    assert monitor(0, START, DATA, eta=ETA) == {"diverged": 1.0}
    assert monitor(1, START, DATA, eta=ETA) == {}
