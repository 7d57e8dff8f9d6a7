"""Every peer of the benchmarks finds the top of a known spectrum, and counts what it spends."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

from benchmarks import peers, tuning
from benchmarks.peers import error
from benchmarks.problems import ROWS, CountedProducts, Point, float64_top
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.tasks.model import MODELS

SIZE = 60
# Top three by magnitude: 5, -4.5, 4; then a bulk below 1.
SPECTRUM = np.concatenate([[5.0, -4.5, 4.0], np.linspace(-1, 1, SIZE - 3)])
TRUTH = np.array([5.0, -4.5, 4.0])


@pytest.fixture(scope="module")
def point() -> Point:
    """Return a quadratic of known spectrum, with a sum over two examples as its data."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((SIZE, SIZE)))
    matrix = jnp.asarray(basis @ np.diag(SPECTRUM) @ basis.T, jnp.float32)

    def loss(params, halves):
        flat = jnp.concatenate([params["a"], params["b"]])
        return jnp.mean(jax.vmap(lambda half: 0.5 * flat @ half @ flat)(halves))

    params = {"a": jnp.ones(20), "b": jnp.ones(SIZE - 20)}
    data = (jnp.stack([matrix, matrix]),)
    return Point(loss, params, data, params, data, None)


def start(repetition: int) -> np.ndarray:
    return np.random.default_rng(repetition).standard_normal(SIZE, dtype=np.float32)


@pytest.mark.parametrize("microbatch", [None, 1])
def test_products_for_outside_solvers_are_the_hessian(point, microbatch):
    point = dataclasses.replace(point, microbatch=microbatch)
    product = peers.exact_products(point)
    columns = np.stack([np.asarray(product(row)) for row in np.eye(SIZE, dtype=np.float32)])
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(columns)), np.sort(SPECTRUM), atol=1e-5)


def test_the_float64_truth_is_that_of_the_spectrum(point):
    values, products = float64_top(point, 3)
    assert products > 3
    # The matrix itself is rounded to float32.
    np.testing.assert_allclose(values, TRUTH, rtol=1e-6)


def test_eigsh_finds_the_top_and_counts_its_products(point):
    default = peers.scipy_eigsh(point, start, 1e-3, None)(1)
    assert error(default.values, TRUTH) < 1e-3
    assert default.products >= 20  # its default basis, which it fills before it looks


def test_a_smaller_basis_takes_other_products(point):
    assert peers.scipy_eigsh(point, start, 1e-3, 8)(1).products < 60


def test_counted_products_count():
    operator = CountedProducts(np.diag([1.0, 2.0]).__matmul__, 2, np.float64)
    np.testing.assert_array_equal(operator @ np.array([1.0, 1.0]), [1.0, 2.0])
    assert operator.products == 1


def test_errors_are_relative_to_each_eigenvalue():
    assert error(np.array([2.0, -1.1]), np.array([2.0, -1.0])) == pytest.approx(0.1)
    np.testing.assert_array_equal(peers.by_magnitude(np.array([1, -3, 2])), [-3.0, 2.0, 1.0])


def projections(point: Point, depth: int) -> list[np.ndarray]:
    """Return Lanczos' tridiagonal matrices with coupling rows, by QR of the Krylov space."""
    matrix = np.asarray(point.data[0][0], np.float64)
    found = []
    for repetition in (0, 1):
        basis = np.zeros((depth + 1, SIZE))
        vector = start(repetition).astype(np.float64)
        basis[0] = vector / np.linalg.norm(vector)
        for step in range(depth):
            rest = matrix @ basis[step]
            for _ in range(2):
                rest -= basis[: step + 1].T @ (basis[: step + 1] @ rest)
            basis[step + 1] = rest / np.linalg.norm(rest)
        found.append(basis @ matrix @ basis[:depth].T)
    return found


def test_the_least_depth_is_where_the_truth_is_first_reached_from_every_start(point):
    found = projections(point, 40)
    depth = tuning.least_depth(found, TRUTH, within_tolerance=False)
    certified = tuning.least_depth(found, TRUTH, within_tolerance=True)

    def errors(depth):
        ritz = [np.linalg.eigvalsh(matrix[:depth, :depth]) for matrix in found]
        return [error(peers.by_magnitude(values)[:3], TRUTH) for values in ritz]

    assert max(errors(depth)) <= 1e-3 < max(errors(depth - 1))
    assert depth < certified < 40
    assert tuning.least_depth(found, np.array([5.0, 4.9, 4.8]), within_tolerance=False) is None


def test_eigsh_is_tuned_on_projections_as_it_runs_on_the_hessian(point):
    setting = tuning.best_arpack(projections(point, 50), TRUTH)
    solve = peers.scipy_eigsh(point, start, setting.tol, setting.ncv)
    answers = [solve(0), solve(1)]
    assert max(answer.products for answer in answers) == setting.products
    assert all(error(answer.values, TRUTH) <= 1e-3 for answer in answers)


def test_lobpcg_finds_the_algebraic_top(point):
    def block(repetition):
        return np.random.default_rng(repetition).normal(size=(SIZE, 3)).astype(np.float32)

    answer = peers.scipy_lobpcg(point, block, 1e-3 * TRUTH[0])(0)
    assert error(answer.values, np.array([5.0, 4.0, 1.0])) < 1e-3
    assert answer.products > 9


def test_matfree_finds_the_top_at_the_depth_given(point):
    pytest.importorskip("matfree", reason="matfree is in the benchmarks' environment only")
    answer = peers.matfree_lanczos(point, start, 30)(0)
    assert answer.products == 30
    assert error(answer.values, TRUTH) < 1e-3
    np.testing.assert_allclose(
        np.abs(peers.matfree_tridiagonal(point, start(0), 12)),
        np.abs(projections(point, 12)[0]),
        atol=1e-4,
    )


@pytest.mark.parametrize("previous", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize(("ends", "overlook"), [(False, 1.0), (False, 1e-3), (True, 1e-3)])
def test_our_solver_finds_the_top(point, ends, overlook, previous):
    before = peers.own_previous(point, ends) if previous else None
    answer = peers.own(point, ends, before, overlook)(0)
    assert error(answer.values, TRUTH) < 1e-3
    assert answer.products >= 3


NETWORKS = {
    "mlp": ("mnist_sam_100", {"depth": 3, "width": 6}, (5, 4, 4, 1)),
    "cnn": ("cifar10_sam_100", {"blocks": 2, "channels": 4}, (5, 8, 8, 3)),
    "transformer": (
        "transformer_sam_20",
        {
            "layers": 2,
            "heads": 2,
            "key_size": 4,
            "model_size": 8,
            "sequence_length": 6,
            "widening_factor": 2,
        },
        (5, 6),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_in_pytorch_have_the_same_loss_and_hessian(name):
    torch = pytest.importorskip("torch", reason="PyTorch is in the benchmarks' environment only")
    pytest.importorskip("hessian_eigenthings", reason="in the benchmarks' environment only")
    from benchmarks import torch_peer
    from samedge.tasks.loss import LOSSES

    torch.set_num_threads(1)  # more only wait for each other on problems this small
    row, settings, shape = NETWORKS[name]
    run = ROWS[row].settings()
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, settings=settings))
    outputs = 128 if name == "transformer" else 10
    model = MODELS[name](outputs, **settings)
    key = jax.random.key(0)
    if name == "transformer":
        inputs, targets = (jax.random.randint(k, shape, 0, 128) for k in jax.random.split(key))
    else:
        inputs = jax.random.normal(key, shape)
        targets = jax.nn.one_hot(jnp.arange(shape[0]), outputs)
    params = model.init(key, inputs)
    # Away from zero biases, where signs and orders could hide.
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(key, x.shape), params)

    def loss(params, inputs, targets):
        return LOSSES[run.loss.name](model.apply(params, inputs), targets)

    data = (inputs, targets)
    point = Point(loss, params, data, params, data, None)
    operator = torch_peer.torch_operator(run, point)
    found = torch_peer.differences(operator, point)  # raises where they differ
    assert found.keys() == {"loss", "product"}

    # As somebody with a loop in PyTorch brings it: its own products, by differentiating twice.
    twin = copy.deepcopy(operator.model).double()
    [batch] = operator.dataloader
    batch = tuple(x.double() if x.is_floating_point() else x for x in batch)
    weights = [*twin.parameters()]
    gradients = torch.autograd.grad(operator.loss_fn(twin, batch), weights, create_graph=True)
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])

    def product(vector):
        along = flat @ torch.from_numpy(np.array(vector, np.float64))
        made = torch.autograd.grad(along, weights, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in made]).numpy()

    linear = LinearOperator(2 * flat.shape, matvec=product, dtype=np.float64)
    with jax.enable_x64(True):
        top = top_eigenpairs(linear, k=3, tolerance=1e-6, key=jax.random.key(1))
    truth, _ = float64_top(point, 3)
    assert top.converged.all() and top.overlooked <= 1e-3
    np.testing.assert_allclose(top.values, truth, rtol=1e-8)

    answer = torch_peer.torch_lanczos(operator, 40)(0)
    assert answer.products == 40
    assert error(answer.values, truth) < 1e-3
    if name == "mlp":
        assert torch_peer.torch_power_iteration(operator)(0).products <= 300
