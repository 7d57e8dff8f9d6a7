"""Eigenpairs and spectral density of the Hessian, see :mod:`samedge.curvature`."""

from samedge.curvature.density import SpectralDensity, spectral_density
from samedge.curvature.eigenpairs import Eigenpairs, RitzPairs, top_eigenpairs
from samedge.curvature.operators.blocks import block, hessian_block, layers, parameter_names
from samedge.curvature.operators.hosted import HostLoss
from samedge.curvature.operators.made import congruent, gauss_newton
from samedge.curvature.operators.operator import Operator
from samedge.curvature.products import hessian_vector_product

__all__ = [
    "Eigenpairs",
    "HostLoss",
    "Operator",
    "RitzPairs",
    "SpectralDensity",
    "block",
    "congruent",
    "gauss_newton",
    "hessian_block",
    "hessian_vector_product",
    "layers",
    "parameter_names",
    "spectral_density",
    "top_eigenpairs",
]
