"""Eigenpairs and spectral density of the Hessian, see :mod:`samedge.curvature`."""

from samedge.curvature.density import SpectralDensity, spectral_density
from samedge.curvature.eigenpairs import Eigenpairs, RitzPairs, top_eigenpairs
from samedge.curvature.operators import (
    Operator,
    block,
    congruent,
    gauss_newton,
    parameter_names,
)
from samedge.curvature.products import hessian_vector_product

__all__ = [
    "Eigenpairs",
    "Operator",
    "RitzPairs",
    "SpectralDensity",
    "block",
    "congruent",
    "gauss_newton",
    "hessian_vector_product",
    "parameter_names",
    "spectral_density",
    "top_eigenpairs",
]
