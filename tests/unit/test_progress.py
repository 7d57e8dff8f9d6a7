"""What runs tell of themselves while they are under way, and how it is read."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samedge.base.errors import Interrupted, UserError
from samedge.base.process import ProcessMark
from samedge.config.settings import RunSettings
from samedge.records import files, schema
from samedge.records.progress import lines, plan
from samedge.tasks.problems import Problem
from samedge.training import loop
from samedge.training.checkpoints import Checkpoints, Interval
from samedge.training.observers import progress
from samedge.training.observers.progress import ProgressFile, progress_files
from samedge.watching import run as watched
from samedge.watching.runs import Watch, count
from samedge.watching.so_far import so_far
from synthetic import ENVIRONMENT, check, grid_settings, run, run_settings

RUN = run_settings(
    eta="0.05",
    budget={"steps": 6, "hours": None},
    checks={"spacing": "even", "count": 4, "minutes": None},
)


@dataclass(frozen=True)
class Planned:
    """A run of a job, as progress files take it."""

    settings: RunSettings
    output: Path


def output_of(results, settings=RUN):
    return results / "runs" / settings.task / f"{settings.name}.nc"


def records_of(settings, steps):
    generator = np.random.default_rng(0)
    return [check(settings, step, generator, 40) for step in steps]


def begun(results, settings=RUN, steps=(), said=None):
    """Return the progress file of a run that has been measured at these steps."""
    report = pytest.fail if said is None else said.append
    file = ProgressFile(output_of(results, settings), settings, report)
    file.ready(ENVIRONMENT)
    file.go_on([])
    for record in records_of(settings, steps):
        file.check(record, 30.0)
    return file


def only(results):
    [found] = Watch(results).look()
    return found


def test_a_progress_file_lies_where_its_run_file_says():
    assert lines.path_of(Path("r/a/runs/mnist/x.nc")) == Path("r/a/progress/mnist/x.jsonl")
    assert lines.path_of(Path("mine/x.nc")) == Path("mine/x.progress.jsonl")


def test_a_run_is_told_check_by_check(tmp_path):
    file = begun(tmp_path, steps=(0, 2, 4))
    found = lines.read(file.path)
    assert (found.settings, found.step, found.left, found.status) == (RUN, 4, 30.0, None)
    assert found.environment == ENVIRONMENT
    for values, record in zip(found.checks, records_of(RUN, (0, 2, 4)), strict=True):
        assert list(values) == list(schema.CHECK_KEYS)
        for name, value in record.items():
            np.testing.assert_array_equal(values[name], value)
    assert max(map(len, file.path.read_text().splitlines()[2:])) < 2000
    run = only(tmp_path)
    assert (run.state, run.step, run.steps, run.left) == ("training", 4, 6, 30.0)
    assert run.share == pytest.approx(4 / 6)
    np.testing.assert_allclose(run.curve.ratios, [one["edge_ratio"] for one in found.checks])


def test_what_is_not_finite_is_null(tmp_path):
    file = begun(tmp_path)
    [record] = records_of(RUN, (0,))
    file.check(record | {"overlooked": math.nan, "largest_eigenvalue": np.float32(np.inf)}, None)
    for text in file.path.read_text().splitlines():
        json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    [values] = lines.read(file.path).checks
    assert np.isnan(values["overlooked"]) and np.isnan(values["largest_eigenvalue"])


def test_a_torn_last_line_is_passed_over_and_goes_when_the_run_goes_on(tmp_path):
    file = begun(tmp_path, steps=(0, 2))
    with file.path.open("a") as torn:
        torn.write('{"line":"check","at":"2026-01-01T00:00')
    assert [one["step"] for one in lines.read(file.path).checks] == [0, 2]
    assert only(tmp_path).state == "training"
    again = ProgressFile(output_of(tmp_path), RUN, pytest.fail)
    assert [one["step"] for one in lines.read(again.path).checks] == [0, 2]
    assert only(tmp_path).state == "starting"


def test_a_run_that_goes_on_has_no_check_twice(tmp_path):
    begun(tmp_path, steps=(0, 2, 4))
    again = ProgressFile(output_of(tmp_path), RUN, pytest.fail)
    again.ready(ENVIRONMENT)
    again.go_on(records_of(RUN, (0, 2)))
    assert [one["step"] for one in lines.read(again.path).checks] == [0, 2]
    for record in records_of(RUN, (4, 6)):
        again.check(record, None)
    assert [one["step"] for one in lines.read(again.path).checks] == [0, 2, 4, 6]
    kinds = [json.loads(text)["line"] for text in again.path.read_text().splitlines()]
    assert kinds == ["begin", "ready", *4 * ["check"]]


def test_a_run_of_other_settings_or_started_anew_starts_its_file_anew(tmp_path):
    begun(tmp_path, steps=(0, 2))
    other = replace(RUN, precision="default")
    ProgressFile(output_of(tmp_path), other, pytest.fail)
    assert lines.read(lines.path_of(output_of(tmp_path))).checks == []
    begun(tmp_path, steps=(0, 2))
    begun(tmp_path)
    assert lines.read(lines.path_of(output_of(tmp_path))).checks == []


def test_a_deleted_file_comes_back_whole(tmp_path):
    file = begun(tmp_path, steps=(0, 2))
    file.path.unlink()
    file.path.parent.rmdir()
    file.end("diverged", 3, "the loss is not finite")
    found = lines.read(file.path)
    assert ([one["step"] for one in found.checks], found.reason) == (
        [0, 2],
        "the loss is not finite",
    )


def test_signs_of_life_are_far_apart(tmp_path, monkeypatch):
    file = begun(tmp_path, steps=(0,))
    size = file.path.stat().st_size
    file.alive(1, 0.5, 20.0)
    assert file.path.stat().st_size == size
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_SIGNS", 0.0)
    file.alive(1, 0.5, 20.0)
    found = only(tmp_path)
    assert (found.step, found.left, found.progress.training_time) == (1, 20.0, 0.5)


def test_a_folder_that_cannot_be_written_to_is_told_once_and_stops_nothing(tmp_path):
    (tmp_path / "progress").write_text("in the way")
    said = []
    file = begun(tmp_path, steps=(0, 2, 4), said=said)
    [line] = said
    assert line.startswith(f"no progress file: {file.path}: ")
    (tmp_path / "progress").unlink()
    file.end("completed", 6, "")
    assert len(lines.read(file.path).checks) == 3


@contextmanager
def job(results, *settings):
    planned = [Planned(one, output_of(results, one)) for one in settings]
    with progress_files(planned, pytest.fail) as files:
        yield files


@pytest.mark.parametrize(
    ("error", "state", "note"),
    [
        (UserError("the data file is missing"), "failed", "the data file is missing"),
        (ValueError("odd"), "failed", "ValueError: odd (test_progress.py, line "),
        (Interrupted(signal.SIGTERM), "stopped", "interrupted by SIGTERM"),
        (KeyboardInterrupt(), "stopped", ""),
    ],
)
def test_a_job_that_ends_early_says_why(tmp_path, error, state, note):
    with pytest.raises(type(error)), job(tmp_path, RUN) as [file]:
        file.ready(ENVIRONMENT)
        raise error
    found = only(tmp_path)
    assert found.state == state
    assert found.note.startswith(note)


def test_a_job_that_has_written_its_files_leaves_no_progress_file(tmp_path):
    with job(tmp_path, RUN, replace(RUN, seed=1)) as both:
        both[0].end("diverged", 3, "the loss is not finite")
        assert count(Watch(tmp_path).look()) == {"starting": 1, "diverged": 1}
    assert not [*tmp_path.rglob("*.jsonl")]


def test_a_job_that_fails_has_failed_for_the_runs_whose_files_it_has_not_written(tmp_path):
    other = replace(RUN, seed=1)
    with pytest.raises(UserError), job(tmp_path, RUN, other) as both:
        for file in both:
            file.end("completed", 6, "")
        written = output_of(tmp_path)
        files.write(run(RUN, checks=5), written)
        os.utime(written, (time.time() + 1,) * 2)  # whatever the resolution of the file system
        raise UserError("no memory")
    assert [one.state for one in Watch(tmp_path).look()] == ["finished", "failed"]


def test_beside_a_run_file_nothing_is_left_of_a_job_that_measured_nothing(tmp_path):
    planned = [Planned(RUN, tmp_path / "mine.nc")]
    with pytest.raises(UserError), progress_files(planned, pytest.fail):
        raise UserError("no GPU")
    assert not any(tmp_path.iterdir())
    with pytest.raises(UserError), progress_files(planned, pytest.fail) as [file]:
        file.go_on(records_of(RUN, (0,)))
        raise UserError("no memory")
    assert only(tmp_path).note == "no memory"


KILLED = """
import os, signal, sys
from pathlib import Path
from samedge.config.settings import RunSettings
from samedge.training.observers.progress import ProgressFile
ProgressFile(Path(sys.argv[1]), RunSettings.from_json(sys.argv[2]), print)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_is_known_by_its_absence(tmp_path):
    arguments = str(output_of(tmp_path)), RUN.to_json()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=environment)
    assert done.returncode == -signal.SIGKILL
    found = only(tmp_path)
    assert found.state == "killed"
    assert "is gone, and left no last word" in found.note


def said_by(results, mark, ago, gap=0.0):
    """Write the progress file of a run that a process has told of, and not since."""
    path = lines.path_of(output_of(results))
    path.parent.mkdir(parents=True)
    text = lines.begin(RUN, mark) + lines.check(records_of(RUN, (0,))[0], None)
    first, second = (json.loads(line) for line in text.splitlines())
    first["at"] = "2026-01-01T00:00:00+00:00"
    second["at"] = f"2026-01-01T00:{int(gap) // 60:02d}:00+00:00"
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    os.utime(path, (time.time() - ago,) * 2)


@pytest.mark.parametrize(
    ("ago", "gap", "state"),
    [(10, 0, "training"), (720, 60, "silent"), (720, 300, "training"), (7300, 300, "silent")],
)
def test_of_another_machine_it_is_said_for_how_long_nothing_was_heard(tmp_path, ago, gap, state):
    said_by(tmp_path, ProcessMark("node7", "elsewhere", 1, 1), ago, gap)
    found = only(tmp_path)
    assert found.state == state
    if state == "silent":
        words = "12 min" if ago == 720 else "2.0 h"
        assert found.note == f"nothing heard from node7 for {words}"


def test_another_process_that_has_the_id_now_is_not_taken_for_the_run(tmp_path):
    own = ProcessMark.own()
    assert own.lives() is True
    if own.born is None:
        pytest.skip("the system does not tell when processes began")
    assert replace(own, born=own.born - 1).lives() is False
    assert replace(own, place="elsewhere").lives() is None
    said_by(tmp_path, replace(own, born=own.born - 1), ago=1)
    assert only(tmp_path).state == "killed"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace('"line":"check"', '"line":"cheque"'), "its kind is 'cheque'"),
        (lambda text: text.replace('"edge_ratio"', '"ratio"'), "it lacks 'edge_ratio'"),
        (lambda text: "\x00\x01\n" + text, "damaged"),
        (lambda text: text.partition("\n")[2], "nothing began before it"),
        (lambda text: "[]\n", "damaged"),
        (lambda text: text.replace('"version":1', '"version":2'), "of version 2 of the format"),
        (lambda text: text.replace('"eta":"0.05",', ""), "RunSettings lacks eta"),
    ],
)
def test_a_damaged_or_newer_file_is_one_run_that_cannot_be_told(tmp_path, change, complaint):
    damaged = begun(tmp_path, steps=(0, 2)).path
    begun(tmp_path, replace(RUN, seed=1), steps=(0,))
    damaged.write_text(change(damaged.read_text()))
    found = Watch(tmp_path).look()
    assert [(one.seed, one.state) for one in found] == [("0", "damaged"), ("1", "training")]
    assert f"{damaged}, line " in found[0].note
    assert complaint in found[0].note
    seen = so_far(found)
    assert list(seen.unfinished["mnist"]) == ["eta0.05_rho0.1_seed1"]
    [left_out] = seen.left_out
    assert complaint in left_out


def test_a_run_file_says_more_than_an_older_progress_file(tmp_path):
    file = begun(tmp_path, steps=(0, 2))
    path = output_of(tmp_path)
    files.write(run(RUN, checks=5), path)
    assert only(tmp_path).state == "finished"
    os.utime(path, (file.path.stat().st_mtime - 10,) * 2)
    assert only(tmp_path).state == "training"  # trained again


def test_planned_runs_wait_and_one_that_failed_early_says_what_its_log_says(tmp_path):
    settings = grid_settings(eta=["0.1", "0.3"], rho=["0"])
    plan.write_plan(tmp_path, {"mnist": settings})
    assert count(Watch(tmp_path).look()) == {"not started": 2}
    log = tmp_path / "logs/train_run/mnist/eta0.3_rho0_seed0.log"
    log.parent.mkdir(parents=True)
    log.write_text("error: --device gpu: JAX finds none\n")
    waiting, failed = Watch(tmp_path).look()
    assert (waiting.state, failed.state) == ("not started", "failed")
    assert failed.note == "--device gpu: JAX finds none"
    os.utime(log, (0, 0))  # of an earlier start of the workflow
    assert count(Watch(tmp_path).look()) == {"not started": 2}


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', '{"version": 2}'])
def test_a_damaged_plan_is_named(tmp_path, text):
    path = tmp_path / "progress/planned.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path}: "):
        Watch(tmp_path).look()


def test_the_cube_so_far_has_the_ended_runs_and_the_checks_of_the_others(tmp_path):
    first, second, third, fourth = grid_settings(eta=["0.1", "0.3"], rho=["0", "0.1"])
    files.write(run(first, checks=5), output_of(tmp_path, first))
    files.write(run(second, diverged_at=20), output_of(tmp_path, second))
    begun(tmp_path, third, steps=(0, 10))
    plan.write_plan(tmp_path, {"mnist": [first, second, third, fourth]})
    found = so_far(Watch(tmp_path).look())
    cube = found.cubes["mnist"]
    assert found.left_out == []
    assert cube["status"].values[..., 0].tolist() == [[0, 1], [2, 2]]
    assert np.isfinite(cube["step"].values[..., 0, :]).sum(axis=-1).tolist() == [[5, 3], [2, 0]]
    assert found.unfinished["mnist"] == {
        third.name: ("training", "This run is training: step 10 of 400, about 30 s left."),
        fourth.name: ("not started", "This run has not started."),
    }
    only_begun = so_far([one for one in Watch(tmp_path).look() if one.file is None])
    assert only_begun.cubes["mnist"]["status"].values.tolist() == [[[2], [2]]]


def loss(params, inputs, targets):
    return jnp.mean(jnp.square(jnp.tanh(inputs @ params["first"]) @ params["second"] - targets))


@pytest.fixture(scope="module")
def problem(strict_jax):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((12, 3), (12, 2), (3, 8), (8, 2))
    inputs, targets, first, second = (
        jax.random.normal(key, shape, jnp.float32) for key, shape in zip(keys, shapes, strict=True)
    )
    return Problem(
        lambda key: {"first": first + 0, "second": second + 0},
        loss,
        (inputs, targets),
        lambda params: 0.25,
        "test_error",
    )


def trained(problem, settings, file=None, checkpoints=None):
    member = loop.Member(settings, lambda line: None, (), checkpoints, None, file)
    [result] = loop.train_together([member], problem)
    return result


def numbers(result):
    records, outcome = result
    timeless = [{k: v for k, v in one.items() if not k.endswith("_time")} for one in records]
    return jax.tree.leaves(timeless), (outcome.status, outcome.step)


def test_a_run_tells_of_itself_and_comes_to_the_same_numbers(problem, tmp_path):
    quiet = trained(problem, RUN)
    with job(tmp_path, RUN) as [file]:
        file.ready(ENVIRONMENT)
        told = trained(problem, RUN, file)
        found = lines.read(file.path)
    for one, other in zip(numbers(quiet)[0], numbers(told)[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert numbers(quiet)[1] == numbers(told)[1]
    assert (found.status, found.step) == ("completed", 6)
    for values, record in zip(found.checks, told[0], strict=True):
        for name, value in record.items():
            np.testing.assert_array_equal(values[name], np.asarray(value, np.float64))


def test_a_run_trains_on_where_its_progress_cannot_be_written(problem, tmp_path):
    (tmp_path / "progress").write_text("in the way")
    said = []
    with progress_files([Planned(RUN, output_of(tmp_path))], said.append) as [file]:
        _, outcome = trained(problem, RUN, file)
    assert outcome.status == "completed"
    assert len(said) == 1


def test_a_run_that_goes_on_from_a_checkpoint_tells_the_checks_before_it(problem, tmp_path):
    def checkpoints():
        return Checkpoints(tmp_path / "kept", {"run": 1}, Interval(steps=2), lambda line: None)

    stopped = begun(tmp_path)
    stopped.alive = lambda *how_far: (_ for _ in ()).throw(MemoryError())
    with pytest.raises(MemoryError):
        trained(problem, RUN, stopped, checkpoints())
    file = ProgressFile(output_of(tmp_path), RUN, pytest.fail)
    file.ready(ENVIRONMENT)
    records, _ = trained(problem, RUN, file, checkpoints())
    found = lines.read(file.path)
    assert [one["step"] for one in found.checks] == [one["step"] for one in records] == [0, 2, 4, 6]
    assert found.status == "completed"
    # A run whose result a checkpoint has tells it again.
    again = ProgressFile(output_of(tmp_path), RUN, pytest.fail)
    trained(problem, RUN, again, checkpoints())
    found = lines.read(again.path)
    assert (len(found.checks), found.status) == (4, "completed")


def test_words_for_times():
    assert [watched.in_words(seconds) for seconds in (9.6, 720, 12600)] == [
        "10 s",
        "12 min",
        "3.5 h",
    ]
