"""Propositions 1 to 3 of the paper on random quadratics, through this project's own update."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge import edge, sam

SIZE = 6
positive = st.floats(-2, 2).map(lambda exponent: 10.0**exponent)
seeds = st.integers(0, 2**32 - 1)
MARGIN = 1e-6  # distance from the edge at which "shrinks" and "grows" must be told apart


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def quadratic(matrix, point):
    return 0.5 * point @ matrix @ point


@jax.jit
def sam_step(matrix, point, eta, rho):
    """Return the point after one step of SAM (epsilon 0), as training takes it."""
    _, ascended = sam.sam_gradient(lambda w, a: quadratic(a, w), point, (matrix,), rho, epsilon=0.0)
    return point - eta * ascended


def random_rotation(seed):
    normal = np.random.default_rng(seed).normal(size=(SIZE, SIZE))
    return np.linalg.qr(normal)[0]


def with_spectrum(seed, eigenvalues):
    rotation = random_rotation(seed)
    return rotation @ np.diag(eigenvalues) @ rotation.T, rotation


@settings(deadline=None)
@given(seed=seeds, eta=positive, top=positive, side=st.sampled_from([-1, 1]))
def test_proposition_1_gradient_descent_turns_unstable_at_two_over_eta(seed, eta, top, side):
    del top
    largest = edge.gd_edge(eta) * (1 + side * MARGIN)
    shares = np.sort(np.random.default_rng(seed).uniform(0.01, 0.9, SIZE))
    shares[-1] = 1.0
    matrix, rotation = with_spectrum(seed, largest * shares)
    along_top = rotation[:, -1]
    after = sam_step(matrix, along_top, eta, 0.0)
    growth = float(np.linalg.norm(matrix @ after) / np.linalg.norm(matrix @ along_top))
    assert (growth > 1) == (side > 0)
    # Below the edge every gradient shrinks, whatever its direction.
    point = np.random.default_rng(seed).normal(size=SIZE)
    if side < 0:
        moved = sam_step(matrix, point, eta, 0.0)
        assert np.linalg.norm(matrix @ moved) < np.linalg.norm(matrix @ point)


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, side=st.sampled_from([-1, 0, 1]))
def test_proposition_2_an_aligned_gradient_reverses_and_grows_beyond_the_sam_edge(
    seed, eta, rho, norm, side
):
    largest = edge.sam_edge(norm, eta, rho) * (1 + side * MARGIN)
    shares = np.append(np.random.default_rng(seed).uniform(-0.9, 0.9, SIZE - 1), 1.0)
    matrix, rotation = with_spectrum(seed, largest * shares)
    point = rotation[:, -1] * (norm / largest)  # its gradient has this norm, along the top
    gradient = matrix @ point
    after = matrix @ np.asarray(sam_step(matrix, point, eta, rho))
    factor = float(after @ gradient / (gradient @ gradient))
    np.testing.assert_allclose(after, factor * gradient, atol=1e-9 * norm)
    expected = 1 - eta * largest * (1 + rho * largest / norm)
    assert factor == pytest.approx(expected, abs=1e-8)
    if side == 0:
        assert factor == pytest.approx(-1, abs=1e-8)
    else:
        assert (abs(factor) > 1) == (side > 0)


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, share=st.floats(0.05, 1 - MARGIN))
def test_proposition_3_without_negative_curvature_sam_is_stable_below_its_edge(
    seed, eta, rho, share
):
    random = np.random.default_rng(seed)
    matrix, _ = with_spectrum(seed, np.append(random.uniform(0.05, 1, SIZE - 1), 1.0))
    point = random.normal(size=SIZE)
    norm = np.linalg.norm(matrix @ point)
    # Scaling matrix and point keeps the gradient's norm and moves the top to a share of the edge.
    largest = share * edge.sam_edge(norm, eta, rho)
    matrix, point = matrix * largest, point / largest
    after = np.asarray(sam_step(matrix, point, eta, rho))
    assert np.linalg.norm(matrix @ after) < norm
    assert quadratic(matrix, after) < quadratic(matrix, point)


def test_proposition_3_needs_curvature_that_is_not_negative():
    """Along a negative eigenvalue the gradient grows, the operator norm below the edge or not."""
    eta, rho = 0.1, 0.1
    matrix = np.diag([1.0, -0.5])
    point = np.array([0.0, 1.0])
    norm = np.linalg.norm(matrix @ point)
    assert np.linalg.norm(matrix, 2) < edge.sam_edge(norm, eta, rho)
    after = np.asarray(sam_step(jnp.asarray(matrix), jnp.asarray(point), eta, rho))
    assert np.linalg.norm(matrix @ after) > norm
