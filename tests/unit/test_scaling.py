"""Every number is right at any scale that its type holds, or does not count as converged.

The truth is computed in float64 from the numbers as they are held, at a scale near 1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.audit import float64
from samedge.config.parts import BudgetSettings, CheckSettings, UpdateSettings
from samedge.curvature import scaling
from samedge.curvature.density import spectral_density
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.curvature.krylov import certificate
from samedge.curvature.krylov.quadrature import moment
from samedge.machine.compilation_cache import count_programs
from samedge.tasks.problems import Problem
from samedge.training import loop as training
from samedge.training.steps import alignment, norm_of
from samedge.updates.rule import sam_gradient
from samedge.updates.rules.sam import sam
from test_training import Line, run_settings
from test_training import loss as line_loss

pytestmark = pytest.mark.usefixtures("strict_jax")

SIZE = 30
TOLERANCE = 1e-3
# From the smallest subnormal number to beyond the largest that products of this size may have.
EXPONENTS = {"float32": st.integers(-149, 124), "float64": st.integers(-1074, 1020)}
NORMAL = {"float32": (-126, 127), "float64": (-1022, 1023)}


def in_type(dtype):
    """Return the context in which JAX holds numbers of a type."""
    return jax.enable_x64(dtype == "float64")


def held(values, exponent, dtype):
    """Return ``values * 2**exponent`` as a type holds them, and those numbers near 1 in float64.

    Subnormal numbers are zero in the latter: XLA takes them for that.
    """
    numbers = np.ldexp(np.asarray(values, np.float64), exponent).astype(dtype)
    taken = np.where(np.abs(numbers) < np.finfo(dtype).tiny, 0, numbers)
    return numbers, np.ldexp(taken.astype(np.float64), -exponent)


def random_symmetric(seed):
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    values = np.concatenate(
        [random.choice([-1, 1], 3) * [1.0, 0.8, 0.6], random.uniform(-0.3, 0.4, SIZE - 3)]
    )
    matrix = (rotation * values) @ rotation.T
    return (matrix + matrix.T) / 2


def quadratic(point, matrix):
    return jnp.sum(point * (matrix @ point)) / 2


def by_magnitude(matrix):
    values = np.linalg.eigvalsh(matrix)
    return values[np.argsort(-np.abs(values))]


@pytest.mark.parametrize("dtype", EXPONENTS)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_eigenpairs_at_any_scale(dtype, data, seed):
    exponent = data.draw(EXPONENTS[dtype])
    matrix, truth = held(random_symmetric(seed), exponent, dtype)
    with in_type(dtype):
        top = top_eigenpairs(
            quadratic, jnp.zeros(SIZE, dtype), (matrix,), 3, TOLERANCE, key=jax.random.key(seed)
        )
    if exponent > NORMAL[dtype][0] + 20:
        assert top.converged.all()
    if top.converged.any():
        assert top.converged.all()
        expected = by_magnitude(truth)
        found = np.ldexp(top.values, -exponent)
        np.testing.assert_allclose(np.abs(found), np.abs(expected[:3]), atol=2e-3)
        for value, vector, residual in zip(found, top.vectors, top.residuals, strict=True):
            vector = np.asarray(vector, np.float64)
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
            true = np.linalg.norm(truth @ vector - value * vector)
            assert np.ldexp(residual, -exponent) == pytest.approx(true, abs=2e-6)
        assert np.ldexp(top.largest, -exponent) == pytest.approx(max(expected), abs=2e-2)
        assert np.ldexp(top.smallest, -exponent) == pytest.approx(min(expected), abs=2e-2)


@pytest.mark.parametrize("exponent", [-57, -130, -149, 66, 125])
def test_a_large_diagonal_at_any_scale(exponent):
    """The spectrum that came out at a twentieth of its values, with residuals of zero."""
    size = 100_000
    bulk = np.random.default_rng(0).uniform(0, 0.1, size - 3)
    diagonal, truth = held(np.concatenate([[1, 0.9, 0.8], bulk]), exponent, "float32")

    top = top_eigenpairs(
        lambda point, diagonal: jnp.sum(diagonal * jnp.square(point)) / 2,
        jnp.zeros(size, jnp.float32),
        (diagonal,),
        key=jax.random.key(0),
    )
    if exponent < NORMAL["float32"][0]:
        assert not top.converged.any()
    else:
        assert top.converged.all()
        np.testing.assert_allclose(np.ldexp(top.values, -exponent), truth[:3], atol=TOLERANCE)


def deep(params, inputs, targets):
    hidden = inputs
    for weights in params:
        hidden = jnp.tanh(hidden @ weights)
    return jnp.mean(jnp.square(hidden - targets))


@pytest.mark.parametrize("weight", [0.05, 2e-3, 1e-4, 1e-7])
def test_a_deep_network_of_small_weights_is_right_or_not_converged(weight):
    random = np.random.default_rng(0)
    layers = [(weight * random.normal(size=(4, 4))).astype(np.float32) for _ in range(14)]
    data = tuple(random.normal(size=(6, 4)).astype(np.float32) for _ in range(2))
    top = top_eigenpairs(deep, layers, data, key=jax.random.key(0))
    with jax.enable_x64(True):
        flat, unravel = jax.flatten_util.ravel_pytree([np.float64(layer) for layer in layers])
        double = tuple(np.float64(x) for x in data)
        matrix = jax.jit(jax.hessian(lambda point: deep(unravel(point), *double)))(flat)
    expected = by_magnitude(np.asarray(matrix))[:3]
    if top.converged.any():
        np.testing.assert_allclose(np.abs(top.values), np.abs(expected), rtol=2e-3)
    if weight == 0.05:
        assert top.converged.all()


@pytest.mark.parametrize("one", [0.0, 2.0**-100, 1.0, 2.0**120])
@pytest.mark.parametrize("other", [0.0, 2.0**-100, 1.0, 2.0**120])
def test_a_start_of_another_scale_misleads_nobody(one, other):
    matrix = random_symmetric(0)
    point = jnp.zeros(SIZE, jnp.float32)
    start, found = None, None
    for scale in (one, other):
        given = ((matrix * scale).astype(np.float32),)
        found = top_eigenpairs(quadratic, point, given, key=jax.random.key(1), start=start)
        start = found
    assert found.converged.all()
    expected = by_magnitude(matrix)[:3] * other
    np.testing.assert_allclose(np.abs(found.values), np.abs(expected), rtol=2e-3)


def test_a_vector_whose_product_is_zero_says_nothing_of_the_scale():
    """The start is in the kernel, so that the first product that is not zero overflows."""
    point = jnp.zeros(SIZE, jnp.float32)

    def solve(diagonal, start=None):
        return top_eigenpairs(
            lambda point, diagonal: jnp.sum(diagonal * jnp.square(point)) / 2,
            point,
            (diagonal,),
            1,
            key=jax.random.key(1),
            start=start,
        )

    start = solve(np.eye(SIZE, dtype=np.float32)[0])
    diagonal = np.linspace(0, 1, SIZE, dtype=np.float32) ** 4 * 2.0**60
    found = solve(diagonal, start)
    assert found.converged.all()
    np.testing.assert_allclose(found.values, diagonal.max(), rtol=1e-3)


@pytest.mark.parametrize("dtype", EXPONENTS)
@settings(deadline=None, max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_densities_at_any_scale(dtype, data, seed):
    exponent = data.draw(EXPONENTS[dtype])
    matrix, truth = held(random_symmetric(seed), exponent, dtype)
    try:
        with in_type(dtype):
            key = jax.random.key(seed)
            found = spectral_density(quadratic, jnp.zeros(SIZE, dtype), (matrix,), 2, SIZE, key=key)
            probes = [
                np.asarray(jax.random.normal(one, (SIZE,), dtype), np.float64)
                for one in jax.random.split(key, 2)
            ]
    except FloatingPointError as error:
        assert "too small for" in str(error) and exponent < NORMAL[dtype][0] + 40
        return
    vectors = np.array([probe / np.linalg.norm(probe) for probe in probes])
    first = np.einsum("pi,ij,pj->p", vectors, truth, vectors).mean()
    second = np.mean(np.sum((vectors @ truth) ** 2, axis=1))
    assert np.ldexp(found.mean.value, -exponent) == pytest.approx(first, abs=1e-5)
    with np.errstate(over="ignore"):
        expected = np.ldexp(second, 2 * exponent)
    tiny = np.finfo(np.float64).tiny
    assert found.mean_square.value == pytest.approx(expected, rel=1e-4, abs=tiny)
    ends = np.ldexp(np.array([np.nanmin(found.nodes), np.nanmax(found.nodes)]), -exponent)
    np.testing.assert_allclose(ends, np.linalg.eigvalsh(truth)[[0, -1]], atol=1e-4)


@pytest.mark.parametrize("dtype", EXPONENTS)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_norms_directions_cosines_and_displacements_at_any_scale(dtype, data, seed):
    exponent = data.draw(EXPONENTS[dtype])
    random = np.random.default_rng(seed)
    numbers, truth = held(random.normal(size=50), exponent, dtype)
    direction, exact = held(random.normal(size=50) / 8, 0, dtype)
    tree = {"first": numbers[:20].reshape(4, 5), "second": numbers[20:]}
    other = {"first": direction[:20].reshape(4, 5), "second": direction[20:]}
    # What XLA takes for zero, in units of the numbers.
    lost = np.ldexp(1.0, NORMAL[dtype][0] - exponent) if exponent < NORMAL[dtype][0] + 30 else 0
    length = np.linalg.norm(truth)
    with in_type(dtype):
        found = float(np.ldexp(np.float64(norm_of(tree)), -exponent))
        unit = np.asarray(scaling.unit(jnp.asarray(numbers)), np.float64)
        cosine = float(alignment(tree, other))
        displaced = sam().perturb(jax.tree.map(jnp.asarray, tree), jnp.asarray(0.5, dtype), 0.0)
        displaced = np.asarray(jax.flatten_util.ravel_pytree(displaced)[0], np.float64)
    assert found == pytest.approx(length, rel=1e-5, abs=10 * lost)
    if lost < 1e-6:
        if exponent < NORMAL[dtype][1] - 10:
            np.testing.assert_allclose(unit, truth / length, atol=1e-5)
        assert cosine == pytest.approx(abs(truth @ exact) / length, abs=1e-5)
        np.testing.assert_allclose(displaced, 0.5 * truth / length, atol=1e-5)


@pytest.mark.parametrize("dtype", EXPONENTS)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_sam_gradients_at_any_scale(dtype, data, seed):
    low, high = NORMAL[dtype]
    exponent = data.draw(st.integers(low + 30, high - 8))
    random = np.random.default_rng(seed)
    point, truth = held(random.normal(size=SIZE), exponent, dtype)
    matrix = random_symmetric(seed).astype(dtype)
    with in_type(dtype):
        rho = np.ldexp(np.ones((), dtype), exponent)
        both = sam_gradient(quadratic, jnp.asarray(point), (matrix,), rho, 0.0)
    gradient, ascended = (np.ldexp(np.asarray(x, np.float64), -exponent) for x in both)
    exact = np.float64(matrix) @ truth
    np.testing.assert_allclose(gradient, exact, atol=1e-5)
    uphill = truth + exact / np.linalg.norm(exact)
    np.testing.assert_allclose(ascended, np.float64(matrix) @ uphill, atol=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_sam_gradient_of_a_small_or_large_loss_is_not_the_plain_one(size):
    point, matrix = jnp.ones(SIZE, jnp.float32), random_symmetric(0)
    gradient, ascended = sam_gradient(
        quadratic, point, ((matrix * size).astype(np.float32),), 0.5, 0.0
    )
    exact = matrix.sum(axis=1)
    expected = matrix @ (1 + 0.5 * exact / np.linalg.norm(exact))
    np.testing.assert_allclose(np.float64(gradient) / size, exact, atol=1e-6)
    np.testing.assert_allclose(np.float64(ascended) / size, expected, atol=1e-6)


def test_a_gradient_of_zero_displaces_nothing_whatever_epsilon():
    zero = {"w": jnp.zeros(3, jnp.float32)}
    for epsilon in (0.0, 1e-5):
        displaced = sam().perturb(zero, jnp.float32(0.1), epsilon)
        np.testing.assert_array_equal(displaced["w"], 0)


def scaled_loss(params, inputs, targets, scale):
    return scale * line_loss(params, inputs, targets)


@functools.cache
def trained(exponent):
    """Return the checks of a run with its loss times ``2**exponent``, its eta divided by that."""
    line = Line()
    problem = Problem(
        init=lambda key: jax.tree.map(jnp.copy, line.start),
        loss=scaled_loss,
        train=(line.inputs, line.targets, jnp.float32(2.0**exponent)),
        test=lambda params: 0.0,
        metric="test_error",
    )
    run = run_settings(
        eta=repr(float(0.0625 * 2.0**-exponent)),
        update=UpdateSettings("sam", 0.0),
        budget=BudgetSettings(4, None),
        checks=CheckSettings("even", 3, None),
    )
    records, outcome = training.train(run, problem, lambda text: None)
    assert outcome.status == "completed"
    return records


@settings(deadline=None, max_examples=12)
@given(exponent=st.integers(-110, 110))
def test_a_run_at_any_scale(exponent):
    """All that a check measures is multiplied by the power of two, but for what has no unit."""
    assert len(trained(exponent)) == len(trained(0)) == 3
    for check, plain in zip(trained(exponent), trained(0), strict=True):
        for name in ("training_loss", "gradient_norm", "sam_gradient_norm"):
            assert np.ldexp(check[name], -exponent) == pytest.approx(plain[name], rel=1e-5), name
        np.testing.assert_allclose(
            np.ldexp(check["eigenvalue"], -exponent), plain["eigenvalue"], rtol=1e-3
        )
        for name in ("gradient_alignment", "sam_gradient_alignment"):
            assert check[name] == pytest.approx(plain[name], abs=1e-3), name
        assert check["eigenvalue_converged"].all()


@pytest.mark.parametrize("number", [0.0, 1e-20, 3.0, 1e20])
def test_the_norm_of_one_number_is_its_magnitude(number):
    """Compiled too: XLA would square the factor that keeps a square within the range."""
    found = jax.jit(scaling.norm)(jnp.full(1, -number, jnp.float32))
    assert float(found) == pytest.approx(number, rel=1e-6)


def sequence_of(diagonal, couplings):
    sequence = certificate.Sequence(SIZE)
    beside = np.diag(couplings[:-1], 1)
    sequence.take(np.diag(diagonal) + beside + beside.T, couplings[-1])
    return sequence


@pytest.mark.parametrize("exponent", [-1000, -100, 0, 100, 1000])
def test_a_certificate_has_no_unit(exponent):
    random = np.random.default_rng(0)
    diagonal, couplings = random.uniform(-0.5, 0.5, 10), random.uniform(0.1, 0.5, 10)
    plain = sequence_of(diagonal, couplings)
    scaled = sequence_of(np.ldexp(diagonal, exponent), np.ldexp(couplings, exponent))
    chance = plain.miss_probability(1.1)
    assert scaled.miss_probability(np.ldexp(1.1, exponent)) == chance < 1
    scaled.multiply(-exponent)
    assert scaled.miss_probability(1.1) == chance


def test_a_certificate_of_nothing_known_is_none():
    sequence = sequence_of(np.array([0.1, 0.2]), np.array([0.1, np.nan]))
    assert sequence.miss_probability(1.0) == 1
    tiny = np.full(60, 1e-9)
    assert 0 <= sequence_of(tiny, tiny).miss_probability(1.0) < 1e-30


@pytest.mark.parametrize("exponent", [-400, -200, 0, 200, 400])
def test_moments_have_their_unit(exponent):
    nodes = np.array([[-1.0, 2.0, 3.0], [0.5, 1.0, np.nan]])
    weights = np.array([[0.25, 0.5, 0.25], [0.5, 0.5, np.nan]])
    for order in (1, 2):
        plain = moment(nodes, weights, order)
        found = moment(np.ldexp(nodes, exponent), weights, order)
        for one, other in zip(found, plain, strict=True):
            assert one == np.ldexp(other, order * exponent)


@pytest.mark.parametrize("exponent", [-700, -300, 0, 300, 700])
def test_the_audit_judges_products_at_any_scale(exponent):
    class Point:
        loss, params, batch, rho = None, None, None, jnp.float32(0)

        class settings:  # noqa: N801
            microbatch = None

    vector = jnp.ones(4, jnp.float32) / 2
    product = np.ldexp(np.array([1.0, 2.0, 3.0, 4.0]), exponent)
    with jax.enable_x64(True):  # as an audit requires
        value, residual = float64._Point.rayleigh(Point(), lambda *arguments: product, vector)
    assert np.ldexp(value, -exponent) == pytest.approx(5.0)
    assert np.ldexp(residual, -exponent) == pytest.approx(np.sqrt(5))


def test_a_sam_gradient_compiles_once():
    points, matrix = np.ones((2, SIZE), np.float32), random_symmetric(0).astype(np.float32)
    sam_gradient(quadratic, points[0], (matrix,), 0.5)
    programs = count_programs()
    sam_gradient(quadratic, points[1], (matrix,), 0.25)
    assert programs.needed == 0
