"""A monitor in training loops of one's own: right, when due, recorded, and clear about mistakes."""

import math
import subprocess
import sys

import equinox
import flax.linen
import haiku
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

import samedge
from samedge.base.errors import UserError
from samedge.explorer.page import page
from samedge.records import files
from samedge.watching import pace as pacing
from samedge.watching.pace import Pace
from small_network import dense, tanh_loss, tanh_problem

ETA, RHO = 0.05, 0.1


def inputs_and_targets():
    return tanh_problem().train


def plain():
    problem = tanh_problem()
    return problem.init(jax.random.key(0)), tanh_loss


def of_linen():
    class Network(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, inputs):
            return flax.linen.Dense(2)(jnp.tanh(flax.linen.Dense(4)(inputs)))

    network = Network()
    params = network.init(jax.random.key(0), inputs_and_targets()[0])

    def loss(params, inputs, targets):
        return jnp.mean(jnp.square(network.apply(params, inputs) - targets))

    return params, loss


def of_nnx():
    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(3, 4, rngs=rngs)
            self.second = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, inputs):
            return self.second(jnp.tanh(self.first(inputs)))

    definition, params = nnx.split(Network(nnx.Rngs(0)), nnx.Param)

    def loss(params, inputs, targets):
        return jnp.mean(jnp.square(nnx.merge(definition, params)(inputs) - targets))

    return params, loss


def of_haiku():
    def network(inputs):
        return haiku.Linear(2)(jnp.tanh(haiku.Linear(4)(inputs)))

    transformed = haiku.without_apply_rng(haiku.transform(network))
    params = transformed.init(jax.random.key(0), inputs_and_targets()[0])

    def loss(params, inputs, targets):
        return jnp.mean(jnp.square(transformed.apply(params, inputs) - targets))

    return params, loss


def of_equinox():
    first, second = jax.random.split(jax.random.key(0))
    network = equinox.nn.Sequential(
        [
            equinox.nn.Linear(3, 4, key=first),
            equinox.nn.Lambda(jnp.tanh),
            equinox.nn.Linear(4, 2, key=second),
        ]
    )
    params, static = equinox.partition(network, equinox.is_inexact_array)

    def loss(params, inputs, targets):
        outputs = jax.vmap(equinox.combine(params, static))(inputs)
        return jnp.mean(jnp.square(outputs - targets))

    return params, loss


def trained(params, loss, monitor, steps=9, first=0, optimizer=None, **options):
    """Train with Optax; return what the monitor returned at each step, and the parameters there."""
    optimizer = optimizer or optax.sgd(ETA)
    state = optimizer.init(params)
    batch = inputs_and_targets()
    found = {}
    for step in range(first, steps):
        values = monitor(step, params, batch, eta=ETA, rho=RHO, **options)
        if values:
            found[step] = values, params
        updates, state = optimizer.update(jax.grad(loss)(params, *batch), state)
        params = optax.apply_updates(params, updates)
    return found


@pytest.mark.parametrize("made", [plain, of_linen, of_nnx, of_haiku, of_equinox])
def test_it_gives_the_eigenvalues_of_a_dense_hessian(made, tmp_path):
    params, loss = made()
    monitor = samedge.Monitor(loss, every=4, k=2, file=tmp_path / "own.nc")
    found = trained(params, loss, monitor)
    assert [*found] == [0, 4, 8]
    for values, at in found.values():
        flat, unravel = ravel_pytree(at)
        of_vector = jax.hessian(lambda v, unravel=unravel: loss(unravel(v), *inputs_and_targets()))
        exact = sorted(np.linalg.eigvalsh(of_vector(flat)), key=abs, reverse=True)[:2]
        np.testing.assert_allclose(
            [values["eigenvalue_1"], values["eigenvalue_2"]], exact, atol=2e-3 * abs(exact[0])
        )
        assert values["converged"] == 1.0
        edge = samedge.sam_edge(values["gradient_norm"], ETA, RHO)
        assert values["edge_ratio"] == pytest.approx(abs(values["eigenvalue_1"]) / edge, rel=1e-5)
        assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())
    run = files.read_run(tmp_path / "own.nc")
    assert run["step"].values.ravel().tolist() == [0, 4, 8]
    np.testing.assert_allclose(
        run["eigenvalue"].values[0, 0, 0, :, 0], [v["eigenvalue_1"] for v, _ in found.values()]
    )
    # The first one is certified, others where a rank has changed hands.
    assert np.isfinite(run["overlooked"].values.ravel())[0]
    assert "own" in page([run])
    assert repr(monitor).startswith("Monitor(own: 3 measurements, λ1 ")


def test_it_goes_on_from_its_file(tmp_path):
    params, loss = plain()
    whole = trained(params, loss, samedge.Monitor(loss, every=2, file=tmp_path / "whole.nc"))
    first = samedge.Monitor(loss, every=2, file=tmp_path / "cut.nc")
    trained(params, loss, first, steps=7)
    # The loop begins again at step 4, as from a checkpoint of its own.
    again = samedge.Monitor(loss, every=2, file=tmp_path / "cut.nc")
    assert len(again.records) == 4
    params = whole[4][1]
    trained(params, loss, again, first=4)
    one, other = (files.read_run(tmp_path / f"{name}.nc") for name in ("whole", "cut"))
    assert one["step"].values.tolist() == other["step"].values.tolist()
    np.testing.assert_allclose(one["eigenvalue"], other["eigenvalue"], rtol=2e-3, atol=1e-4)
    times = other["wall_time"].values.ravel()
    assert (np.diff(times) > 0).all()
    with pytest.raises(UserError, match=r"cut\.nc: holds a run of other settings.*another file"):
        samedge.Monitor(loss, every=2, k=2, file=tmp_path / "cut.nc")


def test_without_a_file_it_needs_nothing_but_jax_and_optax(repository, tmp_path):
    """What the package depends on at least; a run file needs xarray, and says so."""
    blocked = {"xarray", "netCDF4", "flax", "haiku", "yaml", "jsonschema", "scipy", "matplotlib"}
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import jax.numpy as jnp, samedge
monitor = samedge.Monitor(lambda w: jnp.sum(jnp.square(w)) / 2, every=1, k=1)
print(monitor(0, jnp.ones(5), (), eta=0.1)["eigenvalue_1"])
try:
    samedge.Monitor(lambda w: w, every=1, file="own.nc")
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository / "workflow" / "scripts",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    value, problem = done.stdout.splitlines()
    assert float(value) == pytest.approx(1.0)
    assert problem == (
        "own.nc: a run file needs xarray, which is not installed: pip install 'samedge[cubes]', "
        "or leave file out"
    )


def test_the_edge_of_adam_asks_for_its_state():
    params, loss = plain()
    monitor = samedge.Monitor(loss, every=1, rule="adam")
    state = optax.adam(ETA).init(params)
    with pytest.raises(TypeError, match="state"):
        monitor(0, params, inputs_and_targets(), eta=ETA)
    values = monitor(0, params, inputs_and_targets(), eta=ETA, state=state)
    assert values["effective_curvature"] != values["eigenvalue_1"]


def test_a_loss_that_is_no_longer_finite_is_said_once(tmp_path):
    params, loss = plain()
    monitor = samedge.Monitor(loss, every=1, file=tmp_path / "own.nc")
    monitor(0, params, inputs_and_targets(), eta=ETA)
    broken = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), params)
    assert monitor(1, broken, inputs_and_targets(), eta=ETA) == {"diverged": 1.0}
    assert monitor(2, broken, inputs_and_targets(), eta=ETA) == {}
    run = files.read_run(tmp_path / "own.nc")
    assert run["status"].item() == 1 and run["end_step"].item() == 1
    assert "non-finite" in str(run["end_reason"].item())


@pytest.mark.parametrize(
    ("pace", "wanted"),
    [
        ({"every": 3}, [0, 3, 6, 9, 12]),
        ({"geometric": 2.0}, [0, 1, 2, 4, 8]),
        ({"geometric": 1.1}, [*range(12)]),
    ],
)
def test_when_a_measurement_is_due_by_steps(pace, wanted):
    of = Pace(**pace)
    found = []
    for step in range(13):
        if of.due(step):
            found.append(step)
            of.measured(step, 0.0)
    assert found == wanted
    # Steps may be left out.
    of = Pace(every=3)
    of.measured(0, 0.0)
    assert [step for step in (2, 5, 7) if of.due(step) and of.measured(step, 0.0)] == [5, 7]


def test_measuring_takes_no_more_than_its_share(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: clock[0])
    of, measured = Pace(overhead=0.1), []
    for step in range(2000):
        if of.due(step):
            began = clock[0]
            clock[0] += 5.0 if not measured else 0.5  # the first compiles
            of.measured(step, began)
            measured.append(step)
        if len(measured) > 1:
            # By one more measurement at most, of whose length the first one tells nothing.
            assert of.spent <= 0.1 * clock[0] + 0.5
        clock[0] += 0.05
    assert 10 < len(measured) < 30
    assert of.spent / clock[0] <= 0.1 + 0.5 / clock[0]


BATCH = inputs_and_targets()


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({}, ValueError, "found none: give one of every"),
        ({"every": 1, "overhead": 0.1}, ValueError, "found every, overhead: give one of"),
        ({"every": 0}, ValueError, "every is 0; give a whole number of steps"),
        ({"geometric": 1.0}, ValueError, "give a factor above 1"),
        ({"overhead": 10}, ValueError, "give a share between 0 and 1"),
        ({"every": 1, "seed": jax.random.key(0)}, TypeError, "give a whole number, from which"),
        ({"every": 1, "k": 0}, ValueError, "k is 0"),
        ({"every": 1, "rule": "sma"}, UserError, "did you mean 'sam'"),
    ],
)
def test_a_monitor_that_cannot_be_is_refused(options, error, problem):
    with pytest.raises(error, match=problem):
        samedge.Monitor(tanh_loss, **options)


@pytest.mark.parametrize(
    ("call", "error", "problem"),
    [
        ({"batch": {"inputs": BATCH[0]}}, TypeError, "data is a dict; give a tuple"),
        ({"params": {"first": np.zeros((3, 4), int)}}, TypeError, "int"),
        (
            {"params": equinox.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))},
            TypeError,
            r"params\.activation is a .*; keep the arrays alone, by equinox\.partition",
        ),
        ({"eta": -1.0}, ValueError, "eta is"),
        ({"microbatch": 5}, ValueError, "microbatch"),
        ({"loss": lambda params, *batch: (tanh_loss(params, *batch), 1)}, TypeError, "one scalar"),
        ({"loss": lambda params, *batch: params["first"]}, TypeError, "one scalar"),
        ({"step": -1}, ValueError, "step is -1"),
    ],
)
def test_a_call_that_cannot_be_measured_is_refused(call, error, problem):
    params, loss = plain()
    given = {"step": 0, "params": params, "batch": BATCH, "eta": ETA, "loss": loss} | call
    monitor = samedge.Monitor(given["loss"], every=1, microbatch=call.get("microbatch"))
    with pytest.raises(error, match=problem):
        monitor(given["step"], given["params"], given["batch"], eta=given["eta"])


def test_it_agrees_with_the_dense_hessian_in_microbatches():
    params, loss = plain()
    values = samedge.Monitor(loss, every=1, microbatch=4, k=1)(0, params, BATCH, eta=ETA)
    hessian, gradient = dense(params, BATCH)
    assert values["gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert abs(values["eigenvalue_1"]) == pytest.approx(
        np.abs(np.linalg.eigvalsh(hessian)).max(), rel=2e-3
    )
