"""Files of the first schema (tests/old) are read, merged, judged and drawn; later ones refused."""

import json
import shutil
import zipfile
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import filter_diverged
import judge_claims
import plot_density
import plot_edge_map
import plot_figure
import plot_supplement
import write_explorer
from samedge.analysis.claims import load_claims
from samedge.analysis.comparison import (
    ending_lines,
    setting_lines,
    statistic_lines,
    verdict_lines,
)
from samedge.base.errors import UserError
from samedge.config import experiment
from samedge.config.grid import grid_runs
from samedge.config.settings import RunSettings
from samedge.records import cubes, files, netcdf, schema
from samedge.sharing import adopting
from samedge.sharing.archive import MANIFEST, METADATA, manifest
from samedge.sharing.pack import pack
from samedge.sharing.redraw import redraw
from synthetic import ENVIRONMENT, run, run_settings

TASKS = ("mnist", "cifar10", "tiny_shakespeare")
RUN = "mnist/eta0.3_rho0.1_seed0.nc"
#: The attributes and the variables that later versions brought.
BROUGHT = ("schema_version", "jax_settings", "plugins")
LATER = (
    *("largest_eigenvalue_bound", "smallest_eigenvalue_bound"),
    *("learning_rate", "effective_curvature", "edge_ratio"),
)
FUTURE = schema.VERSION + 1


@pytest.fixture(scope="module")
def old(repository):
    """Return the folder of old files."""
    return repository / "tests/old"


@pytest.fixture(scope="module")
def known(old, repository):
    """Return the experiment that the old files are of; both ends were known to 0.001 then."""
    return with_ends(0.001, experiment.load([repository / "config.yaml", old / "config.yaml"]))


def with_ends(share, known):
    return replace(known, curvature=replace(known.curvature, ends=share))


def expected_runs(cube):
    return grid_runs(cube.attrs["settings"])


def opened(path):
    """Return a file as it is, by xarray alone."""
    with xr.open_dataset(path) as dataset:
        return dataset.load()


def without(dataset):
    """Return a dataset without what later versions brought, which has to be "not there"."""
    assert all(np.isnan(dataset[name]).all() for name in LATER)
    attributes = {name: value for name, value in dataset.attrs.items() if name not in BROUGHT}
    return dataset.drop_vars(LATER).drop_attrs(deep=False).assign_attrs(attributes)


def outputs(folder, name):
    return [
        *("--output-pdf", str(folder / f"{name}.pdf")),
        *("--output-png", str(folder / f"{name}.png")),
    ]


def test_the_old_files_are_of_the_first_version(old):
    paths = sorted(old.rglob("*.nc"))
    assert len(paths) == 18
    for path in paths:
        assert not {*BROUGHT} & opened(path).attrs.keys()


@pytest.mark.parametrize("task", TASKS)
def test_an_old_file_comes_in_todays_version(old, task):
    for path in (old / f"cubes/{task}.nc", *(old / "runs" / task).iterdir()):
        read = files.read_cube(path)
        assert read.attrs["schema_version"] == schema.VERSION
        assert read.attrs["jax_settings"] == ""
        xr.testing.assert_identical(without(read), opened(path))
        assert [*read.data_vars] == schema.names_beside(read.variables)


@pytest.mark.parametrize("task", TASKS)
def test_old_runs_merge_to_the_old_cube(old, task):
    before = opened(old / f"cubes/{task}.nc")
    merged = cubes.collect(expected_runs(before), old / "runs" / task)
    assert (merged.attrs["schema_version"], merged.attrs["jax_settings"]) == (schema.VERSION, "")
    xr.testing.assert_identical(without(merged), before)


def test_old_and_new_runs_are_of_one_cube(old, tmp_path):
    before = opened(old / "cubes/mnist.nc")
    shutil.copytree(old / "runs/mnist", tmp_path / "runs")
    path = tmp_path / "runs" / RUN.split("/")[1]
    now = files.read_run(path).assign_attrs(jax_settings=ENVIRONMENT["jax_settings"])
    files.write(now, path)
    assert opened(path).attrs["schema_version"] == schema.VERSION
    merged = cubes.collect(expected_runs(before), tmp_path / "runs")
    assert json.loads(merged.attrs["jax_settings"]) == ["", ENVIRONMENT["jax_settings"]]
    xr.testing.assert_identical(without(merged), before)


@pytest.mark.parametrize("task", TASKS)
def test_an_old_cube_is_filtered_as_it_was(old, tmp_path, task):
    output = tmp_path / "converged.nc"
    filter_diverged.main(["--input", str(old / f"cubes/{task}.nc"), "--output", str(output)])
    xr.testing.assert_identical(
        without(files.read_cube(output)), opened(old / f"cubes/{task}.converged.nc")
    )


def test_the_verdicts_on_old_cubes_are_what_they_were(old, known, tmp_path):
    judge_claims.main(
        [
            *("--cubes", *(str(old / f"cubes/{task}.nc") for task in known.tasks)),
            *("--rho", *(known.tasks[task].figure_rho for task in known.tasks)),
            *("--csv", str(tmp_path / "claims.csv"), "--json", str(tmp_path / "claims.json")),
            *outputs(tmp_path, "claims"),
        ]
    )
    now, before = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (tmp_path / "claims.json", old / "claims.json")
    )
    found = {(row["claim"], row["task"]): row for row in now["claims"]}
    compared = 0
    for row in before["claims"]:
        again = found.get((row["claim"], row["task"]))
        # Of a claim that has been worded anew the same runs may say something else.
        if again and all(again[key] == row[key] for key in ("statistic", "range", "selection")):
            assert (again["verdict"], again["effects"]) == (row["verdict"], row["effects"])
            compared += 1
    assert compared >= 20
    for task, rows in before["runs"].items():
        for row, again in zip(rows, now["runs"][task], strict=True):
            kept = row.keys() & again.keys()
            assert {key: again[key] for key in kept} == {key: row[key] for key in kept}


@pytest.mark.parametrize("task", TASKS)
def test_old_cubes_are_drawn(old, known, tmp_path, task):
    rho = known.tasks[task].figure_rho
    cube = ["--cube", str(old / f"cubes/{task}.nc")]
    number = {"mnist": 4, "cifar10": 9, "tiny_shakespeare": 14}[task]
    plot_figure.main(["--number", str(number), *cube, "--rho", rho, *outputs(tmp_path, "figure")])
    plot_density.main([*cube, "--rho", rho, *outputs(tmp_path, "density")])
    plot_edge_map.main([*cube, *outputs(tmp_path, "edge_map")])
    converged = ["--cube", str(old / f"cubes/{task}.converged.nc")]
    plot_supplement.main([*converged, "--output", str(tmp_path / "supplement")])
    assert len([*tmp_path.glob("*.p*")]) == 6
    assert len([*(tmp_path / "supplement").glob("*.pdf")]) == 2


def test_old_cubes_are_explored(old, tmp_path):
    paths = [str(old / f"cubes/{task}.nc") for task in TASKS]
    write_explorer.main(["--cubes", *paths, "--output", str(tmp_path / "explorer.html")])
    text = (tmp_path / "explorer.html").read_text(encoding="utf-8")
    assert all(f'"name":"{task}"' in text for task in TASKS)


def test_an_old_experiment_equals_one_merged_today(old):
    before = files.read_cubes(old / f"cubes/{task}.nc" for task in TASKS)
    now = {
        task: cubes.collect(expected_runs(cube), old / "runs" / task)
        for task, cube in before.items()
    }
    for lines in (setting_lines, ending_lines):
        assert [*lines(before, now)] == []
    assert [*verdict_lines(before, now, load_claims())] == []
    [said] = statistic_lines(before, now)
    assert said.startswith("not compared: with a seed each")


def test_old_runs_are_adopted(old, known, tmp_path, monkeypatch):
    def data_of(path):  # which are not kept here, but for their checksum
        checksum = files.read_cube(old / f"cubes/{path.stem}.nc").attrs["data_checksum"]
        return SimpleNamespace(checksum=checksum)

    monkeypatch.setattr(adopting, "read_data", data_of)
    adoption = adopting.adopt(known, old, tmp_path)
    # Of the other tasks there are no parameters here.
    assert [run.name for run in adoption.adopted] == [run.name for run in known.runs("mnist")]
    assert all("parameters" in reason for _, reason in adoption.refused)
    assert adoption.commits == {"2fa4ca6a17dffbf3af838c2e434e951cbbd2384b"}
    for kind in ("runs", "parameters"):
        copied = tmp_path / kind / RUN
        assert copied.read_bytes() == (old / kind / RUN).read_bytes()


def test_old_runs_are_none_of_an_experiment_that_knows_the_ends_less_well(
    old, known, tmp_path, monkeypatch
):
    checksum = SimpleNamespace(checksum="")
    monkeypatch.setattr(adopting, "read_data", lambda path: checksum)
    adoption = adopting.adopt(with_ends(0.05, known), old, tmp_path)
    assert not adoption.adopted
    reason = dict((run.name, reason) for run, reason in adoption.refused)["eta0.3_rho0.1_seed0"]
    assert "other settings: curvature.ends" in reason


def test_old_parameters_are_audited(old):
    import jax

    from samedge.audit.float64 import audit
    from samedge.data.file import TaskData
    from samedge.records.parameters import read_parameters

    recorded, saved = files.read_run(old / "runs" / RUN), read_parameters(old / "parameters" / RUN)
    settings = RunSettings.from_json(recorded.attrs["settings"])
    assert settings.to_json() == saved.settings
    generator = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_inputs"] = generator.integers(0, 256, (100, 28, 28, 1), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(100) % 10).astype(np.uint8)
    attributes = {"name": "mnist", "kind": "images", "source": "sample", "stand_in": False}
    # Images of the same shape in place of those that are not kept here.
    data = TaskData(arrays, attributes, saved.data_checksum)
    said = []
    with jax.enable_x64(True):
        [check] = audit(settings, data, recorded, saved, said.append)
    assert check.step == 40
    assert all(check.converged)
    assert len(said) == 1


@pytest.fixture
def archive(old, tmp_path):
    """Return an archive as the first version had it, of what is kept of the old one."""

    def made(metadata=None):
        contents = {path.name: path.read_bytes() for path in (old / "packed").iterdir()}
        contents |= {f"cubes/{task}.nc": (old / f"cubes/{task}.nc").read_bytes() for task in TASKS}
        contents["claims.json"] = (old / "claims.json").read_bytes()
        contents[METADATA] = metadata or contents[METADATA]
        checksums = {name: sha256(content).hexdigest() for name, content in contents.items()}
        contents[MANIFEST] = manifest(checksums).encode()
        with zipfile.ZipFile(tmp_path / "old.zip", "w") as file:
            for name, content in contents.items():
                file.writestr(f"old/{name}", content)
        return tmp_path / "old.zip"

    return made


def test_an_old_archive_is_redrawn(archive, tmp_path):
    wanted = ["04", "density_mnist", "edge_map_cifar10", "supplement_mnist"]
    done = redraw(archive(), tmp_path / "redrawn", wanted)
    assert len(done.drawn) == len(wanted)
    assert len([*(tmp_path / "redrawn/figures").iterdir()]) == 6
    assert done.left_alone == ["claims.json"]


def test_the_whole_old_archive_is_redrawn(repository, tmp_path):
    path = repository.parent / "shared/old/old.zip"
    if not path.is_file():
        pytest.skip(f"the old archive of 8 MB is not kept here, and not at {path}")
    done = redraw(path, tmp_path / "redrawn")
    # Sixteen figures, three densities, three edge maps, the claims; pages of the six runs that
    # completed.
    assert len([*(tmp_path / "redrawn").rglob("*.p*")]) == 2 * (16 + 3 + 3 + 3 + 1 + 6)
    assert len([*done.equal, *done.other]) == 2 * (16 + 3 + 3 + 1)
    assert {*done.left_alone} == {"claims.csv", "claims.json", "explorer.html"}


def test_old_cubes_are_packed_and_redrawn(old, known, tmp_path):
    packed = tmp_path / "packed.zip"
    paths = [old / f"cubes/{task}.nc" for task in TASKS]
    pack(experiment.resolved(known), paths, [], packed, "2024-06-01")
    with zipfile.ZipFile(packed) as file:
        described = json.loads(file.read(f"old/{METADATA}"))["@graph"]
    [root] = [entity for entity in described if entity["@id"] == "./"]
    assert root["schemaVersion"] == str(schema.VERSION)
    assert redraw(packed, tmp_path / "redrawn", ["13"]).drawn == ["figure_13"]


# What is of a later version


def refusal(path):
    return (
        f"{path}: of version {FUTURE} of the schema, and this samedge knows versions up to "
        f"{schema.VERSION}; read it with a newer samedge"
    )


def test_files_of_the_future_are_refused_by_name(old, tmp_path):
    settings = run_settings()
    path = tmp_path / f"{settings.name}.nc"
    files.write(run(settings).assign_attrs(schema_version=FUTURE).drop_vars("step"), path)
    for read in (files.read_cube, files.read_run):
        with pytest.raises(UserError) as refused:
            read(path)
        assert str(refused.value) == refusal(path)
    with pytest.raises(UserError) as refused:
        cubes.collect([settings], tmp_path)
    assert f"  {settings.name}: {refusal(path)}" in str(refused.value)


def test_parameters_of_the_future_are_refused_by_name(old, tmp_path):
    from samedge.records.parameters import read_parameters

    path = tmp_path / "parameters.nc"
    dataset = opened(old / "parameters" / RUN).assign_attrs(schema_version=FUTURE)
    netcdf.write(dataset, path, {})
    with pytest.raises(UserError) as refused:
        read_parameters(path)
    assert str(refused.value) == refusal(path)


def test_an_archive_of_the_future_is_refused_by_name(archive, tmp_path):
    metadata = {"@graph": [{"@id": "./", "schemaVersion": str(FUTURE)}]}
    path = archive(json.dumps(metadata).encode())
    with pytest.raises(UserError) as refused:
        redraw(path, tmp_path / "redrawn")
    assert str(refused.value) == refusal(path)
    assert not (tmp_path / "redrawn").exists()


@pytest.mark.parametrize("version", ["second", 0, -1, 1.5])
def test_a_version_that_is_none_is_refused(tmp_path, version):
    path = tmp_path / "run.nc"
    files.write(run(run_settings()).assign_attrs(schema_version=version), path)
    with pytest.raises(UserError, match=rf"its schema_version is '{version}', must be a whole"):
        files.read_run(path)


def test_an_old_file_that_was_cut_short_is_named(old, tmp_path):
    path = tmp_path / "run.nc"
    content = (old / "runs" / RUN).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"run\.nc: truncated, or not a NetCDF file"):
        files.read_run(path)


# How the schema grows


@pytest.fixture
def grown(monkeypatch):
    """Let the next version bring a variable for each check, one for each run, and an attribute."""
    later = {
        "sharpest": schema.Variable("sharpest", schema.PER_CHECK, "1", "came later"),
        "judged": schema.Variable(
            "judged", schema.PER_RUN, "", "came later", np.int8, -1, {"no": -1, "yes": 1}
        ),
    }
    monkeypatch.setattr(schema, "VARIABLES", schema.VARIABLES | later)
    attributes = (*schema.ENVIRONMENT_ATTRIBUTES, "weather")
    monkeypatch.setattr(schema, "ENVIRONMENT_ATTRIBUTES", attributes)
    monkeypatch.setattr(schema, "BROUGHT", schema.BROUGHT | {FUTURE: (*later, "weather")})
    monkeypatch.setattr(schema, "VERSION", FUTURE)


def grown_run(path):
    """Return an old run as the next version would have it."""
    dataset = files.read_run(path)
    dataset["sharpest"].values[:] = 7.0
    dataset["judged"].values[:] = 1
    return dataset.assign_attrs(weather="fair")


@pytest.mark.usefixtures("grown")
def test_what_came_later_is_not_there_in_older_files(old):
    read = files.read_run(old / "runs" / RUN)
    assert read["sharpest"].dims == schema.PER_CHECK
    assert read["sharpest"].shape == read["step"].shape
    assert np.isnan(read["sharpest"]).all()
    assert read["judged"].values.tolist() == [[[-1]]]
    assert read["judged"].attrs["flag_meanings"] == "no yes"
    assert (read.attrs["weather"], read.attrs["schema_version"]) == ("", FUTURE)


@pytest.mark.usefixtures("grown")
def test_runs_of_before_and_after_are_of_one_cube(old, tmp_path):
    before = opened(old / "cubes/mnist.nc")
    shutil.copytree(old / "runs/mnist", tmp_path / "runs")
    path = tmp_path / "runs" / RUN.split("/")[1]
    files.write(grown_run(path), path)
    merged = cubes.collect(expected_runs(before), tmp_path / "runs")
    names = [*before.data_vars]
    xr.testing.assert_identical(merged[names].drop_attrs(deep=False), before.drop_attrs(deep=False))
    there = merged["judged"].values == 1
    assert there.sum() == 1
    assert (merged["judged"].values[~there] == -1).all()
    assert (merged["sharpest"].values[there] == 7.0).all()
    assert np.isnan(merged["sharpest"].values[~there]).all()
    assert json.loads(merged.attrs["weather"]) == ["", "fair"]


@pytest.mark.usefixtures("grown")
@pytest.mark.parametrize(
    ("lacking", "problem"),
    [
        (lambda run: run.drop_vars("sharpest"), "it has no variable 'sharpest'"),
        (
            lambda run: run.drop_attrs(deep=False).assign_attrs(
                {name: value for name, value in run.attrs.items() if name != "weather"}
            ),
            "it has no global attribute 'weather'",
        ),
    ],
)
def test_what_its_version_brought_has_to_be_in_a_file(old, tmp_path, lacking, problem):
    path = tmp_path / "run.nc"
    files.write(lacking(grown_run(old / "runs" / RUN)), path)
    with pytest.raises(UserError, match=problem):
        files.read_run(path)
