"""Tasks of one family in one figure, a column for each eta: over batch sizes, or along training."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib.style
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from samedge.analysis.quantities import late_median, over_threshold, ratio_to_edge, sharpness
from samedge.base.errors import UserError
from samedge.figures import panels, paper
from samedge.records import describe, files
from samedge.records.schema import COMPLETED

Cubes = Mapping[str, xr.Dataset]
Quantity = Callable[[xr.Dataset], np.ndarray]  # of every check, (eta, rho, seed, check)

LINES = (panels.BLUE, panels.VERMILION, panels.GREEN, panels.SKY, panels.PURPLE, "0.35", "#ca9161")


@dataclass(frozen=True)
class Row:
    """What a row of panels shows: a quantity of checks, the axis, and where its threshold lies."""

    label: str
    quantity: Quantity
    needs: str
    log: bool = True
    threshold: float | None = None


def _variable(name: str) -> Quantity:
    return lambda cube: np.abs(cube[name].values)


def _over_threshold(label: str, name: str) -> Row:
    return Row(label, lambda cube: over_threshold(cube, name), name, threshold=1)


ALIGNMENT = Row(
    "Alignment of\nthe step's gradient", _variable("sam_gradient_alignment"), "step", log=False
)
#: The rows of a figure, by what it is along.
ROWS: dict[str, tuple[Row, ...]] = {
    "batch_size": (
        _over_threshold("λ1 of the sample\nover 2/η", "sample_eigenvalue"),
        _over_threshold("Batch sharpness\nover 2/η", "batch_sharpness"),
        _over_threshold("That of the step\nover 2", "step_sharpness"),
        _over_threshold("Noise interaction\nover 2/η", "noise_interaction"),
        ALIGNMENT,
    ),
    "step": (
        Row("|λ1|", sharpness, "eigenvalue"),
        Row("Curvature\nover the edge", ratio_to_edge, "edge_ratio", threshold=1),
        Row("Training loss", _variable("training_loss"), "training_loss"),
        ALIGNMENT,
    ),
}


def draw(cubes: Cubes, along: str, name: str) -> Figure:
    """Return the figure of a family of tasks.

    Parameters
    ----------
    cubes
        Every run of each task, the diverged ones included, by task and in order.
    along
        ``batch_size``: medians over the second half of each run's steps, one point a seed; or
        ``step``: every check of every run.
    name
        Of the family, for the title.

    Raises
    ------
    UserError
        If the cubes hold nothing that can be drawn.
    """
    # An older file, or one without minibatches, has fewer rows.
    rows = [row for row in ROWS[along] if all(row.needs in cube for cube in cubes.values())]
    etas = sorted({float(eta) for cube in cubes.values() for eta in cube["eta"].values})
    if not any(_completed(cube).any() for cube in cubes.values()):
        raise UserError(f"family {name}: no run of {', '.join(cubes)} has completed")
    with matplotlib.style.context(paper.STYLE):
        figure = Figure(figsize=(paper.WIDTH, 1.35 * len(rows) + 1.2))
        grid = figure.subplots(
            len(rows), len(etas), squeeze=False, sharex=along == "batch_size", sharey="row"
        )
        figure.suptitle(f"{name}: {', '.join(cubes)}", x=0.01, ha="left", wrap=True)
        paint = _over_batch_sizes if along == "batch_size" else _along_steps
        for row, axes in zip(rows, grid, strict=True):
            for eta, ax in zip(etas, axes, strict=True):
                paint(ax, row, cubes, eta)
                if row.log:
                    panels.log_scale(ax)
                if row.threshold is not None:
                    ax.axhline(row.threshold, **panels.GD_EDGE, gid="threshold")
            axes[0].set_ylabel(row.label)
        for eta, ax in zip(etas, grid[0], strict=True):
            ax.set_title(rf"$\eta$ = {eta:g}", loc="left")
        for ax in grid[-1]:
            ax.set_xlabel("Batch size" if along == "batch_size" else "Optimiser step")
        entries = paper.legend_entries(figure.axes)
        first = next(iter(cubes.values()))
        columns = 2 if along == "batch_size" else 3
        paper.finish(figure, f"{MEANING[along]} {describe.footnote(first)}", entries, columns)
    return figure


MEANING = {
    "batch_size": "Medians over the second half of each run's steps: a point is a seed, lines join "
    "the medians of the seeds. Dashed: the threshold. On the right: all examples at once.",
    "step": "Every check of every run; seeds after the first are faint. Dashed: the edge.",
}


def _completed(cube: xr.Dataset) -> np.ndarray:
    return cube["status"].values == COMPLETED


def _of_eta(cubes: Cubes, eta: float) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield those of the tasks that have runs of a learning rate, each with these alone."""
    for task, cube in cubes.items():
        places = np.flatnonzero(np.isclose(cube["eta"].values, eta, rtol=1e-9))
        if places.size:
            yield task, cube.isel(eta=places)


def _over_batch_sizes(ax: Axes, row: Row, cubes: Cubes, eta: float) -> None:
    """Draw the late median of every run over its batch size, a line for each radius."""
    points: dict[str, list[tuple[int, np.ndarray]]] = {}
    ticks: dict[int, str] = {}
    for _, cube in _of_eta(cubes, eta):
        size = files.settings_of(cube)["batch_size"]
        examples = size or examples_of(cube)
        ticks[examples] = str(size or "all")
        medians = np.where(_completed(cube), late_median(cube, row.quantity(cube)), np.nan)[0]
        for rho, values in zip(cube["rho_label"].values, medians, strict=True):
            points.setdefault(str(rho), []).append((examples, values))
    for rho, found in points.items():
        found.sort(key=lambda point: point[0])
        color = panels.BLUE if float(rho) == 0 else panels.VERMILION
        label = rf"$\rho$ = {rho}"
        sizes = [size for size, _ in found]
        middle = [
            np.nanmedian(values) if np.isfinite(values).any() else np.nan for _, values in found
        ]
        ax.plot(sizes, middle, color=color, label=label, gid=f"median {rho}")
        for size, values in found:
            marks: dict[str, Any] = {"color": color, "marker": "o", "markersize": 3}
            ax.plot([size] * len(values), values, **marks, linestyle="none", gid=f"seeds {rho}")
    ax.set_xscale("log")
    ax.set_xticks([*ticks], [*ticks.values()])
    ax.xaxis.set_minor_locator(NullLocator())


def examples_of(cube: xr.Dataset) -> int:
    """Return how many examples a step of all data takes: images, or windows of text."""
    settings = files.settings_of(cube)
    examples = settings["dataset"]["train_examples"]
    if examples is None:
        raise UserError(
            f"task {settings['task']}: dataset.train_examples is null, so that nothing tells how "
            "many examples a full batch has; give their number for a figure over batch sizes"
        )
    length = settings["model"]["settings"].get("sequence_length")
    return examples if length is None else examples // length


def _along_steps(ax: Axes, row: Row, cubes: Cubes, eta: float) -> None:
    """Draw every check of every run, in a colour for each task and radius."""
    for label, color, runs, steps in _curves(row, cubes, eta):
        for seed, (values, step) in enumerate(zip(runs, steps, strict=True)):
            there = np.isfinite(step)
            alpha = paper.STRONG if seed == 0 else paper.LIGHT
            ax.plot(step[there], values[there], color=color, alpha=alpha, label=label, gid=label)


def _curves(
    row: Row, cubes: Cubes, eta: float
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield label, colour, values (seed, check) and steps of each task and radius of an eta.

    A task and radius has its colour in every column.
    """
    every = [(task, str(rho)) for task, cube in cubes.items() for rho in cube["rho_label"].values]
    colors = dict(zip(every, cycle(LINES), strict=False))
    for task, cube in _of_eta(cubes, eta):
        values = row.quantity(cube)[0]
        for place, rho in enumerate(cube["rho_label"].values):
            label = rf"{task}, $\rho$ = {rho}"
            color = colors[task, str(rho)]
            yield label, color, values[place], cube["step"].values[0, place]
