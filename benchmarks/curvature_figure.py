"""The picture of the comparison of solvers: products and seconds, a row of the comparison a row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from benchmarks.scaling_figure import plain_logarithms
from samedge.figures.paper import STYLE

# Okabe & Ito's palette, which colour-blind readers can tell apart.
COLOURS = {
    "samedge": "#0072B2",
    "SciPy eigsh": "#E69F00",
    "SciPy lobpcg": "#D55E00",
    "matfree": "#009E73",
    "hessian-eigenthings": "#CC79A7",
}
QUANTITIES = {"products": "Hessian-vector products", "seconds": "time (s)"}
LINE_INCHES = 0.19


def draw(rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw the medians, with whiskers from the least to the most, and write them to ``path``.

    Squares started warm; what missed the accuracy is hollow.
    """
    heights = [len(entry["cases"]) + 2.5 for entry in rows.values()]
    with plt.style.context(STYLE):
        figure, grid = plt.subplots(
            len(rows),
            len(QUANTITIES),
            figsize=(11, LINE_INCHES * sum(heights) + 0.6),
            gridspec_kw={"height_ratios": heights},
            squeeze=False,
            layout="constrained",
        )
        for axes, entry in zip(grid, rows.values(), strict=True):
            for axis, quantity in zip(axes, QUANTITIES, strict=True):
                _points(axis, entry["cases"], quantity)
            axes[0].set_title(entry["title"], loc="left", fontsize="medium")
            axes[1].tick_params(labelleft=False)
        for axis, label in zip(grid[-1], QUANTITIES.values(), strict=True):
            axis.set_xlabel(f"{label}; squares: warm, hollow: missed the accuracy")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _points(axis: plt.Axes, cases: Mapping[str, Mapping[str, Any]], quantity: str) -> None:
    for place, case in enumerate(cases.values()):
        found = case[quantity]
        colour = COLOURS[case["solver"]]
        axis.errorbar(
            found["median"],
            place,
            xerr=[[found["median"] - found["min"]], [found["max"] - found["median"]]],
            color=colour,
            marker="s" if case["warm"] else "o",
            markerfacecolor=colour if case["reached"] else "white",
            markersize=5,
        )
        axis.annotate(
            f"{found['median']:.3g}",
            (found["max"], place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize="x-small",
        )
    axis.set_xscale("log")
    plain_logarithms(axis.xaxis)
    axis.set_yticks(range(len(cases)), list(cases))
    axis.margins(x=0.15, y=0.05)
    axis.invert_yaxis()
