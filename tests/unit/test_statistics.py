"""Statistics of runs on cubes whose answers are known."""

import json
import math

import numpy as np
import pytest

from samedge.analysis.quantities import (
    STOCHASTIC,
    WIDTH,
    chance_alignment,
    judged_negative_curvature_ratio,
    negative_curvature_ratio,
)
from samedge.analysis.statistics import STATISTICS
from samedge.records import schema
from synthetic import made_cube, paper_like

# Those that a run has whatever its settings.
MEASURED = [name for name in STATISTICS if name.removesuffix("_ratio") not in STOCHASTIC]


def of(cube, name):
    """Return a statistic of every run of a cube."""
    return STATISTICS[name].compute(cube)


def curves(**changes):
    """Return paper-like curves with some variables replaced: functions of (eta, rho, seed, t)."""

    def changed(task, eta, rho, seed, t):
        made = paper_like(task, eta, rho, seed, t)
        return made | {name: change(eta, rho, seed, t) for name, change in changes.items()}

    return changed


def spectrum(top):
    """Return three eigenvalues below ``top``, a function of (eta, rho, seed, t)."""
    return lambda *run: np.asarray(top(*run))[:, None] * [1, 0.98, 0.95]


def one_run(**changes):
    """Return a cube of one SAM run, its edge 10 throughout, with these curves of t."""
    constant = {"sam_edge": lambda t: 10 + 0 * t}
    changes = {name: (lambda _e, _r, _s, t, f=f: f(t)) for name, f in (constant | changes).items()}
    return made_cube(eta=("0.1",), rho=("0.1",), curves=curves(**changes))


def value(cube, name):
    """Return a statistic of a cube's one run."""
    return of(cube, name).item()


def test_the_ratio_is_the_median_of_the_second_half_in_magnitude():
    # 1.1 from the middle on, negative, whatever was before.
    cube = one_run(eigenvalue=lambda t: np.where(t < 0.5, 300.0, -11.0)[:, None] * [1, 0.9, 0.8])
    assert value(cube, "edge_ratio") == pytest.approx(1.1)
    assert value(cube, "share_within_25") == 1
    assert value(cube, "share_within_10") == 0
    assert value(cube, "third_over_first") == pytest.approx(0.8)
    assert value(cube, "sharpness") == 11
    assert value(cube, "gd_edge_over_sharpness") == pytest.approx(20 / 11)


def test_shares_count_late_checks_and_the_first_counts_all():
    # Checks 0..20: late are 10..20, of which 13..20 are at the edge, 8 of 11; so is check 2.
    def top(t):
        place = np.round(20 * t).astype(int)
        return np.where((place >= 13) | (place == 2), 10.0, 30.0)[:, None] * [1, 0.9, 0.8]

    cube = one_run(eigenvalue=top)
    assert value(cube, "share_within_25") == pytest.approx(8 / 11)
    assert value(cube, "at_edge") == 1
    assert value(cube, "first_at_edge") == 40
    never = one_run(eigenvalue=lambda t: (30 + 0 * t)[:, None] * [1, 0.9, 0.8])
    assert value(never, "first_at_edge") == math.inf
    assert value(never, "at_edge") == 0


@pytest.mark.parametrize(("ratio", "at"), [(1 - WIDTH, 1), (0.74, 0), (1 + WIDTH, 1), (1.26, 0)])
def test_the_width_of_the_edge_is_a_quarter_on_both_sides(ratio, at):
    cube = one_run(eigenvalue=lambda t: (10 * ratio + 0 * t)[:, None] * [1, 0.9, 0.8])
    assert value(cube, "at_edge") == at


def test_a_diverged_run_is_not_at_its_edge_and_has_no_other_number():
    cube = made_cube(curves=lambda *run: None)
    for name in STATISTICS:
        values = of(cube, name)
        assert values.shape == (3, 2, 1)
        if name == "at_edge":
            assert (values == 0).all()
        else:
            assert np.isnan(values).all(), name
    cube["status"][:] = schema.MISSING
    assert np.isnan(of(cube, "at_edge")).all()


def test_every_statistic_has_a_number_for_every_completed_run_and_leaves_the_cube_alone():
    cube = made_cube(seeds=(0, 1))
    before = cube.copy(deep=True)
    for name in MEASURED:
        assert not np.isnan(of(cube, name)).any(), name
    assert cube.identical(before)


def test_too_few_late_checks_are_no_median():
    assert np.isnan(of(made_cube(checks=4), "edge_ratio")).all()
    assert not np.isnan(of(made_cube(checks=5), "edge_ratio")).any()


def test_runs_of_different_lengths_have_halves_of_their_own():
    cube = made_cube()
    whole = of(cube, "edge_ratio")[0, 0, 0]
    for name, variable in cube.data_vars.items():
        if "check" in variable.dims and variable.dtype == np.float64:
            cube[name].values[1, 0, 0, 11:] = np.nan
    cut = cube["eigenvalue"].values[1, 0, 0, 5:11, 0] / cube["sam_edge"].values[1, 0, 0, 5:11]
    assert of(cube, "edge_ratio")[1, 0, 0] == pytest.approx(np.median(cut))
    assert of(cube, "edge_ratio")[0, 0, 0] == whole


def test_comparisons_are_with_gradient_descent_at_the_same_eta_and_seed():
    cube = made_cube(
        seeds=(0, 1),
        curves=curves(
            eigenvalue=spectrum(
                lambda eta, rho, seed, t: (1 + seed) / (4 if rho else 1) / eta + 0 * t
            ),
            training_loss=lambda eta, rho, seed, t: (1 + rho) * (1 + seed) + 0 * t,
        ),
    )
    np.testing.assert_allclose(of(cube, "gd_sharpness_over_sam")[:, 1], 4)
    np.testing.assert_allclose(of(cube, "gd_sharpness_over_sam")[:, 0], 1)
    np.testing.assert_allclose(of(cube, "loss_over_gd")[:, 1], 1.1)
    alone = made_cube(rho=("0.1",))
    for name in ("gd_sharpness_over_sam", "loss_over_gd", "at_edge_more_than_gd", "delay_over_gd"):
        assert np.isnan(of(alone, name)).all()


def test_progress_is_that_of_the_logarithm_when_the_curvature_is_halved():
    # The loss falls from 1 to e^-8, so that its logarithm is done by the share t; from t = 0.3 on
    # the curvature is below half of gradient descent's.
    cube = made_cube(
        curves=curves(
            training_loss=lambda eta, rho, seed, t: np.exp(-8 * np.minimum(t, 0.5) / 0.5),
            eigenvalue=spectrum(
                lambda eta, rho, seed, t: np.where((rho > 0) & (t > 0.29), 4.9, 10.0)
            ),
        )
    )
    np.testing.assert_allclose(of(cube, "progress_when_flat")[:, 1], 0.6)
    np.testing.assert_allclose(of(cube, "progress_when_flat")[:, 0], 1)  # never below itself


def test_the_delay_is_interpolated_between_checks():
    # Linear losses from 1 to 0: halfway of gradient descent's way to its last quarter (median at
    # 7/8) is 7/16; a run at half the speed needs twice the steps.
    cube = made_cube(
        curves=curves(training_loss=lambda eta, rho, seed, t: 1 - t / (2 if rho else 1))
    )
    np.testing.assert_allclose(of(cube, "delay_over_gd")[:, 1], 2, rtol=0.01)
    slow = made_cube(
        curves=curves(training_loss=lambda eta, rho, seed, t: 1 - t / (9 if rho else 1))
    )
    assert np.isinf(of(slow, "delay_over_gd")[:, 1]).all()


def test_the_reduction_is_relative_to_that_of_gradient_descent():
    cube = made_cube(
        curves=curves(training_loss=lambda eta, rho, seed, t: 4 - (1 if rho else 2) * (t > 0.1))
    )
    np.testing.assert_allclose(of(cube, "reduction_over_gd")[:, 1], 0.5)


def test_edge_and_gradient_must_both_have_fallen():
    falls, rises = (lambda t: 2 - t), (lambda t: 1 + t)
    for norm, edge, kept in ((falls, falls, False), (rises, falls, True), (falls, rises, True)):
        cube = one_run(gradient_norm=norm, sam_edge=edge)
        assert (value(cube, "edge_and_gradient_kept") > 1) == kept


@pytest.mark.parametrize("size", [10, 1000])
def test_chance_is_the_mean_cosine_of_random_directions(size):
    directions = np.random.default_rng(0).normal(size=(20_000, size))
    cosines = np.abs(directions[:, 0]) / np.linalg.norm(directions, axis=1)
    exact = math.exp(math.lgamma(size / 2) - math.lgamma((size + 1) / 2)) / math.sqrt(math.pi)
    assert cosines.mean() == pytest.approx(exact, rel=0.02)
    assert 1 < exact / chance_alignment(size) < 1 + 1 / (3 * size)


def test_alignment_is_that_of_the_gradient_that_aligns_less():
    cube = one_run(
        gradient_alignment=lambda t: 0.9 + 0 * t, sam_gradient_alignment=lambda t: 0.3 + 0 * t
    )
    assert value(cube, "alignment_over_chance") == pytest.approx(0.3 / chance_alignment(1000))
    assert value(cube, "alignment_gain") == pytest.approx(-0.6)
    without = cube.drop_vars([name for name in cube.data_vars if name.startswith("density")])
    assert math.isnan(value(without, "alignment_over_chance"))


def test_negative_curvature_is_held_against_the_bound_of_proposition_3():
    # The bound is -‖g‖/ρ = -20; the first quarter, checks 0 to 4, does not count.
    def smallest(t):
        place = np.round(20 * t).astype(int)
        return np.where(place < 5, -500.0, np.where(place >= 17, -30.0, -5.0))

    cube = one_run(smallest_eigenvalue=smallest, gradient_norm=lambda t: 2 + 0 * t)
    ratio = negative_curvature_ratio(cube)[0, 0, 0]
    np.testing.assert_allclose(ratio, [25] * 5 + [0.25] * 12 + [1.5] * 4)
    assert value(cube, "negative_curvature") == pytest.approx(0.25)
    assert value(cube, "negative_curvature_allowed") == 12 / 16
    positive = one_run(smallest_eigenvalue=lambda t: 1 + t)
    assert value(positive, "negative_curvature") < 0
    assert value(positive, "negative_curvature_allowed") == 1


def test_negative_curvature_is_judged_by_the_bound_where_there_is_one():
    # The bound of the proposition is -20, the first quarter, checks 0 to 4, does not count.
    def place(t):
        return np.round(20 * t).astype(int)

    def measured(t):
        return np.where(place(t) % 2 == 0, -16.0, np.nan)  # every other check is certified

    def bound(t):
        return np.where(place(t) % 4 == 0, -24.0, np.nan)  # and half of these reach the cap

    cube = one_run(
        smallest_eigenvalue=measured,
        smallest_eigenvalue_bound=bound,
        gradient_norm=lambda t: 2 + 0 * t,
    )
    found = judged_negative_curvature_ratio(cube)[0, 0, 0]
    expected = np.array([[1.2, np.nan, 0.8, np.nan][number % 4] for number in range(21)])
    np.testing.assert_allclose(found, expected)
    # Checks 6, 8, …, 20: four of them have a bound, and are beyond it.
    assert value(cube, "negative_curvature") == pytest.approx(1.0)
    assert value(cube, "negative_curvature_allowed") == 0.5
    nothing = one_run(smallest_eigenvalue=lambda t: np.nan * t)
    assert math.isnan(value(nothing, "negative_curvature"))
    assert math.isnan(value(nothing, "negative_curvature_allowed"))


def test_gradient_descent_has_no_bound_on_negative_curvature():
    cube = made_cube(curves=curves(smallest_eigenvalue=lambda *run: -1e9 + 0 * run[-1]))
    assert (of(cube, "negative_curvature")[:, 0] == 0).all()
    assert (of(cube, "negative_curvature_allowed")[:, 0] == 1).all()
    assert (of(cube, "negative_curvature_allowed")[:, 1] == 0).all()


@pytest.mark.parametrize(("gradient", "ratio"), [(-3.0, math.inf), (0.0, math.nan)])
def test_without_a_gradient_no_negative_curvature_is_allowed(gradient, ratio):
    cube = one_run(smallest_eigenvalue=lambda t: gradient + 0 * t, gradient_norm=lambda t: 0 * t)
    np.testing.assert_equal(negative_curvature_ratio(cube), np.full((1, 1, 1, 21), ratio))


@pytest.mark.parametrize(("rule", "ratio"), [("unnormalized_sam", 0.4), ("my_rule", math.nan)])
def test_the_bound_on_negative_curvature_is_that_of_the_update_rule(rule, ratio):
    cube = one_run(smallest_eigenvalue=lambda t: -4 + 0 * t, gradient_norm=lambda t: 2 + 0 * t)
    own = json.loads(cube.attrs["settings"])
    own["update"]["name"] = rule
    cube = cube.assign_attrs(settings=json.dumps(own))
    np.testing.assert_allclose(value(cube, "negative_curvature"), ratio)
    assert math.isnan(value(cube, "negative_curvature_allowed")) == math.isnan(ratio)


def test_early_training_is_the_first_quarter():
    # Checks 0 to 4 of 0 to 20: the edge is a fifth of 2/η = 20 there, and then what it may be.
    cube = one_run(sam_edge=lambda t: np.where(t < 0.25, 4.0, 19.0))
    assert value(cube, "early_edge_fraction") == pytest.approx(0.2)
    assert value(cube, "edge_kept") == pytest.approx(19 / 4)
    # The first check, at which all runs are one, is left out.
    early = curves(
        eigenvalue=spectrum(
            lambda eta, rho, seed, t: np.where((rho > 0) & (t > 0) & (t < 0.25), 2.0, 10.0)
        )
    )
    np.testing.assert_allclose(of(made_cube(curves=early), "early_gd_sharpness_over_sam")[:, 1], 5)
    np.testing.assert_allclose(
        of(made_cube(curves=early, checks=5), "early_gd_sharpness_over_sam"), np.nan
    )
    alone = made_cube(rho=("0.1",), curves=early)
    assert np.isnan(of(alone, "early_gd_sharpness_over_sam")).all()


def test_alignment_is_compared_with_that_at_the_lower_half_of_eta():
    def curve(low, high):
        return lambda eta, rho, seed, t: {0.0003: low, 0.001: 0.3}.get(eta, high) + 0 * t

    cube = made_cube(
        "cifar10",
        curves=curves(gradient_alignment=curve(0.1, 0.5), sam_gradient_alignment=curve(0.5, 0.6)),
    )
    # Medians of the lower half: 0.2 and 0.4, so that the upper half gains 0.3 and 0.2.
    np.testing.assert_allclose(of(cube, "alignment_over_smaller_eta")[2:], 0.2)
    cube["status"][0] = schema.DIVERGED
    np.testing.assert_allclose(of(cube, "alignment_over_smaller_eta")[2:], 0.2)
    assert np.isnan(of(one_run(), "alignment_over_smaller_eta")).all()


@pytest.mark.parametrize("name", MEASURED)
def test_a_statistic_that_needs_runs_without_sam_says_so(name):
    """It needs them if, and only if, runs with SAM have no number without them."""
    alone = of(made_cube(rho=("0.1",)), name)
    beside = of(made_cube(rho=("0", "0.1")), name)[:, 1:]
    assert not np.isnan(beside).all()
    assert STATISTICS[name].needs_gd == bool(np.isnan(alone).all())
