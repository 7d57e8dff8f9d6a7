"""SAM whose perturbation is ``rho`` times the gradient (Andriushchenko & Flammarion 2022)."""

import optax

from samedge.updates import edges
from samedge.updates.displacement import unnormalized
from samedge.updates.rule import RULES, UpdateRule


def _unnormalized_edge(gradient_norm: float, eta: float, rho: float) -> float:
    del gradient_norm  # the edge is the same wherever the gradient
    return edges.unnormalized_sam_edge(eta, rho)


@RULES.register("unnormalized_sam")
def unnormalized_sam() -> UpdateRule:
    """Return SAM with the perturbation ``rho * gradient`` (Andriushchenko & Flammarion 2022)."""
    return UpdateRule(perturb=unnormalized, optimizer=optax.sgd, edge=_unnormalized_edge)
