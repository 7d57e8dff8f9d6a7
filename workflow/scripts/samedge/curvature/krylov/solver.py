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
import numpy as np

from samedge.curvature.krylov import certificate, rows
from samedge.curvature.krylov.basis import Basis
from samedge.curvature.krylov.hessian import Scalable
from samedge.curvature.krylov.pace import Pace
from samedge.curvature.limits import kept_vectors

STALE = 0.1  # residual over eigenvalue from which on an earlier spectrum no longer holds
LEAST = 0.1  # recalled Ritz values below this share of the largest correct nothing
NEAREST = 0.1  # a correction takes no Ritz value to be closer than this, relative to the wanted one
BLIND = 3  # products of a sequence before anything can be said of its pace


class RitzPairs(NamedTuple):
    """What a warm start takes over from an earlier measurement.

    Attributes
    ----------
    ritz_values, ritz_vectors
        ``(p,)`` and ``(m, n)``, see :class:`samedge.curvature.eigenpairs.Eigenpairs`.
    """

    ritz_values: np.ndarray
    ritz_vectors: jax.Array

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.ritz_vectors.shape))
        return f"RitzPairs({len(self.ritz_values)} pairs, kept in {shape})"


class Solver:
    """One measurement of the top of a spectrum."""

    def __init__(
        self,
        hessian: Scalable,
        params: Any,
        k: int,
        tolerance: float,
        overlook: float,
        within: float,
        max_products: int,
        max_vectors: int,
        key: jax.Array,
        pause: Callable[[], None],
    ) -> None:
        self.basis = Basis(hessian, params, max_vectors, max_products, pause, self._rescale)
        self.k = k
        self.tolerance = tolerance
        self.overlook = overlook
        self.within = within  # share of the operator norm to which ends are to be known
        self.key = key
        # Pairs with which a full basis goes on.
        capacity = self.basis.capacity
        self.half = min(capacity, max(capacity // 2, k + 2))
        self.krylov = True  # whether all residuals are parallel to the rest of the last product
        self.recalled: tuple[np.ndarray, jax.Array] | None = None
        self.overlooked = 1.0  # bound on the probability that a larger eigenvalue was overlooked
        self.sequence: certificate.Sequence | None = None  # of the last challenge
        self.first = 0  # row of the basis from which on the vectors are those of the sequence
        # Ritz values and residual norms of the rows before them.
        self.deflated = np.zeros(0), np.zeros(0)
        # Outermost Ritz values before what had not converged made place for the challenge.
        self.seen = np.array([np.inf, -np.inf])
        self.exhausted = False  # whether more were wanted than the cap allows
        self.pursued = 0  # place of the pair last improved among the wanted ones
        self.pace = Pace(1)

    @property
    def margin(self) -> float:
        """The tolerance, absolute."""
        return self.tolerance * self.basis.norm

    @property
    def wanted(self) -> list[int]:
        """The k pairs of largest magnitude."""
        return self.basis.order[: self.k]

    def begin(self, start: Any) -> None:
        """Start from the :class:`RitzPairs` of an earlier measurement, or from a random vector."""
        if start is not None:
            self.basis.scale.expect(np.abs(start.ritz_values).max())
        if start is None or not self.basis.append(start.ritz_vectors[0]):
            self.basis.append(self._random())
            return
        if self.basis.length > STALE * np.abs(self.basis.values[0]):
            return
        self.recalled = (start.ritz_values, start.ritz_vectors)
        self.krylov = False
        for index in range(1, min(self.k, len(start.ritz_values))):
            self.basis.append(start.ritz_vectors[index])

    def follow(self) -> None:
        """Improve the wanted pairs until each meets the tolerance, or the cap is reached."""
        self.pace = Pace(self.k + 1)
        while (direction := self._lacking()) is not None and not self._capped():
            if self.basis.full:
                self.recalled = None  # it has not helped
                self.basis.restart(self.basis.order[: self.half])
            count = self.pace.steps if self.krylov else 1
            # A direction that rounding leaves inside the basis has nothing to add.
            if not self.basis.append(direction, count, onwards=self.krylov):
                self.basis.append(self._random())

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
            self.pace.aim(self.basis.spent, self.overlooked / self.overlook)

    def bound_ends(self) -> None:
        """Explore until both ends are known to ``within``, a share of the operator norm.

        They are if bounds that hold but with the probability ``overlook`` are that near; where
        that is 1, if they are Ritz values of residuals that small.
        """
        sequence = self.sequence or self._begin_sequence()
        self.pace = Pace(1)
        while (missed := self._ends_missed(sequence)) > 1 and not self._capped():
            if sequence.ended:
                return  # there is no more to know
            self.pace.aim(self.basis.spent, missed)
            self._explore(sequence)

    def ends(self) -> tuple[float, float]:
        """Return the outermost Ritz values that were seen, the smallest first."""
        lowest, highest = float(self.basis.values[0]), float(self.basis.values[-1])
        if self.sequence is not None:
            lowest, highest = min(lowest, self.sequence.lowest), max(highest, self.sequence.highest)
        if self.exhausted:  # else they are found anew
            lowest, highest = min(lowest, self.seen[0]), max(highest, self.seen[1])
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
                distance = certificate.nearest(beyond, 2 * self.basis.norm, self.overlook)
            bounds.append(end + sign * distance)
        return bounds[0], bounds[1]

    def kept(self) -> tuple[np.ndarray, jax.Array]:
        """Return the leading Ritz values ``(p,)`` and their vectors, rows of an array ``(m, n)``.

        The array has the same number of rows whatever p; those from p on are zero.
        """
        most = min(self.half, kept_vectors(self.k))
        kept = self.basis.order[:most]
        return self.basis.values[kept], self.basis.ritz_vectors(kept, most)

    def _begin_sequence(self) -> certificate.Sequence:
        """Deflate what is known, and let a random vector start a sequence in the rest."""
        pairs, norms = self._deflated()
        self.deflated = self.basis.values[pairs], norms
        lowest, highest = self.basis.values[[0, -1]]
        self.seen = np.array([min(lowest, self.seen[0]), max(highest, self.seen[1])])
        self.basis.restart(pairs)
        self.krylov, self.first = False, self.basis.filled
        self.sequence = certificate.Sequence(self.basis.size)
        self.pace = Pace(BLIND)
        return self.sequence

    def _explore(self, sequence: certificate.Sequence) -> None:
        """Let the sequence take as many products as the pace says."""
        if self.basis.full and self.basis.filled < self.basis.size:
            self.basis.truncate(self.first)
            sequence.turn()
        onwards = len(sequence) > 0
        direction = self.basis.rest if onwards else self._random()
        if self.basis.filled < self.basis.size and self.basis.append(
            direction, self.pace.steps, onwards
        ):
            sequence.take(self.basis.projection[self.first :, self.first :], self.basis.length)
        else:
            sequence.ended = True

    def _ends_missed(self, sequence: certificate.Sequence) -> float:
        """Return by what ratio the worse known end misses what is asked for."""
        distance = self.within * self.basis.norm
        if self.overlook == 1:
            pairs = zip((0, self.basis.filled - 1), sequence.residuals, strict=True)
            # Before the first product the wanted pairs are all there is, not what is outermost.
            known = self.wanted if len(sequence) else []
            left = [norm for pair, norm in pairs if pair not in known and norm > distance]
            return max(left) / distance if left and distance else 0.0
        values, norms = self.deflated
        missed = []
        for sign, end in zip((-1, 1), self.ends(), strict=True):
            # No nearer than the residuals of deflated pairs at that end let a bound be.
            near = np.linalg.norm(norms[np.abs(values - end) < distance])
            at = np.array([max(distance, 2 * near)])
            missed.append(self._chances_beyond(sequence, sign, end, at)[0] / self.overlook)
        return max(missed)

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
        if self.basis.filled < self.k:
            return self.basis.rest
        if self.krylov:
            missed = float(self.residual_norms(self.wanted).max())
            self.pace.aim(self.basis.spent, missed / self.margin if self.margin else 0.0)
            return self.basis.rest if missed > self.margin else None
        for offset in range(self.k):
            place = (self.pursued + offset) % self.k
            pair = self.wanted[place]
            direction, norm = self.basis.residual(pair)
            if direction is not None and norm > self.margin:
                self.pursued = place
                return self._corrected(pair, direction)
        return None

    def _corrected(self, pair: int, direction: jax.Array) -> jax.Array:
        """Return the direction in which a pair is improved, see the head of this module."""
        if self.recalled is None:
            return direction
        old, vectors = self.recalled
        value = self.basis.values[pair]
        old = np.ldexp(old, self.basis.scale.exponent)
        distance = value - old
        nearest = NEAREST * max(abs(value), np.finfo(np.float64).tiny)
        distance = np.where(np.abs(distance) < nearest, np.copysign(nearest, distance), distance)
        gains = np.zeros(vectors.shape[0], self.basis.dtype)
        # Small ones are far from converged; dividing by their distance would add noise.
        gains[: len(old)] = np.where(np.abs(old) > LEAST * np.abs(old).max(), old / distance, 0)
        return rows.corrected(vectors, gains, direction)

    def residual_norms(self, pairs: list[int]) -> np.ndarray:
        """Return the residual norms of Ritz pairs (m,), up to rounding where all are parallel."""
        if self.krylov:
            return self.basis.coupled_norms(pairs)
        return self.basis.residual_norms(pairs, self.k)

    def _magnitudes(self) -> np.ndarray:
        """Return the k largest magnitudes of Ritz values, descending."""
        return np.abs(self.basis.values[self.wanted])

    def _deflated(self) -> tuple[list[int], np.ndarray]:
        """Return the wanted pairs and such that a challenge need not find again, with residuals.

        Let Y hold Ritz pairs of values theta and residuals r, and A be what H is outside of Y. If
        no eigenvalue of A exceeds ``bound - margin / 2``, none of H but those of the wanted pairs
        exceeds ``bound``, as long as the sum of ``r**2 / (bound - |theta|)`` over the others of Y
        is within half the margin (by the Schur complement of A); up to the residuals of the wanted
        ones (Weyl's inequality).
        """
        # From a warm start nothing but the wanted pairs has converged.
        others = [] if self.recalled is not None else self.basis.order[self.k : self.half]
        bound = self._magnitudes()[-1] + self.margin
        found, norms = (self.residual_norms(pairs) for pairs in (self.wanted, others))
        shifts = norms**2 / (bound - np.abs(self.basis.values[others]))
        # What is known less well than the ends are to be would keep their bounds away.
        shifts[norms > self.within * self.basis.norm / 4] = np.inf
        cheapest = np.argsort(shifts)
        within = cheapest[np.cumsum(shifts[cheapest]) <= self.margin / 2]
        return self.wanted + [others[place] for place in within], np.append(found, norms[within])

    def _rescale(self, power: int) -> None:
        """Take what is known of a sequence to the scale of the basis."""
        self.deflated = np.ldexp(self.deflated[0], power), np.ldexp(self.deflated[1], power)
        self.seen = np.ldexp(self.seen, power)
        if self.sequence is not None:
            self.sequence.multiply(power)

    def _random(self) -> jax.Array:
        self.key, key = jax.random.split(self.key)
        return jax.random.normal(key, (self.basis.size,), self.basis.dtype)

    def _capped(self) -> bool:
        self.exhausted = self.basis.capped
        return self.exhausted
