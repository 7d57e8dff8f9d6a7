"""What a caption of the report says of the runs it shows, read from their cube when it is written.

The text is reStructuredText.
"""

from typing import Any

import numpy as np
import xarray as xr

from samedge.base.errors import UserError
from samedge.records.cubes import ending, run_name
from samedge.records.files import read_cube, settings_of
from samedge.records.schema import COMPLETED


def describe(path: str) -> str:
    """Return the facts of the cube in ``path``, or why there are none."""
    try:
        return facts(read_cube(path))
    except UserError as error:
        return escaped(f"Nothing can be said of the runs: {error}")


def facts(cube: xr.Dataset) -> str:
    """Return data, sizes, grid, seeds and endings of a cube's runs, as bold-headed paragraphs."""
    settings = settings_of(cube)
    gone = [
        f"{run_name(cube, *point)} ({ending(cube, *point)})"
        for point in np.argwhere(cube["status"].values != COMPLETED).tolist()
    ]
    stand_in = " They stand in for the paper's." if int(cube.attrs["data_stand_in"]) else ""
    lines = {
        "Data": f"{str(cube.attrs['data_description']).rstrip('.')} "
        f"(source {cube.attrs['data_source']}).{stand_in}",
        "Model": f"{settings['model']['name']} ({_listed(settings['model']['settings'])}); loss "
        f"{settings['loss']['name']}; {_batch(settings)}; {_budget(settings)}.",
        "Runs": f"η = {_labels(cube, 'eta')}; ρ = {_labels(cube, 'rho')}; "
        f"seeds {', '.join(map(str, cube['seed'].values))}.",
        "Did not complete": f"{'; '.join(gone)}." if gone else "none.",
    }
    return "\n\n".join(f"**{name}:** {escaped(text)}" for name, text in lines.items())


def escaped(text: str) -> str:
    """Return text in which reStructuredText finds no markup."""
    return "".join(f"\\{sign}" if sign in "\\*`|_" else sign for sign in text)


def _listed(values: dict[str, Any]) -> str:
    """Return "name value, ..." of some settings."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def _labels(cube: xr.Dataset, axis: str) -> str:
    return ", ".join(map(str, cube[f"{axis}_label"].values))


def _batch(settings: dict[str, Any]) -> str:
    size = settings["batch_size"]
    return "full batch" if size is None else f"minibatches of {size}"


def _budget(settings: dict[str, Any]) -> str:
    """Return what ends a run."""
    limits = {"steps": settings["budget"]["steps"], "hours": settings["budget"]["hours"]}
    return " or ".join(f"{limit:g} {name}" for name, limit in limits.items() if limit is not None)
