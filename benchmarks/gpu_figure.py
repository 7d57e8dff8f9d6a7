"""The picture of the GPU's benchmark: steps, checks, runs at once, and the runs of paper size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.gpu_kit import POINTS
from samedge.figures.paper import STYLE

# Okabe & Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#E69F00", "#009E73", "#000000"
LINES = ("-", "--", ":")


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw what has been measured and write it to ``path``.

    A part that is missing stays empty, and the row of runs is drawn if there are any.
    """
    parts = results["parts"]
    rows = 2 if any(task in parts.get("runs", {}) for task in POINTS) else 1
    with plt.style.context(STYLE):
        figure, grid = plt.subplots(
            rows, 3, figsize=(12, 3.4 * rows), layout="constrained", squeeze=False
        )
        _steps(grid[0, 0], parts)
        _checks(grid[0, 1], parts)
        _together(grid[0, 2], parts.get("together", {}))
        for row in grid[1:]:
            for axis, task in zip(row, POINTS, strict=True):
                _run(axis, task, parts["runs"].get(task))
        figure.suptitle(results.get("device", ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _steps(axis: plt.Axes, parts: Mapping[str, Any]) -> None:
    for offset, key, label, colour in (
        (-0.2, "step_seconds", "float32", BLUE),
        (0.2, "step_seconds_tf32", "TF32", ORANGE),
    ):
        heights = [1000 * parts.get(f"paper/{task}", {}).get(key, np.nan) for task in POINTS]
        axis.bar(np.arange(len(POINTS)) + offset, heights, 0.4, label=label, color=colour)
    axis.set(title="A SAM step of the paper's size", ylabel="time (ms)")
    axis.set_xticks(range(len(POINTS)), POINTS)
    axis.legend()


def _checks(axis: plt.Axes, parts: Mapping[str, Any]) -> None:
    products, rest = [], []
    for task in POINTS:
        found = parts.get(f"paper/{task}", {})
        taken = found.get("warm_check", {})
        if "product_seconds" not in found:
            products.append(np.nan)
            rest.append(np.nan)
            continue
        products.append(found["product_seconds"] * taken["products"]["median"])
        rest.append(max(0.0, taken["seconds"]["median"] - products[-1]))
    axis.bar(range(len(POINTS)), products, 0.5, label="products", color=BLUE)
    axis.bar(range(len(POINTS)), rest, 0.5, bottom=products, label="the rest", color=ORANGE)
    axis.set(title="A certified warm check, with both ends", ylabel="time (s)")
    axis.set_xticks(range(len(POINTS)), POINTS)
    axis.legend()


def _together(axis: plt.Axes, parts: Mapping[str, Mapping[str, Any]]) -> None:
    for name, speeds in parts.items():
        size, task = name.split("/")
        known = {int(n): speed for n, speed in speeds.items() if not isinstance(speed, str)}
        if "1" in speeds and known:
            gains = [speed / known[1] for speed in known.values()]
            style = LINES[list(POINTS).index(task)]
            colour = GREEN if size == "paper" else BLUE
            axis.plot([*known], gains, style, color=colour, marker="o", label=f"{task}, {size}")
    axis.set(title="Runs at once", xlabel="runs", ylabel="steps per second over one run's")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:.0f}")
    if parts:
        axis.legend(fontsize="small")


def _run(axis: plt.Axes, task: str, found: Mapping[str, Any] | None) -> None:
    axis.set(title=f"{task}, paper's size", xlabel="step")
    if found is None:
        return
    steps = np.asarray(found["step"])
    magnitudes = np.abs(np.asarray(found["eigenvalue"]))
    for rank, colour in enumerate((BLUE, ORANGE, GREEN)):
        axis.plot(steps, magnitudes[:, rank], color=colour, label=f"|λ{rank + 1}|")
    axis.plot(steps, found["sam_edge"], "--", color=BLACK, label="SAM edge")
    axis.axhline(2 / float(found["eta"]), color=BLACK, linestyle=":", label="2/η")
    axis.set(title=f"{task}, η = {found['eta']}, ρ = {found['rho']}", yscale="log")
    axis.legend(fontsize="small")
