"""What is recorded beside the checks: when, of which parameters, and at nobody's expense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.base.errors import UserError
from samedge.curvature.density import spectral_density
from samedge.curvature.krylov.quadrature import moment
from samedge.records.schema import BLOCK_KEYS, DENSITY_KEYS
from samedge.tasks.problems import Problem
from samedge.training import loop as training
from samedge.training.observers.blocks import BlockObserver
from samedge.training.observers.density import DensityObserver
from synthetic import run_settings

pytestmark = pytest.mark.usefixtures("strict_jax")


def loss(params, inputs, targets):
    return jnp.mean(jnp.square(jnp.tanh(inputs @ params["first"]) @ params["second"] - targets))


@pytest.fixture(scope="module")
def problem():
    keys = jax.random.split(jax.random.key(0), 4)
    data = (
        jax.random.normal(keys[0], (12, 3), jnp.float32),
        jax.random.normal(keys[1], (12, 2), jnp.float32),
    )

    def init(key):
        return {
            "first": jax.random.normal(keys[2], (3, 4), jnp.float32),
            "second": jax.random.normal(keys[3], (4, 2), jnp.float32),
        }

    return Problem(init=init, loss=loss, train=data, test=lambda params: 0.25, metric="test_error")


def run_of(at, **changes):
    density = {"at": at, "probes": 3, "steps": 6}
    short = {
        "budget": {"steps": 8, "hours": None},
        "checks": {"spacing": "even", "count": 5, "minutes": None},
    }
    return run_settings(density=density, **({"eta": "0.05"} | short | changes))


def observed(run, problem):
    """Train with the observer and one that keeps a copy of every snapshot."""
    lines, snapshots = [], []

    def keep(snapshot):
        kept = jax.tree.map(np.array, (snapshot.params, snapshot.batch))
        snapshots.append((snapshot.step, snapshot.share, *kept))

    density = DensityObserver(run, problem, lines.append)
    checks, outcome = training.train(run, problem, lines.append, [density, keep])
    return density.records, snapshots, checks, outcome, lines


def test_an_observer_sees_every_check(problem):
    _, snapshots, checks, _, _ = observed(run_of([]), problem)
    assert [step for step, *_ in snapshots] == [check["step"] for check in checks]
    assert [share for _, share, *_ in snapshots] == [0, 0.25, 0.5, 0.75, 1]
    for (_, _, params, batch), check in zip(snapshots, checks, strict=True):
        assert float(loss(params, *batch)) == pytest.approx(check["training_loss"], rel=1e-6)


def test_densities_are_those_of_the_checks_that_reach_their_share(problem):
    run = run_of([0.0, 0.3, 1.0])
    records, snapshots, _, _, lines = observed(run, problem)
    assert [record["density_step"] for record in records] == [0, 4, 8]
    by_step = {step: (params, batch) for step, _, params, batch in snapshots}
    for record in records:
        assert record.keys() == {*DENSITY_KEYS}
        params, batch = by_step[record["density_step"]]
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        dense = jax.hessian(lambda point: loss(unravel(point), *batch))(flat)  # noqa: B023
        values = np.linalg.eigvalsh(np.asarray(dense, np.float64))
        nodes, weights = record["density_node"], record["density_weight"]
        assert values[0] - 1e-4 <= nodes.min() and nodes.max() <= values[-1] + 1e-4
        assert record["density_mean"] == pytest.approx(moment(nodes, weights, 1).value)
        assert abs(record["density_mean"] - values.mean()) < 6 * record["density_mean_error"]
        assert (record["density_size"], record["density_products"]) == (20, 18)
    assert [line.split("  ")[0] for line in lines if "density" in line] == [
        "step 0",
        "step 4",
        "step 8",
    ]


def test_measuring_the_density_changes_nothing_else(problem):
    without, _, plain, _, _ = observed(run_of([]), problem)
    _, _, checks, _, _ = observed(run_of([0.0, 0.5, 1.0]), problem)
    assert without == []
    for one, other in zip(plain, checks, strict=True):
        for key in one.keys() - {"training_time", "wall_time"}:
            np.testing.assert_array_equal(one[key], other[key])


def test_one_check_for_two_shares_gives_both_the_same_density(problem):
    records, *_ = observed(run_of([0.26, 0.5]), problem)
    assert records[0] is records[1]
    assert records[0]["density_step"] == 4


def test_a_run_that_diverges_before_a_share_has_no_density_there(problem):
    records, _, _, outcome, _ = observed(run_of([0.0, 1.0], eta="1e20"), problem)
    assert outcome.status == "diverged"
    assert records[0]["density_step"] == 0
    assert records[1] is None


def test_the_density_is_of_the_minibatch_of_the_check(problem):
    run = run_of([1.0], batch_size=4)
    (record,), snapshots, *_ = observed(run, problem)
    step, _, params, batch = snapshots[-1]
    assert len(batch[0]) == 4
    key = jax.random.fold_in(DensityObserver(run, problem, print).key, step)
    again = spectral_density(loss, params, jax.tree.map(jnp.asarray, batch), 3, 6, key=key)
    np.testing.assert_allclose(again.nodes, record["density_node"], rtol=1e-4, atol=1e-5)


def test_a_product_that_is_not_finite_ends_the_run(problem):
    def fail(snapshot):
        if snapshot.step == 4:
            raise FloatingPointError

    checks, outcome = training.train(run_of([]), problem, lambda line: None, [fail])
    assert (outcome.status, outcome.step) == ("diverged", 4)
    assert outcome.reason == "non-finite Hessian-vector product"
    assert [check["step"] for check in checks] == [0, 2, 4]


def test_seeds_differ_in_their_probes(problem):
    observers = [DensityObserver(run_of([1.0], seed=seed), problem, print) for seed in (0, 1)]
    keys = [jax.random.key_data(observer.key) for observer in observers]
    assert not np.array_equal(*keys)
    streams = jax.random.split(jax.random.key(0))
    assert not any(np.array_equal(keys[0], jax.random.key_data(key)) for key in streams)


def blocks_of(run, problem):
    """Train with the observer of blocks; return it, the snapshots and the checks."""
    snapshots = {}

    def keep(snapshot):
        snapshots[snapshot.step] = jax.tree.map(np.array, (snapshot.params, snapshot.batch))

    observer = BlockObserver(run, problem, lambda line: None)
    checks, _ = training.train(run, problem, lambda line: None, [observer, keep])
    return observer, snapshots, checks


@pytest.mark.parametrize(
    ("patterns", "places", "microbatch", "update"),
    [
        ({}, {"first": range(12), "second": range(12, 20)}, None, "adam"),
        ({"all": "", "late": "^second$"}, {"all": range(20), "late": range(12, 20)}, 4, "sam"),
    ],
    ids=["layers", "patterns"],
)
def test_blocks_are_those_of_the_dense_hessian(problem, patterns, places, microbatch, update):
    blocks = {"at": [0.0, 0.3, 0.4, 1.0], "patterns": patterns}
    rule = {"name": update, "epsilon": 0.0}
    run = run_of([], blocks=blocks, microbatch=microbatch, update=rule)
    observer, snapshots, checks = blocks_of(run, problem)
    assert list(observer.records) == list(places)
    for name, found in observer.records.items():
        assert [record["block_step"] for record in found] == [0, 4, 4, 8]
        for record in found:
            assert record.keys() == {*BLOCK_KEYS}
            params, batch = snapshots[record["block_step"]]
            flat, unravel = jax.flatten_util.ravel_pytree(params)
            dense = jax.hessian(lambda point: loss(unravel(point), *batch))(flat)  # noqa: B023
            block = np.asarray(dense, np.float64)[np.ix_(places[name], places[name])]
            values = np.linalg.eigvalsh(block)
            largest = values[np.argmax(np.abs(values))]
            assert record["block_converged"] and record["block_overlooked"] <= 1e-3
            assert record["block_curvature"] == pytest.approx(largest, rel=1e-3)
            assert record["block_size"] == len(block)
            # No block has a larger norm than the whole (Cauchy's interlacing).
            [check] = [one for one in checks if one["step"] == record["block_step"]]
            assert abs(largest) <= abs(check["eigenvalue"][0]) * (1 + 1e-3)


def test_blocks_go_on_from_a_checkpoint(problem):
    run = run_of([], blocks={"at": [0.0, 1.0]})
    observer, *_ = blocks_of(run, problem)
    other = BlockObserver(run, problem, print)
    other.restore(observer.state())
    assert other.records == observer.records and other.shares.passed == 2
    kept = observer.state()
    observer.records["first"][0] = None
    assert kept["records"]["first"][0] is not None


def test_a_pattern_that_chooses_no_parameter_is_named(problem):
    run = run_of([], blocks={"at": [1.0], "patterns": {"head": "lats"}})
    with pytest.raises(UserError, match=r"task mnist: blocks\.head: no parameter has 'lats' in"):
        BlockObserver(run, problem, print)
