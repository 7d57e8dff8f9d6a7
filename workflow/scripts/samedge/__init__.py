"""Sharpness-Aware Minimization and the edge of stability: train, measure, judge.

The package knows nothing of Snakemake, and importing it imports no JAX: only
:mod:`samedge.models`, :mod:`samedge.losses`, :mod:`samedge.sam`,
:mod:`samedge.hessian`, :mod:`samedge.problems` and :mod:`samedge.training` do.
"""

__version__ = "0.1.0"
