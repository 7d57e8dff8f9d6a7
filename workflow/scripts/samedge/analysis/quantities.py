r"""Quantities at the checks of runs, and what sums them up over checks and over seeds.

*Late* checks are those in the second half of a run's steps, when a run that gets to its edge has
usually got there. *Early* training is the first quarter. The *edge* is the SAM edge, which is
2/eta at rho = 0. A check is *at the edge* if :math:`|\lambda_1|` is within :data:`WIDTH` of it.

Medians stand where the paper looks at curves: single checks scatter, most of all with minibatches.
"""

import math
import warnings

import numpy as np
import xarray as xr

from samedge.records.files import settings_of
from samedge.updates.edges import negative_curvature_bound

#: What minibatches make of the edge, in words.
STOCHASTIC = {
    "batch_sharpness": "batch sharpness, E[gᵀHg]/E‖g‖², over 2/η",
    "mean_batch_quotient": "E[gᵀHg/‖g‖²] of minibatches over 2/η",
    "sam_batch_sharpness": "E[hᵀHh]/E[hᵀg] of minibatches, h the SAM gradient, over 2/η",
    "step_sharpness": "E[sᵀHs]/(-E[sᵀg]) of minibatches, s the rule's step, over 2",
    "noise_interaction": "gradient-noise interaction, E[gᵀFg]/‖∇L‖², over 2/η",
    "sample_eigenvalue": "λ1 of the fixed sample over 2/η",
}

#: Within this relative distance a check is at the edge. Where the edge is far below 2/eta, a step
#: multiplies the gradient by :math:`1 - 2r^2` at :math:`r = \lambda/\text{edge}`; from 3/4 to 5/4
#: that is -0.1 to -2.1, around the edge's -1: a quarter is the scale of the instability itself.
WIDTH = 0.25
NARROW = 0.1
#: A median over fewer late checks than this is not taken for one.
FEWEST = 3
LATE, EARLY = 0.5, 0.25


def late(cube: xr.Dataset, share: float = LATE) -> np.ndarray:
    """Return which checks lie beyond this share of their run's steps; (eta, rho, seed, check)."""
    step = cube["step"].values
    last = np.max(np.nan_to_num(step, nan=-1.0), axis=-1, keepdims=True, initial=-1.0)
    return step >= share * last


def ratio_to_edge(cube: xr.Dataset) -> np.ndarray:
    """Return the effective curvature over the edge at every check; (eta, rho, seed, check).

    It is |lambda_1| / edge for gradient descent, SAM and momentum, and in files of before.
    """
    effective = np.abs(cube["effective_curvature"].values)
    curvature = np.where(np.isnan(effective), sharpness(cube), effective)
    return curvature / cube["sam_edge"].values


def meets_another(cube: xr.Dataset) -> np.ndarray:
    """Return at which checks the edge is one of another curvature than lambda_1."""
    effective = cube["effective_curvature"]
    if not cube.sizes["rank"]:
        return effective.notnull().values
    return (effective.notnull() & (abs(effective) != abs(cube["eigenvalue"].isel(rank=0)))).values


def scheduled(cube: xr.Dataset) -> np.ndarray:
    """Return for which runs the learning rate is not the same at every check."""
    rates = cube["learning_rate"].values
    return np.any(np.isfinite(rates) & (rates != rates[..., :1]), axis=-1)


def over_threshold(cube: xr.Dataset, name: str) -> np.ndarray:
    """Return one of :data:`STOCHASTIC` over the value at which the loss stays as it is.

    1 is what a step has that changes nothing of the expected loss of a quadratic. The shape is
    (eta, rho, seed, check), NaN where it was not measured.
    """
    if name not in cube:
        return np.full(cube["step"].shape, np.nan)
    rates = cube["learning_rate"].values
    threshold = 2.0 if name.removesuffix("_error") == "step_sharpness" else 2 / rates
    return cube[name].values / threshold


def sharpness(cube: xr.Dataset) -> np.ndarray:
    """Return the operator norm |lambda_1| at every check; (eta, rho, seed, check)."""
    return np.abs(cube["eigenvalue"].values[..., 0])


def largest_over_edge(cube: xr.Dataset) -> np.ndarray:
    """Return lambda_max / edge at every check of a cube or of one of its runs.

    At most 1 is what Proposition 3 of the paper asks of positive eigenvalues. NaN where a check
    measured no end of the spectrum, or the edge is one of another curvature.
    """
    return _over_edge(cube, cube["largest_eigenvalue"])


def largest_over_edge_bound(cube: xr.Dataset) -> np.ndarray:
    """Return what :func:`largest_over_edge` is at most by the bound on the end, NaN without one."""
    return _over_edge(cube, cube["largest_eigenvalue_bound"])


def negative_curvature_ratio(cube: xr.Dataset) -> np.ndarray:
    r"""Return :math:`-\lambda_{\min}\rho/\lVert g\rVert` at every check of a cube or of one run.

    At most 1 is what Proposition 3 of the paper asks of negative eigenvalues; below 0 there is
    none. Without SAM's normalisation :math:`\lVert g\rVert` drops out. Of another update rule no
    such bound is known: NaN, as where a check measured no end of the spectrum.
    """
    return _over_negative_bound(cube, cube["smallest_eigenvalue"])


def negative_curvature_ratio_bound(cube: xr.Dataset) -> np.ndarray:
    """Return what :func:`negative_curvature_ratio` is at most by the bound, NaN without one."""
    return _over_negative_bound(cube, cube["smallest_eigenvalue_bound"])


def judged_negative_curvature_ratio(cube: xr.Dataset) -> np.ndarray:
    """Return the ratio that is judged: by the bound, which is conservative, where there is one."""
    bound = negative_curvature_ratio_bound(cube)
    return np.where(np.isnan(bound), negative_curvature_ratio(cube), bound)


def _over_edge(cube: xr.Dataset, largest: xr.DataArray) -> np.ndarray:
    return np.where(meets_another(cube), np.nan, (largest / cube["sam_edge"]).values)


def _over_negative_bound(cube: xr.Dataset, smallest: xr.DataArray) -> np.ndarray:
    norms = {"sam": cube["gradient_norm"], "unnormalized_sam": 1.0}
    norm = norms.get(settings_of(cube)["update"]["name"], math.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (smallest / negative_curvature_bound(norm, cube["rho"])).values


#: What Proposition 3 wants to be at most 1, by the name that pages and figures have for it: from
#: the end of the spectrum that was found, and from the bound on it.
BOUNDED = {
    "largest_over_edge": (largest_over_edge, largest_over_edge_bound),
    "negative_curvature_ratio": (negative_curvature_ratio, negative_curvature_ratio_bound),
}


def chance_alignment(parameters: float | np.ndarray) -> float | np.ndarray:
    r"""Return the mean absolute cosine of a random direction with a given one in n dimensions.

    It is :math:`\Gamma(n/2)/(\sqrt\pi\,\Gamma((n+1)/2))`, for large n :math:`\sqrt{2/(\pi n)}`; the
    latter is returned, too large by less than 1/(4n) of it.
    """
    return np.sqrt(2 / (math.pi * np.asarray(parameters, np.float64)))


def gd_baseline(cube: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """Return the values of rho = 0 in place of those of every rho; NaN without such runs."""
    (zero,) = np.flatnonzero(cube["rho"].values == 0)[:1].tolist() or (None,)
    if zero is None:
        return np.full(values.shape, np.nan)
    return np.broadcast_to(values[:, zero : zero + 1], values.shape)


def late_over_early(cube: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """Return the median over the last quarter of the steps over that over the first.

    ``values`` are of a cube's checks: (eta, rho, seed, check).
    """
    first = median_of_checks(values, ~late(cube, EARLY), fewest=1)
    return median_of_checks(values, late(cube, 1 - EARLY), fewest=1) / first


def first_crossing(step: np.ndarray, loss: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the step at which the loss is first at a level; (eta, rho, seed).

    Between checks the loss is taken to be linear.

    The step is infinite where the loss stays above, NaN where the level (eta, rho, seed, 1) is.
    """
    below = loss <= level
    index = np.argmax(below, axis=-1)[..., None]

    def at(values: np.ndarray, where: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, where, axis=-1)[..., 0]

    before = np.maximum(index - 1, 0)
    fall = at(loss, before) - at(loss, index)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(fall > 0, (at(loss, before) - level[..., 0]) / fall, 1.0)
    crossing = at(step, before) + np.clip(share, 0, 1) * (at(step, index) - at(step, before))
    crossing = np.where(below.any(axis=-1), crossing, np.inf)
    return np.where(np.isnan(level[..., 0]), np.nan, crossing)


def share_near_edge(cube: xr.Dataset, width: float) -> np.ndarray:
    """Return the share of the late checks within a relative width of the edge."""
    return share_of_checks(np.abs(ratio_to_edge(cube) - 1) <= width, late(cube))


def share_of_checks(found: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the share of the chosen checks, NaN where these are fewer than :data:`FEWEST`."""
    count = chosen.sum(axis=-1)
    return np.where(count >= FEWEST, (chosen & found).sum(axis=-1) / np.maximum(count, 1), np.nan)


def late_median(cube: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """Return the median over the late checks; NaN where there are fewer than :data:`FEWEST`."""
    return median_of_checks(values, late(cube))


def median_of_checks(values: np.ndarray, chosen: np.ndarray, fewest: int = FEWEST) -> np.ndarray:
    """Return the median of the chosen checks that are not NaN, NaN where these are too few."""
    kept = np.where(chosen, values, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of runs without any
        medians = (
            np.nanmedian(kept, axis=-1) if kept.shape[-1] else np.full(kept.shape[:-1], np.nan)
        )
    return np.where(np.isfinite(kept).sum(axis=-1) >= fewest, medians, np.nan)


def median_over_seeds(values: np.ndarray) -> np.ndarray:
    """Return the median over the seeds that have a number; (eta, rho, seed) to (eta, rho)."""
    count = np.sum(~np.isnan(values), axis=-1)
    ordered = np.sort(values, axis=-1)  # NaN last
    last = values.shape[-1] - 1
    middle = [np.clip((count - odd) // 2, 0, last)[..., None] for odd in (1, 0)]
    low, high = (np.take_along_axis(ordered, place, axis=-1)[..., 0] for place in middle)
    # Two infinities have no mean, but a median.
    with np.errstate(invalid="ignore"):
        median = np.where(low == high, low, (low + high) / 2)
    return np.where(count > 0, median, np.nan)
