"""A loss that another library computes, on NumPy vectors: PyTorch, or whatever else differentiates.

JAX never sees inside of it: it is called as any Python function is, outside of compiled programs,
so that a callback from a device can neither be waited for nor deadlock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samedge.curvature import arguments
from samedge.curvature.krylov.hessian import OnHost
from samedge.curvature.operators.operator import Operator


@dataclass(frozen=True)
class HostLoss:
    """A loss whose parameters are one NumPy vector, with its gradient and Hessian.

    It takes the place of a JAX loss in :func:`samedge.top_eigenpairs`,
    :func:`samedge.spectral_density` and :class:`samedge.Monitor`; parameters are then a vector of
    n numbers, and data a tuple of whatever the two functions take.

    Attributes
    ----------
    value_and_gradient
        ``(vector, *data) -> (float, gradient)``, the loss and its gradient ``(n,)``.
    product
        ``(vector, *data, direction) -> (n,)``, the Hessian times a direction ``(n,)``.

    Raises
    ------
    TypeError
        If either is no function.
    """

    value_and_gradient: Callable[..., tuple[float, Any]]
    product: Callable[..., Any]

    def __post_init__(self) -> None:
        for name in ("value_and_gradient", "product"):
            function = getattr(self, name)
            if not callable(function):
                raise TypeError(f"{name} of a HostLoss is {function!r}; give a function")

    def __call__(self, vector: Any, *data: Any) -> jax.Array:
        """Return the loss, as :meth:`at` does; JAX cannot differentiate or compile it."""
        return self.at(vector, data)[0]

    def require(self, params: Any, data: Any, microbatch: int | None = None) -> None:
        """Refuse what such a loss cannot be measured at.

        Raises
        ------
        TypeError, ValueError
            If the parameters are no vector of float32 (or float64), the data no tuple, or there
            are microbatches.
        """
        arguments.require_parameters("params", params)
        if np.ndim(params) != 1:
            raise TypeError(
                "params of a HostLoss are one flat vector (n,); concatenate the raveled parameters"
            )
        if not isinstance(data, tuple | list):
            raise TypeError(
                f"data is a {type(data).__name__}; give a tuple of what the loss takes after the "
                "vector, such as (inputs, targets)"
            )
        if microbatch is not None:
            raise ValueError(
                "JAX does not see the examples of a HostLoss; leave microbatch None, and cut them "
                "inside its two functions"
            )

    def at(self, params: Any, data: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
        """Return the loss and its gradient ``(n,)`` in the type of the parameters.

        Raises
        ------
        TypeError, ValueError
            If ``value_and_gradient`` returns something else (a loss or gradient may be not finite),
            or JAX is tracing.
        """
        arguments.require_untraced("a HostLoss", params)
        # A copy, which whoever is given it may write to.
        made = self.value_and_gradient(np.array(params), *data)
        if not (isinstance(made, tuple | list) and len(made) == 2):
            raise TypeError(
                f"value_and_gradient returns a {type(made).__name__}; it has to return the loss "
                "and its gradient"
            )
        value, gradient = made[0], np.asarray(made[1])
        if np.shape(value) != ():
            raise TypeError(
                f"value_and_gradient returns a loss of shape {np.shape(value)}; it has to be one "
                "number, such as the mean over the examples"
            )
        if gradient.shape != np.shape(params):
            raise ValueError(
                f"value_and_gradient returns a gradient of shape {gradient.shape}, and the "
                f"parameters are {np.shape(params)}"
            )
        dtype = params.dtype
        return jnp.asarray(float(value), dtype), jnp.asarray(gradient.astype(dtype))

    def hessian(self, params: Any, data: tuple[Any, ...]) -> OnHost:
        """Return the Hessian as a map of vectors."""
        return OnHost(partial(self.product, np.array(params), *data))

    def operator(self, params: Any, data: tuple[Any, ...], symmetric: bool) -> Operator:
        """Return the Hessian as an operator, which is tried for symmetry unless it is certain."""
        map_ = self.hessian(params, data)
        return Operator(map_.function, params, on_host=True, symmetric=symmetric)
