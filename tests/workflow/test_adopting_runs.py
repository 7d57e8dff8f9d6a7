"""Finished runs copied from another clone are taken over, and Snakemake trains none of them."""

import shutil

from checkout import TINY, Checkout

ONE = "eta0.1_rho0.1_seed0"
SHORTER = {"tasks": {"cifar10": {"budget": {"steps": 5}}}}


def adopt(checkout: Checkout, *arguments: object):
    """Run the command in a checkout of the tiny experiment."""
    return checkout.script("adopt_runs", "--configfile", "config.yaml", TINY, *arguments)


def trained(plan) -> set:
    assert plan.counts.get("prepare_data", 0) == 0
    assert plan.counts["collect_runs"] == 3
    return plan.runs


def test_adopted_runs_are_not_trained_until_something_changes(
    finished: Checkout, unrun: Checkout, tmp_path
):
    fresh = unrun.clone(tmp_path / "fresh")
    done = adopt(fresh, "--source", finished.result(""))
    assert done.returncode == 0, done.stdout
    assert f"mnist: 4 runs adopted: eta0.1_rho0_seed0, {ONE}, eta10000" in done.stdout
    assert trained(fresh.plan()) == set()
    assert len(trained(fresh.plan(changes=SHORTER))) == 2
    with fresh.module("updates/rule.py").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert len(trained(fresh.plan())) == 8


def test_what_was_copied_by_hand_is_adopted_where_it_lies_and_the_rest_refused(
    finished: Checkout, unrun: Checkout, tmp_path
):
    fresh = unrun.clone(tmp_path / "fresh")
    for folder in ("runs", "parameters"):
        shutil.copytree(finished.result(folder), fresh.result(folder))
    damaged = fresh.result(f"runs/mnist/{ONE}.nc")
    damaged.write_bytes(damaged.read_bytes()[:-100])
    overlay = fresh.overlay(SHORTER)
    done = adopt(fresh, overlay)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert f"refused: mnist {ONE}: results/tiny/runs/mnist/{ONE}.nc: " in done.stdout
    assert "refused: cifar10 eta0.003_rho0_seed0" in done.stdout
    assert "other settings: budget.steps is 4, expected 5" in done.stdout
    assert (
        "error: 3 runs refused, as named above; the workflow trains them, once what" in done.stdout
    )
    runs = trained(fresh.plan(changes=SHORTER))
    assert runs == {
        ("mnist", "0.1", "0.1", "0"),
        *(("cifar10", "0.003", rho, "0") for rho in ("0", "0.1")),
    }
