"""Several runs at once: each as if it were alone, whatever becomes of the others."""

import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.base.errors import Interrupted
from samedge.config import settings
from samedge.data.file import TaskData
from samedge.tasks.problems import Problem, build_problem
from samedge.training import loop, measuring
from samedge.training.checkpoints import Checkpoints, Interval
from samedge.training.loop import Member, split_evenly, train_together
from samedge.training.observers.density import DensityObserver
from samedge.training.observers.parameters import ParameterKeeper
from samedge.training.run import Run
from samedge.training.steps import take_steps_together
from synthetic import run_settings

pytestmark = pytest.mark.usefixtures("strict_jax")

RUN = {
    "eta": "0.05",
    "budget": {"steps": 50, "hours": None},
    "checks": {"spacing": "even", "count": 3, "minutes": None},
    "density": {"at": [1.0], "probes": 2, "steps": 4},
    "audit": {"at": [0.0, 1.0]},
}
POINTS = [("0.05", "0.1", 0), ("0.02", "0.1", 1), ("0.05", "0", 0)]
HUGE = "1e20"
# Relative or absolute: fifty steps of three runs at once differ from those of one by rounding, by
# up to 1.8e-5 on JAX 0.12.
ROUNDING = 5e-5
# How the solver got to its answers: what lies within its tolerance is not the run's.
SOLVER = ("eigenvalue_residual", "overlooked", "hessian_vector_products")


def loss(params, inputs, targets):
    return jnp.mean(jnp.square(jnp.tanh(inputs @ params["first"]) @ params["second"] - targets))


@pytest.fixture(scope="module")
def problem():
    """Return a regression whose loss is smooth, so that rounding is not amplified."""
    keys = jax.random.split(jax.random.key(0), 2)
    data = (
        jax.random.normal(keys[0], (12, 3), jnp.float32),
        jax.random.normal(keys[1], (12, 2), jnp.float32),
    )

    def init(key):
        first, second = jax.random.split(key)
        return {
            "first": jax.random.normal(first, (3, 8), jnp.float32),
            "second": jax.random.normal(second, (8, 2), jnp.float32),
        }

    return Problem(init, loss, data, lambda final: float(loss(final, *data)), "test_loss")


def runs_at(points, **changes):
    return [
        run_settings(**RUN | changes | {"eta": eta, "rho": rho, "seed": seed})
        for eta, rho, seed in points
    ]


def observers_of(run, problem):
    return [DensityObserver(run, problem, lambda line: None), ParameterKeeper(run.audit.at)]


def alone(run, problem):
    observers = observers_of(run, problem)
    return found(loop.train(run, problem, lambda line: None, observers), observers)


def at_once(runs, problem, folder=None, lines=None):
    """Train runs together, with checkpoints in a folder if one is given."""
    members = []
    for run in runs:
        kept = None
        if folder is not None:
            kept = Checkpoints(
                folder / run.name, {"settings": run.to_json()}, Interval(), lines.append
            )
        members.append(Member(run, lambda line: None, observers_of(run, problem), kept))
    results = train_together(members, problem)
    return [
        found(result, member.observers) for result, member in zip(results, members, strict=True)
    ]


def found(result, observers):
    """Return all that a run comes to, but for times."""
    (checks, outcome), (density, keeper) = result, observers
    times = ("training_time", "wall_time")
    return {
        "checks": [{k: v for k, v in check.items() if k not in times} for check in checks],
        "outcome": outcome,
        "densities": density.records,
        "kept": [(check.step, check.leaves) for check in keeper.kept],
    }


def assert_close(some, others, tolerance):
    """Compare what runs came to, to the bit; with a tolerance, but for how the solver worked."""
    if tolerance:
        some, others = without_solver(some), without_solver(others)
    for one, other in zip(some, others, strict=True):
        assert one["outcome"].status == other["outcome"].status
        assert one["outcome"].step == other["outcome"].step
        for part in ("checks", "densities", "kept"):
            pair = [jax.tree.leaves(found[part]) for found in (one, other)]
            for leaf, wanted in zip(*pair, strict=True):
                np.testing.assert_allclose(leaf, wanted, rtol=tolerance, atol=tolerance)


def without_solver(runs):
    kept = [
        [{k: v for k, v in check.items() if k not in SOLVER} for check in run["checks"]]
        for run in runs
    ]
    return [run | {"checks": checks} for run, checks in zip(runs, kept, strict=True)]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 9])
def test_groups_are_few_within_the_bound_and_of_like_sizes(count, most):
    parts = split_evenly(range(count), most)
    assert [*itertools.chain(*parts)] == [*range(count)]
    sizes = {*map(len, parts)}
    assert max(sizes) <= most and max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-count // most)


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("points", [POINTS, POINTS[:2]], ids=["radii", "one radius"])
def test_each_comes_to_what_it_comes_to_alone(problem, batch, points):
    runs = runs_at(points, batch_size=batch)
    assert_close(at_once(runs, problem), [alone(run, problem) for run in runs], ROUNDING)


def test_what_depends_on_the_optimizers_state_is_that_of_each_run(problem):
    """Adam keeps moments and counts steps: its effective curvature is made of them."""
    update = {"name": "adam", "epsilon": 1e-5}
    runs = runs_at([("0.002", "0.1", 0), ("0.001", "0", 1)], update=update)
    both = [alone(run, problem) for run in runs]
    assert_close(at_once(runs, problem), both, ROUNDING)
    for one in both:
        for check in one["checks"]:
            assert check["effective_curvature"] > 1.1 * abs(check["eigenvalue"][0])


def test_one_run_is_trained_as_alone(problem, tmp_path):
    runs = runs_at(POINTS[:1])
    assert_close(at_once(runs, problem, tmp_path, []), [alone(runs[0], problem)], 0)


def image_data():
    random = np.random.default_rng(0)
    arrays = {
        "train_inputs": random.integers(0, 256, (20, 28, 28, 1), np.uint8),
        "train_labels": (np.arange(20) % 10).astype(np.uint8),
        "test_inputs": random.integers(0, 256, (10, 28, 28, 1), np.uint8),
        "test_labels": np.arange(10).astype(np.uint8),
    }
    return TaskData(arrays, attributes("mnist", "images"), "")


def text_data():
    random = np.random.default_rng(0)
    text = {
        f"{split}_text": random.integers(32, 127, 400).astype(np.uint8)
        for split in ("train", "test")
    }
    return TaskData(text, attributes("tiny_shakespeare", "characters"), "")


def attributes(name, kind):
    return {"name": name, "kind": kind, "source": "sample", "stand_in": True, "description": ""}


TRANSFORMER = {
    **{"layers": 1, "heads": 2, "key_size": 4, "model_size": 8},
    **{"sequence_length": 8, "widening_factor": 2},
}
MODELS = {
    "mlp": ("images", {"depth": 3, "width": 8}, None, None),
    "cnn": ("images", {"blocks": 2, "channels": 4}, None, 10),
    "transformer": ("characters", TRANSFORMER, 4, None),
}


def flat(tree):
    """Return all numbers of a tree as one vector in float64."""
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_each_model_is_that_of_a_run_alone(name):
    """One step: where a unit switches, further ones multiply what rounding has changed."""
    kind, options, batch, microbatch = MODELS[name]
    images = kind == "images"
    settings_of_all = runs_at(
        [("0.01", "0.1", 0), ("0.02", "0", 1)],
        kind=kind,
        dataset={
            "name": "mnist" if images else "tiny_shakespeare",
            "train_examples": None,
            "test_examples": None,
        },
        model={"name": name, "settings": options},
        loss={"name": "squared_error" if images else "cross_entropy"},
        batch_size=batch,
        microbatch=microbatch,
    )
    problem = build_problem(settings_of_all[0], image_data() if images else text_data())
    runs = [Run(run, problem, print) for run in (*settings_of_all, *settings_of_all)]
    one_by_one = runs[:2]
    starts = [flat(run.state.params) for run in one_by_one]
    for run in one_by_one:
        assert loop.advance(run, 1) == (1, True)
    params, _, taken, finite = take_steps_together(
        runs[0].spec,
        tuple(run.state.params for run in runs[2:]),
        tuple(run.state.optimizer_state for run in runs[2:]),
        jnp.array([0.01, 0.02], jnp.float32),
        jnp.array([0.1, 0.0], jnp.float32),
        problem.train,
        None if batch is None else np.stack([run.indices(1) for run in runs[2:]]),
        jnp.array([1, 1], jnp.int32),
    )
    assert (taken.tolist(), finite.tolist()) == ([1, 1], [True, True])
    for run, start, found_params in zip(one_by_one, starts, params, strict=True):
        wanted = flat(run.state.params)
        step = np.linalg.norm(wanted - start)
        assert np.linalg.norm(flat(found_params) - wanted) < 1e-4 * step


def test_a_run_that_diverges_changes_nothing_for_the_others(problem):
    calm, wild = runs_at(POINTS), runs_at([POINTS[0], (HUGE, "0.1", 1), POINTS[2]])
    undisturbed, disturbed = at_once(calm, problem), at_once(wild, problem)
    assert_close(disturbed[::2], undisturbed[::2], 0)
    ended, expected = disturbed[1]["outcome"], alone(wild[1], problem)["outcome"]
    assert ended.status == "diverged"
    assert (ended.step, ended.reason) == (expected.step, expected.reason)


@pytest.mark.parametrize("number", [15, 2])
@pytest.mark.parametrize(
    ("place", "call"), [("check", 2), ("check", 4), ("check", 6), ("steps", 2), ("steps", 4)]
)
def test_runs_that_go_on_end_as_if_nothing_had_been(
    problem, tmp_path, monkeypatch, number, place, call
):
    runs = runs_at([POINTS[0], (HUGE, "0.1", 1), POINTS[2]], batch_size=4)
    undisturbed = at_once(runs, problem)
    module, name = {
        "check": (measuring, "top_eigenpairs"),
        "steps": (loop, "take_steps_together"),
    }[place]
    original, calls, lines = getattr(module, name), [], []

    def interrupting(*arguments, **options):
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return original(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, interrupting)
        with pytest.raises(Interrupted) as caught:
            at_once(runs, problem, tmp_path, lines)
    assert caught.value.number == number
    assert all([*(tmp_path / run.name).glob("*.npz")] for run in runs)
    assert_close(at_once(runs, problem, tmp_path, lines), undisturbed, 0)


def test_what_has_ended_comes_back_from_its_checkpoint(problem, tmp_path, monkeypatch):
    runs = runs_at([POINTS[0], (HUGE, "0.1", 1)])
    undisturbed = at_once(runs, problem)
    at_once(runs, problem, tmp_path, [])
    for file in (tmp_path / runs[0].name).glob("*.npz"):
        file.unlink()
    # One has to be trained anew, beside one that is done.
    assert_close(at_once(runs, problem, tmp_path, []), undisturbed, 0)
    with monkeypatch.context() as patched:
        patched.setattr(measuring, "top_eigenpairs", None)
        for name in ("take_steps", "take_steps_together"):
            patched.setattr(loop, name, None)
        assert_close(at_once(runs, problem, tmp_path, []), undisturbed, 0)


def test_time_is_shared_and_a_budget_of_hours_is_each_runs_own(problem):
    hours = 0.2 / 3600
    runs = runs_at(
        POINTS,
        budget={"steps": None, "hours": hours},
        checks={"spacing": "time", "count": None, "minutes": 0.05 / 60},
        density={"at": [], "probes": 2, "steps": 4},
    )
    results = train_together([Member(run, lambda line: None) for run in runs], problem)
    for checks, outcome in results:
        assert outcome.status == "completed"
        assert checks[-1]["training_time"] >= 0.2
    spent = sum(checks[-1]["training_time"] for checks, _ in results)
    assert spent <= max(checks[-1]["wall_time"] for checks, _ in results)


def test_runs_of_other_settings_are_refused(problem):
    [run] = runs_at(POINTS[:1])
    [other] = runs_at(POINTS[1:2], budget={"steps": 49, "hours": None})
    with pytest.raises(ValueError, match=r"eta0\.02_rho0\.1_seed1: other settings than those of"):
        train_together([Member(each, lambda line: None) for each in (run, other)], problem)


def test_the_configuration_or_else_the_device_says_how_many_at_once():
    assert loop.batch_limit(3) == 3
    cpu = jax.default_backend() == "cpu"
    assert loop.batch_limit(None) == (1 if cpu else settings.MOST_TOGETHER)
