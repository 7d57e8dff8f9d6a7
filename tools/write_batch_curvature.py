"""Print, as Markdown, how the ends of the spectrum depend on the size of the minibatch.

    python tools/write_batch_curvature.py results/kept tiny_shakespeare --sizes 32 128 512

For every SAM run of a task and every check whose parameters were kept (`audit.at`): the same
examples, as many as the largest size, cut into minibatches of each size. Of the gradient's norm,
both ends of the Hessian's spectrum, and each of these over its bound (Proposition 3 and the SAM
edge), the median over minibatches; of the negative end over its bound their range too.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from samedge.base.errors import UserError, run_script
from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.data.file import read_data
from samedge.machine.device import prepare_jax
from samedge.records import files
from samedge.records.parameters import read_parameters
from samedge.tasks.leaves import restore
from samedge.tasks.problems import build_problem
from samedge.updates.edges import negative_curvature_bound, sam_edge

HEAD = "| η | step | examples | minibatches | ‖g‖ | λ_min | λ_max | -λ_min ρ/‖g‖ | λ_max / edge |"
MOST = 4  # minibatches of a size
ENDS = 0.02  # share of the operator norm to which both ends are known


class Ends(NamedTuple):
    """Of one minibatch: the gradient's norm, and both ends of the Hessian's spectrum."""

    gradient_norm: float
    smallest: float
    largest: float


def main() -> None:
    """Print the table of one task of an experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path, help="folder of an experiment's results")
    parser.add_argument("task")
    parser.add_argument("--sizes", nargs="+", type=int, required=True, help="minibatch sizes")
    given = parser.parse_args()
    prepare_jax("highest", "cpu", jobs=1, report=lambda line: None)
    data = read_data(given.experiment / "data" / f"{given.task}.npz")
    print(f"{HEAD}\n{'|---' * (HEAD.count('|') - 1)}|")
    for path in sorted((given.experiment / "parameters" / given.task).glob("*.nc")):
        run = files.read_run(given.experiment / "runs" / given.task / path.name)
        settings = RunSettings.from_json(run.attrs["settings"])
        if float(settings.rho) > 0:
            for line in rows(settings, read_parameters(path).kept, data, given.sizes):
                print(line, flush=True)


def rows(settings: RunSettings, checks, data, sizes: Sequence[int]) -> Iterator[str]:
    """Yield a line for every kept check of a run and every size."""
    problem = build_problem(settings, data)
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    there = problem.train[0].shape[0]
    if max(sizes) > there:
        raise UserError(f"--sizes: found {max(sizes)}, the task has {there} training examples")
    for kept in checks:
        params = jax.tree.map(jnp.asarray, restore(kept.leaves, shapes, np.float32))
        order = np.random.default_rng([settings.seed, kept.step]).permutation(there)
        for size in sizes:
            chosen = minibatches(order[: max(sizes)], size)
            found = [
                ends(problem.loss, params, tuple(part[batch] for part in problem.train))
                for batch in chosen
            ]
            place = settings.eta, kept.step, size, len(chosen)
            measured = cells(found, float(settings.eta), float(settings.rho))
            yield f"| {' | '.join(map(str, (*place, *measured)))} |"


def minibatches(order: np.ndarray, size: int) -> np.ndarray:
    """Return the first examples of an order as minibatches of a size, at most MOST of them."""
    count = min(MOST, len(order) // size)
    return order[: count * size].reshape(count, size)


def ends(loss, params, batch) -> Ends:
    """Return what is measured on one minibatch."""
    gradient, _ = ravel_pytree(jax.grad(loss)(params, *batch))
    found = top_eigenpairs(
        loss, params, batch, k=1, key=jax.random.key(0), ends=ENDS, max_products=1000
    )
    return Ends(float(jnp.linalg.norm(gradient)), found.smallest, found.largest)


def cells(found: Sequence[Ends], eta: float, rho: float) -> Iterator[str]:
    """Yield what the table says of the minibatches of one size."""
    for numbers in zip(*found, strict=True):
        yield f"{np.median(numbers):.3g}"
    negative = [one.smallest / negative_curvature_bound(one.gradient_norm, rho) for one in found]
    spread = f" ({min(negative):.2f} to {max(negative):.2f})" if len(negative) > 1 else ""
    yield f"{np.median(negative):.2f}{spread}"
    yield f"{np.median([one.largest / sam_edge(one.gradient_norm, eta, rho) for one in found]):.2f}"


if __name__ == "__main__":
    run_script(main)
