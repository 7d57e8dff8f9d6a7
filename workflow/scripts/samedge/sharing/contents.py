"""What is in the archive of an experiment, in words: for its metadata and for its README."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import xarray as xr

from samedge.base.components import PLUGIN_FOLDER
from samedge.config.paper_figures import FIGURES, task_figure
from samedge.config.settings import CLAIMS_FILE
from samedge.records.describe import (
    cube_description,
    data_note,
    footnote,
    run_counts,
    stand_in_warning,
    values_of,
)
from samedge.sharing.archive import CONFIG, CUBE_FOLDER, MANIFEST, README

KINDS = {
    "edge_ratio": "the SAM edge relative to 2/eta, the edge of gradient descent; a formula",
    "eigenvalues": "magnitudes of the largest Hessian eigenvalues, with the SAM edge and 2/eta",
    "eigenvalues_zoom": "magnitudes of the largest Hessian eigenvalues, scaled on the SAM edge",
    "loss": "training loss, and that of gradient descent",
    "alignment": "alignment of both gradients with the principal eigenvector of the Hessian",
}
#: Files <name>_<task> whose name does not say all, and files that are made from all cubes.
OF_A_TASK = {
    "density": "density of the Hessian's eigenvalues",
    "stochastic": "what minibatches make of the edge: batch sharpness and the like",
    "way": "the way to the SAM point, and what steps change",
    "blocks": "sharpness of the Hessian's blocks, layer by layer or as configured",
}
OF_ALL_TASKS = {
    "claims": "claims, of the paper or of the table beside this, judged by the runs of the cubes",
    "explorer": "every run of the cubes, to explore in a browser",
}
OWN_FILES = {
    CLAIMS_FILE: "The claims that were judged, in place of the paper's.",
    CONFIG: "Every key of the configuration: how the runs were trained and how the figures are "
    "drawn. Written as JSON, which is YAML too.",
    README: "What the archive is, how it was made, how it is checked and its figures drawn again.",
    MANIFEST: f"The SHA-256 of every other file. To check them: sha256sum -c {MANIFEST}",
}

Cubes = Mapping[str, xr.Dataset]


def cube_name(task: str) -> str:
    """Return the name of a task's cube in an archive."""
    return f"{CUBE_FOLDER}/{task}.nc"


def meaning(name: str, cubes: Cubes) -> tuple[str, tuple[str, ...]]:
    """Return what a file of an archive is, and the tasks from whose cubes it was made."""
    if name in OWN_FILES:
        return OWN_FILES[name], ()
    for task, cube in cubes.items():
        if name == cube_name(task):
            return cube_description(cube), ()
    if name.startswith(f"{PLUGIN_FOLDER}/"):
        return "A plugin: code that runs were trained with. Nothing here needs or runs it.", ()
    stem = PurePosixPath(name).stem
    number = re.fullmatch(r"figure_(\d\d)", stem)
    spec = FIGURES.get(int(number[1])) if number else None
    if spec is not None and (not spec.task or spec.task in cubes):
        tasks = (spec.task,) if spec.task else ()
        algorithm = "SAM" if spec.is_sam else "gradient descent"
        where = "".join(f", {task}, {algorithm}" for task in tasks)
        return _about(f"figure {spec.number} of the paper{where}: {KINDS[spec.kind]}", tasks, cubes)
    figure = task_figure(stem)
    if figure is not None and figure.task in cubes:
        text = f"{figure.task}, rho = {figure.rho}: {KINDS[figure.kind]}"
        return _about(text, (figure.task,), cubes)
    if stem.startswith("family_"):
        text = f"tasks of the family {stem.removeprefix('family_')} in one figure"
        return _about(text, tuple(cubes), cubes)
    if stem in OF_ALL_TASKS:
        return _about(OF_ALL_TASKS[stem], tuple(cubes), cubes)
    # Where a task's name ends like that of another, the longer one.
    for task in sorted(cubes, key=len, reverse=True):
        if stem.endswith(f"_{task}"):
            what = stem.removesuffix(f"_{task}")
            what = OF_A_TASK.get(what, what.replace("_", " "))
            return _about(f"{what}, {task}", (task,), cubes)
    return "Added by those who packed the archive.", ()


def _about(text: str, tasks: tuple[str, ...], cubes: Cubes) -> tuple[str, tuple[str, ...]]:
    """Return a sentence with the data of these tasks after it, and the tasks."""
    data = [
        f"{task}: {footnote(cubes[task])}" if len(tasks) > 1 else footnote(cubes[task])
        for task in tasks
    ]
    return " ".join([f"{text[0].upper()}{text[1:]}.", *data]), tasks


def summary(name: str, cubes: Cubes) -> str:
    """Return what an experiment is and on which data, in a few sentences."""
    tasks = " ".join(
        f"{task}: {run_counts(cube)}. {footnote(cube)}" for task, cube in cubes.items()
    )
    return (
        "Neural networks trained with gradient descent and with Sharpness-Aware Minimization "
        "(SAM), and the largest eigenvalues of the Hessian of their loss, measured on the way: "
        f"experiment '{name}' of samedge, which reproduces Long and Bartlett (2024). {tasks} "
        f"{stand_in_warning(cubes)}The data that were trained on are not in the archive; each "
        "cube has their SHA-256."
    )


def commits_of(cubes: Cubes) -> list[str]:
    """Return the commits of the code that trained the runs of the cubes."""
    return sorted({one for cube in cubes.values() for one in values_of(cube.attrs["git_commit"])})


def readme(name: str, cubes: Cubes, version: str) -> str:
    """Return the README of an archive that was packed by this version of samedge."""
    rows = "\n".join(
        f"| {task} | `{cube_name(task)}` | {run_counts(cube)} | {data_note(cube).rstrip('.')} |"
        for task, cube in cubes.items()
    )
    warning = stand_in_warning(cubes)
    warning = f"\n**{warning.strip()}**\n" if warning else ""
    return f"""\
# {name}: training at the edge of stability

Neural networks were trained with gradient descent and with Sharpness-Aware Minimization (SAM) at
several learning rates (eta) and radii (rho). While they trained, the largest eigenvalues of the
Hessian of the loss were measured. Long and Bartlett, "Sharpness-Aware Minimization and the Edge of
Stability" (JMLR 25, 2024), find that they settle at an *edge*: near 2/eta for gradient descent,
near a lower one for SAM. This archive has what was measured and the figures that show it. The
program samedge made it.

| Task | Cube | Runs | Trained on |
|---|---|---|---|
{rows}
{warning}
## What is in it

- `cubes/`: everything that was measured, a NetCDF file for each task. Any program that reads
  NetCDF opens them; in Python, `xarray.open_dataset("{cube_name(next(iter(cubes)))}")`.
- `figures/`: `figure_NN` is Figure NN of the paper, drawn from these runs.
- `{CONFIG}`: every setting of the experiment. Plugins that it names, code of those who made it,
  are in `plugins/`.
- `ro-crate-metadata.json`: what each file is and what it was made from, for programs (RO-Crate).
- `{MANIFEST}`: checksums.

Other files, where there are any, are described in `ro-crate-metadata.json`.

## Check it

In the folder of this file: `sha256sum -c {MANIFEST}`

## Draw the figures again

That takes no training and no JAX, but a copy of the samedge repository, version {version} or later,
and a Python 3.11 with the packages that its `envs/figures.yaml` names:

    python workflow/scripts/redraw.py --archive FOLDER_OF_THIS_FILE --output redrawn

It checks all files first. With `--axis step` the figures show optimiser steps instead of time; with
`--figure 04` only that one is drawn.

## How it was made

The runs were trained by the code of commit {", ".join(commits_of(cubes))}.
To train them again, put this `{CONFIG}` in the place of that of the repository (it is written as
JSON, which is YAML too), and there run `snakemake --cores all --resources gpu=1`.

Licence: Apache-2.0.
"""
