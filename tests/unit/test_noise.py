"""Models with noise: which masks a step, a check and an audit take, and that the test has none."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samedge.base.files import checksum
from samedge.data.file import TaskData
from samedge.tasks import layers
from samedge.tasks.inputs import Minibatches, image_arrays
from samedge.tasks.leaves import restore
from samedge.tasks.loss import LOSSES
from samedge.tasks.model import MODELS, Model, Noise
from samedge.tasks.problems import build_problem, measured_batch
from samedge.training import loop
from samedge.training.loop import Member, train_together
from samedge.training.observers.parameters import ParameterKeeper
from samedge.training.run import Run
from samedge.training.steps import StepSpec
from samedge.updates.rule import gradients
from synthetic import run_settings, task_data

pytestmark = pytest.mark.usefixtures("strict_jax")

VIT = {"patch": 4, "layers": 1, "heads": 2, "model_size": 8, "widening_factor": 2}
STEPS = 6


def dropped(outputs, *, dropout):
    """Return a network of one hidden layer with dropout, which compiles quickly."""

    def init(key, inputs):
        first, second = jax.random.split(key)
        return {
            "first": 0.1 * jax.random.normal(first, (inputs[0].size, 8), jnp.float32),
            "second": jax.random.normal(second, (8, outputs), jnp.float32),
        }

    def apply(params, inputs, keys=None):
        hidden = jnp.tanh(inputs.reshape((inputs.shape[0], -1)) @ params["first"])
        if keys is not None:
            hidden = jax.vmap(layers.dropout, (0, 0, None))(hidden, keys, dropout)
        return hidden @ params["second"]

    return Model(init, apply, noisy=dropout > 0)


@pytest.fixture(autouse=True)
def own_model(monkeypatch):
    monkeypatch.setitem(MODELS._entries, "dropped", dropped)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("test", 10)):
        arrays[f"{split}_inputs"] = random.integers(256, size=(count, 8, 8, 1), dtype=np.uint8)
        arrays[f"{split}_labels"] = random.integers(10, size=count).astype(np.uint8)
    attributes = task_data().attributes
    return TaskData(arrays, attributes, checksum(arrays, attributes))


def settings_of(rate=0.3, model="dropped", **changes):
    own = VIT if model == "vit" else {}
    return run_settings(
        **{
            "dataset": {"name": "mnist", "train_examples": 12, "test_examples": 10},
            "model": {"name": model, "settings": own | {"dropout": rate}},
            "budget": {"steps": STEPS, "hours": None},
            "checks": {"spacing": "even", "count": 3, "minutes": None},
            "audit": {"at": [0.5, 1.0]},
        }
        | changes
    )


@pytest.mark.parametrize("batch_size", [None, 5])
def test_each_step_has_masks_of_its_own_and_a_check_those_of_the_step_that_follows(
    data, batch_size
):
    settings = settings_of(batch_size=batch_size)
    problem = build_problem(settings, data)
    keeper = ParameterKeeper(settings.audit.at)
    records, _ = loop.train(settings, problem, lambda line: None, [keeper])
    rule = StepSpec.of(settings, problem.loss).rule
    rho, key = jnp.float32(settings.rho), jax.random.split(jax.random.key(settings.seed))[0]

    @jax.jit
    def by_hand(params, step, chosen):
        keys = Noise.of(settings.seed, 0)._replace(step=step).keys(len(chosen))
        batch = (*(x[chosen] for x in problem.train), keys)

        def value_and_grad(at):
            return jax.value_and_grad(problem.loss)(at, *batch)

        return gradients(rule, value_and_grad, params, rho, settings.update.epsilon)

    params, losses = jax.jit(problem.init)(key), []
    for step in range(STEPS + 1):
        chosen = np.arange(12, dtype=np.int32)
        if batch_size is not None:
            chosen = Minibatches(12, batch_size, settings.seed).indices(step, 1)[0]
        loss, _, gradient = by_hand(params, np.int32(step), chosen)
        losses.append(loss)
        params = optax.apply_updates(params, optax.tree.scale(-jnp.float32(settings.eta), gradient))
    found = [record["training_loss"] for record in records]
    np.testing.assert_allclose(found, [losses[record["step"]] for record in records], rtol=1e-5)
    # Masks make a difference: the same parameters on the same data, under those of another step.
    kept = keeper.kept[-1]
    point = restore(kept.leaves, jax.eval_shape(problem.init, key), np.float32)
    *batch, _ = measured_batch(settings, problem, kept.step)
    others = Noise.of(settings.seed, kept.step + 1).keys(len(batch[0]))
    assert abs(float(problem.loss(point, *batch, others)) / found[-1] - 1) > 1e-3


def test_what_is_drawn_differs_from_step_to_step_seed_to_seed_and_example_to_example():
    found = [
        Noise.of(seed, step).keys(4, later)
        for seed, step, later in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 1, 1))
    ]
    assert len(np.unique(np.concatenate(found), axis=0)) == 16
    np.testing.assert_array_equal(found[3], Noise.of(0, 2).keys(4))
    solver_and_init = jax.random.key_data(jax.random.split(jax.random.key(0)))
    assert not (np.asarray(solver_and_init) == np.asarray(Noise.of(0, 0).key)).all(axis=1).any()


def test_a_run_does_not_depend_on_how_its_steps_are_cut_or_what_trains_beside_it(data):
    settings = [settings_of(eta=eta, seed=seed) for eta, seed in (("0.3", 0), ("0.2", 1))]
    problem = build_problem(settings[0], data)
    runs = [Run(settings[0], problem, lambda line: None) for _ in range(2)]
    for run, cuts in zip(runs, ((STEPS,), (1, 3, 2)), strict=True):
        for count in cuts:
            taken, finite = loop.advance(run, count)
            assert finite
            run.schedule.advance(taken, 1.0)
    whole, cut = (jax.tree.leaves(run.state.params) for run in runs)
    for ours, theirs in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    members = [Member(own, lambda line: None) for own in settings]
    for own, (together, _) in zip(settings, train_together(members, problem), strict=True):
        alone, _ = loop.train(own, problem, lambda line: None)
        for name in ("training_loss", "gradient_norm", "sam_gradient_norm"):
            ours, theirs = ([record[name] for record in found] for found in (together, alone))
            np.testing.assert_allclose(ours, theirs, rtol=5e-5)


def test_microbatches_change_nothing_but_rounding(data):
    found = []
    for microbatch in (None, 4):
        settings = settings_of(model="vit", microbatch=microbatch)
        problem = build_problem(settings, data)
        params = jax.jit(problem.init)(jax.random.key(0))
        spec = StepSpec.of(settings, problem.loss)
        batch = measured_batch(settings, problem, 0)
        found.append(jax.jit(spec.gradients)(params, jnp.float32(0.1), batch)[2])
    difference = optax.tree.norm(optax.tree.sub(*found))
    assert difference < 1e-5 * optax.tree.norm(found[0])


def test_an_audit_in_float64_has_the_masks_of_the_run(data):
    settings = settings_of(model="vit")
    losses = []
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            problem = build_problem(settings, data, dtype)
            params = jax.jit(problem.init)(jax.random.key(0))
            params = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), params)
            loss = jax.jit(problem.loss)(params, *measured_batch(settings, problem, 3))
            assert loss.dtype == dtype
            losses.append(float(loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_test_metric_has_no_noise(data):
    noisy, plain = (settings_of(rate, model="vit") for rate in (0.9, 0.0))
    problem = build_problem(noisy, data)
    assert problem.noisy
    assert not build_problem(plain, data).noisy
    params = jax.jit(problem.init)(jax.random.key(0))
    assert problem.test(params) == build_problem(plain, data).test(params)
    images, labels = (image_arrays(data)[f"train_{part}"] for part in ("inputs", "labels"))
    outputs = MODELS["vit"](10, **VIT).apply(params, jnp.asarray(images))
    expected = LOSSES["squared_error"](outputs, jax.nn.one_hot(labels, 10))
    without = build_problem(plain, data).loss(params, *problem.train)
    assert float(without) == pytest.approx(float(expected), rel=1e-6)


def test_dropout_leaves_out_a_share_and_keeps_the_mean():
    x = jnp.ones((100, 1000), jnp.float32)
    left = np.asarray(layers.dropout(x, jax.random.key(0), 0.2))
    assert set(np.unique(left)) == {0.0, np.float32(1 / np.float32(0.8))}
    assert np.mean(left == 0) == pytest.approx(0.2, abs=5e-3)
    assert np.mean(left) == pytest.approx(1, abs=5e-3)
