"""The figure of the sharpness of blocks, from synthetic cubes."""

import numpy as np
import pytest

import plot_blocks
from samedge.base.errors import UserError
from samedge.figures import paper
from samedge.figures.spectra import blocks as blocks_figure
from samedge.records import cubes, files
from synthetic import BLOCKS, grid_settings, write_runs

SHARES = {"at": [0.0, 1.0]}
DIVERGED = "eta0.3_rho0.1_seed0"


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """A cube whose SAM run of the largest eta diverged halfway."""
    folder = tmp_path_factory.mktemp("runs")
    settings = grid_settings(eta=["0.1", "0.3"], seeds=(0, 1), blocks=SHARES)
    write_runs(folder, settings, **{DIVERGED: 220})
    return cubes.collect(settings, folder)


def lines(ax):
    return [(line.get_gid(), line.get_xdata(), line.get_ydata()) for line in ax.lines]


def test_each_run_has_its_blocks_and_the_whole_at_every_share(cube):
    shown = np.reshape(blocks_figure.draw(cube, "0.1").axes, (2, 2))
    for eta, row in enumerate(shown):
        for rho, ax in zip(("0", "0.1"), row, strict=True):
            place = paper.rho_position(cube, rho)
            curves = [y for gid, _, y in lines(ax) if gid == "blocks 1"]
            wanted = np.abs(cube["block_curvature"].values[eta, place, :, 1])
            wanted = wanted[np.isfinite(wanted).all(axis=-1)]
            assert len(curves) == len(wanted)
            np.testing.assert_array_equal(np.sort(curves, axis=0), np.sort(wanted, axis=0))
            wholes = [float(y[0]) for gid, _, y in lines(ax) if gid == "whole 0"]
            first = np.abs(cube["eigenvalue"].values[eta, place, :, 0, 0])
            assert sorted(wholes) == sorted(first)
            # The third block has not converged, and is marked so.
            for gid, _, y in lines(ax):
                if gid == "doubtful 1":
                    assert np.isfinite(y).tolist() == [False, False, True]
            [edge] = [y[0] for gid, _, y in lines(ax) if gid == "gd_edge"]
            assert edge == pytest.approx(2 / float(cube["eta"][eta]))
    names = [text.get_text() for text in shown[-1, 0].get_xticklabels()]
    assert names == [*BLOCKS, "whole"]
    legend = [text.get_text() for text in shown[0, 0].figure.legends[0].get_texts()]
    assert legend == ["start", "end", "whole Hessian", r"$2/\eta$", "not converged"]
    note = " ".join(text.get_text().replace("\n", " ") for text in shown[0, 0].figure.texts)
    assert "dense_0 100, dense_1 1,000, dense_2/norm 10,000" in note


def test_an_edge_far_above_all_eigenvalues_is_not_drawn(cube):
    flat = cube.assign({name: cube[name] / 1e4 for name in ("eigenvalue", "block_curvature")})
    figure = blocks_figure.draw(flat, "0.1")
    assert not [gid for ax in figure.axes for gid, *_ in lines(ax) if gid == "gd_edge"]
    assert r"$2/\eta$" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_cube_without_blocks_says_what_is_missing(tmp_path):
    settings = grid_settings(eta=["0.3"])
    write_runs(tmp_path, settings)
    with pytest.raises(UserError, match=r"no blocks of the Hessian; give shares .* blocks.at"):
        blocks_figure.draw(cubes.collect(settings, tmp_path), "0.1")


def test_the_script_draws_the_figure(cube, tmp_path):
    files.write(cube, tmp_path / "mnist.nc")
    outputs = ["--output-pdf", str(tmp_path / "b.pdf"), "--output-png", str(tmp_path / "b.png")]
    plot_blocks.main(["--cube", str(tmp_path / "mnist.nc"), "--rho", "0.1", *outputs])
    assert (tmp_path / "b.pdf").stat().st_size > 1000
    with pytest.raises(UserError, match=r"0\.2"):
        blocks_figure.draw(cube, "0.2")
