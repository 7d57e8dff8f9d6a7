"""What a finished run of the workflow leaves behind: files, cubes, and runs that diverged."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from checkout import Checkout
from samedge.config.paper_figures import FIGURES
from samedge.figures import paper
from samedge.records import files as records
from samedge.records import schema

TASKS = ("mnist", "cifar10", "tiny_shakespeare")
#: Sizes of eta, rho, seed, check and rank.
SIZES = {"mnist": (2, 2, 1, 4, 3), "cifar10": (1, 2, 1, 3, 3), "tiny_shakespeare": (1, 2, 1, 3, 3)}
STEPS = {"mnist": [0, 4, 8, 12], "cifar10": [0, 2, 4], "tiny_shakespeare": [0, 1, 4]}
RUNS = {
    "mnist": ["eta0.1_rho0_seed0", "eta0.1_rho0.1_seed0"],
    "cifar10": ["eta0.003_rho0_seed0", "eta0.003_rho0.1_seed0"],
    "tiny_shakespeare": ["eta0.1_rho0_seed0", "eta0.1_rho0.3_seed0"],
}
DIVERGED = ["eta10000_rho0_seed0", "eta10000_rho0.1_seed0"]

PER_RUN = ("eta", "rho", "seed")
PER_CHECK = (*PER_RUN, "check")
PER_RANK = (*PER_CHECK, "rank")
CONTRACT = {
    **dict.fromkeys(("step", "training_time", "wall_time", "training_loss"), PER_CHECK),
    **dict.fromkeys(("gradient_norm", "sam_gradient_norm", "sam_edge"), PER_CHECK),
    **dict.fromkeys(("eigenvalue", "eigenvalue_residual"), PER_RANK),
    **dict.fromkeys(("largest_eigenvalue", "smallest_eigenvalue"), PER_CHECK),
    **dict.fromkeys(("largest_eigenvalue_bound", "smallest_eigenvalue_bound"), PER_CHECK),
    **dict.fromkeys(("gradient_alignment", "sam_gradient_alignment"), PER_CHECK),
    "hessian_vector_products": PER_CHECK,
    "overlooked": PER_CHECK,
    "gd_edge": ("eta",),
    "status": PER_RUN,
}
ATTRIBUTES = {
    "Conventions": "CF-1.11",
    "device": "cpu",
    "matmul_precision": "highest",
    "data_source": "sample",
    "data_stand_in": 1,
}


def files(folder: Path) -> set[str]:
    """Return the names of the files in a folder, but for hidden ones."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def is_pdf(path: Path) -> bool:
    content = path.read_bytes()
    return content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")


def is_png(path: Path) -> bool:
    content = path.read_bytes()
    return content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")


def test_sixteen_figures_and_what_goes_beyond_them(finished: Checkout):
    folder = finished.result("figures")
    names = [f"figure_{number:02d}" for number in range(1, 17)]
    names += [f"{kind}_{task}" for kind in ("density", "edge_map") for task in TASKS]
    names += [f"alignment_{task}_rho0" for task in TASKS]
    names.append("claims")
    assert files(folder) == {f"{name}.{kind}" for name in names for kind in ("pdf", "png")}
    for name in names:
        assert is_pdf(folder / f"{name}.pdf")
        assert is_png(folder / f"{name}.png")


def test_runs_and_cubes_by_name(finished: Checkout):
    assert files(finished.result("runs")) == set(TASKS)
    for task in TASKS:
        names = RUNS[task] + (DIVERGED if task == "mnist" else [])
        assert files(finished.result(f"runs/{task}")) == {f"{name}.nc" for name in names}
    wanted = {f"{task}{kind}.nc" for task in TASKS for kind in ("", ".converged")}
    assert files(finished.result("cubes")) == wanted


@pytest.mark.parametrize("task", TASKS)
def test_supplement_shows_the_runs_that_completed(finished: Checkout, task):
    folder = finished.result(f"supplement/{task}")
    pages = {f"{name}.{kind}" for name in RUNS[task] for kind in ("pdf", "png")}
    assert files(folder) == pages | {"index.html"}
    assert all(is_pdf(page) for page in folder.glob("*.pdf"))
    assert all(is_png(page) for page in folder.glob("*.png"))
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{name}.pdf"' in index for name in RUNS[task])
    assert all(f"{name} (diverged at step" in index for name in DIVERGED) is (task == "mnist")


@pytest.mark.parametrize("task", TASKS)
def test_cubes_keep_the_contract(finished: Checkout, task):
    cube = records.read_cube(finished.result(f"cubes/{task}.nc"))
    assert tuple(cube.sizes[dim] for dim in PER_RANK) == SIZES[task]
    metric = "test_loss" if task == "tiny_shakespeare" else "test_error"
    for name, dims in {**CONTRACT, metric: PER_RUN}.items():
        assert cube[name].dims == dims, name
        assert cube[name].attrs["long_name"], name
    np.testing.assert_array_equal(cube["gd_edge"], 2 / cube["eta"].values)
    assert cube["status"].attrs["flag_meanings"] == "completed diverged missing"
    np.testing.assert_array_equal(cube["status"].attrs["flag_values"], [0, 1, 2])
    assert cube["training_time"].attrs["units"] == cube["wall_time"].attrs["units"] == "s"

    for name, value in ATTRIBUTES.items():
        assert cube.attrs[name] == value, name
    for name in ("title", "source", "history", "references", "git_commit", "data_checksum"):
        assert cube.attrs[name], name
    assert "jax" in json.loads(cube.attrs["package_versions"])
    settings = json.loads(cube.attrs["settings"])
    assert settings["task"] == task
    assert settings["eta"] == list(cube["eta_label"].values)
    assert settings["curvature"]["max_products"] == 40
    dates = r"\b(19|20)\d\d-\d\d-\d\d|\d\d:\d\d:\d\d"
    assert not any(re.search(dates, str(value)) for value in cube.attrs.values())


@pytest.mark.parametrize("task", TASKS)
def test_completed_runs_are_measured_at_every_check(finished: Checkout, task):
    cube = records.read_cube(finished.result(f"cubes/{task}.nc"))
    completed = cube.isel(eta=0, seed=0)
    np.testing.assert_array_equal(completed["status"], schema.COMPLETED)
    for rho in range(completed.sizes["rho"]):
        np.testing.assert_array_equal(completed["step"].isel(rho=rho), STEPS[task])
    for name in CONTRACT:
        assert np.isfinite(completed[name]).all(), name
    # At rho = 0 both gradients, and both edges, are one.
    descent = completed.isel(rho=0)
    np.testing.assert_allclose(descent["sam_edge"], float(descent["gd_edge"]), rtol=1e-12)
    np.testing.assert_array_equal(descent["gradient_norm"], descent["sam_gradient_norm"])
    assert (completed["sam_edge"].isel(rho=1) < completed["gd_edge"]).all()
    assert (np.diff(completed["training_time"].values) > 0).all()


@pytest.mark.parametrize("task", TASKS)
def test_densities_are_estimated_at_the_first_check_and_the_last(finished: Checkout, task):
    cube = records.read_cube(finished.result(f"cubes/{task}.nc"))
    assert cube["density_check"].values.tolist() == [0.0, 1.0]
    completed = cube.isel(eta=0, seed=0)
    for rho in range(2):
        run = completed.isel(rho=rho)
        np.testing.assert_array_equal(run["density_step"], [STEPS[task][0], STEPS[task][-1]])
    assert completed["density_node"].dims == ("rho", "density_check", "probe", "node")
    assert completed["density_node"].shape[2:] == (2, 4)
    np.testing.assert_allclose(completed["density_weight"].sum("node"), 1, atol=1e-12)
    np.testing.assert_array_equal(completed["density_products"], 8)
    # Every node lies in the spectrum whose ends the check has measured, but for the tolerance.
    for place, check in ((0, 0), (1, -1)):
        measured = completed.isel(check=check)
        nodes = completed["density_node"].isel(density_check=place)
        margin = 0.05 * np.abs(measured["eigenvalue"].isel(rank=0))
        assert (nodes <= measured["largest_eigenvalue"] + margin).all()
        assert (nodes >= measured["smallest_eigenvalue"] - margin).all()
    # Both runs start from the same weights, and the density of a step has its own probes.
    start = completed["density_node"].isel(density_check=0)
    np.testing.assert_array_equal(start.isel(rho=0), start.isel(rho=1))
    products = completed["hessian_vector_products"]
    assert (products <= 40).all()


def test_runs_that_diverge_keep_the_densities_up_to_there(finished: Checkout):
    cube = records.read_cube(finished.result("cubes/mnist.nc"))
    diverged = cube.sel(eta=10000).isel(seed=0)
    np.testing.assert_array_equal(diverged["density_step"], [[0, np.nan]] * 2)
    assert np.isfinite(diverged["density_node"].isel(density_check=0)).all()
    for name in schema.DENSITY_KEYS:
        assert np.isnan(diverged[name].isel(density_check=1)).all()


def test_runs_that_diverge_end_at_once_with_step_and_reason(finished: Checkout):
    cube = records.read_cube(finished.result("cubes/mnist.nc"))
    diverged = cube.sel(eta=10000).isel(seed=0)
    np.testing.assert_array_equal(diverged["status"], schema.DIVERGED)
    assert np.isnan(diverged["test_error"]).all()
    for rho in range(2):
        run = diverged.isel(rho=rho)
        assert 0 < int(run["end_step"]) < 12
        assert run["end_reason"] == "non-finite loss, gradient or parameter"
        before = [step for step in STEPS["mnist"] if step < int(run["end_step"])]
        np.testing.assert_array_equal(run["step"][: len(before)], before)
        for name, dims in CONTRACT.items():
            if "check" in dims:
                assert np.isfinite(run[name][: len(before)]).all(), name
                assert np.isnan(run[name][len(before) :]).all(), name


def test_filtered_cube_lacks_the_runs_that_diverged(finished: Checkout):
    cube = records.read_cube(finished.result("cubes/mnist.nc"))
    filtered = records.read_cube(finished.result("cubes/mnist.converged.nc"))
    assert list(filtered["eta_label"].values) == ["0.1"]
    for name in [*CONTRACT, "test_error"]:
        np.testing.assert_array_equal(filtered[name], cube[name].sel(eta=[0.1]), err_msg=name)
    for name in DIVERGED:
        assert f"{name} (diverged at step" in filtered.attrs["removed_runs"]
    # Where nothing diverged, nothing goes.
    same = records.read_cube(finished.result("cubes/cifar10.converged.nc"))
    assert same.equals(records.read_cube(finished.result("cubes/cifar10.nc")))
    assert same.attrs["removed_runs"] == ""


@pytest.mark.parametrize(
    ("number", "radii"), [(2, ["0"]), (3, ["0.1"]), (4, ["0.1"]), (5, ["0", "0.1"]), (6, ["0.1"])]
)
def test_figures_name_the_runs_that_diverged(finished: Checkout, tmp_path, number, radii):
    cube = records.read_cube(finished.result("cubes/mnist.nc"))
    figure = paper.draw(FIGURES[number], cube, radii[-1])
    text = "\n".join(artist.get_text() for artist in figure.findobj(Text))
    for rho in radii:
        step = int(cube["end_step"].sel(eta=10000, rho=float(rho), seed=0))
        assert f"diverged at step {step}" in text
    assert text.replace("\n", " ").count("non-finite loss, gradient or parameter") == len(radii)
    # What was read above is what the workflow drew.
    paper.save(figure, tmp_path / "drawn.pdf", tmp_path / "drawn.png")
    name = f"figures/figure_{number:02d}"
    assert (tmp_path / "drawn.png").read_bytes() == finished.result(f"{name}.png").read_bytes()
    assert (tmp_path / "drawn.pdf").read_bytes() == finished.result(f"{name}.pdf").read_bytes()


def test_training_logs_show_progress(finished: Checkout):
    for task, names in RUNS.items():
        for name in names:
            log = finished.result(f"logs/train_run/{task}/{name}.log").read_text(encoding="utf-8")
            assert log.startswith(f"{task} {name} on cpu")
            last = STEPS[task][-1]
            for step in STEPS[task]:
                assert re.search(rf"^step {step}/{last}  loss .* λ1/edge ", log, re.MULTILINE)
            assert f"step {last}/{last}  completed  test_" in log


@pytest.mark.parametrize("task", ["cifar10", "tiny_shakespeare"])
def test_only_the_first_job_of_a_task_compiles(finished: Checkout, task):
    counts = []
    for name in RUNS[task]:
        log = finished.result(f"logs/train_run/{task}/{name}.log").read_text(encoding="utf-8")
        [line] = re.findall(
            r"^trained .*; (\d+) programs compiled, (\d+) from the cache", log, re.MULTILINE
        )
        counts.append(tuple(map(int, line)))
    second, first = sorted(counts)
    assert second[0] == 0
    assert first[0] > 0
    assert first[0] + first[1] == second[1]
