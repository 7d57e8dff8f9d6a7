"""What one panel of a figure shows: one run, or a few, on one Matplotlib axes.

Every function takes runs as datasets reduced to a single eta, rho and seed (dims ``check, rank``)
and draws on the axes it is given; layout, titles and legends are :mod:`samedge.figures.paper`'s.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from samedge.analysis.quantities import BOUNDED
from samedge.figures.time_axis import TimeAxis
from samedge.records import schema

# Of seaborn's palette "colorblind". Importing seaborn, which imports SciPy, would be a third of the
# time of a figure's job.
BLUE, GREEN, VERMILION, SKY = "#0173b2", "#029e73", "#d55e00", "#56b4e9"
PURPLE = "#cc78bc"
RANK_STYLES = ((BLUE, "-", "o"), (GREEN, "-", "s"), (SKY, "-", "^"))
#: How the legend calls an eigenvalue (the rank follows), and one that was not solved for.
EIGENVALUE = r"$|\lambda_"
UNSOLVED = "residual above tolerance"
#: The dashes of the two edges interlock, so that both can be seen where they are one line.
SAM_EDGE: dict[str, Any] = {"color": VERMILION, "linestyle": (0, (4, 4)), "linewidth": 1.5}
GD_EDGE: dict[str, Any] = {"color": "black", "linestyle": (4, (4, 4)), "linewidth": 1.1}
#: The curvature that meets the edge, where it is not an eigenvalue of the Hessian.
EFFECTIVE: dict[str, Any] = {"color": PURPLE, "linestyle": (0, (6, 1.5, 1, 1.5)), "linewidth": 1.5}
FIRST: dict[str, Any] = {"color": BLUE, "linestyle": "-", "marker": "o"}
SECOND: dict[str, Any] = {"color": VERMILION, "linestyle": (0, (5, 1.5)), "marker": "s"}
LOSS_STYLES = (FIRST, SECOND)
ALIGNMENTS = (
    ("gradient_alignment", "gradient", FIRST),
    ("sam_gradient_alignment", "SAM gradient", SECOND),
)
GRADIENT_NORMS = (
    ("gradient_norm", "gradient", FIRST),
    ("sam_gradient_norm", "SAM gradient", SECOND),
)
SPECTRUM_ENDS = (
    ("largest_eigenvalue", "largest eigenvalue", FIRST),
    ("smallest_eigenvalue", "smallest eigenvalue", SECOND),
)
#: What Proposition 3 asks to be at most 1, of the two ends of the spectrum.
BOUNDS = (
    ("largest_over_edge", r"$\lambda_\max\,/\,$SAM edge", FIRST),
    ("negative_curvature_ratio", r"$-\lambda_\min\,\rho\,/\,\|g\|$", SECOND),
)
#: What minibatches make of the edge: the name of each quantity, and how it is drawn.
MINIBATCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "batch_sharpness": ("batch sharpness", {"color": VERMILION}),
    "mean_batch_quotient": (
        "mean of quotients",
        {"color": VERMILION, "linestyle": (0, (1.5, 1))},
    ),
    "sam_batch_sharpness": ("of SAM's gradient", {"color": GREEN}),
    "step_sharpness": ("of the step", {"color": "#404040", "linestyle": (0, (5, 1.5))}),
    "noise_interaction": ("gradient-noise interaction", {"color": SKY}),
    "sample_eigenvalue": (r"$\lambda_1$ of the sample", {"color": "#8c8c8c"}),
}
#: Checks before this fraction of a run's steps are its transient; axes are scaled on the rest.
TRANSIENT = 0.05


#: The least and the greatest values over seeds, as two runs.
Spread = tuple[xr.Dataset, xr.Dataset]
BAND_ALPHA = 0.22


def measured(run: xr.Dataset) -> xr.Dataset:
    """Return the run's checks without the padding."""
    return run.isel(check=np.isfinite(run["step"].values))


def over_seeds(runs: Sequence[xr.Dataset]) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Return the median of several runs, check by check, and their least and greatest values.

    Eigenvalues enter by their magnitudes; they count as converged if they are in every run.
    """
    count = min(int(np.isfinite(run["step"].values).sum()) for run in runs)
    stacked = xr.concat(
        [run.isel(check=slice(count)) for run in runs],
        dim="run",
        data_vars="all",
        coords="minimal",
        compat="override",
    )
    for name in ("eigenvalue", "effective_curvature"):
        stacked[name] = abs(stacked[name])
    first = stacked.isel(run=0)
    first["eigenvalue_converged"] = stacked["eigenvalue_converged"].min("run")
    numbers = stacked[
        [name for name in schema.CHECK_KEYS if schema.VARIABLES[name].dtype is np.float64]
    ]
    return (
        first.assign(numbers.median("run", skipna=False)),
        first.assign(numbers.min("run", skipna=False)),
        first.assign(numbers.max("run", skipna=False)),
    )


def loss(
    ax: Axes,
    run: xr.Dataset,
    time: TimeAxis,
    number: int,
    label: str,
    alpha: float,
    spread: Spread | None = None,
) -> None:
    """Draw the training loss of a run in the style of the ``number``-th of its panel."""
    run = measured(run)
    _range(ax, time.of(run), spread, "training_loss", LOSS_STYLES[number])
    _line(ax, time.of(run), run["training_loss"].values, LOSS_STYLES[number], number, label, alpha)
    log_scale(ax)


def alignments(
    ax: Axes, run: xr.Dataset, time: TimeAxis, alpha: float, spread: Spread | None = None
) -> None:
    """Draw how far gradient and SAM gradient align with the principal eigenvector, 0 to 1."""
    run = measured(run)
    for number, (name, label, style) in enumerate(ALIGNMENTS):
        _range(ax, time.of(run), spread, name, style)
        _line(ax, time.of(run), run[name].values, style, number, label, alpha)
    ax.set_ylim(-0.02, 1.05)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])


def gradient_norms(ax: Axes, run: xr.Dataset, time: TimeAxis, alpha: float) -> None:
    """Draw the norms of the gradient and of the SAM gradient."""
    run = measured(run)
    for number, (name, label, style) in enumerate(GRADIENT_NORMS):
        _line(ax, time.of(run), run[name].values, style, number, label, alpha)
    log_scale(ax)


def spectrum_ends(ax: Axes, run: xr.Dataset, time: TimeAxis, alpha: float) -> None:
    """Draw the algebraically largest and smallest eigenvalue, from what was found to the bound."""
    run = measured(run)
    x = time.of(run)
    for number, (name, label, style) in enumerate(SPECTRUM_ENDS):
        _end(ax, x, run[name].values, run[f"{name}_bound"].values, style, number, label, alpha)
    ax.axhline(0, color="0.45", linewidth=0.7)


def bounds(ax: Axes, run: xr.Dataset, time: TimeAxis, alpha: float) -> None:
    """Draw both ends of the spectrum over Proposition 3's bounds on them, from 0 up: 1 is at one.

    Each goes from what was found to what bounds it. An end of the other sign, which no bound of the
    proposition concerns, is drawn at 0.
    """
    run = measured(run)
    late = run["step"].values >= TRANSIENT * np.nanmax(run["step"].values, initial=0)
    shares = []
    for number, (name, label, style) in enumerate(BOUNDS):
        found, bound = (np.maximum(compute(run), 0) for compute in BOUNDED[name])
        _end(ax, time.of(run), found, bound, style, number, label, alpha)
        shares += [found, bound]
    ax.axhline(1, color="0.45", linewidth=0.9, linestyle=(0, (5, 3)))
    top = 1.2 * finite([share[late] for share in shares]).max(initial=1.0)
    ax.set_ylim(0, top)
    say_cut(ax, finite(shares), top)


def note(ax: Axes, lines: list[str], empty: bool) -> None:
    """Write in a panel how the runs ended that did not complete; an ``empty`` panel has no axes."""
    x, y, across, up = (0.5, 0.5, "center", "center") if empty else (0.98, 0.96, "right", "top")
    if empty:
        ax.tick_params(which="both", bottom=False, left=False, labelbottom=False, labelleft=False)
        ax.grid(False)
    ax.text(
        x,
        y,
        "\n".join(lines),
        transform=ax.transAxes,
        ha=across,
        va=up,
        fontsize="small",
        zorder=10,
        bbox={"facecolor": "white", "edgecolor": "0.6", "linewidth": 0.6, "pad": 2.5, "alpha": 0.9},
    )


class PlainLogFormatter(LogFormatter):
    """Labels of a logarithmic axis as numbers (2, 0.01, 1e-05), where Matplotlib wants a label."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label at ``x``, "" where there is to be none."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def say_cut(ax: Axes, drawn: np.ndarray, top: float) -> None:
    """Say how high what is drawn goes, where that is above the axis."""
    if drawn.size and drawn.max() > top:
        ax.text(
            0.1,
            1.0,
            rf"$\uparrow$ {drawn.max():.4g}",
            transform=ax.transAxes,
            ha="left",
            va="top",
            fontsize="small",
            color="0.35",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
            zorder=6,
        )


def log_scale(ax: Axes) -> None:
    """Make y logarithmic, labelled between the powers of ten too where there are few of these."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(PlainLogFormatter())
    ax.yaxis.set_minor_formatter(PlainLogFormatter(minor_thresholds=(1.0, 0.4)))


def _range(ax: Axes, x: np.ndarray, spread: Spread | None, name: str, style: dict) -> None:
    """Draw the range of a variable over seeds, where there are several."""
    if spread:
        low, high = (bound[name].values for bound in spread)
        band(ax, x, low, high, style["color"], f"range of {name}")


def band(ax: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: str, gid: str) -> None:
    """Fill between two curves."""
    ax.fill_between(x, low, high, color=color, alpha=BAND_ALPHA, linewidth=0, zorder=1.5, gid=gid)


def _end(
    ax: Axes,
    x: np.ndarray,
    found: np.ndarray,
    bound: np.ndarray,
    style: dict,
    number: int,
    label: str,
    alpha: float,
) -> None:
    """Draw an end of the spectrum: a marked line at what was found, and a band up to its bound.

    Checks that were not certified measured no end; line and band pass over them.
    """
    known, bounded = np.isfinite(found), np.isfinite(found) & np.isfinite(bound)
    _line(ax, x[known], found[known], style, number, label, alpha)
    if bounded.any():
        limits = found[bounded], bound[bounded]
        band(ax, x[bounded], *limits, style["color"], f"bound of the {label}")


def _line(
    ax: Axes, x: np.ndarray, y: np.ndarray, style: dict, number: int, label: str, alpha: float
) -> None:
    """Draw one marked line."""
    (line,) = ax.plot(
        x, y, color=style["color"], linestyle=style["linestyle"], alpha=alpha, label=label
    )
    mark(line, style["marker"], np.arange(len(x)), number)


def mark(line: Line2D, marker: str, eligible: np.ndarray, offset: int) -> None:
    """Put about ten markers on a line, at points of ``eligible``, shifted by ``offset``."""
    stride = max(1, len(eligible) // 10)
    start = (offset * stride) // 3
    line.set(marker=marker, markevery=[int(index) for index in eligible[start::stride]])


def finite(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the finite numbers of some arrays, as one flat array."""
    flat = np.concatenate([np.empty(0), *(np.ravel(array) for array in arrays)])
    return flat[np.isfinite(flat)]
