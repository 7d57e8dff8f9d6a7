"""The edges of stability in closed form, see :mod:`samedge.updates.edges`."""

from samedge.updates.edges import (
    displaced_edge,
    edge_ratio,
    gd_edge,
    negative_curvature_bound,
    sam_edge,
    unnormalized_sam_edge,
)

__all__ = [
    "displaced_edge",
    "edge_ratio",
    "gd_edge",
    "negative_curvature_bound",
    "sam_edge",
    "unnormalized_sam_edge",
]
