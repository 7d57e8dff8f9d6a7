"""Who takes part in a row of the comparison, each tuned to the accuracy in its own favour."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.measuring import timed
from benchmarks.peers import (
    TOLERANCE,
    Contender,
    Start,
    exact_products,
    flat_vectors,
    lobpcg_contenders,
    matfree_lanczos,
    matfree_tridiagonal,
    own_contenders,
    own_previous,
    scipy_eigsh,
    size,
    sum_of,
)
from benchmarks.problems import CACHE, ROWS, Point, write_cache
from benchmarks.torch_peer import (
    differences,
    torch_lanczos,
    torch_operator,
    torch_power_iteration,
    torch_start,
)
from benchmarks.tuning import best_arpack, least_depth

TUNING_DEPTH = 80  # of the projections that peers are tuned on
PRODUCTS_TIMED = 5
PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "matfree", "torch", "hessian-eigenthings")


def contenders(
    name: str, point: Point, truth: np.ndarray, repetitions: int
) -> tuple[list[Contender], dict[str, Any]]:
    """Return who takes part in a row, and what a reader should know of it.

    The notes are the seconds of one product in JAX and in PyTorch, how well the two agree, and
    how the peers were tuned.
    """
    n = size(point)
    operator = torch_operator(ROWS[name].settings(), point)
    notes = {
        "product_seconds": {"jax": _jax_seconds(point), "torch": _torch_seconds(operator)},
        "torch_differences": differences(operator, point),
        "torch_microbatch": operator.microbatch_size,
    }
    start = partial(torch_start, n)
    projections = [_projection(name, point, start(r)) for r in range(repetitions)]
    found = {ends: own_previous(point, ends) for ends in (False, True)}
    directions = flat_vectors(found[False])
    warm = sum_of(directions)

    everyone = [
        *_eigsh(point, start, projections, truth),
        *_matfree(point, start, projections, truth),
        *_eigsh_warm(point, warm, [_projection(name, point, warm(0))], truth),
        *lobpcg_contenders(point, start, directions, truth),
        *_torch(operator, projections, truth),
        *own_contenders(point, found),
    ]
    notes["tuning_starts"] = len(projections)
    return everyone, notes


def _eigsh(
    point: Point, start: Start, projections: Sequence[np.ndarray], truth: np.ndarray
) -> list[Contender]:
    peer = partial(Contender, "SciPy eigsh", warm=False)
    found = [
        peer(
            f"tol {TOLERANCE:g}, default ncv",
            certifies=True,
            solve=scipy_eigsh(point, start, TOLERANCE, None),
        )
    ]
    certified = best_arpack(projections, truth, [TOLERANCE])
    if certified is not None:
        solve = scipy_eigsh(point, start, certified.tol, certified.ncv)
        found.append(
            peer(f"tol {TOLERANCE:g}, best ncv {certified.ncv}", certifies=True, solve=solve)
        )
    loosest = best_arpack(projections, truth)
    if loosest is not None:
        solve = scipy_eigsh(point, start, loosest.tol, loosest.ncv)
        variant = f"best tol {loosest.tol:g} and ncv {loosest.ncv}"
        found.append(peer(variant, certifies=False, solve=solve))
    return found


def _eigsh_warm(
    point: Point, warm: Start, projections: Sequence[np.ndarray], truth: np.ndarray
) -> list[Contender]:
    setting = best_arpack(projections, truth, [TOLERANCE])
    if setting is None:
        return []
    solve = scipy_eigsh(point, warm, setting.tol, setting.ncv)
    variant = f"warm, tol {TOLERANCE:g}, best ncv {setting.ncv}"
    return [Contender("SciPy eigsh", variant, certifies=True, warm=True, solve=solve)]


def _matfree(
    point: Point, start: Start, projections: Sequence[np.ndarray], truth: np.ndarray
) -> list[Contender]:
    return [
        Contender(
            "matfree",
            variant,
            certifies=False,
            warm=False,
            solve=matfree_lanczos(point, start, depth),
        )
        for variant, depth in _depths(projections, truth)
    ]


def _torch(operator: Any, projections: Sequence[np.ndarray], truth: np.ndarray) -> list[Contender]:
    peer = partial(Contender, "hessian-eigenthings", certifies=False, warm=False)
    return [
        *(
            peer(f"Lanczos {variant}", solve=torch_lanczos(operator, depth))
            for variant, depth in _depths(projections, truth)
        ),
        peer("power iteration", solve=torch_power_iteration(operator)),
    ]


def _depths(projections: Sequence[np.ndarray], truth: np.ndarray) -> list[tuple[str, int]]:
    """Return the depths of a Lanczos that stops where it is told, and what they are for."""
    wanted = {"residuals 1e-3": True, "eigenvalues 1e-3": False}
    depths = {
        purpose: least_depth(projections, truth, within_tolerance)
        for purpose, within_tolerance in wanted.items()
    }
    # What the longest projection does not reach is reported at its depth, as not reached.
    return [
        (f"depth {depth or TUNING_DEPTH} ({purpose})", depth or TUNING_DEPTH)
        for purpose, depth in depths.items()
    ]


def _projection(name: str, point: Point, start: np.ndarray) -> np.ndarray:
    """Return the projection of a point's Hessian on a Krylov space, made once and kept."""
    flat, _ = ravel_pytree(point.params)
    digest = hashlib.sha256(np.asarray(flat).tobytes() + start.tobytes()).hexdigest()[:16]
    path = CACHE / f"{name}-krylov{TUNING_DEPTH}-{digest}.npz"
    if not path.is_file():
        write_cache(path, matrix=matfree_tridiagonal(point, start, TUNING_DEPTH))
    with np.load(path) as file:
        return file["matrix"]


def _jax_seconds(point: Point) -> float:
    product, vector = exact_products(point), torch_start(size(point), 0)
    jax.block_until_ready(product(vector))  # compiles
    times = [
        timed(lambda: jax.block_until_ready(product(vector))).seconds for _ in range(PRODUCTS_TIMED)
    ]
    return float(np.median(times))


def _torch_seconds(operator: Any) -> float:
    import torch

    vector = torch.from_numpy(torch_start(operator.size, 0))
    return float(np.median([timed(operator.matvec, vector).seconds for _ in range(PRODUCTS_TIMED)]))
