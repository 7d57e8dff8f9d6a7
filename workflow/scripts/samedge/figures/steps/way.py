"""The way to the SAM point, and what steps change: one row of panels per eta, of one radius."""

from collections.abc import Iterator
from typing import Any

import matplotlib.style
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samedge.base.errors import UserError
from samedge.figures import panels, paper
from samedge.figures.spectra import density
from samedge.records import describe, files

#: What a step changes, by the ends of the variables' names: the legend's words, and how it looks.
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("the whole step", {"color": "0.25", "marker": "D"}),
    "_principal": ("its part along the principal directions", {"color": panels.VERMILION}),
    "_rest": ("the rest of it", {"color": panels.BLUE, "marker": "s"}),
}
COLUMNS = (
    "Loss change on the way",
    "Curvature over edge",
    "Alignment",
    "Loss change of a step",
)
LINEAR = 1e-4  # relative changes of the loss up to here are on a linear scale


def draw(cube: xr.Dataset, rho: str) -> Figure:
    """Return the figure of a task's way to the SAM point and of what its steps change.

    Parameters
    ----------
    cube
        Every run of the task, the diverged ones included.
    rho
        The radius of the runs, as in the cube; at 0 there is no way, and steps alone are shown.

    Raises
    ------
    UserError
        If the cube holds no such measurements, or no run of that radius.
    """
    task = files.settings_of(cube)["task"]
    if "way_step" not in cube:
        raise UserError(
            f"the cube of '{task}' holds nothing of the way to the SAM point; give way.at, such as "
            "[0, 0.5, 1], and train again"
        )
    position = paper.rho_position(cube, rho)
    with matplotlib.style.context(paper.STYLE):
        rows = cube.sizes["eta"]
        figure = Figure(figsize=(paper.WIDTH, 1.6 * rows + 1.5))
        grid = figure.subplots(rows, len(COLUMNS), squeeze=False, sharex="col")
        title = f"{task}: the way to the SAM point, {paper.algorithm(cube, rho)}"
        figure.suptitle(title, x=0.01, ha="left")
        for eta, row in enumerate(grid):
            _row(row, cube, eta, position)
        for ax, words in zip(grid[0], COLUMNS, strict=True):
            ax.set_title(words, loc="left", fontsize="small")
        for ax in grid[-1, :3]:
            ax.set_xlabel("Share of the way")
        grid[-1, 3].set_xlabel("Optimiser step")
        entries = density.share_legend(cube, "way_check") | paper.legend_entries(grid[:, 3])
        paper.finish(figure, f"{_meaning(cube)} {describe.footnote(cube)}", entries, columns=3)
    return figure


def _row(row: np.ndarray, cube: xr.Dataset, eta: int, position: int) -> None:
    """Draw the runs of one learning rate."""
    runs = paper.runs_at(cube, eta, [position])
    row[0].set_ylabel(rf"$\eta$ = {cube['eta_label'].values[eta]}")
    shares = cube["point"].values
    for run in runs:
        for place, at in ways(run.data):
            color, dash = density.style_of(place, cube.sizes["way_check"])
            line: dict[str, Any] = {"color": color, "alpha": run.alpha}
            row[0].plot(shares, at["change"], linestyle=dash, **line, gid=f"loss {place}")
            quadratic = {**line, "linewidth": 0.7, "linestyle": ":"}
            row[0].plot(shares, at["quadratic"], **quadratic, gid=f"quadratic {place}")
            row[1].plot(shares, at["curvature"], linestyle=dash, **line, gid=f"curvature {place}")
            row[2].plot(shares, at["alignment"], linestyle=dash, **line, gid=f"alignment {place}")
        _steps(row[3], run.data, run.alpha)
    row[1].axhline(1, **panels.SAM_EDGE, gid="sam_edge")
    row[2].set_ylim(-0.03, 1.03)
    row[3].axhline(0, color="0.8", linewidth=0.6)
    row[3].set_yscale("symlog", linthresh=LINEAR)
    lines = paper.ending_lines(runs, several_radii=False)
    if lines:
        panels.note(row[0], lines, empty=not row[0].lines)


def _steps(ax: Axes, run: xr.Dataset, alpha: float) -> None:
    """Draw what the measured steps of a run change: filled as measured, open as predicted."""
    there = np.isfinite(run["way_step"].values)
    step, loss = run["way_step"].values[there], losses(run)[there]
    for part, (words, style) in PARTS.items():
        look = {"marker": "o", "markersize": 3.5, "alpha": alpha, **style}
        found = run[f"step_change{part}"].values[there] / loss
        predicted = run[f"step_predicted{part}"].values[there] / loss
        ax.plot(step, found, linewidth=0.8, **look, label=words, gid=f"found{part}")
        open_marks = look | {"markersize": 6, "markerfacecolor": "none", "linestyle": "none"}
        ax.plot(step, predicted, **open_marks, gid=f"predicted{part}")


def losses(run: xr.Dataset) -> np.ndarray:
    """Return the training loss at every check at which the way was measured, (way_check,)."""
    return _at_checks(run, "training_loss")


def ways(run: xr.Dataset) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield what was measured on the ways of a run, by the place of each share of the budget.

    That is, at every point (point,): the change of the loss from the start of the way, and that of
    the quadratic there, over the loss; the curvature along the way over the edge; the alignment.
    """
    shares, edges = run["point"].values, _at_checks(run, "sam_edge")
    for place, steps in enumerate(run["way_step"].values):
        loss = run["way_loss"].values[place]
        if not np.isfinite(steps) or not np.isfinite(loss).all():
            continue
        along = shares * float(run["way_length"].values[place])
        slope = run["way_slope"].values[place, 0]
        curvature = run["way_curvature"].values[place]
        yield (
            place,
            {
                "change": (loss - loss[0]) / loss[0],
                "quadratic": (along * slope + along**2 * curvature[0] / 2) / loss[0],
                "curvature": curvature / edges[place],
                "alignment": run["way_alignment"].values[place],
            },
        )


def _at_checks(run: xr.Dataset, name: str) -> np.ndarray:
    """Return a variable of the checks at which the way was measured, NaN where it was not."""
    steps = run["step"].values
    values = [run[name].values[steps == step] for step in run["way_step"].values]
    return np.array([found[0] if found.size else np.nan for found in values])


def _meaning(cube: xr.Dataset) -> str:
    return (
        "From the parameters (0) to the point where SAM takes its gradient (1); changes of the "
        "loss over the loss. Dotted: the quadratic at the parameters. On the right, filled: as "
        "measured, open: as the quadratic predicts; principal: the first "
        f"{cube.sizes['rank']} eigenvectors."
    )
