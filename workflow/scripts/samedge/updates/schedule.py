"""Learning-rate schedules: by which share of eta a step is taken, looked up in :data:`SCHEDULES`.

A schedule is a function of the steps taken so far, a whole number that may be traced. The learning
rate of a step is eta times its share. Each is a file of :mod:`samedge.updates.schedules`.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from samedge.base.registry import Registry

Schedule = Callable[[Any], Any]

SCHEDULES: Registry[Callable[..., Schedule]] = Registry("schedule")


def schedule_with(name: str, settings: Mapping[str, Any]) -> Schedule:
    """Return the schedule of a name with its settings; the same object for the same ones.

    Raises
    ------
    UserError
        For a name that no schedule has.
    TypeError, ValueError
        For settings that it does not take, as its function says.
    """
    return _schedule(name, json.dumps(settings, sort_keys=True))


@cache
def _schedule(name: str, settings: str) -> Schedule:
    return SCHEDULES[name](**json.loads(settings))
