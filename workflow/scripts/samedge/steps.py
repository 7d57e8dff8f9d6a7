"""The compiled programs of training: many steps in one dispatch, and what a check measures with.

Learning rate and radius are arguments of these programs, not constants in them, so one program
serves every run of a task.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from samedge.batching import mean_over_microbatches
from samedge.sam import UpdateRule, gradients


def _value_and_grad(
    loss: Callable[..., jax.Array], microbatch: int | None, data: tuple[jax.Array, ...]
) -> Callable[[Any], tuple[jax.Array, Any]]:
    def of_params(params: Any) -> tuple[jax.Array, Any]:
        piecewise = jax.value_and_grad(loss)
        return mean_over_microbatches(partial(piecewise, params), data, microbatch)

    return of_params


@partial(
    jax.jit,
    static_argnames=("loss", "rule", "microbatch", "epsilon"),
    donate_argnames=("params", "state"),
)
def take_steps(
    loss: Callable[..., jax.Array],
    rule: UpdateRule,
    microbatch: int | None,
    epsilon: float,
    params: Any,
    state: Any,
    eta: jax.Array,
    rho: jax.Array,
    data: tuple[jax.Array, ...],
    indices: jax.Array | None,
    count: jax.Array,
) -> tuple[Any, Any, jax.Array, jax.Array]:
    """Take ``count`` steps on the device, fewer if the loss or a gradient is not finite.

    ``indices`` (chunk, batch) picks the examples of each step; None takes all of them. Returns
    parameters, optimizer state, the steps taken and whether all was finite, the parameters and
    the state after the last of them included.
    """
    optimizer = rule.optimizer(eta)

    def going_on(carry: tuple[Any, Any, jax.Array, jax.Array]) -> jax.Array:
        _, _, taken, finite = carry
        return finite & (taken < count)

    def one_step(
        carry: tuple[Any, Any, jax.Array, jax.Array],
    ) -> tuple[Any, Any, jax.Array, jax.Array]:
        params, state, taken, _ = carry
        batch = data if indices is None else tuple(x[indices[taken]] for x in data)
        value, _, gradient = gradients(
            rule, _value_and_grad(loss, microbatch, batch), params, rho, epsilon
        )
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradient))
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, taken + finite.astype(jnp.int32), finite

    start = (params, state, jnp.int32(0), jnp.bool_(True))
    params, state, taken, finite = jax.lax.while_loop(going_on, one_step, start)
    # A loss can be finite at parameters that are not: a unit that is never active hides them.
    for leaf in jax.tree.leaves((params, state)):
        finite &= jnp.all(jnp.isfinite(leaf))
    return params, state, taken, finite


@partial(jax.jit, static_argnames=("loss", "rule", "microbatch", "epsilon"))
def measure_gradients(
    loss: Callable[..., jax.Array],
    rule: UpdateRule,
    microbatch: int | None,
    epsilon: float,
    params: Any,
    rho: jax.Array,
    batch: tuple[jax.Array, ...],
) -> tuple[jax.Array, Any, Any]:
    """Return the loss and both gradients at the parameters."""
    return gradients(rule, _value_and_grad(loss, microbatch, batch), params, rho, epsilon)


@jax.jit
def norm_of(gradient: Any) -> jax.Array:
    """Return the norm of a gradient: one program, so that equal gradients have equal norms."""
    return optax.tree.norm(gradient)


@jax.jit
def alignment(gradient: Any, vector: Any) -> jax.Array:
    """Return the absolute cosine between a gradient and a unit vector; NaN if there is none."""
    norm = optax.tree.norm(gradient)
    cosine = jnp.abs(optax.tree.vdot(gradient, vector)) / jnp.where(norm > 0, norm, 1)
    return jnp.where(norm > 0, cosine, jnp.nan)
