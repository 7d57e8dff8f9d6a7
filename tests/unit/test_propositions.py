"""The paper's Propositions 1 to 3 on random quadratics, through this project's own step.

Each is about one step from a point with the gradient g and the Hessian H, and says when the loss of
the quadratic falls. What is ours, about the gradient and not about the loss, is called so.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.training.steps import StepSpec, take_steps
from samedge.updates import edges, rule

SIZE = 6
positive = st.floats(-2, 2).map(lambda exponent: 10.0**exponent)
seeds = st.integers(0, 2**32 - 1)
sides = st.sampled_from([-1, 1])
#: Relative distance from a bound at which both sides are told apart: a tenth of a millionth.
MARGIN = 1e-7
#: Below this share of eta ||g||^2, which is what gradient descent gains to first order, a change of
#: the loss is none: what float64 leaves of terms that cancel.
NOTHING = 1e-10
RULE = rule.RULES["sam"]()


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def quadratic(point, gradient, matrix):
    """Return the loss over that at the origin, where the gradient is ``gradient``."""
    return gradient @ point + 0.5 * point @ matrix @ point


def change_of_loss(matrix, gradient, eta, rho):
    """Return by how much one step, as training takes it, changes the loss, over eta ||g||^2.

    The step begins at the origin, and so may any: the quadratic is one about the point itself.
    """
    data = tuple(jnp.asarray(array) for array in (gradient, matrix))
    point = jnp.zeros(SIZE)
    after, _, taken, finite = take_steps(
        StepSpec(quadratic, RULE, microbatch=None, epsilon=0.0),
        point,
        RULE.optimizer(eta).init(point),
        jnp.asarray(eta),
        jnp.asarray(rho),
        data,
        None,
        jnp.int32(1),
    )
    assert (int(taken), bool(finite)) == (1, True)
    return float(quadratic(np.asarray(after), gradient, matrix) / (eta * gradient @ gradient))


def sign(change):
    return 0 if abs(change) < NOTHING else int(np.sign(change))


def vector(seed, norm, along=None):
    """Return a vector of this norm, along a unit vector or, without one, in a random direction."""
    direction = np.random.default_rng([seed, 1]).normal(size=SIZE) if along is None else along
    return norm * direction / np.linalg.norm(direction)


def with_spectrum(seed, eigenvalues):
    """Return a symmetric matrix with these eigenvalues, and its eigenvectors as columns."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))[0]
    matrix = rotation @ np.diag(eigenvalues) @ rotation.T
    return (matrix + matrix.T) / 2, rotation


def between(seed, low, high, *ends):
    """Return ascending eigenvalues between two bounds, of which some are these."""
    inner = np.random.default_rng([seed, 2]).uniform(low, high, SIZE - len(ends))
    return np.sort(np.append(inner, ends))


# Where the gradient points: along the eigenvector of the least eigenvalue or of the largest, or
# nowhere in particular.
directions = st.sampled_from([0, SIZE - 1, None])


def pointed(seed, norm, rotation, direction):
    return vector(seed, norm, None if direction is None else rotation[:, direction])


@settings(deadline=None)
@given(seed=seeds, eta=positive, norm=positive, direction=directions)
def test_proposition_1_below_two_over_eta_gradient_descent_lowers_the_loss(
    seed, eta, norm, direction
):
    # The operator norm is below the bound, the eigenvalues have any sign.
    below = edges.gd_edge(eta) * (1 - MARGIN)
    matrix, rotation = with_spectrum(seed, between(seed, -below, below, -below, below))
    gradient = pointed(seed, norm, rotation, direction)
    assert sign(change_of_loss(matrix, gradient, eta, 0.0)) == -1


@settings(deadline=None)
@given(seed=seeds, eta=positive, norm=positive, side=st.sampled_from([-1, 0, 1]))
def test_proposition_1_is_tight_for_a_gradient_along_a_principal_eigenvector(seed, eta, norm, side):
    top = edges.gd_edge(eta) * (1 + side * MARGIN)
    matrix, rotation = with_spectrum(seed, between(seed, -top, top, top))
    change = change_of_loss(matrix, vector(seed, norm, rotation[:, -1]), eta, 0.0)
    assert sign(change) == side


@settings(deadline=None)
@given(seed=seeds, eta=positive, norm=positive, factor=st.floats(1.1, 100))
def test_proposition_1_is_tight_for_principal_eigenvalues_that_are_not_negative_alone(
    seed, eta, norm, factor
):
    bottom = -factor * edges.gd_edge(eta)
    matrix, rotation = with_spectrum(seed, between(seed, bottom, -bottom / 2, bottom))
    assert sign(change_of_loss(matrix, vector(seed, norm, rotation[:, 0]), eta, 0.0)) == -1


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, direction=directions)
def test_proposition_2_below_the_sam_edge_without_negative_curvature_sam_lowers_the_loss(
    seed, eta, rho, norm, direction
):
    below = edges.sam_edge(norm, eta, rho) * (1 - MARGIN)
    matrix, rotation = with_spectrum(seed, between(seed, 0, below, 0, below))
    gradient = pointed(seed, norm, rotation, direction)
    assert sign(change_of_loss(matrix, gradient, eta, rho)) == -1


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, side=st.sampled_from([-1, 0, 1]))
def test_proposition_2_is_tight_for_a_gradient_along_a_principal_eigenvector(
    seed, eta, rho, norm, side
):
    top = edges.sam_edge(norm, eta, rho) * (1 + side * MARGIN)
    matrix, rotation = with_spectrum(seed, between(seed, 0, top, top))
    change = change_of_loss(matrix, vector(seed, norm, rotation[:, -1]), eta, rho)
    assert sign(change) == side


@settings(deadline=None)
@given(
    seed=seeds,
    eta=positive,
    rho=positive,
    norm=positive,
    direction=directions,
    below=st.sampled_from([0, MARGIN]),
)
def test_proposition_3_between_its_bounds_sam_lowers_the_loss(
    seed, eta, rho, norm, direction, below
):
    # Eigenvalues at the bounds are allowed, as long as the gradient has a part along another.
    if direction is not None:
        below = MARGIN
    high = edges.sam_edge(norm, eta, rho) * (1 - below)
    low = edges.negative_curvature_bound(norm, rho) * (1 - below)
    matrix, rotation = with_spectrum(seed, between(seed, low, high, low, high))
    gradient = pointed(seed, norm, rotation, direction)
    assert sign(change_of_loss(matrix, gradient, eta, rho)) == -1


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, part=st.floats(0, 1))
def test_proposition_3_needs_a_part_of_the_gradient_strictly_between_its_bounds(
    seed, eta, rho, norm, part
):
    high = edges.sam_edge(norm, eta, rho)
    low = edges.negative_curvature_bound(norm, rho)
    matrix, rotation = with_spectrum(seed, between(seed, low, high, low, high))
    at_bounds = part * rotation[:, 0] + (1 - part) * rotation[:, -1]
    assert sign(change_of_loss(matrix, vector(seed, norm, at_bounds), eta, rho)) == 0


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, side=st.sampled_from([-1, 0, 1]))
def test_proposition_3_is_tight_for_a_gradient_along_a_principal_eigenvector(
    seed, eta, rho, norm, side
):
    # The others are as large in magnitude as the principal one may let them be, of either sign.
    top = edges.sam_edge(norm, eta, rho) * (1 + side * MARGIN)
    matrix, rotation = with_spectrum(seed, between(seed, -top, top, top))
    change = change_of_loss(matrix, vector(seed, norm, rotation[:, -1]), eta, rho)
    assert sign(change) == side


@pytest.mark.parametrize("crossed", ["the SAM edge", "the bound on negative curvature"])
@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, side=sides)
def test_proposition_3_each_bound_crossed_by_itself_raises_the_loss(
    crossed, seed, eta, rho, norm, side
):
    bounds = {
        "the bound on negative curvature": edges.negative_curvature_bound(norm, rho),
        "the SAM edge": edges.sam_edge(norm, eta, rho),
    }
    allowed = 0.9 * np.array(list(bounds.values()))
    at = bounds[crossed] * (1 + side * MARGIN)
    eigenvalues = between(seed, *allowed, at)
    matrix, rotation = with_spectrum(seed, eigenvalues)
    along = rotation[:, np.flatnonzero(eigenvalues == at).item()]
    assert sign(change_of_loss(matrix, vector(seed, norm, along), eta, rho)) == side


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, side=sides)
def test_the_other_root_of_equation_3_ends_what_the_bound_on_negative_curvature_begins(
    seed, eta, rho, norm, side
):
    """From that bound down to the root a term raises the loss, beyond it it lowers it again."""
    root = -norm / (2 * rho) * (np.sqrt(1 + 8 * rho / (eta * norm)) + 1)
    assert root < edges.negative_curvature_bound(norm, rho)
    matrix, rotation = with_spectrum(seed, between(seed, 0, 1 / eta, root * (1 + side * MARGIN)))
    change = change_of_loss(matrix, vector(seed, norm, rotation[:, 0]), eta, rho)
    assert sign(change) == -side


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, spread=st.floats(0.1, 3))
def test_equation_2_is_the_change_of_the_loss(seed, eta, rho, norm, spread):
    reach = spread * edges.sam_edge(norm, eta, rho)
    eigenvalues = between(seed, -reach, reach)
    matrix, rotation = with_spectrum(seed, eigenvalues)
    gradient = vector(seed, norm)
    displaced = 1 + rho * eigenvalues / norm
    terms = (rotation.T @ gradient) ** 2 * displaced * (1 - eta * displaced * eigenvalues / 2)
    change = change_of_loss(matrix, gradient, eta, rho)
    assert change == pytest.approx(-terms.sum() / norm**2, rel=1e-9, abs=NOTHING)


@jax.jit
def sam_gradient(gradient, matrix, rho):
    """Return the gradient along which SAM steps from the origin."""
    return rule.sam_gradient(quadratic, jnp.zeros(SIZE), (gradient, matrix), rho, epsilon=0.0)[1]


def gradient_after(matrix, gradient, eta, rho):
    """Return the gradient after one step from the origin."""
    return gradient - eta * matrix @ np.asarray(sam_gradient(gradient, matrix, rho))


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, side=st.sampled_from([-1, 0, 1]))
def test_ours_a_gradient_along_the_top_is_reversed_at_the_sam_edge_and_grows_beyond(
    seed, eta, rho, norm, side
):
    top = edges.sam_edge(norm, eta, rho) * (1 + side * MARGIN)
    matrix, rotation = with_spectrum(seed, between(seed, -0.9 * top, 0.9 * top, top))
    gradient = vector(seed, norm, rotation[:, -1])
    after = gradient_after(matrix, gradient, eta, rho)
    factor = float(after @ gradient / norm**2)
    np.testing.assert_allclose(after, factor * gradient, atol=1e-9 * norm)
    assert factor == pytest.approx(1 - eta * top * (1 + rho * top / norm), abs=1e-9)
    assert sign(abs(factor) - 1) == side


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, share=st.floats(0.05, 1 - MARGIN))
def test_ours_without_negative_curvature_the_gradient_shrinks_below_the_sam_edge(
    seed, eta, rho, norm, share
):
    top = share * edges.sam_edge(norm, eta, rho)
    matrix, _ = with_spectrum(seed, between(seed, 0.05 * top, top, top))
    assert np.linalg.norm(gradient_after(matrix, vector(seed, norm), eta, rho)) < norm


@settings(deadline=None)
@given(seed=seeds, eta=positive, rho=positive, norm=positive, share=st.floats(0.01, 0.99))
def test_ours_along_allowed_negative_curvature_the_loss_falls_while_the_gradient_grows(
    seed, eta, rho, norm, share
):
    bottom = share * edges.negative_curvature_bound(norm, rho)
    matrix, rotation = with_spectrum(seed, between(seed, 0, 1 / eta, bottom))
    gradient = vector(seed, norm, rotation[:, 0])
    assert sign(change_of_loss(matrix, gradient, eta, rho)) == -1
    assert np.linalg.norm(gradient_after(matrix, gradient, eta, rho)) > norm
