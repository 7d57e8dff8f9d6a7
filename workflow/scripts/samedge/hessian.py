"""Eigenpairs and spectral density of the Hessian, see :mod:`samedge.curvature`."""

from samedge.curvature.density import SpectralDensity, spectral_density
from samedge.curvature.eigenpairs import Eigenpairs, RitzPairs, top_eigenpairs
from samedge.curvature.products import hessian_vector_product

__all__ = [
    "Eigenpairs",
    "RitzPairs",
    "SpectralDensity",
    "hessian_vector_product",
    "spectral_density",
    "top_eigenpairs",
]
