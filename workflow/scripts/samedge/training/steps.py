"""The compiled programs of training: many steps in one dispatch, and what a check measures with.

Learning rate and radius are arguments of these programs, not constants in them, so one program
serves every run of a task.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from samedge.base.errors import UserError
from samedge.base.registry import Registry
from samedge.config.parts import ScheduleSettings, UpdateSettings
from samedge.config.settings import RunSettings
from samedge.curvature.microbatches import mean_over_microbatches
from samedge.curvature.operators.hosted import HostLoss
from samedge.curvature.products import linearized
from samedge.curvature.scaling import norm, scaled_norm
from samedge.tasks.model import Noise
from samedge.updates.rule import RULES, UpdateRule, ascended, gradients
from samedge.updates.schedule import SCHEDULES, Schedule


def as_optax_promotes() -> AbstractContextManager[Any]:
    """Let types be promoted as NumPy does, which Optax counts on where it counts steps."""
    return jax.numpy_dtype_promotion("standard")


def _made(registry: Registry[Any], chosen: UpdateSettings | ScheduleSettings, where: str) -> Any:
    """Return what a registry makes of a name and its settings; name the place of such as fail."""
    try:
        return registry.made(chosen.name, chosen.settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}.settings of {chosen.name}: {error}") from error


@dataclass(frozen=True)
class StepSpec:
    """What one compiled program of steps is of; equal ones share it.

    Attributes
    ----------
    loss
        ``loss(params, *data)``, the mean over the examples in ``data``.
    rule
        The update rule.
    microbatch
        Examples at a time, None for all at once.
    epsilon
        Added to the norm of the gradient that SAM divides by.
    schedule
        ``steps -> share`` of eta that a step is taken by, None for all of it.
    """

    loss: Callable[..., jax.Array]
    rule: UpdateRule
    microbatch: int | None
    epsilon: float
    schedule: Schedule | None = None

    @classmethod
    def of(cls, settings: RunSettings, loss: Callable[..., jax.Array]) -> "StepSpec":
        """Return that of a run, the loss of whose problem is given.

        Settings that its update rule or schedule does not take are a :class:`UserError`.
        """
        update, schedule = settings.update, None
        rule = _made(RULES, update, f"task {settings.task}: update")
        if update.schedule is not None:
            schedule = _made(SCHEDULES, update.schedule, f"task {settings.task}: update.schedule")
        return cls(loss, rule, settings.microbatch, update.epsilon, schedule)

    def optimizer(self, eta: jax.Array) -> optax.GradientTransformation:
        """Return the rule's optimizer, of which eta is the learning rate or what it is a share of.

        With a schedule the optimizer's state counts the steps.
        """
        schedule = self.schedule
        if schedule is None:
            return self.rule.optimizer(eta)
        return self.rule.optimizer(lambda count: eta * schedule(count))

    def learning_rate(self, eta: float, step: int) -> float:
        """Return the learning rate of the step that follows so many steps."""
        if self.schedule is None:
            return eta
        with as_optax_promotes():
            return eta * float(self.schedule(np.int32(step)))

    def gradients(
        self, params: Any, rho: jax.Array, data: tuple[jax.Array, ...]
    ) -> tuple[jax.Array, Any, Any]:
        """Return the loss and both gradients at the parameters, on these examples."""
        return gradients(self.rule, self._value_and_grad(data), params, rho, self.epsilon)

    def gradients_and_hessian(
        self, params: Any, rho: jax.Array, data: tuple[jax.Array, ...]
    ) -> tuple[jax.Array, Any, Any, Any]:
        """Return the loss, both gradients, and the Hessian as :func:`hessian_map` gives it.

        The pass that gives loss and gradient is the one that products linearise.
        """
        if isinstance(self.loss, HostLoss):
            host, at = self.loss, partial(self.loss.at, data=data)
            return *gradients(self.rule, at, params, rho, self.epsilon), host.hessian(params, data)
        loss, gradient, hessian = linearized(self.loss, params, data, self.microbatch)
        value_and_grad = self._value_and_grad(data)
        along = ascended(self.rule, value_and_grad, params, gradient, rho, self.epsilon)
        return loss, gradient, along, hessian

    def _value_and_grad(
        self, data: tuple[jax.Array, ...]
    ) -> Callable[[Any], tuple[jax.Array, Any]]:
        def value_and_grad(at: Any) -> tuple[jax.Array, Any]:
            piecewise = partial(jax.value_and_grad(self.loss), at)
            return mean_over_microbatches(piecewise, data, self.microbatch)

        return value_and_grad


@partial(jax.jit, static_argnames="spec", donate_argnames=("params", "state"))
def take_steps(
    spec: StepSpec,
    params: Any,
    state: Any,
    eta: jax.Array,
    rho: jax.Array,
    data: tuple[jax.Array, ...],
    indices: jax.Array | None,
    count: jax.Array,
    noise: Noise | None = None,
) -> tuple[Any, Any, jax.Array, jax.Array]:
    """Take ``count`` steps on the device, fewer if the loss or a gradient is not finite.

    ``indices`` (chunk, batch) picks the examples of each step; None takes all of them. ``noise`` is
    that of a loss that takes keys too, from which each step draws them. Returns
    parameters, optimizer state, the steps taken and whether all was finite, the parameters and
    the state after the last of them included.
    """
    optimizer = spec.optimizer(eta)

    def going_on(carry: tuple[Any, Any, jax.Array, jax.Array]) -> jax.Array:
        _, _, taken, finite = carry
        return finite & (taken < count)

    def one_step(
        carry: tuple[Any, Any, jax.Array, jax.Array],
    ) -> tuple[Any, Any, jax.Array, jax.Array]:
        params, state, taken, _ = carry
        batch = data if indices is None else tuple(x[indices[taken]] for x in data)
        if noise is not None:
            batch = (*batch, noise.keys(batch[0].shape[0], later=taken))
        value, _, gradient = spec.gradients(params, rho, batch)
        finite = jnp.isfinite(value) & jnp.isfinite(norm(gradient))
        with as_optax_promotes():
            updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, taken + finite.astype(jnp.int32), finite

    start = (params, state, jnp.int32(0), jnp.bool_(True))
    params, state, taken, finite = jax.lax.while_loop(going_on, one_step, start)
    # A loss can be finite at parameters that are not: a unit that is never active hides them.
    for leaf in jax.tree.leaves((params, state)):
        finite &= jnp.all(jnp.isfinite(leaf))
    return params, state, taken, finite


@partial(jax.jit, static_argnames="spec", donate_argnames=("params", "state"))
def take_steps_together(
    spec: StepSpec,
    params: tuple[Any, ...],
    state: tuple[Any, ...],
    eta: jax.Array,
    rho: jax.Array,
    data: tuple[jax.Array, ...],
    indices: jax.Array | None,
    count: jax.Array,
    noise: Noise | None = None,
) -> tuple[tuple[Any, ...], tuple[Any, ...], jax.Array, jax.Array]:
    """Take steps of several runs at once, each as :func:`take_steps` does, and as many as it may.

    Parameters and states are one for each run; ``eta`` and ``count`` (runs,), ``indices``
    (runs, chunk, batch) and what is in ``noise`` (runs, …) are theirs. ``rho`` is one for all or
    (runs,): where radii differ, the second gradient is computed for those of zero too, and not
    used. Returns parameters and states as they came, the steps taken (runs,) and whether all was
    finite (runs,). A run whose count is
    reached, or that is not finite, stays as it is and changes nothing for the others.
    """
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (params, state)]
    together = jax.vmap(
        partial(take_steps, spec),
        in_axes=(0, 0, 0, 0 if rho.ndim else None, None, None if indices is None else 0, 0, 0),
    )
    *stacked, taken, finite = together(*stacked, eta, rho, data, indices, count, noise)
    apart = (
        tuple(jax.tree.map(itemgetter(place), trees) for place in range(len(params)))
        for trees in stacked
    )
    return *apart, taken, finite


@partial(jax.jit, static_argnames="spec")
def measure_gradients(
    spec: StepSpec,
    params: Any,
    rho: jax.Array,
    batch: tuple[jax.Array, ...],
) -> tuple[jax.Array, Any, Any, Any]:
    """Return the loss, both gradients, and the Hessian as a map, at the parameters."""
    return spec.gradients_and_hessian(params, rho, batch)


@jax.jit
def norm_of(gradient: Any) -> jax.Array:
    """Return the norm of a gradient: one program, so that equal gradients have equal norms."""
    return norm(gradient)


@jax.jit
def cosines(first: jax.Array, second: jax.Array) -> jax.Array:
    """Return the absolute cosines (m,) between rows of unit length, each with that of its place."""
    return jnp.abs(jnp.sum(first * second, axis=1))


@jax.jit
def alignment(gradient: Any, vector: Any) -> jax.Array:
    """Return the absolute cosine between a gradient and a unit vector; NaN if there is none."""
    length, factor = scaled_norm(gradient)
    product = jnp.abs(optax.tree.vdot(optax.tree.scale(factor, gradient), vector))
    return jnp.where(length > 0, product / jnp.where(length > 0, length, 1), jnp.nan)
