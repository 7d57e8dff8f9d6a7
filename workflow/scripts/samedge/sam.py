"""The SAM gradient and the update rules, see :mod:`samedge.updates.rule`."""

from samedge.base.components import use_plugins
from samedge.updates.rule import RULES, UpdateRule, gradients, sam_gradient

__all__ = ["RULES", "UpdateRule", "gradients", "sam_gradient", "use_plugins"]
