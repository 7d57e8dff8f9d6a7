"""Runs that start from others: equal to the bit with nothing changed, and what may be changed."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import train_run
from samedge.base.errors import UserError
from samedge.config import experiment as configuration
from samedge.config.grid import grid_json, grid_runs
from samedge.config.parts import UpdateSettings
from samedge.config.settings import RunSettings, StartSettings
from samedge.records import cubes, files
from samedge.records.files import Outcome
from samedge.records.states import KeptState, read_states, write_states
from samedge.training import loop
from samedge.training.checkpoints import Checkpoints, Interval
from samedge.training.forks import read_start
from samedge.training.job import PlannedRun, plan_grid
from samedge.training.observers.states import StateKeeper
from samedge.training.observers.stochastic import StochasticObserver
from small_network import tanh_loss, tanh_problem
from synthetic import ENVIRONMENT, run_settings

TIMES = ("training_time", "wall_time")
DATA = "c0ffee"


@pytest.fixture(scope="module")
def problem():
    return tanh_problem()


def settings_of(**changes) -> RunSettings:
    curvature = {**dataclasses.asdict(run_settings().curvature), "certify": 2}
    return run_settings(
        **{
            "eta": "0.05",
            "batch_size": 4,
            "budget": {"steps": 12, "hours": None},
            "checks": {"spacing": "even", "count": 7, "minutes": None},
            "curvature": curvature,
            "stochastic": {"batches": 3, "examples": 8},
        }
        | changes
    )


def fork_of(parent: RunSettings, at: float = 0.5, **changes) -> RunSettings:
    """Return the settings of a run that starts from another, with nothing else changed."""
    template = dataclasses.replace(parent, eta="", rho="", seed="")
    own = {"eta": parent.eta, "rho": parent.rho}
    start = StartSettings(at, template, **{k: own[k] for k in own.keys() & changes.keys()})
    return dataclasses.replace(parent, task="fork", start_from=start, **changes)


def trained(settings, problem, start=None, at=(), checkpoints=None, report=lambda line: None):
    """Train; return what was recorded, what was kept, and how it ended."""
    stochastic = StochasticObserver(settings, problem, lambda line: None)
    keeper = StateKeeper(at)
    observers = [stochastic, keeper]
    checks, outcome = loop.train(settings, problem, report, observers, checkpoints, start)
    return checks, stochastic.records, keeper.kept, outcome


def begin(parent, problem, tmp_path, fork, at=(0.5,)):
    """Train the parent, and return what it recorded, and the start of a fork."""
    checks, records, kept, outcome = trained(parent, problem, at=at)
    path = tmp_path / "states.npz"
    write_states(path, parent, DATA, kept, outcome)
    return checks, records, read_start(path, fork, DATA)


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {*TIMES}:
            np.testing.assert_array_equal(one[name], other[name], name)


UPDATES = {
    "sam": UpdateSettings("sam", 1e-5),
    "heavy_ball": UpdateSettings("momentum", 1e-5, {"momentum": 0.9}),
    "adam": UpdateSettings("adam", 1e-5),
}


@pytest.mark.usefixtures("strict_jax")
@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
@pytest.mark.parametrize("at", [0.0, 0.5])
def test_with_nothing_changed_a_fork_is_the_run_to_the_bit(problem, tmp_path, update, at):
    parent = settings_of(update=dataclasses.asdict(update))
    fork = fork_of(parent, at)
    checks, records, start = begin(parent, problem, tmp_path, fork, (at,))
    again, again_records, *_ = trained(fork, problem, start)
    first = next(n for n, check in enumerate(checks) if check["step"] >= 12 * at)
    assert again[0]["step"] == 12 * at
    assert_same(again, checks[first:])
    assert_same(again_records, records[first:])
    # Warm from what the parent had, and certified in its turn.
    certified = [bool(np.isfinite(check["overlooked"])) for check in again]
    assert certified == [bool(np.isfinite(check["overlooked"])) for check in checks[first:]]


@pytest.mark.usefixtures("strict_jax")
def test_a_fork_of_a_fork_goes_on_as_the_first_would(problem, tmp_path):
    parent = settings_of()
    fork = fork_of(parent, 0.25)
    checks, _, start = begin(parent, problem, tmp_path, fork, (0.25,))
    later = fork_of(fork, 0.75)
    *_, kept, outcome = trained(fork, problem, start, at=(0.75,))
    write_states(tmp_path / "fork.npz", fork, DATA, kept, outcome)
    again, *_ = trained(later, problem, read_start(tmp_path / "fork.npz", later, DATA))
    assert_same(again, checks[-2:])
    assert later.parent == fork and later.parent.parent == parent


@pytest.mark.usefixtures("strict_jax")
def test_a_fork_starts_where_its_parent_was_with_settings_of_its_own(problem, tmp_path):
    parent = settings_of()
    fork = fork_of(parent, eta="0.2", rho="0", batch_size=None)
    checks, _, start = begin(parent, problem, tmp_path, fork)
    assert (fork.parent.eta, fork.parent.rho, fork.parent.batch_size) == ("0.05", "0.1", 4)
    again, *_ = trained(fork, problem, start)
    assert [check["step"] for check in again] == [6, 8, 10, 12]
    params = jax.tree.unflatten(
        jax.tree.structure(problem.init(jax.random.key(0))),
        [jnp.asarray(leaf) for leaf in start.state["params"]],
    )
    assert again[0]["training_loss"] == pytest.approx(float(tanh_loss(params, *problem.train)))
    assert again[0]["sam_edge"] == pytest.approx(2 / 0.2)
    assert again[0]["training_time"] == start.state["seconds"] > 0
    assert again[-1]["training_loss"] != checks[-1]["training_loss"]


@pytest.mark.usefixtures("strict_jax")
def test_another_rule_has_an_optimizer_of_its_own_on_the_schedule_of_its_steps(problem, tmp_path):
    parent = settings_of()
    schedule = {"name": "piecewise", "settings": {"steps": [8], "shares": [1, 0.1]}}
    settings = {"momentum": 0.9}
    update = {"name": "momentum", "epsilon": 1e-5, "settings": settings, "schedule": schedule}
    fork = fork_of(parent, update=settings_of(update=update).update)
    _, _, start = begin(parent, problem, tmp_path, fork)
    lines = []
    again, *_ = trained(fork, problem, start, report=lines.append)
    assert "starts from mnist eta0.05_rho0.1_seed0, the optimizer anew" in lines[0]
    assert [check["learning_rate"] for check in again] == pytest.approx([0.05, 0.005, 0.005, 0.005])
    assert np.isfinite([check["effective_curvature"] for check in again]).all()


class EndedError(Exception):
    """The process is gone."""


@pytest.mark.usefixtures("strict_jax")
def test_a_fork_that_is_cut_off_goes_on(problem, tmp_path):
    parent = settings_of()
    fork = fork_of(parent, eta="0.1")
    _, _, start = begin(parent, problem, tmp_path, fork)
    whole, records, *_ = trained(fork, problem, start)
    count = 0

    def line(text):
        nonlocal count
        count += 1
        if count == 3:
            raise EndedError

    def checkpoints():
        return Checkpoints(tmp_path / "run", {"one": 1}, Interval(steps=1), lambda text: None)

    with pytest.raises(EndedError):
        trained(fork, problem, start, checkpoints=checkpoints(), report=line)
    assert checkpoints().latest() is not None
    again, again_records, *_ = trained(fork, problem, start, checkpoints=checkpoints())
    assert_same(again, whole)
    assert_same(again_records, records)


@pytest.mark.usefixtures("strict_jax")
def test_a_fork_of_a_run_that_diverged_before_is_diverged_and_says_so(problem, tmp_path):
    parent, lines = settings_of(), []
    fork = fork_of(parent, eta="0.2")
    gone = Outcome("diverged", 3, "non-finite loss", "test_error", float("nan"))
    write_states(tmp_path / "states.npz", parent, DATA, [], gone)
    start = read_start(tmp_path / "states.npz", fork, DATA)
    checks, records, _, outcome = trained(fork, problem, start, report=lines.append)
    assert (checks, records, outcome.status, outcome.step) == ([], [], "diverged", 3)
    assert outcome.reason == (
        "mnist eta0.05_rho0.1_seed0, from which it starts, had: non-finite loss"
    )
    path = tmp_path / f"{fork.name}.nc"
    files.write(files.run_dataset(fork, checks, outcome, ENVIRONMENT), path)
    cube = cubes.collect([fork], tmp_path)
    assert cube["end_step"].item() == 3 and outcome.reason in str(cube["end_reason"].item())


def test_nothing_left_to_train_is_an_error(problem, tmp_path):
    parent = settings_of()
    fork = fork_of(parent, budget=settings_of(budget={"steps": 6, "hours": None}).budget)
    _, _, start = begin(parent, problem, tmp_path, fork)
    with pytest.raises(UserError, match=r"starts at step 6 of .*budget is spent already.*raise it"):
        trained(fork, problem, start)


def test_a_state_file_is_read_by_its_forks_alone(tmp_path):
    parent = settings_of()
    fork, path = fork_of(parent), tmp_path / "states.npz"
    done = Outcome("completed", 12, "", "test_error", 0.25)
    state = {"step": 6, "params": [np.arange(200.0, dtype=np.float32)]}
    write_states(path, parent, DATA, [KeptState(0.5, state)], done)
    start = read_start(path, fork, DATA)
    assert start.outcome == done and start.state["step"] == 6
    np.testing.assert_array_equal(start.state["params"][0], state["params"][0])
    # Equal contents have equal files, and so forks of them equal identities.
    digest = start.digest
    write_states(path, parent, DATA, [KeptState(0.5, state)], done)
    assert read_start(path, fork, DATA).digest == digest

    with pytest.raises(UserError, match=r"not of the run that fork .* starts from: .*rho"):
        read_start(path, fork_of(settings_of(rho="0.2")), DATA)
    with pytest.raises(UserError, match="SHA-256 c0ffee, the data file of fork has beef"):
        read_start(path, fork, "beef")
    with pytest.raises(UserError, match=r"no state at the share 0\.6.*has: 0\.5.*--states-at 0\.6"):
        read_start(path, fork_of(parent, 0.6), DATA)
    with pytest.raises(UserError, match=r"have no start_from.*leave out --start-from"):
        read_start(path, parent, DATA)
    with pytest.raises(UserError, match="cannot be read"):
        read_start(tmp_path / "none.npz", fork, DATA)
    whole = path.read_bytes()
    for place in (len(whole) // 3, len(whole) // 2):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            read_states(path)
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"damaged|cannot be read"):
            read_states(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UserError, match="not the states that a run keeps"):
        read_states(path)


def test_a_grid_of_forks_names_the_parent_of_each():
    parent = settings_of()
    runs = [
        dataclasses.replace(fork_of(parent, rho="0"), eta=eta, seed=seed)
        for eta in ("0.05", "0.1")
        for seed in (0, 1)
    ]
    again = grid_runs(grid_json(runs))
    assert again == runs
    assert [(run.parent.eta, run.parent.rho, run.parent.seed) for run in again] == [
        ("0.05", "0.1", 0),
        ("0.05", "0.1", 1),
        ("0.1", "0.1", 0),
        ("0.1", "0.1", 1),
    ]
    assert RunSettings.from_json(runs[0].to_json()) == runs[0]
    assert "start_from" not in parent.to_json()


def test_a_job_needs_the_states_that_its_runs_start_from(tmp_path):
    fork = fork_of(settings_of())
    [planned] = plan_grid(
        grid_json([fork]), tmp_path, None, tmp_path, tmp_path, (0.5,), tmp_path / "states"
    )
    assert planned.start == tmp_path / "states" / "mnist" / "eta0.05_rho0.1_seed0.npz"
    assert planned.outputs == [tmp_path / f"{fork.name}.nc", tmp_path / f"{fork.name}.npz"]
    with pytest.raises(UserError, match=r"fork .* starts from mnist .*give --start-from"):
        train_run.run_job(
            [PlannedRun(fork, tmp_path / "run.nc", None, tmp_path / "kept")],
            train_run.JobOptions(tmp_path / "none.npz"),
        )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--states", "x.npz"), "--states and --states-at: give both or none"),
        (("--states-at", "0.5"), "--states and --states-at: give both or none"),
        (("--states", "x.npz", "--states-at", "1.5"), "--states-at: 1.5 must be a share"),
    ],
)
def test_options_that_do_not_fit(capsys, arguments, problem):
    with pytest.raises(SystemExit):
        train_run.parse(["--data", "d", "--output", "o", "--settings", "{}", *arguments])
    assert problem in capsys.readouterr().err


@pytest.fixture(scope="module")
def two_tasks():
    """A configuration of a task and of another whose runs start from it."""
    config = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())
    mnist = config["tasks"]["mnist"]
    fork = json.loads(json.dumps(mnist)) | {"start_from": {"task": "mnist", "at": 0.5}}
    return config | {"tasks": {"mnist": mnist, "fork": fork}}


def changed(config, **start):
    fork = config["tasks"]["fork"] | {"start_from": {"task": "mnist", "at": 0.5} | start}
    return config | {"tasks": config["tasks"] | {"fork": fork}}


def test_a_configuration_makes_forks_and_comes_back(two_tasks, tmp_path):
    config = changed(two_tasks, rho=0, eta=None)
    experiment = configuration.validate(config)
    run = experiment.run("fork", "0.3", "0.1", 0)
    assert (run.parent.name, run.parent.task) == ("eta0.3_rho0_seed0", "mnist")
    assert run.parent == experiment.run("mnist", "0.3", "0", 0)
    assert experiment.states_at("mnist") == (0.5,) and experiment.states_at("fork") == ()
    again = tmp_path / "config.json"
    again.write_text(configuration.resolved(experiment))
    loaded = configuration.load([again])
    assert loaded.run("fork", "0.3", "0.1", 0) == run


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        ({"task": "mnits"}, r"tasks\.fork\.start_from\.task: .*no task 'mnits'.*'mnist'"),
        ({"task": "fork"}, "whose own runs start from this task's in the end"),
        ({"rho": 0.7}, r"start_from\.rho: found 0\.7, must be one of those of tasks\.mnist"),
        ({"eta": 7}, r"start_from\.eta: found 7, must be one of"),
        ({"at": 1}, r"start_from\.at: found 1, after 400 steps .*budget\.steps.* is 400; raise it"),
        ({"at": 2}, r"start_from\.at"),
        ({"step": 2}, r"start_from: unknown key 'step'"),
    ],
)
def test_a_start_that_cannot_be_is_named(two_tasks, start, problem):
    with pytest.raises(UserError, match=problem):
        configuration.validate(changed(two_tasks, **start))


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({"eta": [0.7]}, r"start_from: eta: found 0\.7.*or name one of them as .*start_from\.eta"),
        ({"loss": {"name": "cross_entropy"}}, "of another loss; a run goes on with another eta"),
    ],
)
def test_a_fork_that_does_not_fit_its_parent_is_named(two_tasks, task, problem):
    fork = two_tasks["tasks"]["fork"] | task
    config = two_tasks | {"tasks": two_tasks["tasks"] | {"fork": fork}}
    with pytest.raises(UserError, match=problem):
        configuration.validate(config)
