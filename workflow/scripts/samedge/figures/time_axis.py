"""The quantity on the x axis of curves along training: time or steps."""

from dataclasses import dataclass

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class TimeAxis:
    """The quantity on x: a variable of the cube, what to multiply it by, and the axis label."""

    variable: str
    factor: float
    label: str

    def of(self, run: xr.Dataset) -> np.ndarray:
        """Return x at every check of a run, in the unit of the label."""
        return run[self.variable].values * self.factor


def time_axis(cube: xr.Dataset, variable: str) -> TimeAxis:
    """Return the x axis for a cube, time in the unit (s, min, h) that suits its longest run."""
    if variable == "step":
        return TimeAxis(variable, 1.0, "Optimiser step")
    times = cube[variable].values
    longest = np.nanmax(times) if np.isfinite(times).any() else 0.0
    unit, seconds = "s", 1.0
    if longest >= 120:
        unit, seconds = ("min", 60.0) if longest < 7200 else ("h", 3600.0)
    return TimeAxis(variable, 1.0 / seconds, f"Training time ({unit})")
