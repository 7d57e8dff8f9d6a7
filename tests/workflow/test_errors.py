"""What goes wrong is named, in one message and without a traceback, and can be mended."""

import shutil

import numpy as np
import pytest
import xarray as xr

from checkout import TINY, Checkout
from samedge.records import files, schema


def assert_message(done, *parts: str) -> None:
    """Hold a command to have failed with a message of these parts and no traceback."""
    assert done.returncode == 1, done.stdout
    assert "Traceback (most recent call last)" not in done.stdout
    for part in parts:
        assert part in done.stdout


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("sede=1", ["'sede'", "did you mean 'seeds'?"]),
        ("experiment=../other", ["experiment:", "../other", "folder under results/"]),
        ("source=tdfs", ["source:", "tdfs", "did you mean 'tfds'?"]),
        ("tasks={mnist: {eta: [1e39]}}", ["tasks.mnist.eta[0]: 1e+39 is beyond", "float32"]),
    ],
)
def test_a_configuration_that_is_wrong(unrun: Checkout, setting, parts):
    assert_message(unrun.snakemake("--dry-run", "--config", setting), *parts)


@pytest.mark.parametrize("target", ["audit", "results/default/audit/mnist/eta0.3_rho0_seed0.json"])
def test_an_audit_that_the_configuration_does_not_ask_for(unrun: Checkout, target):
    done = unrun.bare_snakemake("--dry-run", target)
    assert_message(done, "audit.at is empty", "such as [1] for the last check")


def test_a_run_that_is_not_in_the_grid(unrun: Checkout):
    done = unrun.snakemake("--dry-run", "results/tiny/runs/mnist/eta0.7_rho0_seed0.nc")
    assert_message(
        done, "eta0.7_rho0_seed0 is not in the grid of tasks.mnist", "eta 0.1, 10000; rho 0, 0.1"
    )


@pytest.mark.parametrize("target", ["density_mnist", "results/tiny/figures/density_mnist.pdf"])
def test_a_density_that_is_not_estimated(unrun: Checkout, target):
    none = unrun.root / "none.yaml"
    none.write_text("density: {at: []}\n", encoding="utf-8")
    done = unrun.bare_snakemake("--dry-run", target, "--configfile", TINY, "none.yaml")
    assert_message(done, "density_mnist: no density is estimated", "density.at is empty")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("blocks_mnist", ("no blocks are measured", "such as blocks: {at: [0, 0.5, 1]}")),
        ("stochastic_mnist", ("nothing of minibatches is measured", "stochastic: {batches: 16}")),
    ],
)
def test_what_is_not_measured_is_not_drawn(unrun: Checkout, target, said):
    assert_message(unrun.snakemake("--dry-run", target), f"{target}: {said[0]}", said[1])


def test_runs_that_do_not_belong_are_named_and_trained_again(changeable: Checkout):
    task = "tiny_shakespeare"
    run, cube = f"runs/{task}/eta0.1_rho0.3_seed0.nc", changeable.result(f"cubes/{task}.nc")
    truncated, foreign = (
        changeable.result(run),
        changeable.result(f"runs/{task}/eta0.1_rho0_seed0.nc"),
    )
    before = files.read_run(truncated)
    shutil.copyfile(truncated, foreign)
    truncated.write_bytes(truncated.read_bytes()[:-1000])

    # A file cut short and one of other settings are noticed by the workflow, which merges nothing …
    done = changeable.snakemake("--cores", "all", "figure_12")
    assert_message(
        done,
        "2 of 2 runs cannot be merged",
        f"{truncated.stem}: results/tiny/{run}: truncated",
        f'{foreign.stem}: other settings: rho is "0.3", expected "0"',
    )
    assert not cube.exists()

    # … and does what its message says: with the files deleted, these runs are trained again.
    truncated.unlink()
    foreign.unlink()
    plan = changeable.plan()
    assert plan.runs == {(task, "0.1", "0", "0"), (task, "0.1", "0.3", "0")}
    assert plan.collected == {task}
    done = changeable.snakemake("--cores", "all", f"results/tiny/{run}")
    assert done.returncode == 0, done.stdout
    after = files.read_run(truncated)
    times = ["training_time", "wall_time"]
    xr.testing.assert_identical(after.drop_vars(times), before.drop_vars(times))


def test_runs_that_do_not_belong_can_be_left_out(finished: Checkout, tmp_path):
    grid = files.read_cube(finished.result("cubes/mnist.nc")).attrs["settings"]
    shutil.copytree(finished.result("runs/mnist"), tmp_path / "runs")
    (tmp_path / "runs/eta0.1_rho0_seed0.nc").unlink()
    command = ("--grid", grid, "--runs", tmp_path / "runs", "--output", tmp_path / "cube.nc")
    assert_message(
        finished.script("collect_runs", *command),
        "1 of 4 runs cannot be merged",
        "eta0.1_rho0_seed0.nc: no such file",
        "--allow-missing",
    )
    assert not (tmp_path / "cube.nc").exists()

    done = finished.script("collect_runs", *command, "--allow-missing")
    assert done.returncode == 0, done.stdout
    assert "1 completed, 2 diverged, 1 missing" in done.stdout
    cube = files.read_cube(tmp_path / "cube.nc")
    assert cube.attrs["missing_runs"].startswith("eta0.1_rho0_seed0 (")
    missing = cube.sel(eta=0.1, rho=0, seed=0)
    assert int(missing["status"]) == schema.MISSING
    assert np.isnan(missing["eigenvalue"]).all() and np.isnan(missing["test_error"])


def test_data_made_for_another_run(finished: Checkout, tmp_path):
    settings = files.read_run(finished.result("runs/mnist/eta0.1_rho0_seed0.nc")).attrs["settings"]
    done = finished.script(
        "train_run",
        *("--settings", settings, "--data", "results/tiny/data/cifar10.npz"),
        *("--output", tmp_path / "run.nc"),
    )
    assert_message(done, "own_photographs", "own_digits", "prepare the data anew")
    assert not (tmp_path / "run.nc").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--task", "mnits", "--eta", "0.1", "--rho", "0"), ["'mnits'; did you mean 'mnist'?"]),
        (("--task", "mnist", "--eta", "-0.1", "--rho", "0"), ["--eta: '-0.1' must be a number"]),
        (("--task", "mnist", "--eta", "0.1", "--rho", "x"), ["--rho: 'x' must be a number"]),
    ],
)
def test_a_run_asked_for_wrongly_by_hand(unrun: Checkout, arguments, parts):
    done = unrun.script(
        "train_run",
        *("--configfile", "config.yaml", "--data", "none.npz", "--output", "none.nc", *arguments),
    )
    assert_message(done, *parts)
