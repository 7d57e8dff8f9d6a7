"""Print, as Markdown, how the ends of the spectrum depend on the examples they are measured on.

    python tools/write_batch_curvature.py results/kept tiny_shakespeare --sizes 32 128 512
    python tools/write_batch_curvature.py results/kept cifar10 --lowest

For every SAM run of a task and every check whose parameters were kept (`audit.at`):

With `--sizes` the same examples, as many as the largest size, cut into minibatches of each size. Of
the gradient's norm, both ends of the Hessian's spectrum, and each of these over its bound
(Proposition 3 and the SAM edge), the median over minibatches; of the negative end over its bound
their range too.

With `--lowest` the lowest eigenvalue of all training examples in float64, found by ARPACK: which
example has the largest part in it (of the mean over examples of v'Hv, along the eigenvector v), the
lowest eigenvalue without that example, and the curvature v'Hv at steps along v, to both sides.
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
from scipy.sparse.linalg import LinearOperator, eigsh

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from samedge.base.errors import UserError, run_script
from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import top_eigenpairs
from samedge.curvature.products import hessian_vector_product
from samedge.data.file import read_data
from samedge.machine.device import prepare_jax
from samedge.records import files
from samedge.records.parameters import read_parameters
from samedge.tasks.leaves import restore
from samedge.tasks.problems import build_problem
from samedge.updates.edges import negative_curvature_bound, sam_edge

HEAD = "| η | step | examples | minibatches | ‖g‖ | λ_min | λ_max | -λ_min ρ/‖g‖ | λ_max / edge |"
LOWEST_HEAD = (
    "| η | step | ‖g‖ | λ_min | -λ_min ρ/‖g‖ | example | its part | λ_min without it | "
    "-λ_min ρ/‖g‖ without it | v'Hv at ±0.001 ρ | ±0.01 ρ | ±0.1 ρ |"
)
ALONG = (0.001, 0.01, 0.1)  # shares of ρ
MOST = 4  # minibatches of a size
ENDS = 0.02  # share of the operator norm to which both ends are known


class Ends(NamedTuple):
    """Of one minibatch: the gradient's norm, and both ends of the Hessian's spectrum."""

    gradient_norm: float
    smallest: float
    largest: float


class Lowest(NamedTuple):
    """The lowest eigenvalue over all examples, and what it comes from."""

    gradient_norm: float
    smallest: float
    example: int
    part: float
    without: float
    along: list[tuple[float, float]]


def main() -> None:
    """Print the table of one task of an experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path, help="folder of an experiment's results")
    parser.add_argument("task")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--sizes", nargs="+", type=int, help="minibatch sizes")
    kind.add_argument("--lowest", action="store_true", help="what the lowest eigenvalue comes from")
    given = parser.parse_args()
    prepare_jax("highest", "cpu", jobs=1, report=lambda line: None, double=given.lowest)
    data = read_data(given.experiment / "data" / f"{given.task}.npz")
    head = LOWEST_HEAD if given.lowest else HEAD
    print(f"{head}\n{'|---' * (head.count('|') - 1)}|")
    for path in sorted((given.experiment / "parameters" / given.task).glob("*.nc")):
        run = files.read_run(given.experiment / "runs" / given.task / path.name)
        settings = RunSettings.from_json(run.attrs["settings"])
        if float(settings.rho) > 0:
            checks = read_parameters(path).kept
            if given.lowest:
                lines = lowest_rows(settings, checks, data)
            else:
                lines = rows(settings, checks, data, given.sizes)
            for line in lines:
                print(line, flush=True)


def rows(settings: RunSettings, checks, data, sizes: Sequence[int]) -> Iterator[str]:
    """Yield a line for every kept check of a run and every size."""
    problem = build_problem(settings, data)
    there = problem.train[0].shape[0]
    if max(sizes) > there:
        raise UserError(f"--sizes: found {max(sizes)}, the task has {there} training examples")
    for kept, params in restored(problem, checks, np.float32):
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


def lowest_rows(settings: RunSettings, checks, data) -> Iterator[str]:
    """Yield a line for every kept check of a run, on all training examples in float64."""
    problem = build_problem(settings, data, np.float64)
    for kept, params in restored(problem, checks, np.float64):
        found = lowest(problem.loss, params, problem.train, float(settings.rho))
        bound = negative_curvature_bound(found.gradient_norm, float(settings.rho))
        cells = [
            *(f"{settings.eta}", f"{kept.step}", f"{found.gradient_norm:.3g}"),
            *(f"{found.smallest:.4g}", f"{found.smallest / bound:.2f}"),
            *(f"{found.example}", f"{found.part:.4g}"),
            *(f"{found.without:.4g}", f"{found.without / bound:.2f}"),
            *(f"{back:.3g}, {ahead:.3g}" for back, ahead in found.along),
        ]
        yield f"| {' | '.join(cells)} |"


def restored(problem, checks, dtype: type[np.floating]) -> Iterator[tuple]:
    """Yield every kept check with its parameters as the loss takes them."""
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    for kept in checks:
        yield kept, jax.tree.map(jnp.asarray, restore(kept.leaves, shapes, dtype))


def lowest(loss, params, examples, rho: float) -> Lowest:
    """Return the lowest eigenvalue over all examples, and what it comes from, in float64."""
    start, unravel = ravel_pytree(params)

    def at(point, *batch):
        return loss(unravel(point), *batch)

    @jax.jit
    def product(point, vector, batch):
        return hessian_vector_product(at, point, batch, vector)

    def end(batch):
        hessian = LinearOperator(
            (start.size, start.size),
            matvec=lambda vector: np.asarray(product(start, jnp.asarray(vector.ravel()), batch)),
            dtype=np.float64,
        )
        first = np.random.default_rng(0).standard_normal(start.size)
        values, vectors = eigsh(hessian, k=1, which="SA", tol=ENDS, v0=first)
        return float(values[0]), jnp.asarray(vectors[:, 0])

    smallest, vector = end(examples)
    count = examples[0].shape[0]
    parts = [
        float(
            vector @ product(start, vector, tuple(part[number : number + 1] for part in examples))
        )
        / count
        for number in range(count)
    ]
    worst = int(np.argmin(parts))
    # The mean over the others, times their share: the same sum over examples without one of them.
    others = tuple(jnp.delete(part, worst, axis=0) for part in examples)
    without = end(others)[0] * (count - 1) / count

    def curvature(distance):
        return float(vector @ product(start + distance * vector, vector, examples))

    along = [(curvature(-share * rho), curvature(share * rho)) for share in ALONG]
    norm = float(jnp.linalg.norm(jax.grad(at)(start, *examples)))
    return Lowest(norm, smallest, worst, parts[worst], without, along)


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
