"""The spectral density of a task: gradient descent beside SAM, one row of panels per eta."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from samedge.analysis.quantities import meets_another
from samedge.curvature.krylov.quadrature import default_width, smoothed
from samedge.figures import beside, panels, paper
from samedge.records import describe, files

#: Colour and dash of the last share of the budget, the one before it, and so on.
STYLES: tuple[tuple[str, Any], ...] = (
    (panels.VERMILION, "-"),
    (panels.GREEN, (0, (5, 1.5))),
    (panels.SKY, (0, (1.5, 1))),
)
WIDTH_SHARE = 0.005  # of a row's range of eigenvalues: the Gaussians that smooth the densities
POINTS = 600  # of a curve
MARGIN = 6  # widths around the outermost node: the tail of its Gaussian
FARTHEST = 1.6  # an edge farther out than this many times the largest eigenvalue is only named
SHARE_NAMES = {0.0: "start", 0.5: "middle", 1.0: "end"}


@dataclass(frozen=True)
class Density:
    """One density of one run: nodes and weights (probes, steps), and what its check measured."""

    share: float
    place: int
    style: tuple[str, Any]
    nodes: np.ndarray
    weights: np.ndarray
    size: float
    edge: float
    eigenvalues: np.ndarray


def draw(cube: xr.Dataset, rho: str) -> Figure:
    """Return the figure of a task's spectral densities.

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
        If the cube holds no density, or no run of that radius.
    """
    absent = "no spectral density; give shares of the budget in density.at, such as [0, 0.5, 1]"
    with beside.rows_of_panels(
        cube,
        rho,
        ("density_node", absent),
        "density of the Hessian's eigenvalues",
        (1.75, 1.1),
        sharex="row",
        sharey="row",
    ) as (figure, grid, radii):
        for eta, row in enumerate(grid):
            _row(cube, eta, radii, row)
        for ax in grid[-1]:
            ax.set_xlabel("Eigenvalue")
        for ax in grid[:, 0]:
            ax.set_ylabel("Density")
        paper.finish(figure, f"{_method(cube)} {describe.footnote(cube)}", _legend(cube))
    return figure


def densities(cube: xr.Dataset, run: xr.Dataset) -> Iterator[Density]:
    """Yield the densities of a run (dims ``check, rank, density_check, probe, node``) in order."""
    for place, share in enumerate(cube["density_check"].values):
        step = float(run["density_step"][place])
        if np.isnan(step):
            continue
        (check,) = np.flatnonzero(run["step"].values == step)
        yield Density(
            share=float(share),
            place=place,
            style=style_of(place, cube.sizes["density_check"]),
            nodes=run["density_node"].values[place],
            weights=run["density_weight"].values[place],
            size=float(run["density_size"][place]),
            edge=np.nan if meets_another(run)[check] else float(run["sam_edge"][check]),
            eigenvalues=run["eigenvalue"].values[check],
        )


def _row(cube: xr.Dataset, eta: int, radii: list[str], row: np.ndarray) -> None:
    """Draw the panels of one learning rate, on one range of eigenvalues and one of densities."""
    columns = [paper.runs_at(cube, eta, [paper.rho_position(cube, rho)]) for rho in radii]
    together = [run for runs in columns for run in runs]
    # The last spectra of a run that diverged may be out of all proportion.
    scaling = [run for run in together if run.completed] or together
    shown = [density for run in scaling for density in densities(cube, run.data)]
    label = rf"$\eta$ = {cube['eta_label'].values[eta]}"
    for ax, rho, runs in zip(row, radii, columns, strict=True):
        ax.set_title(f"{label}, {paper.algorithm(cube, rho)}", loc="left")
        drawn = [run for run in runs if np.isfinite(run.data["density_step"]).any()]
        if drawn and shown:
            _panel(ax, cube, drawn, shown)
        lines = paper.ending_lines(runs, several_radii=False)
        if lines:
            panels.note(ax, lines, empty=not drawn)


def _panel(ax: Axes, cube: xr.Dataset, runs: list[paper.Run], row: list[Density]) -> None:
    """Draw the densities of the runs of one panel, and their edges; ``row`` scales the axes."""
    width = default_width(np.concatenate([density.nodes for density in row]), WIDTH_SHARE)
    low, high = _range(row, width)
    # An isolated eigenvalue is a Gaussian of area 1/n: what lies far below its top is not seen.
    floor = 0.2 / (max(density.size for density in row) * width * np.sqrt(2 * np.pi))
    grid = np.linspace(low, high, POINTS)
    for run in runs:
        for density in densities(cube, run.data):
            _curve(ax, density, grid, width, floor, run.alpha)
    _edges(ax, cube, runs, high)
    ax.set(yscale="log", xlim=(low, high))
    ax.set_ylim(bottom=floor)


def _edges(ax: Axes, cube: xr.Dataset, runs: list[paper.Run], high: float) -> None:
    """Mark 2/eta and the SAM edges up to ``high``; write down those that lie farther out."""
    farther = []
    gd_edge = float(runs[0].data["gd_edge"])
    if gd_edge <= high:
        ax.axvline(gd_edge, **panels.GD_EDGE, gid="gd_edge")
    else:
        farther.append(rf"$2/\eta$ = {gd_edge:.4g} $\rightarrow$")
    for run in (run for run in runs if float(run.rho) != 0):
        for density in densities(cube, run.data):
            if np.isnan(density.edge):  # of another curvature than the spectrum's
                continue
            if density.edge <= high:
                style = panels.SAM_EDGE | {"color": density.style[0]}
                ax.axvline(density.edge, **style, alpha=run.alpha, gid=f"sam_edge {density.place}")
            elif run.alpha == paper.STRONG:
                name = _share_name(density.share)
                farther.append(rf"SAM edge, {name} = {density.edge:.4g} $\rightarrow$")
    if farther:
        ax.text(
            0.99,
            0.55,
            "\n".join(farther),
            transform=ax.transAxes,
            ha="right",
            va="center",
            fontsize="small",
            color="0.35",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        )


def _curve(
    ax: Axes, density: Density, grid: np.ndarray, width: float, floor: float, alpha: float
) -> None:
    """Draw one density with the standard error over its probes, and the eigenvalues solved for."""
    curve = smoothed(density.nodes, density.weights, grid, width)
    color, dash = density.style
    ax.fill_between(
        grid,
        np.maximum(curve.value - curve.error, 1e-3 * floor),
        np.maximum(curve.value + curve.error, 1e-3 * floor),
        color=color,
        alpha=0.25 * alpha,
        linewidth=0,
    )
    ax.plot(
        grid,
        np.maximum(curve.value, 1e-3 * floor),
        color=color,
        linestyle=dash,
        alpha=alpha,
        gid=f"density {density.place}",
    )
    ax.plot(
        density.eigenvalues,
        np.full(len(density.eigenvalues), 0.03 * (1 + density.place)),
        transform=ax.get_xaxis_transform(),
        color=color,
        linestyle="none",
        marker="|",
        markersize=5,
        alpha=alpha,
        gid=f"eigenvalues {density.place}",
    )


def _range(row: list[Density], width: float) -> tuple[float, float]:
    """Return the range of eigenvalues of a row: all nodes, and the edges that are near."""
    nodes = np.concatenate([np.ravel(density.nodes) for density in row])
    low, high = np.nanmin(nodes), np.nanmax(nodes)
    edges = [density.edge for density in row if density.edge <= FARTHEST * high]
    return low - MARGIN * width, max([high, *edges]) + MARGIN * width


def _share_name(share: float) -> str:
    return SHARE_NAMES.get(share, f"after {share:.3g} of the budget")


def style_of(place: int, count: int) -> tuple[str, Any]:
    """Return colour and dash of one of so many shares of the budget.

    More than there are styles for go from dark to light.
    """
    if count <= len(STYLES):
        return STYLES[count - 1 - place]
    return to_hex(colormaps["viridis"](0.92 * place / (count - 1))), "-"


def share_legend(cube: xr.Dataset, shares: str, **marks: Any) -> dict[str, Line2D]:
    """Return what stands for each share of the budget along a dimension of a cube."""
    entries = {}
    for place, share in enumerate(cube[shares].values):
        color, dash = style_of(place, cube.sizes[shares])
        entries[_share_name(float(share))] = Line2D([], [], color=color, linestyle=dash, **marks)
    return entries


def _legend(cube: xr.Dataset) -> dict[str, Line2D]:
    """Return what stands for each share of the budget, for the edges and the eigenvalues."""
    entries = share_legend(cube, "density_check")
    entries["SAM edge, in that colour"] = Line2D([], [], **panels.SAM_EDGE | {"color": "0.45"})
    entries[r"$2/\eta$"] = Line2D([], [], **panels.GD_EDGE)
    entries["eigenvalues solved for"] = Line2D(
        [], [], color="0.45", linestyle="none", marker="|", markersize=6
    )
    return entries


def _method(cube: xr.Dataset) -> str:
    density = files.settings_of(cube)["density"]
    return (
        f"Mean of {density['probes']} probes of {density['steps']} Lanczos steps, smoothed by a "
        f"Gaussian of {WIDTH_SHARE:.1%} of the row's range; bands: ± one standard error."
    )
