"""The GPU's benchmark works as a whole, cut down, on a CPU; its numbers there mean nothing."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.gpu import SHARES, report
from benchmarks.gpu_kit import Kit


@pytest.fixture(scope="module")
def output(repository, tfds_data_dir, tmp_path_factory):
    """Write a small kit, run every part of the benchmark on it, and return the output folder."""
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "-m", "benchmarks.gpu", "--small", "--device", "cpu"]
    command += ["--kit", f"{folder}/kit", "--output", f"{folder}/output", "--minutes", "8"]
    scripts = str(repository / "workflow" / "scripts")
    done = subprocess.run(
        command,
        cwd=repository,
        env=os.environ | {"PYTHONPATH": scripts, "TFDS_DATA_DIR": str(tfds_data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return folder / "output"


@pytest.fixture(scope="module")
def results(output):
    return json.loads((output / "gpu.json").read_text())


def test_every_part_ends_well(results):
    absent = {"paper/cifar10", "paper/tiny_shakespeare"}
    assert results["endings"].keys() == SHARES.keys() - absent
    failures = {name: end["failure"] for name, end in results["endings"].items() if end["failure"]}
    assert not failures


def test_on_a_cpu_the_numbers_are_the_cpus(results):
    parity = results["parts"]["parity"]
    assert parity["reference mnist_mlp"]["loss_error"] < 1e-5
    assert parity["reference mnist_mlp"]["eigenvalue_error"] < 1e-3
    assert parity["traps"] == {"count": 1, "right": 1, "fooled": 0}
    found = parity["default mnist"]
    assert set(found["loss_difference"] + found["eigenvalue_difference"]) == {0.0}
    assert results["parts"]["convolution"]["difference"] < 1e-4


def test_jobs_share_a_device_and_go_on_after_a_kill(results):
    assert results["parts"]["sharing"]["differing"] == []
    resume = results["parts"]["resume"]
    assert resume["mnist_killed"] and resume["mnist_went_on"]
    assert resume["mnist_differing"] == []


def test_there_are_a_table_a_picture_and_run_files(output, results):
    text = (output / "gpu.txt").read_text()
    assert text == report(results) + "\n"
    assert "every number equal to the bit" in text
    assert (output / "gpu.png").read_bytes().startswith(b"\x89PNG")
    assert (output / "mnist.nc").is_file()


def test_a_kit_that_is_not_there_is_named(tmp_path, repository):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--kit", str(tmp_path / "none")],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository / "workflow" / "scripts")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert f"--kit: no kit in {tmp_path / 'none'}; write one with --write-kit" in done.stderr


def test_a_kit_says_how_much_to_measure(output):
    sizes = Kit(output.parent / "kit").sizes
    assert sizes.tasks == ("mnist",) and sizes.together == (1, 2)
