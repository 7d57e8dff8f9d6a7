"""What figures share that show gradient descent beside SAM: one row of panels per eta."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from samedge.base.errors import Parser, UserError
from samedge.figures import paper
from samedge.records import files


def draw_from_cube(
    draw: Callable[[xr.Dataset, str], Figure], description: str, argv: list[str] | None
) -> None:
    """Draw such a figure from the command line; ``description`` is the script's."""
    parser = Parser(description)
    parser.add_argument("--cube", type=Path, required=True, help="the cube of the task")
    parser.add_argument("--rho", required=True, help="radius of the SAM runs to show")
    parser.add_argument("--output-pdf", type=Path, required=True)
    parser.add_argument("--output-png", type=Path, required=True)
    arguments = parser.parse_args(argv)
    figure = draw(files.read_cube(arguments.cube), arguments.rho)
    paper.save(figure, arguments.output_pdf, arguments.output_png)


@contextmanager
def rows_of_panels(
    cube: xr.Dataset,
    rho: str,
    needed: tuple[str, str],
    title: str,
    heights: tuple[float, float],
    **shared: Any,
) -> Iterator[tuple[Figure, np.ndarray, list[str]]]:
    """Give a figure, its panels (eta, radius), and the radii of their columns, to draw into.

    Parameters
    ----------
    cube
        Every run of the task, the diverged ones included.
    rho
        The radius of the SAM runs, as in the cube. Runs with rho = 0 stand beside them if the
        cube has any.
    needed
        The variable that the figure is of, and for the message where the cube lacks it what it
        then holds none of, and what to do.
    title
        What the figure shows.
    heights
        Inches of a row, and of the rest.
    shared
        Which axes panels share.

    Raises
    ------
    UserError
        If the cube lacks the variable, or has no run of that radius.
    """
    task = files.settings_of(cube)["task"]
    variable, absent = needed
    if variable not in cube:
        raise UserError(f"the cube of '{task}' holds {absent}, and train again")
    columns = _radii(cube, rho)
    with matplotlib.style.context(paper.STYLE):
        rows = cube.sizes["eta"]
        figure = Figure(figsize=(paper.WIDTH, heights[0] * rows + heights[1]))
        grid = figure.subplots(rows, len(columns), squeeze=False, **shared)
        figure.suptitle(f"{task}: {title}", x=0.01, ha="left")
        yield figure, grid, columns


def _radii(cube: xr.Dataset, rho: str) -> list[str]:
    """Return the radii of the columns: 0, where the cube has it, and that of the SAM runs."""
    labels = cube["rho_label"].values
    wanted = [str(label) for label in labels if float(label) == 0]
    label = str(labels[paper.rho_position(cube, rho)])
    return wanted if label in wanted else [*wanted, label]
