"""The made-up runs of the benchmark of scale are read and merged as real ones."""

import numpy as np

from benchmarks import scale, scale_runs
from samedge.records import cubes, files, schema
from synthetic import grid_settings


def test_made_up_runs_merge_into_the_cube_of_their_numbers(tmp_path):
    settings = grid_settings("mnist", ("0.01", "0.02"), ("0", "0.1"), tuple(range(10)))
    scale_runs.write_runs(settings, tmp_path / "runs")
    cube = cubes.collect(settings, tmp_path / "runs")
    assert cube.sizes == {"eta": 2, "rho": 2, "seed": 10, "check": 41, "rank": 3}
    diverged = np.flatnonzero(cube["status"].values.ravel() == schema.DIVERGED)
    assert diverged.tolist() == [19, 39]
    for one in settings[:19]:
        place = cube.sel(eta=float(one.eta), rho=float(one.rho), seed=one.seed)
        for name, values in scale_runs.values_of(one, 41).items():
            np.testing.assert_array_equal(place[name], values)
    assert files.read_run(tmp_path / "runs" / f"{settings[0].name}.nc")["gd_edge"] == 200


def test_a_report_has_every_part_and_the_slope_of_the_last_tenfold():
    def entry(times):
        part = {"seconds": 2.0 * times, "processor_seconds": 1.0 * times, "peak_memory": 2**30}
        sizes = {f"{name}_bytes": 2**20 for name in ("run_files", "cube", "explorer")}
        return {"parts": dict.fromkeys(scale.PARTS, part), **sizes}

    entries = {"100": entry(1), "1000": entry(10), "10000": entry(1000)}
    del entries["10000"]["parts"]["plot_supplement"]  # not measured there
    text = scale.report(entries)
    for part, name in scale.PARTS.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        if part == "plot_supplement":
            assert line.split()[-4:] == ["s", "1.0", "10.0", "1.00"]
        else:
            assert line.split()[-5:] == ["s", "1.0", "10.0", "1000.0", "2.00"]
