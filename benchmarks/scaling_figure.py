"""The picture of how time grows: steps on the left, a check and its products on the right."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.measuring import IMAGES
from samedge.figures.panels import BLUE, VERMILION
from samedge.figures.paper import STYLE

PANELS = {"width": "width", "examples": "examples", "depth": "depth", "checks": "parameters"}


def draw(results: Mapping[str, Any], path: Path = IMAGES / "benchmark_scaling.png") -> None:
    """Draw the medians with whiskers from the least to the most, and write them to ``path``.

    Slopes stand in the titles; dashed is how the operations of a step grow.
    """
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3), layout="constrained")
        for axis, (series, label) in zip(axes, PANELS.items(), strict=True):
            found = results[series]
            _points(axis, found["sizes"], found["seconds"], BLUE)
            if series == "checks":
                _points(axis, found["sizes"], found["seconds_per_product"], VERMILION)
                title = (
                    f"a check: {found['slope']:.2f}; a product: {found['slope_per_product']:.2f}"
                )
            else:
                _operations(axis, found)
                title = f"a step: {found['slope']:.2f}; dashed: {found['slope_of_operations']:.2f}"
            axis.set_title(title, loc="left", fontsize="medium")
            axis.set(xscale="log", yscale="log", xlabel=label)
            axis.set_xticks(found["sizes"], [f"{size:,}" for size in found["sizes"]], minor=False)
            axis.tick_params(axis="x", labelrotation=30)
            axis.xaxis.set_minor_locator(NullLocator())
            plain_logarithms(axis.yaxis)
        axes[0].set_ylabel("time (s)")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def plain_logarithms(axis: Axis) -> None:
    """Label 1, 2 and 5 of every decade of a logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _points(
    axis: plt.Axes, sizes: list[float], spreads: list[Mapping[str, float]], colour: str
) -> None:
    median = np.array([found["median"] for found in spreads])
    below = median - [found["min"] for found in spreads]
    above = np.array([found["max"] for found in spreads]) - median
    axis.errorbar(sizes, median, yerr=[below, above], color=colour, marker="o")


def _operations(axis: plt.Axes, found: Mapping[str, Any]) -> None:
    """Draw the count of operations, moved to where the largest size was timed."""
    operations = np.array(found["operations"], dtype=float)
    scaled = operations / operations[-1] * found["seconds"][-1]["median"]
    axis.plot(found["sizes"], scaled, color="0.5", linestyle="--")
