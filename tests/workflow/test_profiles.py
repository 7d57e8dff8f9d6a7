"""The profile of a cluster fits the workflow: it plans the same, and groups what is small."""

import re

import pytest
import yaml

from checkout import parse

SLURM = "profiles/slurm"
# On a cluster these are jobs of their own: they train, or make what training needs, or are rare.
ALONE = {"prepare_data", "train_run", "audit_run", "collect_audit"}


@pytest.fixture(scope="module")
def profile(repository):
    return yaml.safe_load((repository / SLURM / "config.yaml").read_text(encoding="utf-8"))


def rules_that_run_jobs(repository):
    sources = [path.read_text() for path in (repository / "workflow/rules").glob("*.smk")]
    rules = [part for text in sources for part in re.split(r"^rule ", text, flags=re.M)[1:]]
    # Rules of training, and of what a configuration may measure, are made in loops, so that their
    # names do not stand there.
    measured = {f"plot_{kind}" for kind in ("density", "blocks", "stochastic", "way")}
    return {"train_run", *measured} | {
        rule.partition(":")[0] for rule in rules if "localrule: True" not in rule
    }


def test_every_rule_is_grouped_or_meant_to_stand_alone(repository, profile):
    assert {*profile["groups"]} | ALONE == rules_that_run_jobs(repository)
    assert not {*profile["groups"]} & ALONE


def test_groups_are_bounded_by_a_resource_that_every_job_takes_one_of(profile):
    assert profile["default-resources"]["grouped"] == 1
    assert profile["set-resource-scopes"] == {"grouped": "local"}
    assert {*profile["group-components"]} <= {*profile["groups"].values()}


def test_no_limit_of_one_machine_holds_on_a_cluster(profile):
    # Without cores a job has the threads that its rule asks for, and GPUs are for Slurm to count.
    assert "gpu" not in profile["resources"]
    assert "cores" not in profile


def test_the_plan_is_that_of_one_machine(unrun):
    done = unrun.snakemake("--nocolor", "--dry-run", "--workflow-profile", SLURM)
    assert done.returncode == 0, done.stdout
    plan, on_one_machine = parse(done.stdout), unrun.plan()
    assert plan.counts == on_one_machine.counts
    assert plan.runs == on_one_machine.runs
