"""A training loop in PyTorch, measured by the same monitor: right, recorded, and shown."""

import jax
import numpy as np
import pytest

import samedge
from samedge.explorer.page import page
from samedge.records import files

torch = pytest.importorskip("torch", reason="PyTorch is in the benchmarks' environment only")

# Of PyTorch, about itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

ETA, RHO = 0.1, 0.05


@pytest.fixture
def loop():
    """A network, its data, and the loss that the monitor takes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    inputs, targets = torch.randn(16, 3), torch.randn(16, 2)
    names, shapes = zip(*((name, p.shape) for name, p in network.named_parameters()), strict=True)
    sizes = [shape.numel() for shape in shapes]

    def parameters(vector):
        pieces = vector.split(sizes)
        return {n: p.view(s) for n, p, s in zip(names, pieces, shapes, strict=True)}

    def loss(vector, inputs, targets):
        outputs = torch.func.functional_call(network, parameters(vector), (inputs,))
        return torch.nn.functional.mse_loss(outputs, targets)

    def differentiated(vector, *batch):
        point = torch.from_numpy(vector).requires_grad_()
        value = loss(point, *batch)
        return point, value, *torch.autograd.grad(value, point, create_graph=True)

    def value_and_gradient(vector, *batch):
        _, value, gradient = differentiated(vector, *batch)
        return value.item(), gradient.detach().numpy()

    def product(vector, inputs, targets, direction):
        point, _, gradient = differentiated(vector, inputs, targets)
        return torch.autograd.grad(gradient, point, torch.from_numpy(direction))[0].numpy()

    return network, (inputs, targets), loss, samedge.HostLoss(value_and_gradient, product)


def flat(network):
    return torch.cat([p.detach().reshape(-1) for p in network.parameters()])


def dense_hessian(loss, network, batch):
    of = torch.autograd.functional.hessian
    return of(lambda vector: loss(vector, *batch), flat(network)).numpy()


def test_it_gives_the_eigenvalues_of_a_dense_hessian(loop, tmp_path):
    network, batch, loss, hosted = loop
    optimizer = torch.optim.SGD(network.parameters(), lr=ETA)
    monitor = samedge.Monitor(hosted, every=4, k=2, file=tmp_path / "own.nc", name="torch")
    found = []
    for step in range(9):
        values = monitor(step, flat(network).numpy(), batch, eta=ETA, rho=RHO)
        if values:
            found.append(step)
            dense = dense_hessian(loss, network, batch)
            exact = sorted(np.linalg.eigvalsh(dense), key=abs, reverse=True)[:2]
            np.testing.assert_allclose(
                [values["eigenvalue_1"], values["eigenvalue_2"]], exact, atol=2e-3 * abs(exact[0])
            )
            _, slope = hosted.value_and_gradient(flat(network).numpy(), *batch)
            assert values["gradient_norm"] == pytest.approx(np.linalg.norm(slope), rel=1e-4)
            assert values["converged"] == 1.0
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(batch[0]), batch[1]).backward()
        optimizer.step()
    assert found == [0, 4, 8]
    run = files.read_run(tmp_path / "own.nc")
    assert run["step"].values.ravel().tolist() == found
    assert "torch" in page([run])


def test_its_density_has_the_trace_of_the_dense_hessian(loop):
    network, batch, loss, hosted = loop
    dense = dense_hessian(loss, network, batch)
    density = samedge.spectral_density(
        hosted, flat(network).numpy(), batch, 20, 20, key=jax.random.key(0)
    )
    mean = np.trace(dense) / len(dense)
    assert abs(density.mean.value - mean) <= 5 * density.mean.error
