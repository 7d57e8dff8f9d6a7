r"""Hessian-vector products and certified eigenpairs at the top of the Hessian spectrum.

Products are exact (forward over reverse differentiation, Pearlmutter 1994); nothing is a finite
difference. The solver works in two stages.

1. Lanczos with full reorthogonalisation, from one random vector, until the residuals of the
   wanted pairs and of both ends of the spectrum meet the tolerance.
2. A challenge. A Krylov space of one vector holds one eigenvector of a multiple eigenvalue, and
   may stop short of telling a tight cluster apart. So the Ritz vectors found, and a fresh random
   vector orthogonal to them, start a second basis. If anything larger than what was found turns
   up there, it is followed until it has converged, and the new pairs are challenged in turn.

Both stages keep, for the multiplied vectors :math:`V_q`, the projection
:math:`T = V_q^T H V_q` of computed products, so that the residual of a Ritz vector
:math:`V_q s` is known: the part of :math:`H V_q s` on the vectors not yet multiplied (Parlett
1998, chapter 13; Ruhe 1979 for bases that start from several vectors). What is returned is
certified by a further product with each vector returned.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from samedge.batching import mean_over_microbatches

Loss = Callable[..., jax.Array]

STRIDE = 8  # products between two looks at the residuals
FIRST_CAPACITY = 64  # basis vectors stored at first; doubled when full
CHALLENGE = 16  # products that a fresh random vector gets to find what was missed
SAFETY = 0.3  # share of the tolerance that estimates must meet, for certified residuals to do


class Eigenpairs(NamedTuple):
    r"""The top of a Hessian spectrum.

    Attributes
    ----------
    values
        ``(k,)`` float64, the eigenvalues of largest magnitude, signed, by decreasing magnitude.
    vectors
        k pytrees shaped like the parameters, of norm 1.
    residuals
        ``(k,)`` float64, :math:`\|Hv - \lambda v\|`, from a product made with the vector returned.
    hvp_count
        Hessian-vector products spent, those for the residuals included.
    converged
        ``(k,)`` bool, whether each residual is within tolerance times the operator norm.
    largest, smallest
        The algebraic ends of the spectrum.
    """

    values: np.ndarray
    vectors: tuple[Any, ...]
    residuals: np.ndarray
    hvp_count: int
    converged: np.ndarray
    largest: float
    smallest: float


class _Basis(NamedTuple):
    """Orthonormal rows, of which the first ``multiplied`` have been multiplied by H."""

    vectors: jax.Array  # (capacity, n)
    projection: jax.Array  # (capacity, capacity), row i holds V H v_i
    multiplied: jax.Array  # int32
    filled: jax.Array  # int32
    scale: jax.Array  # largest ‖H v_i‖ so far


def hessian_vector_product(
    loss: Loss, params: Any, data: tuple[Any, ...], vector: Any, microbatch: int | None = None
) -> Any:
    """Return the Hessian of ``loss(params, *data)`` times ``vector``, a pytree like ``params``.

    With ``microbatch``, the loss must be a mean over the examples (leading axis) of the data.
    """

    def product(*piece: Any) -> Any:
        gradient = jax.grad(lambda point: loss(point, *piece))
        return jax.jvp(gradient, (params,), (vector,))[1]

    return mean_over_microbatches(product, data, microbatch)


def top_eigenpairs(
    loss: Loss,
    params: Any,
    data: tuple[Any, ...],
    k: int = 3,
    tolerance: float = 1e-3,
    *,
    key: jax.Array,
    max_products: int = 300,
    microbatch: int | None = None,
) -> Eigenpairs:
    """Return the k eigenpairs of largest magnitude of the Hessian, certified by their residuals.

    Parameters
    ----------
    loss
        ``loss(params, *data) -> scalar``. It is compiled once per function object.
    params
        Pytree of floating-point arrays of one dtype, n numbers in all, ``n >= k``.
    data
        The other arguments of the loss.
    k
        Number of eigenpairs.
    tolerance
        Residual over operator norm that each pair, and both ends of the spectrum, must reach.
    key
        PRNG key of the starting vectors.
    max_products
        Cap on Hessian-vector products; pairs unconverged there are returned as such. Memory
        grows to at most ``max_products * n`` numbers.
    microbatch
        Examples that a product takes at a time; None for all.

    Raises
    ------
    ValueError
        If there are fewer parameters than eigenpairs, or ``max_products < 2 k``.
    FloatingPointError
        If a Hessian-vector product is not finite.
    """
    flat, unravel = ravel_pytree(params)
    if flat.size < k:
        raise ValueError(f"{k} eigenpairs of a Hessian of {flat.size} parameters do not exist")
    if max_products < 2 * k:
        raise ValueError(f"max_products must be at least {2 * k} for {k} eigenpairs")
    solver = _Solver(loss, params, data, k, tolerance, max_products, microbatch)
    capacity = min(max(FIRST_CAPACITY, 2 * k), flat.size)
    start_key, challenge_key = jax.random.split(key)
    found = solver.certify(*solver.follow(_start(start_key, capacity, flat)))
    while not solver.exhausted:
        challenge_key, key = jax.random.split(challenge_key)
        basis = _challenge(key, capacity, found.vectors, found.products)
        basis, ritz = solver.follow(basis, at_least=len(found.values) + CHALLENGE)
        if not solver.overtaken(found, ritz):
            break
        found = solver.certify(basis, ritz)
    norm = np.max(np.abs(found.values))
    # Pairs whose challenge was cut short by the cap on products are not certified.
    converged = (found.residuals <= tolerance * norm) & (not solver.exhausted)
    return Eigenpairs(
        values=found.values,
        vectors=tuple(unravel(vector) for vector in found.vectors),
        residuals=found.residuals,
        hvp_count=solver.spent,
        converged=converged,
        largest=solver.largest,
        smallest=solver.smallest,
    )


class _Ritz(NamedTuple):
    """Ritz pairs of a basis, on the host."""

    multiplied: int  # vectors of the basis that they are made of
    values: np.ndarray  # (found,) by decreasing magnitude, found <= k
    coefficients: np.ndarray  # (found, capacity)
    residuals: np.ndarray  # (found,), estimates
    ends: np.ndarray  # (2,) the algebraically smallest and largest Ritz value
    end_residuals: np.ndarray  # (2,), estimates


class _Found(NamedTuple):
    """Certified pairs: unit vectors and their products with the Hessian."""

    values: np.ndarray  # (found,) by decreasing magnitude
    residuals: np.ndarray  # (found,)
    vectors: jax.Array  # (found, n)
    products: jax.Array  # (found, n)


class _Solver:
    """One measurement: what it works on, and what it has spent and seen so far."""

    def __init__(
        self,
        loss: Loss,
        params: Any,
        data: tuple[Any, ...],
        k: int,
        tolerance: float,
        max_products: int,
        microbatch: int | None,
    ) -> None:
        self.problem = (loss, microbatch, params, data)
        self.k = k
        self.tolerance = tolerance
        self.max_products = max_products
        self.spent = 0
        self.exhausted = False
        self.largest, self.smallest = -np.inf, np.inf

    def follow(self, basis: _Basis, at_least: int | None = None) -> tuple[_Basis, _Ritz | None]:
        """Extend a basis until its Ritz pairs have converged, or it is invariant, or the cap.

        With ``at_least``, only the k pairs count, not the ends, and only from so many vectors on.
        """
        most = min(self.max_products + self.k + 1, basis.vectors.shape[1])
        while True:
            multiplied, filled = int(basis.multiplied), int(basis.filled)
            ritz = _ritz(basis, self.k)
            if multiplied == filled or self._converged(ritz, at_least):
                return basis, ritz
            budget = self.max_products - self.k - self.spent  # the last k certify the pairs
            if budget <= 0:
                self.exhausted = True
                return basis, ritz
            capacity = basis.vectors.shape[0]
            if filled + STRIDE > capacity and capacity < most:
                basis = _enlarge(basis, min(2 * capacity, most))
            basis = _extend(*self.problem, basis, min(STRIDE, budget))
            self.spent += int(basis.multiplied) - multiplied
            if not np.isfinite(float(basis.scale)):
                raise FloatingPointError("a Hessian-vector product is not finite")

    def certify(self, basis: _Basis, ritz: _Ritz) -> _Found:
        """Form the Ritz vectors and multiply each once more, for its value and true residual."""
        coefficients = jnp.asarray(ritz.coefficients, basis.vectors.dtype)
        certified = _rayleigh(*self.problem, basis.vectors, coefficients)
        self.spent += len(ritz.values)
        values, residuals = (np.asarray(x, dtype=np.float64) for x in certified[:2])
        self.smallest = min(self.smallest, ritz.ends[0], values.min())
        self.largest = max(self.largest, ritz.ends[1], values.max())
        order = np.argsort(-np.abs(values), kind="stable")
        return _Found(values[order], residuals[order], *(x[order] for x in certified[2:]))

    def overtaken(self, found: _Found, challenger: _Ritz) -> bool:
        """Tell whether a challenge has turned up more, or larger, pairs than were found."""
        if len(challenger.values) > len(found.values):
            return True
        margin = self.tolerance * np.max(np.abs(found.values))
        return bool(np.any(np.abs(challenger.values) > np.abs(found.values) + margin))

    def _converged(self, ritz: _Ritz | None, at_least: int | None) -> bool:
        if ritz is None:
            return False
        within = SAFETY * self.tolerance * np.max(np.abs(ritz.ends))
        pairs = len(ritz.values) == self.k and bool(np.all(ritz.residuals <= within))
        if at_least is not None:
            return pairs and ritz.multiplied >= at_least
        return pairs and bool(np.all(SAFETY * ritz.end_residuals <= within))


def _ritz(basis: _Basis, k: int) -> _Ritz | None:
    multiplied, filled = int(basis.multiplied), int(basis.filled)
    if multiplied == 0:
        return None
    projection = np.asarray(basis.projection, dtype=np.float64)
    # A row is complete up to the vectors filled when it was made, so the lower triangle is whole.
    values, states = np.linalg.eigh(projection[:multiplied, :multiplied], UPLO="L")
    couplings = projection[:multiplied, multiplied:filled]
    residuals = np.linalg.norm(couplings.T @ states, axis=0)
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    coefficients = np.zeros((len(order), projection.shape[0]))
    coefficients[:, :multiplied] = states[:, order].T
    ends = [0, -1]
    return _Ritz(
        multiplied, values[order], coefficients, residuals[order], values[ends], residuals[ends]
    )


@partial(jax.jit, static_argnames="capacity")
def _start(key: jax.Array, capacity: int, flat: jax.Array) -> _Basis:
    """Return a basis of one random vector for parameters like ``flat`` (n,)."""
    vector = jax.random.normal(key, flat.shape, flat.dtype)
    vectors = jnp.zeros((capacity, flat.size), flat.dtype)
    return _Basis(
        vectors=vectors.at[0].set(vector / jnp.linalg.norm(vector)),
        projection=jnp.zeros((capacity, capacity), flat.dtype),
        multiplied=jnp.int32(0),
        filled=jnp.int32(1),
        scale=jnp.zeros((), flat.dtype),
    )


@partial(jax.jit, static_argnames="capacity")
def _challenge(key: jax.Array, capacity: int, vectors: jax.Array, products: jax.Array) -> _Basis:
    """Return a basis of multiplied vectors and, if there is room, a random one orthogonal to them.

    The parts of the products outside the span of the vectors are left out: they are residuals
    within the tolerance.
    """
    found, size = vectors.shape
    rows = jnp.zeros((capacity, size), vectors.dtype).at[:found].set(vectors)
    projection = jnp.zeros((capacity, capacity), vectors.dtype)
    random = jax.random.normal(key, (size,), vectors.dtype)
    floor = jnp.sqrt(jnp.finfo(vectors.dtype).eps) * jnp.linalg.norm(random)
    _, rest, norm = _orthogonalise(rows, jnp.int32(found), random, floor)
    fresh = (norm > floor) & (found < capacity)
    if found < capacity:
        rows = rows.at[found].set(jnp.where(fresh, rest / norm, 0))
    return _Basis(
        vectors=rows,
        projection=projection.at[:found, :found].set(vectors @ products.T),
        multiplied=jnp.int32(found),
        filled=found + fresh.astype(jnp.int32),
        scale=jnp.max(jnp.linalg.norm(products, axis=1)),
    )


@partial(jax.jit, static_argnames="capacity")
def _enlarge(basis: _Basis, capacity: int) -> _Basis:
    more = capacity - basis.vectors.shape[0]
    return basis._replace(
        vectors=jnp.pad(basis.vectors, ((0, more), (0, 0))),
        projection=jnp.pad(basis.projection, ((0, more), (0, more))),
    )


@partial(jax.jit, static_argnames=("loss", "microbatch"), donate_argnames="basis")
def _extend(
    loss: Loss,
    microbatch: int | None,
    params: Any,
    data: tuple[Any, ...],
    basis: _Basis,
    count: jax.Array,
) -> _Basis:
    """Multiply up to ``count`` further vectors; fewer if the basis has become invariant."""
    _, unravel = ravel_pytree(params)
    last = jnp.minimum(basis.multiplied + count, basis.vectors.shape[0])

    def unfinished(state: _Basis) -> jax.Array:
        return (state.multiplied < jnp.minimum(last, state.filled)) & jnp.isfinite(state.scale)

    def multiply(state: _Basis) -> _Basis:
        vector = unravel(state.vectors[state.multiplied])
        product, _ = ravel_pytree(hessian_vector_product(loss, params, data, vector, microbatch))
        scale = jnp.maximum(state.scale, jnp.linalg.norm(product))
        # Where the product lies in the span of the basis but for rounding, nothing is added.
        floor = 4 * jnp.finfo(product.dtype).eps * scale
        coefficients, rest, norm = _orthogonalise(state.vectors, state.filled, product, floor)
        row = state.projection.at[state.multiplied].set(coefficients)
        room = state.filled < state.vectors.shape[0]

        def append() -> tuple[jax.Array, jax.Array]:
            return (
                state.vectors.at[state.filled].set(rest / norm),
                row.at[state.multiplied, state.filled].set(norm),
            )

        grown = room & (norm > floor)
        vectors, projection = jax.lax.cond(grown, append, lambda: (state.vectors, row))
        return _Basis(
            vectors, projection, state.multiplied + 1, state.filled + grown.astype(jnp.int32), scale
        )

    return jax.lax.while_loop(unfinished, multiply, basis)


def _orthogonalise(
    vectors: jax.Array, filled: jax.Array, product: jax.Array, floor: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Split ``product`` into coefficients on the filled rows and the rest, to machine precision.

    Classical Gram-Schmidt, repeated until a pass no longer shortens the rest (Daniel et al.
    1976). Rows are taken in groups, so that the empty part of the basis costs nothing.
    """
    group = min(16, vectors.shape[0])
    groups = (filled + group - 1) // group

    def one_group(index: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]):
        coefficients, rest, original = carry
        # The last group may overlap the one before it; rows already taken are masked.
        first = jnp.minimum(index * group, vectors.shape[0] - group)
        rows = jax.lax.dynamic_slice_in_dim(vectors, first, group)
        fresh = first + jnp.arange(group) >= index * group
        part = jnp.where(fresh, rows @ original, 0)
        previous = jax.lax.dynamic_slice_in_dim(coefficients, first, group)
        coefficients = jax.lax.dynamic_update_slice_in_dim(
            coefficients, previous + part, first, axis=0
        )
        return coefficients, rest - part @ rows, original

    def one_pass(carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array]):
        coefficients, rest, norm, _ = carry
        coefficients, shorter, _ = jax.lax.fori_loop(
            0, groups, one_group, (coefficients, rest, rest)
        )
        return coefficients, shorter, jnp.linalg.norm(shorter), norm

    def shortened(carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, _, norm, previous = carry
        return (norm < 0.7 * previous) & (norm > floor)

    none = jnp.zeros(vectors.shape[0], product.dtype)
    first = one_pass((none, product, jnp.linalg.norm(product), none[0]))
    coefficients, rest, norm, _ = jax.lax.while_loop(shortened, one_pass, first)
    return coefficients, rest, norm


@partial(jax.jit, static_argnames=("loss", "microbatch"))
def _rayleigh(
    loss: Loss,
    microbatch: int | None,
    params: Any,
    data: tuple[Any, ...],
    vectors: jax.Array,
    coefficients: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Return Rayleigh quotients and true residuals of Ritz vectors, the vectors, their products."""
    _, unravel = ravel_pytree(params)

    def one(weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        vector = weights @ vectors
        vector = vector / jnp.linalg.norm(vector)
        product, _ = ravel_pytree(
            hessian_vector_product(loss, params, data, unravel(vector), microbatch)
        )
        value = vector @ product
        return value, jnp.linalg.norm(product - value * vector), vector, product

    return jax.lax.map(one, coefficients)
