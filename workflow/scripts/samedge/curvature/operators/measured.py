"""What is measured: the Hessian of a loss, or the operator that takes its place."""

from typing import Any

from samedge.curvature import arguments
from samedge.curvature.krylov.hessian import Hessian, Scalable
from samedge.curvature.operators.hosted import HostLoss
from samedge.curvature.operators.operator import Operator
from samedge.curvature.tracing import warn_of_new_functions


def measured(
    loss: Any, params: Any, data: Any, microbatch: int | None, pure: bool, known: Any = None
) -> tuple[Scalable, Any]:
    """Return the Hessian of a loss, or the operator in its place, and what it acts on.

    A loss that is ``pure`` is taken to be made once, and a symmetric Hessian where it is a
    :class:`HostLoss`.

    Raises
    ------
    TypeError, ValueError
        For a loss and what comes with it that cannot be measured, an operator that is none, and
        one that comes with what belongs to a loss.
    """
    operator = Operator.of(loss)
    if operator is None:
        if params is None:
            raise TypeError("params are missing; give those of the loss, or an operator alone")
        if not isinstance(loss, HostLoss):
            arguments.require(loss, params, data, microbatch)
            if not pure:
                warn_of_new_functions(loss)
            return Hessian(loss, params, tuple(data), microbatch, pure, known), params
        loss.require(params, data, microbatch)
        operator = loss.operator(params, tuple(data), symmetric=pure)
    elif params is not None or tuple(data) or microbatch is not None or known is not None:
        raise TypeError(
            "an operator brings what it acts on; leave out params, data, microbatch and known"
        )
    operator.require_symmetric()
    return operator, operator.like
