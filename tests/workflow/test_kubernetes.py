"""Jobs on Kubernetes: what its profile submits, run by a stand-in for the cluster's API.

Needs what ``make environment REMOTE=1`` installs, see docs/clusters_cloud.md.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kubernetes_api
import store
from checkout import TINY, Checkout

for package in ("boto3", "moto", "kubernetes", "snakemake_executor_plugin_kubernetes"):
    pytest.importorskip(package, reason="needs make environment REMOTE=1")

IMAGE = "registry.example.org/samedge:1"
RUN = "results/tiny/runs/cifar10/eta0.003_rho0.1_seed0.nc"


@pytest.fixture(scope="module")
def cluster(
    endpoint: str,
    unrun: Checkout,
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[kubernetes_api.Cluster]:
    """Return a cluster that has run one training job and the preparation of its data."""
    folder = tmp_path_factory.mktemp("cluster")
    checkout = unrun.clone(folder / "checkout")
    shutil.copytree(repository / "profiles", checkout.root / "profiles", dirs_exist_ok=True)
    # What git knows of goes to the nodes.
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=checkout.root, check=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    pods = {"PATH": path, "NO_PROXY": "127.0.0.1"} | {
        key: value for key, value in os.environ.items() if key.startswith(("PIP_", "UV_"))
    }
    found = kubernetes_api.Cluster(folder / "pods", pods | store.credentials(endpoint))
    kubeconfig = folder / "kubeconfig"
    kubernetes_api.write_kubeconfig(kubeconfig, found.address)
    try:
        done = checkout.python(
            *("-m", "snakemake", "--nocolor", "--configfile", TINY),
            *("--workflow-profile", "profiles/kubernetes", "--container-image", IMAGE),
            *("--default-storage-prefix", f"s3://{store.BUCKET}", "--retries", "0"),
            *("--seconds-between-status-checks", "1", "--", RUN),
            **store.credentials(endpoint),
            KUBECONFIG=str(kubeconfig),
        )
        assert done.returncode == 0, f"{done.stdout}\n{found.logs()}"
        yield found
    finally:
        found.stop()


def specification(cluster: kubernetes_api.Cluster, rule: str) -> dict:
    """Return the pod of the one job of a rule."""
    pods = [job["spec"]["template"]["spec"] for job in cluster.jobs.values()]
    (found,) = [pod for pod in pods if f"--allowed-rules {rule}" in pod["containers"][0]["args"][1]]
    return found


def test_the_run_is_on_the_store(cluster: kubernetes_api.Cluster, endpoint: str):
    names = {item.key for item in store.bucket(endpoint).objects.all()}
    assert {RUN, "results/tiny/data/cifar10.npz"} <= names
    assert len(cluster.jobs) == 2


def test_training_asks_for_a_gpu_and_its_limits(cluster: kubernetes_api.Cluster):
    pod = specification(cluster, "train_run")
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["nvidia.com/gpu"] == "1"
        assert container["resources"][kind]["memory"] == "16000M"
    assert container["resources"]["limits"]["cpu"] == "4000m"
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["nvidia.com/gpu"]


def test_other_jobs_ask_for_no_gpu(cluster: kubernetes_api.Cluster):
    pod = specification(cluster, "prepare_data")
    assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["requests"]
    assert not pod.get("tolerations")


def test_keys_are_in_a_secret_and_in_no_command(cluster: kubernetes_api.Cluster):
    (secret,) = cluster.secrets.values()
    assert "snakemake_storage_s3_secret_key" in secret["data"]
    for job in cluster.jobs.values():
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert store.KEY not in container["args"][1]
