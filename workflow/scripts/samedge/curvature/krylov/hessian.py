"""The Hessian of a loss as the eigensolver takes it: a compiled map of flat vectors."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from samedge.curvature import arguments, tracing
from samedge.curvature.products import Loss, hessian_map
from samedge.curvature.scaling import Factors


def flat_shape(params: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and type of the parameters as one flat vector, without making it."""
    return jax.eval_shape(lambda: ravel_pytree(params)[0])


class Scalable(Protocol):
    """What the solver multiplies by: a symmetric operator, at any scale."""

    def times(self, factors: Factors | None) -> Any:
        """Return the operator as a map of pytrees, times the factors; None is 1."""
        ...

    def is_held(self, norm: float, share: float, factors: Factors | None) -> bool:
        """Tell whether an operator of this norm is known to that share of it in its type."""
        ...


class Hessian:
    """The Hessian of ``loss(params, *data)`` as compiled maps, see :func:`hessian_map`.

    They are compiled for what the loss computes now, with all values that it reads beside its
    arguments; ``pure`` says that there are none, which saves tracing it. ``known`` is the map
    itself, where somebody has it already.
    """

    def __init__(
        self,
        loss: Loss,
        params: Any,
        data: tuple[Any, ...],
        microbatch: int | None,
        pure: bool,
        known: Any = None,
    ) -> None:
        self._known = known
        loss = loss if pure else tracing.without_jit(loss)
        self._arguments = loss, params, data, microbatch
        self._reads = "" if pure else tracing.what_it_reads(loss, params, data)

    def times(self, factors: Factors | None) -> Any:
        """Return the map of the Hessian times the factors; None is 1."""
        if factors is None and self._known is not None:
            return self._known
        return compiled_map(*self._arguments, factors, self._reads)

    def is_held(self, norm: float, share: float, factors: Factors | None) -> bool:
        """Tell whether a Hessian of this norm is known to that share of it in its type.

        XLA takes what is below the smallest normal number for zero, wherever it comes up. A
        Hessian that is zero, ``factors`` times too, may have vanished: it has if what it is made
        of holds such numbers, or if it is another at the same parameters times a power of two that
        takes the largest near 1.
        """
        loss, params, data, microbatch = self._arguments
        flat = flat_shape(params)
        if norm > 0:
            return share * norm >= np.sqrt(flat.size) * float(jnp.finfo(flat.dtype).tiny)
        if arguments.holds_subnormal((params, data)):
            return False
        largest = max(
            float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(params) if leaf.size
        )
        power = -int(np.frexp(largest)[1])
        if power <= 0:
            return True
        raised = jax.tree.map(lambda leaf: jnp.ldexp(leaf, power), params)
        hessian = compiled_map(loss, raised, data, microbatch, factors, self._reads)
        vector = jax.random.normal(jax.random.key(0), (flat.size,), flat.dtype)
        return not np.any(product(hessian, params, vector))


@partial(jax.jit, static_argnames=("loss", "microbatch", "reads"))
def compiled_map(
    loss: Loss,
    params: Any,
    data: tuple[Any, ...],
    microbatch: int | None = None,
    factors: Factors | None = None,
    reads: str = "",
) -> Any:
    """Return the Hessian as a map, :func:`hessian_map`, compiled once per loss and ``reads``.

    It is the same function object every time, but for the arrays in it; so what takes it is
    compiled once too.
    """
    del reads  # it tells programs apart
    return hessian_map(loss, params, data, microbatch, factors)


class OnHost:
    """A map of NumPy vectors ``(n,)``, which JAX knows nothing of."""

    def __init__(self, function: Callable[[np.ndarray], Any]) -> None:
        self.function = function

    def __call__(self, vector: jax.Array) -> jax.Array:
        """Return its product, in the type of the vector.

        Raises
        ------
        ValueError
            If that has another shape.
        """
        made = np.asarray(self.function(np.array(vector)))
        if made.shape != vector.shape:
            raise ValueError(
                f"the operator's product is of shape {made.shape}, and its vectors {vector.shape}"
            )
        return jnp.asarray(made.astype(vector.dtype))


def product(hessian: Any, params: Any, vector: jax.Array) -> jax.Array:
    """Return what a map of pytrees like ``params`` makes of a flat vector ``(n,)``.

    Nothing is multiplied where the vector is zero.
    """
    if isinstance(hessian, OnHost):
        return hessian(vector) if np.any(vector) else jnp.zeros_like(vector)
    return _product(hessian, params, vector)


@jax.jit
def _product(hessian: Any, params: Any, vector: jax.Array) -> jax.Array:
    _, unravel = ravel_pytree(params)
    return jax.lax.cond(
        vector[jnp.argmax(jnp.abs(vector))] != 0,
        lambda: ravel_pytree(hessian(unravel(vector)))[0],
        lambda: jnp.zeros_like(vector),
    )


@jax.jit
def trees(params: Any, rows: jax.Array) -> tuple[Any, ...]:
    """Return rows ``(k, n)`` as pytrees like ``params``."""
    _, unravel = ravel_pytree(params)
    return tuple(unravel(row) for row in rows)
