"""Several runs in one job: what is planned, that records are those of separate jobs, and kills."""

import os
import shutil
import signal
import time

import pytest
import xarray as xr

from checkout import NOTHING, TINY, Checkout
from samedge.records import files as records

TIMES = ["training_time", "wall_time"]
TWO_CORES = ("--cores", "2", "--resources", "gpu=1")
BY_SEED = {"seeds": [0, 1, 2], "together": {"axes": ["seed"]}}


def jobs_of(plan) -> dict[str, int]:
    return {rule: count for rule, count in plan.counts.items() if rule.startswith("train_")}


@pytest.mark.parametrize(
    ("changes", "jobs", "message"),
    [
        (
            BY_SEED,
            {"mnist": 4, "cifar10": 2, "tiny_shakespeare": 2},
            "Train together mnist: eta 10000; rho 0.1; seed 0, 1, 2",
        ),
        (
            {"seeds": [0, 1], "together": {"axes": ["eta", "rho"]}},
            {"mnist": 2, "cifar10": 2, "tiny_shakespeare": 2},
            "Train together mnist: eta 0.1, 10000; rho 0, 0.1; seed 1",
        ),
        (
            {"together": {"axes": ["rho", "seed", "eta"]}},
            {"mnist": 1, "cifar10": 1, "tiny_shakespeare": 1},
            "Train together tiny_shakespeare: eta 0.1; rho 0, 0.3; seed 0",
        ),
    ],
    ids=["seed", "eta and rho", "all"],
)
def test_a_job_has_all_runs_along_its_axes(unrun: Checkout, changes, jobs, message):
    plan = unrun.plan(changes=changes)
    assert jobs_of(plan) == {f"train_together_{task}": count for task, count in jobs.items()}
    assert message in plan.messages


def together(checkout: Checkout, changes: dict, *targets: str) -> str:
    """Run the tiny experiment with these changes and return the output."""
    files = ("--configfile", TINY, checkout.overlay(changes))
    done = checkout.bare_snakemake(*files, *TWO_CORES, "--", *targets)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_one_after_the_other_every_run_is_that_of_a_job_of_its_own(
    finished: Checkout, changeable: Checkout
):
    together(changeable, {"together": {"axes": ["eta", "rho"]}}, "results/tiny/cubes/mnist.nc")
    cubes = [
        records.read_cube(checkout.result("cubes/mnist.nc")) for checkout in (finished, changeable)
    ]
    xr.testing.assert_identical(*(cube.drop_vars(TIMES) for cube in cubes))
    for run in finished.result("parameters/mnist").iterdir():
        assert run.read_bytes() == changeable.result(f"parameters/mnist/{run.name}").read_bytes()
    [log] = changeable.result("logs/train_together/mnist").iterdir()
    assert log.name == "seed0.log"
    history = records.read_run(changeable.result("runs/mnist/eta0.1_rho0_seed0.nc")).attrs[
        "history"
    ]
    assert history == "trained by samedge in a job of 4 runs, at most 1 at once"
    assert not [*changeable.result("checkpoints/mnist").iterdir()]


def test_at_once_every_run_is_that_of_a_job_of_its_own_up_to_rounding(changeable: Checkout):
    ways = {"alone": {}, "at_once": {"together": {"axes": ["rho"], "most": 2}}}
    stable = {"tasks": {"mnist": {"eta": [0.1]}}}
    cubes = []
    for name, changes in ways.items():
        cube = f"results/{name}/cubes/mnist.nc"
        together(changeable, {"experiment": name} | stable | changes, cube)
        cubes.append(records.read_cube(changeable.root / cube))
    for variable in ("step", "training_loss", "gradient_norm", "sam_gradient_norm", "sam_edge"):
        xr.testing.assert_allclose(*(cube[variable] for cube in cubes), rtol=1e-5)
    xr.testing.assert_identical(*(cube["status"] for cube in cubes))
    for cube in cubes:
        assert cube["eigenvalue_converged"].all()


def test_a_job_that_is_killed_loses_nothing_that_had_ended(
    finished: Checkout, changeable: Checkout
):
    """Snakemake deletes what it had written, and starts it again."""
    changes = {"together": {"axes": ["eta", "rho"]}, "checkpoints": {"steps": 3}}
    shutil.rmtree(changeable.result("runs/mnist"))
    process = changeable.start(
        *("-m", "snakemake", "--configfile", TINY, changeable.overlay(changes), *TWO_CORES),
        *("--", "results/tiny/cubes/mnist.nc"),
    )
    # The first run has ended and the second is under way.
    reached = changeable.result("checkpoints/mnist/eta0.1_rho0.1_seed0")
    while process.poll() is None and not [*reached.glob("*.npz")]:
        time.sleep(0.002)
    [job] = changeable.training_processes()
    os.kill(job, signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    log = changeable.result("logs/train_together/mnist/seed0.log").read_text()
    assert "going on from step 12, by" in log
    assert "eta0.1_rho0_seed0  step" not in log
    cubes = [
        records.read_cube(checkout.result("cubes/mnist.nc")) for checkout in (finished, changeable)
    ]
    xr.testing.assert_identical(*(cube.drop_vars(TIMES) for cube in cubes))


def test_how_many_at_once_trains_nothing_again_and_a_new_value_the_whole_job(
    changeable: Checkout,
):
    changes = {"together": {"axes": ["rho"]}}
    together(changeable, changes, "results/tiny/cubes/tiny_shakespeare.nc")
    target = "results/tiny/cubes/tiny_shakespeare.nc"
    more = {"together": {"axes": ["rho"], "most": 5}}
    assert changeable.plan(target, changes=more) == NOTHING
    wider = changes | {"tasks": {"tiny_shakespeare": {"rho": [0, 0.3, 0.6]}}}
    assert changeable.plan(target, changes=wider).counts == {
        "train_together_tiny_shakespeare": 1,
        "collect_runs": 1,
    }
