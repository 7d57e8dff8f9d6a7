import os

import netCDF4
import numpy as np
import pytest
import xarray as xr

from samedge.base.errors import UserError
from samedge.records import cubes, files, schema
from synthetic import (
    BLOCKS,
    ENVIRONMENT,
    blocks,
    densities,
    grid_settings,
    run,
    run_settings,
    write_runs,
)


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "run.nc"
    files.write(run(run_settings()), path)
    return path


@pytest.mark.parametrize("checks", [0, 1, 7])
@pytest.mark.parametrize("task", ["mnist", "tiny_shakespeare"])
def test_a_run_read_is_the_run_written(tmp_path, task, checks):
    outcome = files.Outcome("completed", 3, "budget of steps spent", "test_loss", 0.25)
    whole = run(run_settings(task), checks=max(checks, 1))
    rows = [_check_of(whole, number) for number in range(checks)]
    dataset = files.run_dataset(run_settings(task), rows, outcome, ENVIRONMENT)
    files.write(dataset, tmp_path / "run.nc")
    xr.testing.assert_identical(files.read_run(tmp_path / "run.nc"), dataset)


def test_what_a_check_holds_is_where_the_schema_says():
    first, second = (_check_of(run(run_settings()), number) for number in (0, 5))
    outcome = files.Outcome("completed", 50, "budget of steps spent", "test_error", 0.125)
    dataset = files.run_dataset(run_settings(), [first, second], outcome, ENVIRONMENT)
    for number, check in enumerate([first, second]):
        for name in schema.CHECK_KEYS:
            np.testing.assert_array_equal(dataset[name].values[0, 0, 0, number], check[name])
    assert dataset["test_error"].item() == 0.125
    assert dataset["end_step"].item() == 50
    assert dataset["status"].item() == schema.COMPLETED
    assert "test_loss" not in dataset
    assert dataset["gd_edge"].item() == pytest.approx(2 / 0.3, rel=1e-15)
    assert (dataset["eta_label"].item(), dataset["rho_label"].item()) == ("0.3", "0.1")


def test_every_variable_states_its_unit_or_its_flags(run_file):
    dataset = files.read_run(run_file)
    for name, variable in dataset.data_vars.items():
        assert variable.attrs["long_name"]
        described = "units" in variable.attrs or "flag_values" in variable.attrs
        assert described or name == "end_reason"
    status = dataset["status"].attrs
    assert status["flag_meanings"].split() == ["completed", "diverged", "missing"]
    assert status["flag_values"].tolist() == [0, 1, 2]


def test_a_run_that_diverged_has_no_test_metric():
    dataset = run(run_settings(), diverged_at=55)
    assert dataset["status"].item() == schema.DIVERGED
    assert dataset["end_step"].item() == 55
    assert dataset["end_reason"].item() == "the loss is not finite"
    assert np.isnan(dataset["test_error"].item())
    assert dataset["step"].values.max() == 50


def test_the_settings_come_back_whole(run_file):
    settings = run_settings()
    stored = files.read_run(run_file).attrs["settings"]
    assert stored == settings.to_json()
    assert type(settings).from_json(stored) == settings


def test_the_same_run_gives_the_same_bytes(tmp_path):
    for name in ("first.nc", "second.nc"):
        files.write(run(run_settings()), tmp_path / name)
    assert (tmp_path / "first.nc").read_bytes() == (tmp_path / "second.nc").read_bytes()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(run_file):
    before = run_file.read_bytes()
    broken = run(run_settings()).assign_attrs(settings=object())
    with pytest.raises(TypeError):
        files.write(broken, run_file)
    assert run_file.read_bytes() == before
    assert os.listdir(run_file.parent) == [run_file.name]


@pytest.mark.parametrize("kept", [0, 1, 100, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(run_file, kept):
    content = run_file.read_bytes()
    run_file.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(UserError, match=rf"{run_file.name}: truncated, or not a NetCDF file"):
        files.read_run(run_file)


def test_a_file_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "run.nc"
    files.write(run(run_settings()), path)
    content = bytearray(path.read_bytes())
    # A value of a variable, of which NetCDF itself keeps no checksum.
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"run\.nc: damaged, its contents do not have the SHA-256"):
        files.read_run(path)


def test_other_programs_read_a_run_file_and_what_they_change_is_read_again(tmp_path):
    path = tmp_path / "run.nc"
    written = run(run_settings())
    files.write(written, path)
    with netCDF4.Dataset(path, "a") as opened:
        opened.setncattr("note", "mine")
    assert files.read_run(path).identical(written.assign_attrs(note="mine"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.nc: no such file"):
        files.read_cube(tmp_path / "absent.nc")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda run: run.drop_vars("sam_edge"), "no variable 'sam_edge'"),
        (lambda run: run.isel(rho=0), r"'step' has dimensions"),
        (
            lambda run: run.assign_attrs(data_checksum=None).drop_attrs(),
            "no global attribute 'settings'",
        ),
    ],
)
def test_a_file_of_another_schema_says_what_it_lacks(tmp_path, spoil, problem):
    spoil(run(run_settings())).to_netcdf(tmp_path / "other.nc", engine="netcdf4")
    with pytest.raises(UserError, match=problem):
        files.read_run(tmp_path / "other.nc")


def test_a_cube_is_not_a_run_file(tmp_path):
    two = xr.concat(
        [run(run_settings(seed=seed)) for seed in (0, 1)],
        dim="seed",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="override",
    )
    files.write(two, tmp_path / "cube.nc")
    with pytest.raises(UserError, match="holds 2 runs, a run file holds one"):
        files.read_run(tmp_path / "cube.nc")


def test_a_check_with_a_key_too_few_or_too_many_is_refused():
    check = _check_of(run(run_settings()), 0)
    outcome = files.Outcome("completed", 0, "budget of steps spent", "test_error", 0.5)
    without = {name: value for name, value in check.items() if name != "sam_edge"}
    with pytest.raises(ValueError, match=r"check 0: missing keys \['sam_edge'\]"):
        files.run_dataset(run_settings(), [without], outcome, ENVIRONMENT)
    with pytest.raises(ValueError, match=r"check 1: .*unknown keys \['lambda'\]"):
        files.run_dataset(run_settings(), [check, check | {"lambda": 1}], outcome, ENVIRONMENT)
    with pytest.raises(ValueError, match=r"attributes: missing keys \['git_commit'"):
        files.run_dataset(run_settings(), [check], outcome, {})


def test_an_unknown_way_to_end_is_refused():
    with pytest.raises(ValueError, match="'completed' or 'diverged', not 'stopped'"):
        files.Outcome("stopped", 1, "", "test_error", 0.5)
    with pytest.raises(ValueError, match="not 'accuracy'"):
        files.Outcome("completed", 1, "", "accuracy", 0.5)


def _check_of(dataset: xr.Dataset, number: int) -> dict:
    """Return a check of a run as the training job hands it over."""
    return {name: dataset[name].values[0, 0, 0, number] for name in schema.CHECK_KEYS}


DENSITY = {"at": [0.0, 0.5, 1.0], "probes": 4, "steps": 6}


def test_densities_come_back_as_they_were_handed_over(tmp_path):
    settings = run_settings(density=DENSITY)
    whole = run(settings, checks=11)
    check = _check_of(whole, 10)
    rows = densities(settings, [_check_of(whole, number) for number in range(11)], 100)
    outcome = files.Outcome("completed", 100, "", "test_error", 0.5)
    files.write(
        files.run_dataset(settings, [check], outcome, ENVIRONMENT, rows), tmp_path / "run.nc"
    )
    dataset = files.read_run(tmp_path / "run.nc")
    assert dataset["density_check"].values.tolist() == [0.0, 0.5, 1.0]
    assert dataset["density_node"].dims == ("eta", "rho", "seed", "density_check", "probe", "node")
    for number, row in enumerate(rows):
        assert row.keys() == {*schema.DENSITY_KEYS}
        for name, value in row.items():
            np.testing.assert_array_equal(dataset[name].values[0, 0, 0, number], value)
    assert dataset["density_step"].values.ravel().tolist() == [0, 50, 100]
    assert np.isnan(dataset["density_node"].values[0, 0, 0, :, 0, -1]).all()


def test_a_density_that_the_run_did_not_reach_is_missing():
    dataset = run(run_settings(density=DENSITY), diverged_at=230)
    assert dataset["density_step"].values.ravel()[:2].tolist() == [0, 200]
    for name in schema.DENSITY_KEYS:
        assert np.isnan(dataset[name].values[0, 0, 0, 2]).all()


def test_without_densities_there_is_no_trace_of_them():
    dataset = run(run_settings())
    assert not {*schema.DENSITY_KEYS} & {*dataset.variables}
    assert not {"density_check", "probe", "node"} & {*dataset.sizes}


def test_a_density_too_few_or_with_other_keys_is_refused():
    settings = run_settings(density=DENSITY | {"at": [1.0]})
    check = _check_of(run(run_settings()), 0)
    outcome = files.Outcome("completed", 0, "", "test_error", 0.5)
    with pytest.raises(ValueError, match="density: 0 checks, expected 1"):
        files.run_dataset(settings, [check], outcome, ENVIRONMENT)
    with pytest.raises(ValueError, match=r"density, check 0: missing keys \['density_step'"):
        files.run_dataset(settings, [check], outcome, ENVIRONMENT, [{}])


def test_a_file_with_some_of_the_density_says_what_it_lacks(tmp_path):
    part = run(run_settings(density=DENSITY)).drop_vars("density_weight")
    part.to_netcdf(tmp_path / "part.nc", engine="netcdf4")
    with pytest.raises(UserError, match="no variable 'density_weight'"):
        files.read_run(tmp_path / "part.nc")


SHARES = {"at": [0.0, 1.0]}


def test_blocks_come_back_as_they_were_handed_over(tmp_path):
    settings = run_settings(blocks=SHARES)
    whole = run(settings, checks=11)
    files.write(whole, tmp_path / "run.nc")
    dataset = files.read_run(tmp_path / "run.nc")
    assert dataset.attrs["schema_version"] == schema.VERSION
    assert dataset["block"].values.tolist() == list(BLOCKS)
    assert dataset["block_check"].values.tolist() == [0.0, 1.0]
    rows = [_check_of(whole, number) for number in range(11)]
    for place, found in enumerate(blocks(settings, rows, 100).values()):
        for number, measured in enumerate(found):
            assert measured.keys() == {*schema.BLOCK_KEYS}
            for name, value in measured.items():
                assert dataset[name].values[0, 0, 0, number, place] == value


def test_blocks_of_runs_are_merged_and_those_not_reached_are_missing(tmp_path):
    settings = grid_settings(eta=["0.3"], blocks=SHARES)
    diverged = settings[-1].name
    write_runs(tmp_path, settings, **{diverged: 230})
    cube = cubes.collect(settings, tmp_path)
    assert cube["block"].values.tolist() == list(BLOCKS)
    assert cube["block_curvature"].dims == ("eta", "rho", "seed", "block_check", "block")
    assert (cube["block_converged"].values[0, -1, 0, 1] == -1).all()
    assert np.isnan(cube["block_curvature"].values[0, -1, 0, 1]).all()
    kept = cubes.drop_diverged(cube)
    assert np.isfinite(kept["block_curvature"].values).all()


def test_a_run_with_other_blocks_than_the_rest_is_named(tmp_path):
    settings = grid_settings(eta=["0.3"], rho=["0", "0.1"], blocks=SHARES)
    write_runs(tmp_path, settings)
    other = run(settings[-1])
    names = ["first", *BLOCKS][: len(BLOCKS)]
    (tmp_path / f"{settings[-1].name}.nc").unlink()
    files.write(other.assign_coords(block=names), tmp_path / f"{settings[-1].name}.nc")
    with pytest.raises(UserError, match="other blocks: it has first, dense_0, dense_1, and the"):
        cubes.collect(settings, tmp_path)


def test_without_blocks_there_is_no_trace_of_them():
    dataset = run(run_settings())
    assert not {*schema.BLOCK_KEYS} & {*dataset.variables}
    assert not {"block_check", "block"} & {*dataset.sizes}
    assert "blocks" not in files.settings_of(dataset)


def test_blocks_too_few_or_with_other_keys_are_refused():
    settings = run_settings(blocks={"at": [1.0]})
    check = _check_of(run(run_settings()), 0)
    outcome = files.Outcome("completed", 0, "", "test_error", 0.5)
    for found, complaint in (
        ([], "block first: 0 checks, expected 1"),
        ([{}], r"block first, check 0: missing keys \['block_step'"),
    ):
        with pytest.raises(ValueError, match=complaint):
            files.run_dataset(settings, [check], outcome, ENVIRONMENT, blocks={"first": found})
