"""What the workflow would do again after a change, read from its plan."""

import pytest

from checkout import NOTHING, Checkout

MNIST = {("mnist", eta, rho, "0") for eta in ("0.1", "10000") for rho in ("0", "0.1")}
CIFAR10 = {("cifar10", "0.003", rho, "0") for rho in ("0", "0.1")}
TINY_SHAKESPEARE = {("tiny_shakespeare", "0.1", rho, "0") for rho in ("0", "0.3")}
ALL_RUNS = MNIST | CIFAR10 | TINY_SHAKESPEARE
SCRIPTS = "workflow/scripts"
PACKAGE = f"{SCRIPTS}/samedge"

TIMED = {"plot_figure": 16, "plot_task_figure": 3, "plot_supplement": 3, "all": 1}
STYLED = {**TIMED, "plot_density": 3, "plot_edge_map": 3, "judge_claims": 1}
DRAWN = {**STYLED, "write_explorer": 1}
JUDGED = {"judge_claims": 1, "plot_edge_map": 3, "write_explorer": 1, "all": 1}
# Figure 1 is a formula: it does not hang on any run.
COLLECTED = {**DRAWN, "plot_figure": 15, "collect_runs": 3, "filter_diverged": 3}
TRAINED = {**COLLECTED, "train_run": 8}
ONE_TASK = {
    "collect_runs": 1,
    "filter_diverged": 1,
    "plot_figure": 5,
    "plot_task_figure": 1,
    "plot_density": 1,
    "plot_supplement": 1,
    "plot_edge_map": 1,
    "judge_claims": 1,
    "write_explorer": 1,
    "all": 1,
}


@pytest.mark.parametrize("targets", [(), ("figure_04", "supplement")], ids=["all", "named"])
def test_nothing_is_left_to_do(finished: Checkout, targets):
    assert finished.plan(*targets) == NOTHING


@pytest.mark.parametrize(
    ("edited", "again"),
    [
        (f"{PACKAGE}/figures/style.mplstyle", STYLED),
        (f"{PACKAGE}/figures/paper.py", STYLED),
        (f"{PACKAGE}/figures/panels.py", DRAWN),
        (f"{PACKAGE}/figures/supplement.py", {"plot_supplement": 3, "all": 1}),
        (f"{SCRIPTS}/plot_figure.py", {"plot_figure": 16, "plot_task_figure": 3, "all": 1}),
        (f"{SCRIPTS}/plot_density.py", {"plot_density": 3, "all": 1}),
        (f"{PACKAGE}/figures/spectra/density.py", {"plot_density": 3, "all": 1}),
        (f"{PACKAGE}/analysis/claims.toml", {"judge_claims": 1, "all": 1}),
        # Figures draw by them too: what is held against Proposition 3's bounds.
        (f"{PACKAGE}/analysis/quantities.py", DRAWN),
        (f"{PACKAGE}/analysis/statistics.py", JUDGED),
        (f"{PACKAGE}/records/describe.py", DRAWN),
        (f"{PACKAGE}/records/schema.py", {**TRAINED, "plot_figure": 16}),
        (f"{PACKAGE}/explorer/explorer_map.js", {"write_explorer": 1, "all": 1}),
        (f"{SCRIPTS}/collect_runs.py", COLLECTED),
        (f"{PACKAGE}/updates/rule.py", TRAINED),
        (f"{PACKAGE}/updates/rules/sam.py", TRAINED),
        (f"{PACKAGE}/tasks/models/cnn.py", {**ONE_TASK, "train_run": 2}),
        (f"{PACKAGE}/tasks/losses/cross_entropy.py", {**ONE_TASK, "train_run": 2}),
        (f"{PACKAGE}/data/sets/own_datasets.py", {**TRAINED, "prepare_data": 3}),
        (f"{PACKAGE}/curvature/eigenpairs.py", TRAINED),
        (f"{PACKAGE}/curvature/density.py", TRAINED),
        (f"{PACKAGE}/data/prepare.py", {**TRAINED, "prepare_data": 3}),
    ],
    ids=lambda value: value.rsplit("/", 1)[-1] if isinstance(value, str) else "",
)
def test_an_edited_file(changeable: Checkout, edited, again):
    edit(changeable, edited)
    assert changeable.plan().counts == again


def test_edited_files_that_change_nothing(changeable: Checkout):
    """All at once: were one of them to change anything, something would be planned."""
    edited = (
        # Runs have the component that their settings name, and no other.
        "updates/rules/unnormalized_sam.py",
        "data/sets/mnist.py",
        # What words errors, or reads and checks the configuration.
        "base/errors.py",
        "config/messages.py",
        "config/experiment.py",
        "config/schema.yaml",
        # What tells how far a run is.
        "base/process.py",
        "records/progress/lines.py",
        "training/observers/progress.py",
    )
    for name in edited:
        edit(changeable, f"{PACKAGE}/{name}")
    assert changeable.plan() == NOTHING


def edit(checkout: Checkout, name: str) -> None:
    """Add a comment to a file."""
    with (checkout.root / name).open("a", encoding="utf-8") as file:
        file.write("\n# edited\n")


def test_a_touched_file_that_reads_as_before(changeable: Checkout):
    changeable.module("updates/rule.py").touch()
    changeable.module("figures/style.mplstyle").touch()
    assert changeable.plan() == NOTHING


def test_one_figure_after_an_edit(changeable: Checkout):
    with changeable.module("updates/rule.py").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    plan = changeable.plan("figure_04")
    assert plan.counts == {"train_run": 4, "collect_runs": 1, "plot_figure": 1, "figure_04": 1}
    assert plan.runs == MNIST


@pytest.mark.parametrize(
    ("changes", "again", "runs"),
    [
        (
            {"tasks": {"mnist": {"eta": [0.1, "2e-1", 10000]}}},
            ONE_TASK,
            {("mnist", "0.2", "0", "0"), ("mnist", "0.2", "0.1", "0")},
        ),
        ({"tasks": {"mnist": {"eta": [0.1]}}}, ONE_TASK, set()),
        ({"tasks": {"cifar10": {"budget": {"steps": 5}}}}, ONE_TASK, CIFAR10),
        ({"seeds": [0, 1]}, COLLECTED, {(*run[:3], "1") for run in ALL_RUNS}),
        ({"curvature": {"tolerance": 0.01}}, COLLECTED, ALL_RUNS),
        ({"density": {"probes": 3}}, COLLECTED, ALL_RUNS),
        ({"figures": {"time_axis": "step"}}, TIMED, set()),
        (
            # All at once: a number spelled otherwise, and what no result depends on.
            {
                "tasks": {"mnist": {"eta": ["1e-1", 10000]}},
                "compilation_cache": "elsewhere",
                "checkpoints": {"minutes": 0.5, "steps": 7},
                "jobs_per_gpu": 2,
            },
            {},
            set(),
        ),
    ],
    ids=["eta", "fewer", "budget", "seed", "tolerance", "probes", "axis", "nothing"],
)
def test_a_changed_configuration(changeable: Checkout, changes, again, runs):
    plan = changeable.plan(changes=changes)
    if runs:
        again = again | {"train_run": len(runs)}
    assert plan.counts == again
    assert plan.runs == runs


def test_data_of_another_size(changeable: Checkout):
    plan = changeable.plan(changes={"tasks": {"mnist": {"dataset": {"train_examples": 30}}}})
    assert plan.counts == {**ONE_TASK, "prepare_data": 1, "train_run": 4}
    assert plan.prepared == {"mnist"}
    assert plan.runs == MNIST


def test_another_experiment_starts_anew(finished: Checkout, changeable: Checkout):
    plan = changeable.plan(changes={"experiment": "other"})
    assert plan.counts == {**TRAINED, "plot_figure": 16, "prepare_data": 3}
    assert finished.plan() == NOTHING


def test_a_deleted_run(changeable: Checkout):
    changeable.result("runs/mnist/eta0.1_rho0.1_seed0.nc").unlink()
    plan = changeable.plan()
    assert plan.counts == {**ONE_TASK, "train_run": 1}
    assert plan.runs == {("mnist", "0.1", "0.1", "0")}
