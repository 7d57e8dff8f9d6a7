"""Print, as Markdown, what crossing each bound of Proposition 3 adds to the loss in one step.

    python tools/write_step_costs.py results/default tiny_shakespeare

For every SAM run of a task and every check whose parameters were kept (`audit.at`), in float64 and
on the batch of the check: both ends of the spectrum over their bounds, as recorded; by how much the
next step changes the loss, and the loss of the quadratic with the same gradient and Hessian; and
what of the latter is owed to eigenvalues below -‖g‖/ρ and to those above the SAM edge, each a
partial sum of the paper's equation 2. Changes are over η‖g‖², what a step along a flat direction
would gain.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from samedge.analysis.quantities import largest_over_edge, negative_curvature_ratio
from samedge.base.errors import run_script
from samedge.config.settings import RunSettings
from samedge.curvature.krylov.hessian import compiled_map
from samedge.data.file import read_data
from samedge.machine.device import prepare_jax
from samedge.records import files
from samedge.records.parameters import read_parameters
from samedge.tasks.leaves import restore
from samedge.tasks.problems import build_problem, measured_batch
from samedge.updates.edges import negative_curvature_bound, sam_edge
from samedge.updates.rule import sam_gradient

HEAD = (
    "| η | step | -λ_min ρ/‖g‖ | λ_max / edge | change of the loss | of the quadratic "
    "| by λ < -‖g‖/ρ | by λ > edge |"
)


class Cost(NamedTuple):
    """Changes of the loss by one step, each over eta ||g||^2; the last two of the quadratic."""

    loss: float
    quadratic: float
    below: float
    above: float


def main() -> None:
    """Print the table of one task of an experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path, help="folder of an experiment's results")
    parser.add_argument("task")
    parser.add_argument("--products", type=int, default=32, help="Hessian products of a check")
    given = parser.parse_args()
    prepare_jax("highest", "cpu", double=True, jobs=1, report=lambda line: None)
    print(f"{HEAD}\n{'|---' * (HEAD.count('|') - 1)}|")
    data = read_data(given.experiment / "data" / f"{given.task}.npz")
    for path in sorted((given.experiment / "parameters" / given.task).glob("*.nc")):
        run = files.read_run(given.experiment / "runs" / given.task / path.name)
        if (run["rho"] > 0).all():
            for label, numbers in rows(run, read_parameters(path).kept, data, given.products):
                print(f"| {label} | {' | '.join(f'{x:.3g}' for x in numbers)} |", flush=True)


def rows(run, checks, data, products: int) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield the cells of every kept check of a run: its place, and its numbers."""
    settings = RunSettings.from_json(run.attrs["settings"])
    problem = build_problem(settings, data, np.float64)
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    loss = jax.jit(problem.loss)
    ends = [share(run)[0, 0, 0] for share in (negative_curvature_ratio, largest_over_edge)]
    for kept in checks:
        params = jax.tree.map(jnp.asarray, restore(kept.leaves, shapes, np.float64))
        batch = measured_batch(settings, problem.train, kept.step)
        cost = step_cost(loss, params, batch, float(settings.eta), float(settings.rho), products)
        place = np.flatnonzero(run["step"].values[0, 0, 0] == kept.step).item()
        yield f"{settings.eta} | {kept.step}", (*(end[place] for end in ends), *cost)


def step_cost(loss, params, batch, eta: float, rho: float, products: int) -> Cost:
    """Return what one step of SAM (epsilon 0) changes.

    The spectral measure of the gradient is that of so many steps of Lanczos from it, which has a
    quadratic's change without error, and its parts beyond both ends as far as these have converged.
    """
    before, unravel = ravel_pytree(params)
    both = sam_gradient(loss, params, batch, rho, epsilon=0.0)
    gradient, ascended = (ravel_pytree(tree)[0] for tree in both)
    norm = float(jnp.linalg.norm(gradient))
    unit = eta * norm**2
    change = loss(unravel(before - eta * ascended), *batch) - loss(params, *batch)
    hessian = compiled_map(loss, params, batch, None)

    def product(vector: np.ndarray) -> np.ndarray:
        return np.asarray(ravel_pytree(apply(hessian, unravel(jnp.asarray(vector))))[0])

    nodes, weights = gauss_rule(product, np.asarray(gradient) / norm, products)
    displaced = 1 + rho * nodes / norm
    terms = -weights * displaced * (1 - eta * displaced * nodes / 2)
    below = nodes < negative_curvature_bound(norm, rho)
    above = nodes > sam_edge(norm, eta, rho)
    parts = terms.sum(), terms[below].sum(), terms[above].sum()
    return Cost(float(change) / unit, *map(float, parts))


@jax.jit
def apply(hessian, vector):
    """Return a linear map of pytrees applied to one, as one program for every check."""
    return hessian(vector)


def gauss_rule(operator, start: np.ndarray, products: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of the spectral measure of a unit vector, by Lanczos."""
    basis, diagonal, couplings = [start], [], []
    for _ in range(min(products, start.size)):
        product = operator(basis[-1])
        diagonal.append(product @ basis[-1])
        scale = np.linalg.norm(product)
        for _ in range(2):
            product = product - np.array(basis).T @ (np.array(basis) @ product)
        couplings.append(np.linalg.norm(product))
        if couplings[-1] <= 1e-12 * scale:
            break
        basis.append(product / couplings[-1])
    inner = couplings[: len(diagonal) - 1]
    nodes, states = np.linalg.eigh(np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1))
    return nodes, states[0] ** 2


if __name__ == "__main__":
    run_script(main)
