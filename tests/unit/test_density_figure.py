"""The figure of spectral densities, from synthetic cubes: curves, bands, edges, endings."""

import matplotlib.colors
import numpy as np
import pytest

import plot_density
from samedge.base.errors import UserError
from samedge.curvature.krylov.quadrature import default_width, smoothed
from samedge.figures import panels, paper
from samedge.figures.spectra import density as density_figure
from samedge.records import cubes, files
from synthetic import grid_settings, write_runs

DENSITY = {"at": [0.0, 0.5, 1.0], "probes": 4, "steps": 6}
DIVERGED, MISSING = "eta0.3_rho0.1_seed0", "eta0.03_rho0.1_seed0"


def collected(folder, settings, **diverged_at):
    write_runs(folder, settings, **diverged_at)
    return cubes.collect(settings, folder)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return collected(tmp_path_factory.mktemp("runs"), grid_settings(density=DENSITY))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """The same cube with the SAM run of the largest eta diverged and of the smallest missing."""
    folder = tmp_path_factory.mktemp("runs")
    settings = grid_settings(density=DENSITY)
    write_runs(folder, settings, **{DIVERGED: 220})
    (folder / f"{MISSING}.nc").unlink()
    return cubes.collect(settings, folder, allow_missing=True)


def panels_of(figure, columns=2):
    """Return the panels by row and column."""
    return np.reshape(figure.axes, (-1, columns))


def lines(ax):
    return {line.get_gid(): line for line in ax.lines}


def texts(ax):
    return " ".join(text.get_text().replace("\n", " ") for text in ax.texts)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_gradient_descent_stands_beside_sam_in_a_row_for_each_eta(cube):
    shown = panels_of(density_figure.draw(cube, "0.1"))
    assert shown.shape == (3, 2)
    for eta, row in enumerate(shown):
        label = rf"$\eta$ = {cube['eta_label'].values[eta]}"
        assert row[0].get_title(loc="left") == rf"{label}, GD ($\rho$ = 0)"
        assert row[1].get_title(loc="left") == rf"{label}, SAM ($\rho$ = 0.1)"
        assert row[0].get_xlim() == row[1].get_xlim()
        assert row[0].get_ylim() == row[1].get_ylim()
        assert {ax.get_yscale() for ax in row} == {"log"}


def test_curves_and_bands_are_those_of_the_nodes_and_weights(cube):
    for eta, row in enumerate(panels_of(density_figure.draw(cube, "0.1"))):
        everything = cube["density_node"].isel(eta=eta).values
        width = default_width(everything, density_figure.WIDTH_SHARE)
        for rho, ax in enumerate(row):
            run = cube.isel(eta=eta, rho=rho, seed=0)
            for place in range(3):
                line = lines(ax)[f"density {place}"]
                nodes, weights = (run[f"density_{x}"].values[place] for x in ("node", "weight"))
                curve = smoothed(nodes, weights, line.get_xdata(), width)
                visible = curve.value > ax.get_ylim()[0]
                assert visible.any()
                np.testing.assert_allclose(line.get_ydata()[visible], curve.value[visible])
                band = ax.collections[place].get_paths()[0].vertices
                for edge in (curve.value - curve.error, curve.value + curve.error):
                    seen = edge > ax.get_ylim()[0]
                    wanted = np.column_stack([line.get_xdata()[seen], edge[seen]])
                    assert all(np.isclose(band, point).all(axis=1).any() for point in wanted)


def test_one_eigenvalue_of_all_is_seen(cube):
    """Its Gaussian has the area 1/n, and its top lies well above the floor of the panel."""
    for eta, row in enumerate(panels_of(density_figure.draw(cube, "0.1"))):
        width = default_width(cube["density_node"].isel(eta=eta).values, density_figure.WIDTH_SHARE)
        alone = smoothed(np.array([[0.0]]), np.array([[1 / 1000]]), np.zeros(1), width).value
        assert row[0].get_ylim()[0] == pytest.approx(0.2 * alone[0])


def test_edges_and_eigenvalues_are_those_of_the_checks(cube):
    for eta, row in enumerate(panels_of(density_figure.draw(cube, "0.1"))):
        for rho, ax in enumerate(row):
            run = cube.isel(eta=eta, rho=rho, seed=0)
            low, high = ax.get_xlim()
            drawn = lines(ax)
            for place, step in enumerate(run["density_step"].values):
                check = run.isel(check=int(np.flatnonzero(run["step"] == step)[0]))
                ticks = drawn[f"eigenvalues {place}"].get_xdata()
                np.testing.assert_array_equal(ticks, check["eigenvalue"])
                edge = float(check["sam_edge"])
                assert (f"sam_edge {place}" in drawn) == (rho == 1 and edge <= high)
                if f"sam_edge {place}" in drawn:
                    assert set(drawn[f"sam_edge {place}"].get_xdata()) == {edge}
                elif rho == 1:
                    name = ("start", "middle", "end")[place]
                    assert f"SAM edge, {name} = {edge:.4g}" in texts(ax)
            two_over_eta = float(run["gd_edge"])
            if two_over_eta <= high:
                assert set(drawn["gd_edge"].get_xdata()) == {two_over_eta}
            else:
                assert f"{two_over_eta:.4g}" in texts(ax)
            assert low < float(run["density_node"].min())


def test_the_legend_names_the_shares_of_the_budget(tmp_path):
    settings = grid_settings(eta=("0.1",), density=DENSITY | {"at": [0.0, 0.3, 0.5, 1.0]})
    figure = density_figure.draw(collected(tmp_path, settings), "0.1")
    assert legend(figure)[:4] == ["start", "after 0.3 of the budget", "middle", "end"]
    note = figure.texts[-1].get_text().replace("\n", " ")
    assert "Mean of 4 probes of 6 Lanczos steps" in note
    assert "a stand-in for MNIST" in note


def test_panels_say_which_runs_diverged_or_are_missing(damaged):
    shown = panels_of(density_figure.draw(damaged, "0.1"))
    assert texts(shown[0, 1]) == "missing"
    assert not shown[0, 1].lines
    diverged = shown[2, 1]
    assert "diverged at step 220: the loss is not finite" in texts(diverged)
    assert {"density 0", "density 1"} <= set(lines(diverged))
    assert "density 2" not in lines(diverged)
    assert lines(diverged)["density 0"].get_alpha() == paper.LIGHT
    assert lines(shown[2, 0])["density 2"].get_alpha() == paper.STRONG


def test_a_run_that_diverged_does_not_stretch_the_axes(damaged):
    exploded = damaged.copy(deep=True)
    exploded["density_node"].loc[{"eta": 0.3, "rho": 0.1}] *= 1e6
    for before, after in zip(
        panels_of(density_figure.draw(damaged, "0.1"))[2],
        panels_of(density_figure.draw(exploded, "0.1"))[2],
        strict=True,
    ):
        assert after.get_xlim() == before.get_xlim()


def test_a_row_without_any_density_and_a_filtered_cube_still_draw(tmp_path):
    settings = grid_settings(eta=("0.1", "0.3"), density=DENSITY | {"at": [1.0]})
    gone = {one.name: 20 for one in settings if one.eta == "0.3"}
    cube = collected(tmp_path, settings, **gone)
    figure = density_figure.draw(cube, "0.1")
    paper.save(figure, tmp_path / "figure.pdf", tmp_path / "figure.png")
    assert all("diverged" in texts(ax) for ax in panels_of(figure)[1])
    assert panels_of(density_figure.draw(cubes.drop_diverged(cube), "0.1")).shape == (1, 2)


def test_without_gradient_descent_sam_stands_alone(tmp_path):
    settings = grid_settings(eta=("0.1",), rho=("0.1", "0.3"), density=DENSITY)
    (ax,) = density_figure.draw(collected(tmp_path, settings), "0.3").axes
    assert "SAM ($\\rho$ = 0.3)" in ax.get_title(loc="left")


def test_further_seeds_are_drawn_lightly(tmp_path):
    settings = grid_settings(eta=("0.1",), rho=("0",), seeds=(0, 7), density=DENSITY)
    (ax,) = density_figure.draw(collected(tmp_path, settings), "0").axes
    alphas = [line.get_alpha() for line in ax.lines if line.get_gid() == "density 2"]
    assert sorted(alphas) == [paper.LIGHT, paper.STRONG]


def test_shares_differ_in_colour(cube):
    drawn = lines(density_figure.draw(cube, "0.1").axes[0])
    colors = [matplotlib.colors.to_hex(drawn[f"density {place}"].get_color()) for place in range(3)]
    assert colors == [panels.SKY, panels.GREEN, panels.VERMILION]


def test_a_cube_without_densities_says_what_to_configure(tmp_path):
    cube = collected(tmp_path, grid_settings(eta=("0.1",)))
    with pytest.raises(
        UserError, match=r"the cube of 'mnist' holds no spectral density.*density\.at"
    ):
        density_figure.draw(cube, "0.1")


def test_a_radius_that_the_cube_lacks_is_named(cube):
    with pytest.raises(UserError, match=r"no runs with rho = 0.5; it has rho = 0, 0.1"):
        density_figure.draw(cube, "0.5")


def test_the_script_draws_the_same_bytes_twice(cube, tmp_path):
    files.write(cube, tmp_path / "cube.nc")
    for name in ("first", "second"):
        outputs = [f"--output-{kind}={tmp_path / name}.{kind}" for kind in ("pdf", "png")]
        plot_density.main(["--cube", str(tmp_path / "cube.nc"), "--rho", "0.1", *outputs])
    for kind in ("pdf", "png"):
        first, second = (tmp_path / f"{name}.{kind}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
