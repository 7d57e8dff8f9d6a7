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
"""

import math
from collections.abc import Sequence

import numpy as np

ENOUGH = 1e100  # of the sum of squares: what is unseen is as improbable as can be


def miss_probability(diagonal: np.ndarray, couplings: np.ndarray, bound: float, size: int) -> float:
    """Bound the probability that an eigenvalue beyond ``±bound`` has not been seen.

    Parameters
    ----------
    diagonal, couplings
        (m,) a_0 to a_{m-1} and b_1 to b_m of a sequence from a random unit vector.
    bound
        Not below the magnitude of any Ritz value of the sequence.
    size
        n, at least the dimensions that the random vector is from.
    """
    # Whatever the unit of the eigenvalues: near 1, where no product of two leaves the range.
    exponent = int(np.frexp(max(np.max(np.abs([*diagonal, *couplings])), bound))[1])
    diagonal, couplings = np.ldexp(diagonal, -exponent), np.ldexp(couplings, -exponent)
    bound = float(np.ldexp(bound, -exponent))
    least = np.inf
    for end in (bound, -bound):
        before, current, total, back = 0.0, 1.0, 1.0, 0.0
        for value, coupling in zip(diagonal, couplings, strict=True):
            if coupling == 0:
                return 0.0  # the sequence has ended, and what is unseen has no part in it
            following = ((end - value) * current - back * before) / coupling
            before, current, back = current, following, coupling
            total += current**2
            if not total < ENOUGH:
                break
        if math.isnan(total):
            return 1.0  # nothing is known
        least = min(least, total)
    return float(min(1.0, np.sqrt(2 * size / np.pi / least)))


def combined_miss_probability(chances: Sequence[float]) -> float:
    """Bound the probability that independent sequences, of such chances each, all missed something.

    What all have missed has uniform variables, independent of each other, whose product is at most
    that of the chances, alpha; the probability of this is alpha times the sum of
    ``(-log alpha)**j / j!`` over j below their number (Fisher's method of combining tests).
    """
    informative = [chance for chance in chances if chance < 1]
    if not informative:
        return 1.0
    alpha = math.prod(informative)
    if alpha == 0:
        return 0.0
    terms = ((-math.log(alpha)) ** j / math.factorial(j) for j in range(len(informative)))
    return alpha * sum(terms)
