"""Every script, run for real: on a terminal that knows ASCII only, and what each imports then."""

import json
from pathlib import Path

import pytest

from checkout import MODULES, TINY, Checkout
from samedge.records import files

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
RHO = {"mnist": "0.1", "cifar10": "0.1", "tiny_shakespeare": "0.3"}
RUN = "eta0.1_rho0.1_seed0.nc"
CONFIG = {
    "experiment": "tiny",
    "figures": {"time_axis": "step"},
    "tasks": {task: {"figure_rho": float(rho)} for task, rho in RHO.items()},
}

FILES = ("--output-pdf", "none", "--output-png", "none")
# Those that need what is not here: they end with a message, and have imported all by then.
NO_NETWORK = {
    "adopt_runs": ("--source", "none", "--configfile", "config.yaml"),
    "collect_audit": ("--grids", "{}", "--audits", "a", "--csv", "a", "--markdown", "a"),
    "download_sample": ("--package", "none", "--output", "none"),
    "plot_blocks": ("--cube", "none", "--rho", "0", *FILES),
    "plot_stochastic": ("--cube", "none", "--rho", "0", *FILES),
    "plot_way": ("--cube", "none", "--rho", "0", *FILES),
    "plot_family": ("--cubes", "none", "--along", "step", "--name", "one", *FILES),
}
# Asks the checkout's own package which files decide scripts and their components.
ASK = """
import json, sys
from pathlib import Path
from samedge.base.imports import PACKAGE, UNRELATED, sources_of
listed = [
    sources_of(Path("workflow/scripts", f"{script}.py").resolve(), **components)
    for script, components in json.loads(sys.argv[1])
]
faces = [path.stem for path in PACKAGE.glob("*.py")]
rooms = [str(path.relative_to(PACKAGE).parent) for path in PACKAGE.rglob("__init__.py")]
print(json.dumps([listed, [*UNRELATED, *faces, *rooms]]))
"""


def pair(folder: Path, name: str) -> tuple[str, ...]:
    """Return the arguments that name both files of a figure."""
    return (
        "--output-pdf",
        str(folder / f"{name}.pdf"),
        "--output-png",
        str(folder / f"{name}.png"),
    )


def commands(checkout: Checkout, folder: Path) -> dict[str, tuple[object, ...]]:
    """Return the arguments of the scripts that need no network, in an order to run them in."""
    cube, data = checkout.result("cubes/mnist.nc"), checkout.result("data/mnist.npz")
    cubes = [checkout.result(f"cubes/{task}.nc") for task in RHO]
    grid = files.read_cube(cube).attrs["settings"]
    compiled = ("--cache", "results/tiny/cache/jax", "--device", "cpu")
    by_hand = ("--task", "mnist", "--eta", "0.1", "--rho", "0.1")
    examples = ("--train-examples", 40, "--test-examples", 20)
    kept = folder / "parameters.nc"
    return {
        "prepare_data": (
            *("--dataset", "own_digits", "--source", "sample", *examples),
            *("--output", folder / "mnist.npz"),
        ),
        "train_run": (
            *("--configfile", "config.yaml", TINY, *by_hand, *compiled),
            *("--data", data, "--output", folder / RUN, "--parameters", kept),
        ),
        "audit_run": (
            *("--run", folder / RUN, "--parameters", kept, "--data", data, *compiled),
            *("--output", folder / "audit.json"),
        ),
        "collect_runs": (
            *("--grid", grid, "--runs", checkout.result("runs/mnist")),
            *("--output", folder / "cube.nc"),
        ),
        "filter_diverged": ("--input", folder / "cube.nc", "--output", folder / "filtered.nc"),
        "plot_figure": ("--number", 4, "--cube", cube, "--rho", "0.1", *pair(folder, "figure_04")),
        "plot_density": ("--cube", cube, "--rho", "0.1", *pair(folder, "density")),
        "plot_edge_map": ("--cube", cube, *pair(folder, "map")),
        "plot_supplement": ("--cube", folder / "filtered.nc", "--output", folder / "supplement"),
        "judge_claims": (
            *("--cubes", *cubes, "--rho", *RHO.values(), *pair(folder, "claims")),
            *("--csv", folder / "claims.csv", "--json", folder / "claims.json"),
        ),
        "write_explorer": ("--cubes", *cubes, "--output", folder / "explorer.html"),
        "compare_experiments": (cube, folder / "cube.nc"),
        "pack_experiment": (
            *("--config", json.dumps(CONFIG), "--cubes", *cubes, "--date", "2024-06-01"),
            *("--files", folder / "claims.csv", "--output", folder / "tiny.zip"),
        ),
        "redraw": (
            *("--archive", folder / "tiny.zip", "--output", folder / "redrawn", "--figure", "04"),
        ),
    }


@pytest.fixture(scope="module")
def ran(finished: Checkout, tmp_path_factory):
    """Run every script; return what each said, and the folder of records of what it imported."""
    folder, records = tmp_path_factory.mktemp("ran"), tmp_path_factory.mktemp("records")
    environment = ASCII | finished.recording(records)
    outputs = {}
    for script, arguments in commands(finished, folder).items():
        done = finished.script(script, *arguments, **environment)
        assert done.returncode == 0, f"{script}: {done.stdout}"
        outputs[script] = done.stdout
    for script, arguments in NO_NETWORK.items():
        finished.script(script, *arguments, **environment)
    return outputs, records


def test_no_text_ends_a_script(ran):
    outputs, _ = ran
    assert all(output.isascii() for output in outputs.values())
    assert "\\u03bb1/edge" in outputs["train_run"] and "\\u03bb1" in outputs["audit_run"]


@pytest.mark.parametrize("script", ["train_run", "redraw"])
def test_help_is_shown(finished: Checkout, script):
    done = finished.script(script, "--help", **ASCII)
    assert (done.returncode, done.stdout.isascii()) == (0, True), done.stdout


def test_a_message_of_snakemake_is_shown(unrun: Checkout):
    for environment in (ASCII, {"PYTHONIOENCODING": "ascii"}):
        done = unrun.snakemake("--dry-run", "--config", "experiment=\u03bb", **environment)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout
        assert 'experiment: found "' in done.stdout and "is not allowed" in done.stdout


def components(record, root):
    """Return the components that the arguments of a process name."""
    arguments = dict(zip(record["arguments"], record["arguments"][1:], strict=False))
    if record["script"] == "prepare_data":
        return {"dataset": arguments["--dataset"]}
    if record["script"] not in ("audit_run", "train_run"):
        return {}
    if "--grid" in arguments:
        settings = json.loads(arguments["--grid"])
    else:
        run = arguments.get("--run", arguments["--output"])
        settings = json.loads(files.read_run(root / run).attrs["settings"])
    named = {sort: settings[sort]["name"] for sort in ("model", "loss", "update")}
    return {"kind": settings["kind"], **named}


def test_a_script_imports_no_more_than_its_rule_lists(ran, finished: Checkout):
    """Those here and those of the workflow, where each training job has a model of its task."""
    _, folder = ran
    paths = [*folder.iterdir(), *(finished.root / MODULES).iterdir()]
    records = [json.loads(path.read_text()) for path in paths]
    scripts = {path.stem for path in (finished.root / "workflow/scripts").glob("*.py")}
    assert {record["script"] for record in records} == scripts
    asked = [(record["script"], components(record, finished.root)) for record in records]
    done = finished.python("-c", ASK, json.dumps(asked), PYTHONPATH="workflow/scripts")
    assert done.returncode == 0, done.stdout
    listed, unrelated = json.loads(done.stdout)
    unrelated = {name.replace("/", ".") for name in unrelated} | {"samedge"}
    for record, names in zip(records, listed, strict=True):
        known = {name.removesuffix(".py").replace("/", ".") for name in names} | unrelated
        imported = {name.removeprefix("samedge.") for name in record["modules"]}
        assert imported <= known, (record["script"], imported - known)


def test_a_job_imports_no_component_but_its_own(finished: Checkout):
    records = [json.loads(path.read_text()) for path in (finished.root / MODULES).iterdir()]
    models = {
        (components(record, finished.root)["model"], name)
        for record in records
        if record["script"] == "train_run"
        for name in record["modules"]
        if name.startswith("samedge.tasks.models.")
    }
    names = ("mlp", "cnn", "transformer")
    assert models == {(name, f"samedge.tasks.models.{name}") for name in names}
