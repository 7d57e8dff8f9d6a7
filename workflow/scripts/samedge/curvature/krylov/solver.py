r"""How the top of the spectrum is found: followed, challenged, and its ends last.

The solver grows an orthonormal basis V and keeps the products HV, so that every Ritz pair of
:math:`V^T H V` comes with its residual, by which it is certified.

1. **Following.** The Lanczos method, with every vector kept orthogonal to the basis, until the
   wanted Ritz pairs meet the tolerance. A full basis goes on from its leading Ritz pairs, which is
   a thick restart (Wu & Simon 2000), so that memory is bounded. A warm start begins with the
   eigenvectors of an earlier measurement, and improves one pair at a time by its own residual,
   corrected along all Ritz vectors that were kept from then, as if the old Ritz values still held
   (the preconditioner of Davidson's method, Davidson 1975): the old spectrum steers the search,
   and only new products decide what is found. An old spectrum that no longer holds would steer it
   astray: where the old principal vector is far from being an eigenvector, the Lanczos method
   starts from it and the rest is forgotten.
2. **A challenge.** One sequence never sees a second eigenvector of a multiple eigenvalue. So what
   has converged is deflated, and a fresh random vector starts a sequence in the rest of the space,
   until the probability that an eigenvalue beyond the wanted ones is still unseen is below
   ``overlook``. If anything larger turns up, it is followed and the outcome challenged anew.
3. **The ends.** Where they are asked for, both ends of the spectrum are followed last, from what
   the challenge has explored.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samedge.curvature.krylov import basis, certificate
from samedge.curvature.scaling import OperatorScale

STALE = 0.1  # residual over eigenvalue from which on an earlier spectrum no longer holds
LEAST = 0.1  # recalled Ritz values below this share of the largest correct nothing
NEAREST = 0.1  # a correction takes no Ritz value to be closer than this, relative to the wanted one


class RitzPairs(NamedTuple):
    """What a warm start takes over from an earlier measurement.

    Attributes
    ----------
    ritz_values, ritz_vectors
        ``(p,)`` and ``(m, n)``, see :class:`samedge.curvature.eigenpairs.Eigenpairs`.
    """

    ritz_values: np.ndarray
    ritz_vectors: jax.Array


class Solver:
    """One measurement: a basis with its products on the device, its projection on the host."""

    def __init__(
        self,
        hessian: basis.Hessian,
        params: Any,
        k: int,
        tolerance: float,
        overlook: float,
        max_products: int,
        max_vectors: int,
        key: jax.Array,
        pause: Callable[[], None],
    ) -> None:
        self.hessian, self.params, self.pause = hessian, params, pause
        flat = basis.flat_shape(params)
        # Basis, projection, Ritz values and residuals are of the Hessian at this scale.
        self.scale = OperatorScale(flat.dtype)
        self.size, self.dtype = flat.size, flat.dtype
        self.k = k
        self.tolerance = tolerance
        self.overlook = overlook
        self.max_products = max_products
        self.key = key
        self.capacity = min(max_vectors, flat.size)
        # Pairs with which a full basis goes on.
        self.half = min(self.capacity, max(self.capacity // 2, k + 2))
        self.basis = basis.empty(self.capacity, flat)
        self._project(np.zeros((0, 0)))
        self.krylov = True  # whether all residuals are parallel to the rest of the last product
        self.recalled: tuple[np.ndarray, jax.Array] | None = None
        self.chances: list[float] = []  # of each challenge to have overlooked something
        self.spent = 0  # products
        self.exhausted = False  # whether more were wanted than the cap allows
        self.pursued = 0  # place of the pair last improved among the wanted ones

    @property
    def filled(self) -> int:
        """Number of vectors in the basis."""
        return self.projection.shape[0]

    @property
    def overlooked(self) -> float:
        """Bound on the probability that a larger eigenvalue was overlooked."""
        return certificate.combined_miss_probability(self.chances)

    @property
    def margin(self) -> float:
        """The tolerance, absolute."""
        return self.tolerance * np.abs(self.values).max()

    def begin(self, start: Any, ends: bool) -> None:
        """Start from the :class:`RitzPairs` of an earlier measurement, or from a random vector."""
        if start is not None:
            self.scale.expect(np.abs(start.ritz_values).max())
        self.map = self.hessian.times(self.scale.factors)
        if start is None or not self._append(start.ritz_vectors[0]):
            self._append(self._random())
            return
        if self.length > STALE * np.abs(self.values[0]):
            return
        self.recalled = (start.ritz_values, start.ritz_vectors)
        self.krylov = False
        others = [*range(1, self.k), int(np.argmin(start.ritz_values))]
        for index in dict.fromkeys(others if ends else others[:-1]):
            if index < len(start.ritz_values) and not self._full():
                self._append(start.ritz_vectors[index])

    def follow(self, ends: bool) -> None:
        """Improve the wanted pairs until each meets the tolerance, or the cap is reached."""
        while self._improved(ends):
            pass

    def _improved(self, ends: bool) -> bool:
        """Extend the basis by what the wanted pairs lack; tell whether there was anything."""
        direction = self._lacking(ends)
        if direction is None or self._capped():
            return False
        if self._full():
            self.recalled = None  # it has not helped
            self._restart(self.leading(self.half))
        # A direction that rounding leaves inside the basis has nothing to add.
        return self._append(direction) or self._append(self._random())

    def challenge(self) -> None:
        """Let a fresh random vector look for what was missed.

        It stops when something larger has turned up, when that has become improbable, or when the
        basis is full. Challenges are independent of each other.
        """
        before, margin = self._magnitudes(), self.margin
        bound = before[-1] + margin
        self._restart(self._deflated(bound, margin / 2))
        self.krylov = False
        first = self.filled
        self.chances.append(1.0)
        direction = self._random()
        while not self._full() and not self._capped():
            if not self._append(direction):
                self.chances[-1] = 0.0  # all that the random vector leads to is in the basis
                return
            direction = self.rest
            if np.any(self._magnitudes() > before + margin):
                self.chances = []
                return
            sequence = self.projection[first:, first:]
            couplings = np.append(np.diag(sequence, -1), self.length)
            self.chances[-1] = certificate.miss_probability(
                np.diag(sequence), couplings, bound - margin / 2, self.size
            )
            if self.overlooked <= self.overlook:
                return
        if self.filled == self.size:
            self.chances[-1] = 0.0

    def leading(self, count: int) -> list[int]:
        """Return the pairs of largest magnitude, and the ends, ``count`` in all if so many."""
        return list(dict.fromkeys([*self.order[: max(count - 2, self.k)], 0, self.filled - 1]))

    def wanted(self, ends: bool) -> list[int]:
        """Return the k pairs of largest magnitude, and the ends if asked for."""
        return self.leading(self.k + 2) if ends else self.order[: self.k]

    def residual(self, pair: int) -> tuple[jax.Array, float]:
        """Return the residual (n,) of a Ritz pair and its norm."""
        coefficients = self._on_device(self.states[:, pair])
        value = jnp.asarray(self.values[pair], self.dtype)
        direction, norm = basis.residual(self.basis, coefficients, value)
        return direction, float(norm)

    def kept(self) -> tuple[np.ndarray, jax.Array]:
        """Return the leading Ritz values ``(p,)`` and their vectors, rows of an array ``(m, n)``.

        The array has the same number of rows whatever p; those from p on are zero.
        """
        kept = self.leading(self.half)
        return self.values[kept], basis.ritz_vectors(self.basis, self._coefficients(kept))

    def _coefficients(self, pairs: list[int]) -> jax.Array:
        """Return the coefficients (capacity, half) of Ritz pairs, padded in both directions."""
        padded = np.zeros((self.filled, self.half))
        padded[:, : len(pairs)] = self.states[:, pairs]
        return self._on_device(padded)

    def _on_device(self, coefficients: np.ndarray) -> jax.Array:
        """Return coefficients of the filled vectors, padded to the whole array."""
        padded = np.zeros((self.capacity, *coefficients.shape[1:]))
        padded[: self.filled] = coefficients
        return jnp.asarray(padded, self.dtype)

    def _lacking(self, ends: bool) -> jax.Array | None:
        """Return a direction that improves the wanted pairs; None if they meet the tolerance.

        The pair that missed it last comes first, so that a pair is pursued until it has converged
        and the others' residuals are not formed anew at every product.
        """
        pairs = self.wanted(ends)
        if self.filled < self.k:
            return self.rest
        if self.krylov:
            return self.rest if np.any(self._coupled(pairs) > self.margin) else None
        for offset in range(len(pairs)):
            place = (self.pursued + offset) % len(pairs)
            direction, norm = self.residual(pairs[place])
            if norm > self.margin:
                self.pursued = place
                return self._corrected(pairs[place], direction)
        return None

    def _corrected(self, pair: int, direction: jax.Array) -> jax.Array:
        """Return the direction in which a pair is improved, see the head of this module."""
        if self.recalled is None:
            return direction
        old, rows = self.recalled
        value = self.values[pair]
        old = np.ldexp(old, self.scale.exponent)
        distance = value - old
        nearest = NEAREST * max(abs(value), np.finfo(np.float64).tiny)
        distance = np.where(np.abs(distance) < nearest, np.copysign(nearest, distance), distance)
        gains = np.zeros(rows.shape[0])
        # Small ones are far from converged; dividing by their distance would add noise.
        gains[: len(old)] = np.where(np.abs(old) > LEAST * np.abs(old).max(), old / distance, 0)
        return basis.corrected(rows, jnp.asarray(gains, self.dtype), direction)

    def _coupled(self, pairs: list[int]) -> np.ndarray:
        """Return the residual norms of pairs (m,), up to rounding, where all are parallel."""
        return self.length * np.abs(self.states[-1, pairs])

    def _append(self, direction: jax.Array) -> bool:
        """Multiply what a direction adds to the basis; tell whether it added anything."""
        self.pause()
        filled = self.filled
        appended = basis.append(self.map, self.params, self.basis, jnp.int32(filled), direction)
        self.basis = appended.basis
        if not float(appended.share) > 0:
            return False
        self.spent += 1
        exponent = self.scale.exponent
        while self.scale.changed_by(_size(appended)):
            appended = self._again(appended.share, self.scale.exponent - exponent)
            exponent = self.scale.exponent
            self.spent += 1
        if not np.isfinite(_size(appended)):
            raise FloatingPointError("a Hessian-vector product is not finite")
        # Cut on the host: on the device every length would be a program of its own.
        column = np.asarray(appended.column, np.float64)[: filled + 1]
        self.rest, self.length = appended.rest, float(appended.length)
        larger = np.zeros((filled + 1, filled + 1))
        larger[:filled, :filled] = self.projection
        larger[filled, :] = larger[:, filled] = column
        self._project(larger)
        return True

    def _again(self, share: jax.Array, power: int) -> basis.Appended:
        """Take all that there is to a scale 2**power times larger, and multiply once more."""
        self.map = self.hessian.times(self.scale.factors)
        if np.any(self.projection):
            products = basis.multiple(self.basis.products, jnp.int32(power))
            self.basis = self.basis._replace(products=products)
            self._project(np.ldexp(self.projection, power))
        filled = jnp.int32(self.filled)
        appended = basis.append_again(self.map, self.params, self.basis, filled, share)
        self.basis = appended.basis
        return appended

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

    def _deflated(self, bound: float, margin: float) -> list[int]:
        """Return the wanted pairs and such that a challenge need not find again.

        Let Y hold Ritz pairs of values theta and residuals r, and A be what H is outside of Y. If
        no eigenvalue of A exceeds ``bound - margin``, none of H but those of the wanted pairs
        exceeds ``bound``, as long as the sum of ``r**2 / (bound - |theta|)`` over the others of Y
        is within the margin (by the Schur complement of A); up to the residuals of the wanted ones
        (Weyl's inequality).
        """
        wanted = self.wanted(ends=False)
        others = self.order[self.k : self.half]
        if self.krylov:
            norms = self._coupled(others)
        else:
            norms = np.array([self.residual(pair)[1] for pair in others])
        shifts = norms**2 / (bound - np.abs(self.values[others]))
        cheapest = np.argsort(shifts)
        within = np.cumsum(shifts[cheapest]) <= margin
        return wanted + [others[place] for place in cheapest[within]]

    def _restart(self, kept: list[int]) -> None:
        """Go on from some Ritz pairs alone, as a basis of their own."""
        coefficients = self._coefficients(kept)
        # One after the other: room for the new rows of one of them is enough.
        self.basis = basis.Basis(*(basis.rotated(rows, coefficients) for rows in self.basis))
        self._project(np.diag(self.values[kept]))

    def _random(self) -> jax.Array:
        self.key, key = jax.random.split(self.key)
        return jax.random.normal(key, (self.size,), self.dtype)

    def _full(self) -> bool:
        return self.filled >= self.capacity

    def _capped(self) -> bool:
        self.exhausted = self.spent >= self.max_products
        return self.exhausted


def _size(appended: basis.Appended) -> float:
    """Return the norm of the product that was appended last."""
    return float(np.hypot.reduce([*np.asarray(appended.column, np.float64), appended.length]))
