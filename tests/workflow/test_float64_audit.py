"""The float64 audit from the command line: its files, its plans, and what it refuses."""

import csv

import pytest
import yaml

from checkout import NOTHING, TINY, Checkout
from samedge.audit.table import RECORDED, read_audit
from samedge.records import files, parameters

RUN, DIVERGED = "eta0.1_rho0.1_seed0", "eta10000_rho0.1_seed0"
#: The grid of this module: one run that completes and one that diverges before its last check.
SMALL = {
    "tasks": {
        "mnist": {"eta": [0.1, 10000], "rho": [0.1]},
        "cifar10": None,
        "tiny_shakespeare": None,
    }
}
CONFIGURATION = (TINY, "small.yaml")
TABULATED = {"collect_audit": 1, "audit": 1}
AUDITED = {"audit_run": 2, **TABULATED}


@pytest.fixture(scope="module")
def audited(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout in which two runs of the tiny experiment have been audited."""
    checkout = finished.clone(tmp_path_factory.mktemp("workflow") / "audited")
    (checkout.root / "small.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    assert checkout.plan("audit", configfiles=CONFIGURATION).counts == AUDITED
    done = snakemake(checkout, "audit")
    assert done.returncode == 0, done.stdout
    return checkout


@pytest.fixture
def changed(audited: Checkout, tmp_path) -> Checkout:
    """Return a copy of the audited checkout for one test to change."""
    return audited.clone(tmp_path / "changed")


def snakemake(checkout: Checkout, target: str):
    resources = ("--cores", "all", "--resources", "gpu=1")
    return checkout.bare_snakemake(*resources, "--configfile", *CONFIGURATION, "--", target)


def counts(checkout: Checkout):
    return checkout.plan("audit", configfiles=CONFIGURATION).counts


def test_an_audit_holds_the_run_against_float64(audited: Checkout):
    run = files.read_run(audited.result(f"runs/mnist/{RUN}.nc"))
    audit = read_audit(audited.result(f"audit/mnist/{RUN}.json"))
    assert audit.settings.to_json() == run.attrs["settings"]
    assert audit.environment["data_checksum"] == run.attrs["data_checksum"]
    [check] = audit.checks
    assert (check.check, check.step) == (3, 12)
    assert all(check.converged)
    recorded = {f.quantity: f for f in check.findings if f.method == RECORDED}
    at_the_check = run.isel(eta=0, rho=0, seed=0, check=3)
    assert recorded["training_loss"].value == float(at_the_check["training_loss"])
    assert recorded["eigenvalue_1"].value == float(at_the_check["eigenvalue"][0])
    for finding in recorded.values():
        # float32, and eigenvalues to the square of the tolerance or better.
        assert finding.error < 1e-3, finding


def test_a_run_that_diverged_before_is_audited_as_such(audited: Checkout):
    path = audited.result(f"parameters/mnist/{DIVERGED}.nc")
    assert parameters.read_parameters(path).kept == ()
    assert read_audit(audited.result(f"audit/mnist/{DIVERGED}.json")).checks == ()
    table = audited.result("audit/errors.md").read_text(encoding="utf-8")
    assert "2 runs, 1 checks, on cpu; 3 of 3 eigenpairs certified in float64." in table
    assert "Diverged before a check to audit: 1 of the runs." in table
    assert "not run on a GPU" in table
    with audited.result("audit/errors.csv").open(encoding="utf-8") as file:
        assert {(row["eta"], row["step"]) for row in csv.DictReader(file)} == {("0.1", "12")}


def test_nothing_is_left_to_do(audited: Checkout):
    assert audited.plan("audit", configfiles=CONFIGURATION) == NOTHING


@pytest.mark.parametrize(
    ("edited", "again"),
    [
        ("audit/float64.py", AUDITED),
        ("audit/table.py", AUDITED),
        ("records/parameters.py", {"train_run": 2, **AUDITED}),
        ("figures/paper.py", {}),
    ],
)
def test_an_edited_file(changed: Checkout, edited, again):
    with changed.module(edited).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert counts(changed) == again


def test_parameters_that_were_deleted_are_needed_for_another_audit_only(changed: Checkout):
    changed.result(f"parameters/mnist/{RUN}.nc").unlink()
    assert counts(changed) == {}
    changed.result(f"audit/mnist/{RUN}.json").unlink()
    assert counts(changed) == {"train_run": 1, "audit_run": 1, **TABULATED}


def test_parameters_that_are_damaged_are_named(changed: Checkout):
    path = changed.result(f"parameters/mnist/{RUN}.nc")
    path.write_bytes(path.read_bytes()[:-1000])
    done = snakemake(changed, f"results/tiny/audit/mnist/{RUN}.json")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" not in done.stdout
    assert f"parameters/mnist/{RUN}.nc: truncated" in done.stdout
    assert not changed.result(f"audit/mnist/{RUN}.json").exists()


def test_parameters_that_no_audit_asks_for_are_refused(finished: Checkout, tmp_path):
    done = finished.script(
        "train_run",
        *("--configfile", "config.yaml", "--task", "mnist", "--eta", 0.1, "--rho", 0.1),
        *("--data", "none.npz", "--output", tmp_path / "run.nc"),
        *("--parameters", tmp_path / "parameters.nc"),
    )
    assert done.returncode == 1
    assert "error: --parameters: audit.at is empty" in done.stdout
