"""Parameters kept during training: which checks, which values, and what their file refuses."""

import functools

import jax
import jax.numpy as jnp
import netCDF4
import numpy as np
import pytest

from samedge.base.errors import UserError
from samedge.records import parameters
from samedge.tasks import leaves as leaves_of
from samedge.tasks.problems import build_problem
from samedge.training import loop
from samedge.training.observers.parameters import ParameterKeeper
from synthetic import ENVIRONMENT, run_settings, task_data

pytestmark = pytest.mark.usefixtures("strict_jax")

TREE = {
    "params": {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)}},
    "body/linear": [jnp.float32(2.0), jnp.zeros((1, 0))],
}
PATHS = {
    "params/dense/kernel": (2, 3),
    "params/dense/bias": (3,),
    "body/linear/0": (),
    "body/linear/1": (1, 0),
}


def tiny_run(steps=6, **changes):
    return run_settings(
        dataset={"name": "mnist", "train_examples": 20, "test_examples": 20},
        model={"name": "mlp", "settings": {"depth": 2, "width": 4}},
        budget={"steps": steps, "hours": None},
        checks={"spacing": "even", "count": 3, "minutes": None},
        **changes,
    )


@functools.cache
def problem():
    return build_problem(tiny_run(), task_data())


def keep(settings, at):
    keeper = ParameterKeeper(at)
    loop.train(settings, problem(), lambda line: None, [keeper])
    return keeper.kept


def assert_equal(one, other):
    assert one.step == other.step
    assert one.leaves.keys() == other.leaves.keys()
    for path, leaf in one.leaves.items():
        np.testing.assert_array_equal(leaf, other.leaves[path], err_msg=path, strict=True)


def kept_twice():
    first = leaves_of.named_leaves(TREE)
    return [parameters.Kept(0, first), parameters.Kept(7, {k: v + 1 for k, v in first.items()})]


def test_leaves_are_named_by_their_paths():
    leaves = leaves_of.named_leaves(TREE)
    assert {path: leaf.shape for path, leaf in leaves.items()} == PATHS
    with pytest.raises(ValueError, match="same path"):
        leaves_of.named_leaves({"a/b": jnp.ones(1), "a": {"b": jnp.ones(1)}})


def test_a_restored_tree_is_the_tree():
    restored = leaves_of.restore(leaves_of.named_leaves(TREE), TREE, np.float32)
    assert jax.tree.structure(restored) == jax.tree.structure(TREE)
    jax.tree.map(np.testing.assert_array_equal, restored, TREE)


def test_leaves_of_another_model_are_named():
    leaves = leaves_of.named_leaves(TREE)
    other = {"params": {"dense": {"kernel": jnp.ones((2, 4)), "scale": jnp.ones(3)}}}
    with pytest.raises(UserError, match="not those of the run's model") as caught:
        leaves_of.restore(leaves, other, np.float32)
    message = str(caught.value)
    assert "params/dense/kernel is (2, 3), the model has (2, 4)" in message
    assert "params/dense/scale is missing, the model has (3,)" in message
    assert "params/dense/bias is (3,), the model has none" in message


def test_parameters_are_those_at_the_check_and_later_steps_do_not_reach_them():
    whole = keep(tiny_run(6), at=(0.0, 0.5, 1.0))
    assert [check.step for check in whole] == [0, 3, 6]
    for check in whole:
        if check.step:
            # A run that ends at this check has taken the same steps.
            [last] = keep(tiny_run(check.step), at=(1.0,))
            assert_equal(check, last)
    assert any(np.any(whole[0].leaves[path] != whole[2].leaves[path]) for path in whole[0].leaves)


def test_a_share_between_checks_means_the_check_after_it():
    [kept] = keep(tiny_run(6), at=(0.4,))
    assert kept.step == 3


def test_nothing_is_kept_after_a_run_diverged():
    settings = tiny_run(6, eta="1e20", rho="0")
    assert [check.step for check in keep(settings, at=(0.0, 1.0))] == [0]
    assert keep(settings, at=(1.0,)) == []


def test_what_is_read_is_what_was_written(tmp_path):
    path, settings = tmp_path / "run.nc", tiny_run()
    parameters.write_parameters(path, settings, kept_twice(), ENVIRONMENT)
    saved = parameters.read_parameters(path)
    assert saved.settings == settings.to_json()
    assert saved.data_checksum == ENVIRONMENT["data_checksum"]
    for one, other in zip(saved.kept, kept_twice(), strict=True):
        assert_equal(one, other)
    again = tmp_path / "again.nc"
    parameters.write_parameters(again, settings, kept_twice(), ENVIRONMENT)
    assert again.read_bytes() == path.read_bytes()


def test_a_run_that_kept_nothing_has_a_file_too(tmp_path):
    path = tmp_path / "run.nc"
    parameters.write_parameters(path, tiny_run(), [], ENVIRONMENT)
    assert parameters.read_parameters(path).kept == ()


def test_leaves_that_would_share_a_variable_are_refused(tmp_path):
    kept = parameters.Kept(0, {"a/b": np.ones(1), "a.b": np.ones(1)})
    with pytest.raises(ValueError, match=r"parameter\.a\.b"):
        parameters.write_parameters(tmp_path / "run.nc", tiny_run(), [kept], ENVIRONMENT)


@pytest.mark.parametrize("damage", ["missing", "truncated", "number", "settings", "other"])
def test_a_file_that_is_not_as_it_was_written_is_refused(tmp_path, damage):
    path = tmp_path / "run.nc"
    parameters.write_parameters(path, tiny_run(), kept_twice(), ENVIRONMENT)
    match damage:
        case "missing":
            path.unlink()
            message = "no such file"
        case "truncated":
            path.write_bytes(path.read_bytes()[:-500])
            message = "truncated"
        case "number":
            with netCDF4.Dataset(path, "a") as file:
                file["parameter.params.dense.kernel"][1, 0, 2] += 1
            message = "damaged"
        case "settings":
            with netCDF4.Dataset(path, "a") as file:
                file.settings = tiny_run(seed=1).to_json()
            message = "damaged"
        case "other":
            with netCDF4.Dataset(path, "w") as file:
                file.settings = "{}"
            message = "not a parameters file"
    with pytest.raises(UserError, match=message):
        parameters.read_parameters(path)
