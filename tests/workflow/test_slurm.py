"""The workflow on a real Slurm of this machine's own: same numbers, and jobs that come back.

Skipped where no Slurm can be brought up; ``make test-slurm`` runs these alone.
"""

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
import yaml

from checkout import HERE, TINY, Checkout
from samedge import records
from slurm_cluster import LONGEST as LONGEST_STEP
from slurm_cluster import missing

TIMES = ["training_time", "wall_time"]
LONGEST = 900  # seconds that a workflow may take on a machine with other work
RUN = "runs/mnist/eta0.1_rho0.1_seed0.nc"
LOG = "logs/train_run/mnist/eta0.1_rho0.1_seed0.log"
WILDCARDS = "rule_train_run_wildcards_mnist_0.1_0.1_0"
PROFILE = ("--workflow-profile", "profiles/slurm")
# The profile's seconds are those of a cluster with many users.
PROMPT = ("--seconds-between-status-checks", 2, "--slurm-init-seconds-before-status-checks", 2)
# What a model whose size is known asks for is more than it takes here by far.
SMALL = ("--set-resources", "train_run:mem_mb=2000", "audit_run:mem_mb=2000")


@dataclass(frozen=True)
class Slurm:
    """A Slurm that is up, by its environment."""

    environment: dict[str, str]

    def start(self, checkout: Checkout, *arguments: object) -> subprocess.Popen:
        """Start Snakemake on the tiny experiment, its jobs on Slurm."""
        return checkout.start(
            *("-m", "snakemake", "--nocolor", "--configfile", TINY, *PROFILE, *PROMPT, *arguments),
            **self.environment,
        )

    def call(self, *command: str) -> str:
        return subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=LONGEST_STEP,
        ).stdout

    def jobs(self, wildcards: str) -> list[dict[str, str]]:
        """Return what the accounting has of the jobs whose comment holds ``wildcards``."""
        fields = ("JobID", "Comment", "State", "ReqTRES", "Timelimit")
        lines = self.call("sacct", "-X", "-P", "-n", f"--format={','.join(fields)}").splitlines()
        jobs = [dict(zip(fields, line.split("|"), strict=True)) for line in lines]
        return [job for job in jobs if wildcards in job["Comment"]]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Have a Slurm for the tests of this module, in a process of its own that adopts orphans."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    # It lives as long as the command, which ends when its input does.
    command = 'echo "$SLURM_CONF"; echo "$PATH"; exec cat'
    process = subprocess.Popen(
        [sys.executable, HERE / "slurm_cluster.py", "sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        found = [process.stdout.readline().strip() for _ in range(2)]
        assert all(found), "no Slurm came up; its error is above"
        conf, path = found
        interpreter = Path(sys.executable).parent
        yield Slurm({"SLURM_CONF": conf, "PATH": f"{interpreter}{os.pathsep}{path}"})
        process.stdin.close()
        assert process.wait(timeout=2 * LONGEST_STEP) == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=4 * LONGEST_STEP)


def finish(process: subprocess.Popen) -> str:
    """Wait for a workflow and return its output; it must have succeeded."""
    try:
        output, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.terminate()
        output, _ = process.communicate(timeout=LONGEST_STEP)
        pytest.fail(f"not done within {LONGEST} s:\n{output}")
    assert process.returncode == 0, output
    return output


def until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait until the condition holds while the workflow is at work."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "not so within the time"
        time.sleep(0.5)


def overlay(checkout: Checkout, **mnist: object) -> tuple[str, ...]:
    """Return the arguments that change the mnist task, with checkpoints in close succession."""
    changes = {"checkpoints": {"minutes": 0.1, "steps": None}, "tasks": {"mnist": mnist}}
    (checkout.root / "changes.yaml").write_text(yaml.safe_dump(changes), encoding="utf-8")
    return ("--configfile", TINY, "changes.yaml")


def same(path: Path, other: Path, read: Callable[[Path], xr.Dataset]) -> None:
    first, second = (read(each).drop_vars(TIMES) for each in (path, other))
    xr.testing.assert_identical(first, second)


def test_the_experiment_through_slurm_equals_a_local_run(slurm, unrun, finished, tmp_path):
    checkout = unrun.clone(tmp_path / "slurm")
    # What was compiled for the local run need not be again.
    shutil.copytree(finished.result("cache"), checkout.result("cache"))
    finish(slurm.start(checkout, *SMALL))
    for path in sorted(finished.result("runs").glob("*/*.nc")):
        same(checkout.result(path.relative_to(finished.result(""))), path, records.read_run)
    for path in sorted(finished.result("cubes").glob("*.nc")):
        same(checkout.result(f"cubes/{path.name}"), path, records.read_cube)
    figures = sorted(path.name for path in finished.result("figures").iterdir())
    assert sorted(path.name for path in checkout.result("figures").iterdir()) == figures
    # Every training job had a GPU, its memory and its limit; merging and figures had none, and
    # were few jobs.
    trained = slurm.jobs("rule_train_run")
    assert len(trained) == len(list(finished.result("runs").glob("*/*.nc")))
    assert {job["Timelimit"] for job in trained} == {"1-00:00:00"}
    for job in trained:
        assert {"gres/gpu=1", "cpu=4", "mem=2000M"} <= set(job["ReqTRES"].split(","))
    grouped = [*slurm.jobs("group_cubes"), *slurm.jobs("group_figures")]
    assert len(slurm.jobs("group_cubes")) == 3
    assert len(slurm.jobs("group_figures")) == 1
    assert all("gres" not in job["ReqTRES"] for job in grouped)


@pytest.mark.parametrize(
    "resources", [("train_run:gpu_model=large",), ("train_run:gpu=0", "train_run:gres=gpu:large:1")]
)
def test_a_gpu_can_be_asked_for_by_its_model(slurm, finished, tmp_path, resources):
    checkout = finished.clone(tmp_path / "slurm")
    checkout.result(RUN).unlink()
    asked = ("--set-resources", "train_run:mem_mb=2000", *resources)
    finish(slurm.start(checkout, checkout.result(RUN).relative_to(checkout.root), *asked))
    job = slurm.jobs(WILDCARDS)[-1]["JobID"]
    assert slurm.call("sacct", "-X", "-P", "-n", "-j", job, "--format=NodeList").strip() == "node2"


def test_a_job_that_is_cancelled_comes_back_and_goes_on(slurm, finished, tmp_path):
    # Long enough to be cut off after a checkpoint, and again undisturbed, to compare with.
    budget = {"budget": {"steps": 40_000, "hours": None}}
    undisturbed, checkout = (finished.clone(tmp_path / name) for name in ("local", "slurm"))
    for each in (undisturbed, checkout):
        each.result(RUN).unlink()
    target = undisturbed.result(RUN).relative_to(undisturbed.root)
    done = undisturbed.python(
        *("-m", "snakemake", "--cores", "all", "--resources", "gpu=1", target),
        *overlay(undisturbed, **budget),
    )
    assert done.returncode == 0, done.stdout

    workflow = slurm.start(checkout, target, *SMALL, *overlay(checkout, **budget))
    log = checkout.result(LOG)
    until(lambda: log.is_file() and "checkpoint at step" in log.read_text(), workflow)
    [job] = [job for job in slurm.jobs(WILDCARDS) if job["State"] == "RUNNING"]
    slurm.call("scancel", job["JobID"])
    output = finish(workflow)

    first, second = [job["State"] for job in slurm.jobs(WILDCARDS)][-2:]
    assert first.startswith("CANCELLED") and second == "COMPLETED"
    assert "SLURM status is: 'CANCELLED" in output
    assert "going on from step" in log.read_text()
    same(checkout.result(RUN), undisturbed.result(RUN), records.read_run)


def test_a_job_at_its_time_limit_comes_back_and_goes_on(slurm, finished, tmp_path):
    # 72 s of training do not fit into one minute, the shortest limit that Slurm knows.
    budget = {
        "budget": {"steps": None, "hours": 0.02},
        "checks": {"spacing": "time", "count": None, "minutes": 0.5},
    }
    checkout = finished.clone(tmp_path / "slurm")
    checkout.result(RUN).unlink()
    target = checkout.result(RUN).relative_to(checkout.root)
    limit = ("--set-resources", "train_run:runtime=1", "train_run:mem_mb=2000")
    output = finish(slurm.start(checkout, target, *limit, *overlay(checkout, **budget)))

    *cut_off, last = [job for job in slurm.jobs(WILDCARDS) if job["Timelimit"] == "00:01:00"]
    assert cut_off and {job["State"] for job in cut_off} == {"TIMEOUT"}
    assert last["State"] == "COMPLETED"
    assert "SLURM status is: 'TIMEOUT'" in output
    assert "going on from step" in checkout.result(LOG).read_text()
    trained = records.read_run(checkout.result(RUN))["training_time"].dropna("check")
    assert float(trained[-1]) >= 72
