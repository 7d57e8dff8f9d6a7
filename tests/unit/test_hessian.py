"""Curvature against dense linear algebra in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.curvature import eigenpairs
from samedge.curvature.krylov import rows, solver
from samedge.curvature.microbatches import mean_over_microbatches
from samedge.tasks.loss import LOSSES
from samedge.tasks.model import MODELS

pytestmark = pytest.mark.usefixtures("strict_jax")

SIZE = 200
TOLERANCE = 1e-3


def bulk(low, high):
    return list(np.linspace(low, high, SIZE))


# The wanted eigenvalues first; the rest of the spectrum fills up to SIZE.
SPECTRA = {
    "well separated": [10.0, 5.0, 2.5, *bulk(-0.1, 0.5)],
    "cluster with gaps of 1e-3": [1.0, 0.999, 0.998, 0.997, *bulk(-0.2, 0.5)],
    "cluster just above the bulk": [1.0, 0.999, 0.998, *bulk(0.0, 0.95)],
    "triple": [1.0, 1.0, 1.0, *bulk(0.0, 0.6)],
    "double under the top": [2.0, 1.0, 1.0, *bulk(-0.3, 0.4)],
    "double at both ends": [1.0, 1.0, -1.0, -1.0, *bulk(-0.5, 0.5)],
    "dominant negative end": [-923.0, 313.0, -250.0, *bulk(-20.0, 40.0)],
    "only negative": [-3.0, -2.0, -1.0, *bulk(-0.5, 0.0)],
    "rank 2": [3.0, -1.0, *([0.0] * SIZE)],
    "rank 1": [5.0, *([0.0] * SIZE)],
    "identity": [1.0] * SIZE,
    "zero": [0.0] * SIZE,
    "tiny scale": [1e-6, 5e-7, 2e-7, *bulk(-1e-8, 5e-8)],
    "huge scale": [1e7, 5e6, -2e6, *bulk(-1e5, 5e5)],
}


def quadratic(point, matrix):
    return 0.5 * point @ (matrix @ point)


def with_spectrum(eigenvalues, seed=0):
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))[0]
    matrix = (rotation * np.asarray(eigenvalues[:SIZE])) @ rotation.T
    return np.asarray((matrix + matrix.T) / 2, np.float32)


def dense_top(matrix, k):
    values = np.linalg.eigvalsh(np.asarray(matrix, np.float64))
    return values[np.argsort(-np.abs(values), kind="stable")][:k], values[0], values[-1]


def solve(matrix, k=3, seed=1, **options):
    point = jnp.zeros(SIZE, jnp.float32)
    return eigenpairs.top_eigenpairs(
        quadratic,
        point,
        (jnp.asarray(matrix),),
        k,
        TOLERANCE,
        key=jax.random.key(seed),
        **options,
    )


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_dense_eigh(name, seed):
    matrix = with_spectrum(SPECTRA[name], seed)
    expected, smallest, largest = dense_top(matrix, 3)
    norm = abs(expected[0])
    top = solve(matrix, seed=seed + 10)
    assert top.converged.all()
    assert top.hvp_count <= 300
    # By magnitude: where two of opposite sign are equally large, either may come first.
    np.testing.assert_allclose(np.abs(top.values), np.abs(expected), atol=TOLERANCE * norm)
    assert top.smallest == pytest.approx(smallest, abs=2e-2 * norm + 1e-12)
    assert top.largest == pytest.approx(largest, abs=2e-2 * norm + 1e-12)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("k", [1, 3])
def test_both_ends_are_found_where_residuals_alone_decide(name, k):
    """Of what makes place before the ends are looked for, nothing may be left but wanted pairs."""
    matrix = with_spectrum(SPECTRA[name])
    [norm, *_], smallest, largest = dense_top(matrix, 3)
    top = solve(matrix, k, overlook=1, ends=0.005)
    assert top.smallest == pytest.approx(smallest, abs=0.005 * abs(norm) + 1e-12)
    assert top.largest == pytest.approx(largest, abs=0.005 * abs(norm) + 1e-12)


def test_no_cap_on_products_costs_an_end_that_was_seen():
    matrix = with_spectrum(np.linspace(-1, 4, SIZE))
    for cap in range(4, 60):
        assert solve(matrix, 1, max_products=cap).smallest < 0


@pytest.mark.parametrize("name", SPECTRA)
def test_residual_is_not_understated(name):
    matrix = with_spectrum(SPECTRA[name])
    exact = np.asarray(matrix, np.float64)
    top = solve(matrix)
    rounding = 1e-5 * np.linalg.norm(exact, 2)
    for value, vector, residual in zip(top.values, top.vectors, top.residuals, strict=True):
        vector = np.asarray(vector, np.float64)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        true = np.linalg.norm(exact @ vector - value * vector)
        assert residual >= true - rounding


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    top=st.lists(st.floats(0.7, 1.0), min_size=3, max_size=6),
    signs=st.integers(0, 63),
)
def test_random_clusters(seed, top, signs):
    planted = [value * (-1 if signs >> i & 1 else 1) for i, value in enumerate(top)]
    matrix = with_spectrum([*planted, *bulk(-0.3, 0.5)], seed)
    expected, _, _ = dense_top(matrix, 3)
    found = solve(matrix, seed=seed % 1000)
    assert found.converged.all()
    np.testing.assert_allclose(np.abs(found.values), np.abs(expected), atol=TOLERANCE)


def test_cap_on_products_is_kept_and_flagged():
    matrix = with_spectrum(SPECTRA["cluster just above the bulk"])
    top = solve(matrix, max_products=12)
    assert top.hvp_count <= 12
    assert not top.converged.any()


def test_same_key_same_numbers():
    matrix = with_spectrum(SPECTRA["well separated"])
    first, second = solve(matrix), solve(matrix)
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.residuals, second.residuals)


def test_fewer_parameters_than_the_first_basis():
    matrix = jnp.asarray(np.diag([3.0, -2.0, 1.0]), jnp.float32)
    top = eigenpairs.top_eigenpairs(
        quadratic, jnp.zeros(3, jnp.float32), (matrix,), 3, key=jax.random.key(0)
    )
    np.testing.assert_allclose(top.values, [3, -2, 1], rtol=1e-5)
    assert top.converged.all()
    with pytest.raises(ValueError, match="4 eigenpairs of a Hessian of 3 parameters"):
        eigenpairs.top_eigenpairs(
            quadratic, jnp.zeros(3, jnp.float32), (matrix,), 4, key=jax.random.key(0)
        )


def test_a_basis_stays_orthonormal_however_long_it_grows(monkeypatch):
    """Errors of a pass of Gram-Schmidt would grow from step to step if nothing kept them down."""
    matrix = with_spectrum(np.linspace(0.0, 1.0, SIZE))
    solvers = []

    class Kept(solver.Solver):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            solvers.append(self)

    monkeypatch.setattr(eigenpairs, "Solver", Kept)
    top = solve(matrix, max_vectors=120, ends=False)
    [kept] = (solver.basis for solver in solvers)
    assert kept.filled > 40
    vectors, products = (
        np.concatenate([np.asarray(block, np.float64) for block in kind.blocks])[: kept.filled]
        for kind in (kept.vectors, kept.products)
    )
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(kept.filled), atol=2e-6)
    np.testing.assert_allclose(products, vectors @ matrix, atol=2e-6)
    np.testing.assert_allclose(vectors @ products.T, kept.projection, atol=5e-6)
    assert top.converged.all()


def test_not_finite_is_an_error():
    matrix = np.full((SIZE, SIZE), np.nan, np.float32)
    with pytest.raises(FloatingPointError, match="not finite"):
        solve(matrix)


@pytest.fixture(scope="module")
def network():
    """A small network, its loss and data."""
    model = MODELS["mlp"](3, depth=3, width=6)
    key = jax.random.key(3)
    inputs = jax.random.normal(key, (8, 5), jnp.float32)
    targets = jax.nn.one_hot(jnp.arange(8) % 3, 3, dtype=jnp.float32)
    params = jax.jit(model.init)(key, inputs)

    def loss(params, inputs, targets):
        return LOSSES["squared_error"](model.apply(params, inputs), targets)

    return loss, params, (inputs, targets)


def test_products_are_columns_of_the_dense_hessian(network):
    loss, params, data = network
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    dense = jax.jit(jax.hessian(lambda point: loss(unravel(point), *data)))(flat)
    scale = float(jnp.max(jnp.abs(dense)))
    for microbatch in (None, 2):
        vector = jax.random.normal(jax.random.key(5), flat.shape, flat.dtype)
        product = jax.jit(eigenpairs.hessian_vector_product, static_argnums=(0, 4))(
            loss, params, data, unravel(vector), microbatch
        )
        found = jax.flatten_util.ravel_pytree(product)[0]
        np.testing.assert_allclose(found, dense @ vector, atol=1e-4 * scale)
    top = eigenpairs.top_eigenpairs(loss, params, data, 3, key=jax.random.key(2), microbatch=4)
    expected, _smallest, _largest = dense_top(dense, 3)
    np.testing.assert_allclose(top.values, expected, atol=1e-3 * abs(expected[0]))
    assert jax.tree.structure(top.vectors[0]) == jax.tree.structure(params)


def test_microbatches_give_the_same_gradient(network):
    loss, params, data = network

    def gradient(*piece):
        return jax.grad(loss)(params, *piece)

    whole = jax.jit(gradient)(*data)
    pieces = jax.jit(mean_over_microbatches, static_argnums=(0, 2))(gradient, data, 2)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(pieces), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_rows_are_combined_in_pieces_as_they_are_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(11, 103)).astype(np.float32)
    coefficients = rng.normal(size=(9, 5))
    values = rng.normal(size=5).astype(np.float32)
    exact = coefficients.T @ numbers[:9]
    for piece in (1000, 103, 20):
        monkeypatch.setattr(rows, "PIECE", piece)
        vectors, products = (
            rows.Rows(11, jax.ShapeDtypeStruct((103,), np.float32)) for _ in range(2)
        )
        for place, row in enumerate(numbers):
            vectors.put(place, jnp.asarray(row))
            products.put(place, jnp.asarray(2 * row))
        norms = rows.residual_norms(vectors, products, coefficients, values)
        lengths = np.linalg.norm(exact, axis=1)
        np.testing.assert_allclose(norms, np.abs(2 - values) * lengths, rtol=1e-5)
        units = vectors.unit_combinations(coefficients)
        np.testing.assert_allclose(units, exact / lengths[:, None], atol=1e-5)
        vectors.rotate(coefficients)
        found = np.concatenate([np.asarray(block) for block in vectors.blocks])
        np.testing.assert_allclose(found[:5], exact, atol=1e-4)
