"""Adam (Kingma & Ba 2015), with decoupled weight decay if asked for, alone or with SAM."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from samedge.updates.displacement import displacement as displacement_of
from samedge.updates.effective import part_of
from samedge.updates.rule import RULES, Point, UpdateRule


@RULES.register("adam")
def adam(
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    displacement: str = "sam",
) -> UpdateRule:
    r"""Return Adam as Optax has it; with ``weight_decay`` AdamW.

    With the preconditioner :math:`P = (1-\beta_1^t)(\sqrt{\hat v} + \epsilon)` of the step that
    follows held where it is, Adam is descent along a moving average of :math:`P^{-1}g`. A component
    of effective curvature a turns unstable at :math:`\eta a = 2(1+\beta_1)/(1-\beta_1)`, 38 at
    :math:`\beta_1 = 0.9` (Cohen et al. 2022, arXiv 2207.14484); with decay
    :math:`\gamma = \eta\,wd` the 2 becomes :math:`2-\gamma`, from the characteristic polynomial
    :math:`z^2-(1-\gamma+\beta_1-(1-\beta_1)\eta a)z+\beta_1(1-\gamma)` at -1.
    """
    for name, value in (("b1", b1), ("b2", b2)):
        if not 0 <= value < 1:
            raise ValueError(f"{name}: found {value}, must be at least 0 and below 1")
    if not (eps > 0 and weight_decay >= 0):
        raise ValueError(
            f"eps must be above 0 and weight_decay at least 0, found {eps} and {weight_decay}"
        )
    optimizer = partial(optax.adam, b1=b1, b2=b2, eps=eps)
    if weight_decay:
        optimizer = partial(optax.adamw, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)

    def limit(eta: float) -> float:
        return (2 - eta * weight_decay) * (1 + b1) / (1 - b1) / eta

    def preconditioner(at: Point) -> Any:
        state = part_of(at.state, optax.ScaleByAdamState)
        count = int(state.count) + 1

        def of(before: jax.Array, gradient: jax.Array) -> jax.Array:
            second = (b2 * before + (1 - b2) * jnp.square(gradient)) / (1 - b2**count)
            return ((1 - b1**count) * (jnp.sqrt(second) + eps)).astype(gradient.dtype)

        return jax.tree.map(of, state.nu, at.ascended)

    return displacement_of(displacement).preconditioned(optimizer, limit, preconditioner)
