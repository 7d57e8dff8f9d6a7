"""Certified eigenpairs at the top of the Hessian spectrum, cold or warm-started.

:mod:`samedge.curvature.krylov.solver` says how they are found.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from samedge.curvature import arguments
from samedge.curvature.density import spectral_density
from samedge.curvature.krylov.hessian import flat_shape, trees
from samedge.curvature.krylov.solver import RitzPairs, Solver
from samedge.curvature.limits import least_vectors
from samedge.curvature.operators.measured import measured
from samedge.curvature.operators.operator import Operator
from samedge.curvature.products import Loss, explained_derivatives, hessian_vector_product

__all__ = [
    "Eigenpairs",
    "RitzPairs",
    "hessian_vector_product",
    "spectral_density",
    "top_eigenpairs",
]


ENDS = 0.05  # share of the operator norm to which ends are known unless told otherwise


class Eigenpairs(NamedTuple):
    r"""The top of a Hessian spectrum.

    Attributes
    ----------
    values
        ``(k,)`` float64, the eigenvalues of largest magnitude, signed, by decreasing magnitude.
    vectors
        k pytrees shaped like the parameters, of norm 1.
    residuals
        ``(k,)`` float64, :math:`\|Hv - \lambda v\|`, from exact products.
    hvp_count
        Hessian-vector products spent.
    converged
        ``(k,)`` bool, whether each residual is within tolerance times the operator norm; False
        for all if the cap on products cut their measurement short, or if the Hessian is so small
        that what its type takes for zero may count.
    largest, smallest
        The algebraic ends of the spectrum as found: the outermost Ritz values, from inside.
    largest_bound, smallest_bound
        What no eigenvalue lies above, or below, but with the probability ``overlook``, each. NaN
        where ``overlook`` is 1, or the cap on products was reached before that much was known.
    overlooked
        Bound on the probability that a further eigenvalue exceeds the wanted ones in magnitude,
        by more than the tolerance and the residuals.
    ritz_values, ritz_vectors
        ``(p,)`` and ``(m, n)``, what a warm start of the next measurement takes over: the Ritz
        pairs of largest magnitude. Rows from p on are zero, so that what is
        compiled for one measurement serves every other.
    """

    values: np.ndarray
    vectors: tuple[Any, ...]
    residuals: np.ndarray
    hvp_count: int
    converged: np.ndarray
    largest: float
    smallest: float
    largest_bound: float
    smallest_bound: float
    overlooked: float
    ritz_values: np.ndarray
    ritz_vectors: jax.Array

    def __repr__(self) -> str:
        found = ", ".join(
            f"{value:.6g} ± {residual:.1g}"
            for value, residual in zip(self.values, self.residuals, strict=True)
        )
        converged = f"{np.sum(self.converged)} of {len(self.values)} converged"
        return f"Eigenpairs({found}; {converged}, {self.hvp_count} products)"


@explained_derivatives()
def top_eigenpairs(
    loss: Loss | Operator,
    params: Any = None,
    data: tuple[Any, ...] = (),
    k: int = 3,
    tolerance: float = 1e-3,
    *,
    key: jax.Array,
    max_products: int = 300,
    max_vectors: int = 40,
    overlook: float = 1e-3,
    microbatch: int | None = None,
    start: Eigenpairs | RitzPairs | None = None,
    ends: float | bool = ENDS,
    pure: bool = False,
    known: Callable[[Any], Any] | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Eigenpairs:
    """Return the k eigenpairs of largest magnitude of a Hessian, certified by their residuals.

    In place of a loss there may be an operator: what is said of the Hessian is then said of it.

    The scale of the Hessian does not matter: where its products are far from 1, it is multiplied
    by a power of two meanwhile, at the cost of up to four products.

    Parameters
    ----------
    loss
        ``loss(params, *data) -> scalar``; or, without ``params`` and ``data``, an
        :class:`~samedge.curvature.operators.operator.Operator` or SciPy LinearOperator, which is
        tried for symmetry first. A loss is compiled once per function object, and again when
        something has changed that it reads beside its arguments (a global, an attribute of the
        object that it is a method of, an array that it closes over), which tracing it at every call
        shows. Each such change costs seconds; whatever changes belongs in ``params`` or ``data``.
        Not seen is a change of what a function reads that the loss calls under ``jax.jit``, and of
        what only the rules of a custom derivative read.
    params
        Pytree of float32 arrays, or of float64, n numbers in all, ``n >= k``.
    data
        Tuple of the other arguments of the loss: pytrees of arrays and numbers.
    k
        Number of eigenpairs.
    tolerance
        Residual over operator norm that each pair must reach; above 0 and below 1.
    key
        PRNG key of the random vectors.
    max_products
        Cap on Hessian-vector products; pairs unconverged there are returned as such.
    max_vectors
        Basis vectors kept at a time, at least ``k + 5``. Memory is ``2 max_vectors + 2 k + 50``
        vectors of n numbers at most, whatever the difficulty; fewer vectors cost more products.
    overlook
        Probability with which a further eigenvalue may exceed the wanted ones unseen, see
        ``overlooked`` of :class:`Eigenpairs`. At 1 the residuals alone decide, which saves
        products: a copy of a multiple eigenvalue then stays unseen, and so does whatever has
        overtaken the pairs of ``start``.
    microbatch
        Examples that a product takes at a time; None for all. They are the leading axis of all
        data, and the loss is a mean over them.
    start
        An earlier measurement of the same k, near these parameters, to start from, or no more than
        its Ritz pairs. The outcome is held to the same tolerance and challenge as without.
    ends
        Share of the operator norm to which both ends of the spectrum must be known too: found and
        bounded that closely, or, where ``overlook`` is 1, found with a residual that small. True
        is 0.05; False asks for none, and what is found and bounded by then is reported.
    pure
        Whether it is certain that the loss reads nothing that changes beside its arguments, so
        that it need not be traced to see; that saves some 10 to 100 ms.
    known
        The Hessian as a map, where the caller has it from computing loss and gradient: see
        :func:`samedge.curvature.products.linearized`.
    pause
        Called before every product; what it raises ends the measurement.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not as described, each with what is wrong where; among them fewer
        parameters than eigenpairs, ``max_products < 2 k``, ``max_vectors < k + 5``, and a
        ``start`` of another number of parameters.
    FloatingPointError
        If a Hessian-vector product is not finite.
    """
    arguments.require_untraced("top_eigenpairs", params, data, key)
    hessian, params = measured(loss, params, data, microbatch, pure, known)
    arguments.require_key(key)
    arguments.require_whole("k", k, 1)
    arguments.require_whole("max_products", max_products, 1)
    arguments.require_whole("max_vectors", max_vectors, 1)
    arguments.require_number("tolerance", tolerance, lambda x: 0 < x < 1, "above 0 and below 1")
    if not isinstance(ends, bool):
        arguments.require_number("ends", ends, lambda x: 0 < x < 1, "above 0 and below 1")
    flat = flat_shape(params)
    if flat.size < k:
        raise ValueError(f"{k} eigenpairs of a Hessian of {flat.size} parameters do not exist")
    if max_products < 2 * k:
        raise ValueError(f"max_products must be at least {2 * k} for {k} eigenpairs")
    least = least_vectors(k)
    if max_vectors < least:
        raise ValueError(f"max_vectors must be at least {least} for {k} eigenpairs")
    if not 0 < overlook <= 1:
        raise ValueError(f"overlook is a probability above 0, and {overlook:g} is not")
    if start is not None:
        _require_start(start, flat)
    within = ENDS if ends is True else float(ends) or 1.0
    solver = Solver(
        hessian, params, k, tolerance, overlook, within, max_products, max_vectors, key, pause
    )
    solver.begin(start)
    solver.follow()
    while not solver.exhausted and solver.overlooked > overlook:
        solver.challenge()
        solver.follow()
    complete = not solver.exhausted
    if ends and complete:
        solver.bound_ends()
    smallest, largest = solver.ends()
    smallest_bound, largest_bound = solver.bounds()
    residuals = solver.basis.residual_norms(solver.wanted, k)
    ritz_values, ritz_vectors = solver.kept()
    basis, original = solver.basis, solver.basis.scale.original
    held = hessian.is_held(float(original(basis.norm)), tolerance, basis.scale.factors)
    return Eigenpairs(
        values=original(basis.values[solver.wanted]),
        vectors=trees(params, ritz_vectors[:k]),
        residuals=original(residuals),
        hvp_count=basis.spent,
        converged=(residuals <= solver.margin) & complete & held,
        largest=float(original(largest)),
        smallest=float(original(smallest)),
        largest_bound=float(original(largest_bound)),
        smallest_bound=float(original(smallest_bound)),
        overlooked=solver.overlooked,
        ritz_values=original(ritz_values),
        ritz_vectors=ritz_vectors,
    )


def _require_start(start: Any, flat: jax.ShapeDtypeStruct) -> None:
    """Refuse an earlier measurement that cannot be one of these parameters."""
    if not isinstance(start, Eigenpairs | RitzPairs):
        raise TypeError(f"start is a {type(start).__name__}; give what top_eigenpairs returned")
    vectors = start.ritz_vectors
    if vectors.shape[1] != flat.size:
        raise ValueError(f"start is of {vectors.shape[1]} parameters, and there are {flat.size}")
    if vectors.dtype != flat.dtype:
        raise TypeError(f"start is of {vectors.dtype}, and the parameters are of {flat.dtype}")
    if not np.all(np.isfinite(start.ritz_values)):
        raise ValueError("start has Ritz values that are not finite")
