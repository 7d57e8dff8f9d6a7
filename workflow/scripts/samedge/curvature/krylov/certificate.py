r"""How improbable it is that a Lanczos sequence has not seen an eigenvalue beyond a bound.

A sequence of a symmetric A from a unit vector x has orthonormal polynomials p_j, by the recurrence
:math:`b_{j+1} p_{j+1}(\mu) = (\mu - a_j)\, p_j(\mu) - b_j\, p_{j-1}(\mu)`, :math:`p_0 = 1`. If c is
the part of x along an eigenvector of the value mu, :math:`c^2 \sum_j p_j(\mu)^2 \le 1` (the mass of
the spectral measure at a point is at most the Christoffel function there, Szegő 1975, Section 3.4).
Beyond all Ritz values the sum grows with mu; so of an eigenvector that lies beyond a bound x has
less than :math:`(\sum_j p_j^2)^{-1/2}`, taken at the bound. A random x in n dimensions has so
little of any given vector with a probability of at most :math:`\sqrt{2n/\pi}` times that: as in
the analysis of Kuczyński & Woźniakowski (1992), with the polynomials of the sequence itself in
place of Chebyshev's.

A sequence need not be kept. Its next vector is p_m(A) x, in which that eigenvector has the part
p_m(mu) c. So a sequence that starts anew from there, knowing nothing of the vectors before, says
:math:`c^2 p_m(\mu)^2 \sum_j \tilde p_j(\mu)^2 \le 1` with polynomials of its own: what the pieces
of a sequence show is multiplied.
"""

from collections.abc import Callable

import numpy as np

LONGEST = 1e150  # of a polynomial beside those before: what is unseen is as improbable as can be
ROUNDS, POINTS = 6, 9  # of the search for an end; each round narrows it by POINTS - 1


class Sequence:
    """A Lanczos sequence from a random unit vector, in pieces.

    Parameters
    ----------
    size
        n, at least the dimensions that the random vector is from.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._before: list[tuple[np.ndarray, np.ndarray]] = []
        self._piece = np.zeros(0), np.zeros(0)
        #: The largest and the smallest Ritz value of all pieces.
        self.highest, self.lowest = -np.inf, np.inf
        #: Residuals of the outermost Ritz pairs of the current piece, the lowest first.
        self.residuals = np.full(2, np.inf)
        #: Whether it spans an invariant space: what is unseen has no part in the random vector.
        self.ended = False

    def __len__(self) -> int:
        """Return the number of products."""
        return sum(len(diagonal) for diagonal, _ in [*self._before, self._piece])

    def take(self, projection: np.ndarray, length: float) -> None:
        """Take the projection (m, m) of A on the current piece, and the norm of the rest."""
        self._piece = np.diag(projection), np.append(np.diag(projection, -1), length)
        values, states = np.linalg.eigh(projection)
        self.highest, self.lowest = max(self.highest, values[-1]), min(self.lowest, values[0])
        self.residuals = length * np.abs(states[-1, [0, -1]])

    def turn(self) -> None:
        """Begin another piece, from the next vector of the current one."""
        self._before.append(self._piece)
        self._piece = np.zeros(0), np.zeros(0)

    def multiply(self, power: int) -> None:
        """Take everything to be of ``2**power`` times A."""
        *self._before, self._piece = [
            (np.ldexp(diagonal, power), np.ldexp(couplings, power))
            for diagonal, couplings in [*self._before, self._piece]
        ]
        self.highest, self.lowest = np.ldexp(self.highest, power), np.ldexp(self.lowest, power)
        self.residuals = np.ldexp(self.residuals, power)

    def chances(self, values: np.ndarray) -> np.ndarray:
        """Bound the probabilities that an eigenvalue at or beyond each value has not been seen.

        Beyond means away from the Ritz values; a value between them has the probability 1.
        """
        values = np.asarray(values, np.float64)
        if self.ended:
            return np.zeros(values.shape)
        seen = carried = np.zeros(values.shape)  # logarithms of what 1 / c**2 is at least
        for diagonal, couplings in [*self._before, self._piece]:
            total, last = log_squares(diagonal, couplings, values)
            seen, carried = np.maximum(seen, carried + total), carried + last
        chances = np.exp(0.5 * (np.log(2 * self.size / np.pi) - seen))
        inside = (values < self.highest) & (values > self.lowest)
        return np.where(inside | np.isnan(chances), 1.0, np.minimum(chances, 1.0))

    def miss_probability(self, bound: float) -> float:
        """Bound the probability that an eigenvalue beyond ``±bound`` has not been seen."""
        return float(self.chances(np.array([bound, -bound])).max())


def nearest(chances: Callable[[np.ndarray], np.ndarray], far: float, accepted: float) -> float:
    """Return the least distance at which a chance is accepted; NaN if it is not even at ``far``.

    ``chances`` is a function of distances (m,), and falls with them.
    """
    if not chances(np.array([far]))[0] <= accepted:
        return np.nan
    near = 0.0
    for _ in range(ROUNDS):
        points = np.linspace(near, far, POINTS)
        place = int(np.argmax(chances(points) <= accepted))
        near, far = points[max(place - 1, 0)], points[place]
    return float(far)


def log_squares(
    diagonal: np.ndarray, couplings: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithms of sum_j p_j**2 and of p_m**2 at some values, j from 0 to m.

    Parameters
    ----------
    diagonal, couplings
        (m,) a_0 to a_{m-1} and b_1 to b_m. They and the values may have any unit.
    """
    if len(diagonal) == 0:
        return np.zeros(values.shape), np.zeros(values.shape)
    largest = np.max(np.abs([*diagonal, *couplings, *values.ravel()]))
    exponent = int(np.frexp(largest)[1])
    diagonal, couplings, values = (np.ldexp(x, -exponent) for x in (diagonal, couplings, values))
    before, current = np.zeros(values.shape), np.ones(values.shape)
    total, back = np.zeros(values.shape), 0.0  # before, current: relative to the root of the sum
    for value, coupling in zip(diagonal, couplings, strict=True):
        if coupling == 0:
            return np.full(values.shape, np.inf), np.full(values.shape, np.inf)
        with np.errstate(over="ignore"):
            following = ((values - value) * current - back * before) / coupling
        following = np.clip(following, -LONGEST, LONGEST)
        size = np.sqrt(1 + following**2)
        before, current, back = current / size, following / size, coupling
        total = total + 2 * np.log(size)
    with np.errstate(divide="ignore"):
        return total, total + 2 * np.log(np.abs(current))
