"""What a night may bring: kills, a full disk, too little memory, few GPUs, a second instance."""

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from checkout import TINY, Checkout
from samedge.records import files as records

sys.path.append(str(Path(__file__).parents[1] / "endurance"))

import kills

TIMES = ["training_time", "wall_time"]
THREE = [f"GPU-{number}0000000-aaaa-bbbb-cccc-dddddddddddd" for number in range(3)]


def test_runs_that_are_killed_end_as_if_nothing_had_been(changeable: Checkout):
    counts = kills.kill_runs(changeable, kills=3, seed=3, say=print)
    assert counts.total() >= 3


def test_a_workflow_that_is_killed_completes_when_it_is_started_again(changeable: Checkout):
    targets = ["results/tiny/cubes/cifar10.nc"]
    counts = kills.kill_workflow(changeable, kills=2, seed=0, say=print, targets=targets)
    assert counts.total() == 2


def by_hand(checkout: Checkout, output: Path, *options: str) -> tuple[str, ...]:
    """Return the command that trains one run of the tiny experiment."""
    run = ("--task", "mnist", "--eta", "0.1", "--rho", "0.1", "--device", "cpu")
    data = checkout.result("data/mnist.npz")
    configuration = ("--configfile", "config.yaml", TINY)
    files = ("--data", str(data), "--output", str(output), "--cache", "results/tiny/cache/jax")
    return ("workflow/scripts/train_run.py", *configuration, *run, *files, *options)


@pytest.mark.parametrize(
    ("limit", "kept"), [(20_000, False), (90_000, True)], ids=["nothing", "checkpoints"]
)
def test_a_full_disk_costs_nothing_that_was_finished(finished: Checkout, tmp_path, limit, kept):
    """A limit on the size of files stands for a disk that is full, for all or for the run file."""
    output = tmp_path / "runs" / "run.nc"
    command = by_hand(finished, output, "--checkpoint-steps", "4")
    limits = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)"
    start = "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, 'workflow/scripts')"
    run = "runpy.run_path(sys.argv[0], None, '__main__')"
    done = finished.python("-c", f"{limits}; {start}; {run}", *command)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert f"error: {output}: File too large; the limit on the size of a file" in done.stdout
    assert not output.exists()
    checkpoints = output.with_suffix(".checkpoints")
    missed = f"no checkpoint at step 4: {checkpoints}: File too large; there is none yet"
    assert (missed in done.stdout) != kept
    assert checkpoints.exists() == kept

    done = finished.python(*command)
    assert done.returncode == 0, done.stdout
    assert ("going on from step 12" in done.stdout) == kept
    run = records.read_run(output).drop_vars(TIMES)
    xr.testing.assert_identical(
        run, records.read_run(finished.result("runs/mnist/eta0.1_rho0.1_seed0.nc")).drop_vars(TIMES)
    )
    assert [*output.parent.iterdir()] == [output]


@pytest.fixture(scope="module")
def checkpoints(finished: Checkout, tmp_path_factory) -> Path:
    """Return the checkpoints of a run by hand that left nothing else."""
    output = tmp_path_factory.mktemp("cut_off") / "run.nc"
    command = by_hand(finished, output, "--checkpoint-steps", "4")
    limits = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (90_000,) * 2)"
    start = "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, 'workflow/scripts')"
    run = "runpy.run_path(sys.argv[0], None, '__main__')"
    done = finished.python("-c", f"{limits}; {start}; {run}", *command)
    left = output.with_suffix(".checkpoints")
    assert [*left.glob("*.npz")], done.stdout
    return left


@pytest.mark.parametrize(
    ("edited", "going_on"),
    [
        ("audit/float64", True),
        ("tasks/models/cnn", True),
        ("training/loop", False),
        ("updates/rules/sam", False),
    ],
)
def test_a_run_goes_on_unless_a_module_that_it_uses_was_edited(
    changeable: Checkout, checkpoints, tmp_path, edited, going_on
):
    command = by_hand(changeable, tmp_path / "run.nc", "--checkpoint-steps", "4")
    shutil.copytree(checkpoints, tmp_path / checkpoints.name)
    text = "\n# edited\n"
    if going_on:
        text += "raise RuntimeError('used, and said not to be')\n"
    with changeable.module(f"{edited}.py").open("a", encoding="utf-8") as file:
        file.write(text)
    done = changeable.python(*command)
    assert done.returncode == 0, done.stdout
    assert ("going on from step 12" in done.stdout) == going_on
    assert ("other settings, data, sources or packages" in done.stdout) != going_on


def test_a_merge_that_does_not_fit_leaves_the_cube_before(changeable: Checkout):
    cube = changeable.result("cubes/mnist.nc")
    before = cube.read_bytes()
    grid = records.read_cube(cube).attrs["settings"]
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000,) * 2); "
        "sys.path.insert(0, 'workflow/scripts'); import collect_runs; "
        "from samedge.base.errors import run_script; run_script(collect_runs.main)"
    )
    arguments = ("--grid", grid, "--runs", changeable.result("runs/mnist"), "--output", cube)
    done = changeable.python("-c", code, *arguments)
    assert done.returncode == 1
    assert f"error: {cube}: File too large" in done.stdout
    assert "Traceback" not in done.stdout
    assert cube.read_bytes() == before
    assert changeable.script("collect_runs", *arguments).returncode == 0


def test_too_little_memory_says_what_to_lower(finished: Checkout, tmp_path):
    wide = tmp_path / "wide.yaml"
    wide.write_text("tasks: {mnist: {model: {settings: {width: 30000000}}}}\n", encoding="utf-8")
    command = list(by_hand(finished, tmp_path / "run.nc"))
    command.insert(command.index(TINY) + 1, str(wide))
    done = finished.python(*command)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "error: out of memory (" in done.stdout
    assert "lower tasks.mnist.microbatch (now null, all examples at once)" in done.stdout


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(finished: Checkout, tmp_path):
    command = by_hand(finished, tmp_path / "run.nc", "--device", "gpu")
    done = finished.python(*command, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "error: --device gpu: JAX finds none; for a CPU set device: auto" in done.stdout
    assert "install the CUDA environment" in done.stdout
    assert not any(tmp_path.iterdir())


def devices_held(checkout: Checkout) -> dict[int, str]:
    """Return the training processes in a checkout that hold the lock of a device, and its name."""
    held = {}
    for process in checkout.training_processes():
        # Files that are open are not enough: one that looks for a free device opens others' too,
        # and a child has those of its parent until it runs another program.
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        locked = {int(lock[5].split(":")[2]) for lock in locks if lock[4] == str(process)}
        try:
            opened = [link.resolve() for link in Path(f"/proc/{process}/fd").iterdir()]
            files = [path for path in opened if path.parent.name == "samedge-gpus"]
            devices = [path.stem for path in files if path.stat().st_ino in locked]
        except OSError:  # it has ended
            continue
        if devices:
            [held[process]] = devices
    return held


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="sees who has which lock in /proc")
def test_three_jobs_have_three_gpus_and_a_killed_one_is_done_again(changeable: Checkout, tmp_path):
    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    lines = "".join(f"GPU {n}: NVIDIA H100 (UUID: {name})\\n" for n, name in enumerate(THREE))
    driver.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    driver.chmod(0o755)
    kills.forget_runs(changeable.result(""))
    names = [f"eta{eta}_rho{rho}_seed0" for eta in ("0.1", "10000") for rho in ("0", "0.1")]
    path = [str(driver.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    process = changeable.start(
        *("-m", "snakemake", "--configfile", TINY, "--config", "device=auto", "--cores", "12"),
        *("--resources", "gpu=3", "--", *(f"results/tiny/runs/mnist/{name}.nc" for name in names)),
        PATH=os.pathsep.join(path),
        TMPDIR=str(tmp_path),
        JAX_PLATFORMS="cpu",
    )
    killed = None
    while process.poll() is None:
        held = devices_held(changeable)
        assert len({*held.values()}) == len(held), "two jobs on one device"
        if killed is None and len(held) == 3:
            killed = min(held)
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.02)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert killed is not None, "three jobs never ran side by side"
    logs = [changeable.result(f"logs/train_run/mnist/{name}.log").read_text() for name in names]
    found = [re.search(r"^on the GPU (\S+)$", log, re.MULTILINE)[1] for log in logs]
    assert {*found} <= {*THREE}


def test_a_second_instance_is_told_that_there_is_one(changeable: Checkout):
    kills.forget_runs(changeable.result(""))
    command = ("-m", "snakemake", "--configfile", TINY, "--cores", "1")
    first = changeable.start(*command, "results/tiny/runs/mnist/eta0.1_rho0_seed0.nc")
    while first.poll() is None and not [*changeable.root.glob(".snakemake/locks/*")]:
        time.sleep(0.02)
    second = changeable.python(*command)
    first.communicate()
    assert second.returncode == 1
    assert "Traceback" not in second.stdout
    assert "Directory cannot be locked" in second.stdout
    assert "--unlock" in second.stdout
    assert first.returncode == 0
