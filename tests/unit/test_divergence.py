"""When a finite loss counts as divergence: above a multiple of the first one, checks in a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.config.parts import DivergenceSettings
from samedge.training.schedule import DivergenceWatch


def verdicts(losses, factor=10.0, checks=3):
    watch = DivergenceWatch(DivergenceSettings(factor, checks))
    return [watch.judge(loss) is not None for loss in losses]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1, 11, 11, 11], [False, False, False, True]),
        ([1, 11, 11, 5, 11, 11, 11], [False] * 6 + [True]),
        ([1, 10, 10, 10, 10], [False] * 5),  # at the bound is not above it
        ([0.1, 2, 2, 2], [False, False, False, True]),
        ([100, 11, 11, 11], [False] * 4),
        # Of a first loss below zero the bound is as far above it, in units of its size.
        ([-5, -5, -5, -5], [False] * 4),
        ([-5, 40, 40, 40], [False] * 4),
        ([-5, 41, 41, 41], [False, False, False, True]),
        ([0, 0, 0, 0], [False] * 4),
    ],
)
def test_a_run_diverges_at_the_last_of_the_checks_in_a_row(losses, expected):
    assert verdicts(losses) == expected


def test_one_check_suffices_where_one_is_asked_for():
    assert verdicts([1.0, 2.1], factor=2.0, checks=1) == [False, True]


def test_the_reason_names_the_bound():
    watch = DivergenceWatch(DivergenceSettings(2.5, 2))
    assert [watch.judge(loss) for loss in (1.0, 3.0)] == [None, None]
    assert watch.judge(4.0) == "loss above 2.5 times the initial one at 2 checks in a row"


@given(
    losses=st.lists(st.floats(0.0625, 64.0, width=16), min_size=1, max_size=30),
    checks=st.integers(1, 4),
)
def test_the_scale_of_the_loss_does_not_matter(losses, checks):
    scaled = [1024.0 * loss for loss in losses]
    assert verdicts(losses, 4.0, checks) == verdicts(scaled, 4.0, checks)
