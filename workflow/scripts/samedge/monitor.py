"""Curvature in a training loop of one's own, see :mod:`samedge.watching.monitor`."""

from samedge.watching.monitor import Monitor

__all__ = ["Monitor"]
