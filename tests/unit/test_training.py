"""The training loop against steps written out, and how runs end."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samedge.base.errors import UserError
from samedge.config import parts, settings
from samedge.data import file
from samedge.tasks.inputs import Minibatches, image_arrays
from samedge.tasks.problems import Problem, build_problem
from samedge.training import loop as training
from samedge.training.steps import StepSpec
from samedge.updates import rule as sam
from synthetic import TRANSFORMER

pytestmark = pytest.mark.usefixtures("strict_jax")

EXAMPLES = 12


def run_settings(**changes):
    values = {
        "task": "line",
        "eta": "0.05",
        "rho": "0.1",
        "seed": 3,
        "source": "sample",
        "kind": "images",
        "dataset": parts.DatasetSettings("mnist", None, None),
        "model": parts.ModelSettings("mlp", {"depth": 2, "width": 4}),
        "loss": parts.LossSettings("squared_error"),
        "update": parts.UpdateSettings("sam", 1e-5),
        "batch_size": None,
        "microbatch": None,
        "budget": parts.BudgetSettings(6, None),
        "checks": parts.CheckSettings("even", 3, None),
        "curvature": parts.CurvatureSettings(2, 1e-3, 50, 40, 1e-3, ends=0.05),
        "density": parts.DensitySettings((), 2, 4),
        "audit": parts.AuditSettings(()),
        "divergence": parts.DivergenceSettings(10.0, 3),
        "precision": "highest",
    }
    return settings.RunSettings(**(values | changes))


def loss(params, inputs, targets):
    hidden = jnp.tanh(inputs @ params["first"])
    return jnp.mean(jnp.square(hidden @ params["second"] - targets))


class Line:
    """A small regression whose parameters after the last step can be looked at."""

    def __init__(self):
        keys = jax.random.split(jax.random.key(0), 4)
        self.inputs = jax.random.normal(keys[0], (EXAMPLES, 3), jnp.float32)
        self.targets = jax.random.normal(keys[1], (EXAMPLES, 2), jnp.float32)
        self.start = {
            "first": jax.random.normal(keys[2], (3, 4), jnp.float32),
            "second": jax.random.normal(keys[3], (4, 2), jnp.float32),
        }
        self.final = None

    def problem(self):
        def test(params):
            self.final = params
            return 0.25

        return Problem(
            init=lambda key: jax.tree.map(jnp.copy, self.start),
            loss=loss,
            train=(self.inputs, self.targets),
            test=test,
            metric="test_error",
        )

    def by_hand(self, run, steps):
        """Take the steps of the paper's equation 1, one by one."""
        params = self.start
        eta, rho = float(run.eta), float(run.rho)
        for step in range(steps):
            chosen = slice(None)
            if run.batch_size is not None:
                batches = Minibatches(EXAMPLES, run.batch_size, run.seed)
                chosen = batches.indices(step, 1)[0]
            data = self.inputs[chosen], self.targets[chosen]
            gradient = jax.grad(loss)(params, *data)
            norm = jnp.sqrt(sum(jnp.sum(g**2) for g in gradient.values())) + 1e-5
            ascended = {k: params[k] + rho * gradient[k] / norm for k in params}
            second = jax.grad(loss)(ascended, *data)
            params = {k: params[k] - eta * second[k] for k in params}
        return params


@pytest.mark.parametrize("rho", ["0", "0.1"])
@pytest.mark.parametrize("batch", [None, 4])
def test_steps_are_those_of_equation_1(rho, batch):
    line = Line()
    run = run_settings(rho=rho, batch_size=batch)
    records, outcome = training.train(run, line.problem(), lambda text: None)
    assert (outcome.status, outcome.step, outcome.test_metric) == ("completed", 6, 0.25)
    assert [record["step"] for record in records] == [0, 3, 6]
    expected = line.by_hand(run, 6)
    for name, leaf in expected.items():
        np.testing.assert_allclose(line.final[name], leaf, rtol=1e-5, atol=1e-6)


def test_a_check_measures_the_parameters_and_nothing_else():
    line = Line()
    few, _ = training.train(
        run_settings(checks=parts.CheckSettings("even", 2, None)),
        line.problem(),
        lambda text: None,
    )
    final_of_few = line.final
    many, _ = training.train(
        run_settings(checks=parts.CheckSettings("even", 7, None)),
        line.problem(),
        lambda text: None,
    )
    for name in final_of_few:
        np.testing.assert_array_equal(final_of_few[name], line.final[name])
    for key in ("training_loss", "gradient_norm", "sam_gradient_norm", "sam_edge"):
        np.testing.assert_array_equal(few[-1][key], many[-1][key])
    # The solver starts from the check before, so that its answers agree to its tolerance.
    np.testing.assert_allclose(few[-1]["eigenvalue"], many[-1]["eigenvalue"], rtol=1e-3)


def test_one_program_serves_the_whole_grid():
    line = Line()
    problem, first = line.problem(), run_settings()
    training.train(first, problem, lambda text: None)
    compiled = training.take_steps._cache_size()
    for eta, rho in [("0.01", "0.1"), ("0.02", "0"), ("0.05", "1.0")]:
        run = run_settings(eta=eta, rho=rho)
        assert len({StepSpec.of(each, problem.loss) for each in (run, first)}) == 1
        training.train(run, problem, lambda text: None)
    assert training.take_steps._cache_size() == compiled


def test_non_finite_loss_ends_the_run_with_its_records():
    line = Line()
    run = run_settings(
        eta="1e20",
        budget=parts.BudgetSettings(100, None),
        checks=parts.CheckSettings("even", 2, None),
    )
    records, outcome = training.train(run, line.problem(), lambda text: None)
    assert outcome.status == "diverged"
    assert outcome.reason == "non-finite loss, gradient or parameter"
    assert 0 < outcome.step < 5
    assert [record["step"] for record in records] == [0]
    assert np.isnan(outcome.test_metric)


@pytest.mark.parametrize("rule", ["sam", "unnormalized_sam"])
def test_a_constant_loss_is_no_divergence(rule):
    """Its gradient is zero, which SAM without an epsilon would divide by."""
    line = Line()
    problem = replace(line.problem(), loss=lambda params, *data: 0.0 * loss(params, *data) + 1.5)
    run = run_settings(update=parts.UpdateSettings(rule, 0.0))
    records, outcome = training.train(run, problem, lambda text: None)
    assert (outcome.status, outcome.step, outcome.reason) == ("completed", 6, "")
    assert [record["training_loss"] for record in records] == [1.5] * 3
    assert [record["sam_gradient_norm"] for record in records] == [0.0] * 3
    for name, leaf in line.start.items():
        np.testing.assert_array_equal(line.final[name], leaf)


@pytest.fixture
def heavy_ball(monkeypatch):
    """Register a rule that has a setting."""

    def heavy_ball(*, momentum):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, found {momentum}")
        plain = sam.RULES["sam"]()
        return replace(plain, optimizer=partial(optax.sgd, momentum=momentum))

    monkeypatch.setitem(sam.RULES._entries, "heavy_ball", heavy_ball)
    monkeypatch.setattr(sam.RULES, "_made", {})


def update_with(**options):
    return parts.UpdateSettings("heavy_ball", 1e-5, options)


def test_an_update_rule_has_settings(heavy_ball):
    line = Line()
    run = run_settings(update=update_with(momentum=0.5), rho="0")
    training.train(run, line.problem(), lambda text: None)
    params, velocity = line.start, jax.tree.map(jnp.zeros_like, line.start)
    for _ in range(6):
        gradient = jax.grad(loss)(params, line.inputs, line.targets)
        velocity = jax.tree.map(lambda v, g: 0.5 * v + g, velocity, gradient)
        params = jax.tree.map(lambda p, v: p - 0.05 * v, params, velocity)
    for name, leaf in params.items():
        np.testing.assert_allclose(line.final[name], leaf, rtol=1e-5, atol=1e-7)


def test_equal_settings_of_a_rule_share_a_program(heavy_ball):
    one, same, other = (
        StepSpec.of(run_settings(update=update_with(momentum=value)), loss)
        for value in (0.5, 0.5, 0.6)
    )
    assert one == same and hash(one) == hash(same)
    assert one != other


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"momentum": 2}, "momentum must be at least 0 and below 1, found 2"),
        ({"momentums": 0.5}, "unexpected keyword argument 'momentums'"),
        ({}, "missing 1 required keyword-only argument: 'momentum'"),
    ],
)
def test_settings_that_a_rule_does_not_take_are_named(heavy_ball, options, reason):
    run = run_settings(update=update_with(**options))
    with pytest.raises(UserError, match=f"^task line: update.settings of heavy_ball: .*{reason}"):
        training.train(run, Line().problem(), lambda text: None)


def test_a_run_may_be_trained_outside_the_main_thread():
    """Signals are the main thread's; there they do what they did before."""
    expected, _ = training.train(run_settings(), Line().problem(), lambda text: None)
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(training.train, run_settings(), Line().problem(), lambda text: None)
        records, outcome = made.result()
    assert outcome.status == "completed"
    for name in ("training_loss", "eigenvalue"):
        np.testing.assert_array_equal(records[-1][name], expected[-1][name])


def test_a_parameter_that_is_not_finite_ends_the_run_though_the_loss_is():
    line = Line()
    line.start["unused"] = jnp.full((2,), jnp.inf, jnp.float32)
    records, outcome = training.train(run_settings(), line.problem(), lambda text: None)
    assert (outcome.status, outcome.step) == ("diverged", 1)
    assert outcome.reason == "non-finite loss, gradient or parameter"
    assert [record["step"] for record in records] == [0]


def test_large_loss_ends_the_run_after_the_stated_number_of_checks():
    line = Line()
    run = run_settings(
        eta="3",
        rho="0",
        budget=parts.BudgetSettings(12, None),
        checks=parts.CheckSettings("even", 13, None),
        divergence=parts.DivergenceSettings(1.01, 2),
    )
    records, outcome = training.train(run, line.problem(), lambda text: None)
    assert outcome.status == "diverged"
    assert "1.01 times the initial one at 2 checks in a row" in outcome.reason
    assert all(record["training_loss"] > records[0]["training_loss"] for record in records[-2:])
    assert outcome.step == records[-1]["step"]


def test_hour_budget_ends_the_run():
    line = Line()
    run = run_settings(
        budget=parts.BudgetSettings(None, 0.2 / 3600),
        checks=parts.CheckSettings("time", None, 0.05 / 60),
    )
    records, outcome = training.train(run, line.problem(), lambda text: None)
    assert outcome.status == "completed"
    assert records[-1]["training_time"] >= 0.2
    assert records[0]["step"] == 0
    assert len(records) >= 3
    assert all(a["step"] < b["step"] for a, b in itertools.pairwise(records))


def test_gradients_at_rho_zero_are_one_gradient():
    line = Line()
    value_and_grad = jax.value_and_grad(lambda p: loss(p, line.inputs, line.targets))
    _, gradient, ascended = sam.gradients(
        sam.RULES["sam"](), value_and_grad, line.start, jnp.float32(0), 1e-5
    )
    for name in gradient:
        np.testing.assert_array_equal(gradient[name], ascended[name])


def test_unnormalized_rule_perturbs_by_rho_times_the_gradient():
    line = Line()

    def value_and_grad(params):
        return jax.value_and_grad(loss)(params, line.inputs, line.targets)

    _, gradient, ascended = sam.gradients(
        sam.RULES["unnormalized_sam"](), value_and_grad, line.start, jnp.float32(0.3), 0.0
    )
    displaced = {k: line.start[k] + 0.3 * gradient[k] for k in gradient}
    for name, leaf in value_and_grad(displaced)[1].items():
        np.testing.assert_allclose(ascended[name], leaf, rtol=1e-4, atol=1e-6)


@pytest.fixture
def image_data(tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        "train_inputs": random.integers(0, 256, (20, 4, 4, 1), np.uint8),
        "train_labels": (np.arange(20) % 10).astype(np.uint8),
        "test_inputs": random.integers(0, 256, (10, 4, 4, 1), np.uint8),
        "test_labels": np.arange(10).astype(np.uint8),
    }
    attributes = {
        "name": "mnist",
        "kind": "images",
        "source": "sample",
        "stand_in": True,
        "description": "noise",
        "origin": "this test",
    }
    path = tmp_path / "data.npz"
    file.write_data(path, arrays, attributes)
    return file.read_data(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "tfds"}, "the data file holds"),
        ({"dataset": parts.DatasetSettings("mnist", 30, None)}, "prepare the data anew"),
        ({"batch_size": 21}, "more than the 20 training examples"),
        ({"microbatch": 3}, "does not divide the batch of 20"),
        ({"kind": "image"}, "did you mean 'images'"),
        ({"kind": "characters"}, "does not fit the data set mnist, which holds images"),
        (
            {"model": parts.ModelSettings("transformer", TRANSFORMER)},
            "do not fit inputs and targets",
        ),
        ({"model": parts.ModelSettings("mpl", {})}, "did you mean 'mlp'"),
        ({"loss": parts.LossSettings("squared")}, "did you mean 'squared_error'"),
        ({"model": parts.ModelSettings("mlp", {"deep": 2, "width": 2})}, "deep"),
    ],
)
def test_what_does_not_fit_the_data_is_an_error(image_data, changes, message):
    with pytest.raises(UserError, match=message):
        build_problem(run_settings(**changes), image_data)


def test_images_problem_reports_the_share_of_wrong_labels(image_data):
    problem = build_problem(run_settings(), image_data)
    params = jax.jit(problem.init)(jax.random.key(0))
    arrays = image_arrays(image_data)
    from samedge.tasks.model import MODELS

    model = MODELS["mlp"](10, depth=2, width=4)
    outputs = model.apply(params, jnp.asarray(arrays["test_inputs"]))
    expected = np.mean(np.argmax(np.asarray(outputs), axis=-1) != arrays["test_labels"])
    assert problem.test(params) == pytest.approx(expected)
    assert problem.metric == "test_error"
