"""When to check and when to stop: the plan of checks, chunks of steps, and the two budgets."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.config.parts import BudgetSettings, CheckSettings
from samedge.training.schedule import SECONDS_BETWEEN_LOOKS, Schedule, Shares, check_steps

LONGEST = 256
SPACINGS = ["even", "geometric", "geometric_then_even"]


def plan(spacing, count, steps):
    return check_steps(CheckSettings(spacing, count, None), BudgetSettings(steps, None))


@pytest.mark.parametrize(
    ("spacing", "count", "steps", "planned"),
    [
        ("even", 2, 7, (0, 7)),
        ("even", 5, 100, (0, 25, 50, 75, 100)),
        ("even", 4, 10, (0, 3, 7, 10)),
        ("even", 11, 10, tuple(range(11))),
        ("geometric", 2, 50, (0, 50)),
        ("geometric", 3, 100, (0, 1, 100)),
        ("geometric", 5, 1000, (0, 1, 10, 100, 1000)),
        ("geometric", 6, 8, (0, 1, 2, 3, 5, 8)),
        ("geometric", 2, 1, (0, 1)),
        ("geometric_then_even", 2, 50, (0, 50)),
        ("geometric_then_even", 3, 100, (0, 1, 100)),
        ("geometric_then_even", 9, 100, (0, 1, 2, 4, 8, 16, 32, 64, 100)),
        ("geometric_then_even", 11, 10, tuple(range(11))),
        ("geometric_then_even", 12, 416, (0, 1, 2, 4, 8, 16, 32, 64, 128, 224, 320, 416)),
    ],
)
def test_the_planned_checks(spacing, count, steps, planned):
    assert plan(spacing, count, steps) == planned


plans = st.integers(1, 10**6).flatmap(
    lambda steps: st.tuples(st.integers(2, min(steps + 1, 60)), st.just(steps))
)


@given(plan_of=plans, spacing=st.sampled_from(SPACINGS))
def test_the_first_check_is_at_0_and_the_last_after_the_last_step(plan_of, spacing):
    count, steps = plan_of
    planned = plan(spacing, count, steps)
    assert planned[0] == 0
    assert planned[-1] == steps
    assert all(a < b for a, b in itertools.pairwise(planned))
    assert len(planned) <= count


@given(plan_of=plans)
def test_checks_that_start_geometrically_never_come_closer_together(plan_of):
    count, steps = plan_of
    planned = plan("geometric_then_even", count, steps)
    assert len(planned) == count
    gaps = [b - a for a, b in itertools.pairwise(planned)]
    assert all(b - a >= -1 for a, b in itertools.pairwise(gaps))


@given(plan_of=plans)
def test_even_checks_are_all_there_and_even_to_a_step(plan_of):
    count, steps = plan_of
    planned = plan("even", count, steps)
    assert len(planned) == count
    gaps = [b - a for a, b in itertools.pairwise(planned)]
    assert max(gaps) - min(gaps) <= 2
    assert all(abs(gap - steps / (count - 1)) <= 1 for gap in gaps)


@given(plan_of=plans)
def test_geometric_checks_grow_by_one_factor_but_for_rounding(plan_of):
    count, steps = plan_of
    exact = [steps ** (i / (count - 2)) for i in range(count - 1)] if count > 2 else [steps]
    planned = plan("geometric", count, steps)
    for value in exact:
        assert any(abs(step - value) <= 0.5 + 1e-6 * value for step in planned)


def test_checks_in_time_are_not_planned_in_steps():
    checks = CheckSettings("time", None, 5.0)
    assert check_steps(checks, BudgetSettings(100, None)) == ()


def drive(schedule, seconds_per_step, longest=LONGEST):
    """Run a schedule as training does; return the steps of the checks and every chunk."""
    checked, chunks = [], []
    while True:
        if schedule.check_due():
            checked.append(schedule.step)
        if schedule.finished():
            return checked, chunks
        steps = schedule.chunk(longest)
        assert 1 <= steps <= longest
        chunks.append((schedule.step, steps))
        schedule.advance(steps, steps * seconds_per_step)


@given(
    plan_of=st.integers(1, 2000).flatmap(
        lambda steps: st.tuples(st.integers(2, min(steps + 1, 40)), st.just(steps))
    ),
    spacing=st.sampled_from(SPACINGS),
    seconds=st.sampled_from([0.0, 1e-4, 0.3, 20.0]),
    longest=st.sampled_from([1, 7, LONGEST]),
)
def test_a_run_in_steps_checks_exactly_as_planned(plan_of, spacing, seconds, longest):
    count, steps = plan_of
    schedule = Schedule(CheckSettings(spacing, count, None), BudgetSettings(steps, None))
    checked, chunks = drive(schedule, seconds, longest)
    planned = plan(spacing, count, steps)
    assert tuple(checked) == planned
    assert schedule.step == steps
    for start, taken in chunks:
        assert not any(start < step < start + taken for step in planned)


def test_the_first_chunk_is_a_step_and_later_ones_last_seconds():
    schedule = Schedule(CheckSettings("even", 2, None), BudgetSettings(100_000, None))
    assert schedule.chunk(LONGEST) == 1
    schedule.advance(1, 0.1)
    assert schedule.chunk(LONGEST) == round(SECONDS_BETWEEN_LOOKS / 0.1)
    schedule.advance(10, 400.0)  # the machine has other work now
    assert schedule.chunk(LONGEST) == 1


def test_a_run_that_goes_on_measures_anew_how_long_a_step_takes():
    schedule = Schedule(CheckSettings("even", 2, None), BudgetSettings(100_000, None))
    schedule.step, schedule.seconds = 1000, 0.001
    assert schedule.chunk(LONGEST) == 1


def test_hours_end_a_run_whatever_the_steps():
    schedule = Schedule(CheckSettings("even", 11, None), BudgetSettings(10_000, 0.1))
    checked, _ = drive(schedule, seconds_per_step=1.0)
    assert schedule.step == 360
    assert checked == [0, 360]  # the next planned one, at step 1,000, is never reached
    assert schedule.finished()


def test_steps_end_a_run_whatever_the_hours():
    schedule = Schedule(CheckSettings("even", 3, None), BudgetSettings(10, 1.0))
    assert drive(schedule, 1.0)[0] == [0, 5, 10]


def test_checks_in_time_come_at_the_gap_and_at_the_end():
    schedule = Schedule(CheckSettings("time", None, 1.0), BudgetSettings(None, 0.1))
    checked, _ = drive(schedule, seconds_per_step=2.0)
    assert checked == [0, 30, 60, 90, 120, 150, 180]


def test_a_step_longer_than_the_gap_is_checked_every_time():
    schedule = Schedule(CheckSettings("time", None, 1.0), BudgetSettings(3, None))
    assert drive(schedule, seconds_per_step=100.0)[0] == [0, 1, 2, 3]


def test_a_check_in_time_is_due_once():
    schedule = Schedule(CheckSettings("time", None, 1.0), BudgetSettings(None, 1.0))
    assert [schedule.check_due(), schedule.check_due()] == [True, False]
    schedule.advance(1, 59.0)
    assert not schedule.check_due()
    schedule.advance(1, 1.0)
    assert [schedule.check_due(), schedule.check_due()] == [True, False]


@pytest.mark.parametrize(
    ("steps", "hours", "share"),
    [(100, None, 0.25), (None, 1.0, 0.5), (100, 1.0, 0.5), (40, 1.0, 0.625)],
)
def test_the_share_done_is_that_of_the_budget_that_ends_first(steps, hours, share):
    schedule = Schedule(CheckSettings("time", None, 1.0), BudgetSettings(steps, hours))
    assert schedule.share_done() == 0
    schedule.advance(25, 1800.0)
    assert schedule.share_done() == share


def reached(at, schedule, seconds_per_step):
    """Run a schedule; return the step of the check that each share is taken at."""
    shares, steps = Shares(at), {}
    while True:
        if schedule.check_due():
            for place in shares.reached(schedule.share_done()):
                assert place not in steps
                steps[place] = schedule.step
        if schedule.finished():
            return [steps.get(place) for place in range(len(at))]
        taken = schedule.chunk(LONGEST)
        schedule.advance(taken, taken * seconds_per_step)


@pytest.mark.parametrize(
    ("at", "steps"),
    [
        ((), []),
        ((0.0, 0.5, 1.0), [0, 50, 100]),
        ((0.3, 0.7), [30, 70]),
        ((0.01, 0.02, 0.31), [10, 10, 40]),
        ((0.99,), [100]),
    ],
)
def test_a_share_is_taken_at_the_first_check_that_has_reached_it(at, steps):
    schedule = Schedule(CheckSettings("even", 11, None), BudgetSettings(100, None))
    assert reached(at, schedule, 0.1) == steps


@pytest.mark.parametrize(
    ("checks", "budget"),
    [
        (CheckSettings("even", 4, None), BudgetSettings(997, None)),
        (CheckSettings("geometric", 5, None), BudgetSettings(997, None)),
        (CheckSettings("time", None, 0.7), BudgetSettings(997, None)),
        (CheckSettings("time", None, 0.7), BudgetSettings(None, 0.1)),
        (CheckSettings("time", None, 0.7), BudgetSettings(10**6, 0.1)),
    ],
)
def test_the_shares_0_and_1_are_the_first_check_and_the_last(checks, budget):
    schedule = Schedule(checks, budget)
    first, last = reached((0.0, 1.0), schedule, 0.37)
    assert (first, last) == (0, schedule.step)
