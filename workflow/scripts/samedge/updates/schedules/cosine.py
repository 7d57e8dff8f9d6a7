"""A fall along half a cosine (Loshchilov & Hutter 2017), behind a rise if asked for."""

import jax
import jax.numpy as jnp
import optax

from samedge.updates.schedule import SCHEDULES, Schedule


@SCHEDULES.register("cosine")
def cosine(*, steps: int, warmup: int = 0, end: float = 0.0) -> Schedule:
    """Return shares that fall from 1 to ``end`` at step ``steps``, and stay.

    With ``warmup`` they first rise evenly, and reach 1 at the last of these steps.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup: found {warmup}, must be at least 0 and below steps, {steps}")
    falling = optax.cosine_decay_schedule(1.0, steps - warmup, end)

    def share(count: jax.Array) -> jax.Array:
        rising = (count + 1) / max(warmup, 1)
        return jnp.where(count < warmup, rising, falling(jnp.maximum(count - warmup, 0)))

    return share
