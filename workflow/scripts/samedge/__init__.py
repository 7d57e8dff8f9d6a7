"""Sharpness-Aware Minimization and the edge of stability: train, measure, judge.

What a script of one's own needs is here, see docs/extending.md. It is imported when it is first
asked for, so that importing the package is quick and imports no JAX::

    import samedge

    top = samedge.top_eigenpairs(loss, params, data, key=key)
    edge = samedge.sam_edge(gradient_norm, eta, rho)

The package knows nothing of Snakemake. Each folder is a room, which imports from the rooms below it
only::

    command
    explorer | sharing | watching
    figures  | audit
    analysis | training
    records  | tasks
    data | updates | config | machine
    curvature | base
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samedge import edge, hessian, monitor, sam
    from samedge.edge import (
        displaced_edge,
        edge_ratio,
        gd_edge,
        negative_curvature_bound,
        sam_edge,
        unnormalized_sam_edge,
    )
    from samedge.hessian import (
        Eigenpairs,
        HostLoss,
        Operator,
        RitzPairs,
        SpectralDensity,
        block,
        congruent,
        gauss_newton,
        hessian_block,
        hessian_vector_product,
        layers,
        parameter_names,
        spectral_density,
        top_eigenpairs,
    )
    from samedge.monitor import Monitor
    from samedge.sam import RULES, UpdateRule, gradients, sam_gradient, use_plugins

__version__ = "0.1.0"

__all__ = [
    "RULES",
    "Eigenpairs",
    "HostLoss",
    "Monitor",
    "Operator",
    "RitzPairs",
    "SpectralDensity",
    "UpdateRule",
    "__version__",
    "block",
    "congruent",
    "displaced_edge",
    "edge",
    "edge_ratio",
    "gauss_newton",
    "gd_edge",
    "gradients",
    "hessian",
    "hessian_block",
    "hessian_vector_product",
    "layers",
    "monitor",
    "negative_curvature_bound",
    "parameter_names",
    "sam",
    "sam_edge",
    "sam_gradient",
    "spectral_density",
    "top_eigenpairs",
    "unnormalized_sam_edge",
    "use_plugins",
]

# The module that a name comes from; each of the modules is offered as well.
_HOMES = {
    "displaced_edge": "edge",
    "edge_ratio": "edge",
    "gd_edge": "edge",
    "negative_curvature_bound": "edge",
    "sam_edge": "edge",
    "unnormalized_sam_edge": "edge",
    "Eigenpairs": "hessian",
    "HostLoss": "hessian",
    "Operator": "hessian",
    "RitzPairs": "hessian",
    "SpectralDensity": "hessian",
    "block": "hessian",
    "congruent": "hessian",
    "gauss_newton": "hessian",
    "hessian_block": "hessian",
    "layers": "hessian",
    "parameter_names": "hessian",
    "hessian_vector_product": "hessian",
    "spectral_density": "hessian",
    "top_eigenpairs": "hessian",
    "Monitor": "monitor",
    "RULES": "sam",
    "UpdateRule": "sam",
    "gradients": "sam",
    "sam_gradient": "sam",
    "use_plugins": "sam",
}


def __getattr__(name: str) -> Any:
    """Import what is offered when it is first asked for.

    Raises
    ------
    AttributeError
        For any other name, with the nearest one.
    """
    if name not in __all__:
        from difflib import get_close_matches

        near = get_close_matches(name, __all__, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"it offers {', '.join(__all__)}"
        raise AttributeError(f"module 'samedge' has no attribute '{name}'; {hint}")
    module = importlib.import_module(f"samedge.{_HOMES.get(name, name)}")
    # Kept, so that it is found without this function from now on.
    value = globals()[name] = getattr(module, name) if name in _HOMES else module
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
