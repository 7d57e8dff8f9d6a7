"""What a rule lists of the package is what its script imports when it runs for real."""

import json
from pathlib import Path

import pytest

from checkout import MODULES, Checkout

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
AUDITED = "results/tiny/audit/mnist/eta0.1_rho0.1_seed0.json"
# What the whole experiment does not run, or not always, by hand.
BY_HAND = {
    "adopt_runs": ("--source", "none", "--configfile", "config.yaml"),
    "collect_audit": ("--grids", "{}", "--audits", "a", "--csv", "a", "--markdown", "a"),
    "compare_experiments": ("results/tiny", "results/tiny"),
    "download_sample": ("--package", "none", "--output", "none"),
    "redraw": ("--archive", "results/tiny/tiny.zip", "--output", "redrawn"),
}
ASK = """
import json, sys
from pathlib import Path
from samedge.base.imports import PACKAGE, UNRELATED, sources_of
asked = json.loads(sys.argv[1])
listed = [
    sources_of(Path("workflow/scripts", f"{script}.py").resolve(), **components)
    for script, components in asked
]
faces = [path.stem for path in PACKAGE.glob("*.py")]
rooms = [str(path.relative_to(PACKAGE).parent) for path in PACKAGE.rglob("__init__.py")]
print(json.dumps([listed, [*UNRELATED, *faces, *rooms]]))
"""


@pytest.fixture(scope="module")
def ran(finished: Checkout, tmp_path_factory):
    """Return a checkout in which every script has run, each with a record of its imports."""
    there = finished.clone(tmp_path_factory.mktemp("ran") / "ran")
    done = there.snakemake("--cores", "all", "results/tiny/tiny.zip", AUDITED, **there.recording())
    assert done.returncode == 0, done.stdout
    for script, arguments in BY_HAND.items():
        there.script(script, *arguments, **there.recording())
    return there


def components(record, there):
    """Return the components that the arguments of a process name."""
    arguments = dict(zip(record["arguments"], record["arguments"][1:], strict=False))
    if record["script"] == "prepare_data":
        return {"dataset": arguments["--dataset"]}
    if record["script"] == "audit_run":
        from samedge.records.files import read_run

        settings = json.loads(read_run(there.root / arguments["--run"]).attrs["settings"])
    elif record["script"] == "train_run":
        settings = json.loads(arguments["--settings"])
    else:
        return {}
    return {kind: settings[kind]["name"] for kind in ("model", "loss", "update")}


def test_every_script_is_decided_by_no_more_than_its_rule_lists(ran: Checkout):
    records = [json.loads(path.read_text()) for path in (ran.root / MODULES).iterdir()]
    assert {record["script"] for record in records} == {path.stem for path in SCRIPTS.glob("*.py")}
    asked = [(record["script"], components(record, ran)) for record in records]
    done = ran.python("-c", ASK, json.dumps(asked), PYTHONPATH="workflow/scripts")
    assert done.returncode == 0, done.stdout
    listed, unrelated = json.loads(done.stdout)
    for record, files in zip(records, listed, strict=True):
        names = {file.removesuffix(".py").replace("/", ".") for file in files}
        imported = {name.removeprefix("samedge.") for name in record["modules"]} - {"samedge"}
        extra = imported - names - {name.replace("/", ".") for name in unrelated}
        assert not extra, (record["script"], extra)


def test_a_job_imports_no_component_but_its_own(ran: Checkout):
    record = next(
        record
        for path in sorted((ran.root / MODULES).glob("train_run-*.json"))
        if '"mlp"' in (record := json.loads(path.read_text()))["arguments"][1]
    )
    models = {name for name in record["modules"] if name.startswith("samedge.tasks.models.")}
    assert models == {"samedge.tasks.models.mlp"}
