"""Audit files and the table of float32 errors."""

import csv
import io
import json
import math

import numpy as np
import pytest

from samedge.audit import table as audit_table
from samedge.audit.table import Audit, AuditedCheck, Finding
from samedge.base.errors import UserError
from synthetic import ENVIRONMENT, grid_settings, run_settings

RECORDED, EXACT = audit_table.RECORDED, audit_table.EXACT


def audited_check(errors, check=3, tensorfloat32=False):
    """Return a check with one error of the loss and one of the first eigenvalue."""
    loss, eigenvalue = errors
    findings = [
        Finding.of("training_loss", RECORDED, 2 * (1 + loss), 2.0),
        Finding.of("eigenvalue_1", RECORDED, -8 * (1 + eigenvalue), -8.0, residual=eigenvalue / 2),
        Finding.of("smallest_eigenvalue", RECORDED, -8 * (1 + eigenvalue), -8.0, scale=8.0),
        Finding.of("eigenvalue_1", EXACT, -8.0, -8.0, residual=1e-7),
        Finding.of("eigenvalue_1", audit_table.FINITE_DIFFERENCE, -6.0, -8.0, residual=0.5),
    ]
    if tensorfloat32:
        findings.append(Finding.of("training_loss", audit_table.TENSORFLOAT32, 2.02, 2.0))
    return AuditedCheck(
        check, 10 * check, (-8.0, 4.0), (1e-9, 1e-7), (True, False), 50, tuple(findings)
    )


def audit_of(settings, *checks):
    return Audit(settings, dict(ENVIRONMENT), 1e-8, 1e-3, checks)


def rows(markdown):
    """Return the cells of every row of a table, by the name at its head, in order."""
    found = {}
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("`"):
            found.setdefault(cells[0].strip("`"), []).append(cells[1:])
    return found


def test_errors_are_relative_to_the_exact_value_or_to_the_scale():
    assert Finding.of("training_loss", RECORDED, 1.5, -2.0).error == 3.5 / 2
    assert Finding.of("smallest_eigenvalue", RECORDED, 0.5, 0.25, scale=100.0).error == 0.0025
    assert Finding.of("training_loss", RECORDED, 0.0, 0.0).error == 0.0
    assert Finding.of("training_loss", RECORDED, 1e-9, 0.0).error == math.inf
    assert math.isnan(Finding.of("training_loss", RECORDED, math.nan, 1.0).error)


@pytest.mark.parametrize(
    ("exact", "error"), [(-8.0, 0), (-8.3, 0), (-8.5, 0), (-7.9, 0.01), (-8.7, 0.02), (3.0, 1.1)]
)
def test_an_end_is_off_by_how_far_it_lies_outside_of_its_interval(exact, error):
    found = Finding.of("smallest_eigenvalue", RECORDED, -8.0, exact, scale=10.0, bound=-8.5)
    assert found.error == pytest.approx(error)
    mirrored = Finding.of("largest_eigenvalue", RECORDED, 8.0, -exact, scale=10.0, bound=8.5)
    assert mirrored.error == pytest.approx(error)
    unbounded = Finding.of("smallest_eigenvalue", RECORDED, -8.0, exact, scale=10.0)
    assert unbounded.error == pytest.approx(abs(-8.0 - exact) / 10)


def test_the_worst_finding_is_of_that_method_and_not_a_number_is_worst():
    check = audited_check((1e-6, 1e-4))
    assert check.worst(RECORDED).quantity == "eigenvalue_1"
    broken = audited_check((math.nan, 1e-4))
    assert broken.worst(RECORDED).quantity == "training_loss"


def test_what_is_read_is_what_was_written(tmp_path):
    path = tmp_path / "audits/mnist/run.json"
    audit = audit_of(run_settings(), audited_check((1e-6, 1e-4)), audited_check((0.0, 0.5)))
    audit_table.write_audit(audit, path)
    # Not-a-number is not equal to itself, its spelling is.
    assert repr(audit_table.read_audit(path)) == repr(audit)
    # Any reader of JSON can read it: it has no spelling of not-a-number or infinity.
    json.loads(path.read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("damage", ["missing", "truncated", "other", "key"])
def test_a_file_that_is_no_audit_is_refused(tmp_path, damage):
    path = tmp_path / "run.json"
    audit_table.write_audit(audit_of(run_settings(), audited_check((1e-6, 1e-4))), path)
    content = json.loads(path.read_text())
    message = "no audit of samedge, or damaged"
    match damage:
        case "missing":
            path.unlink()
            message = "no such file; the rule audit_run writes it"
        case "truncated":
            path.write_text(path.read_text()[:-20])
        case "other":
            path.write_text("[]")
        case "key":
            del content["checks"][0]["findings"][0]["error"]
            path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        audit_table.read_audit(path)


def test_every_audit_that_cannot_be_used_is_named(tmp_path):
    good, missing, foreign = grid_settings(eta=["0.1"], rho=["0", "0.1", "0.3"])
    for run, written in ((good, good), (foreign, run_settings(seed=7))):
        path = tmp_path / run.task / f"{run.name}.json"
        audit_table.write_audit(audit_of(written), path)
    with pytest.raises(UserError) as caught:
        audit_table.read_audits([good, missing, foreign], tmp_path)
    _, first, second = str(caught.value).splitlines()
    assert f"{missing.name}.json: no such file" in first
    assert f"{foreign.name}.json: of other settings" in second
    [audit] = audit_table.read_audits([good], tmp_path)
    assert audit.settings == good


def test_the_csv_holds_every_finding():
    audits = [
        audit_of(run, audited_check((1e-6, 1e-4), check=number))
        for number, run in enumerate(grid_settings(eta=["0.1", "0.3"], rho=["0.1"]))
    ]
    table = list(csv.DictReader(io.StringIO(audit_table.errors_csv(audits))))
    findings = [
        (audit, check, finding)
        for audit in audits
        for check in audit.checks
        for finding in check.findings
    ]
    for row, (audit, check, finding) in zip(table, findings, strict=True):
        assert (row["task"], row["eta"], row["rho"]) == ("mnist", audit.settings.eta, "0.1")
        assert (int(row["check"]), int(row["step"])) == (check.check, check.step)
        assert (row["quantity"], row["method"]) == (finding.quantity, finding.method)
        assert (float(row["value"]), float(row["exact"])) == (finding.value, finding.exact)
        assert float(row["error"]) == finding.error
        assert row["residual"] == ("" if math.isnan(finding.residual) else str(finding.residual))


def test_the_table_states_median_and_worst_per_task():
    losses, eigenvalues = [1e-6, 3e-6, 8e-6], [2e-4, 4e-3, 1e-4]
    audits = [
        audit_of(run_settings(rho=rho), audited_check(errors))
        for rho, errors in zip(
            ["0", "0.1", "0.3"], zip(losses, eigenvalues, strict=True), strict=True
        )
    ]
    audits.append(audit_of(run_settings(rho="1.0")))
    other = audit_of(run_settings("cifar10"), audited_check((0.5, 0.5)))
    text = audit_table.errors_markdown([*audits, other])
    mnist, cifar10 = text.split("## cifar10")
    assert "residual\nof 1e-08 of the operator norm" in mnist
    assert "step of 0.001" in mnist
    assert "4 runs, 3 checks, on cpu; 3 of 6 eigenpairs certified in float64." in mnist
    assert "Diverged before a check to audit: 1 of the runs." in mnist
    [loss], [error, residual] = (rows(mnist)[name] for name in ("training_loss", "eigenvalue_1"))
    assert loss == ["3.0e-06 (8.0e-06)", "–", "–", audit_table.NO_GPU]
    assert error == [
        "2.0e-04 (4.0e-03)",
        "0.0e+00 (0.0e+00)",
        "2.5e-01 (2.5e-01)",
        "not run on a GPU",
    ]
    assert residual[:3] == ["1.0e-04 (2.0e-03)", "1.0e-07 (1.0e-07)", "5.0e-01 (5.0e-01)"]
    assert rows(cifar10)["training_loss"][0][0] == "5.0e-01 (5.0e-01)"


def test_the_table_of_an_audit_on_a_gpu_has_tensorfloat32():
    audit = audit_of(run_settings(), audited_check((1e-6, 1e-4), tensorfloat32=True))
    text = audit_table.errors_markdown([audit])
    assert audit_table.NO_GPU not in text
    assert rows(text)["training_loss"][0][3] == "1.0e-02 (1.0e-02)"


def test_a_value_that_is_not_finite_is_worst(tmp_path):
    audits = [audit_of(run_settings(), audited_check((e, 1e-4))) for e in (1e-6, np.nan, 1e-6)]
    assert rows(audit_table.errors_markdown(audits))["training_loss"][0][0] == "nan (nan)"


def test_a_task_whose_runs_all_diverged_before_says_so():
    text = audit_table.errors_markdown([audit_of(run_settings(rho=rho)) for rho in ("0", "0.1")])
    assert "2 runs, none of which kept parameters before it ended." in text


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_infinite_is_read_as_infinite(tmp_path, value):
    findings = (
        Finding("training_loss", RECORDED, value, 0.0, abs(value)),
        Finding("eigenvalue_1", RECORDED, 1.0, 1.0, 0.0, residual=abs(value)),
    )
    check = AuditedCheck(0, 0, (value, 1.0), (abs(value), 0.0), (False, True), 5, findings)
    audit = audit_of(run_settings(), check)
    audit_table.write_audit(audit, tmp_path / "run.json")
    read = audit_table.read_audit(tmp_path / "run.json")
    assert repr(read) == repr(audit)
    json.loads((tmp_path / "run.json").read_text(), parse_constant=pytest.fail)
    table = audit_table.errors_markdown([read])
    spelled = "nan" if math.isnan(value) else "∞"
    assert rows(table)["training_loss"][0][0] == f"{spelled} ({spelled})"
    assert rows(table)["eigenvalue_1"][1][0] == f"{spelled} ({spelled})"
