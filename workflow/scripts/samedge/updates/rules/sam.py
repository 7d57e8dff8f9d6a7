"""SAM as in the paper; at ``rho = 0`` gradient descent."""

import optax

from samedge.updates import edges
from samedge.updates.displacement import normalized
from samedge.updates.rule import RULES, UpdateRule


@RULES.register("sam")
def sam() -> UpdateRule:
    """Return SAM as in the paper: a perturbation of length rho along the gradient, then SGD."""
    return UpdateRule(perturb=normalized, optimizer=optax.sgd, edge=edges.sam_edge)
