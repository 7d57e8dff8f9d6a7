"""Ways to measure the top of a Hessian spectrum, each behind one call: round -> answer.

All work on the same exact Hessian-vector products in float32, those of
:mod:`samedge.curvature.products` (but for PyTorch's own, see :mod:`benchmarks.torch_peer`) and
return eigenvalues and eigenvectors. A peer takes its start vector from ``start(round)``, so that
all can start from the same one.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import eigsh, lobpcg

from benchmarks.problems import PAIRS, CountedProducts, Point
from samedge.curvature.eigenpairs import Eigenpairs, top_eigenpairs
from samedge.curvature.krylov.hessian import compiled_map
from samedge.curvature.products import hessian_operator

LOBPCG_STEPS = 100  # at most
OURS = "samedge"
OVERLOOK = 1e-3  # the solver's default
TOLERANCE = 1e-3  # residual over operator norm, and the accuracy that eigenvalues must reach

Start = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Answer:
    """What a measurement returned: k eigenvalues by decreasing magnitude, and what it spent."""

    values: np.ndarray
    products: int


@dataclass(frozen=True)
class Contender:
    """One way to measure.

    Attributes
    ----------
    solver
        The library.
    variant
        How it was set.
    certifies
        Whether it tells by itself when its pairs have residuals within the tolerance; otherwise
        how far it must go was found out beforehand, with the truth at hand.
    warm
        Whether it starts from what the check before found.
    solve
        ``round -> Answer``.
    """

    solver: str
    variant: str
    certifies: bool
    warm: bool
    solve: Callable[[int], Answer]

    @property
    def name(self) -> str:
        """The solver and how it was set."""
        return f"{self.solver}, {self.variant}"


def flat_vectors(found: Eigenpairs) -> np.ndarray:
    """Return the eigenvectors of a measurement as rows (k, n)."""
    return np.stack([np.asarray(ravel_pytree(vector)[0]) for vector in found.vectors])


def sum_of(directions: np.ndarray) -> Start:
    """Return a start in all of some directions (k, n), the same in every round."""

    def start(repetition: int) -> np.ndarray:
        del repetition  # what the check before found is no matter of chance
        return directions.sum(axis=0)

    return start


@jax.jit
def _apply(hessian: Any, params: Any, vector: jax.Array) -> jax.Array:
    _, unravel = ravel_pytree(params)
    return ravel_pytree(hessian(unravel(vector)))[0]


def exact_products(point: Point) -> Callable[[jax.Array], jax.Array]:
    """Return compiled exact products with flat vectors, for solvers that run outside of JAX.

    They are those of the project's solver: without microbatches the gradient is linearised once.
    """
    hessian = compiled_map(point.loss, point.params, point.data, point.microbatch)
    return partial(_apply, hessian, point.params)


def size(point: Point) -> int:
    """Return the number of parameters of a point."""
    return sum(leaf.size for leaf in jax.tree.leaves(point.params))


def scipy_eigsh(
    point: Point, start: Callable[[int], np.ndarray], tol: float, ncv: int | None
) -> Callable[[int], Answer]:
    """Measure by SciPy's ``eigsh`` (ARPACK: implicitly restarted Lanczos) on exact products."""
    n = size(point)

    def solve(repetition: int) -> Answer:
        operator = CountedProducts(exact_products(point), n, np.float32)
        values, _ = eigsh(operator, PAIRS, which="LM", tol=tol, ncv=ncv, v0=start(repetition))
        return Answer(by_magnitude(values), operator.products)

    return solve


def scipy_lobpcg(
    point: Point, block: Callable[[int], np.ndarray], tol: float
) -> Callable[[int], Answer]:
    """Measure by SciPy's ``lobpcg`` (Knyazev 2001) from the columns of ``block(round)`` (n, m).

    It iterates until the residuals are within ``tol``, an absolute number, and looks for the
    algebraically largest eigenvalues.
    """
    n = size(point)

    def solve(repetition: int) -> Answer:
        operator = CountedProducts(exact_products(point), n, np.float32)
        with warnings.catch_warnings():
            # That it has not converged is seen in its answer.
            warnings.simplefilter("ignore", UserWarning)
            values, _ = lobpcg(operator, block(repetition), tol=tol, maxiter=LOBPCG_STEPS)
        return Answer(by_magnitude(values)[:PAIRS], operator.products)

    return solve


def matfree_lanczos(
    point: Point, start: Callable[[int], np.ndarray], depth: int
) -> Callable[[int], Answer]:
    """Measure by matfree's Lanczos tridiagonalisation, as one compiled program."""
    run = jax.jit(partial(_matfree_pairs, depth), static_argnames=("loss", "microbatch"))

    def solve(repetition: int) -> Answer:
        values, vectors = run(
            point.loss, point.microbatch, point.params, point.data, start(repetition)
        )
        jax.block_until_ready(vectors)
        return Answer(by_magnitude(np.asarray(values)), depth)

    return solve


def matfree_tridiagonal(point: Point, start: np.ndarray, depth: int) -> np.ndarray:
    """Return matfree's tridiagonal matrix (depth + 1, depth) of a start, coupling row included."""
    matrix, coupling = _tridiagonal(
        depth, point.loss, point.microbatch, point.params, point.data, start
    )
    last = np.zeros((1, depth))
    last[0, -1] = coupling
    return np.vstack([np.asarray(matrix, np.float64), last])


@partial(jax.jit, static_argnums=(0, 1, 2))
def _tridiagonal(
    depth: int,
    loss: Callable[..., jax.Array],
    microbatch: int | None,
    params: Any,
    data: tuple[jax.Array, ...],
    start: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    _, matrix, rest = _decompose(depth, loss, microbatch, params, data, start)
    return matrix, jnp.linalg.norm(rest)


def _decompose(
    depth: int,
    loss: Callable[..., jax.Array],
    microbatch: int | None,
    params: Any,
    data: tuple[jax.Array, ...],
    start: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    from matfree import decomp

    operator = hessian_operator(loss, params, data, microbatch)
    found = decomp.tridiag_sym(depth, reortho="full", custom_vjp=False)(operator, start)
    return found.Q_tall, found.J_small, found.residual


def _matfree_pairs(
    depth: int,
    loss: Callable[..., jax.Array],
    microbatch: int | None,
    params: Any,
    data: tuple[jax.Array, ...],
    start: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the k Ritz pairs of largest magnitude; only their vectors are formed."""
    basis, matrix, _ = _decompose(depth, loss, microbatch, params, data, start)
    values, states = jnp.linalg.eigh(matrix)
    order = jnp.argsort(-jnp.abs(values))[:PAIRS]
    return values[order], states[:, order].T @ basis


def own(
    point: Point, ends: bool, previous: Eigenpairs | None, overlook: float
) -> Callable[[int], Answer]:
    """Measure by the project's solver, from what the check before found or from nothing.

    At ``overlook`` 1 it stops at its residuals, as the peers do.
    """

    def solve(repetition: int) -> Answer:
        found = top_eigenpairs(
            point.loss,
            point.params,
            point.data,
            PAIRS,
            TOLERANCE,
            key=jax.random.key(repetition),
            microbatch=point.microbatch,
            start=previous,
            ends=ends,
            overlook=overlook,
        )
        jax.block_until_ready(found.vectors)
        return Answer(found.values, found.hvp_count)

    return solve


def own_previous(point: Point, ends: bool) -> Eigenpairs:
    """Return what the project's solver finds at the check before."""
    return top_eigenpairs(
        point.loss,
        point.previous_params,
        point.previous_data,
        PAIRS,
        TOLERANCE,
        key=jax.random.key(1000),
        microbatch=point.microbatch,
        ends=ends,
    )


def lobpcg_contenders(
    point: Point, start: Start, known: np.ndarray, truth: np.ndarray
) -> list[Contender]:
    """Return SciPy's block solver, from random vectors and from the eigenvectors known before."""

    def cold(repetition: int) -> np.ndarray:
        return np.stack([start(PAIRS * repetition + column) for column in range(PAIRS)], axis=1)

    def warm(repetition: int) -> np.ndarray:
        del repetition
        return known.T

    peer = partial(Contender, "SciPy lobpcg", certifies=True)
    within = TOLERANCE * abs(truth[0])
    return [
        peer(f"tol {TOLERANCE:g}", warm=False, solve=scipy_lobpcg(point, cold, within)),
        peer(f"warm, tol {TOLERANCE:g}", warm=True, solve=scipy_lobpcg(point, warm, within)),
    ]


def own_contenders(point: Point, found: Mapping[bool, Eigenpairs]) -> list[Contender]:
    """Return the project's solver cold and warm.

    For the top three with the peers' certificate, their residuals; with its own, which bounds the
    probability of a larger one unseen; and with both ends of the spectrum on top. ``found`` is
    what the check before found, without ends and, for the last, with.
    """
    contestants = []
    for what, ends, overlook in (
        ("top three, residuals alone", False, 1.0),
        ("top three", False, OVERLOOK),
        ("with both ends", True, OVERLOOK),
    ):
        for previous in (None, found[ends]) if ends in found else ():
            contestants.append(
                Contender(
                    OURS,
                    f"{'cold' if previous is None else 'warm'}, {what}",
                    certifies=True,
                    warm=previous is not None,
                    solve=own(point, ends, previous, overlook),
                )
            )
    return contestants


def by_magnitude(values: np.ndarray) -> np.ndarray:
    """Return values as float64, by decreasing magnitude."""
    values = np.asarray(values, np.float64)
    return values[np.argsort(-np.abs(values), kind="stable")]


def error(values: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest relative error of eigenvalues, both by decreasing magnitude."""
    return float(np.max(np.abs(values - truth) / np.abs(truth)))
