"""hessian-eigenthings on the same problems: the same network, parameters and data in PyTorch.

Its products are its own, by PyTorch's double backward. That they are those of the same Hessian is
checked before anything is timed.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from hessian_eigenthings import (
    HessianOperator,
    deflated_power_iteration,
    lanczos,
    supervised_loss,
)

from benchmarks.measuring import timed
from benchmarks.peers import Answer, by_magnitude, exact_products
from benchmarks.problems import PAIRS, Point
from benchmarks.torch_networks import LOSSES, network
from samedge.settings import RunSettings

AGREEMENT = 1e-4  # relative difference of loss and product that rounding may make


def torch_start(size: int, repetition: int) -> np.ndarray:
    """Return the start vector that hessian-eigenthings makes of the seed ``repetition``."""
    generator = torch.Generator().manual_seed(repetition)
    return torch.randn(size, generator=generator).numpy()


class CountingOperator(HessianOperator):
    """The library's operator, which also counts its products."""

    products = 0

    def matvec(self, v: torch.Tensor) -> torch.Tensor:  # noqa: D102
        self.products += 1
        return super().matvec(v)


def torch_operator(settings: RunSettings, point: Point) -> CountingOperator:
    """Return the Hessian at a point as the library's operator, in its fastest form.

    Microbatches are taken if the run has them and a product is faster so.
    """
    model = network(settings.model, point.params)
    batch = tuple(_tensor(x) for x in point.data)
    loss = supervised_loss(LOSSES[settings.loss.name])
    sizes = {None, point.microbatch}
    operators = [CountingOperator(model, [batch], loss, microbatch_size=size) for size in sizes]
    return min(operators, key=_product_seconds)


def differences(operator: CountingOperator, point: Point) -> dict[str, float]:
    """Return the relative differences of loss and product from those in JAX.

    Raises
    ------
    RuntimeError
        If they are more than rounding explains, so that the problems are not the same.
    """
    (batch,) = operator.dataloader
    with torch.no_grad():
        loss = float(operator.loss_fn(operator.model, batch))
    ours = float(jax.jit(point.loss)(point.params, *point.data))
    vector = torch_start(operator.size, 0)
    product = operator.matvec(torch.from_numpy(vector)).numpy()
    expected = np.asarray(exact_products(point)(vector))
    found = {
        "loss": abs(loss - ours) / abs(ours),
        "product": float(np.linalg.norm(product - expected) / np.linalg.norm(expected)),
    }
    if not max(found.values()) <= AGREEMENT:
        raise RuntimeError(f"PyTorch and JAX disagree on the problem: {found}")
    return found


def torch_lanczos(operator: CountingOperator, depth: int) -> Callable[[int], Answer]:
    """Measure by the library's Lanczos with full reorthogonalisation, from a random vector."""

    def call(repetition: int) -> Any:
        return lanczos(
            operator, k=PAIRS, max_iter=depth, tol=1e-3, reorthogonalize=True, seed=repetition
        )

    return _counted(operator, call)


def torch_power_iteration(operator: CountingOperator) -> Callable[[int], Answer]:
    """Measure by the library's deflated power iteration, at its default cap of 100 a pair."""
    return _counted(
        operator,
        lambda repetition: deflated_power_iteration(
            operator, k=PAIRS, max_iter=100, tol=1e-3, seed=repetition
        ),
    )


def _counted(operator: CountingOperator, call: Callable[[int], Any]) -> Callable[[int], Answer]:
    def solve(repetition: int) -> Answer:
        before = operator.products
        values = call(repetition).eigenvalues
        return Answer(by_magnitude(values.numpy()), operator.products - before)

    return solve


def _product_seconds(operator: CountingOperator) -> float:
    vector = torch.from_numpy(torch_start(operator.size, 0))
    operator.matvec(vector)
    return timed(operator.matvec, vector).seconds


def _tensor(x: jax.Array) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(x))
    return tensor if tensor.is_floating_point() else tensor.long()
