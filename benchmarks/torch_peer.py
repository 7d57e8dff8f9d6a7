"""hessian-eigenthings on the same problems: the same network, parameters and data in PyTorch.

Its products are its own, by PyTorch's double backward. That they are those of the same Hessian is
checked before anything is timed.
"""

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from hessian_eigenthings import (
    HessianOperator,
    deflated_power_iteration,
    lanczos,
    supervised_loss,
)

from benchmarks.measuring import timed
from benchmarks.peers import Answer, by_magnitude
from benchmarks.problems import PAIRS, Point, as_float64
from benchmarks.torch_networks import LOSSES, network
from samedge.config.settings import RunSettings
from samedge.curvature.products import hessian_operator

AGREEMENT = 1e-8  # relative difference of loss and product that rounding in float64 may make


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
    """Return the relative differences of loss and product from those in JAX, both in float64.

    In float32 a pre-activation within rounding of zero may fall on either side of its ReLU.

    Raises
    ------
    RuntimeError
        If they are more than rounding explains, so that the problems are not the same.
    """
    vector = torch_start(operator.size, 0)
    loss, product = _in_float64(operator, vector)
    with jax.enable_x64(True):
        params, data = jax.tree.map(as_float64, (point.params, point.data))
        ours = float(jax.jit(point.loss)(params, *data))
        multiply = jax.jit(hessian_operator(point.loss, params, data, point.microbatch))
        expected = np.asarray(multiply(jnp.asarray(vector, jnp.float64)))
    found = {
        "loss": abs(loss - ours) / abs(ours),
        "product": float(np.linalg.norm(product - expected) / np.linalg.norm(expected)),
    }
    if not max(found.values()) <= AGREEMENT:
        raise RuntimeError(f"PyTorch and JAX disagree on the problem: {found}")
    return found


def _in_float64(operator: CountingOperator, vector: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss of an operator's problem, and a product with a vector, in float64."""
    (batch,) = operator.dataloader
    model = copy.deepcopy(operator.model).double()
    batch = tuple(x.double() if x.is_floating_point() else x for x in batch)
    double = HessianOperator(
        model, [batch], operator.loss_fn, microbatch_size=operator.microbatch_size
    )
    with torch.no_grad():
        loss = float(operator.loss_fn(model, batch))
    return loss, double.matvec(torch.from_numpy(vector).double()).numpy()


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
