"""Runs watched while a workflow trains them: one diverges, one fails, one is killed."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from checkout import TINY, Checkout
from samedge.records.progress import lines
from samedge.watching.runs import Watch

DIVERGES, KILLED = "eta10000_rho0_seed0", "eta0.1_rho0_seed0"
FAILS = "eta0.1_rho0.1_seed0"
TARGETS = (f"mnist/{DIVERGES}", f"mnist/{KILLED}", f"wide/{FAILS}")
CHANGES = {
    "tasks": {
        "mnist": {
            "budget": {"steps": 1_000_000, "hours": None},
            "checks": {"spacing": "even", "count": 10_001, "minutes": None},
        },
        # More numbers than there is memory for.
        "wide": {
            "kind": "images",
            "dataset": {"name": "own_digits", "train_examples": 40, "test_examples": 20},
            "model": {"name": "mlp", "settings": {"width": 30_000_000, "depth": 3}},
            "loss": {"name": "squared_error"},
            "update": {"name": "sam", "epsilon": 1e-5},
            "batch_size": None,
            "microbatch": None,
            "eta": [0.1],
            "rho": [0.1],
            "figure_rho": 0.1,
            "budget": {"steps": 12, "hours": None},
            "checks": {"spacing": "even", "count": 4, "minutes": None},
        },
    }
}
SAMEDGE = "workflow/scripts/samedge"
LONGEST = 300.0  # seconds that something may take to happen, on a machine with other work


@pytest.fixture
def checkout(unrun: Checkout, tmp_path: Path) -> Checkout:
    """Return a checkout in which nothing has run, and no job that has failed is started again."""
    made = unrun.clone(tmp_path / "checkout")
    rules = made.root / "workflow/rules/train.smk"
    text = rules.read_text(encoding="utf-8")
    assert "retries: 2" in text
    rules.write_text(text.replace("retries: 2", "retries: 0"), encoding="utf-8")
    return made


def states(checkout):
    """Return how the runs stand that have begun, by task and name."""
    runs = Watch(checkout.result("")).look()
    return {f"{run.task}/{run.name}": run for run in runs if run.state != "not started"}


def wait_for(checkout, process, true):
    until = time.monotonic() + LONGEST
    while True:
        found = states(checkout) if checkout.result("progress").is_dir() else {}
        if true(found):
            return found
        assert time.monotonic() < until, found
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def test_runs_are_watched_while_they_diverge_fail_and_are_killed(checkout: Checkout):
    files = [f"results/tiny/runs/{name}.nc" for name in TARGETS]
    command = ("--cores", "12", "--resources", "gpu=3", "--keep-going")
    configuration = ("--configfile", TINY, checkout.overlay(CHANGES))
    process = checkout.start("-m", "snakemake", *files, *command, *configuration)
    try:
        wait_for(
            checkout,
            process,
            lambda found: (
                [found[name].state for name in TARGETS if name in found]
                == ["diverged", "training", "failed"]
                and len(found[TARGETS[1]].curve.ratios) > 2
            ),
        )
        said = checkout.python(SAMEDGE, "watch", "results/tiny", "--page", COLUMNS="100").stdout
        assert "9 runs: 1 training · 1 failed · 1 diverged · 6 not started" in said
        assert "lower tasks.wide.microbatch" in said.replace("\n      ", " ")
        page = checkout.result("watch.html").read_text(encoding="utf-8")
        assert "This run is training: step " in page
        assert "This run has failed" in page and "out of memory" in page

        progress = lines.read(lines.path_of(checkout.result(f"runs/{TARGETS[1]}.nc")))
        assert checkout.training_processes() == [progress.process.pid]
        os.kill(progress.process.pid, signal.SIGKILL)
        killed = wait_for(checkout, process, lambda found: found[TARGETS[1]].state == "killed")
        assert f"process {progress.process.pid} on " in killed[TARGETS[1]].note
        said = checkout.python(SAMEDGE, "watch", "results/tiny", "--page", COLUMNS="100").stdout
        assert "9 runs: 1 failed · 1 killed · 1 diverged · 6 not started" in said
        page = checkout.result("watch.html").read_text(encoding="utf-8")
        assert "This run was killed at step" in page
        output, _ = process.communicate(timeout=LONGEST)
        assert process.returncode == 1, output
    finally:
        process.kill()
        process.wait()

    shutil.rmtree(checkout.result("progress"))
    plan = checkout.plan(*files, configfiles=(TINY, "changes.yaml"))
    assert plan.runs == {("mnist", "0.1", "0", "0"), ("wide", "0.1", "0.1", "0")}
    assert list(states(checkout)) == [TARGETS[0]]
