"""Dataset in, figure out: the figures of Long & Bartlett (2024), one panel per eta, of any task.

Nothing here reads or writes but :func:`save`, and nothing touches Matplotlib's global state.
"""

import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from samedge.base.errors import UserError
from samedge.base.files import whole_file
from samedge.config.paper_figures import FigureSpec
from samedge.figures import eigenvalue_panels, panels
from samedge.figures.time_axis import TimeAxis, time_axis
from samedge.records import describe, files, schema
from samedge.records.cubes import ending
from samedge.updates.edges import edge_ratio

STYLE = Path(__file__).with_name("style.mplstyle")
AXES = ("training_time", "step")
WIDTH = 7.0
#: What there is of a diverged run is drawn lightly, and so are densities of further seeds.
STRONG, LIGHT = 1.0, 0.35


@dataclass(frozen=True)
class Run:
    """One run of a cube: its data (dims ``check, rank``), its radius and seed, and how it ended.

    Where it stands for several seeds, its data are their medians and ``spread`` is their range.
    """

    data: xr.Dataset
    rho: str
    seed: int
    ending: str
    alpha: float
    spread: panels.Spread | None = None

    @property
    def completed(self) -> bool:
        """Whether the run reached the end of its budget."""
        return int(self.data["status"]) == schema.COMPLETED


def draw(
    spec: FigureSpec, cube: xr.Dataset | None, rho: str = "0", axis: str = "training_time"
) -> Figure:
    """Return a figure of the paper.

    Parameters
    ----------
    spec
        Which figure, from :data:`samedge.config.paper_figures.FIGURES`.
    cube
        Every run of the figure's task, the diverged ones included; None for Figure 1.
    rho
        The radius of the SAM runs, as in the cube; "0" for gradient descent.
    axis
        What is on x: "training_time" or "step".

    Raises
    ------
    UserError
        If the cube has no run of that radius.
    """
    with matplotlib.style.context(STYLE):
        if spec.kind == "edge_ratio":
            return edge_ratio_figure()
        assert cube is not None, "Figure 1 alone is drawn without a cube"
        return _KINDS[spec.kind](cube, rho, axis, f"Figure {spec.number}. ")


def draw_kind(kind: str, cube: xr.Dataset, rho: str, axis: str = "training_time") -> Figure:
    """Return a figure of one of the paper's kinds, without a number.

    Parameters
    ----------
    kind
        A value of :data:`samedge.config.paper_figures.TASK_KINDS`.
    cube, rho, axis
        As of :func:`draw`. A loss is drawn beside that of gradient descent, if there is such a run.

    Raises
    ------
    UserError
        If the cube has no run of that radius.
    """
    with matplotlib.style.context(STYLE):
        return _KINDS[kind](cube, rho, axis, "")


def save(figure: Figure, pdf: str | os.PathLike, png: str | os.PathLike) -> None:
    """Write a figure as PDF and PNG, without dates: the same figure gives the same bytes."""
    with matplotlib.style.context(STYLE):
        # savefig would lay out and draw everything again for each of the files.
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            # The solver's last digits depend on where things lie in memory, and PDF has many.
            for ax in figure.axes:
                ax.set_position(np.round(ax.get_position(original=True).bounds, 9))
        with whole_file(pdf) as temporary:
            FigureCanvasPdf(figure).print_pdf(temporary, metadata={"CreationDate": None})
        figure.set_dpi(matplotlib.rcParams["savefig.dpi"])
        with whole_file(png) as temporary:
            FigureCanvasAgg(figure).print_png(temporary)


def edge_ratio_figure() -> Figure:
    """Return Figure 1: SAM edge over 2/eta as a function of alpha = eta ||g|| / (2 rho)."""
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    ax = figure.subplots()
    alpha = np.geomspace(1e-4, 1e4, 400)
    small = alpha[alpha <= 0.4]
    ax.axhline(1, color="0.45", linestyle=(0, (5, 3)), linewidth=0.9, label="1, gradient descent")
    ax.plot(
        small,
        np.sqrt(small),
        color=panels.VERMILION,
        linestyle=(0, (1.5, 1.5)),
        label=r"$\sqrt{\alpha}$",
    )
    ax.plot(
        alpha,
        edge_ratio(alpha),
        color=panels.BLUE,
        linewidth=1.6,
        label=r"$\frac{\alpha}{2}\left(\sqrt{1 + 4/\alpha} - 1\right)$",
    )
    ax.set(xscale="log", ylim=(0, 1.08))
    ax.set_xlabel(r"$\alpha = \eta\,\|\nabla\ell(w)\|\,/\,(2\rho)$")
    ax.set_ylabel(r"SAM edge $/\ (2/\eta)$")
    ax.set_title("Figure 1. The SAM edge relative to that of gradient descent", loc="left")
    ax.legend(loc="center left", bbox_to_anchor=(0.02, 0.62), reverse=True)
    return figure


def eigenvalue_figure(
    cube: xr.Dataset, rho: str, axis: str, heading: str, gd_edge: bool = True
) -> Figure:
    """Return the magnitudes of the largest eigenvalues with the SAM edge, and 2/eta if asked."""
    # Far below 2/eta the eigenvalues of SAM runs would be one flat line on a linear axis.
    log = gd_edge and float(rho) != 0

    def panel(ax: Axes, runs: list[Run], time: TimeAxis) -> None:
        for run in runs:
            eigenvalue_panels.eigenvalues(ax, run.data, time, gd_edge, run.alpha, run.spread)
        drawn = [run.data for run in runs]
        drawn += [bound for run in runs if run.spread for bound in run.spread]
        eigenvalue_panels.scale_eigenvalues(ax, drawn, log, gd_edge)

    scaled = "" if gd_edge else ", scaled on the SAM edge"
    title = f"largest Hessian eigenvalues, {algorithm(cube, rho)}{scaled}"
    return _panels_figure(cube, [rho], axis, heading, title, "Magnitude", panel)


def eigenvalue_zoom_figure(cube: xr.Dataset, rho: str, axis: str, heading: str) -> Figure:
    """Return the magnitudes of the largest eigenvalues, the axis scaled on the SAM edge."""
    return eigenvalue_figure(cube, rho, axis, heading, gd_edge=False)


def loss_figure(cube: xr.Dataset, rho: str, axis: str, heading: str) -> Figure:
    """Return the training loss of SAM beside that of gradient descent, on a logarithmic axis."""
    zero = [str(label) for label in cube["rho_label"].values if float(label) == 0]
    radii = list(dict.fromkeys([*zero, rho]))

    def panel(ax: Axes, runs: list[Run], time: TimeAxis) -> None:
        for run in runs:
            position, label = int(float(run.rho) != 0), algorithm(cube, run.rho)
            panels.loss(ax, run.data, time, position, label, run.alpha, run.spread)

    return _panels_figure(cube, radii, axis, heading, "training loss", "Training loss", panel)


def alignment_figure(cube: xr.Dataset, rho: str, axis: str, heading: str) -> Figure:
    """Return the alignments of both gradients with the principal eigenvector."""

    def panel(ax: Axes, runs: list[Run], time: TimeAxis) -> None:
        for run in runs:
            panels.alignments(ax, run.data, time, run.alpha, run.spread)

    title = f"alignment with the principal eigenvector, {algorithm(cube, rho)}"
    return _panels_figure(cube, [rho], axis, heading, title, "Absolute cosine", panel)


_KINDS: Mapping[str, Callable[[xr.Dataset, str, str, str], Figure]] = {
    "eigenvalues": eigenvalue_figure,
    "eigenvalues_zoom": eigenvalue_zoom_figure,
    "loss": loss_figure,
    "alignment": alignment_figure,
}


def _panels_figure(
    cube: xr.Dataset,
    radii: list[str],
    axis: str,
    heading: str,
    title: str,
    y_label: str,
    panel: Callable[[Axes, list[Run], TimeAxis], None],
) -> Figure:
    """Return a figure with one panel per eta, the legend and the footnote below.

    ``heading`` is what the title begins with, before the task: the figure's number, if it has one.
    """
    positions = [rho_position(cube, rho) for rho in radii]
    time = time_axis(cube.isel(rho=positions), axis)
    count = cube.sizes["eta"]
    columns = {1: 1, 2: 2, 4: 2}.get(count, 3 if count <= 9 else 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH if columns > 1 else 4.6, 2.1 * rows + 0.95))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for number, ax in enumerate(grid.flat):
        if number >= count:
            ax.set_axis_off()
            continue
        runs = seeds_together(runs_at(cube, number, positions))
        ax.set_title(rf"$\eta$ = {cube['eta_label'].values[number]}", loc="left")
        drawn = [run for run in runs if np.isfinite(run.data["step"]).any()]
        panel(ax, drawn, time)
        if number + columns >= count:
            ax.set_xlabel(time.label)
            ax.tick_params(labelbottom=True)
        if number % columns == 0:
            ax.set_ylabel(y_label)
        lines = ending_lines(runs, several_radii=len(radii) > 1)
        if lines:
            panels.note(ax, lines, empty=not drawn)
    title = f"{heading}{files.settings_of(cube)['task']}: {title}"
    figure.suptitle(textwrap.fill(title, int(15 * figure.get_figwidth())), x=0.01, ha="left")
    text = describe.footnote(cube)
    if cube.sizes["seed"] > 1:
        text = f"Lines: medians over {cube.sizes['seed']} seeds; bands: their range. {text}"
    finish(figure, text, legend_entries(figure.axes))
    return figure


def legend_entries(axes: Iterable[Axes]) -> dict[str, Artist]:
    """Return a line for every label, a strong one where there is; eigenvalues first, by rank."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            if label not in entries or entries[label].get_alpha() == LIGHT:
                entries[label] = handle

    def place(label: str) -> tuple[bool, str]:
        return label == panels.UNSOLVED, label if label.startswith(panels.EIGENVALUE) else "~"

    return {label: entries[label] for label in sorted(entries, key=place)}


def finish(figure: Figure, text: str, entries: Mapping[str, Artist], columns: int = 0) -> None:
    """Lay a figure out, with one legend for all panels below them and a footnote below that."""
    columns = columns or max(1, int(0.9 * figure.get_figwidth()))
    text = textwrap.fill(text, int(19 * figure.get_figwidth()))
    # In inches: the engine for constrained layouts cannot stack a legend and a text by itself.
    foot = 0.07 + 0.11 * (1 + text.count("\n"))
    reserved = (foot + 0.2 * -(-len(entries) // columns)) / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, reserved, 1, 1 - reserved), w_pad=0.03)
    figure.text(0.01, 0.04 / figure.get_figheight(), text, fontsize="x-small", color="0.35")
    if entries:
        legend = figure.legend(
            list(entries.values()),
            list(entries),
            loc="lower center",
            bbox_to_anchor=(0.5, foot / figure.get_figheight()),
            borderpad=0.1,
            ncols=columns,
        )
        legend.set_in_layout(False)


def runs_at(cube: xr.Dataset, eta: int, positions: list[int]) -> list[Run]:
    """Return the runs of one panel: every seed of every radius, the first seed strong."""
    return [
        Run(
            data=cube.isel(eta=eta, rho=rho, seed=seed),
            rho=str(cube["rho_label"].values[rho]),
            seed=int(cube["seed"].values[seed]),
            ending=ending(cube, eta, rho, seed),
            alpha=STRONG
            if seed == 0 and cube["status"].values[eta, rho, seed] == schema.COMPLETED
            else LIGHT,
        )
        for rho in positions
        for seed in range(cube.sizes["seed"])
    ]


def seeds_together(runs: list[Run]) -> list[Run]:
    """Return the runs of a panel, the completed ones of each radius as one: median and range.

    Checks are taken together by their number, up to the last that all of them have.
    """
    together = [run for run in runs if not run.completed]
    for rho in dict.fromkeys(run.rho for run in runs if run.completed):
        group = [run for run in runs if run.completed and run.rho == rho]
        first = replace(group[0], alpha=STRONG)
        if len(group) > 1:
            median, low, high = panels.over_seeds([run.data for run in group])
            first = replace(first, data=median, spread=(low, high))
        together.append(first)
    return together


def ending_lines(runs: list[Run], several_radii: bool) -> list[str]:
    """Return lines that say which runs of a panel diverged, when and why, or are missing."""
    several_seeds = len({run.seed for run in runs}) > 1
    lines = []
    for run in runs:
        if not run.completed:
            which = [rf"$\rho$ = {run.rho}"] if several_radii else []
            which += [f"seed {run.seed}"] if several_seeds else []
            how, colon, why = run.ending.partition(": ")
            lines += [" ".join([", ".join(which), how]).strip() + colon.strip()]
            lines += textwrap.wrap(why, 32)
    return lines


def rho_position(cube: xr.Dataset, rho: str) -> int:
    """Return where a radius lies in the cube; UserError if it has no such run."""
    (found,) = np.nonzero(np.isclose(cube["rho"].values, float(rho), rtol=1e-12, atol=0))
    if not found.size:
        task = files.settings_of(cube)["task"]
        raise UserError(
            f"the cube of '{task}' has no runs with rho = {rho}; it has rho = "
            + ", ".join(map(str, cube["rho_label"].values))
        )
    return int(found[0])


def algorithm(cube: xr.Dataset, rho: str) -> str:
    """Return the name of the algorithm with its radius, for titles and legends."""
    return rf"{describe.algorithms(cube)[float(rho) != 0]} ($\rho$ = {rho})"
