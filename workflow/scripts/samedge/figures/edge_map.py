"""The edge map of a task: where in the plane of eta and rho runs are at their edge, as heatmaps."""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.style
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from samedge.analysis.quantities import median_over_seeds, meets_another
from samedge.analysis.statistics import STATISTICS
from samedge.figures import paper
from samedge.records import describe, files
from samedge.records.schema import COMPLETED, DIVERGED


@dataclass(frozen=True)
class Map:
    """One heatmap: a statistic, its title, its colours, and how its numbers are written."""

    statistic: str
    title: str
    colours: str
    norm: Callable[[np.ndarray], Normalize]
    text: Callable[[float], str]


def _around_one(values: np.ndarray) -> Normalize:
    """Return a scale with 1 in the middle, cut at twice the edge: beyond it is far from it."""
    return TwoSlopeNorm(1, 0, 2)


def _shares(values: np.ndarray) -> Normalize:
    """Return the scale of shares, whatever there is of them."""
    return Normalize(0, 1)


def _from_zero(values: np.ndarray) -> Normalize:
    """Return a linear scale from zero to the largest finite value."""
    return Normalize(0, np.max(values[np.isfinite(values)], initial=1.0))


def _logarithmic(values: np.ndarray) -> Normalize:
    """Return a logarithmic scale, at least a factor of ten wide."""
    found = values[np.isfinite(values) & (values > 0)]
    low, high = (found.min(), found.max()) if found.size else (1.0, 1.0)
    wider = max(1.0, (10 * low / high) ** 0.5)
    return LogNorm(low / wider, high * wider)


def _steps(value: float) -> str:
    """Return a number of steps as text; infinity is never."""
    return f"{value:,.0f}" if np.isfinite(value) else "never"


#: Rows and columns beyond which cells are too many to write numbers into: colour bars say what the
#: colours mean, and the map keeps the size of this many.
MOST_ROWS, MOST_COLUMNS = 24, 16
MAPS = (
    Map("edge_ratio", r"Median $|\lambda_1|\,/\,$edge", "vlag", _around_one, "{:.2f}".format),
    Map("share_within_25", "Share of checks within 25 %", "Blues", _shares, "{:.2f}".format),
    Map("first_at_edge", "Step of the first such check", "flare", _from_zero, _steps),
    Map("final_loss", "Final training loss", "mako_r", _logarithmic, "{:.3g}".format),
)


def draw(cube: xr.Dataset) -> Figure:
    """Return the edge map of a task.

    Parameters
    ----------
    cube
        Every run of the task, the diverged ones included. Numbers are medians over the seeds that
        completed; a cell says how many did not. Of more than :data:`MOST_ROWS` or
        :data:`MOST_COLUMNS` the numbers are colours alone, with a bar beside them, and a cross is a
        cell of which no run completed.
    """
    rows, columns = min(cube.sizes["eta"], MOST_ROWS), min(cube.sizes["rho"], MOST_COLUMNS)
    numbers = (rows, columns) == (cube.sizes["eta"], cube.sizes["rho"])
    with matplotlib.style.context(paper.STYLE):
        height = 2 * (0.95 + 0.34 * rows) + 0.5
        figure = Figure(figsize=(max(paper.WIDTH, 2 * (0.6 + 0.75 * columns)), height))
        # seaborn asks every label for its size. Without a canvas that keeps its renderer each label
        # makes one of its own, as large as the picture: gigabytes for a large map.
        FigureCanvasAgg(figure)
        for ax, shown in zip(figure.subplots(2, 2).flat, MAPS, strict=True):
            _heatmap(ax, cube, shown, numbers)
        task = files.settings_of(cube)["task"]
        figure.suptitle(f"{task}: where runs are at their edge of stability", x=0.01, ha="left")
        paper.finish(figure, f"{_explanation(cube, numbers)} {describe.footnote(cube)}", {})
        return figure


def _heatmap(ax: Axes, cube: xr.Dataset, shown: Map, numbers: bool) -> None:
    """Draw one statistic over (eta, rho), the largest eta on top."""
    values = median_over_seeds(STATISTICS[shown.statistic].compute(cube))
    sns.heatmap(
        values[::-1],
        ax=ax,
        norm=shown.norm(values),
        # Unused beside a norm, but else looked for, with a warning where nothing is finite.
        vmin=0,
        vmax=1,
        cmap=shown.colours,
        # What never happens is neither a colour of the scale nor missing.
        mask=~np.isfinite(values[::-1]),
        annot=False,
        linewidths=1 if numbers else 0,
        cbar=not numbers,
        xticklabels=_labels(cube["rho_label"].values, MOST_COLUMNS),
        yticklabels=_labels(cube["eta_label"].values[::-1], MOST_ROWS),
    )
    if numbers:
        _write_numbers(ax, cube, values, shown)
    else:
        none = ~(cube["status"].values == COMPLETED).any(axis=-1)[::-1]
        row, column = np.nonzero(none)
        ax.scatter(column + 0.5, row + 0.5, s=6, marker="x", color="black", linewidths=0.5)
    ax.set_facecolor("0.92")
    ax.grid(False)
    effective = shown.statistic == "edge_ratio" and meets_another(cube).any()
    ax.set_title("Median effective curvature / edge" if effective else shown.title, loc="left")
    ax.set(xlabel=r"$\rho$", ylabel=r"$\eta$")
    ax.tick_params(length=0, labelrotation=0)


def _labels(labels: np.ndarray, most: int) -> list[str]:
    """Return labels of an axis, blank but for so many, evenly spaced."""
    apart = -(-len(labels) // most)
    return [str(label) if place % apart == 0 else "" for place, label in enumerate(labels)]


def _write_numbers(ax: Axes, cube: xr.Dataset, values: np.ndarray, shown: Map) -> None:
    """Write what each cell says, in black or white, whichever is read on its colour."""
    mesh = ax.collections[0]
    for row, rho in np.ndindex(values.shape):
        eta = len(values) - 1 - row
        text = _text(cube, eta, rho, values[eta, rho], shown)
        dark = (
            np.isfinite(values[eta, rho])
            and _luminance(mesh.cmap(mesh.norm(values[eta, rho]))) < 0.4
        )
        ax.text(
            rho + 0.5,
            row + 0.5,
            text,
            ha="center",
            va="center",
            fontsize="small" if "\n" not in text else "x-small",
            color="white" if dark else "black",
        )


def _text(cube: xr.Dataset, eta: int, rho: int, value: float, shown: Map) -> str:
    """Return what a cell says: the number, and how many seeds diverged or are missing."""
    status = cube["status"].values[eta, rho]
    lines = [] if np.isnan(value) else [shown.text(value)]
    gone = [("diverged", np.sum(status == DIVERGED))]
    gone.append(("missing", np.sum((status != DIVERGED) & (status != COMPLETED))))
    for word, count in gone:
        if count:
            lines.append(word if count == status.size else f"{count} of {status.size} {word}")
    return "\n".join(lines) or "too few checks"


def _luminance(colour: tuple[float, ...] | np.ndarray) -> float:
    """Return the relative luminance of an RGB colour, from 0 to 1 (ITU-R BT.709)."""
    return float(np.dot(colour[:3], (0.2126, 0.7152, 0.0722)))


def _explanation(cube: xr.Dataset, numbers: bool) -> str:
    """Return what the numbers are."""
    name = describe.edge(cube)
    edge = r"the SAM edge, 2/$\eta$ at $\rho$ = 0" if name == "SAM edge" else "that of the rule"
    text = (
        f"Late checks, those in the second half of a run's steps; the edge is {edge}; the loss is "
    )
    text += "over the last quarter."
    if cube.sizes["seed"] > 1:
        text += f" Medians over {cube.sizes['seed']} seeds."
    if not numbers:
        text += " Grey: no number; a cross: no run completed."
    return text
