"""Learning-rate schedules: by which share of eta a step is taken, looked up in :data:`SCHEDULES`.

A schedule is a function of the steps taken so far, a whole number that may be traced. The learning
rate of a step is eta times its share. Each is a file of :mod:`samedge.updates.schedules`.
"""

from collections.abc import Callable
from typing import Any

from samedge.base.registry import Registry

Schedule = Callable[[Any], Any]

SCHEDULES: Registry[Callable[..., Schedule]] = Registry("schedule")
