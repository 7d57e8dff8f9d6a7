"""What the workflow would do, before anything has run."""

import pytest

from checkout import WITHOUT_JAX, Checkout
from samedge.config.paper_figures import FIGURES

PER_TASK = {"collect_runs": 3, "filter_diverged": 3, "plot_supplement": 3, "prepare_data": 3}
BEYOND = {"plot_edge_map": 3, "judge_claims": 1, "write_explorer": 1}
DRAWN = {"plot_figure": 16, "plot_task_figure": 3, "plot_density": 3}
WHOLE = {**PER_TASK, **BEYOND, **DRAWN, "all": 1}
GRIDS = {"mnist": 12, "cifar10": 16, "tiny_shakespeare": 24}


@pytest.mark.parametrize(
    ("configfiles", "runs", "others"),
    [
        ((), {"mnist": 6, "cifar10": 6, "tiny_shakespeare": 6}, {"download_sample": 3}),
        (("config/laptop.yaml",), GRIDS, {"plot_task_figure": 27}),
        (("config/paper.yaml",), GRIDS, {"plot_task_figure": 27}),
    ],
    ids=["default", "laptop", "paper"],
)
def test_whole_experiments(unrun: Checkout, configfiles, runs, others):
    plan = unrun.plan(configfiles=configfiles)
    assert plan.counts == WHOLE | others | {"train_run": sum(runs.values())}
    for task, count in runs.items():
        assert len({run for run in plan.runs if run[0] == task}) == count
    assert plan.figures == set(FIGURES)


@pytest.mark.parametrize(
    ("target", "number", "task", "runs"),
    [
        ("figure_01", 1, "", 0),
        ("figure_04", 4, "mnist", 12),
        ("results/paper/figures/figure_11.pdf", 11, "cifar10", 16),
        ("figure_12", 12, "tiny_shakespeare", 24),
    ],
)
def test_one_figure_plans_what_it_needs(unrun: Checkout, target, number, task, runs):
    plan = unrun.plan(target, configfiles=("config/paper.yaml",))
    needed = {"prepare_data": 1, "train_run": runs, "collect_runs": 1} if task else {}
    named = {} if "/" in target else {target: 1}
    assert plan.counts == needed | {"plot_figure": 1} | named
    assert plan.figures == {number}
    assert {run[0] for run in plan.runs} == plan.prepared == plan.collected == {task} - {""}


@pytest.mark.parametrize(
    ("target", "figures"),
    [("eigenvalues_mnist", 4), ("zoom_mnist", 3), ("loss_mnist", 3), ("alignment_mnist", 4)],
)
def test_figures_of_a_task_need_its_cube_and_are_drawn_at_each_radius(unrun, target, figures):
    plan = unrun.plan(target, configfiles=("config/paper.yaml",))
    needed = {"prepare_data": 1, "train_run": 12, "collect_runs": 1}
    assert plan.counts == needed | {"plot_task_figure": figures, target: 1}
    assert plan.collected == {"mnist"}


@pytest.mark.parametrize("target", ["density_cifar10", "results/paper/figures/density_cifar10.png"])
def test_a_density_plans_what_it_needs(unrun: Checkout, target):
    plan = unrun.plan(target, configfiles=("config/paper.yaml",))
    named = {} if "/" in target else {target: 1}
    needed = {"prepare_data": 1, "train_run": 16, "collect_runs": 1, "plot_density": 1}
    assert plan.counts == needed | named
    assert {run[0] for run in plan.runs} == plan.collected == {"cifar10"}


FORK = {
    "kind": "images",
    "dataset": {"name": "own_digits", "train_examples": 40, "test_examples": 20},
    "model": {"name": "mlp", "settings": {"depth": 3, "width": 8}},
    "loss": {"name": "squared_error"},
    "update": {"name": "sam", "epsilon": 1.0e-5},
    "batch_size": None,
    "microbatch": None,
    "eta": [0.5],
    "rho": [0, 0.1],
    "figure_rho": 0.1,
    "budget": {"steps": 600, "hours": None},
    "checks": {"spacing": "even", "count": 7, "minutes": None},
    "start_from": {"task": "mnist", "at": 0.5, "eta": 0.1},
}


def test_a_fork_is_planned_after_the_runs_that_it_starts_from(unrun: Checkout):
    """All runs of the other task keep their states; a fork needs two of them."""
    tasks = {"cifar10": None, "tiny_shakespeare": None, "fork": FORK}
    plan = unrun.plan("results/tiny/cubes/fork.nc", changes={"tasks": tasks})
    needed = {"train_parent_mnist": 2, "train_run": 2, "collect_runs": 1}
    assert {name: plan.counts.get(name) for name in needed} == needed
    plan = unrun.plan(changes={"tasks": tasks})
    assert plan.counts["train_parent_mnist"] == 4 and plan.counts["train_run"] == 2


def test_a_family_is_drawn_after_the_cubes_of_its_tasks(unrun: Checkout):
    families = {"both": {"tasks": ["mnist", "cifar10"], "along": "step"}}
    plan = unrun.plan("family_both", changes={"families": families})
    assert plan.collected == {"mnist", "cifar10"} and plan.counts["plot_family"] == 1
    assert unrun.plan(changes={"families": families}).counts["plot_family"] == 1


@pytest.mark.parametrize(
    ("name", "asked"),
    [("way", {"at": [1]}), ("blocks", {"at": [1]}), ("stochastic", {"batches": 4})],
)
def test_blocks_and_minibatches_are_drawn_where_they_are_measured(unrun: Checkout, name, asked):
    plan = unrun.plan(changes={name: asked})
    assert plan.counts == {**WHOLE, "train_run": 8, f"plot_{name}": 3}
    plan = unrun.plan(f"{name}_mnist", changes={name: asked})
    assert plan.counts[f"plot_{name}"] == 1 and plan.collected == {"mnist"}


def test_without_densities_none_is_drawn(unrun: Checkout):
    plan = unrun.plan(changes={"density": {"at": []}})
    expected = {**WHOLE, "train_run": 8}
    del expected["plot_density"]
    assert plan.counts == expected


def test_seeds_can_be_given_on_the_command_line(unrun: Checkout):
    plan = unrun.plan("--config", "seeds=[0,7]")
    assert {seed for *_, seed in plan.runs} == {"0", "7"}


def test_null_can_be_given_on_the_command_line(unrun: Checkout):
    tasks = "tasks={mnist: {microbatch: null}, tiny_shakespeare: null}"
    plan = unrun.plan("--config", tasks, "compilation_cache=null")
    assert plan.collected == {"mnist", "cifar10"}


def test_a_thousand_runs_are_planned(unrun: Checkout):
    grid = {
        "eta": [round(0.01 * number, 2) for number in range(1, 11)],
        "rho": [round(0.1 * number, 1) for number in range(10)],
    }
    others = {"cifar10": None, "tiny_shakespeare": None}
    changes = {"seeds": list(range(10)), "density": {"at": []}, "tasks": {"mnist": grid, **others}}
    plan = unrun.plan(changes=changes)
    assert plan.counts["train_run"] == len(plan.runs) == 1000
    assert plan.counts["collect_runs"] == plan.counts["write_explorer"] == 1
    assert sum(plan.counts.values()) == 1000 + 14 + 33


def test_an_audit_draws_no_figure_and_needs_no_cube(unrun: Checkout):
    plan = unrun.plan("audit")
    assert plan.counts == {
        "prepare_data": 3,
        "train_run": 8,
        "audit_run": 8,
        "collect_audit": 1,
        "audit": 1,
    }


@pytest.mark.parametrize(
    ("target", "rule", "tasks"),
    [
        ("claims", "judge_claims", 3),
        ("explorer", "write_explorer", 3),
        ("edge_map_mnist", "plot_edge_map", 1),
    ],
)
def test_what_goes_beyond_the_paper_needs_cubes_alone(unrun: Checkout, target, rule, tasks):
    counts = unrun.plan(target).counts
    assert counts[rule] == 1 and counts["collect_runs"] == tasks
    assert not {*DRAWN, "plot_supplement"} & counts.keys()


def test_an_archive_needs_cubes_and_figures(unrun: Checkout):
    plan = unrun.plan("archive")
    assert plan.counts == {
        "prepare_data": 3,
        "train_run": 8,
        "collect_runs": 3,
        **DRAWN,
        **BEYOND,
        "pack_experiment": 1,
        "archive": 1,
    }


def test_an_archive_without_densities(unrun: Checkout):
    plan = unrun.plan("archive", changes={"density": {"at": []}})
    assert "plot_density" not in plan.counts


def test_supplement_draws_no_figure(unrun: Checkout):
    plan = unrun.plan("supplement")
    assert plan.counts == {**PER_TASK, "train_run": 8, "supplement": 1}


def test_planning_needs_no_jax(unrun: Checkout):
    assert unrun.python("-c", "import jax", **WITHOUT_JAX).returncode == 1
    assert unrun.plan(**WITHOUT_JAX).counts == WHOLE | {"train_run": 8}


def test_figures_without_their_task_or_radius_are_left_out(unrun: Checkout):
    changes = {"tasks": {"mnist": {"rho": [0.1]}, "cifar10": None}}
    plan = unrun.plan(changes=changes)
    assert plan.figures == {1, 3, 4, 6, 12, 13, 14, 15, 16}
    assert plan.collected == {"mnist", "tiny_shakespeare"}
