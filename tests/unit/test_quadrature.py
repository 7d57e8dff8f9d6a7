"""Moments and curves of small measures, worked out by hand."""

import subprocess
import sys

import numpy as np
import pytest

from samedge.curvature.krylov import quadrature
from samedge.curvature.krylov.quadrature import default_width, moment, smoothed

NODES = np.array([[-1.0, 0.0, 2.0], [0.5, 1.5, np.nan]])
WEIGHTS = np.array([[0.25, 0.5, 0.25], [0.5, 0.5, np.nan]])


@pytest.mark.parametrize(
    ("order", "probes"), [(0, (1, 1)), (1, (0.25, 1)), (2, (1.25, 1.25)), (3, (1.75, 1.75))]
)
def test_moments_are_means_over_probes(order, probes):
    value, error = moment(NODES, WEIGHTS, order)
    assert value == pytest.approx(np.mean(probes))
    assert error == pytest.approx(abs(probes[0] - probes[1]) / 2)


def test_a_single_probe_has_no_error():
    value, error = moment(NODES[:1], WEIGHTS[:1], 1)
    assert (value, np.isnan(error)) == (0.25, True)
    curve = smoothed(NODES[:1], WEIGHTS[:1], np.zeros(3), 1.0)
    assert np.isnan(curve.error).all() and curve.error.shape == (3,)


def test_a_node_becomes_a_gaussian_of_its_weight():
    grid = np.array([0.0, 1.0, 3.0])
    curve = smoothed(np.array([[1.0, np.nan]]), np.array([[1.0, np.nan]]), grid, 0.5)
    expected = np.exp(-((grid - 1) ** 2) / (2 * 0.25)) / (0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(curve.value, expected, rtol=1e-14)


def test_the_curve_has_the_measures_moments_widened():
    grid = np.linspace(-15, 15, 30001)
    curve = smoothed(NODES, WEIGHTS, grid, 0.7)
    step = grid[1] - grid[0]
    moments = [np.sum(curve.value * grid**order) * step for order in range(3)]
    expected = [moment(NODES, WEIGHTS, order).value for order in range(3)]
    expected[2] += 0.7**2
    np.testing.assert_allclose(moments, expected, rtol=1e-9)


def test_the_error_of_a_curve_is_that_of_the_mean_over_probes():
    grid = np.linspace(-2, 3, 7)
    curve = smoothed(NODES, WEIGHTS, grid, 0.4)
    alone = [smoothed(NODES[[p]], WEIGHTS[[p]], grid, 0.4).value for p in (0, 1)]
    np.testing.assert_allclose(curve.value, np.mean(alone, axis=0), rtol=1e-13)
    np.testing.assert_allclose(curve.error, np.abs(alone[0] - alone[1]) / 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("nodes", "width"),
    [
        ([[-1.0, 3.0], [0.0, np.nan]], 0.04),
        ([[2.0], [2.0]], 0.02),
        ([[-2.0, np.nan]], 0.02),
        ([[0.0]], 0.01),
    ],
)
def test_the_default_width_is_a_share_of_the_range(nodes, width):
    assert default_width(np.array(nodes)) == pytest.approx(width)


def test_it_imports_no_jax():
    code = (
        "import sys, samedge.curvature.krylov.quadrature, samedge.figures.spectra.density; "
        "print('jax' in sys.modules)"
    )
    scripts = quadrature.__file__.rsplit("/", 4)[0]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
