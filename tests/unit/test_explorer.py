"""The explorer's page, read as text; how it behaves in a browser is tested in tests/browser."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import write_explorer
from samedge.analysis.quantities import BOUNDED
from samedge.analysis.statistics import STATISTICS
from samedge.base.errors import UserError
from samedge.explorer import page
from samedge.figures import panels
from samedge.records import cubes
from samedge.records import files as records
from synthetic import grid_settings, write_runs

DIVERGED, MISSING = "eta0.3_rho0.1_seed7", "eta0.03_rho0_seed0"
LARGEST = 8 * 10**6


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """The synthetic mnist cube of two seeds, one run diverged and one missing."""
    folder = tmp_path_factory.mktemp("runs")
    settings = grid_settings("mnist", seeds=(0, 7))
    write_runs(folder, settings, **{DIVERGED: 220})
    (folder / f"{MISSING}.nc").unlink()
    return cubes.collect(settings, folder, allow_missing=True)


@pytest.fixture(scope="module")
def text(cube):
    return page.page([cube])


def small_cube(folder, task="mnist", diverged=(), **settings):
    """Return the cube of a small grid; ``diverged`` runs end before their first check."""
    runs = grid_settings(task, **settings)
    write_runs(folder, runs, **dict.fromkeys(diverged, -1))
    return cubes.collect(runs, folder)


def data_of(text):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def numbers(values):
    """Return nested lists of the page as an array, what is null as NaN."""
    return np.array(values, np.float64)


def test_every_run_of_the_page_is_that_of_the_cube(cube, text):
    (task,) = data_of(text)["tasks"]
    assert task["eta"] == list(cube["eta_label"].values)
    assert task["rho"] == list(cube["rho_label"].values)
    assert task["seed"] == [0, 7]
    np.testing.assert_allclose(task["gd_edge"], cube["gd_edge"], rtol=1e-4)
    for index in np.ndindex(cube["status"].shape):
        run = task["runs"][index[0]][index[1]][index[2]]
        here = dict(zip(("eta", "rho", "seed"), index, strict=True))
        there = panels.measured(cube.isel(here))
        assert run["ending"] == cubes.ending(cube, *index)
        np.testing.assert_array_equal(run["checks"]["step"], there["step"])
        for name in page.CHECK_COLUMNS:
            np.testing.assert_allclose(numbers(run["checks"][name]), there[name], rtol=5e-5)
        for name, compute in page.COMPUTED.items():
            np.testing.assert_allclose(
                numbers(run["checks"][name]), compute(there), rtol=5e-5, atol=0
            )
        for name in page.RANK_COLUMNS:
            np.testing.assert_allclose(
                numbers(run["checks"][name]).reshape(3, -1), there[name].T, rtol=5e-5
            )
        np.testing.assert_allclose(
            numbers(run["tests"]["test_error"]), there["test_error"], rtol=5e-5
        )


def test_the_statistics_of_runs_and_the_map_are_those_that_all_share(cube, text):
    data = data_of(text)
    (task,) = data["tasks"]
    for name in page.MAPPED:
        assert data["statistics"][name]["definition"] == STATISTICS[name].definition
        values = STATISTICS[name].compute(cube)
        for eta, rho, seed in np.ndindex(values.shape):
            found = task["runs"][eta][rho][seed]["statistics"][name]
            np.testing.assert_allclose(numbers(found), values[eta, rho, seed], rtol=5e-5)
        for eta, rho in np.ndindex(values.shape[:2]):
            known = values[eta, rho][np.isfinite(values[eta, rho])]
            np.testing.assert_allclose(
                numbers(task["map"][name][eta][rho]), np.median(known), rtol=5e-5
            )


@pytest.mark.parametrize(
    ("seeds", "shown"),
    [
        ([1.0, np.nan, 3.0], 2),
        ([np.nan, np.nan], None),
        ([np.inf, 2.0, np.inf], page.NEVER),
        ([np.inf, np.inf], page.NEVER),
        ([1 / 3], 0.33333),
        ([123457.0], 123457),
    ],
)
def test_a_cell_of_the_map_is_the_median_of_the_seeds_that_have_one(seeds, shown):
    assert page.edge_map(np.array([[seeds]])) == [[shown]]


def test_a_page_of_too_many_numbers_has_fewer_checks_of_each_run_from_first_to_last(
    cube, monkeypatch
):
    whole = data_of(page.page([cube]))["tasks"][0]
    numbers_of_a_check = len(page.CHECK_COLUMNS) + 2 * len(BOUNDED) + 3 * len(page.RANK_COLUMNS)
    monkeypatch.setattr(page, "MOST_NUMBERS", 5 * numbers_of_a_check * cube["status"].size)
    (task,) = data_of(page.page([cube]))["tasks"]
    assert ["Checks", "5 of 41 of a run are shown"] in task["facts"]
    assert task["map"] == whole["map"]
    for index in np.ndindex(cube["status"].shape):
        run, all_of_it = (one["runs"][index[0]][index[1]][index[2]] for one in (task, whole))
        steps = all_of_it["checks"]["step"]
        assert run["measured"] == all_of_it["measured"] == len(steps)
        assert run["statistics"] == all_of_it["statistics"]
        if not steps:
            continue
        assert len(run["checks"]["step"]) == 5
        assert run["checks"]["step"][::4] == [steps[0], steps[-1]]
        places = [steps.index(step) for step in run["checks"]["step"]]
        assert run["checks"]["eigenvalue"][2] == [
            all_of_it["checks"]["eigenvalue"][2][place] for place in places
        ]


def test_what_is_not_finite_is_null():
    values = np.array([[np.nan, np.inf], [-np.inf, 0.0]])
    assert page.rounded(values) == [[None, None], [None, 0]]


def test_the_same_cubes_give_the_same_page(cube, text):
    assert page.page([cube.copy(deep=True)]) == text


def test_a_page_of_156_runs_is_small_enough(cube):
    large = cube.isel(eta=[0, 1, 2] * 2, rho=[0, 1] * 2, seed=[0, 1, 0], check=range(21))
    tasks = [
        large.assign_attrs(settings=large.attrs["settings"].replace('"mnist"', f'"{name}"'))
        for name in ("first", "second", "third")
    ]
    assert sum(task["status"].size for task in tasks) >= 156
    assert len(page.page(tasks).encode()) < LARGEST


def test_nothing_is_loaded_from_elsewhere(text):
    own = re.sub(r"<script>\s*/\*\*\s*\* plotly.js.*?</script>", "", text, flags=re.S)
    assert len(own) < len(text) - 10**6
    assert not re.findall(r"\b(?:src|href|action|data)\s*=\s*[\"']?(?!#|data:,)[\w/.]", own)
    assert not re.findall(r"url\(|@import|\bimport\b|fetch\(|XMLHttpRequest|WebSocket", own)
    # A name space is a name, and is not loaded.
    assert set(re.findall(r"https?://[^\"'\s]*", own)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in own and "connect-src" not in own


@pytest.mark.parametrize(
    "nasty",
    ["</script><script>alert(1)</script>", "<!--<script>", "a & b \u2028 'c' \"d\" {{style}}"],
)
def test_text_of_a_cube_stays_text(cube, nasty):
    settings = records.settings_of(cube) | {"task": nasty}
    changed = cube.assign_attrs(settings=json.dumps(settings), data_description=nasty, device=nasty)
    changed["end_reason"] = changed["end_reason"].copy()
    changed["end_reason"].values[:] = nasty
    text = page.page([changed])
    (task,) = data_of(text)["tasks"]
    assert task["name"] == nasty
    assert task["stand_in"].startswith(nasty)
    assert task["runs"][2][1][1]["ending"].endswith(nasty)
    # As many scripts as ever, and the title is escaped.
    assert text.count("<script") == page.page([cube]).count("<script")
    assert nasty not in text or "<" not in nasty


def test_the_styles_are_those_of_the_figures(text):
    styles = data_of(text)["styles"]
    assert [style["color"] for style in styles["ranks"]] == [panels.BLUE, panels.GREEN, panels.SKY]
    assert styles["sam_edge"]["color"] == panels.VERMILION
    assert styles["gd_edge"]["color"] == "black"
    assert styles["sam_edge"]["dash"] != "solid" != styles["gd_edge"]["dash"]


def test_the_facts_of_a_task_come_from_its_settings(cube, text, tmp_path):
    facts = dict(data_of(text)["tasks"][0]["facts"])
    assert facts["Model"] == "mlp (depth 4, width 20)"
    assert facts["Batch"] == "full batch"
    assert facts["Budget"] == "400 steps"
    assert facts["Examples"] == "training 100, test 50"
    assert MISSING in facts["Missing"]
    density = {"at": [1.0], "probes": 3, "steps": 4}
    budget = {"steps": None, "hours": 1.5}
    other = small_cube(
        tmp_path, "tiny_shakespeare", eta=("0.1",), density=density, budget=budget
    ).assign_attrs(data_stand_in=0)
    (task,) = data_of(page.page([other]))["tasks"]
    facts = dict(task["facts"])
    assert facts["Model"].endswith("1,000 parameters")
    assert (facts["Batch"], facts["Budget"]) == ("minibatches of 128", "1.5 hours")
    assert task["stand_in"] == ""
    assert task["algorithms"] == ["SGD", "SAM"]
    assert ["curvature.tolerance", "0.001"] in task["settings"]
    assert list(task["tests"]) == ["test_loss"]


def test_a_cube_of_which_no_run_was_measured_has_a_page(tmp_path):
    names = [f"eta0.1_rho{rho}_seed0" for rho in ("0", "0.1")]
    cube = small_cube(tmp_path, eta=("0.1",), diverged=names)
    assert cube.sizes["rank"] == 0
    (task,) = data_of(page.page([cube]))["tasks"]
    assert task["map"]["edge_ratio"] == [[None, None]]
    assert task["runs"][0][0][0]["status"] == "diverged"


def test_a_cube_without_test_metric_or_third_eigenvalue_has_a_page(cube):
    (task,) = data_of(page.page([cube.drop_vars("test_error").isel(rank=[0, 1])]))["tasks"]
    assert task["tests"] == {}
    assert len(task["runs"][2][0][0]["checks"]["eigenvalue"]) == 2


def test_a_cube_without_runs_is_refused(cube):
    with pytest.raises(UserError, match="the cube of 'mnist' has no runs; give the one with div"):
        page.page([cube.isel(eta=[])])


def test_the_script_writes_the_page_of_its_cubes(cube, text, tmp_path):
    records.write(cube, tmp_path / "mnist.nc")
    output = tmp_path / "folder" / "explorer.html"
    write_explorer.main(["--cubes", str(tmp_path / "mnist.nc"), "--output", str(output)])
    assert output.read_text(encoding="utf-8") == text


def test_two_cubes_of_a_task_are_an_error_that_names_both(cube, tmp_path):
    files = [tmp_path / name for name in ("one.nc", "two.nc")]
    for file in files:
        records.write(cube, file)
    output = tmp_path / "explorer.html"
    expected = f"{files[0]} and {files[1]} both hold the task 'mnist'; give one cube a task"
    with pytest.raises(UserError, match=re.escape(expected)):
        write_explorer.main(["--cubes", *map(str, files), "--output", str(output)])
    assert not output.exists()


def test_a_missing_cube_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.nc: no such file"):
        write_explorer.main(["--cubes", str(tmp_path / "none.nc"), "--output", str(tmp_path / "x")])


def test_the_script_does_not_import_jax(repository):
    code = "import sys, write_explorer; print('jax' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository / "workflow" / "scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "False"


def test_the_page_offers_the_figures_beside_it_by_their_tasks(cube, text):
    assert "Figures to download" not in text
    paths = ["figures/figure_01.pdf", "figures/figure_04.pdf", "figures/loss_mnist_rho0.1.pdf"]
    offered = page.page([cube], paths)
    links = re.findall(r'<li><a href="(.+?)">(.+?)</a></li>', offered)
    assert links == [
        ("figures/figure_04.pdf", "Figure 4: eigenvalues, zoom, SAM"),
        ("figures/loss_mnist_rho0.1.pdf", "loss, ρ = 0.1"),
    ]
    assert "<h3>mnist</h3>" in offered
