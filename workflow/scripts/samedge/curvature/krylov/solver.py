r"""How the top of the spectrum is found: followed, challenged, and its ends bounded last.

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
3. **The ends.** The same sequence bounds both ends of the spectrum. Where they are asked for, it
   goes on until the outermost Ritz values are near the bounds.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samedge.curvature.krylov import certificate, rows
from samedge.curvature.krylov.hessian import Hessian, flat_shape, product
from samedge.curvature.krylov.pace import Pace
from samedge.curvature.scaling import OperatorScale

STALE = 0.1  # residual over eigenvalue from which on an earlier spectrum no longer holds
LEAST = 0.1  # recalled Ritz values below this share of the largest correct nothing
NEAREST = 0.1  # a correction takes no Ritz value to be closer than this, relative to the wanted one
BLIND = 3  # products of a sequence before anything can be said of its pace
RECALLED = 12  # Ritz pairs at most that the next measurement starts from


class RitzPairs(NamedTuple):
    """What a warm start takes over from an earlier measurement.

    Attributes
    ----------
    ritz_values, ritz_vectors
        ``(p,)`` and ``(m, n)``, see :class:`samedge.curvature.eigenpairs.Eigenpairs`.
    """

    ritz_values: np.ndarray
    ritz_vectors: jax.Array


class Step(NamedTuple):
    """What a vector of the basis brought, on the device."""

    share: jax.Array | float  # of the direction that was outside the basis; zero if only rounding
    column: jax.Array  # (capacity,), of the projection of the Hessian on the basis
    length: jax.Array  # of what of the product is outside the basis, the rest
    value: jax.Array  # to be added to the column at the vector itself
    coupling: jax.Array | float  # to be added at the vector before


class Solver:
    """One measurement: a basis with its products on the device, its projection on the host."""

    def __init__(
        self,
        hessian: Hessian,
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
        flat = flat_shape(params)
        # Basis, projection, Ritz values and residuals are of the Hessian at this scale.
        self.scale = OperatorScale(flat.dtype)
        self.size, self.dtype = flat.size, flat.dtype
        # Share of a product below which what is left of it is rounding.
        self.rounding = 16 * float(np.finfo(flat.dtype).eps)
        self.k = k
        self.tolerance = tolerance
        self.overlook = overlook
        self.max_products = max_products
        self.key = key
        self.capacity = min(max_vectors, flat.size)
        # Pairs with which a full basis goes on.
        self.half = min(self.capacity, max(self.capacity // 2, k + 2))
        self.vectors = rows.Rows(self.capacity, flat)
        self.products = rows.Rows(self.capacity, flat)
        self._pairs: tuple[np.ndarray, np.ndarray, list[int]] | None
        self._norms: dict[int, float]  # of residuals that have been formed
        self._project(np.zeros((0, 0)))
        self.length = 0.0  # of the rest of the last product
        self.krylov = True  # whether all residuals are parallel to the rest of the last product
        self.recalled: tuple[np.ndarray, jax.Array] | None = None
        self.overlooked = 1.0  # bound on the probability that a larger eigenvalue was overlooked
        self.sequence: certificate.Sequence | None = None  # of the last challenge
        self.first = 0  # row of the basis from which on the vectors are those of the sequence
        # Ritz values and residual norms of the rows before them.
        self.deflated = np.zeros(0), np.zeros(0)
        self.spent = 0  # products
        self.exhausted = False  # whether more were wanted than the cap allows
        self.last: jax.Array | None = None  # the vector of the last row, where it is as it was put
        self.pursued = 0  # place of the pair last improved among the wanted ones
        self.pace = Pace(1)

    @property
    def filled(self) -> int:
        """Number of vectors in the basis."""
        return self.projection.shape[0]

    @property
    def margin(self) -> float:
        """The tolerance, absolute."""
        return self.tolerance * self.norm

    @property
    def norm(self) -> float:
        """The largest magnitude of a Ritz value."""
        return float(np.abs(self.values).max())

    @property
    def values(self) -> np.ndarray:
        """The Ritz values (filled,), ascending."""
        return self._ritz_pairs()[0]

    @property
    def states(self) -> np.ndarray:
        """The coefficients of the Ritz vectors in the basis (filled, filled), in columns."""
        return self._ritz_pairs()[1]

    @property
    def order(self) -> list[int]:
        """The Ritz pairs by decreasing magnitude."""
        return self._ritz_pairs()[2]

    def _ritz_pairs(self) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Return values, states and order; nobody asks for those of every product."""
        if self._pairs is None:
            values, states = np.linalg.eigh(self.projection)
            order = np.argsort(-np.abs(values), kind="stable")
            self._pairs = values, states, [int(pair) for pair in order]
        return self._pairs

    @property
    def wanted(self) -> list[int]:
        """The k pairs of largest magnitude."""
        return self.order[: self.k]

    def begin(self, start: Any) -> None:
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
        for index in range(1, min(self.k, len(start.ritz_values))):
            self._append(start.ritz_vectors[index])

    def follow(self) -> None:
        """Improve the wanted pairs until each meets the tolerance, or the cap is reached."""
        self.pace = Pace(self.k + 1)
        while (direction := self._lacking()) is not None and not self._capped():
            if self._full():
                self.recalled = None  # it has not helped
                self._restart(self.order[: self.half])
            count = self.pace.steps if self.krylov else 1
            # A direction that rounding leaves inside the basis has nothing to add.
            if not self._append(direction, count, onwards=self.krylov):
                self._append(self._random())

    def challenge(self) -> None:
        """Let a fresh random vector look for what was missed.

        It stops when something larger has turned up, or when that has become improbable.
        """
        bound = self._magnitudes()[-1] + self.margin / 2
        sequence = self._begin_sequence()
        while self.overlooked > self.overlook and not self._capped():
            self._explore(sequence)
            if max(sequence.highest, -sequence.lowest) > bound:
                self.overlooked, self.sequence = 1.0, None
                self.recalled = None  # the old spectrum lacks what has turned up
                return
            self.overlooked = sequence.miss_probability(bound)
            self.pace.aim(self.spent, self.overlooked / self.overlook)

    def bound_ends(self, within: float) -> None:
        """Explore until both ends are known to within this share of the operator norm.

        They are if bounds that hold but with the probability ``overlook`` are that near; where
        that is 1, if they are Ritz values of residuals that small.
        """
        sequence = self.sequence or self._begin_sequence()
        self.pace = Pace(1)
        while (missed := self._ends_missed(sequence, within)) > 1 and not self._capped():
            self.pace.aim(self.spent, missed)
            self._explore(sequence)

    def ends(self) -> tuple[float, float]:
        """Return the outermost Ritz values that were seen, the smallest first."""
        lowest, highest = float(self.values[0]), float(self.values[-1])
        if self.sequence is not None:
            lowest, highest = min(lowest, self.sequence.lowest), max(highest, self.sequence.highest)
        return lowest, highest

    def bounds(self) -> tuple[float, float]:
        """Return the values beyond which nothing lies but with the probability ``overlook``.

        NaN where that is not known.
        """
        sequence, bounds = self.sequence, []
        for sign, end in zip((-1, 1), self.ends(), strict=True):
            distance = np.nan
            if sequence is not None and self.overlook < 1:
                beyond = partial(self._chances_beyond, sequence, sign, end)
                distance = certificate.nearest(beyond, 2 * self.norm, self.overlook)
            bounds.append(end + sign * distance)
        return bounds[0], bounds[1]

    def residual_norms(self, pairs: list[int]) -> np.ndarray:
        """Return the norms of the residuals of Ritz pairs (m,)."""
        unknown = [pair for pair in pairs if pair not in self._norms]
        for first in range(0, len(unknown), self.k):
            some = unknown[first : first + self.k]
            # As many at a time as are wanted, so that one program serves all.
            states, values = np.zeros((self.filled, self.k)), np.zeros(self.k, self.dtype)
            states[:, : len(some)], values[: len(some)] = self.states[:, some], self.values[some]
            norms = rows.residual_norms(self.vectors, self.products, states, values)
            self._norms |= zip(some, norms.tolist(), strict=False)
        return np.array([self._norms[pair] for pair in pairs])

    def kept(self) -> tuple[np.ndarray, jax.Array]:
        """Return the leading Ritz values ``(p,)`` and their vectors, rows of an array ``(m, n)``.

        The array has the same number of rows whatever p; those from p on are zero.
        """
        most = min(self.half, RECALLED)
        kept = self.order[:most]
        padded = np.zeros((self.filled, most))
        padded[:, : len(kept)] = self.states[:, kept]
        return self.values[kept], self.vectors.unit_combinations(padded)

    def _begin_sequence(self) -> certificate.Sequence:
        """Deflate what is known, and let a random vector start a sequence in the rest."""
        pairs, norms = self._deflated()
        self.deflated = self.values[pairs], norms
        self._restart(pairs)
        self.krylov, self.first = False, self.filled
        self.sequence = certificate.Sequence(self.size)
        self.pace = Pace(BLIND)
        return self.sequence

    def _explore(self, sequence: certificate.Sequence) -> None:
        """Let the sequence take as many products as the pace says."""
        if self._full() and self.filled < self.size:
            self._project(self.projection[: self.first, : self.first])
            self.last = None
            sequence.turn()
        onwards = len(sequence) > 0
        direction = self.rest if onwards else self._random()
        if self.filled < self.size and self._append(direction, self.pace.steps, onwards):
            sequence.take(self.projection[self.first :, self.first :], self.length)
        else:
            sequence.ended = True

    def _ends_missed(self, sequence: certificate.Sequence, within: float) -> float:
        """Return by what ratio the worse known end misses what is asked for."""
        distance = within * self.norm
        if self.overlook == 1:
            pairs = zip((0, self.filled - 1), sequence.residuals, strict=True)
            return max(0 if pair in self.wanted else norm / distance for pair, norm in pairs)
        return max(
            self._chances_beyond(sequence, sign, end, np.array([distance]))[0] / self.overlook
            for sign, end in zip((-1, 1), self.ends(), strict=True)
        )

    def _chances_beyond(
        self, sequence: certificate.Sequence, sign: int, end: float, distances: np.ndarray
    ) -> np.ndarray:
        """Bound the probabilities that an eigenvalue lies farther than that from an end.

        Let Y hold the deflated Ritz pairs, of values theta and residuals r, and A be what H is
        outside of Y. All eigenvalues of H lie below mu if those of A lie below mu minus the sum of
        ``r**2 / (mu - theta)`` (by the Schur complement of A), and above the lower end likewise.
        """
        values, norms = self.deflated
        gaps = distances[:, None] + sign * (end - values)
        with np.errstate(divide="ignore", invalid="ignore"):
            shifts = np.nansum(norms**2 / gaps, axis=1)
        beyond = sign * (end - sign * shifts) + distances
        outermost = sequence.highest if sign > 0 else -sequence.lowest
        chances = sequence.chances(sign * np.maximum(beyond, outermost))
        return np.where(beyond < outermost, 1.0, chances)

    def _lacking(self) -> jax.Array | None:
        """Return a direction that improves the wanted pairs; None if they meet the tolerance.

        The pair that missed it last comes first, so that a pair is pursued until it has converged
        and the others' residuals are not formed anew at every product.
        """
        if self.filled < self.k:
            return self.rest
        if self.krylov:
            missed = float(self._residual_norms(self.wanted).max())
            self.pace.aim(self.spent, missed / self.margin if self.margin else 0.0)
            return self.rest if missed > self.margin else None
        for offset in range(self.k):
            place = (self.pursued + offset) % self.k
            pair = self.wanted[place]
            if self._norms.get(pair, np.inf) > self.margin:
                direction, norm = rows.residual(
                    self.vectors.blocks,
                    self.products.blocks,
                    np.int32(self.filled),
                    self.vectors.coefficients(self.states[:, pair]),
                    self.dtype.type(self.values[pair]),
                )
                self._norms[pair] = float(norm)
                if self._norms[pair] > self.margin:
                    self.pursued = place
                    return self._corrected(pair, direction)
        return None

    def _corrected(self, pair: int, direction: jax.Array) -> jax.Array:
        """Return the direction in which a pair is improved, see the head of this module."""
        if self.recalled is None:
            return direction
        old, vectors = self.recalled
        value = self.values[pair]
        old = np.ldexp(old, self.scale.exponent)
        distance = value - old
        nearest = NEAREST * max(abs(value), np.finfo(np.float64).tiny)
        distance = np.where(np.abs(distance) < nearest, np.copysign(nearest, distance), distance)
        gains = np.zeros(vectors.shape[0], self.dtype)
        # Small ones are far from converged; dividing by their distance would add noise.
        gains[: len(old)] = np.where(np.abs(old) > LEAST * np.abs(old).max(), old / distance, 0)
        return rows.corrected(vectors, gains, direction)

    def _residual_norms(self, pairs: list[int]) -> np.ndarray:
        """Return the residual norms of pairs (m,), up to rounding where all are parallel."""
        if self.krylov:
            return self.length * np.abs(self.states[-1, pairs])
        return self.residual_norms(pairs)

    def _append(self, direction: jax.Array, count: int = 1, onwards: bool = False) -> bool:
        """Multiply what a direction adds to the basis; then the rest of that product, and so on.

        Parameters
        ----------
        direction
            (n,), of any length; ``rest`` where it goes ``onwards`` from the last product.
        count
            Of products; there are fewer where the basis is full, the cap is reached, or nothing
            is left.

        Returns
        -------
        Whether anything was added.
        """
        if onwards and not self.length > 0:
            return False
        if not self.scale.settled:
            count = 1
        count = max(1, min(count, self.capacity - self.filled, self.max_products - self.spent))
        share: Any = self.length if onwards else None
        before, steps = self.last if onwards else None, []
        for place in range(self.filled, self.filled + count):
            self.pause()
            if share is None:
                direction, share, _ = rows.outside(self.vectors.blocks, np.int32(place), direction)
            self.vectors.put(place, direction)
            rest, step = self._multiplied(place, direction, before, share)
            steps.append(step)
            before, direction, share = direction, rest, step.length
            self.pace.wait(share)
        self.last = before
        return self._take(steps, direction)

    def _multiplied(
        self, place: int, vector: jax.Array, before: jax.Array | None, share: jax.Array | float
    ) -> tuple[jax.Array, Step]:
        """Multiply the vector in a row; return the rest of the product beside what it brought.

        ``before`` is the vector of the row before if ``vector`` is the rest of its product.
        """
        made = product(self.map, self.params, vector)
        # Of one type whether it comes from the host or the device, so that one program serves both.
        coupling = jnp.asarray(0.0 if before is None else share, self.dtype)
        made, value = self.products.put_product(
            place, made, vector, vector if before is None else before, coupling
        )
        rest, length, column = rows.outside(self.vectors.blocks, np.int32(place + 1), made)
        return rest, Step(share, column, length, value, coupling)

    def _take(self, steps: list[Step], rest: jax.Array) -> bool:
        """Take what was brought by steps, of which the last product has this rest.

        What follows a step that leaves nothing, or that must be made again, is dropped.
        """
        taken = False
        for step in jax.device_get(steps):
            if taken and not self.length > 0:
                self.spent += step.share > 0
                continue
            if not step.share > 0:
                break
            self.spent += 1
            exponent = self.scale.exponent
            column, size = self._column(step)
            while self.scale.changed_by(size):
                rest, step = self._again(self.scale.exponent - exponent)
                column, size = self._column(step)
                exponent = self.scale.exponent
            if not np.isfinite(size):
                raise FloatingPointError("a Hessian-vector product is not finite")
            filled = self.filled
            larger = np.zeros((filled + 1, filled + 1))
            larger[:filled, :filled] = self.projection
            larger[filled, :] = larger[:, filled] = column
            self._project(larger)
            self.rest, taken = rest, True
            self.length = float(step.length) if step.length > self.rounding * size else 0.0
        return taken

    def _again(self, power: int) -> tuple[jax.Array, Step]:
        """Take all that there is to a scale 2**power times larger, and multiply once more."""
        self.map = self.hessian.times(self.scale.factors)
        if np.any(self.projection):
            self.products.multiply(power)
            self._project(np.ldexp(self.projection, power))
        self.deflated = np.ldexp(self.deflated[0], power), np.ldexp(self.deflated[1], power)
        if self.sequence is not None:
            self.sequence.multiply(power)
        self.spent += 1
        rest, step = self._multiplied(self.filled, self.vectors.row(self.filled), None, 1.0)
        return rest, jax.device_get(step)

    def _column(self, step: Step) -> tuple[np.ndarray, float]:
        """Return what a step adds to the projection (filled + 1,), and the norm of its product."""
        column = np.array(step.column[: self.filled + 1], np.float64)
        column[-1] += step.value
        if step.coupling:
            column[-2] += step.coupling
        return column, float(np.hypot.reduce([*column, step.length]))

    def _project(self, projection: np.ndarray) -> None:
        """Take a new projection of H on the basis."""
        self.projection = projection
        self._pairs, self._norms = None, {}

    def _magnitudes(self) -> np.ndarray:
        """Return the k largest magnitudes of Ritz values, descending."""
        return np.abs(self.values[self.wanted])

    def _deflated(self) -> tuple[list[int], np.ndarray]:
        """Return the wanted pairs and such that a challenge need not find again, with residuals.

        Let Y hold Ritz pairs of values theta and residuals r, and A be what H is outside of Y. If
        no eigenvalue of A exceeds ``bound - margin / 2``, none of H but those of the wanted pairs
        exceeds ``bound``, as long as the sum of ``r**2 / (bound - |theta|)`` over the others of Y
        is within half the margin (by the Schur complement of A); up to the residuals of the wanted
        ones (Weyl's inequality).
        """
        # From a warm start nothing but the wanted pairs has converged.
        others = [] if self.recalled is not None else self.order[self.k : self.half]
        bound = self._magnitudes()[-1] + self.margin
        found, norms = (self._residual_norms(pairs) for pairs in (self.wanted, others))
        shifts = norms**2 / (bound - np.abs(self.values[others]))
        cheapest = np.argsort(shifts)
        within = cheapest[np.cumsum(shifts[cheapest]) <= self.margin / 2]
        return self.wanted + [others[place] for place in within], np.append(found, norms[within])

    def _restart(self, kept: list[int]) -> None:
        """Go on from some Ritz pairs alone, as a basis of their own."""
        coefficients = self.states[:, kept]
        self.vectors.rotate(coefficients)
        self.products.rotate(coefficients)
        self.last = None
        self._project(np.diag(self.values[kept]))

    def _random(self) -> jax.Array:
        self.key, key = jax.random.split(self.key)
        return jax.random.normal(key, (self.size,), self.dtype)

    def _full(self) -> bool:
        return self.filled >= self.capacity

    def _capped(self) -> bool:
        self.exhausted = self.spent >= self.max_products
        return self.exhausted
