"""The command line of the training script: every mistake is one clear message."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import train_run
from samedge.base.errors import UserError
from samedge.config.experiment import validate
from samedge.config.grid import grid_json
from samedge.training import job
from samedge.training.checkpoints import Interval
from samedge.training.job import PlannedRun, checkpoints_of
from synthetic import ENVIRONMENT, grid_settings, run_settings

FILES = ["--data", "data.npz", "--output", "run.nc"]


@pytest.fixture
def by_hand(repository):
    """Return the settings that a command line resolves to, some of its options set otherwise."""

    def resolve(**changes):
        options = {"task": "mnist", "eta": "0.3", "rho": "0.1", "seed": "0"} | changes
        given = [f"--{name}={value}" for name, value in options.items()]
        configfile = ["--configfile", str(repository / "config.yaml")]
        return settings_of([*FILES, *configfile, *given])

    return resolve


def settings_of(arguments):
    """Return the settings of the one run that a command line asks for."""
    [run] = train_run.planned_runs(train_run.parse(arguments))
    return run.settings


def usage_error(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        train_run.parse(list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].partition(": ")[2]


def test_by_hand_and_by_settings_are_the_same_run(by_hand):
    run = by_hand()
    again = settings_of([*FILES, "--settings", run.to_json()])
    assert again == run
    assert (run.task, run.name) == ("mnist", "eta0.3_rho0.1_seed0")


@pytest.mark.parametrize(
    "spelling", ["0.1", "1", "1.0", "1e-3", "1.0e-3", "0.0010", "2.5e+1", "1e0", "0.125"]
)
def test_a_learning_rate_may_lie_off_the_grid_and_is_spelled_as_a_configuration_would(
    by_hand, repository, spelling
):
    config = yaml.safe_load((repository / "config.yaml").read_text())
    config["tasks"]["mnist"] |= yaml.safe_load(f"eta: [{spelling}]")
    assert (by_hand(eta=spelling).eta,) == validate(config).tasks["mnist"].eta


def test_overlays_are_merged(repository):
    files = [str(repository / name) for name in ("config.yaml", "config/laptop.yaml")]
    grid_point = ["--task", "mnist", "--eta", "0.3", "--rho", "0"]
    run = settings_of([*FILES, "--configfile", *files, *grid_point])
    assert (run.source, run.model.settings["width"], run.seed) == ("tfds", 200, 0)


def test_files_are_asked_for(capsys):
    message = usage_error(capsys, "--settings", "{}")
    assert message == "error: the following arguments are required: --data, --output"


def test_what_is_missing_to_name_a_run_is_listed(capsys):
    assert usage_error(capsys, *FILES, "--task", "mnist", "--rho", "0") == (
        "error: needs --settings, or else --configfile, --eta"
    )


def test_settings_are_not_mixed_with_options_by_hand(capsys):
    assert usage_error(capsys, *FILES, "--settings", "{}", "--eta", "1", "--seed", "3") == (
        "error: --settings says it all; leave out --eta, --seed"
    )


def test_a_grid_has_the_files_of_each_run_in_folders():
    runs = grid_settings(seeds=(0, 1), eta=("0.3",), rho=("0", "0.1"))
    folders = ["--output", "runs", "--parameters", "parameters", "--checkpoints", "checkpoints"]
    options = ["--data", "data.npz", *folders, "--grid", grid_json(runs)]
    planned = train_run.planned_runs(train_run.parse(options))
    assert [run.settings for run in planned] == runs
    name = "eta0.3_rho0.1_seed1"
    assert planned[-1].outputs == [Path(f"runs/{name}.nc"), Path(f"parameters/{name}.nc")]
    assert planned[-1].checkpoints == Path("checkpoints") / name


def test_a_checkpoint_belongs_to_the_settings_of_jax(tmp_path):
    """A run that began with others would go on with numbers of both."""
    run = PlannedRun(run_settings(), Path("run.nc"), None, tmp_path)
    keys = {
        checkpoints_of(run, ENVIRONMENT | changes, Interval()).key
        for changes in ({}, {"git_commit": "1" * 40}, {"jax_settings": "{}"})
    }
    assert len(keys) == 2


def test_a_grid_is_not_mixed_with_settings(capsys):
    assert usage_error(capsys, *FILES, "--settings", "{}", "--grid", "{}") == (
        "error: --settings says it all; leave out --grid"
    )
    assert usage_error(capsys, *FILES, "--grid", "{}", "--most", "-1") == (
        "error: argument --most: -1 must be at least 0"
    )


def test_a_grid_without_runs_is_refused():
    empty = json.dumps(json.loads(grid_json([run_settings()])) | {"seed": []})
    with pytest.raises(UserError, match="--grid: has no run"):
        train_run.planned_runs(train_run.parse([*FILES, "--grid", empty]))


def test_an_unknown_device_is_answered_with_the_known_ones(capsys):
    message = usage_error(capsys, *FILES, "--settings", "{}", "--device", "tpu")
    assert "--device: invalid choice: 'tpu'" in message
    assert all(device in message for device in ("auto", "cpu", "gpu"))


def test_an_unknown_task_is_answered_with_the_nearest(by_hand):
    with pytest.raises(UserError) as caught:
        by_hand(task="minst")
    assert str(caught.value) == (
        "--task: the configuration has no task 'minst'; did you mean 'mnist'? "
        "(it has: mnist, cifar10, tiny_shakespeare)"
    )


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [
        *(("eta", value, "greater than 0") for value in ("fast", "", "0", "-0.1", "nan", "1e999")),
        *(("rho", value, "at least 0") for value in ("wide", "-1", "-inf", "0.1.2", "0,1")),
    ],
)
def test_a_number_out_of_range_is_named_with_its_bound(by_hand, option, value, bound):
    with pytest.raises(UserError) as caught:
        by_hand(**{option: value})
    assert str(caught.value) == f"--{option}: '{value}' must be a number {bound}"


@pytest.mark.parametrize(
    ("option", "value"), [("eta", "1e39"), ("eta", "1e-46"), ("rho", "1e39"), ("rho", "1e-46")]
)
def test_a_number_that_float32_does_not_hold_is_refused(by_hand, option, value):
    with pytest.raises(UserError) as caught:
        by_hand(**{option: value})
    assert str(caught.value) == (
        f"--{option}: {float(value):g} is beyond the numbers of float32, in which runs are "
        f"trained; give {'0 or one' if option == 'rho' else 'one'} from 1.18e-38 to 3.4e+38"
    )


@pytest.mark.parametrize("place", ["output", "parameters", "below a file", "grid"])
def test_an_output_that_cannot_be_written_is_noticed_before_training(tmp_path, monkeypatch, place):
    monkeypatch.setattr(job, "prepare_jax", lambda *a, **k: pytest.fail("it trains"))
    run = run_settings(audit={"at": [1]})
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    output, more = tmp_path / "run.nc", []
    match place:
        case "output":
            output, message = tmp_path / "folder", "--output: .*folder is a folder"
        case "parameters":
            more = ["--parameters", str(tmp_path / "folder")]
            message = "--parameters: .*folder is a folder"
        case "below a file":
            output, message = tmp_path / "file" / "run.nc", "--output: .*file is no folder"
        case "grid":
            output, message = tmp_path / "runs", rf"--output: .*{run.name}\.nc is a folder"
            (output / f"{run.name}.nc").mkdir(parents=True)
    what = ["--grid", grid_json([run])] if place == "grid" else ["--settings", run.to_json()]
    arguments = ["--data", "data.npz", "--output", str(output), *more, *what]
    with pytest.raises(UserError, match=message):
        train_run.main(arguments)
    assert not list(tmp_path.rglob("*checkpoints*"))


@pytest.mark.parametrize("value", ["-1", "1.5", "x", "", "4294967296", "٣"])
def test_a_seed_is_a_whole_number_in_range(by_hand, value):
    with pytest.raises(UserError) as caught:
        by_hand(seed=value)
    assert str(caught.value) == f"--seed: '{value}' must be a whole number from 0 to 4294967295"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda values: "{", "Expecting property name enclosed in double quotes"),
        (lambda values: "3", "RunSettings needs keys and values, found 3"),
        (lambda values: json.dumps(values | {"etas": "1"}), "RunSettings does not know etas"),
        (
            lambda values: json.dumps({k: v for k, v in values.items() if k != "eta"}),
            "RunSettings lacks eta",
        ),
        (
            lambda values: json.dumps(values | {"loss": "squared_error"}),
            "LossSettings needs keys and values, found 'squared_error'",
        ),
    ],
)
def test_settings_that_are_no_run_are_refused(change, complaint):
    text = change(json.loads(run_settings().to_json()))
    with pytest.raises(UserError) as caught:
        settings_of([*FILES, "--settings", text])
    assert str(caught.value).startswith(
        f"--settings: must be the JSON of one run's settings ({complaint}"
    )


def test_a_mistake_ends_the_script_with_a_message_and_no_traceback(repository, tmp_path):
    def run(*arguments):
        script = repository / "workflow" / "scripts" / "train_run.py"
        return subprocess.run(
            [sys.executable, str(script), *FILES, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    wrong = run("--configfile", "none.yaml", "--task", "a", "--eta", "1", "--rho", "0")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "error: none.yaml: cannot be read (No such file or directory)\n"
    no_data = run("--settings", run_settings().to_json(), "--device", "cpu")
    assert (no_data.returncode, no_data.stdout) == (1, "")
    assert no_data.stderr == (
        "error: the data file data.npz is missing; the rule prepare_data writes it\n"
    )
    assert not any(tmp_path.iterdir())
