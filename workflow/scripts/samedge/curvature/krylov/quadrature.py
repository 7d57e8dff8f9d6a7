"""From the nodes and weights of a spectral density to moments and curves; NumPy alone.

A density of states is estimated once for each of a few random probes, as a measure: the nodes are
where it has mass, the weights how much. Whatever is computed from such measures has the mean over
the probes as its value, and the standard error of that mean as its error.
"""

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean over probes and its standard error, two numbers or two arrays of one shape."""

    value: np.ndarray
    error: np.ndarray


def moment(nodes: np.ndarray, weights: np.ndarray, order: int) -> Estimate:
    """Return the moment of an order, trace(H^order)/n for the density of an n by n matrix H.

    Parameters
    ----------
    nodes, weights
        Shape ``(probes, steps)``, the weights of each probe adding up to 1; NaN where a probe has
        fewer nodes. With m nodes a probe's moments up to order 2m - 1 are v^T H^order v without
        error of quadrature (Golub and Meurant 2010, Theorem 6.3 and Chapter 7).
    order
        Of the moment, 0 or more.
    """
    # At a largest node near 1, so that no power of one leaves the range of the type on the way.
    exponent = int(np.frexp(np.nanmax(np.abs(nodes)))[1])
    powers = np.nansum(weights * np.ldexp(nodes, -exponent) ** order, axis=-1)
    with np.errstate(over="ignore"):  # infinite is what such a moment is in float64
        return Estimate(*(np.ldexp(x, order * exponent) for x in _over_probes(powers)))


def default_width(nodes: np.ndarray, share: float = 0.01) -> float:
    """Return a width to smooth with: this share of the range of the nodes, 1 if that is a point."""
    spread = float(np.nanmax(nodes) - np.nanmin(nodes))
    scale = spread or abs(float(np.nanmax(nodes))) or 1.0
    return share * scale


def smoothed(nodes: np.ndarray, weights: np.ndarray, grid: np.ndarray, width: float) -> Estimate:
    """Return the density on a grid, each node widened into a Gaussian.

    Parameters
    ----------
    nodes, weights
        As in :func:`moment`.
    grid
        Eigenvalues, shape ``(points,)``.
    width
        Standard deviation of the Gaussians, in the unit of the eigenvalues (Lin, Saad and Yang
        2016, Section 2.1). Nothing narrower can be told from the curve.

    Returns
    -------
    The density and its standard error, shape ``(points,)`` each, per unit of eigenvalue; it
    integrates to 1 over the whole axis.
    """
    present = np.isfinite(nodes)
    distance = (grid[:, None, None] - np.where(present, nodes, 0.0)) / width
    peak = np.where(present, weights, 0.0) / (width * np.sqrt(2 * np.pi))
    return _over_probes(np.einsum("gps,ps->pg", np.exp(-0.5 * distance**2), peak))


def _over_probes(values: np.ndarray) -> Estimate:
    """Return the mean over the first axis and its standard error, NaN for a single probe."""
    probes = len(values)
    if probes == 1:
        return Estimate(values[0], np.full_like(values[0], np.nan))
    return Estimate(values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(probes))
