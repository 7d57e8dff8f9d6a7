"""Results on object storage: a server of the S3 protocol on this machine holds every output.

Needs what ``make environment REMOTE=1`` installs, see docs/remote.md.
"""

import subprocess

import pytest
import xarray as xr

import store
from checkout import Checkout, parse
from samedge.records import files

for package in ("boto3", "moto", "snakemake_storage_plugin_s3"):
    pytest.importorskip(package, reason="needs make environment REMOTE=1")

TIMES = ["training_time", "wall_time"]
RUN = "results/tiny/runs/cifar10/eta0.003_rho0.1_seed0.nc"


@pytest.fixture(scope="module")
def bucket(endpoint: str):
    """Return the bucket in which results are to be."""
    return store.bucket(endpoint)


def run(checkout: Checkout, endpoint: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run Snakemake with all results on the store."""
    options = (*store.OPTIONS, "--resources", "gpu=1", "--cores", "2")
    return checkout.snakemake("--nocolor", *options, *arguments, **store.credentials(endpoint))


@pytest.fixture(scope="module")
def stored(unrun: Checkout, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout whose run of two training jobs has put its results on the store."""
    checkout = unrun.clone(tmp_path_factory.mktemp("storage") / "checkout")
    done = run(checkout, endpoint, "edge_map_cifar10", "results/tiny/supplement/cifar10")
    assert done.returncode == 0, done.stdout
    return checkout


def test_results_are_on_the_store_and_nowhere_else(stored: Checkout, bucket):
    names = {item.key.removeprefix("results/tiny/") for item in bucket.objects.all()}
    assert {
        "data/cifar10.npz",
        "runs/cifar10/eta0.003_rho0.1_seed0.nc",
        "cubes/cifar10.nc",
        "cubes/cifar10.converged.nc",
        "figures/edge_map_cifar10.pdf",
        "supplement/cifar10/index.html",
        "logs/train_run/cifar10/eta0.003_rho0.1_seed0.log",
    } <= names
    # What is of use on the machine of a job alone stays there: compiled programs, checkpoints.
    assert not {name for name in names if name.startswith(("cache/", "checkpoints/"))}
    assert {path.name for path in (stored.root / "results/tiny").iterdir()} == {
        "cache",
        "checkpoints",
    }


def test_the_cube_on_the_store_is_the_local_one(
    stored: Checkout, finished: Checkout, bucket, tmp_path
):
    bucket.download_file("results/tiny/cubes/cifar10.nc", str(tmp_path / "cube.nc"))
    remote, local = (
        files.read_cube(path).drop_vars(TIMES)
        for path in (tmp_path / "cube.nc", finished.result("cubes/cifar10.nc"))
    )
    xr.testing.assert_identical(remote, local)


def test_what_is_on_the_store_is_not_made_again_and_what_is_gone_is(
    stored: Checkout, endpoint: str, bucket
):
    again = run(stored, endpoint, "edge_map_cifar10", "--dry-run")
    assert again.returncode == 0, again.stdout
    assert parse(again.stdout).counts == {}
    bucket.Object(RUN).delete()
    plan = run(stored, endpoint, RUN, "--dry-run")
    assert parse(plan.stdout).counts == {"train_run": 1}
