"""The closed forms of the edges against the paper's, in 50-digit arithmetic."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.updates import edges

# Twelve orders of magnitude, for each argument.
wide = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)


def exactly(function, *arguments):
    with mpmath.workdps(50):
        return float(function(*(mpmath.mpf(argument) for argument in arguments)))


def paper_sam_edge(norm, eta, rho):
    return norm / (2 * rho) * (mpmath.sqrt(1 + 8 * rho / (eta * norm)) - 1)


@given(norm=wide, eta=wide, rho=wide)
def test_sam_edge_is_the_papers_form(norm, eta, rho):
    expected = exactly(paper_sam_edge, norm, eta, rho)
    assert edges.sam_edge(norm, eta, rho) == pytest.approx(expected, rel=1e-14)


@given(norm=wide, eta=wide)
def test_sam_edge_without_perturbation_is_the_gd_edge(norm, eta):
    assert edges.sam_edge(norm, eta, 0.0) == pytest.approx(edges.gd_edge(eta), rel=1e-15)


@given(norm=wide, eta=wide, rho=wide)
def test_sam_edge_solves_its_equation(norm, eta, rho):
    value = edges.sam_edge(norm, eta, rho)
    assert eta * value * (1 + rho * value / norm) == pytest.approx(2, rel=1e-12)


@given(eta=wide, rho=wide)
def test_unnormalized_edge_solves_its_equation(eta, rho):
    value = edges.unnormalized_sam_edge(eta, rho)
    assert eta * value * (1 + rho * value) == pytest.approx(2, rel=1e-12)


@given(alpha=wide)
def test_edge_ratio_is_the_papers_form(alpha):
    expected = exactly(lambda a: a / 2 * (mpmath.sqrt(1 + 4 / a) - 1), alpha)
    assert edges.edge_ratio(alpha) == pytest.approx(expected, rel=1e-14)


@given(norm=wide, eta=wide, rho=wide)
def test_edge_ratio_is_sam_edge_over_gd_edge(norm, eta, rho):
    ratio = edges.edge_ratio(eta * norm / (2 * rho))
    assert ratio == pytest.approx(edges.sam_edge(norm, eta, rho) / edges.gd_edge(eta), rel=1e-12)


def test_edge_ratio_limits():
    assert edges.edge_ratio(1e12) == pytest.approx(1, abs=1e-11)
    for alpha in (1e-8, 1e-12):
        assert edges.edge_ratio(alpha) == pytest.approx(alpha**0.5, rel=1e-4)


def test_edges_broadcast():
    norms = np.array([[0.1], [1.0]])
    etas = np.array([0.1, 0.3, 1.0])
    found = edges.sam_edge(norms, etas, 0.1)
    assert found.shape == (2, 3)
    assert found[1, 2] == edges.sam_edge(1.0, 1.0, 0.1)
