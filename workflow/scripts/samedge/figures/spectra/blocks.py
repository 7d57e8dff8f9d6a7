"""The sharpness of each block of a task: gradient descent beside SAM, one row of panels per eta."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from samedge.figures import beside, panels, paper
from samedge.figures.spectra import density
from samedge.records import describe

WHOLE = "whole"
MARKS: dict[str, Any] = {"marker": "o", "markersize": 3.5}
OPEN: dict[str, Any] = {"markerfacecolor": "white"}
FARTHEST = 10  # times the largest of a row up to which 2/eta is drawn: beyond, it hides the rest


def draw(cube: xr.Dataset, rho: str) -> Figure:
    """Return the figure of the sharpness of a task's blocks.

    Parameters
    ----------
    cube
        Every run of the task, the diverged ones included.
    rho
        The radius of the SAM runs, as in the cube. Runs with rho = 0 stand beside them if the
        cube has any.

    Raises
    ------
    UserError
        If the cube holds no blocks, or no run of that radius.
    """
    absent = "no blocks of the Hessian; give shares of the budget in blocks.at, such as [0, 0.5, 1]"
    with beside.rows_of_panels(
        cube,
        rho,
        ("block_curvature", absent),
        "sharpness of the Hessian's blocks",
        (1.75, 1.1),
        sharex=True,
        sharey="row",
    ) as (figure, grid, radii):
        figure.set_figheight(figure.get_figheight() + _names_height(cube))
        for eta, row in enumerate(grid):
            _row(cube, eta, radii, row)
        for ax in grid[:, 0]:
            ax.set_ylabel(r"$|\lambda_1|$")
        edges = any(line.get_gid() == "gd_edge" for ax in figure.axes for line in ax.lines)
        paper.finish(figure, f"{_meaning(cube)} {describe.footnote(cube)}", _legend(cube, edges))
    return figure


def _row(cube: xr.Dataset, eta: int, radii: list[str], row: np.ndarray) -> None:
    """Draw the panels of one learning rate."""
    label = rf"$\eta$ = {cube['eta_label'].values[eta]}"
    edge = float(cube["gd_edge"][eta])
    if edge > FARTHEST * np.nanmax(np.abs(cube["eigenvalue"].values[eta]), initial=0):
        edge = np.nan
    for ax, rho in zip(row, radii, strict=True):
        runs = paper.runs_at(cube, eta, [paper.rho_position(cube, rho)])
        ax.set_title(f"{label}, {paper.algorithm(cube, rho)}", loc="left")
        drawn = [run for run in runs if np.isfinite(run.data["block_step"].values).any()]
        _panel(ax, cube, drawn, edge)
        lines = paper.ending_lines(runs, several_radii=False)
        if lines:
            panels.note(ax, lines, empty=not drawn)


def _panel(ax: Axes, cube: xr.Dataset, runs: list[paper.Run], edge: float) -> None:
    """Draw the blocks of the runs of one panel, and then the whole; ``edge`` is 2/eta, or NaN."""
    names = [str(name) for name in cube["block"].values]
    for run in runs:
        for place, found, converged, whole in measured(run.data):
            color, dash = density.style_of(place, cube.sizes["block_check"])
            line: dict[str, Any] = {"color": color, "alpha": run.alpha}
            ax.plot(found, linestyle=dash, **line, **MARKS, gid=f"blocks {place}")
            # A pair that did not converge is a lower bound at most.
            doubtful = np.where(converged, np.nan, found)
            ax.plot(doubtful, linestyle="none", **line, **MARKS, **OPEN, gid=f"doubtful {place}")
            ax.plot([len(names)], [whole], **line, marker="D", markersize=4, gid=f"whole {place}")
    if runs:
        ax.set_yscale("log")
    if np.isfinite(edge):
        ax.axhline(edge, **panels.GD_EDGE, gid="gd_edge")
    ax.axvline(len(names) - 0.5, color="0.85", linewidth=0.6)
    ax.set_xlim(-0.5, len(names) + 0.5)
    ax.set_xticks(range(len(names) + 1), [*names, WHOLE], rotation=90, fontsize="x-small")


def measured(run: xr.Dataset) -> Iterator[tuple[int, np.ndarray, np.ndarray, float]]:
    """Yield what was measured of a run's blocks, by the place of each share of the budget.

    That is the magnitudes of the blocks (block,), whether each has converged (block,), and the
    operator norm of the whole Hessian.
    """
    for place, steps in enumerate(run["block_step"].values):
        if not np.isfinite(steps).any():
            continue
        (check,) = np.flatnonzero(run["step"].values == steps[0])
        yield (
            place,
            np.abs(run["block_curvature"].values[place]),
            run["block_converged"].values[place] == 1,
            abs(float(run["eigenvalue"].values[check, 0])),
        )


def _names_height(cube: xr.Dataset) -> float:
    """Return the inches that the names of blocks take below the lowest panels."""
    return 0.055 * max(len(str(name)) for name in cube["block"].values)


def _legend(cube: xr.Dataset, edges: bool) -> dict[str, Line2D]:
    """Return what stands for each share of the budget, and for the rest."""
    entries = density.share_legend(cube, "block_check", **MARKS)
    grey: dict[str, Any] = {"color": "0.45", "linestyle": "none"}
    entries["whole Hessian"] = Line2D([], [], **grey, marker="D", markersize=4)
    if edges:
        entries[r"$2/\eta$"] = Line2D([], [], **panels.GD_EDGE)
    flags = cube["block_converged"].values
    if (flags == 0).any():
        entries["not converged"] = Line2D([], [], **grey, **MARKS, **OPEN)
    return entries


def _meaning(cube: xr.Dataset) -> str:
    sizes = np.nanmax(cube["block_size"].values, axis=(0, 1, 2, 3), initial=0)
    counts = ", ".join(
        f"{name} {int(size):,}" for name, size in zip(cube["block"].values, sizes, strict=True)
    )
    return (
        "Eigenvalue of largest magnitude of the Hessian's diagonal block of each layer, or group "
        f"of parameters, and of the whole Hessian at the same check. Parameters: {counts}."
    )
