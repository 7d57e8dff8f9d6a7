"""The eigensolver is not fooled: planted clusters, overtaken warm starts, negative ends, ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.traps import SIZE, TOLERANCE, TRAPS, K, plant_ends, solve, spring
from samedge.curvature.eigenpairs import top_eigenpairs

pytestmark = pytest.mark.usefixtures("strict_jax")


def test_there_are_thirty():
    assert len({trap.name for trap in TRAPS}) == 30


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_is_not_fooled(trap):
    outcome = spring(trap)
    assert outcome.converged
    np.testing.assert_allclose(
        np.abs(outcome.found), np.abs(outcome.truth), atol=TOLERANCE * abs(outcome.truth[0])
    )


@pytest.mark.parametrize("seed", [33, 61, 84, 115, 135, 142, 14000])
def test_no_member_of_a_cluster_hides_in_a_mixture_of_the_others(seed):
    [trap] = [trap for trap in TRAPS if trap.name == "a new one in a cluster of ten"]
    assert spring(trap, seed).right


def test_a_matrix_that_is_not_finite_is_an_error_that_says_so():
    matrix = np.eye(SIZE, dtype=np.float32)
    start = solve(matrix, 0)
    matrix[1, 1] = np.nan
    for given in (None, start):
        with pytest.raises(FloatingPointError, match="Hessian-vector product is not finite"):
            solve(matrix, 1, given)


def test_a_start_of_another_model_is_refused():
    start = solve(np.eye(SIZE, dtype=np.float32), 0)
    shorter = start._replace(ritz_vectors=start.ritz_vectors[:, :-1])
    with pytest.raises(ValueError, match=f"start is of {SIZE - 1} parameters"):
        solve(np.eye(SIZE, dtype=np.float32), 0, shorter)


def test_at_1_the_residuals_alone_decide_and_the_outcome_says_so():
    matrix = np.diag(np.linspace(-0.1, 1.0, SIZE)).astype(np.float32)
    start = solve(matrix, 0, ends=False)
    again = solve(matrix, 1, start, ends=False, overlook=1.0)
    assert again.converged.all() and again.overlooked == 1.0
    assert again.hvp_count == K < solve(matrix, 1, start, ends=False).hvp_count


@pytest.mark.parametrize("overlook", [0.0, -1.0, 1.5, np.nan])
def test_what_may_be_overlooked_is_a_probability(overlook):
    with pytest.raises(ValueError, match="overlook is a probability above 0"):
        solve(np.eye(SIZE, dtype=np.float32), 0, overlook=overlook)


def test_a_warm_start_saves_products():
    spectrum = np.concatenate([np.linspace(1.0, 0.9, 10), np.linspace(-0.1, 0.4, SIZE - 10)])
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    matrix = ((rotation * spectrum) @ rotation.T).astype(np.float32)
    change = rng.normal(size=(SIZE, SIZE)) * 2e-4
    later = (matrix + change + change.T).astype(np.float32)
    start, cold = solve(matrix, 0), solve(later, 1)
    warm = solve(later, 1, start)
    assert len(warm.values) == K
    assert warm.hvp_count < 0.75 * cold.hvp_count
    np.testing.assert_allclose(warm.values, cold.values, atol=TOLERANCE)


def test_a_start_that_no_longer_holds_costs_little_and_misleads_nobody():
    spectrum = np.concatenate([np.linspace(1.0, 0.9, 10), np.linspace(-0.1, 0.4, SIZE - 10)])
    rng = np.random.default_rng(0)
    matrices = []
    for scale in (30.0, 1.0):
        rotation = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
        matrices.append((scale * (rotation * spectrum) @ rotation.T).astype(np.float32))
    start = solve(matrices[0], 0)
    cold, warm = solve(matrices[1], 1), solve(matrices[1], 1, start)
    assert warm.converged.all()
    np.testing.assert_allclose(warm.values, spectrum[:K], atol=TOLERANCE)
    assert warm.hvp_count <= 1.5 * cold.hvp_count


def test_no_more_is_overlooked_than_is_stated():
    """Of a triple above a wide bulk, whose copies only a fresh random vector can find."""
    spectrum = np.concatenate([[1.0, 1.0, 1.0], np.linspace(-0.95, 0.95, SIZE - 3)])
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(SIZE, SIZE)))[0]
    matrix = ((rotation * spectrum) @ rotation.T).astype(np.float32)
    missed = {}
    for accepted in (1e-3, 1.0):
        found = [solve(matrix, seed, ends=False, overlook=accepted) for seed in range(30)]
        assert all(top.overlooked <= accepted and top.converged.all() for top in found)
        missed[accepted] = sum(abs(abs(top.values[-1]) - 1) > TOLERANCE for top in found)
        assert missed[accepted] <= sum(top.overlooked for top in found)
    assert missed[1e-3] == 0 < missed[1.0]


@pytest.mark.parametrize("options", [{}, {"max_vectors": 8}], ids=["default", "few vectors"])
@pytest.mark.parametrize("overlook", [1e-3, 0.3])
def test_no_end_lies_beyond_its_bound_more_often_than_is_stated(overlook, options):
    count = 40
    found = [plant_ends(seed, overlook, max_products=600, **options) for seed in range(count)]
    crossed = np.sum([planted.crossed for planted in found], axis=0)
    # Three standard deviations of a binomial distribution.
    assert (crossed <= count * overlook + 3 * np.sqrt(count * overlook)).all()
    assert np.max([planted.open for planted in found]) <= 0.05 + 1e-5


def test_ends_are_known_as_closely_as_is_asked_for():
    spectrum = np.concatenate([[1.0, 0.9, 0.8], np.linspace(-0.2, 0.3, SIZE - 3)])
    matrix = np.diag(spectrum).astype(np.float32)
    spent = []
    for share in (0.2, 0.05, 0.01):
        top = solve(matrix, 0, ends=share)
        spent.append(top.hvp_count)
        assert top.smallest_bound <= -0.2 <= top.smallest <= top.smallest_bound + share
        assert top.largest <= 1 + 1e-6 <= top.largest_bound + 2e-6 <= top.largest + share
    assert spent == sorted(set(spent))
    without = solve(matrix, 0, ends=False)
    assert without.hvp_count < spent[0]
    assert without.smallest_bound <= -0.2
    uncertified = solve(matrix, 0, overlook=1.0)
    assert np.isnan([uncertified.smallest_bound, uncertified.largest_bound]).all()
    assert uncertified.smallest == pytest.approx(-0.2, abs=0.05)


def test_ends_that_are_asked_for_more_closely_than_can_be_known_end_all_the_same():
    """Where all of a small space is explored, and where residuals of the ends leave more open."""
    for seed in range(12):
        random = np.random.default_rng(seed)
        values = random.normal(size=20)
        rotation = np.linalg.qr(random.normal(size=(20, 20)))[0]
        matrix = ((rotation * values) @ rotation.T).astype(np.float32)
        top = top_eigenpairs(
            lambda point, matrix: 0.5 * point @ (matrix @ point),
            jnp.zeros(20, jnp.float32),
            (jnp.asarray(matrix),),
            2,
            key=jax.random.key(seed),
            max_products=50,
            ends=1e-3,
        )
        assert top.converged.all()
        rounding = 1e-5 * np.abs(values).max()
        assert top.smallest_bound - rounding <= values.min() <= top.smallest + rounding
        assert top.largest - rounding <= values.max() <= top.largest_bound + rounding


def test_as_many_vectors_come_back_as_pairs_were_asked_for():
    values = np.concatenate([np.linspace(1.0, 0.7, 15), np.linspace(-0.1, 0.3, SIZE - 15)])
    matrix = jnp.asarray(np.diag(values).astype(np.float32))
    first = top_eigenpairs(
        lambda point, matrix: 0.5 * point @ (matrix @ point),
        jnp.zeros(SIZE, jnp.float32),
        (matrix,),
        15,
        key=jax.random.key(0),
    )
    assert len(first.values) == len(first.vectors) == 15
    for value, vector in zip(first.values, first.vectors, strict=True):
        np.testing.assert_allclose(matrix @ vector, value * vector, atol=2e-3)


@pytest.mark.parametrize("ends", [0, 1, -0.1, np.nan])
def test_what_ends_are_known_to_is_a_share(ends):
    with pytest.raises(ValueError, match=r"ends is .*, and has to be a number above 0 and below 1"):
        solve(np.eye(SIZE, dtype=np.float32), 0, ends=ends)


@pytest.mark.parametrize("vectors", [K + 5, 12, 40])
def test_few_vectors_find_the_same_with_more_products(vectors):
    spectrum = np.concatenate([[1.0, 0.995, 0.99], np.linspace(-0.3, 0.9, SIZE - 3)])
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))[0]
    matrix = ((rotation * spectrum) @ rotation.T).astype(np.float32)
    top = solve(matrix, 0, max_vectors=vectors, max_products=2000)
    assert top.converged.all() and top.overlooked <= 1e-3
    np.testing.assert_allclose(top.values, spectrum[:3], atol=TOLERANCE)
    assert top.smallest_bound <= -0.3 <= top.smallest + 1e-6
    assert len(top.ritz_values) <= vectors


def test_memory_is_bounded_by_the_setting():
    spectrum = np.concatenate([[1.0, 0.995, 0.99], np.linspace(0.0, 0.97, SIZE - 3)])
    matrix = np.diag(spectrum).astype(np.float32)
    top = solve(jnp.asarray(matrix), 0)
    assert top.converged.all()
    assert top.hvp_count > 40  # more than the vectors that are kept
    assert len(top.ritz_values) <= 20
    assert top.ritz_vectors.shape[0] <= 20
