r"""Statistics of runs, each a number for every (eta, rho, seed) of a cube.

All are entered in :data:`STATISTICS` under the name by which the table of claims, the edge map,
the explorer and the comparison of experiments refer to them. A statistic is a function of a cube;
it returns an array of shape (eta, rho, seed), NaN where the run is missing, has diverged, or was
not measured often enough.

A run is at its edge if at least half of its late checks are; what *late*, *early* and *edge* are
says :mod:`samedge.analysis.quantities`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from samedge.analysis.quantities import (
    EARLY,
    NARROW,
    STOCHASTIC,
    WIDTH,
    chance_alignment,
    first_crossing,
    gd_baseline,
    judged_negative_curvature_ratio,
    late,
    late_median,
    late_over_early,
    median_of_checks,
    over_threshold,
    ratio_to_edge,
    share_near_edge,
    share_of_checks,
    sharpness,
)
from samedge.base.registry import Registry
from samedge.records.schema import COMPLETED, MISSING

Statistic = Callable[[xr.Dataset], np.ndarray]


@dataclass(frozen=True)
class Entry:
    """A statistic: what computes it, its definition in words, and whether it compares with ρ = 0.

    One that compares has no number where a cube has no runs with ρ = 0.
    """

    compute: Statistic
    definition: str
    needs_gd: bool = False


STATISTICS: Registry[Entry] = Registry("statistic")


def statistic(
    name: str, definition: str, *, needs_gd: bool = False
) -> Callable[[Statistic], Statistic]:
    """Return a decorator that enters a statistic; only completed runs keep a number."""

    def enter(function: Statistic) -> Statistic:
        def compute(cube: xr.Dataset) -> np.ndarray:
            values = np.asarray(function(cube), np.float64)
            return np.where(cube["status"].values == COMPLETED, values, np.nan)

        STATISTICS.register(name)(Entry(compute, definition, needs_gd))
        return compute

    return enter


@statistic(
    "edge_ratio",
    "median over the late checks of what meets the edge (|λ1| for gradient descent and SAM) "
    "over it",
)
def sharpness_over_edge(cube: xr.Dataset) -> np.ndarray:
    """Return how far a run is from its edge: 1 is at the edge."""
    return late_median(cube, ratio_to_edge(cube))


@statistic(
    "share_within_25", "share of the late checks within 25 % of the edge, as edge_ratio has it"
)
def share_within_25(cube: xr.Dataset) -> np.ndarray:
    """Return the share of late checks at the edge, from 0 to 1."""
    return share_near_edge(cube, WIDTH)


@statistic(
    "share_within_10", "share of the late checks within 10 % of the edge, as edge_ratio has it"
)
def share_within_10(cube: xr.Dataset) -> np.ndarray:
    """Return the share of late checks close to the edge, from 0 to 1."""
    return share_near_edge(cube, NARROW)


def at_edge(cube: xr.Dataset) -> np.ndarray:
    """Return 1 for a run at its edge, 0 for one that is not or has diverged, else NaN."""
    share = share_within_25(cube)
    diverged = ~np.isin(cube["status"].values, (COMPLETED, MISSING))
    return np.where(diverged, 0.0, np.where(np.isnan(share), np.nan, share >= 0.5))


STATISTICS.register("at_edge")(
    Entry(
        at_edge,
        "1 if at least half of the late checks are within 25 % of the edge, else 0; 0 for a run "
        "that diverged",
    )
)


@statistic("first_at_edge", "optimiser steps before the first check within 25 % of the edge")
def first_at_edge(cube: xr.Dataset) -> np.ndarray:
    """Return when a run first got to its edge; infinity if it never did."""
    near = np.abs(ratio_to_edge(cube) - 1) <= WIDTH
    return np.min(np.where(near, cube["step"].values, np.inf), axis=-1, initial=np.inf)


@statistic("sharpness", "median over the late checks of |λ1|")
def late_sharpness(cube: xr.Dataset) -> np.ndarray:
    """Return the operator norm that a run settles at."""
    return late_median(cube, sharpness(cube))


@statistic(
    "gd_sharpness_over_sam",
    "late |λ1| of ρ = 0 over that of the run, at the same η",
    needs_gd=True,
)
def gd_sharpness_over_sam(cube: xr.Dataset) -> np.ndarray:
    """Return how many times lower SAM's operator norm is than gradient descent's."""
    settled = late_sharpness(cube)
    return gd_baseline(cube, settled) / settled


@statistic("gd_edge_over_sharpness", "2/η over late |λ1|")
def gd_edge_over_sharpness(cube: xr.Dataset) -> np.ndarray:
    """Return how many times lower a run's operator norm is than the edge of gradient descent."""
    return cube["gd_edge"].values[:, None, None] / late_sharpness(cube)


@statistic("early_edge_fraction", "median over the first quarter of the steps of the edge over 2/η")
def early_edge_fraction(cube: xr.Dataset) -> np.ndarray:
    """Return how low the edge is early in training: 1 is the edge of gradient descent."""
    fraction = cube["sam_edge"].values / cube["gd_edge"].values[:, None, None, None]
    return median_of_checks(fraction, ~late(cube, EARLY), fewest=1)


@statistic(
    "early_gd_sharpness_over_sam",
    "median over the checks in the first quarter of the steps, but for the first, of |λ1| of ρ = 0 "
    "over that of the run, at the same η and step",
    needs_gd=True,
)
def early_gd_sharpness_over_sam(cube: xr.Dataset) -> np.ndarray:
    """Return how many times lower SAM's operator norm is than gradient descent's early on."""
    curvature, step = sharpness(cube), cube["step"].values
    compared = ~late(cube, EARLY) & (step > 0) & (step == gd_baseline(cube, step))
    return median_of_checks(gd_baseline(cube, curvature) / curvature, compared, fewest=1)


@statistic(
    "at_edge_more_than_gd",
    "at_edge of the run less that of ρ = 0 at the same η",
    needs_gd=True,
)
def at_edge_more_than_gd(cube: xr.Dataset) -> np.ndarray:
    """Return 1 where SAM is at its edge and gradient descent is not, -1 for the reverse, else 0."""
    reached = at_edge(cube)
    return reached - gd_baseline(cube, reached)


@statistic(
    "edge_and_gradient_kept",
    "the larger of two ratios, median over the last quarter of the steps over median over the "
    "first quarter: of the edge, and of the gradient norm",
)
def edge_and_gradient_kept(cube: xr.Dataset) -> np.ndarray:
    """Return below 1 for a run in which both the gradient norm and the edge have fallen."""
    kept = [late_over_early(cube, cube[name].values) for name in ("sam_edge", "gradient_norm")]
    return np.maximum(*kept)


@statistic(
    "edge_kept",
    "median of the edge over the last quarter of the steps, over that over the first quarter",
)
def edge_kept(cube: xr.Dataset) -> np.ndarray:
    """Return below 1 for a run whose edge has fallen."""
    return late_over_early(cube, cube["sam_edge"].values)


@statistic(
    "sharpness_kept",
    "median of |λ1| over the last quarter of the steps, over that over the first quarter",
)
def sharpness_kept(cube: xr.Dataset) -> np.ndarray:
    """Return above 1 for a run whose operator norm has risen."""
    return late_over_early(cube, sharpness(cube))


@statistic(
    "progress_when_flat",
    "share of the run's reduction of the logarithm of the loss that is done at the first check "
    "with |λ1| at most half of that of ρ = 0 at the same η and step; 1 if there is none",
    needs_gd=True,
)
def progress_when_flat(cube: xr.Dataset) -> np.ndarray:
    """Return how far a run's loss has come when it has left gradient descent's curvature."""
    curvature, step = sharpness(cube), cube["step"].values
    gd, gd_step = gd_baseline(cube, curvature), gd_baseline(cube, step)
    flat = (curvature <= gd / 2) & (step == gd_step) & (step > 0)
    loss = np.log(cube["training_loss"].values)
    end = late_median(cube, loss)[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        progress = (loss[..., :1] - loss) / (loss[..., :1] - end)
    first = np.argmax(flat, axis=-1)[..., None]
    found = np.take_along_axis(np.clip(progress, 0, 1), first, axis=-1)[..., 0]
    compared = np.isfinite(gd).any(axis=-1)
    return np.where(compared, np.where(flat.any(axis=-1), found, 1.0), np.nan)


@statistic("third_over_first", "median over the late checks of |λ3| / |λ1|")
def third_over_first(cube: xr.Dataset) -> np.ndarray:
    """Return how close the third eigenvalue is to the first in magnitude: 1 is equal."""
    magnitudes = np.abs(cube["eigenvalue"].values)
    if magnitudes.shape[-1] < 3:
        return np.full(magnitudes.shape[:3], np.nan)
    return late_median(cube, magnitudes[..., 2] / magnitudes[..., 0])


@statistic("final_loss", "median training loss over the last quarter of the steps")
def final_loss(cube: xr.Dataset) -> np.ndarray:
    """Return the training loss that a run ends with."""
    return median_of_checks(cube["training_loss"].values, late(cube, 1 - EARLY), fewest=1)


@statistic("loss_over_gd", "final_loss of the run over that of ρ = 0 at the same η", needs_gd=True)
def loss_over_gd(cube: xr.Dataset) -> np.ndarray:
    """Return the final loss relative to gradient descent's."""
    loss = final_loss(cube)
    return loss / gd_baseline(cube, loss)


@statistic(
    "reduction_over_gd",
    "initial less final_loss of the run, over the same of ρ = 0 at the same η",
    needs_gd=True,
)
def reduction_over_gd(cube: xr.Dataset) -> np.ndarray:
    """Return how much of gradient descent's reduction of the loss a run has made."""
    reduction = cube["training_loss"].values[..., 0] - final_loss(cube)
    return reduction / gd_baseline(cube, reduction)


@statistic(
    "delay_over_gd",
    "steps until the loss has first fallen half of the way that ρ = 0 takes it at the same η, "
    "interpolated between checks, over those that ρ = 0 needs; infinite if it does not get there",
    needs_gd=True,
)
def delay_over_gd(cube: xr.Dataset) -> np.ndarray:
    """Return how much later than gradient descent a run comes halfway: above 1 is later."""
    loss, step = cube["training_loss"].values, cube["step"].values
    gd = gd_baseline(cube, loss)
    halfway = (gd[..., 0] + gd_baseline(cube, final_loss(cube)))[..., None] / 2
    needed = first_crossing(step, loss, halfway)
    with np.errstate(invalid="ignore"):
        return needed / gd_baseline(cube, needed)


@statistic(
    "alignment_over_chance",
    "the lower of the late medians of gradient_alignment and sam_gradient_alignment, over the mean "
    "absolute cosine of a random direction in as many dimensions, √(2/(πn))",
)
def alignment_over_chance(cube: xr.Dataset) -> np.ndarray:
    """Return how many times more than a random direction both gradients align; 1 is chance."""
    both = np.minimum(
        late_median(cube, cube["gradient_alignment"].values),
        late_median(cube, cube["sam_gradient_alignment"].values),
    )
    if "density_size" not in cube:
        return np.full(both.shape, np.nan)
    return both / chance_alignment(np.nanmax(cube["density_size"].values, initial=0) or np.nan)


@statistic(
    "alignment_gain", "late median of sam_gradient_alignment less that of gradient_alignment"
)
def alignment_gain(cube: xr.Dataset) -> np.ndarray:
    """Return how much more the SAM gradient aligns with the principal direction."""
    return late_median(cube, cube["sam_gradient_alignment"].values) - late_median(
        cube, cube["gradient_alignment"].values
    )


@statistic(
    "alignment_over_smaller_eta",
    "late median of the alignment less its median over the lower half of η at the same ρ, for the "
    "gradient or the SAM gradient, whichever gives less",
)
def alignment_over_smaller_eta(cube: xr.Dataset) -> np.ndarray:
    """Return how much more both gradients align with the principal direction than at smaller eta.

    NaN with one eta alone.
    """
    gains = []
    for name in ("gradient_alignment", "sam_gradient_alignment"):
        aligned = late_median(cube, cube[name].values)
        aligned = np.where(cube["status"].values == COMPLETED, aligned, np.nan)
        smaller = aligned[: cube.sizes["eta"] // 2]
        over_eta = np.moveaxis(smaller, 0, -1)
        gains.append(aligned - median_of_checks(over_eta, np.array(True), fewest=1))
    return np.minimum(*gains)


@statistic(
    "negative_curvature",
    "median of -λ_min ρ/‖g‖ over the checks after the first quarter of the steps, of λ_min its "
    "bound where there is one",
)
def negative_curvature(cube: xr.Dataset) -> np.ndarray:
    """Return how near the most negative eigenvalue is to Proposition 3's bound: 1 is at it."""
    return median_of_checks(judged_negative_curvature_ratio(cube), late(cube, EARLY))


@statistic(
    "negative_curvature_allowed",
    "share of the checks after the first quarter of the steps that measured λ_min with "
    "-λ_min ρ/‖g‖ at most 1, of λ_min its bound where there is one",
)
def negative_curvature_allowed(cube: xr.Dataset) -> np.ndarray:
    """Return at what share of checks no eigenvalue is below Proposition 3's bound, from 0 to 1."""
    ratio = judged_negative_curvature_ratio(cube)
    return share_of_checks(ratio <= 1, late(cube, EARLY) & ~np.isnan(ratio))


def _late_over_threshold(name: str) -> Statistic:
    return lambda cube: late_median(cube, over_threshold(cube, name))


for _name, _words in STOCHASTIC.items():
    statistic(f"{_name}_ratio", f"median over the late checks of {_words}")(
        _late_over_threshold(_name)
    )
