"""The picture of how time grows: steps on the left, a check and its products on the right."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np

from benchmarks.measuring import IMAGES
from samedge.figures import STYLE
from samedge.panels import BLUE, VERMILION

PANELS = {"width": "width", "examples": "examples", "depth": "depth", "checks": "parameters"}


def draw(results: Mapping[str, Any], path: Path = IMAGES / "benchmark_scaling.png") -> None:
    """Draw the medians with whiskers from the least to the most, and write them to ``path``."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3), layout="constrained")
        for axis, (series, label) in zip(axes, PANELS.items(), strict=True):
            found = results[series]
            _points(axis, found["sizes"], found["seconds"], BLUE, f"slope {found['slope']:.2f}")
            if series == "checks":
                label_each = f"one product, slope {found['slope_per_product']:.2f}"
                each = found["seconds_per_product"]
                _points(axis, found["sizes"], each, VERMILION, label_each)
                axis.set_title("a check of the top three", loc="left")
            else:
                _operations(axis, found)
                axis.set_title("a SAM step", loc="left")
            axis.set(xscale="log", yscale="log", xlabel=label)
            axis.set_xticks(found["sizes"], [f"{size:,}" for size in found["sizes"]], minor=False)
            axis.tick_params(axis="x", labelrotation=30)
            axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axis.legend()
        axes[0].set_ylabel("time (s)")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _points(
    axis: plt.Axes, sizes: list[float], spreads: list[Mapping[str, float]], colour: str, label: str
) -> None:
    median = np.array([found["median"] for found in spreads])
    below = median - [found["min"] for found in spreads]
    above = np.array([found["max"] for found in spreads]) - median
    axis.errorbar(sizes, median, yerr=[below, above], color=colour, marker="o", label=label)


def _operations(axis: plt.Axes, found: Mapping[str, Any]) -> None:
    """Draw the count of operations, moved to where the largest size was timed."""
    operations = np.array(found["operations"], dtype=float)
    scaled = operations / operations[-1] * found["seconds"][-1]["median"]
    label = f"operations, slope {found['slope_of_operations']:.2f}"
    axis.plot(found["sizes"], scaled, color="0.5", linestyle="--", label=label)
