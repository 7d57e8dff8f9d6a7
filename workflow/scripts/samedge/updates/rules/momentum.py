"""Gradient descent or SAM with momentum: heavy ball (Polyak 1964) or Nesterov's (1983)."""

from functools import partial

import optax

from samedge.updates.displacement import displacement as displacement_of
from samedge.updates.rule import RULES, UpdateRule


@RULES.register("momentum")
def momentum(*, momentum: float, nesterov: bool = False, displacement: str = "sam") -> UpdateRule:
    r"""Return a rule with momentum β, at least 0 and below 1, as Optax writes it.

    Heavy ball steps along :math:`m_{t+1} = \beta m_t + g_t`, Nesterov's along
    :math:`\beta m_{t+1} + g_t`. On a quadratic of curvature λ a step is a linear map of the last
    two points. Its eigenvalues leave the unit circle at −1, where :math:`\eta\lambda` is
    :math:`2(1+\beta)`, or for Nesterov's :math:`2(1+\beta)/(1+2\beta)`.

    ``displacement`` is "sam" or "unnormalized". With momentum and normalised SAM the two-cycle at
    the edge is not the only attractor; at β = 0.9 runs settle below it as often as not.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum: found {momentum}, must be at least 0 and below 1")
    coefficient = 2 * (1 + momentum) / (1 + 2 * momentum if nesterov else 1)
    optimizer = partial(optax.sgd, momentum=momentum, nesterov=nesterov)
    return displacement_of(displacement).rule(optimizer, coefficient)
