"""Settings are plain frozen values with one spelling, as JSON and as a run's name."""

import dataclasses
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.config import experiment as configuration
from samedge.config.parts import (
    BlockSettings,
    BudgetSettings,
    ScheduleSettings,
    StochasticSettings,
    TogetherSettings,
    WaySettings,
)
from samedge.config.settings import RunSettings, StartSettings, build, decimal_string
from synthetic import run_settings


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        (0.1, "0.1"),
        ("1e-3", "0.001"),
        (1e-3, "0.001"),
        (1e-7, "0.0000001"),
        (1, "1"),
        (1.0, "1.0"),
        (0, "0"),
        (-0.0, "0.0"),
        ("-0", "0"),
        ("2.50E+2", "250"),
        ("1e22", "10000000000000000000000"),
    ],
)
def test_a_number_has_a_plain_decimal_spelling(value, spelling):
    assert decimal_string(value) == spelling


@given(value=st.floats(min_value=0, allow_infinity=False))
def test_a_spelling_is_digits_that_give_the_number_back(value):
    spelling = decimal_string(value)
    assert float(spelling) == value
    assert set(spelling) <= set("0123456789.")
    assert decimal_string(spelling) == spelling
    assert Decimal(spelling) == Decimal(repr(value))


@pytest.fixture(scope="module")
def experiment(repository):
    return configuration.load([repository / "config.yaml"])


@pytest.mark.parametrize(
    ("device", "most", "runs", "at_once"),
    [("auto", None, 9, 8), ("cpu", None, 9, 1), ("gpu", None, 3, 3), ("cpu", 4, 9, 4)],
)
def test_how_many_runs_of_a_job_train_at_once(experiment, device, most, runs, at_once):
    together = TogetherSettings(("seed",), most)
    changed = dataclasses.replace(experiment, device=device, together=together)
    assert changed.at_once(runs) == at_once


def test_a_run_survives_json(experiment):
    for task in experiment.tasks:
        for run in experiment.runs(task):
            again = RunSettings.from_json(run.to_json())
            assert again == run
            assert again.to_json() == run.to_json()


def test_json_is_canonical():
    text = run_settings().to_json()
    shuffled = json.dumps(dict(reversed(json.loads(text).items())))
    assert RunSettings.from_json(shuffled).to_json() == text
    assert "\n" not in text


def test_whole_numbers_where_numbers_are_meant_give_equal_json():
    whole = run_settings(
        budget={"steps": None, "hours": 2}, divergence={"loss_factor": 10, "checks": 3}
    )
    point = run_settings(budget={"steps": None, "hours": 2.0})
    assert whole.to_json() == point.to_json()


def test_every_setting_of_a_run_is_in_its_json():
    def keys(cls):
        for field in dataclasses.fields(cls):
            nested = dataclasses.is_dataclass(field.type)
            yield (field.name, tuple(keys(field.type)) if nested else ())

    # Keys that came later are written where they say something else than what held before.
    changed = run_settings()
    curvature = dataclasses.replace(changed.curvature, ends=0.02, certify=3)
    schedule = ScheduleSettings("warmup", {"steps": 4})
    update = dataclasses.replace(changed.update, settings={"momentum": 0.9}, schedule=schedule)
    dataset = dataclasses.replace(changed.dataset, file="mine.npz")
    changed = dataclasses.replace(
        changed,
        curvature=curvature,
        update=update,
        dataset=dataset,
        blocks=BlockSettings((1.0,), {"head": "last"}),
        stochastic=StochasticSettings(4, 100),
        start_from=StartSettings(0.5, run_settings(), eta="0.1"),
        way=WaySettings((1.0,), 3),
    )
    written = json.loads(changed.to_json())
    for name, nested in keys(RunSettings):
        assert name in written
        assert {inner for inner, _ in nested} == (set(written[name]) if nested else set())


def test_settings_of_before_are_those_that_say_what_held_then():
    """Text without ``ends`` and ``certify`` is of 0.001 and 1, and those give that text.

    Text without settings of the update rule, a file of the data, blocks or minibatches is of none,
    likewise.
    """
    settings = run_settings()
    curvature = dataclasses.asdict(settings.curvature) | {"ends": 0.001, "certify": 1}
    same = run_settings(curvature=curvature)
    del curvature["ends"], curvature["certify"]
    update = {"name": settings.update.name, "epsilon": settings.update.epsilon}
    dataset = dataclasses.asdict(settings.dataset)
    del dataset["file"]
    changes = {"curvature": curvature, "update": update, "dataset": dataset}
    plain = dataclasses.asdict(settings) | changes
    del plain["blocks"], plain["stochastic"], plain["start_from"], plain["way"]
    before = json.dumps(plain, sort_keys=True)
    assert RunSettings.from_json(before) == same
    assert same.to_json() == before
    other = dataclasses.replace(same.curvature, ends=0.05)
    assert json.loads(dataclasses.replace(same, curvature=other).to_json())["curvature"] == {
        **curvature,
        "ends": 0.05,
    }


def test_a_run_is_named_by_its_grid_point():
    assert run_settings(eta="0.3", rho="0.1", seed=2).name == "eta0.3_rho0.1_seed2"


def test_runs_are_every_combination_of_the_grid(repository, experiment):
    seeds = dataclasses.replace(experiment, seeds=(0, 7))
    runs = seeds.runs("mnist")
    points = {(run.eta, run.rho, run.seed) for run in runs}
    task = seeds.tasks["mnist"]
    assert len(runs) == len(points) == 2 * len(task.eta) * len(task.rho)
    assert points == {(e, r, s) for e in task.eta for r in task.rho for s in (0, 7)}
    assert {run.task for run in runs} == {"mnist"}


def test_a_run_may_lie_off_the_grid(experiment):
    run = experiment.run("mnist", "0.25", "0.01", 5)
    assert run.name == "eta0.25_rho0.01_seed5"
    on_grid = experiment.runs("mnist")[0]
    assert dataclasses.replace(run, eta=on_grid.eta, rho=on_grid.rho, seed=on_grid.seed) == on_grid


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        run_settings().eta = "1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Expecting property name"),
        ("[]", r"RunSettings needs keys and values, found \[\]"),
        ("{}", "RunSettings lacks audit, batch_size, budget, checks"),
    ],
)
def test_json_that_is_no_run_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        RunSettings.from_json(text)


def test_keys_that_do_not_belong_are_named():
    with pytest.raises(ValueError, match=r"^BudgetSettings does not know minutes, years$"):
        build(BudgetSettings, {"steps": 1, "hours": None, "years": 1, "minutes": 2})
    with pytest.raises(ValueError, match=r"^BudgetSettings lacks hours$"):
        run_settings(budget={"steps": 1})
