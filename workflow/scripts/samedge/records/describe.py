"""A cube in words: for the report, the explorer, the figures' footnotes, and archives."""

import json
from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from samedge.base.errors import UserError
from samedge.records.cubes import ending, run_name
from samedge.records.files import read_cube, settings_of
from samedge.records.schema import COMPLETED, STATUS

DATASET_NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "tiny_shakespeare": "tiny_shakespeare"}
#: Update rules whose runs are called GD, SGD or SAM.
NAMED = ("sam", "unnormalized_sam")

Cubes = Mapping[str, xr.Dataset]


def caption(path: str) -> str:
    """Return what a caption of the report says of the cube in ``path``, or why it says nothing."""
    try:
        return caption_of(read_cube(path))
    except UserError as error:
        return escaped(f"Nothing can be said of the runs: {error}")


def caption_of(cube: xr.Dataset) -> str:
    """Return data, sizes, grid, seeds and endings of a cube's runs, as bold-headed paragraphs.

    The text is reStructuredText.
    """
    settings = settings_of(cube)
    gone = [
        f"{run_name(cube, *point)} ({ending(cube, *point)})"
        for point in np.argwhere(cube["status"].values != COMPLETED).tolist()
    ]
    stand_in = " They stand in for the paper's." if int(cube.attrs["data_stand_in"]) else ""
    lines = {
        "Data": f"{str(cube.attrs['data_description']).rstrip('.')} "
        f"(source {cube.attrs['data_source']}).{stand_in}",
        "Model": f"{component(settings['model'])}; loss {component(settings['loss'])}; "
        f"{batch(settings)}; {budget(settings)}.",
        "Runs": f"η = {_labels(cube, 'eta')}; ρ = {_labels(cube, 'rho')}; "
        f"seeds {', '.join(map(str, cube['seed'].values))}.",
        "Did not complete": f"{'; '.join(gone)}." if gone else "none.",
    }
    return "\n\n".join(f"**{name}:** {escaped(text)}" for name, text in lines.items())


def escaped(text: str) -> str:
    """Return text in which reStructuredText finds no markup."""
    return "".join(f"\\{sign}" if sign in "\\*`|_" else sign for sign in text)


def facts(cube: xr.Dataset) -> list[list[str]]:
    """Return what tells a task from others, as pairs of a name and a text."""
    settings = settings_of(cube)
    examples = {split: settings["dataset"][f"{split}_examples"] for split in ("train", "test")}
    found = {
        "Data": data_note(cube),
        "Source": join_values(cube.attrs["data_source"]),
        "Examples": ", ".join(
            f"{'training' if split == 'train' else split} "
            f"{'all' if count is None else f'{count:,}'}"
            for split, count in examples.items()
        ),
        "Model": component(settings["model"]),
        "Loss": component(settings["loss"]),
        "Batch": batch(settings),
        "Budget": budget(settings),
        "Starts from": origin(settings),
        "Device": join_values(cube.attrs["device"]),
        "Revision": join_values(cube.attrs["git_commit"]),
        "Left out": str(cube.attrs.get("removed_runs", "")),
        "Missing": str(cube.attrs.get("missing_runs", "")),
    }
    sizes = cube["density_size"].values if "density_size" in cube else np.empty(0)
    if np.isfinite(sizes).any():
        found["Model"] += f", {int(np.nanmax(sizes)):,} parameters"
    return [[name, text] for name, text in found.items() if text]


def origin(settings: Mapping) -> str:
    """Return which runs a task's own start from, and where; "" if at the beginning."""
    start = settings.get("start_from")
    if start is None:
        return ""
    place = [f"{axis} = {start[axis]}" for axis in ("eta", "rho") if start.get(axis) is not None]
    where = f" with {', '.join(place)}" if place else ""
    return f"{start['run']['task']}{where}, at {start['at']:g} of its budget"


def footnote(cube: xr.Dataset) -> str:
    """Return the line under a figure that says which data it shows, and whether a stand-in."""
    return f"Data: {data_note(cube)}"


def data_note(cube: xr.Dataset) -> str:
    """Return on which data a cube's runs were trained, and for which they stand in."""
    description = str(cube.attrs["data_description"]).rstrip(".")
    if int(cube.attrs["data_stand_in"]) and "stand-in" not in description:
        name = settings_of(cube)["dataset"]["name"]
        description += f"; a stand-in for {DATASET_NAMES.get(name, name)}"
    return f"{description}."


def stand_in_warning(cubes: Cubes) -> str:
    """Return a sentence that names the tasks whose data are stand-ins, "" if there are none."""
    tasks = [task for task, cube in cubes.items() if int(cube.attrs["data_stand_in"])]
    if not tasks:
        return ""
    return (
        f"The data of {', '.join(tasks)} are stand-ins: results on them are not results on the "
        "data set of that name. "
    )


def cube_description(cube: xr.Dataset) -> str:
    """Return what a cube holds, how its runs ended, and on which data they were trained."""
    absent = [cube.attrs.get(name) for name in ("missing_runs", "removed_runs")]
    left_out = "; ".join(text for text in absent if text)
    return (
        f"{cube.attrs['title']}: {run_counts(cube)}. {footnote(cube)} Source of the data: "
        f"{join_values(cube.attrs['data_source'])}; their SHA-256: "
        f"{join_values(cube.attrs['data_checksum'])}. NetCDF with the dimensions "
        f"{', '.join(map(str, cube.sizes))}; the attribute 'settings' has all that decided the "
        f"runs.{f' Left out: {left_out}.' if left_out else ''}"
    )


def training_description(cube: xr.Dataset) -> str:
    """Return on what the runs of a cube were trained."""
    return (
        f"Device: {join_values(cube.attrs['device'])}. Precision of matrix products: "
        f"{join_values(cube.attrs['matmul_precision'])}. Packages of other versions than samedge "
        f"locks: {join_values(cube.attrs['unlocked_packages']) or 'none'}."
    )


def run_counts(cube: xr.Dataset) -> str:
    """Return how many runs a cube has, and how they ended."""
    status = cube["status"].values
    counts = {name: int((status == value).sum()) for name, value in STATUS.items()}
    ends = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{status.size} runs ({ends})"


def values_of(attribute: object) -> list[str]:
    """Return the values of an attribute of a cube, which are several where its runs differ."""
    text = str(attribute)
    return json.loads(text) if text.startswith("[") else [text]


def join_values(attribute: object) -> str:
    """Return the values of an attribute of a cube, with commas between them."""
    return ", ".join(value for value in values_of(attribute) if value)


def component(chosen: Mapping) -> str:
    """Return a named part of the settings in words: its name, and its own settings."""
    inner = [
        f"{key.removeprefix('settings.').replace('_', ' ')} {value}"
        for key, value in leaves(chosen, leave=("name",))
    ]
    return chosen["name"] + (f" ({', '.join(inner)})" if inner else "")


def batch(settings: Mapping) -> str:
    """Return on how many examples a step is taken."""
    size = settings["batch_size"]
    return "full batch" if size is None else f"minibatches of {size:,}"


def budget(settings: Mapping) -> str:
    """Return what ends a run."""
    limits = {unit: settings["budget"][unit] for unit in ("steps", "hours")}
    return " or ".join(
        f"{f'{limit:,}'.removesuffix('.0')} {unit}"
        for unit, limit in limits.items()
        if limit is not None
    )


def leaves(settings: Mapping, leave: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield every setting that is not itself a group, by its dotted key, as in the configuration.

    What is in ``leave`` is left out.
    """
    for key, value in settings.items():
        if key in leave:
            continue
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", text) for inner, text in leaves(value))
        else:
            yield key, value if isinstance(value, str) else json.dumps(value)


def _labels(cube: xr.Dataset, axis: str) -> str:
    return ", ".join(map(str, cube[f"{axis}_label"].values))


def algorithms(cube: xr.Dataset) -> tuple[str, str]:
    """Return what a cube's runs without and with a displacement are called."""
    settings = settings_of(cube)
    rule = settings["update"]["name"]
    if rule not in NAMED:
        return rule, rule
    return ("GD" if settings["batch_size"] is None else "SGD"), "SAM"


def edge(cube: xr.Dataset) -> str:
    """Return what the edge of a cube's runs is called."""
    return "SAM edge" if settings_of(cube)["update"]["name"] in NAMED else "edge"
