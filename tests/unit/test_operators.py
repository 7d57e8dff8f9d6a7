"""Operators other than the Hessian of a loss: against dense matrices, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from samedge.curvature.density import spectral_density
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.curvature.krylov import hessian as hessians
from samedge.curvature.operators import operator as operators
from samedge.curvature.operators.blocks import block, hessian_block, layers, parameter_names
from samedge.curvature.operators.made import congruent, gauss_newton
from samedge.curvature.operators.operator import Operator
from samedge.curvature.products import hessian_map

pytestmark = pytest.mark.usefixtures("strict_jax")

KEY = jax.random.key(0)
SIZE = 60
TIGHT = {"tolerance": 1e-4, "key": KEY}


def symmetric(size=SIZE, scale=1.0, seed=0):
    """Return a symmetric matrix with a few eigenvalues that stand out, of both signs."""
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(size, size)))
    values = np.concatenate([[7.0, -5.0, 4.0], random.uniform(-1, 1, size - 3)])
    return scale * (rotation * values) @ rotation.T


def by_magnitude(matrix, k=3):
    values = np.linalg.eigvalsh(matrix)
    return values[np.argsort(-np.abs(values))][:k]


def multiplied(matrix, vector):
    return matrix @ vector


MATRIX = symmetric()
FORMS = {
    "flat": lambda matrix: Operator(multiplied, len(matrix), jnp.asarray(matrix, jnp.float32)),
    "host": lambda matrix: Operator(lambda vector: matrix @ vector, len(matrix), on_host=True),
    "scipy": aslinearoperator,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1.0, 1e-28, 1e28])
def test_an_operators_eigenpairs_are_those_of_its_matrix_at_any_scale(form, scale):
    top = top_eigenpairs(FORMS[form](MATRIX * scale), k=3, **TIGHT)
    assert top.converged.all() and top.overlooked <= 1e-3
    np.testing.assert_allclose(top.values, by_magnitude(MATRIX) * scale, rtol=1e-5)
    ends = np.linalg.eigvalsh(MATRIX)[[0, -1]] * scale
    np.testing.assert_allclose([top.smallest, top.largest], ends, rtol=1e-2)
    assert top.smallest_bound <= ends[0] * (1 - 1e-6) and top.largest_bound >= ends[1] * (1 - 1e-6)
    for value, vector in zip(top.values, top.vectors, strict=True):
        residual = np.linalg.norm(MATRIX @ np.asarray(vector) - value / scale * np.asarray(vector))
        assert residual < 2e-4 * 7


@pytest.mark.parametrize("form", FORMS)
def test_an_operators_density_has_the_moments_of_its_matrix(form):
    density = spectral_density(FORMS[form](MATRIX), probes=200, steps=20, key=KEY)
    for found, expected in (
        (density.mean, np.trace(MATRIX) / SIZE),
        (density.mean_square, np.trace(MATRIX @ MATRIX) / SIZE),
    ):
        assert abs(found.value - expected) < 4 * found.error


def test_an_operator_acts_on_pytrees_and_its_vectors_are_such():
    like = {"a": jnp.zeros((4, 5), jnp.float32), "b": jnp.zeros(40, jnp.float32)}
    matrix = jnp.asarray(MATRIX, jnp.float32)

    def function(tree):
        flat, unravel = ravel_pytree(tree)
        return unravel(matrix @ flat)

    top = top_eigenpairs(Operator(function, like), k=2, **TIGHT)
    np.testing.assert_allclose(top.values, by_magnitude(MATRIX, 2), rtol=1e-5)
    assert jax.tree.map(jnp.shape, top.vectors[0]) == {"a": (4, 5), "b": (40,)}


def test_a_linear_operator_of_float64_is_measured_in_it_where_jax_has_it():
    with jax.enable_x64(True):
        top = top_eigenpairs(aslinearoperator(MATRIX), k=3, tolerance=1e-9, key=jax.random.key(0))
        assert top.vectors[0].dtype == np.float64
        np.testing.assert_allclose(top.values, by_magnitude(MATRIX), rtol=1e-12)


def test_a_warm_start_goes_on_from_another_operator():
    first = top_eigenpairs(FORMS["flat"](MATRIX), k=3, overlook=1.0, ends=False, **TIGHT)
    near = FORMS["flat"](MATRIX + 1e-3 * symmetric(seed=1))
    cold = top_eigenpairs(near, k=3, overlook=1.0, ends=False, **TIGHT)
    warm = top_eigenpairs(near, k=3, overlook=1.0, ends=False, start=first, **TIGHT)
    assert warm.converged.all() and warm.hvp_count < cold.hvp_count
    np.testing.assert_allclose(warm.values, cold.values, rtol=1e-5)


def test_what_an_operator_is_given_changes_without_compiling_anew():
    top_eigenpairs(FORMS["flat"](MATRIX), k=3, **TIGHT)
    compiled = hessians._product._cache_size()
    top = top_eigenpairs(FORMS["flat"](2 * MATRIX), k=3, **TIGHT)
    assert hessians._product._cache_size() == compiled
    np.testing.assert_allclose(top.values, 2 * by_magnitude(MATRIX), rtol=1e-5)


# A small network, in float64 where it is held against its dense matrices.
INPUTS = np.random.default_rng(2).normal(size=(9, 4))
TARGETS = np.random.default_rng(3).normal(size=(9, 2))


def outputs(params, inputs):
    hidden = jnp.tanh(inputs @ params["first"]["w"] + params["first"]["b"])
    return hidden @ params["last"]["w"]


def squares(made, targets):
    return jnp.mean(jnp.square(made - targets))


def loss(params, inputs, targets):
    return squares(outputs(params, inputs), targets)


def network():
    random = np.random.default_rng(4)
    return {
        "first": {
            "b": jnp.asarray(random.normal(size=5)),
            "w": jnp.asarray(random.normal(size=(4, 5))),
        },
        "last": {"w": jnp.asarray(random.normal(size=(5, 2)))},
    }


def dense(function, params):
    """Return the dense matrix of a map of pytrees like the parameters."""
    flat, unravel = ravel_pytree(params)
    columns = [ravel_pytree(function(unravel(row)))[0] for row in np.eye(flat.size)]
    return np.array(columns)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def require_top_of(matrix, operator, *arguments):
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    top = top_eigenpairs(operator, *arguments, k=3, tolerance=1e-8, key=jax.random.key(0))
    assert top.converged.all() and top.overlooked <= 1e-3
    np.testing.assert_allclose(top.values, by_magnitude(matrix), rtol=1e-10)


def test_the_gauss_newton_matrix(double):
    params = network()
    flat, unravel = ravel_pytree(params)
    jacobian = jax.jacobian(lambda x: outputs(unravel(x), INPUTS).ravel())(flat)
    matrix = 2 / TARGETS.size * np.asarray(jacobian.T @ jacobian)
    operator = gauss_newton(outputs, squares, params, (INPUTS,), (TARGETS,))
    require_top_of(matrix, operator)
    top = top_eigenpairs(operator, k=1, tolerance=1e-8, key=jax.random.key(0))
    assert top.smallest > -1e-10
    # One function for one model and loss, so that it is compiled once.
    again = gauss_newton(outputs, squares, params, (INPUTS,), (TARGETS,))
    assert again._map.func is operator._map.func


def test_a_preconditioned_hessian(double):
    params = network()
    data = jnp.asarray(INPUTS), jnp.asarray(TARGETS)
    hessian = jax.jit(hessian_map, static_argnums=0)(loss, params, data)
    random = np.random.default_rng(5)
    diagonal = jax.tree.map(lambda x: jnp.asarray(random.uniform(0.1, 3, x.shape)), params)
    d = np.asarray(ravel_pytree(diagonal)[0])
    matrix = d[:, None] * dense(hessian, params) * d
    require_top_of(matrix, congruent(hessian, params, diagonal))


def require_block_of(matrix, places, operator):
    """Require that an operator has the top of a block, of vectors that are zero elsewhere."""
    top = top_eigenpairs(operator, k=3, tolerance=1e-8, key=KEY)
    assert top.converged.all() and top.overlooked <= 1e-3
    np.testing.assert_allclose(top.values, by_magnitude(matrix), rtol=1e-10)
    for vector in top.vectors:
        flat = np.asarray(ravel_pytree(vector)[0])
        np.testing.assert_allclose(np.delete(flat, places), 0, atol=1e-7)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("last", ["last/w"]),
        (["first", "^last"], ["first/b", "first/w", "last/w"]),
        ("/w$", ["first/w", "last/w"]),
    ],
)
def test_a_block_of_the_hessian(double, names, chosen):
    params = network()
    data = jnp.asarray(INPUTS), jnp.asarray(TARGETS)
    whole = dense(hessian_map(loss, params, data), params)
    restricted, inside, outside = block(loss, params, names)
    assert sorted(inside) == chosen
    assert sorted([*inside, *outside]) == parameter_names(params)
    sizes = {"first/b": 5, "first/w": 20, "last/w": 10}
    places, first = [], 0
    for name, size in sizes.items():
        places += [*range(first, first + size)] if name in chosen else []
        first += size
    matrix = whole[np.ix_(places, places)]
    require_top_of(matrix, restricted, inside, (outside, *data))
    assert block(loss, params, names)[0] is restricted
    # Cut from the Hessian instead, of pieces of the data too.
    for microbatch in (None, 3):
        hessian = jax.jit(hessian_map, static_argnums=(0, 3))(loss, params, data, microbatch)
        require_block_of(matrix, places, hessian_block(hessian, params, names))


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"params": {"a": {"w": 0.0, "b": 0.0}, "b": {"c": {"w": 0.0}}}}, {"a": 2, "b/c": 1}),
        ({"a": {"w": 0.0, "b": 0.0}, "ab": {"w": 0.0}}, {"a": 2, "ab": 1}),
        ({"w": 0.0, "w2": 0.0}, {"w": 1, "w2": 1}),
        # What lies beside layers is one of its own, without what lies in them.
        ({"net": {"token": 0.0, "a": {"w": 0.0}}}, {"net/a": 1, "net": 1}),
        ([0.0, {"w": 0.0}], {"0": 1, "1": 1}),
    ],
)
def test_layers_are_arrays_that_lie_beside_each_other(params, found):
    patterns = layers(params)
    counts = {layer: len(block(loss, params, pattern)[1]) for layer, pattern in patterns.items()}
    assert counts == found
    assert sum(counts.values()) == len(parameter_names(params))


class Rectangular(LinearOperator):
    def __init__(self):
        super().__init__(np.float32, (3, 4))

    def _matvec(self, vector):
        return vector[:3]


def asymmetric(vector):
    return vector + 0.1 * jnp.roll(vector, 1)


@pytest.mark.parametrize(
    ("operator", "complaint"),
    [
        (lambda: Operator(asymmetric, 50), r"not symmetric: u'Av and v'Au .* differ by 0\.\d+ of"),
        (lambda: Operator(jnp.tanh, 50), "not linear: what it makes of a sum"),
        (lambda: Operator(lambda vector: vector + 1, 50), "not linear"),
        (
            lambda: Operator(lambda v: v[:-1], 50),
            r"product is float32\[49\], and its vectors float",
        ),
        (lambda: Operator(lambda v: (v, v), 50), "the operator's product is PyTreeDef"),
        (lambda: Operator(lambda v: v[:-1], 50, on_host=True), r"product is of shape \(49,\), and"),
        (lambda: Operator(3, 50), "a function that multiplies by it, and 3 is none"),
        (lambda: Operator(jnp.negative, 0), "like is 0, and has to be a whole number of at least"),
        (lambda: Operator(jnp.negative, np.zeros(3, int)), "like is int64; parameters are float32"),
        (lambda: Operator(np.negative, {"a": jnp.zeros(3)}, on_host=True), "acts on flat vectors"),
        (lambda: Rectangular(), "has to be square, and this one is 3 × 4"),
    ],
)
def test_what_is_no_symmetric_operator_is_refused(operator, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        top_eigenpairs(operator(), k=1, key=KEY)


def test_what_belongs_to_a_loss_is_refused_with_an_operator():
    operator, params = FORMS["flat"](MATRIX), jnp.zeros(SIZE)
    for arguments in (
        {"params": params},
        {"data": (params,)},
        {"microbatch": 2},
        {"known": jnp.negative},
    ):
        with pytest.raises(TypeError, match="leave out params, data, microbatch and known"):
            top_eigenpairs(operator, **arguments, k=1, key=KEY)
    with pytest.raises(TypeError, match="params are missing"):
        top_eigenpairs(jnp.sum, k=1, key=KEY)


def test_products_that_are_not_finite_are_named():
    operator = Operator(lambda vector: vector * jnp.nan, 50)
    with pytest.raises(FloatingPointError, match="product is not finite"):
        top_eigenpairs(operator, k=1, key=KEY)


def test_an_operator_is_tried_once(monkeypatch):
    asked = []
    operator = Operator(lambda vector: asked.append(1) or 2 * vector, 50, on_host=True)
    operator.require_symmetric()
    assert len(asked) == 2 * operators.PAIRS + 1
    operator.require_symmetric()
    assert len(asked) == 2 * operators.PAIRS + 1


def test_parameters_that_no_name_chooses_are_listed():
    params = {"first": {"w": jnp.zeros(3)}, "last": {"w": jnp.zeros(2)}}
    with pytest.raises(ValueError, match="no parameter has 'lats' in its name; there are first/w"):
        block(loss, params, "lats")
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        block(loss, params, "(")
