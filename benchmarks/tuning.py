"""How far each peer must go to reach the accuracy, found out beforehand, from one projection.

What a Krylov solver does with ``p`` products from one start vector depends only on the projection
of the Hessian on the Krylov space of depth ``p`` (the tridiagonal matrix of Lanczos, Golub & Van
Loan 2013, section 10.1). So one long Lanczos run from a solver's start vector tells what every
setting of that solver would have returned, and lets each be tuned over a fine ladder, with the
truth at hand, in its own favour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import ArpackError, eigsh

from benchmarks.peers import TOLERANCE, by_magnitude, error
from benchmarks.problems import PAIRS, CountedProducts

NCV_LADDER = (*range(PAIRS + 1, 21), *range(22, 41, 2), 50, 60)
TOL_LADDER = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)


@dataclass(frozen=True)
class ArpackSetting:
    """Settings of ``eigsh``, and the products they take at most over the tuning starts."""

    tol: float
    ncv: int | None
    products: int


def least_depth(
    projections: Sequence[np.ndarray], truth: np.ndarray, within_tolerance: bool
) -> int | None:
    """Return the least depth of Lanczos whose top pairs are right, from every start.

    Parameters
    ----------
    projections
        Tridiagonal matrices with their coupling row, ``(m + 1, m)``, one for each start.
    truth
        ``(k,)`` the eigenvalues to reach, to a relative accuracy of 1e-3.
    within_tolerance
        Whether the residuals must be within 1e-3 of the largest magnitude too.

    Returns
    -------
    The depth, or None if even the longest projection does not reach.
    """
    for depth in range(len(truth), min(len(matrix) for matrix in projections)):
        if all(_reaches(matrix, depth, truth, within_tolerance) for matrix in projections):
            return depth
    return None


def _reaches(matrix: np.ndarray, depth: int, truth: np.ndarray, within_tolerance: bool) -> bool:
    values, states = np.linalg.eigh(matrix[:depth, :depth])
    top = np.argsort(-np.abs(values))[: len(truth)]
    residuals = np.abs(matrix[depth, depth - 1] * states[-1, top])
    certified = not within_tolerance or np.all(residuals <= TOLERANCE * np.max(np.abs(values)))
    return bool(certified and error(by_magnitude(values[top]), truth) <= TOLERANCE)


def best_arpack(
    projections: Sequence[np.ndarray],
    truth: np.ndarray,
    tolerances: Iterable[float] = TOL_LADDER,
) -> ArpackSetting | None:
    """Return the setting of ``eigsh`` that reaches the truth, from every start, in fewest products.

    None if none of the ladder does.
    """
    reached = [
        ArpackSetting(tol, ncv, products)
        for tol in tolerances
        for ncv in NCV_LADDER
        if (products := _arpack_products(projections, truth, tol, ncv)) is not None
    ]
    return min(reached, key=lambda setting: setting.products, default=None)


def _arpack_products(
    projections: Sequence[np.ndarray], truth: np.ndarray, tol: float, ncv: int
) -> int | None:
    """Return the most products over the starts; None where the truth is not reached from one."""
    most = 0
    for matrix in projections:
        square = matrix[:-1]
        if ncv >= len(square):
            return None
        operator = CountedProducts(square.__matmul__, len(square), np.float64)
        try:
            values = eigsh(
                operator,
                PAIRS,
                which="LM",
                tol=tol,
                ncv=ncv,
                v0=np.eye(len(square))[0],
                return_eigenvectors=False,
            )
        except ArpackError:
            return None
        # Beyond its depth the projection is no longer what the solver would have seen.
        within = operator.products < len(square)
        if not within or error(by_magnitude(values), truth) > TOLERANCE:
            return None
        most = max(most, operator.products)
    return most
