"""RMSProp (Tieleman & Hinton 2012), alone or with SAM."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from samedge.updates.displacement import displacement as displacement_of
from samedge.updates.effective import part_of
from samedge.updates.rule import RULES, Point, UpdateRule


@RULES.register("rmsprop")
def rmsprop(*, decay: float = 0.9, eps: float = 1e-8, displacement: str = "sam") -> UpdateRule:
    r"""Return RMSProp as Optax has it, with epsilon inside the root.

    With the preconditioner :math:`P = \sqrt{v + \epsilon}` of the step that follows held where it
    is, it is gradient descent preconditioned: the effective curvature meets :math:`2/\eta`.
    """
    if not (0 <= decay < 1 and eps > 0):
        raise ValueError(
            f"decay must be at least 0 and below 1, and eps above 0, found {decay} and {eps}"
        )

    def preconditioner(at: Point) -> Any:
        state = part_of(at.state, optax.ScaleByRmsState)

        def of(before: jax.Array, gradient: jax.Array) -> jax.Array:
            return jnp.sqrt(decay * before + (1 - decay) * jnp.square(gradient) + eps)

        return jax.tree.map(of, state.nu, at.ascended)

    return displacement_of(displacement).preconditioned(
        partial(optax.rmsprop, decay=decay, eps=eps), lambda eta: 2 / eta, preconditioner
    )
