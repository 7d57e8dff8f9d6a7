import json
import weakref

import numpy as np
import pytest
import xarray as xr

import collect_runs
import filter_diverged
from samedge.base.errors import UserError
from samedge.config import grid
from samedge.records import cubes, files, merging, schema
from synthetic import ENVIRONMENT, grid_settings, run, run_settings, write_runs

ETA, RHO, SEEDS = ("0.03", "0.1", "0.3"), ("0", "0.1"), (0, 1)


@pytest.fixture
def settings():
    return grid_settings("mnist", ETA, RHO, SEEDS)


def replace_run(folder, settings, **how):
    files.write(run(settings, **how), folder / f"{settings.name}.nc")


def test_a_grid_names_its_runs_and_nothing_else(settings):
    text = grid.grid_json(settings)
    assert grid.grid_runs(text) == settings
    assert len(text) < len(settings[0].to_json()) + 100


def test_a_grid_is_in_numerical_order_however_the_runs_come():
    shuffled = grid_settings("mnist", ("10", "0.3", "2", "0.03"), ("1.0", "0"), (10, 9))
    axes = json.loads(grid.grid_json(shuffled))
    assert axes["eta"] == ["0.03", "0.3", "2", "10"]
    assert axes["rho"] == ["0", "1.0"]
    assert axes["seed"] == [9, 10]


def test_runs_that_are_no_full_grid_are_refused(settings):
    with pytest.raises(ValueError, match="the 11 runs are not the full grid"):
        grid.grid_json(settings[:-1])
    with pytest.raises(ValueError, match="not the full grid"):
        grid.grid_json([*settings[:-1], run_settings("mnist", "0.3", "0.1", 1, precision="high")])


def test_text_that_is_no_grid_is_refused():
    for text in ("", "[]", "{}", '{"eta": ["0.1"], "rho": ["0"], "seed": [0]}'):
        with pytest.raises(UserError, match="the grid must be the JSON"):
            grid.grid_runs(text)


def test_every_value_of_every_run_is_at_its_place_in_the_cube(tmp_path, settings):
    for number, one in enumerate(reversed(settings)):
        replace_run(tmp_path, one, checks=3 + number)
    cube = cubes.collect(list(reversed(settings)), tmp_path)
    assert cube.sizes == {"eta": 3, "rho": 2, "seed": 2, "check": 14, "rank": 3}
    for one in settings:
        alone = files.read_run(tmp_path / f"{one.name}.nc").squeeze(["eta", "rho", "seed"])
        place = cube.sel(eta=float(one.eta), rho=float(one.rho), seed=one.seed)
        xr.testing.assert_equal(place.isel(check=slice(alone.sizes["check"])), alone)
        padding = place.isel(check=slice(alone.sizes["check"], None))
        for name in schema.CHECK_KEYS:
            if name == "eigenvalue_converged":
                assert (padding[name] == -1).all()
            else:
                assert padding[name].isnull().all()


def test_no_run_is_kept_once_it_is_in_the_cube(tmp_path, settings, monkeypatch):
    write_runs(tmp_path, settings)
    read, kept_before_each = [], []

    def read_run_file(path):
        kept_before_each.append(sum(run() is not None for run in read))
        run = merging.read_run_file(path)
        read.append(weakref.ref(run))
        return run

    monkeypatch.setattr(cubes, "read_run_file", read_run_file)
    cubes.collect(settings, tmp_path)
    assert len(read) == 12
    # The one before lives until the next is there.
    assert max(kept_before_each) == 1


def test_a_cube_written_twice_is_the_same_and_reads_as_it_was(tmp_path, settings):
    write_runs(tmp_path, settings)
    for name in ("first.nc", "second.nc"):
        files.write(cubes.collect(settings, tmp_path), tmp_path / name)
    assert (tmp_path / "first.nc").read_bytes() == (tmp_path / "second.nc").read_bytes()
    cube = cubes.collect(settings, tmp_path)
    xr.testing.assert_identical(files.read_cube(tmp_path / "first.nc"), cube)


def test_a_cube_carries_the_grid_that_collects_it_again(tmp_path, settings):
    write_runs(tmp_path, settings)
    cube = cubes.collect(settings, tmp_path)
    again = cubes.collect(grid.grid_runs(cube.attrs["settings"]), tmp_path)
    xr.testing.assert_identical(again, cube)


def test_environments_that_differ_are_all_recorded(tmp_path, settings):
    write_runs(tmp_path, settings)
    replace_run(tmp_path, settings[3], device="NVIDIA H100")
    cube = cubes.collect(settings, tmp_path)
    assert json.loads(cube.attrs["device"]) == ["NVIDIA H100", "cpu"]
    assert cube.attrs["git_commit"] == "0" * 40


def test_runs_with_other_settings_of_jax_are_not_merged(tmp_path, settings):
    write_runs(tmp_path, settings)
    other = '{"XLA_FLAGS": "--fast", "jax_threefry_partitionable": false}'
    replace_run(tmp_path, settings[2], jax_settings=other)
    with pytest.raises(UserError, match="1 of 12 runs cannot be merged") as refusal:
        cubes.collect(settings, tmp_path)
    assert (
        f"  {settings[2].name}: other settings of JAX, which decide numbers: XLA_FLAGS is "
        '"--fast", "" for 11 of the runs; jax_threefry_partitionable is false, true for 11 of the '
        "runs"
    ) in str(refusal.value)
    cube = cubes.collect(settings, tmp_path, allow_missing=True)
    assert int((cube["status"] == schema.MISSING).sum()) == 1
    assert cube.attrs["jax_settings"] == ENVIRONMENT["jax_settings"]


def test_runs_of_an_earlier_version_do_not_say_their_settings_of_jax_and_are_merged(
    tmp_path, settings
):
    write_runs(tmp_path, settings)
    for one in settings[:8]:
        old = run(one)
        del old.attrs["jax_settings"], old.attrs["schema_version"]
        files.write(old, tmp_path / f"{one.name}.nc")
    cube = cubes.collect(settings, tmp_path)
    assert (cube["status"] == schema.COMPLETED).all()
    assert json.loads(cube.attrs["jax_settings"]) == ["", ENVIRONMENT["jax_settings"]]


@pytest.fixture
def bad_runs(tmp_path, settings):
    """Runs of which four do not belong; what must be said of each, by name."""
    write_runs(tmp_path, settings)
    missing, truncated, other, elsewhere = settings[:4]
    (tmp_path / f"{missing.name}.nc").unlink()
    content = (tmp_path / f"{truncated.name}.nc").read_bytes()
    (tmp_path / f"{truncated.name}.nc").write_bytes(content[:2000])
    changed = run_settings(
        "mnist",
        other.eta,
        other.rho,
        other.seed,
        checks={"spacing": "even", "count": 21, "minutes": None},
        precision="high",
    )
    replace_run(tmp_path, changed)
    replace_run(tmp_path, elsewhere, data_checksum="bad")
    return {
        missing.name: "no such file",
        truncated.name: "truncated, or not a NetCDF file",
        other.name: 'other settings: checks.count is 21, expected 41; precision is "high", '
        'expected "highest"',
        elsewhere.name: "other data: its data checksum is bad, that of 8 of the runs is c0ffee",
    }


def test_every_run_that_does_not_belong_is_named_and_none_is_merged(tmp_path, settings, bad_runs):
    with pytest.raises(UserError, match="4 of 12 runs cannot be merged") as refusal:
        cubes.collect(settings, tmp_path)
    for name, problem in bad_runs.items():
        (line,) = [line for line in str(refusal.value).splitlines() if f"  {name}: " in line]
        assert problem in line


def test_runs_left_out_are_missing_in_the_cube_and_named_there(tmp_path, settings, bad_runs):
    cube = cubes.collect(settings, tmp_path, allow_missing=True)
    for one in settings:
        place = cube.sel(eta=float(one.eta), rho=float(one.rho), seed=one.seed)
        gone = one.name in bad_runs
        assert place["status"].item() == (schema.MISSING if gone else schema.COMPLETED)
        assert bool(place["training_loss"].isnull().all()) == gone
        assert bool(place["test_error"].isnull()) == gone
        assert (f"{one.name} (" in cube.attrs["missing_runs"]) == gone


def test_a_cube_needs_at_least_one_run(tmp_path, settings):
    with pytest.raises(UserError, match="12 of 12 runs cannot be merged"):
        cubes.collect(settings, tmp_path, allow_missing=True)


def test_the_filtered_cube_has_no_trace_of_a_run_that_diverged(tmp_path, settings):
    write_runs(tmp_path, settings, **{"eta0.3_rho0_seed1": 70})
    cube = cubes.collect(settings, tmp_path)
    filtered = cubes.drop_diverged(cube)
    gone = filtered.sel(eta=0.3, rho=0, seed=1)
    assert gone["status"] == schema.MISSING
    assert gone["end_reason"] == ""
    for name, variable in gone.data_vars.items():
        if schema.VARIABLES[name].dtype is np.float64 and name != "gd_edge":
            assert variable.isnull().all()
    assert (gone["eigenvalue_converged"] == -1).all()
    kept = cube["status"] == schema.COMPLETED
    assert int(kept.sum()) == 11
    for name in ("eigenvalue", "training_loss", "test_error"):
        xr.testing.assert_equal(filtered[name], cube[name].where(kept))
    assert filtered.attrs["removed_runs"] == (
        "eta0.3_rho0_seed1 (diverged at step 70: the loss is not finite)"
    )


def test_the_filter_drops_a_step_size_of_which_no_run_is_left(tmp_path, settings):
    diverged = {one.name: 20 for one in settings if one.eta == "0.3"}
    write_runs(tmp_path, settings, **diverged)
    cube = cubes.collect(settings, tmp_path)
    before = cube.copy(deep=True)
    filtered = cubes.drop_diverged(cube)
    assert filtered["eta_label"].values.tolist() == ["0.03", "0.1"]
    assert (filtered["status"] == schema.COMPLETED).all()
    xr.testing.assert_identical(cube, before)


def test_a_task_of_which_every_run_diverged_filters_to_an_empty_cube(tmp_path, settings):
    write_runs(tmp_path, settings, **{one.name: 20 for one in settings})
    filtered = cubes.drop_diverged(cubes.collect(settings, tmp_path))
    files.write(filtered, tmp_path / "empty.nc")
    assert files.read_cube(tmp_path / "empty.nc")["status"].size == 0


def test_the_scripts_write_what_the_functions_return(tmp_path, settings, capsys):
    grid_text = write_runs(tmp_path / "runs", settings, **{"eta0.3_rho0_seed1": 70})
    cube, filtered = tmp_path / "cube.nc", tmp_path / "cube.converged.nc"
    collect_runs.main(
        ["--grid", grid_text, "--runs", str(tmp_path / "runs"), "--output", str(cube)]
    )
    filter_diverged.main(["--input", str(cube), "--output", str(filtered)])
    expected = cubes.collect(settings, tmp_path / "runs")
    xr.testing.assert_identical(files.read_cube(cube), expected)
    xr.testing.assert_identical(files.read_cube(filtered), cubes.drop_diverged(expected))
    log = capsys.readouterr().out
    assert "11 completed, 1 diverged, 0 missing" in log
    assert "removed eta0.3_rho0_seed1 (diverged at step 70" in log


def test_densities_are_at_their_place_in_the_cube_and_go_with_the_runs_that_diverged(tmp_path):
    density = {"at": [0.0, 1.0], "probes": 3, "steps": 5}
    settings = grid_settings("mnist", eta=("0.1", "0.3"), density=density)
    write_runs(tmp_path, settings, **{"eta0.3_rho0_seed0": 70})
    cube = cubes.collect(settings, tmp_path)
    assert cube["density_check"].values.tolist() == [0.0, 1.0]
    assert cube["density_weight"].shape == (2, 2, 1, 2, 3, 5)
    for one in settings:
        alone = files.read_run(tmp_path / f"{one.name}.nc").squeeze(["eta", "rho", "seed"])
        there = cube.sel(eta=float(one.eta), rho=float(one.rho), seed=one.seed)
        for name in schema.DENSITY_KEYS:
            np.testing.assert_array_equal(there[name], alone[name])
    diverged = {"eta": 0.3, "rho": 0, "seed": 0}
    assert cube["density_step"].sel(diverged)[0] == 0
    filtered = cubes.drop_diverged(cube)
    for name in schema.DENSITY_KEYS:
        assert filtered[name].sel(diverged).isnull().all()
    files.write(filtered, tmp_path / "filtered.nc")
    xr.testing.assert_identical(files.read_cube(tmp_path / "filtered.nc"), filtered)
