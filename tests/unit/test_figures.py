import subprocess
import sys
from types import SimpleNamespace

import matplotlib.colors
import numpy as np
import pytest
import seaborn
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

import plot_figure
import plot_supplement
from samedge.base.errors import UserError
from samedge.config.paper_figures import (
    FIGURES,
    TASK_KINDS,
    described,
    drawable,
    task_figures,
    unnumbered,
)
from samedge.figures import edge_map, panels, paper, supplement
from samedge.figures.time_axis import time_axis
from samedge.records import cubes, describe
from samedge.records import files as records
from samedge.updates.edges import edge_ratio
from synthetic import grid_settings, write_runs

MNIST_RHO = "0.1"
DIVERGED, MISSING = "eta0.3_rho0.1_seed0", "eta0.03_rho0.1_seed0"


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """The synthetic mnist cube, of which every run completed."""
    folder = tmp_path_factory.mktemp("runs")
    settings = grid_settings("mnist")
    write_runs(folder, settings)
    return cubes.collect(settings, folder)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """The same cube with the SAM run of the largest eta diverged and of the smallest missing."""
    folder = tmp_path_factory.mktemp("runs")
    settings = grid_settings("mnist")
    write_runs(folder, settings, **{DIVERGED: 220})
    (folder / f"{MISSING}.nc").unlink()
    return cubes.collect(settings, folder, allow_missing=True)


def draw(number, cube, axis="training_time"):
    return paper.draw(FIGURES[number], cube, FIGURES[number].rho(MNIST_RHO), axis)


def test_the_colours_are_seaborns_for_the_colour_blind():
    palette = seaborn.color_palette("colorblind").as_hex()
    used = (panels.BLUE, panels.GREEN, panels.VERMILION, panels.SKY)
    assert used == tuple(palette[place] for place in (0, 2, 3, 9))


def panels_of(figure):
    return [ax for ax in figure.axes if ax.axison]


def lines(ax):
    return {line.get_gid() or line.get_label(): line for line in ax.lines}


def texts(ax):
    return " ".join(text.get_text().replace("\n", " ") for text in ax.texts)


def at(cube, eta, rho):
    return cube.isel(eta=eta, seed=0).sel(rho=float(rho))


def test_the_table_is_that_of_the_paper():
    kinds = ["eigenvalues", "eigenvalues", "eigenvalues_zoom", "loss", "alignment"]
    assert list(FIGURES) == list(range(1, 17))
    assert FIGURES[1].kind == "edge_ratio"
    for first, task, rho in ((2, "mnist", "0.1"), (7, "cifar10", "0.1")):
        block = [FIGURES[first + place] for place in range(5)]
        assert [spec.kind for spec in block] == kinds
        assert [spec.paper_rho for spec in block] == ["0", rho, rho, rho, rho]
        assert {spec.task for spec in block} == {task}
    assert {FIGURES[number].paper_rho for number in (13, 14, 15, 16)} == {"0.3"}
    assert FIGURES[3].name == "figure_03"


@pytest.mark.parametrize(
    ("rho", "figure_rho", "numbers"),
    [
        (("0", "0.1"), "0.1", [1, 2, 3, 4, 5, 6]),
        (("0.0", "0.10"), "0.1", [1, 2, 3, 4, 5, 6]),
        (("0.1",), "0.1", [1, 3, 4, 6]),
        (("0",), "0", [1, 2, 3, 4, 5, 6]),
    ],
)
def test_figures_are_drawn_of_what_the_configuration_has(rho, figure_rho, numbers):
    task = SimpleNamespace(rho=rho, figure_rho=figure_rho)
    assert drawable({"mnist": task, "my_own": task}) == numbers
    assert drawable({"my_own": task}) == [1]


@pytest.mark.parametrize("number", [2, 3, 4])
def test_eigenvalue_panels_show_magnitudes_and_edges_of_the_cube(cube, number):
    figure = draw(number, cube)
    shown = panels_of(figure)
    assert len(shown) == cube.sizes["eta"]
    for eta, ax in enumerate(shown):
        run = at(cube, eta, FIGURES[number].rho(MNIST_RHO))
        drawn = lines(ax)
        for rank in range(3):
            line = drawn[f"eigenvalue {rank + 1}"]
            np.testing.assert_array_equal(line.get_xdata(), run["training_time"])
            np.testing.assert_array_equal(line.get_ydata(), np.abs(run["eigenvalue"][:, rank]))
        np.testing.assert_array_equal(drawn["sam_edge"].get_ydata(), run["sam_edge"])
        assert ("gd_edge" in drawn) == (number != 4)
        if number != 4:
            assert set(drawn["gd_edge"].get_ydata()) == {2 / float(run["eta"])}
        assert ax.get_title(loc="left") == rf"$\eta$ = {run['eta_label'].item()}"


def test_the_axis_is_logarithmic_only_where_sam_shares_it_with_two_over_eta(cube):
    scales = {number: panels_of(draw(number, cube))[0].get_yscale() for number in (2, 3, 4)}
    assert scales == {2: "linear", 3: "log", 4: "linear"}


def test_the_rescaled_axis_keeps_the_edge_readable_and_says_what_it_cuts(tmp_path):
    settings = grid_settings("cifar10")
    write_runs(tmp_path, settings)
    cifar = cubes.collect(settings, tmp_path)
    for eta, ax in enumerate(panels_of(draw(9, cifar))):
        run = at(cifar, eta, "0.1")
        top = ax.get_ylim()[1]
        assert float(run["sam_edge"].max()) < top < 1.6 * float(run["sam_edge"].max())
        highest = float(np.abs(run["eigenvalue"]).max())
        assert highest > top
        assert f"{highest:.4g}" in texts(ax)


def test_an_eigenvalue_that_was_not_solved_for_is_an_open_marker(cube):
    ax = panels_of(draw(2, cube))[0]
    run = at(cube, 0, "0")
    unsolved = run["eigenvalue_converged"].values[:, 2] == 0
    marks = lines(ax)["not converged 3"]
    np.testing.assert_array_equal(marks.get_xdata(), run["training_time"].values[unsolved])
    assert matplotlib.colors.same_color(marks.get_markerfacecolor(), "white")
    assert "not converged 1" not in lines(ax)


def test_loss_panels_compare_gd_with_sam(cube):
    for eta, ax in enumerate(panels_of(draw(5, cube, axis="step"))):
        assert ax.get_yscale() == "log"
        for label, rho in ((r"GD ($\rho$ = 0)", "0"), (r"SAM ($\rho$ = 0.1)", "0.1")):
            run = at(cube, eta, rho)
            np.testing.assert_array_equal(lines(ax)[label].get_xdata(), run["step"])
            np.testing.assert_array_equal(lines(ax)[label].get_ydata(), run["training_loss"])


def test_minibatch_gradient_descent_is_called_sgd(tmp_path):
    settings = grid_settings("tiny_shakespeare", eta=("0.1",))
    write_runs(tmp_path, settings)
    shakespeare = cubes.collect(settings, tmp_path)
    figure = paper.draw(FIGURES[15], shakespeare, "0.3")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [r"SGD ($\rho$ = 0)", r"SAM ($\rho$ = 0.3)"]


def test_alignment_panels_show_both_gradients_from_0_to_1(cube):
    for eta, ax in enumerate(panels_of(draw(6, cube))):
        run = at(cube, eta, MNIST_RHO)
        drawn = lines(ax)
        np.testing.assert_array_equal(drawn["gradient"].get_ydata(), run["gradient_alignment"])
        np.testing.assert_array_equal(
            drawn["SAM gradient"].get_ydata(), run["sam_gradient_alignment"]
        )
        low, high = ax.get_ylim()
        assert low < 0 < 1 < high


def test_figure_1_is_the_edge_ratio():
    (ax,) = paper.draw(FIGURES[1], None).axes
    curve = max(ax.lines, key=lambda line: len(line.get_xdata()))
    np.testing.assert_array_equal(curve.get_ydata(), edge_ratio(curve.get_xdata()))


@pytest.mark.parametrize(
    ("scale", "unit", "seconds"),
    [(1, "s", 1), (14, "s", 1), (15, "min", 60), (800, "min", 60), (900, "h", 3600)],
)
def test_the_unit_of_time_suits_the_longest_run(cube, scale, unit, seconds):
    longer = cube.assign(training_time=cube["training_time"] * scale)
    time = time_axis(longer, "training_time")
    assert time.label == f"Training time ({unit})"
    run = at(longer, 0, "0")
    np.testing.assert_allclose(time.of(run) * seconds, run["training_time"], rtol=1e-15)
    assert panels_of(draw(2, longer))[-1].get_xlabel() == time.label
    assert panels_of(draw(2, longer, axis="step"))[-1].get_xlabel() == "Optimiser step"


@pytest.mark.parametrize("number", [3, 4, 6])
def test_a_panel_says_when_and_why_its_run_diverged_or_that_it_is_missing(damaged, number):
    first, middle, last = panels_of(draw(number, damaged))
    assert "diverged at step 220: the loss is not finite" in texts(last)
    assert all(line.get_alpha() == paper.LIGHT for line in last.lines if line.get_alpha())
    assert texts(first) == "missing"
    assert not first.lines
    assert "missing" not in texts(middle) and "diverged" not in texts(middle)


def test_a_panel_of_two_radii_says_which_of_them_diverged(damaged):
    first, _, last = panels_of(draw(5, damaged))
    assert texts(last) == r"$\rho$ = 0.1 diverged at step 220: the loss is not finite"
    assert texts(first) == r"$\rho$ = 0.1 missing"
    assert lines(last)[r"GD ($\rho$ = 0)"].get_alpha() == paper.STRONG


def test_a_panel_of_several_seeds_draws_all_and_says_which_diverged(tmp_path):
    settings = grid_settings("mnist", eta=("0.1",), rho=("0",), seeds=(0, 7))
    write_runs(tmp_path, settings, **{"eta0.1_rho0_seed7": 90})
    (ax,) = panels_of(draw(2, cubes.collect(settings, tmp_path)))
    assert texts(ax) == "seed 7 diverged at step 90: the loss is not finite"
    tops = [line for line in ax.lines if line.get_gid() == "eigenvalue 1"]
    assert sorted(line.get_alpha() for line in tops) == [paper.LIGHT, paper.STRONG]
    assert sorted(len(line.get_xdata()) for line in tops) == [10, 41]


@pytest.mark.parametrize("number", [2, 5])
def test_a_cube_of_which_every_run_diverged_before_its_first_check_still_draws(tmp_path, number):
    settings = grid_settings("mnist", eta=("0.1", "0.3"))
    write_runs(tmp_path, settings, **{one.name: -1 for one in settings})
    figure = draw(number, cubes.collect(settings, tmp_path))
    paper.save(figure, tmp_path / "figure.pdf", tmp_path / "figure.png")
    assert all("diverged" in texts(ax) for ax in panels_of(figure))


def test_the_footnote_names_the_data_and_says_when_they_stand_in(cube):
    assert describe.footnote(cube) == (
        "Data: 32x32 patches of ten photographs carried by scikit-image 0.26.0; "
        "a stand-in for MNIST."
    )
    genuine = cube.assign_attrs(data_stand_in=0)
    assert describe.footnote(genuine) == (
        "Data: 32x32 patches of ten photographs carried by scikit-image 0.26.0."
    )
    said = cube.assign_attrs(data_description="a stand-in for MNIST (patches)")
    assert describe.footnote(said) == "Data: a stand-in for MNIST (patches)."
    assert describe.footnote(cube) in [text.get_text() for text in draw(2, cube).texts]


def test_drawing_leaves_the_cube_and_matplotlibs_settings_alone(cube):
    before, settings = cube.copy(deep=True), dict(matplotlib.rcParams)
    draw(3, cube)
    assert cube.identical(before)
    assert dict(matplotlib.rcParams) == settings


def test_where_panels_lie_is_rounded_so_that_the_layout_is_the_same_each_time(tmp_path):
    # The solver of constrained layouts orders its variables by their addresses in memory.
    figure = paper.edge_ratio_figure()
    paper.save(figure, tmp_path / "figure.pdf", tmp_path / "figure.png")
    for ax in figure.axes:
        bounds = ax.get_position().bounds
        np.testing.assert_allclose(bounds, np.round(bounds, 9), rtol=0, atol=1e-15)


@pytest.mark.parametrize("number", [1, 4])
def test_a_figure_drawn_twice_has_the_same_bytes_and_text_that_can_be_searched(
    cube, tmp_path, number
):
    for name in ("first", "second"):
        paper.save(draw(number, cube), tmp_path / f"{name}.pdf", tmp_path / f"{name}.png")
    for kind in ("pdf", "png"):
        first, second = (tmp_path / f"{name}.{kind}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    content = (tmp_path / "first.pdf").read_bytes()
    assert b"CreationDate" not in content
    assert b"/FontFile2" in content and b"/Type3" not in content


@pytest.mark.parametrize("name", TASK_KINDS)
def test_what_the_paper_shows_is_drawn_of_any_task_without_a_number(cube, name):
    mine = cube.isel(eta=[0]).assign_attrs(
        settings=cube.attrs["settings"].replace('"task": "mnist"', '"task": "stripes"')
    )
    figure = paper.draw_kind(TASK_KINDS[name], mine, MNIST_RHO)
    FigureCanvasAgg(figure).draw()
    [title] = [text for text in figure.texts if text.get_text().startswith("stripes: ")]
    assert title.get_window_extent().x1 <= figure.bbox.x1
    top = min(ax.get_tightbbox().y1 for ax in panels_of(figure))
    assert title.get_window_extent().y0 >= top


def test_the_figures_of_a_task_are_at_each_radius_but_for_what_needs_one_above_zero():
    found = [figure.stem for figure in task_figures("stripes", ("0", "0.1"))]
    assert found == [
        "eigenvalues_stripes_rho0",
        "eigenvalues_stripes_rho0.1",
        "zoom_stripes_rho0.1",
        "loss_stripes_rho0.1",
        "alignment_stripes_rho0",
        "alignment_stripes_rho0.1",
    ]
    tasks = {task: SimpleNamespace(rho=("0", "0.1"), figure_rho="0.1") for task in ("mnist", "own")}
    assert [figure.stem for figure in unnumbered(tasks)] == [
        "alignment_mnist_rho0",
        *(figure.stem for figure in task_figures("own", ("0", "0.1"))),
    ]


@pytest.mark.parametrize(
    ("stem", "task", "called"),
    [
        ("figure_04", "mnist", "Figure 4: eigenvalues, zoom, SAM"),
        ("figure_07", "cifar10", "Figure 7: eigenvalues, gradient descent"),
        ("alignment_my_task_rho0.1", "my_task", "alignment, ρ = 0.1"),
        ("figure_01", "", ""),
        ("claims", "", ""),
    ],
)
def test_a_figure_is_called_by_its_file(stem, task, called):
    assert described(stem) == (task, called)


def test_a_radius_that_the_cube_lacks_is_named(cube):
    with pytest.raises(UserError, match=r"'mnist' has no runs with rho = 0.5; it has rho = 0, 0.1"):
        paper.draw(FIGURES[3], cube, "0.5")


def test_the_script_needs_a_cube_for_all_figures_but_the_first(tmp_path):
    files = ["--output-pdf", str(tmp_path / "1.pdf"), "--output-png", str(tmp_path / "1.png")]
    plot_figure.main(["--number", "01", *files])
    assert (tmp_path / "1.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(UserError, match="figure 4 needs --cube: the cube of the task 'mnist'"):
        plot_figure.main(["--number", "04", *files])


def test_the_supplement_has_every_run_that_did_not_diverge_and_no_other(damaged, tmp_path):
    filtered = cubes.drop_diverged(damaged)
    records.write(filtered, tmp_path / "cube.nc")
    folder = tmp_path / "supplement"
    plot_supplement.main(["--cube", str(tmp_path / "cube.nc"), "--output", str(folder)])
    done = {one.name for one in grid_settings("mnist")} - {DIVERGED, MISSING}
    expected = {f"{name}.{kind}" for name in done for kind in ("pdf", "png")} | {"index.html"}
    assert {path.name for path in folder.iterdir()} == expected
    index = (folder / "index.html").read_text()
    assert all(f'src="{name}.png"' in index for name in done)
    assert f"{DIVERGED} (diverged at step 220" in index


def test_a_page_of_the_supplement_shows_what_its_run_measured(cube):
    run = dict(supplement.completed_runs(cube))["eta0.1_rho0.1_seed0"]
    whole, zoom, ends, bounds, loss, alignment, norms = supplement.run_page(run, "step").axes
    assert "gd_edge" in lines(whole) and "gd_edge" not in lines(zoom)
    for ax, label, name in (
        (ends, "smallest eigenvalue", "smallest_eigenvalue"),
        (ends, "largest eigenvalue", "largest_eigenvalue"),
        (loss, "training loss", "training_loss"),
        (alignment, "gradient", "gradient_alignment"),
        (norms, "SAM gradient", "sam_gradient_norm"),
    ):
        np.testing.assert_array_equal(lines(ax)[label].get_ydata(), run[name])
        np.testing.assert_array_equal(lines(ax)[label].get_xdata(), run["step"])
    top, bottom = (lines(bounds)[label].get_ydata() for _, label, _ in panels.BOUNDS)
    np.testing.assert_allclose(top, run["largest_eigenvalue"] / run["sam_edge"])
    np.testing.assert_allclose(bottom, -run["smallest_eigenvalue"] * 0.1 / run["gradient_norm"])
    norm, edge = run["gradient_norm"].values, run["sam_edge"].values
    for ax, label, name, per_unit in (
        (ends, "smallest eigenvalue", "smallest_eigenvalue", 1),
        (ends, "largest eigenvalue", "largest_eigenvalue", 1),
        (bounds, panels.BOUNDS[0][1], "largest_eigenvalue", 1 / edge),
        (bounds, panels.BOUNDS[1][1], "smallest_eigenvalue", -0.1 / norm),
    ):
        found, bound = (run[key].values * per_unit for key in (name, f"{name}_bound"))
        [band] = [one for one in ax.collections if one.get_gid() == f"bound of the {label}"]
        assert matplotlib.colors.same_color(
            band.get_facecolor()[0][:3], lines(ax)[label].get_color()
        )
        steps = run["step"].values
        np.testing.assert_allclose(corners(band), np.sort(corners_of(steps, found, bound), axis=0))


def corners(band):
    """Return the distinct corners of a band, sorted by x and y each."""
    [path] = band.get_paths()
    return np.sort(np.unique(path.vertices, axis=0), axis=0)


def corners_of(x, *curves):
    return np.unique(np.concatenate([np.stack([x, y], axis=1) for y in curves]), axis=0)


def test_checks_without_ends_are_passed_over(cube):
    """Those that were not certified measured none; files of before have no bounds on any."""
    run = dict(supplement.completed_runs(cube))["eta0.1_rho0.1_seed0"].copy(deep=True)
    skipped = np.arange(run.sizes["check"]) % 5 != 0
    for name in ("largest_eigenvalue", "smallest_eigenvalue"):
        run[name].values[skipped] = run[f"{name}_bound"].values[skipped] = np.nan
    _, _, ends, bounds, *_ = supplement.run_page(run, "step").axes
    for ax in (ends, bounds):
        assert len(ax.collections) == 2
        drawn = [line for line in ax.lines if len(line.get_xdata()) > 2]
        assert len(drawn) == 2
        for line in drawn:
            np.testing.assert_array_equal(line.get_xdata(), run["step"][~skipped])
    for name in ("largest_eigenvalue_bound", "smallest_eigenvalue_bound"):
        run[name].values[:] = np.nan
    _, _, ends, bounds, *_ = supplement.run_page(run, "step").axes
    assert not ends.collections and not bounds.collections


def test_the_bounds_of_a_run_reach_from_zero_to_what_crosses_them(cube):
    run = dict(supplement.completed_runs(cube))["eta0.1_rho0.1_seed0"].copy(deep=True)
    run["smallest_eigenvalue"] = -30 * run["gradient_norm"]  # three times the bound
    run["largest_eigenvalue"] = -run["sam_edge"]  # no end is positive
    run["smallest_eigenvalue_bound"] = -31 * run["gradient_norm"]
    run["largest_eigenvalue_bound"] = -0.9 * run["sam_edge"]
    ax = supplement.run_page(run, "step").axes[3]
    top, bottom = (lines(ax)[label].get_ydata() for _, label, _ in panels.BOUNDS)
    assert (top == 0).all()
    np.testing.assert_allclose(bottom, 3)
    assert ax.get_ylim() == pytest.approx((0, 3.72))
    assert not ax.texts
    run["smallest_eigenvalue"][0] *= 5  # a transient
    ax = supplement.run_page(run, "step").axes[3]
    assert ax.get_ylim() == pytest.approx((0, 3.72))
    assert [text.get_text() for text in ax.texts] == [r"$\uparrow$ 15"]


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("collect_runs, filter_diverged", ["jax", "matplotlib"]),
        (
            "plot_figure, plot_supplement, plot_density, judge_claims, write_explorer",
            ["jax", "scipy", "seaborn"],
        ),
        ("pack_experiment, redraw", ["jax", "snakemake", "yaml"]),
        (
            "samedge.config.paper_figures, samedge.config.grid",
            ["jax", "numpy", "xarray", "matplotlib"],
        ),
    ],
)
def test_what_figures_and_the_workflow_import_stays_light(modules, without):
    code = f"import sys, {modules}; print([name for name in {without} if name in sys.modules])"
    scripts = paper.STYLE.parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_a_rule_with_a_curvature_of_its_own_is_drawn_beside_its_edge(cube):
    settings = cube.attrs["settings"].replace('"name": "sam"', '"name": "adam"')
    mine = cube.assign_attrs(settings=settings)
    mine["effective_curvature"] = 0.9 * cube["sam_edge"]
    figure = paper.draw_kind("eigenvalues", mine, MNIST_RHO)
    assert "adam" in figure._suptitle.get_text() and "SAM" not in figure._suptitle.get_text()
    for number, ax in enumerate(panels_of(figure)):
        drawn = {line.get_gid(): line for line in ax.lines}
        curvature = mine["effective_curvature"].isel(eta=number, rho=1, seed=0)
        np.testing.assert_array_equal(drawn["effective"].get_ydata(), curvature)
        assert drawn["sam_edge"].get_label() == "edge" and "gd_edge" not in drawn


def test_with_a_schedule_two_over_eta_is_that_of_each_check(cube):
    mine = cube.copy()
    shares = np.linspace(1, 0.5, cube.sizes["check"])
    mine["learning_rate"] = cube["learning_rate"] * xr.DataArray(shares, dims="check")
    for ax in panels_of(paper.draw_kind("eigenvalues", mine, "0")):
        [line] = [line for line in ax.lines if line.get_gid() == "gd_edge"]
        drawn = np.asarray(line.get_ydata())
        np.testing.assert_allclose(drawn[-1], 2 * drawn[0])


def test_curvatures_that_are_far_apart_are_both_on_a_logarithmic_axis(cube):
    """As with Adam, whose effective curvature is many thousand times the Hessian's."""
    mine = cube.copy(deep=True)
    mine["sam_edge"] = 1e6 * cube["sam_edge"]
    mine["effective_curvature"] = 0.9 * mine["sam_edge"]
    for ax in paper.draw_kind("eigenvalues", mine, "0.1").axes:
        if ax.get_yscale() != "log":
            continue
        low, high = ax.get_ylim()
        for line in ax.lines:
            if line.get_gid() in ("eigenvalue 1", "effective"):
                y = np.asarray(line.get_ydata(), float)
                assert low <= np.nanmin(y) and np.nanmedian(y) <= high


def test_an_edge_map_says_whose_curvature_and_edge_it_has(cube):
    mine = cube.copy(deep=True)
    mine["effective_curvature"] = 0.9 * cube["sam_edge"]
    mine.attrs["settings"] = cube.attrs["settings"].replace('"name": "sam"', '"name": "adam"')
    for shown, title, edge in (
        (cube, r"Median $|\lambda_1|\,/\,$edge", "the edge is the SAM edge"),
        (mine, "Median effective curvature / edge", "the edge is that of the rule"),
    ):
        figure = edge_map.draw(shown)
        assert title in [ax.get_title(loc="left") for ax in figure.axes]
        assert edge in " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
