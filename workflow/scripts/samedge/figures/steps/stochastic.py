"""What minibatches make of the edge, along training: one row of panels per eta."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samedge.analysis.quantities import STOCHASTIC, over_threshold
from samedge.figures import beside, panels, paper
from samedge.records import describe, files

SPAN = 1e3  # of the values on an axis, around 1: what lies farther out is cut off


def draw(cube: xr.Dataset, rho: str) -> Figure:
    """Return the figure of what minibatches make of a task's edges.

    Every curve is over its threshold, 2/eta or 2, at which a step leaves the expected loss of a
    quadratic as it is. Without SAM its gradient is the gradient, and is left out.

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
        If the cube holds no such measurements, or no run of that radius.
    """
    absent = "nothing of minibatches; give stochastic.batches, such as 16"
    with beside.rows_of_panels(
        cube,
        rho,
        ("batch_sharpness", absent),
        "what minibatches make of the edge",
        (1.9, 1.2),
        sharex="col",
        sharey="row",
    ) as (figure, grid, radii):
        for eta, row in enumerate(grid):
            for ax, radius in zip(row, radii, strict=True):
                _panel(ax, cube, eta, radius)
            # The panels of a row share their axis, with the threshold on it.
            row[0].set_yscale("log")
            low, high = row[0].get_ylim()
            row[0].set_ylim(max(low, 1 / SPAN), min(max(high, 1.3), SPAN))
        for ax in grid[-1]:
            ax.set_xlabel("Optimiser step")
        for ax in grid[:, 0]:
            ax.set_ylabel("Over its threshold")
        entries = paper.legend_entries(figure.axes)
        paper.finish(figure, f"{_meaning(cube)} {describe.footnote(cube)}", entries, columns=3)
    return figure


def _panel(ax: Axes, cube: xr.Dataset, eta: int, rho: str) -> None:
    """Draw the runs of one learning rate and radius."""
    runs = paper.runs_at(cube, eta, [paper.rho_position(cube, rho)])
    label = rf"$\eta$ = {cube['eta_label'].values[eta]}"
    ax.set_title(f"{label}, {paper.algorithm(cube, rho)}", loc="left")
    drawn = 0
    for run in runs:
        for name, step, value, error in measured(run.data):
            if name == "sam_batch_sharpness" and float(rho) == 0:
                continue
            words, style = panels.MINIBATCHES[name]
            ax.plot(step, value, **style, label=words, alpha=run.alpha, gid=name)
            low, high = (np.clip(value + sign * error, 1 / SPAN, SPAN) for sign in (-1, 1))
            panels.band(ax, step, low, high, style["color"], f"{name} error")
            drawn += 1
    ax.axhline(1, **panels.GD_EDGE, gid="threshold")
    lines = paper.ending_lines(runs, several_radii=False)
    if lines:
        panels.note(ax, lines, empty=not drawn)


def measured(run: xr.Dataset) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield what was measured of a run: name, steps, values over their threshold, and errors."""
    # Statistics are of cubes: of one run.
    one = run.expand_dims(["eta", "rho", "seed"])
    step = run["step"].values
    for name in STOCHASTIC:
        value = over_threshold(one, name)[0, 0, 0]
        there = np.isfinite(value)
        if not there.any():
            continue
        error = np.zeros(len(value))
        if f"{name}_error" in run:
            error = np.nan_to_num(over_threshold(one, f"{name}_error")[0, 0, 0])
        yield name, step[there], value[there], error[there]


def _meaning(cube: xr.Dataset) -> str:
    settings = files.settings_of(cube)
    batches, size = settings["stochastic"]["batches"], settings["batch_size"]
    sample = settings["stochastic"].get("examples")
    of = "the full batch" if size is None else f"{batches} minibatches of {size} examples"
    return (
        f"Quantities of {of} over the value at which a step leaves the expected loss of a "
        "quadratic as it is; bands: ± one standard error. Sample: "
        f"{sample or 'all'} training examples."
    )
