"""Jobs on Google Batch: what its profile submits, at a stand-in for the service.

Needs what ``make googlebatch`` installs, see docs/clusters_cloud.md.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from checkout import TINY, UNSET, Checkout

IMAGE = "registry.example.org/samedge:1"
GIVEN = "results/tiny/data/cifar10.npz"
TARGETS = ("results/tiny/runs/cifar10/eta0.003_rho0.1_seed0.nc", "results/tiny/data/mnist.npz")


@pytest.fixture(scope="module")
def submitted(
    unrun: Checkout, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict]:
    """Return the first job of each rule, as it was submitted."""
    python = repository / ".venv-googlebatch" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs make googlebatch")
    folder = tmp_path_factory.mktemp("googlebatch")
    checkout = unrun.clone(folder / "checkout")
    shutil.copytree(repository / "profiles", checkout.root / "profiles", dirs_exist_ok=True)
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=checkout.root, check=True)
    script = Path(__file__).with_name("googlebatch_api.py")
    command = [python, script, folder / "jobs", GIVEN, "--nocolor", "--configfile", TINY]
    command += ["--workflow-profile", "profiles/googlebatch", "--container-image", IMAGE]
    command += ["--googlebatch-project", "my-project", "--googlebatch-region", "here"]
    command += ["--storage-gcs-project", "my-project", "--default-storage-prefix", "gcs://edge"]
    command += ["--seconds-between-status-checks", "1", "--", *TARGETS]
    environment = {key: value for key, value in os.environ.items() if key not in UNSET}
    done = subprocess.run(
        list(map(str, command)),
        cwd=checkout.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (folder / "jobs").exists(), done.stdout
    jobs = map(json.loads, (folder / "jobs").read_text(encoding="utf-8").splitlines())
    found: dict[str, dict] = {}
    for job in jobs:
        found.setdefault(job["job"]["labels"]["snakemake-job"], job)
    return found


def machine(request: dict) -> dict:
    return request["job"]["allocation_policy"]["instances"][0]


def task(request: dict) -> dict:
    return request["job"]["task_groups"][0]["task_spec"]


def test_every_job_is_submitted_and_none_runs_here(submitted):
    assert submitted.keys() == {"train-run", "prepare-data"}
    for request in submitted.values():
        assert request["parent"] == "projects/my-project/locations/here"
        container = task(request)["runnables"][-1]["container"]
        assert container["image_uri"] == IMAGE
        assert "batch-cos" in machine(request)["policy"]["boot_disk"]["image"]


def test_training_gets_a_gpu_and_a_day(submitted):
    request = submitted["train-run"]
    (accelerator,) = machine(request)["policy"]["accelerators"]
    assert (accelerator["type_"], accelerator["count"]) == ("nvidia-tesla-t4", "1")
    assert machine(request)["install_gpu_drivers"] is True
    assert task(request)["max_run_duration"] == "90000s"
    assert task(request)["compute_resource"]["memory_mib"] == "24000"


def test_other_jobs_get_a_small_machine(submitted):
    request = submitted["prepare-data"]
    assert not machine(request)["policy"]["accelerators"]
    assert machine(request)["policy"]["machine_type"] == "e2-standard-2"
    assert task(request)["compute_resource"] == {
        "cpu_milli": "2000",
        "memory_mib": "6000",
        "boot_disk_mib": "0",
    }
