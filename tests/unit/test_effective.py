"""The curvature that meets a rule's edge, against dense matrices, and through a run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from samedge.base.errors import UserError
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.curvature.products import linearized
from samedge.tasks.problems import Problem
from samedge.training import loop
from samedge.training.measuring import measure
from samedge.training.observers.parameters import ParameterKeeper
from samedge.training.steps import StepSpec, as_optax_promotes
from samedge.updates.rule import RULES, Point, ascended
from synthetic import run_settings

pytestmark = pytest.mark.usefixtures("strict_jax")

RANDOM = np.random.default_rng(0)
DATA = RANDOM.normal(size=(9, 4)), RANDOM.normal(size=(9, 2))
ETA, EPSILON = 0.05, 1e-5


def loss(params, inputs, targets):
    hidden = jnp.tanh(inputs @ params["w"] + params["b"])
    return jnp.mean(jnp.square(hidden @ params["v"] - targets))


def initial(key):
    keys = jax.random.split(key, 3)
    shapes = {"w": (4, 5), "b": (5,), "v": (5, 2)}
    return {
        name: jax.random.normal(own, shape, jnp.float32)
        for own, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def dense_hessian(params, data):
    flat, unravel = ravel_pytree(params)
    return np.asarray(jax.hessian(lambda x: loss(unravel(x), *data))(flat))


def inverse_root(rule, name, state, gradient, params):
    """Return the diagonal of P^(-1/2), told by the very step that the optimizer takes."""
    with as_optax_promotes():
        updates, after = rule.optimizer(ETA).update(gradient, state, params)
    moved = gradient
    if name == "adam":
        # An Adam step is the first moment over P, whatever is made of that.
        [moments] = [part for part in after if isinstance(part, optax.ScaleByAdamState)]
        moved = moments.mu
    if name not in ("adam", "rmsprop"):
        return np.ones(ravel_pytree(params)[0].size)
    ratio = jax.tree.map(lambda u, g: -u / (ETA * g), updates, moved)
    return np.sqrt(np.asarray(ravel_pytree(ratio)[0]))


@pytest.mark.parametrize("rho", [0.0, 0.2])
@pytest.mark.parametrize(
    ("name", "settings", "steps"),
    [
        ("adam", {}, 0),
        ("adam", {"b1": 0.5, "b2": 0.9, "eps": 1e-2, "displacement": "unnormalized"}, 3),
        ("rmsprop", {}, 3),
        ("rmsprop", {"decay": 0.5, "eps": 0.1, "displacement": "unnormalized"}, 0),
        ("asam", {"adaptive": 0.1}, 1),
    ],
)
def test_the_effective_curvature_is_that_of_the_dense_operator(name, settings, rho, steps):
    with jax.enable_x64(True):
        rule = RULES[name](**settings)
        params = jax.tree.map(lambda x: x.astype(jnp.float64), initial(jax.random.key(1)))
        data = tuple(map(jnp.asarray, DATA))
        radius = jnp.asarray(rho)
        state = rule.optimizer(ETA).init(params)

        def value_and_grad(at):
            return jax.value_and_grad(loss)(at, *data)

        for step in range(steps + 1):
            _, gradient, hessian = linearized(loss, params, data)
            along = ascended(rule, value_and_grad, params, gradient, radius, EPSILON)
            if step < steps:
                with as_optax_promotes():
                    updates, state = rule.optimizer(ETA).update(along, state, params)
                params = optax.apply_updates(params, updates)
        root = inverse_root(rule, name, state, along, params)
        matrix = dense_hessian(params, data)
        flat = np.asarray(ravel_pytree(gradient)[0])
        scale = np.ones(flat.size)
        if name == "asam":
            scale = np.asarray(
                ravel_pytree(
                    jax.tree.map(
                        lambda w: jnp.abs(w) + 0.1 if w.ndim > 1 else jnp.ones_like(w), params
                    )
                )[0]
            )
        slope = rho / (np.linalg.norm(scale * flat) + EPSILON)
        if settings.get("displacement") == "unnormalized":
            slope = rho
        matrix = matrix + slope * matrix @ np.diag(scale**2) @ matrix
        expected = np.linalg.eigvalsh(root[:, None] * matrix * root).max()
        at = Point(params, state, gradient, along, radius, EPSILON)
        top = top_eigenpairs(
            rule.effective(hessian, at), k=1, tolerance=1e-8, key=jax.random.key(0)
        )
        assert top.converged.all()
        assert top.values[0] == pytest.approx(expected, rel=1e-9)


def problem():
    data = tuple(jnp.asarray(array, jnp.float32) for array in DATA)
    return Problem(initial, loss, data, lambda params: float(loss(params, *data)), "test_loss")


def trained(name, options=None, rho="0.1", schedule=None, steps=12, **changes):
    settings = run_settings(
        **{
            "rho": rho,
            "eta": "0.01",
            "update": {
                "name": name,
                "epsilon": EPSILON,
                "settings": options or {},
                "schedule": schedule,
            },
            "budget": {"steps": steps, "hours": None},
            "checks": {"spacing": "even", "count": 4, "minutes": None},
            "audit": {"at": [1.0]},
        }
        | changes
    )
    keeper = ParameterKeeper(settings.audit.at)
    records, outcome = loop.train(settings, problem(), lambda line: None, [keeper])
    assert outcome.status == "completed"
    return records


def test_a_run_records_the_curvature_of_its_rule_its_edge_and_their_ratio():
    for record in trained("adam", rho="0"):
        assert record["sam_edge"] == pytest.approx(38 / 0.01)
        assert record["edge_ratio"] == record["effective_curvature"] / record["sam_edge"]
        # At the first step the preconditioner is a tenth of the gradients' magnitudes.
        assert record["effective_curvature"] > 2 * abs(record["eigenvalue"][0])
    plain, certified = (
        trained("rmsprop", curvature=vars(run_settings().curvature) | {"certify": every})
        for every in (4, 1)
    )
    for one, other in zip(plain, certified, strict=True):
        for name in ("effective_curvature", "sam_edge"):
            assert one[name] == pytest.approx(other[name], rel=2e-3)


@pytest.mark.parametrize("name", ["sam", "unnormalized_sam", "momentum"])
def test_the_curvature_of_other_rules_is_the_hessians(name):
    options = {"momentum": 0.5} if name == "momentum" else {}
    for record in trained(name, options):
        assert record["effective_curvature"] == record["eigenvalue"][0]
        assert record["edge_ratio"] == abs(record["eigenvalue"][0]) / record["sam_edge"]
        assert record["learning_rate"] == 0.01


def test_a_run_goes_on_from_its_checkpoint_with_the_spectrum_of_its_operator():
    """What is saved of the state is restored, bit for bit."""
    from samedge.training.run import Run

    settings = run_settings(update={"name": "adam", "epsilon": EPSILON}, eta="0.01")
    first, second = (Run(settings, problem(), lambda line: None) for _ in range(2))
    first.start()
    saved = first.state.save()
    second.state.restore(saved)
    for ours, theirs in zip(
        first.state.effective_spectrum, second.state.effective_spectrum, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


SCHEDULES = {
    "warmup": ({"steps": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
    "piecewise": ({"steps": [2, 5], "shares": [1, 0.5, 2]}, [1, 1, 0.5, 0.5, 0.5, 2, 2, 2]),
    "cosine": (
        {"steps": 4, "end": 0.2},
        [0.2 + 0.8 * (1 + np.cos(np.pi * min(step, 4) / 4)) / 2 for step in range(8)],
    ),
    "optax": (
        {
            "function": "linear_schedule",
            "arguments": {"init_value": 0.0, "end_value": 1.0, "transition_steps": 4},
        },
        [0, 0.25, 0.5, 0.75, 1, 1, 1, 1],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_taken_by_steps_and_recorded_at_checks(name):
    options, shares = SCHEDULES[name]
    schedule = {"name": name, "settings": options}
    changes = {"checks": {"spacing": "even", "count": 8, "minutes": None}}
    records = trained("sam", rho="0", schedule=schedule, steps=7, **changes)
    rates = [0.01 * share for share in shares]
    np.testing.assert_allclose([one["learning_rate"] for one in records], rates, rtol=1e-6)
    edges = [one["sam_edge"] for one in records]
    np.testing.assert_allclose(edges, [2 / rate if rate else np.nan for rate in rates], rtol=1e-6)
    # By hand.
    data = tuple(jnp.asarray(array, jnp.float32) for array in DATA)
    params = jax.jit(initial)(jax.random.split(jax.random.key(0))[0])
    for rate, record in zip(rates, records, strict=True):
        value, gradient = jax.value_and_grad(loss)(params, *data)
        assert record["training_loss"] == pytest.approx(float(value), rel=1e-5)
        params = jax.tree.map(lambda p, g, rate=rate: p - jnp.float32(rate) * g, params, gradient)


def test_a_rise_before_a_fall():
    settings = {"steps": 6, "warmup": 2, "end": 0.0}
    rates = [
        one["learning_rate"] / 0.01
        for one in trained(
            "momentum",
            {"momentum": 0.5},
            schedule={"name": "cosine", "settings": settings},
            steps=6,
            checks={"spacing": "even", "count": 7, "minutes": None},
        )
    ]
    falling = [(1 + np.cos(np.pi * step / 4)) / 2 for step in range(5)]
    np.testing.assert_allclose(rates, [0.5, 1.0, *falling], atol=1e-6)


def test_a_schedule_that_crosses_the_edge_makes_a_stable_run_unstable():
    def bowl(params, inputs, targets):
        return 10 * jnp.sum(params["x"] ** 2) + 0 * jnp.sum(inputs) + 0 * jnp.sum(targets)

    def start(key):
        del key
        return {"x": jnp.ones(3, jnp.float32)}

    data = tuple(jnp.asarray(array, jnp.float32) for array in DATA)
    own = Problem(start, bowl, data, lambda params: 0.0, "test_loss")
    settings = run_settings(
        eta="0.09",
        rho="0",
        update={
            "name": "sam",
            "epsilon": EPSILON,
            "schedule": {"name": "piecewise", "settings": {"steps": [20], "shares": [1, 1.2]}},
        },
        budget={"steps": 40, "hours": None},
        checks={"spacing": "even", "count": 3, "minutes": None},
    )
    records, _ = loop.train(settings, own, lambda line: None)
    before, crossing, after = (record["training_loss"] for record in records)
    assert crossing < 0.1 * before and after > 10 * crossing
    ratios = [record["edge_ratio"] for record in records]
    np.testing.assert_allclose(ratios, [0.9, 1.08, 1.08], rtol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ({"name": "cosine", "settings": {"steps": 2, "warmup": 2}}, "must be at least 0 and below"),
        ({"name": "warmup", "settings": {"steps": 0}}, "steps: found 0, must be at least 1"),
        ({"name": "piecewise", "settings": {"steps": [2], "shares": [1]}}, "one more of shares"),
        (
            {"name": "optax", "settings": {"function": "cosine_decay", "arguments": {}}},
            "Optax has no schedule 'cosine_decay'; did you mean 'cosine_decay_schedule'",
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_named_with_its_task(schedule, complaint):
    with pytest.raises(UserError, match=f"task mnist: update.schedule.settings of .*{complaint}"):
        trained("sam", schedule=schedule)


def test_without_the_optimizers_state_a_measurement_says_that_it_needs_it():
    settings = run_settings(update={"name": "adam", "epsilon": EPSILON}, eta="0.01")
    own = problem()
    params = jax.jit(own.init)(jax.random.key(0))
    with pytest.raises(TypeError, match="depends on the optimizer's state; give state"):
        measure(settings, StepSpec.of(settings, own.loss), params, own.train, jax.random.key(0))
