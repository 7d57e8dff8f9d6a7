"""The panel of the largest eigenvalues with the edges, and its axis."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from samedge.analysis.quantities import meets_another, scheduled
from samedge.figures.panels import (
    EFFECTIVE,
    EIGENVALUE,
    GD_EDGE,
    RANK_STYLES,
    SAM_EDGE,
    TRANSIENT,
    UNSOLVED,
    Spread,
    band,
    finite,
    log_scale,
    mark,
    measured,
    say_cut,
)
from samedge.figures.time_axis import TimeAxis
from samedge.records import describe, schema

DEEPEST = 1e-4  # of the top of a logarithmic axis: what lies below it is cut off


def eigenvalues(
    ax: Axes,
    run: xr.Dataset,
    time: TimeAxis,
    gd_edge: bool,
    alpha: float,
    spread: Spread | None = None,
) -> None:
    """Draw the magnitudes of the largest eigenvalues and the SAM edge; 2/eta if ``gd_edge``.

    An eigenvalue whose residual stayed above the tolerance is an open marker. Where the edge is one
    of another curvature, that is drawn in place of 2/eta. With a schedule 2/eta is that of each
    check.
    """
    run = measured(run)
    x = time.of(run)
    if spread:
        for rank in range(run.sizes["rank"]):
            low, high = (bound["eigenvalue"].values[:, rank] for bound in spread)
            band(ax, x, low, high, RANK_STYLES[rank % len(RANK_STYLES)][0], f"range {rank + 1}")
        low, high = (bound["sam_edge"].values for bound in spread)
        band(ax, x, low, high, SAM_EDGE["color"], "range of the SAM edge")
    # Smallest rank last, so that the operator norm lies on top of the others.
    for rank in reversed(range(run.sizes["rank"])):
        color, dash, marker = RANK_STYLES[rank % len(RANK_STYLES)]
        y = np.abs(run["eigenvalue"].values[:, rank])
        solved = run["eigenvalue_converged"].values[:, rank] != 0
        (line,) = ax.plot(
            x,
            y,
            color=color,
            linestyle=dash,
            alpha=alpha,
            zorder=3 - 0.1 * rank,
            label=rf"{EIGENVALUE}{{{rank + 1}}}|$",
            gid=f"eigenvalue {rank + 1}",
        )
        mark(line, marker, np.flatnonzero(solved), rank)
        if not solved.all():
            ax.plot(
                x[~solved],
                y[~solved],
                linestyle="none",
                marker=marker,
                color=color,
                markerfacecolor="white",
                alpha=alpha,
                zorder=3.5,
                label=UNSOLVED,
                gid=f"not converged {rank + 1}",
            )
    ax.plot(
        x,
        run["sam_edge"].values,
        **SAM_EDGE,
        alpha=alpha,
        zorder=4,
        label=describe.edge(run),
        gid="sam_edge",
    )
    if meets_another(run).any():
        style = {**EFFECTIVE, "label": "effective curvature", "gid": "effective"}
        ax.plot(x, run["effective_curvature"].values, **style, alpha=alpha, zorder=3.9)
    elif gd_edge:
        style = {**GD_EDGE, "zorder": 4.1, "label": r"$2/\eta$", "gid": "gd_edge"}
        if scheduled(run):
            ax.plot(x, 2 / run["learning_rate"].values, **style)
        else:
            ax.axhline(float(run["gd_edge"]), **style)


def scale_eigenvalues(ax: Axes, runs: list[xr.Dataset], log: bool, gd_edge: bool) -> None:
    """Set y limits by the edges and the settled eigenvalues; say how high a cut transient goes."""
    settled, edges, everything = [], [], []
    deepest = DEEPEST
    for run in map(measured, runs):
        magnitudes = np.abs(run["eigenvalue"].values)
        late = run["step"].values >= TRANSIENT * np.nanmax(run["step"].values, initial=0)
        completed = int(run["status"]) == schema.COMPLETED
        settled.append(magnitudes[late] if completed else np.empty(0))
        edges.append(run["sam_edge"].values[late])
        everything.append(magnitudes)
        if meets_another(run).any():
            settled.append(run["effective_curvature"].values[late])
            everything.append(run["effective_curvature"].values)
            deepest = 0.0  # both curvatures are shown, however far apart
        elif gd_edge:
            gd = 2 / run["learning_rate"].values[late] if scheduled(run) else run["gd_edge"].values
            edges.append(gd)
    anchors = finite(edges + settled)
    if not (anchors > 0).any():
        return
    drawn = finite(everything)
    top = 1.2 * anchors.max()
    if log:
        low = finite([drawn[drawn > 0], anchors[anchors > 0]])
        top = 1.7 * max(anchors.max(), np.quantile(drawn, 0.99) if drawn.size else 0)
        log_scale(ax)
        ax.set_ylim(max(0.7 * low.min(), deepest * top), top)
    else:
        ax.set_ylim(0, top)
    say_cut(ax, drawn, top)
