r"""Update rules as pure functions: SAM, and gradient descent as SAM with ``rho = 0``.

One step of SAM (paper, equation 1) is
:math:`w \leftarrow w - \eta\nabla\ell(w + \rho\nabla\ell(w)/\|\nabla\ell(w)\|)`.
A rule says where the second gradient is taken, which optimizer applies it, and where its edge
lies; training, cubes and figures take all three from the rule, looked up in :data:`RULES`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from samedge.base.registry import Registry
from samedge.curvature import arguments
from samedge.curvature.operators.operator import Operator

ValueAndGrad = Callable[[Any], tuple[jax.Array, Any]]


@dataclass(frozen=True)
class UpdateRule:
    """What distinguishes one update rule from another.

    Attributes
    ----------
    perturb
        ``(gradient, rho, epsilon) -> displacement`` at which the second gradient is taken.
    optimizer
        ``eta -> optax.GradientTransformation`` applied to the second gradient. ``eta`` is a number
        or, with a schedule, a function of the steps taken, as Optax has it.
    edge
        ``(gradient_norm, eta, rho) -> float``, the curvature at which the rule turns unstable.
    effective
        Where that is not the largest eigenvalue of the Hessian, but of another operator:
        ``(hessian, at) -> Operator``, of the Hessian as a map and a :class:`Point`.
    displace
        ``(params, gradient, rho, epsilon) -> displacement``, in place of ``perturb`` where it
        depends on the parameters.
    """

    perturb: Callable[[Any, jax.Array, float], Any]
    optimizer: Callable[[Any], optax.GradientTransformation]
    edge: Callable[[float, float, float], float]
    effective: Callable[[Any, "Point"], Operator] | None = None
    displace: Callable[[Any, Any, jax.Array, float], Any] | None = None


class Point(NamedTuple):
    """Where a run is at a check, of what :attr:`UpdateRule.effective` may depend on.

    Attributes
    ----------
    params, state
        The parameters, and the optimizer's state before the step that follows.
    gradient, ascended
        The gradient there, and the one that the step takes.
    rho, epsilon
        Of the displacement; ``rho`` in the type of the parameters.
    """

    params: Any
    state: Any
    gradient: Any
    ascended: Any
    rho: jax.Array
    epsilon: float


RULES: Registry[Callable[..., UpdateRule]] = Registry("update")


def gradients(
    rule: UpdateRule, value_and_grad: ValueAndGrad, params: Any, rho: jax.Array, epsilon: float
) -> tuple[jax.Array, Any, Any]:
    """Return the loss, its gradient at the parameters, and the gradient the rule steps along.

    ``rho`` may be traced; at ``rho = 0`` the second gradient is the first and costs nothing.
    """
    loss, gradient = value_and_grad(params)
    return loss, gradient, ascended(rule, value_and_grad, params, gradient, rho, epsilon)


def displacement(
    rule: UpdateRule, params: Any, gradient: Any, rho: jax.Array, epsilon: float
) -> Any:
    """Return how far from the parameters a rule takes its second gradient."""
    if rule.displace is not None:
        return rule.displace(params, gradient, rho, epsilon)
    return rule.perturb(gradient, rho, epsilon)


def ascended(
    rule: UpdateRule,
    value_and_grad: ValueAndGrad,
    params: Any,
    gradient: Any,
    rho: jax.Array,
    epsilon: float,
) -> Any:
    """Return the gradient that the rule steps along, from that at the parameters."""

    def displaced() -> Any:
        along = displacement(rule, params, gradient, rho, epsilon)
        return value_and_grad(optax.apply_updates(params, along))[1]

    if isinstance(rho, jax.core.Tracer):
        return jax.lax.cond(rho > 0, displaced, lambda: gradient)
    # Outside of a compiled program a condition would be compiled anew at every call.
    return displaced() if float(rho) > 0 else gradient


def sam_gradient(
    loss: Callable[..., jax.Array],
    params: Any,
    data: tuple[Any, ...],
    rho: float | jax.Array,
    epsilon: float = 1e-5,
) -> tuple[Any, Any]:
    r"""Return the gradient at the parameters and the one that SAM steps along.

    These are :math:`\nabla\ell(w)` and
    :math:`\nabla\ell(w + \rho\nabla\ell(w)/(\|\nabla\ell(w)\|+\epsilon))`.

    Parameters
    ----------
    loss
        ``loss(params, *data) -> scalar`` on any pytree of parameters.
    params, data
        The point and the rest of the arguments.
    rho, epsilon
        Radius of the perturbation (paper, equation 1), and what is added to the norm it divides
        by; both finite and not below 0.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not as described, each with what is wrong where.
    """
    arguments.require(loss, params, data)
    for name, value in (("rho", rho), ("epsilon", epsilon)):
        arguments.require_number(name, value, lambda x: 0 <= x < math.inf, "of at least 0")
    value_and_grad = jax.value_and_grad(lambda point: arguments.scalar(loss(point, *data)))
    dtype = jax.tree.leaves(params)[0].dtype
    radius = jnp.asarray(rho, dtype)
    added: Any = jnp.asarray(epsilon, dtype)  # a scalar, which rules take as they do a float
    _, gradient, ascended = gradients(RULES["sam"](), value_and_grad, params, radius, added)
    return gradient, ascended
