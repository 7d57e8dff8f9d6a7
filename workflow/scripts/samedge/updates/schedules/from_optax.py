"""Whatever else Optax has."""

import re
from collections.abc import Mapping
from typing import Any

import optax

from samedge.base.errors import did_you_mean
from samedge.updates.schedule import SCHEDULES, Schedule


@SCHEDULES.register("optax")
def from_optax(*, function: str, arguments: Mapping[str, Any]) -> Schedule:
    """Return a schedule of Optax, such as ``polynomial_schedule``, whose values are the shares."""
    known = [name for name in dir(optax.schedules) if re.fullmatch("[a-z].*_schedule", name)]
    if function not in known:
        hint = did_you_mean(function, known)
        raise ValueError(
            f"function: Optax has no schedule '{function}'{hint} (known: {', '.join(known)})"
        )
    return getattr(optax.schedules, function)(**arguments)
