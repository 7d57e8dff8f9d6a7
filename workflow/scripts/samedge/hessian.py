r"""Certified eigenpairs at the top of the Hessian spectrum, cold or warm-started.

The solver grows an orthonormal basis V and keeps the products HV, so that every Ritz pair of
:math:`V^T H V` comes with its residual, by which it is certified.

1. **Following.** One at a time, the wanted Ritz pairs are improved by their own residual until
   each meets the tolerance. From one random vector this is the Lanczos method; with a full basis
   it goes on from the leading Ritz pairs, which is a thick restart (Wu & Simon 2000), so that
   memory is bounded. A warm start begins with the eigenvectors of an earlier measurement. The
   residuals are then corrected along all Ritz vectors that were kept from it, as if the old
   Ritz values still held (the preconditioner of Davidson's method, Davidson 1975): the old
   spectrum steers the search, and only new products decide what is found.
2. **A challenge.** What is orthogonal to all of this stays unseen: a further copy of a multiple
   eigenvalue, or a direction that has overtaken the old ones. So a random vector orthogonal to
   what has converged starts a Krylov sequence of its own, until the largest pair that is not
   wanted has settled below the wanted ones. If anything larger turns up, it is followed and the
   outcome challenged anew.
3. **The ends.** Where they are asked for, both ends of the spectrum are followed last, from what
   the challenge has explored.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samedge import basis
from samedge.density import spectral_density
from samedge.products import Loss, hessian_vector_product
from samedge.settings import LONGEST_CHALLENGE, least_vectors

__all__ = ["Eigenpairs", "hessian_vector_product", "spectral_density", "top_eigenpairs"]

# Products that a fresh random vector gets: at least, and until it has settled.
CHALLENGE = (10, LONGEST_CHALLENGE)
LEAST = 0.1  # recalled Ritz values below this share of the largest correct nothing
NEAREST = 0.1  # a correction takes no Ritz value to be closer than this, relative to the wanted one


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
        ``(k,)`` bool, whether each residual is within tolerance times the operator norm.
    largest, smallest
        The algebraic ends of the spectrum, as far as they were asked for.
    ritz_values, ritz_vectors
        ``(p,)`` and ``(m, n)``, what a warm start of the next measurement takes over: the Ritz
        pairs of largest magnitude, and the one at the smaller end. Rows from p on are zero, so
        that what is compiled for one measurement serves every other.
    """

    values: np.ndarray
    vectors: tuple[Any, ...]
    residuals: np.ndarray
    hvp_count: int
    converged: np.ndarray
    largest: float
    smallest: float
    ritz_values: np.ndarray
    ritz_vectors: jax.Array


def top_eigenpairs(
    loss: Loss,
    params: Any,
    data: tuple[Any, ...],
    k: int = 3,
    tolerance: float = 1e-3,
    *,
    key: jax.Array,
    max_products: int = 300,
    max_vectors: int = 40,
    microbatch: int | None = None,
    start: Eigenpairs | None = None,
    ends: bool = True,
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
        PRNG key of the random vectors.
    max_products
        Cap on Hessian-vector products; pairs unconverged there are returned as such.
    max_vectors
        Basis vectors kept at a time, at least ``2 k + 18``. Memory is ``2.5 max_vectors * n``
        numbers, whatever the difficulty.
    microbatch
        Examples that a product takes at a time; None for all.
    start
        An earlier measurement of the same k, near these parameters, to start from. The outcome
        is held to the same tolerance and challenge as without.
    ends
        Whether both ends of the spectrum must converge too; they are reported either way.

    Raises
    ------
    ValueError
        If there are fewer parameters than eigenpairs, ``max_products < 2 k``,
        ``max_vectors < 2 k + 18``, or ``start`` is of another number of parameters.
    FloatingPointError
        If a Hessian-vector product is not finite.
    """
    flat = basis.flat_shape(params)
    if flat.size < k:
        raise ValueError(f"{k} eigenpairs of a Hessian of {flat.size} parameters do not exist")
    if max_products < 2 * k:
        raise ValueError(f"max_products must be at least {2 * k} for {k} eigenpairs")
    least = least_vectors(k)
    if max_vectors < least:
        raise ValueError(f"max_vectors must be at least {least} for {k} eigenpairs")
    if start is not None and start.ritz_vectors.shape[1] != flat.size:
        raise ValueError(
            f"start is of {start.ritz_vectors.shape[1]} parameters, and there are {flat.size}"
        )
    hessian = basis.compiled_map(loss, params, data, microbatch)
    solver = _Solver(hessian, params, k, tolerance, max_products, max_vectors, key)
    solver.begin(start, ends)
    solver.follow(ends=False)
    while not solver.exhausted and solver.challenged():
        solver.follow(ends=False)
    # The ends come last: the challenge has explored the rest of the spectrum for them.
    if ends:
        solver.follow(ends=True)
    ritz_values, ritz_vectors = solver.kept()
    wanted = solver.wanted(ends=False)
    residuals = np.array([solver.residual(pair)[1] for pair in wanted])
    values, states = solver.values, solver.states
    # Pairs whose challenge was cut short by the cap on products are not certified.
    converged = (residuals <= tolerance * np.abs(values).max()) & (not solver.exhausted)
    vectors = basis.ritz_vectors(solver.vectors, solver.on_device(states[:, wanted]))
    return Eigenpairs(
        values=values[wanted],
        vectors=basis.trees(params, vectors),
        residuals=residuals,
        hvp_count=solver.spent,
        converged=converged,
        largest=float(values[-1]),
        smallest=float(values[0]),
        ritz_values=ritz_values,
        ritz_vectors=ritz_vectors,
    )


class _Solver:
    """One measurement: a basis with its products on the device, its projection on the host."""

    def __init__(
        self,
        hessian: Any,
        params: Any,
        k: int,
        tolerance: float,
        max_products: int,
        max_vectors: int,
        key: jax.Array,
    ) -> None:
        self.hessian, self.params = hessian, params
        flat = basis.flat_shape(params)
        self.k = k
        self.tolerance = tolerance
        self.max_products = max_products
        self.key = key
        self.capacity = min(max_vectors, flat.size)
        self.size, self.dtype = flat.size, flat.dtype
        self.vectors = basis.empty(self.capacity, self.size, self.dtype)
        self.products = basis.empty(self.capacity, self.size, self.dtype)
        self._project(np.zeros((0, 0)))
        self.recalled: tuple[np.ndarray, jax.Array] | None = None
        self.spent = 0  # products
        self.exhausted = False
        self.pursued = 0  # place of the pair last improved among the wanted ones

    @property
    def filled(self) -> int:
        return self.projection.shape[0]

    def begin(self, start: Eigenpairs | None, ends: bool) -> None:
        """Start from the leading pairs of an earlier measurement, or from a random vector."""
        if start is None:
            self._append(self._random())
            return
        self.recalled = (start.ritz_values, start.ritz_vectors)
        first = [*range(self.k), int(np.argmin(start.ritz_values))]
        for index in dict.fromkeys(first if ends else first[:-1]):
            if index < len(start.ritz_values) and not self._full():
                self._append(start.ritz_vectors[index])

    def follow(self, ends: bool) -> None:
        """Improve the wanted pairs until each meets the tolerance, or the cap is reached."""
        while self._improved(ends):
            pass

    def kept(self) -> tuple[np.ndarray, jax.Array]:
        """Return the leading Ritz values ``(p,)`` and their vectors, rows of an array.

        The array ``(m, n)`` has the same number of rows whatever p; those from p on are zero.
        """
        kept = self.leading(self.capacity // 2)
        padded = np.zeros((self.filled, basis.whole_groups(max(self.capacity // 2, self.k + 2))))
        padded[:, : len(kept)] = self.states[:, kept]
        return self.values[kept], basis.ritz_vectors(self.vectors, self.on_device(padded))

    def _improved(self, ends: bool) -> bool:
        """Extend the basis by what the first wanted pair lacks; tell whether there was anything."""
        if self._spent():
            return False
        if self.filled < min(self.k, self.size):
            return self._append(self._random())
        if self._full():
            self._restart(self.leading(self.capacity // 2))
        unconverged = self._unconverged(ends)
        if unconverged is None:
            return False
        # A direction that rounding leaves inside the basis has nothing to add.
        return self._append(self._corrected(*unconverged)) or self._append(self._random())

    def challenged(self) -> bool:
        """Let a fresh random vector look for what was missed; tell whether it found any."""
        least, most = CHALLENGE
        # What has not converged leaves the basis, but for the ends: a Krylov sequence beside
        # vectors that are no eigenvectors would not see what these hold a part of.
        self._restart(self.wanted(ends=True))
        first = self.filled
        before = self._magnitudes()
        margin = self.tolerance * before[0]
        direction = self._random()
        while self.filled - first < most and not self._full() and not self._spent():
            if not self._append(direction):
                break  # all that the random vector leads to is in the basis
            direction = self.products[self.filled - 1]
            if self.filled - first >= least and self._settled(before[-1] + margin):
                break
        return bool(np.any(self._magnitudes() > before + margin))

    def leading(self, count: int) -> list[int]:
        """Return the pairs of largest magnitude, and the ends, ``count`` in all if so many."""
        return list(dict.fromkeys([*self.order[: max(count - 2, self.k)], 0, self.filled - 1]))

    def wanted(self, ends: bool) -> list[int]:
        """Return the k pairs of largest magnitude, and the ends if asked for."""
        return self.leading(self.k + 2) if ends else self.order[: self.k]

    def residual(self, pair: int) -> tuple[jax.Array, float]:
        """Return the residual (n,) of a Ritz pair and its norm."""
        coefficients = self.on_device(self.states[:, pair])
        value = jnp.asarray(self.values[pair], self.dtype)
        rest, norm = basis.residual(
            self.vectors, self.products, jnp.int32(self.filled), coefficients, value
        )
        return rest, float(norm)

    def on_device(self, coefficients: np.ndarray) -> jax.Array:
        """Return coefficients of the filled vectors, padded to the whole array."""
        padded = np.zeros((self.vectors.shape[0], *coefficients.shape[1:]))
        padded[: self.filled] = coefficients
        return jnp.asarray(padded, self.dtype)

    def _unconverged(self, ends: bool) -> tuple[int, jax.Array] | None:
        """Return a wanted pair that misses the tolerance, with its residual.

        The one that missed it last comes first, so that a pair is pursued until it has converged
        and the others' residuals are not formed anew at every product.
        """
        within = self.tolerance * np.abs(self.values).max()
        pairs = self.wanted(ends)
        for offset in range(len(pairs)):
            place = (self.pursued + offset) % len(pairs)
            direction, norm = self.residual(pairs[place])
            if norm > within:
                self.pursued = place
                return pairs[place], direction
        return None

    def _corrected(self, pair: int, direction: jax.Array) -> jax.Array:
        """Return the direction in which a pair is improved, see the head of this module."""
        if self.recalled is None:
            return direction
        old, rows = self.recalled
        value = self.values[pair]
        distance = value - old
        nearest = NEAREST * max(abs(value), np.finfo(np.float64).tiny)
        distance = np.where(np.abs(distance) < nearest, np.copysign(nearest, distance), distance)
        gains = np.zeros(rows.shape[0])
        # Small ones are far from converged; dividing by their distance would add noise.
        gains[: len(old)] = np.where(np.abs(old) > LEAST * np.abs(old).max(), old / distance, 0)
        return basis.corrected(rows, jnp.int32(len(old)), jnp.asarray(gains, self.dtype), direction)

    def _append(self, direction: jax.Array) -> bool:
        """Multiply what a direction adds to the basis; tell whether it added anything."""
        filled = self.filled
        self.vectors, self.products, column, share = basis.append(
            self.hessian, self.params, self.vectors, self.products, jnp.int32(filled), direction
        )
        if not float(share) > 0:
            return False
        # Cut on the host: on the device every length would be a program of its own.
        column = np.asarray(column, np.float64)[: filled + 1]
        if not np.all(np.isfinite(column)):
            raise FloatingPointError("a Hessian-vector product is not finite")
        self.spent += 1
        larger = np.zeros((filled + 1, filled + 1))
        larger[:filled, :filled] = self.projection
        larger[filled, :] = larger[:, filled] = column
        self._project(larger)
        return True

    def _project(self, projection: np.ndarray) -> None:
        """Take a new projection of H on the basis, and its Ritz pairs.

        ``values`` are ascending, ``states`` their coefficients in the basis, in columns, and
        ``order`` the pairs by decreasing magnitude.
        """
        self.projection = projection
        self.values, self.states = np.linalg.eigh(projection)
        self.order = [int(pair) for pair in np.argsort(-np.abs(self.values), kind="stable")]

    def _magnitudes(self) -> np.ndarray:
        """Return the k largest magnitudes of Ritz values, descending."""
        return np.abs(self.values[self.order[: self.k]])

    def _settled(self, bound: float) -> bool:
        """Tell whether the largest pair that is not wanted is below a bound, residual included."""
        if self.filled <= self.k:
            return True
        following = self.order[self.k]
        return abs(self.values[following]) + self.residual(following)[1] <= bound

    def _restart(self, kept: list[int]) -> None:
        """Go on from some Ritz pairs alone, as a basis of their own."""
        padded = np.zeros((self.vectors.shape[0], self.vectors.shape[0]))
        padded[: self.filled, : len(kept)] = self.states[:, kept]
        self.vectors, self.products = basis.rotated(
            self.vectors, self.products, jnp.asarray(padded, self.dtype)
        )
        self._project(np.diag(self.values[kept]))

    def _random(self) -> jax.Array:
        self.key, key = jax.random.split(self.key)
        return jax.random.normal(key, (self.size,), self.dtype)

    def _full(self) -> bool:
        return self.filled >= self.capacity

    def _spent(self) -> bool:
        self.exhausted = self.spent >= self.max_products
        return self.exhausted
