"""A rise to eta, which then stays."""

import jax.numpy as jnp

from samedge.updates.schedule import SCHEDULES, Schedule


@SCHEDULES.register("warmup")
def warmup(*, steps: int) -> Schedule:
    """Return shares that rise evenly from 1/steps to 1 at the last of so many steps, and stay."""
    if steps < 1:
        raise ValueError(f"steps: found {steps}, must be at least 1")
    return lambda count: jnp.minimum((count + 1) / steps, 1.0)
