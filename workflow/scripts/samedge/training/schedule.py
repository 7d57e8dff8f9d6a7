"""When to measure and when to stop, apart from how to step."""

from dataclasses import dataclass, field

import numpy as np

from samedge.config.parts import BudgetSettings, CheckSettings, DivergenceSettings

SECONDS_BETWEEN_LOOKS = 1.0  # a chunk of steps lasts about this long at most


def check_steps(checks: CheckSettings, budget: BudgetSettings) -> tuple[int, ...]:
    """Return the steps at which to check, from 0 to the last; none for spacing in time.

    Geometric spacing rounds to whole steps, so that close early checks may fall together.
    """
    last, count = budget.steps, checks.count
    if checks.spacing == "time" or last is None or count is None:
        return ()
    if checks.spacing == "even":
        steps = np.linspace(0, last, count)
    elif checks.spacing == "geometric_then_even":
        steps = _geometric_then_even(last, count)
    else:
        # Counted down from the last step, so that two checks are the first and the last.
        steps = np.append(np.geomspace(last, 1, count - 1), 0)
    return tuple(int(step) for step in np.unique(np.rint(steps)))


def _geometric_then_even(last: int, count: int) -> np.ndarray:
    """Return steps at the powers of two for as long as they are no further apart than the rest.

    The rest are spaced evenly from the last of these powers to the last step.
    """
    powers = [0]
    for power in 2 ** np.arange(max(count - 2, 0)):
        even = (last - power) / (count - len(powers) - 1)
        if power - powers[-1] > even:
            break
        powers.append(int(power))
    return np.append(powers[:-1], np.linspace(powers[-1], last, count - len(powers) + 1))


@dataclass
class Shares:
    """Which of some shares of the budget each check is the first to have reached.

    ``at`` are the shares in ascending order, from 0 (the first check) to 1 (the last).
    """

    at: tuple[float, ...]
    passed: int = 0  # how many of them have been reached so far

    def reached(self, done: float) -> tuple[int, ...]:
        """Return the places in ``at`` that a check after this share of the budget is the first for.

        ``done`` is :meth:`Schedule.share_done`; ask at every check, in order.
        """
        before = self.passed
        self.passed = sum(share <= done for share in self.at)
        return tuple(range(before, self.passed))


@dataclass
class Schedule:
    """How many steps to take before the next look at the clock, and what to do then.

    ``seconds`` is the training time so far (measuring left out) and ``step`` the steps taken;
    :meth:`advance` keeps both. ``next_seconds`` is when the next check is due, if by time. These
    three are what a run goes on from; how long a step takes is measured anew, since another
    process may have had the machine to itself.
    """

    checks: CheckSettings
    budget: BudgetSettings
    step: int = 0
    seconds: float = 0.0
    next_seconds: float = 0.0
    _steps: tuple[int, ...] = field(init=False)
    _pace: float | None = field(init=False, default=None)  # seconds a step, as last seen

    def __post_init__(self) -> None:
        self._steps = check_steps(self.checks, self.budget)

    def advance(self, steps: int, seconds: float) -> None:
        """Count steps taken and the training time (s) they took."""
        self.step += steps
        self.seconds += seconds
        self._pace = max(seconds, 1e-9) / max(steps, 1)

    def check_due(self) -> bool:
        """Tell whether to measure now; a check that is due is due once."""
        if self.finished():
            return True
        if self.checks.spacing != "time" or self.checks.minutes is None:
            return self.step in self._steps
        due = self.seconds >= self.next_seconds
        if due:
            self.next_seconds = self.seconds + 60.0 * self.checks.minutes
        return due

    def finished(self) -> bool:
        """Tell whether the budget of steps or hours is spent."""
        out_of_steps = self.budget.steps is not None and self.step >= self.budget.steps
        return out_of_steps or self._seconds_left() <= 0

    def chunk(self, longest: int) -> int:
        """Return how many steps to take before the next look, at least one, at most ``longest``."""
        stops = [step for step in self._steps if step > self.step]
        stops.append(self.budget.steps or self.step + longest)
        if self._pace is None:
            by_time = 1  # which tells how long a step takes
        else:
            seconds = min(SECONDS_BETWEEN_LOOKS, self._seconds_left())
            if self.checks.spacing == "time":
                seconds = min(seconds, self.next_seconds - self.seconds)
            by_time = round(seconds / self._pace)
        return max(1, min(longest, by_time, min(stops) - self.step))

    def share_done(self) -> float:
        """Return the share of the budget spent, by steps or hours, whichever is further."""
        steps, hours = self.budget.steps, self.budget.hours
        return max(
            self.step / steps if steps is not None else 0.0,
            self.seconds / (3600.0 * hours) if hours is not None else 0.0,
        )

    def _seconds_left(self) -> float:
        hours = self.budget.hours
        return float("inf") if hours is None else 3600.0 * hours - self.seconds


class DivergenceWatch:
    """Counts checks in a row whose loss exceeds a multiple of the first one."""

    def __init__(self, settings: DivergenceSettings) -> None:
        self.settings = settings
        self.bound: float | None = None
        self.exceeded = 0

    def judge(self, loss: float) -> str | None:
        """Take the loss of the next check; return the reason once the run counts as diverged."""
        if self.bound is None:
            factor = self.settings.loss_factor
            # As far above a negative loss, in units of its size, as above a positive one.
            self.bound = (factor if loss >= 0 else 2 - factor) * loss
        self.exceeded = self.exceeded + 1 if loss > self.bound else 0
        if self.exceeded < self.settings.checks:
            return None
        return (
            f"loss above {self.settings.loss_factor:g} times the initial one at "
            f"{self.settings.checks} checks in a row"
        )
