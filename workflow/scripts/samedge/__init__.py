"""Sharpness-Aware Minimization and the edge of stability: train, measure, judge.

The package knows nothing of Snakemake, and importing it imports no JAX. Each folder is a room,
which imports from the rooms below it only::

    explorer | sharing
    figures  | audit
    analysis | training
    records  | tasks
    data | updates | config | machine
    curvature | base
"""

__version__ = "0.1.0"
