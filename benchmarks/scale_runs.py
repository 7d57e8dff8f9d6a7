"""Made-up run files of a whole grid, in the format of real ones, for :mod:`benchmarks.scale`.

The first run is written by :mod:`samedge.records.files`; the others are copies of its file with
their own learning rate, radius, seed, settings and numbers put in, a tenth of the effort. One in
twenty diverged, and has measured three checks.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import netCDF4
import numpy as np

from samedge.base.errors import run_script
from samedge.base.files import seal
from samedge.config.grid import grid_runs
from samedge.config.settings import RunSettings
from samedge.records import files, schema
from samedge.updates.edges import sam_edge

ENVIRONMENT = dict.fromkeys(schema.ENVIRONMENT_ATTRIBUTES, "made up") | {"data_stand_in": True}
DIVERGED_EVERY, DIVERGED_CHECKS = 20, 3


def values_of(settings: RunSettings, checks: int) -> dict[str, np.ndarray]:
    """Return what a run would measure that gets to its edge: (check,), or (check, rank)."""
    seed = [settings.seed, *settings.name.encode()]
    generator = np.random.default_rng(seed)
    done = np.linspace(0, 1, checks)
    norm = 4 * np.exp(-3 * done) + 0.05
    edge = np.array([sam_edge(one, float(settings.eta), float(settings.rho)) for one in norm])
    sharpness = edge * np.minimum(1, 0.3 + 2 * done) * generator.normal(1.02, 0.03, checks)
    eigenvalue = sharpness[:, None] * np.linspace(1, 0.7, settings.curvature.eigenvalues)
    alignment = generator.uniform(0.3, 0.9, (2, checks))
    step = 10.0 * np.arange(checks)
    return {
        "step": step,
        "training_time": 0.021 * step,
        "wall_time": 0.05 * step + 1.5,
        "training_loss": 0.1 * np.exp(-4 * done) * generator.normal(1, 0.05, checks),
        "gradient_norm": norm,
        "sam_gradient_norm": 1.4 * norm,
        "learning_rate": np.full(checks, float(settings.eta)),
        "sam_edge": edge,
        "effective_curvature": eigenvalue[:, 0],
        "edge_ratio": eigenvalue[:, 0] / edge,
        "eigenvalue": eigenvalue,
        "eigenvalue_residual": 3e-4 * eigenvalue,
        "eigenvalue_converged": np.ones(eigenvalue.shape, np.int8),
        "overlooked": np.full(checks, 1e-4),
        "largest_eigenvalue": eigenvalue[:, 0],
        "smallest_eigenvalue": -0.2 * eigenvalue[:, 0],
        "largest_eigenvalue_bound": 1.01 * eigenvalue[:, 0],
        "smallest_eigenvalue_bound": -0.24 * eigenvalue[:, 0],
        "gradient_alignment": alignment[0],
        "sam_gradient_alignment": alignment[1],
        "hessian_vector_products": np.full(checks, 47.0),
    }


def write_template(settings: RunSettings, checks: int, status: str, path: Path) -> None:
    """Write the run file of a run that measured so many checks, as a training job does."""
    values = values_of(settings, checks)
    rows = [{name: values[name][number] for name in values} for number in range(checks)]
    reason = "budget of steps spent" if status == "completed" else "the loss is not finite"
    error = 0.05 if status == "completed" else np.nan
    outcome = files.Outcome(status, 10 * (checks - 1), reason, "test_error", error)
    files.write(files.run_dataset(settings, rows, outcome, ENVIRONMENT), path)


def write_copy(template: Path, settings: RunSettings, path: Path) -> None:
    """Write the run file of another run that ended as the one of the template did."""
    shutil.copyfile(template, path)
    with netCDF4.Dataset(path, "a") as file:
        file.settings = settings.to_json()
        for axis in ("eta", "rho"):
            file[axis][0] = float(getattr(settings, axis))
            file[f"{axis}_label"][0] = getattr(settings, axis)
        file["seed"][0] = settings.seed
        file["gd_edge"][0] = 2 / float(settings.eta)
        for name, values in values_of(settings, len(file.dimensions["check"])).items():
            file[name][0, 0, 0] = values
    seal(path)


def write_runs(runs: Sequence[RunSettings], folder: Path) -> None:
    """Write the file of every run into a folder."""
    folder.mkdir(parents=True)
    templates = {}
    for status, checks in (
        ("completed", runs[0].checks.count),
        ("diverged", DIVERGED_CHECKS),
    ):
        templates[status] = folder.parent / f"{status}.nc"
        write_template(runs[0], checks, status, templates[status])
    for number, settings in enumerate(runs):
        status = "diverged" if number % DIVERGED_EVERY == DIVERGED_EVERY - 1 else "completed"
        write_copy(templates[status], settings, folder / f"{settings.name}.nc")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the runs of a grid from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", required=True, help="JSON of the grid, a cube's 'settings'")
    parser.add_argument("--output", type=Path, required=True, help="folder, made anew")
    arguments = parser.parse_args(argv)
    write_runs(grid_runs(arguments.grid), arguments.output)


if __name__ == "__main__":
    run_script(main)
