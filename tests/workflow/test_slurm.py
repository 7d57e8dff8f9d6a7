"""The workflow on a real Slurm of this machine's own: same numbers, and jobs that come back.

They take many minutes: ``make test-slurm`` runs them, where a Slurm can be brought up.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import xarray as xr

import own_experiment
from checkout import HERE, TINY, Checkout
from samedge.records import files
from slurm_cluster import LONGEST as LONGEST_STEP
from slurm_cluster import missing

TIMES = ["training_time", "wall_time"]
LONGEST = 900  # seconds that a workflow may take on a machine with other work
RUN = "runs/mnist/eta0.1_rho0.1_seed0.nc"
LOG = "logs/train_run/mnist/eta0.1_rho0.1_seed0.log"
WILDCARDS = "train_run_wildcards_mnist_0.1_0.1_0"
PROFILE = ("--workflow-profile", "profiles/slurm")
# The profile's seconds are those of a cluster with many users.
PROMPT = ("--seconds-between-status-checks", 2, "--slurm-init-seconds-before-status-checks", 2)
# How large the tests' own data are is not known, and the nodes are small. More may follow.
SMALL = ("--set-resources", "train_run:mem_mb=2000")


@dataclass(frozen=True)
class Slurm:
    """A Slurm that is up, by its environment."""

    environment: dict[str, str]

    @contextlib.contextmanager
    def running(self, checkout: Checkout, *arguments: object) -> Iterator[subprocess.Popen]:
        """Have Snakemake at work on the tiny experiment, its jobs on Slurm, for this context.

        The names of the jobs begin with that of the checkout's folder.
        """
        process = checkout.start(
            *("-m", "snakemake", "--nocolor", "--configfile", TINY, *PROFILE, *PROMPT),
            *("--slurm-jobname-prefix", checkout.root.name, *arguments),
            **self.environment,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=LONGEST_STEP)
                process.kill()
                process.communicate()

    def run(self, checkout: Checkout, *arguments: object) -> str:
        """Let Snakemake do it all, and return its output."""
        with self.running(checkout, *arguments) as process:
            return finish(process)

    def call(self, *command: str) -> str:
        """Return what a command of Slurm prints."""
        return subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=LONGEST_STEP,
        ).stdout

    def running_job(self, checkout: Checkout) -> str:
        """Return the id of the one job of a checkout that runs."""
        listed = self.call("squeue", "--noheader", "--states=RUNNING", "--format=%i|%j")
        jobs = dict(line.split("|") for line in listed.splitlines())
        [job] = [job for job, name in jobs.items() if name.startswith(f"{checkout.root.name}_")]
        return job

    def jobs(self, checkout: Checkout, part: str) -> list[dict[str, str]]:
        """Return what the accounting has of a checkout's jobs whose comment holds ``part``.

        All of them must have ended: the accounting learns of it, and of the comment, a little
        later than Snakemake.
        """
        fields = ("JobID", "JobName", "Comment", "State", "ReqTRES", "Timelimit", "NodeList")
        deadline = time.monotonic() + LONGEST_STEP
        while True:
            listed = self.call("sacct", "-X", "-P", "-n", f"--format={','.join(fields)}")
            jobs = [dict(zip(fields, line.split("|"), strict=True)) for line in listed.splitlines()]
            own = [job for job in jobs if job["JobName"].startswith(f"{checkout.root.name}_")]
            if own and not {"PENDING", "RUNNING"} & {job["State"] for job in own}:
                return [job for job in own if part in job["Comment"]]
            assert time.monotonic() < deadline, listed
            time.sleep(1)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Have a Slurm for the tests of this module, in a process of its own that adopts orphans."""
    if not os.environ.get("SLURM_TESTS"):
        pytest.skip("brings up a Slurm for many minutes: make test-slurm")
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    # It lives as long as the command, which ends when its input does.
    command = 'echo "$SLURM_CONF"; echo "$PATH"; exec cat'
    with subprocess.Popen(
        [sys.executable, HERE / "slurm_cluster.py", "sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            conf, path = (process.stdout.readline().strip() for _ in range(2))
            assert conf and path, "no Slurm came up; its error is above"
            interpreter = Path(sys.executable).parent
            yield Slurm({"SLURM_CONF": conf, "PATH": f"{interpreter}{os.pathsep}{path}"})
            process.stdin.close()
            assert process.wait(timeout=2 * LONGEST_STEP) == 0
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=4 * LONGEST_STEP)


def finish(process: subprocess.Popen) -> str:
    """Wait for a workflow and return its output; it must have succeeded."""
    output, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, output
    return output


def until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait until the condition holds while the workflow is at work."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"not so within {LONGEST} s"
        time.sleep(0.5)


def overlay(checkout: Checkout, **mnist: object) -> tuple[str, ...]:
    """Return the arguments that change the mnist task, with checkpoints in close succession."""
    changes = {"checkpoints": {"minutes": 0.1, "steps": None}, "tasks": {"mnist": mnist}}
    return ("--configfile", TINY, checkout.overlay(changes))


def anew(checkout: Checkout) -> Path:
    """Take one run out of a finished experiment, and return the target that makes it again."""
    checkout.result(RUN).unlink()
    return checkout.result(RUN).relative_to(checkout.root)


def same(path: Path, other: Path, read: Callable[[Path], xr.Dataset]) -> None:
    first, second = (read(each).drop_vars(TIMES) for each in (path, other))
    xr.testing.assert_identical(first, second)


def test_the_experiment_through_slurm_equals_a_local_run(slurm, unrun, finished, tmp_path):
    checkout = unrun.clone(tmp_path / "whole")
    # What was compiled for the local run need not be again.
    shutil.copytree(finished.result("cache"), checkout.result("cache"))
    slurm.run(checkout, *SMALL)
    runs = sorted(finished.result("runs").glob("*/*.nc"))
    for path in runs:
        same(checkout.result(f"runs/{path.parent.name}/{path.name}"), path, files.read_run)
    for path in sorted(finished.result("cubes").glob("*.nc")):
        same(checkout.result(f"cubes/{path.name}"), path, files.read_cube)
    figures = sorted(path.name for path in finished.result("figures").iterdir())
    assert sorted(path.name for path in checkout.result("figures").iterdir()) == figures
    # Every training job had a GPU, its memory and its limit; merging and drawing had none, and
    # were few jobs.
    trained = slurm.jobs(checkout, "train_run")
    assert len(trained) == len(runs)
    for job in trained:
        assert {"gres/gpu=1", "cpu=4", "mem=2000M"} <= set(job["ReqTRES"].split(","))
        assert job["Timelimit"] == "1-00:00:00"
    cubes, drawn = (slurm.jobs(checkout, name) for name in ("cubes", "figures"))
    assert (len(cubes), len(drawn)) == (3, 1)
    assert all("gres" not in job["ReqTRES"] for job in [*cubes, *drawn])


def test_plugins_and_data_of_ones_own_travel_to_the_jobs(slurm, unrun, tmp_path):
    checkout, mine = unrun.clone(tmp_path / "own"), tmp_path / "mine"
    mine.mkdir()
    configuration = own_experiment.write(mine)
    small = ("--set-resources", "train_run:mem_mb=2000", "audit_run:mem_mb=2000")
    slurm.run(checkout, "all", "audit", *small, "--configfile", TINY, configuration)
    results = checkout.root / "results/mine"
    cube = files.read_cube(results / "cubes/numbers.nc")
    assert (cube["eigenvalue_converged"] == 1).all()
    assert set(json.loads(cube.attrs["plugins"])) == {"mine.py"}
    assert (results / "audit/errors.md").is_file()
    assert len(slurm.jobs(checkout, "train_run")) == len(slurm.jobs(checkout, "audit_run")) == 2


@pytest.mark.parametrize(
    ("name", "resources"),
    [
        ("model", ["train_run:gpu_model=large"]),
        ("gres", ["train_run:gpu=0", "train_run:gres=gpu:large:1"]),
    ],
)
def test_a_gpu_can_be_asked_for_by_its_model(slurm, finished, tmp_path, name, resources):
    checkout = finished.clone(tmp_path / name)
    slurm.run(checkout, anew(checkout), *SMALL, *resources)
    [job] = slurm.jobs(checkout, WILDCARDS)
    assert job["NodeList"] == "node2"
    assert "gres/gpu=1" in job["ReqTRES"].split(",")


def test_all_runs_of_a_task_can_be_one_job(slurm, finished, tmp_path):
    checkout = finished.clone(tmp_path / "together")
    cube = checkout.result("cubes/mnist.nc").relative_to(checkout.root)
    # A day for each run is more than the partition allows.
    small = (f"train_together_mnist:{resource}" for resource in ("mem_mb=2000", "runtime=60"))
    changes = checkout.overlay({"together": {"axes": ["eta", "rho"]}})
    slurm.run(checkout, cube, "--set-resources", *small, "--configfile", TINY, changes)
    [job] = slurm.jobs(checkout, "train_together_mnist")
    assert {"gres/gpu=1", "cpu=4", "mem=2000M"} <= set(job["ReqTRES"].split(","))
    assert job["State"] == "COMPLETED"

    def read(path: Path) -> xr.Dataset:
        run = files.read_run(path)
        del run.attrs["history"]  # says how many runs the job had
        return run

    for path in sorted(finished.result("runs/mnist").iterdir()):
        same(checkout.result(f"runs/mnist/{path.name}"), path, read)


def test_a_job_that_is_cancelled_comes_back_and_goes_on(slurm, finished, tmp_path):
    # Long enough to be cut off after a checkpoint, and again undisturbed, to compare with.
    budget = {"budget": {"steps": 2_000_000, "hours": None}}
    undisturbed, checkout = (finished.clone(tmp_path / name) for name in ("local", "cancelled"))
    done = undisturbed.python(
        *("-m", "snakemake", "--resources", "gpu=1", "--cores", "all", anew(undisturbed)),
        *overlay(undisturbed, **budget),
    )
    assert done.returncode == 0, done.stdout

    log = checkout.result(LOG)
    arguments = (anew(checkout), *SMALL, *overlay(checkout, **budget))
    with slurm.running(checkout, *arguments) as workflow:
        until(lambda: log.is_file() and "checkpoint at step" in log.read_text(), workflow)
        slurm.call("scancel", slurm.running_job(checkout))
        output = finish(workflow)

    assert "SLURM status is: 'CANCELLED'" in output
    first, second = slurm.jobs(checkout, WILDCARDS)
    assert first["State"].startswith("CANCELLED") and second["State"] == "COMPLETED"
    assert "going on from step" in log.read_text()
    same(checkout.result(RUN), undisturbed.result(RUN), files.read_run)


def test_a_job_at_its_time_limit_comes_back_and_goes_on(slurm, finished, tmp_path):
    # One minute is the shortest limit that Slurm knows, and half a minute later it looks. 108 s of
    # training fit into two such jobs and never end together with the first.
    budget = {
        "budget": {"steps": None, "hours": 0.03},
        "checks": {"spacing": "time", "count": None, "minutes": 0.5},
    }
    checkout = finished.clone(tmp_path / "limited")
    limit = ("train_run:runtime=1",)
    output = slurm.run(checkout, anew(checkout), *SMALL, *limit, *overlay(checkout, **budget))

    assert "SLURM status is: 'TIMEOUT'" in output
    *cut_off, last = slurm.jobs(checkout, WILDCARDS)
    assert {job["State"] for job in cut_off} == {"TIMEOUT"}
    assert last["State"] == "COMPLETED"
    assert "going on from step" in checkout.result(LOG).read_text()
    trained = files.read_run(checkout.result(RUN))["training_time"]
    assert float(trained.max()) >= 108
