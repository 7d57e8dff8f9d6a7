"""The eigensolver is not fooled: planted clusters, overtaken warm starts, negative ends, ranks."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.traps import SIZE, TOLERANCE, TRAPS, K, solve, spring

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


def test_memory_is_bounded_by_the_setting():
    spectrum = np.concatenate([[1.0, 0.995, 0.99], np.linspace(0.0, 0.97, SIZE - 3)])
    matrix = np.diag(spectrum).astype(np.float32)
    top = solve(jnp.asarray(matrix), 0)
    assert top.converged.all()
    assert top.hvp_count > 40  # more than the vectors that are kept
    assert len(top.ritz_values) <= 20
    assert top.ritz_vectors.shape[0] <= 24  # whole groups of rows
