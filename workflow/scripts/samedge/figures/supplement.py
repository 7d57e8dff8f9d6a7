"""The supplement: every plot of every run that did not diverge, one page a run, and an index."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.style
import xarray as xr
from matplotlib.figure import Figure

from samedge.figures import eigenvalue_panels, panels, paper
from samedge.figures.time_axis import time_axis
from samedge.records import describe, files, schema
from samedge.records.cubes import run_name

SIZE = (12.4, 5.6)  # of a page, in inches


def completed_runs(cube: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the name and the data (dims ``check, rank``) of every completed run of a cube."""
    for eta in range(cube.sizes["eta"]):
        for rho in range(cube.sizes["rho"]):
            for seed in range(cube.sizes["seed"]):
                run = cube.isel(eta=eta, rho=rho, seed=seed)
                if int(run["status"]) == schema.COMPLETED:
                    yield run_name(cube, eta, rho, seed), run


def run_page(run: xr.Dataset, axis: str) -> Figure:
    """Return all plots of one run: eigenvalues with and without 2/eta, loss, alignments, ..."""
    with matplotlib.style.context(paper.STYLE):
        time = time_axis(run, axis)
        # All pages are alike, so that fixed margins do, at a fraction of the time.
        figure = Figure(figsize=SIZE, layout="none")  # type: ignore[arg-type]
        layout: list[Any] = [
            ["whole", "whole", "zoom", "ends"],
            ["bounds", "loss", "alignment", "norms"],
        ]
        axes = figure.subplot_mosaic(layout, sharex=True)
        whole, zoom, ends, bounds, loss, alignment, norms = axes.values()

        eigenvalue_panels.eigenvalues(whole, run, time, True, paper.STRONG)
        eigenvalue_panels.scale_eigenvalues(whole, [run], float(run["rho"]) != 0, True)
        eigenvalue_panels.eigenvalues(zoom, run, time, False, paper.STRONG)
        eigenvalue_panels.scale_eigenvalues(zoom, [run], False, False)
        panels.spectrum_ends(ends, run, time, paper.STRONG)
        panels.bounds(bounds, run, time, paper.STRONG)
        panels.loss(loss, run, time, 0, "training loss", paper.STRONG)
        panels.alignments(alignment, run, time, paper.STRONG)
        panels.gradient_norms(norms, run, time, paper.STRONG)

        titles = {
            whole: "Magnitude of the largest eigenvalues",
            zoom: "The same, scaled on the SAM edge",
            ends: "Ends of the spectrum",
            bounds: "The ends over Proposition 3's bounds",
            loss: "Training loss",
            alignment: "Alignment with the principal eigenvector",
            norms: "Norms of the gradients",
        }
        for ax, title in titles.items():
            ax.set_title(title, loc="left")
        for ax in (whole, ends, bounds, alignment, norms):
            entries = paper.legend_entries([ax])
            ax.legend(
                list(entries.values()),
                list(entries),
                ncols=2 if len(entries) > 3 else 1,
                fontsize="small",
                handlelength=2,
                columnspacing=1,
                frameon=True,
                edgecolor="none",
            )
        for name in layout[-1]:
            axes[name].set_xlabel(time.label)
        figure.suptitle(_title(run), x=0.01, ha="left")
        figure.text(0.01, 0.01, describe.footnote(run), fontsize="x-small", color="0.35")
        figure.subplots_adjust(
            left=0.035, right=0.992, bottom=0.1, top=0.9, wspace=0.19, hspace=0.16
        )
        return figure


def write_supplement(cube: xr.Dataset, folder: Path, axis: str) -> int:
    """Write PDF and PNG of every completed run, and ``index.html``; return how many runs."""
    names = []
    for name, run in completed_runs(cube):
        paper.save(run_page(run, axis), folder / f"{name}.pdf", folder / f"{name}.png")
        names.append(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(_index(cube, names), encoding="utf-8")
    return len(names)


def _title(run: xr.Dataset) -> str:
    """Return the page's title: task, algorithm, eta, seed and how well the run did on test data."""
    task = files.settings_of(run)["task"]
    title = f"{task}: {paper.algorithm(run, str(run['rho_label'].values))}, "
    title += rf"$\eta$ = {run['eta_label'].values}, seed {run['seed'].values}"
    for metric in schema.TEST_METRICS:
        if metric in run:
            title += f"; {metric.replace('_', ' ')} {float(run[metric]):.4g}"
    return title


def _index(cube: xr.Dataset, names: list[str]) -> str:
    """Return a page that shows every run's plots, the PDF behind each picture."""
    task = html.escape(files.settings_of(cube)["task"])
    # Their size beforehand and each picture when it is scrolled to: there may be thousands.
    width, height = (round(100 * inches) for inches in SIZE)
    shown = f'width="{width}" height="{height}" loading="lazy"'
    pictures = "\n".join(
        f'<h2>{name}</h2>\n<a href="{name}.pdf"><img src="{name}.png" alt="{name}" {shown}></a>'
        for name in map(html.escape, names)
    )
    removed = cube.attrs.get("removed_runs", "")
    left_out = f"<p>Not shown: {html.escape(removed)}.</p>\n" if removed else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{task}: every run</title></head>\n<body>\n<h1>{task}: every run</h1>\n"
        f"{left_out}{pictures}\n</body></html>\n"
    )
