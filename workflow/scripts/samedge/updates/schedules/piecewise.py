"""Constant pieces."""

from collections.abc import Sequence

import optax

from samedge.updates.schedule import SCHEDULES, Schedule


@SCHEDULES.register("piecewise")
def piecewise(*, steps: Sequence[int], shares: Sequence[float]) -> Schedule:
    """Return constant shares, the next one from each of these steps on."""
    if len(shares) != len(steps) + 1 or list(steps) != sorted(set(steps)):
        raise ValueError(
            "piecewise needs ascending steps, and one more of shares than of them; found "
            f"{list(steps)} and {list(shares)}"
        )
    return optax.join_schedules([optax.constant_schedule(share) for share in shares], list(steps))
