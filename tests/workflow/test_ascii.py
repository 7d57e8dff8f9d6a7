"""Every script on a terminal, and in a locale, that know no character but those of ASCII."""

import json
from pathlib import Path

import pytest

from checkout import TINY, Checkout
from samedge.records import files

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
RHO = {"mnist": "0.1", "cifar10": "0.1", "tiny_shakespeare": "0.3"}
RUN = "eta0.1_rho0.1_seed0.nc"
CONFIG = {
    "experiment": "tiny",
    "figures": {"time_axis": "step"},
    "tasks": {task: {"figure_rho": float(rho)} for task, rho in RHO.items()},
}


def pair(folder: Path, name: str) -> tuple[str, ...]:
    """Return the arguments that name both files of a figure."""
    return (
        "--output-pdf",
        str(folder / f"{name}.pdf"),
        "--output-png",
        str(folder / f"{name}.png"),
    )


def commands(checkout: Checkout, folder: Path) -> dict[str, tuple[object, ...]]:
    """Return the arguments of the scripts that need no network, in an order to run them in."""
    cube, data = checkout.result("cubes/mnist.nc"), checkout.result("data/mnist.npz")
    cubes = [checkout.result(f"cubes/{task}.nc") for task in RHO]
    grid = files.read_cube(cube).attrs["settings"]
    compiled = ("--cache", "results/tiny/cache/jax", "--device", "cpu")
    by_hand = ("--task", "mnist", "--eta", "0.1", "--rho", "0.1")
    examples = ("--train-examples", 40, "--test-examples", 20)
    kept = folder / "parameters.nc"
    return {
        "prepare_data": (
            *("--dataset", "own_digits", "--source", "sample", *examples),
            *("--output", folder / "mnist.npz"),
        ),
        "train_run": (
            *("--configfile", "config.yaml", TINY, *by_hand, *compiled),
            *("--data", data, "--output", folder / RUN, "--parameters", kept),
        ),
        "audit_run": (
            *("--run", folder / RUN, "--parameters", kept, "--data", data, *compiled),
            *("--output", folder / "audit.json"),
        ),
        "collect_runs": (
            *("--grid", grid, "--runs", checkout.result("runs/mnist")),
            *("--output", folder / "cube.nc"),
        ),
        "filter_diverged": ("--input", folder / "cube.nc", "--output", folder / "filtered.nc"),
        "plot_figure": ("--number", 4, "--cube", cube, "--rho", "0.1", *pair(folder, "figure_04")),
        "plot_density": ("--cube", cube, "--rho", "0.1", *pair(folder, "density")),
        "plot_edge_map": ("--cube", cube, *pair(folder, "map")),
        "plot_supplement": ("--cube", folder / "filtered.nc", "--output", folder / "supplement"),
        "judge_claims": (
            *("--cubes", *cubes, "--rho", *RHO.values(), *pair(folder, "claims")),
            *("--csv", folder / "claims.csv", "--json", folder / "claims.json"),
        ),
        "write_explorer": ("--cubes", *cubes, "--output", folder / "explorer.html"),
        "compare_experiments": (cube, folder / "cube.nc"),
        "pack_experiment": (
            *("--config", json.dumps(CONFIG), "--cubes", *cubes, "--date", "2024-06-01"),
            *("--files", folder / "claims.csv", "--output", folder / "tiny.zip"),
        ),
        "redraw": (
            *("--archive", folder / "tiny.zip", "--output", folder / "redrawn", "--figure", "04"),
        ),
    }


def test_no_text_ends_a_script(finished: Checkout, tmp_path):
    outputs = {}
    for script, arguments in commands(finished, tmp_path).items():
        done = finished.script(script, *arguments, **ASCII)
        assert done.returncode == 0, f"{script}: {done.stdout}"
        outputs[script] = done.stdout
    assert all(output.isascii() for output in outputs.values())
    assert "\\u03bb1/edge" in outputs["train_run"] and "\\u03bb1" in outputs["audit_run"]


@pytest.mark.parametrize("script", ["train_run", "redraw"])
def test_help_is_shown(finished: Checkout, script):
    done = finished.script(script, "--help", **ASCII)
    assert (done.returncode, done.stdout.isascii()) == (0, True), done.stdout


def test_a_message_of_snakemake_is_shown(unrun: Checkout):
    for environment in (ASCII, {"PYTHONIOENCODING": "ascii"}):
        done = unrun.snakemake("--dry-run", "--config", "experiment=\u03bb", **environment)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout
        assert 'experiment: found "' in done.stdout and "is not allowed" in done.stdout
