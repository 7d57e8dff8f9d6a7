"""The scripts without Snakemake, the same numbers every time, and figures without JAX."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from checkout import TINY, WITHOUT_JAX, Checkout
from samedge.config.settings import RunSettings, StartSettings
from samedge.records import files, schema

TIMES = ["training_time", "wall_time"]


def assert_equal_but_for_times(one: xr.Dataset, other: xr.Dataset) -> None:
    """Hold two run files equal in every variable and attribute but the two times."""
    xr.testing.assert_identical(one.drop_vars(TIMES), other.drop_vars(TIMES))
    for name in TIMES:
        assert one[name].shape == other[name].shape


def train(checkout: Checkout, output: Path, *arguments: object) -> xr.Dataset:
    """Train one run with the script, in a process of its own."""
    done = checkout.script("train_run", "--device", "cpu", "--output", output, *arguments)
    assert done.returncode == 0, done.stdout
    return files.read_run(output)


def test_a_run_from_the_command_line_equals_the_workflows(finished: Checkout, tmp_path):
    # The workflow keeps compiled programs; here everything is compiled anew.
    by_hand = train(
        finished,
        tmp_path / "run.nc",
        *("--configfile", "config.yaml", TINY, "--task", "mnist"),
        *("--eta", "1e-1", "--rho", "0.1", "--seed", "0"),
        *("--data", "results/tiny/data/mnist.npz"),
    )
    run = files.read_run(finished.result("runs/mnist/eta0.1_rho0.1_seed0.nc"))
    assert_equal_but_for_times(by_hand, run)


def test_a_run_from_its_stored_settings_equals_itself(finished: Checkout, tmp_path):
    # One that diverged, with the compiled programs that the workflow kept.
    run = files.read_run(finished.result("runs/mnist/eta10000_rho0.1_seed0.nc"))
    again = train(
        finished,
        tmp_path / "run.nc",
        *("--settings", run.attrs["settings"], "--data", "results/tiny/data/mnist.npz"),
        *("--cache", "results/tiny/cache/jax"),
    )
    assert_equal_but_for_times(again, run)


def test_a_run_goes_on_from_the_states_of_another(finished: Checkout, tmp_path):
    run = files.read_run(finished.result("runs/mnist/eta0.1_rho0.1_seed0.nc"))
    settings = RunSettings.from_json(run.attrs["settings"])
    shared = ("--data", "results/tiny/data/mnist.npz", "--cache", "results/tiny/cache/jax")
    states = tmp_path / "states.npz"
    parent = train(
        finished,
        tmp_path / "run.nc",
        *("--settings", settings.to_json(), "--states", states, "--states-at", "0.5", *shared),
    )
    assert_equal_but_for_times(parent, run)
    template: dict[str, Any] = dict.fromkeys(("eta", "rho", "seed"), "")
    start = StartSettings(0.5, replace(settings, **template))
    fork = replace(settings, start_from=start)
    again = train(
        finished,
        tmp_path / "fork.nc",
        *("--settings", fork.to_json(), "--start-from", states, *shared),
    )
    # The first check at or after half of its 12 steps.
    late = run.isel(check=run["step"].values[0, 0, 0] >= 8)
    assert late.sizes["check"] == again.sizes["check"] == 2
    for name in set(schema.CHECK_KEYS) - {*TIMES}:
        np.testing.assert_array_equal(again[name].values, late[name].values, name)


def test_equal_runs_at_the_size_of_the_default_experiment(changeable: Checkout, tmp_path):
    """Matrix products of this size are shared among threads, whose order must not show."""
    changes = {
        "tasks": {
            "mnist": {
                "dataset": {"train_examples": 1000, "test_examples": 1000},
                "model": {"settings": {"depth": 4, "width": 100}},
                "budget": {"steps": 20},
            }
        }
    }
    prepared = changeable.script(
        "prepare_data",
        *("--dataset", "own_digits", "--source", "sample", "--output", tmp_path / "data.npz"),
        *("--train-examples", 1000, "--test-examples", 1000),
    )
    assert prepared.returncode == 0, prepared.stdout
    settings = ("--configfile", "config.yaml", TINY, changeable.overlay(changes), "--task", "mnist")
    point = ("--eta", 0.3, "--rho", 0.1, "--data", tmp_path / "data.npz")
    point += ("--cache", tmp_path / "programs")
    one, other = (
        train(changeable, tmp_path / f"{name}.nc", *settings, *point) for name in ("one", "other")
    )
    assert float(one["eigenvalue"][0, 0, 0, -1, 0]) > 0
    assert_equal_but_for_times(one, other)


@pytest.mark.parametrize("number", [1, 4, 15])
def test_figures_are_redrawn_from_cubes_without_jax(finished: Checkout, tmp_path, number):
    task = {4: "mnist", 15: "tiny_shakespeare"}.get(number)
    cube = ("--cube", finished.result(f"cubes/{task}.nc")) if task else ()
    outputs = ("--output-pdf", tmp_path / "figure.pdf", "--output-png", tmp_path / "figure.png")
    done = finished.script("plot_figure", "--number", number, *cube, *outputs, **WITHOUT_JAX)
    assert done.returncode == 0, done.stdout
    for kind in ("pdf", "png"):
        drawn = finished.result(f"figures/figure_{number:02d}.{kind}").read_bytes()
        assert (tmp_path / f"figure.{kind}").read_bytes() == drawn


def test_densities_are_redrawn_from_cubes_without_jax(finished: Checkout, tmp_path):
    outputs = ("--output-pdf", tmp_path / "figure.pdf", "--output-png", tmp_path / "figure.png")
    cube = finished.result("cubes/mnist.nc")
    done = finished.script("plot_density", "--cube", cube, "--rho", 0.1, *outputs, **WITHOUT_JAX)
    assert done.returncode == 0, done.stdout
    for kind in ("pdf", "png"):
        drawn = finished.result(f"figures/density_mnist.{kind}").read_bytes()
        assert (tmp_path / f"figure.{kind}").read_bytes() == drawn


def test_cubes_are_merged_and_filtered_without_jax(finished: Checkout, tmp_path):
    merged, filtered = tmp_path / "cube.nc", tmp_path / "filtered.nc"
    grid = files.read_cube(finished.result("cubes/mnist.nc")).attrs["settings"]
    commands = [
        ("collect_runs", "--grid", grid, "--runs", "results/tiny/runs/mnist", "--output", merged),
        ("filter_diverged", "--input", merged, "--output", filtered),
    ]
    for command in commands:
        done = finished.script(*command, **WITHOUT_JAX)
        assert done.returncode == 0, done.stdout
    assert merged.read_bytes() == finished.result("cubes/mnist.nc").read_bytes()
    assert filtered.read_bytes() == finished.result("cubes/mnist.converged.nc").read_bytes()


def test_the_supplement_is_redrawn_from_a_cube_without_jax(finished: Checkout, tmp_path):
    cube = finished.result("cubes/cifar10.converged.nc")
    done = finished.script(
        "plot_supplement", "--cube", cube, "--output", tmp_path / "pages", **WITHOUT_JAX
    )
    assert done.returncode == 0, done.stdout
    pages = sorted((tmp_path / "pages").iterdir())
    assert len(pages) == 5
    for page in pages:
        assert page.read_bytes() == finished.result(f"supplement/cifar10/{page.name}").read_bytes()


@pytest.mark.parametrize("safe", ["", "1"])
def test_a_job_runs_in_the_environment_of_snakemake_entered_or_not(unrun, tmp_path, safe):
    """With the PATH of a fresh shell; Python may be told not to look beside its scripts."""
    there = unrun.clone(tmp_path / "there")
    environment = {"PATH": os.defpath, "PYTHONSAFEPATH": safe}
    done = there.snakemake("--cores", "1", "results/tiny/data/mnist.npz", **environment)
    assert done.returncode == 0, done.stdout
    # And so do the scripts by hand.
    done = there.script("collect_runs", "--help", **environment)
    assert done.returncode == 0, done.stdout


def test_a_deployed_environment_is_the_one_that_its_jobs_run_in(unrun, tmp_path):
    """The first Python on the PATH is then that environment's."""
    there = unrun.clone(tmp_path / "there")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho the environment was asked\nexit 3\n")
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.defpath}"
    target = ("--cores", "1", "results/tiny/data/mnist.npz")
    done = there.snakemake(*target, "--sdm", "env-modules", PATH=path)
    assert done.returncode == 1 and "the environment was asked" in done.stdout


# Stands in for Apptainer: says which image was asked for, and runs the command without one.
APPTAINER = """#!/bin/sh
if [ "$1" = --version ]; then echo "apptainer version 1.3.6"; exit; fi
while [ "$1" != bash ]; do case "$1" in *.sif) echo "in the image $1";; esac; shift; done
exec "$@"
"""


@pytest.mark.parametrize("methods", [(), ("--sdm", "apptainer")], ids=["without", "apptainer"])
def test_jobs_run_in_the_container_that_the_configuration_names(unrun, tmp_path, methods):
    there = unrun.clone(tmp_path / "there")
    (there.root / "samedge.sif").touch()
    (tmp_path / "bin").mkdir()
    for name, content in {
        "apptainer": APPTAINER,
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }.items():
        (tmp_path / "bin" / name).write_text(content)
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}"
    named = there.overlay({"container": "samedge.sif"})
    target = ("--cores", "1", "results/tiny/figures/figure_01.pdf", "--configfile", TINY, named)
    done = there.bare_snakemake(*target, *methods, PATH=path)
    assert done.returncode == 0, done.stdout
    assert ("in the image samedge.sif" in done.stdout) == bool(methods)
    assert there.result("figures/figure_01.pdf").exists()
