"""Runs of elsewhere are taken over if they are whole and what is asked for, else named."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

import synthetic
from samedge.base.errors import UserError
from samedge.config.experiment import load
from samedge.data.file import read_data, write_data
from samedge.records import files, netcdf, parameters, states
from samedge.sharing.adopting import adopt, data_file, files_of

ONE = "eta0.1_rho0.1_seed0"
OVERLAY = {
    "experiment": "tried",
    "audit": {"at": []},
    "density": {"at": []},
    "tasks": {"cifar10": None, "tiny_shakespeare": None, "mnist": {"eta": [0.1], "rho": [0, 0.1]}},
}


@pytest.fixture
def results(tmp_path):
    """Return the folder of this clone's results: only the data are there."""
    data = synthetic.task_data()
    write_data(data_file("mnist", tmp_path / "here"), data.arrays, data.attributes)
    return tmp_path / "here"


def experiment_of(folder: Path, repository: Path, **changes):
    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(OVERLAY | changes), encoding="utf-8")
    return load([repository / "config.yaml", overlay])


@pytest.fixture
def experiment(tmp_path, repository):
    return experiment_of(tmp_path, repository)


@pytest.fixture
def elsewhere(tmp_path, results, experiment):
    """Return the results of another clone, whose runs are those of the experiment."""
    source = tmp_path / "elsewhere"
    write(source, experiment, results)
    return source


def write(source, experiment, results, **attributes):
    known = {"data_checksum": read_data(data_file("mnist", results)).checksum} | attributes
    for run in experiment.runs("mnist"):
        found = files_of(run, source)
        file = synthetic.run(run, checks=3, **known)
        files.write(file, found["run"])
        if run.audit.at:
            kept = [parameters.Kept(20, {"w": np.zeros(3, np.float32)})]
            parameters.write_parameters(found["parameters"], run, kept, file.attrs)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.nc"))


def test_runs_that_are_asked_for_are_copied_whole(experiment, elsewhere, results):
    adoption = adopt(experiment, elsewhere, results)
    assert [run.name for run in adoption.adopted] == ["eta0.1_rho0_seed0", ONE]
    assert (adoption.refused, adoption.absent) == ([], [])
    assert files_in(results) == files_in(elsewhere)
    for name in files_in(elsewhere):
        assert (results / name).read_bytes() == (elsewhere / name).read_bytes()
    assert [*adoption.lines()] == [
        f"mnist: 2 runs adopted: eta0.1_rho0_seed0, {ONE}",
        f"made by the sources of: {'0' * 40}",
    ]
    again = adopt(experiment, results, results)  # copied by hand, or once more
    assert again.adopted == adoption.adopted


def flip(path, experiment, results):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def unseal(path, experiment, results):
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\nsamedge-sha256:")])


def cut_short(path, experiment, results):
    path.write_bytes(path.read_bytes()[:1000])


def other_settings(path, experiment, results):
    changed = dataclasses.replace(experiment.curvature, tolerance=0.25)
    other = dataclasses.replace(experiment, curvature=changed)
    write(path.parents[2], other, results)


def other_data(path, experiment, results):
    write(path.parents[2], experiment, results, data_checksum="c0ffee")


def of_nobody(path, experiment, results):
    write(path.parents[2], experiment, results, git_commit="")


def of_an_earlier_schema(path, experiment, results):
    file = files.read_run(path).drop_vars("overlooked")
    netcdf.write(file, path, {})


def occupied(path, experiment, results):
    there = results / path.relative_to(path.parents[2])
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (flip, "damaged, its contents do not have the SHA-256 at its end"),
        (unseal, "does not end with the SHA-256 of its contents"),
        (cut_short, "truncated, or not a NetCDF file"),
        (other_settings, "other settings: curvature.tolerance is 0.25, expected 0.001"),
        (other_data, "other data: trained on the SHA-256 c0ffee, the data file here has "),
        (of_nobody, "does not say what made it: git_commit is empty"),
        (of_an_earlier_schema, "it has no variable 'overlooked'"),
        (occupied, "another file is there; delete it to take"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_not_as_asked_for_is_refused_by_name(
    experiment, elsewhere, results, change, reason
):
    run = experiment.runs("mnist")[1]
    path = files_of(run, elsewhere)["run"]
    change(path, experiment, results)
    before = files_in(results)
    adoption = adopt(experiment, elsewhere, results)
    refused = dict((run.name, text) for run, text in adoption.refused)
    assert reason in refused[ONE]
    assert refused[ONE].startswith(str(path)) or change is occupied
    assert f"refused: mnist {ONE}: {refused[ONE]}" in [*adoption.lines()]
    assert {*files_in(results)} - {*before} == {
        f"runs/mnist/{run.name}.nc" for run in adoption.adopted
    }


def test_what_is_not_there_is_left_to_be_trained(experiment, elsewhere, results):
    files_of(experiment.runs("mnist")[0], elsewhere)["run"].unlink()
    adoption = adopt(experiment, elsewhere, results)
    assert [run.name for run in adoption.absent] == ["eta0.1_rho0_seed0"]
    assert [run.name for run in adoption.adopted] == [ONE]
    assert "mnist: 1 runs not there, to be trained: eta0.1_rho0_seed0" in [*adoption.lines()]


def test_of_a_job_of_several_runs_all_are_taken_or_none(tmp_path, repository, elsewhere, results):
    together = experiment_of(tmp_path, repository, together={"axes": ["rho"], "most": None})
    files_of(together.runs("mnist")[0], elsewhere)["run"].unlink()
    adoption = adopt(together, elsewhere, results)
    assert adoption.adopted == []
    [(run, reason)] = adoption.refused
    assert run.name == ONE
    assert reason == ("one job trains it together with eta0.1_rho0_seed0, which is not taken over")


@pytest.mark.parametrize("loss", ["deleted", "of other settings"])
def test_parameters_come_along_and_are_verified_too(tmp_path, repository, results, loss):
    kept = experiment_of(tmp_path, repository, audit={"at": [1.0]})
    source = tmp_path / "elsewhere"
    write(source, kept, results)
    assert len(adopt(kept, source, tmp_path / "here").adopted) == 2
    for path in results.rglob("*.nc"):
        path.unlink()
    one = kept.runs("mnist")[1]
    path = files_of(one, source)["parameters"]
    if loss == "deleted":
        path.unlink()
    else:
        path.write_bytes(files_of(kept.runs("mnist")[0], source)["parameters"].read_bytes())
    [(run, reason)] = adopt(kept, source, results).refused
    assert run == one
    complaint = "no such file" if loss == "deleted" else 'other settings: rho is "0", expected'
    assert reason.startswith(f"{path}: {complaint}")


def test_what_others_start_from_comes_along_and_is_verified(tmp_path, repository, results):
    fork = {"start_from": {"task": "mnist", "at": 0.5}, **_as_mnist(repository)}
    tasks = OVERLAY["tasks"] | {"fork": fork}
    experiment = experiment_of(tmp_path, repository, tasks=tasks)
    source = tmp_path / "elsewhere"
    write(source, experiment, results)
    data = synthetic.task_data()
    write_data(data_file("fork", results), data.arrays, data.attributes)
    done = files.Outcome("completed", 400, "", "test_error", 0.25)
    parents = experiment.runs("mnist")
    for run, shares in zip(parents, ((0.5,), (0.25,)), strict=True):
        path = files_of(run, source, states=True)["states"]
        kept = [states.KeptState(share, {"step": 200}) for share in shares]
        states.write_states(path, run, data.checksum, kept, done)
    adoption = adopt(experiment, source, results)
    assert adoption.adopted == [parents[0]]
    copied = files_of(parents[0], results, states=True)["states"]
    assert states.read_states(copied)["kept"][0]["at"] == 0.5
    [(refused, reason)] = adoption.refused
    assert refused == parents[1] and "has no state at the share 0.5" in reason
    assert {run.task for run in adoption.absent} == {"fork"}


def _as_mnist(repository):
    mnist = yaml.safe_load((repository / "config.yaml").read_text())["tasks"]["mnist"]
    return mnist | OVERLAY["tasks"]["mnist"]


def test_without_data_nothing_can_be_compared(experiment, elsewhere, results):
    data_file("mnist", results).unlink()
    with pytest.raises(UserError, match=r"the data file .*mnist\.npz is missing"):
        adopt(experiment, elsewhere, results)
