"""Norms, directions and operators at any scale that a floating-point type holds.

A square leaves the range of a type at the root of what the type itself holds: of a float32 vector
of norm 1e-20 the sum of squares is zero, of one of norm 1e20 it is infinite. And XLA takes whatever
is below the smallest normal number for zero. So sums of squares are taken of vectors times a power
of two, which changes no other bit; and an operator whose products are far from 1 is multiplied by
one as a whole.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Norm(NamedTuple):
    """A Euclidean norm as ``scaled / factor``, which the type may not hold."""

    scaled: jax.Array
    factor: jax.Array  # a power of two; 1 wherever the plain sum of squares is right


def scaled_norm(tree: Any) -> Norm:
    """Return the norm of a pytree of floating-point arrays of one type, at whatever scale.

    The three sums need one pass over the numbers, since none depends on another.
    """
    leaves = jax.tree.leaves(tree)
    info = jnp.finfo(leaves[0].dtype)
    up = 2.0 ** (5 * int(info.maxexp) // 8)
    plain = sum(jnp.sum(jnp.square(leaf)) for leaf in leaves)
    raised, lowered = (
        sum(jnp.sum(jnp.square(_times(leaf, factor))) for leaf in leaves) for factor in (up, 1 / up)
    )
    # Below this bound squares that vanish may count; the bound raised is far from overflowing.
    small = plain < 2.0 ** (-15 * int(info.maxexp) // 32)
    large = ~(plain < jnp.inf)
    total = jnp.where(small, raised, jnp.where(large, lowered, plain))
    factor = jnp.where(small, up, jnp.where(large, 1 / up, 1.0)).astype(total.dtype)
    return Norm(jnp.sqrt(total), factor)


def _times(leaf: jax.Array, factor: float) -> jax.Array:
    """Return a leaf times a factor whose own square may be infinite.

    Where there is no sum of several squares, XLA would take the factor out of the only one.
    """
    product = leaf * factor
    return jax.lax.optimization_barrier(product) if leaf.size == 1 else product


def norm(tree: Any) -> jax.Array:
    """Return the Euclidean norm of a pytree; infinite or zero only if the type holds no other."""
    scaled, factor = scaled_norm(tree)
    return scaled / factor


def unit(vector: jax.Array) -> jax.Array:
    """Return a vector at norm 1, or zero if it is zero; its norm must have an inverse."""
    length = norm(vector)
    return vector / jnp.where(length > 0, length, 1)


class Factors(NamedTuple):
    """Three powers of two whose product multiplies a Hessian, each at a place of its own."""

    loss: jax.Array  # and with it the backward pass
    vector: jax.Array  # and with it the forward pass
    product: jax.Array


def scaled(linear: Callable[[Any], Any], factors: Factors, vector: Any) -> Any:
    """Return what a map makes of the vector times its factor, times that of products."""
    product = linear(jax.tree.map(lambda x: x * factors.vector, vector))
    return jax.tree.map(lambda x: x * factors.product, product)


class OperatorScale:
    """The power of two by which an operator is multiplied, found by its first products.

    Attributes
    ----------
    exponent
        Of the power, even; 0 as long as products are near enough to 1.
    settled
        Whether a product has decided it; only one that is not finite changes it from then on.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.most = int(jnp.finfo(dtype).maxexp)
        self.exponent = 0
        self._tried = {0}
        self.settled = False

    @property
    def factors(self) -> Factors | None:
        """The power, as :func:`samedge.curvature.products.hessian_map` takes it; None for 1.

        A small Hessian is raised before anything vanishes, half in the backward pass and half in
        the forward one. A large one is lowered where nothing vanishes for it: the vector by no
        more than what keeps intermediate values finite, and the product by the rest.
        """
        if self.exponent == 0:
            return None
        half = self.exponent // 2
        if half > 0:
            powers = half, half, 0
        else:
            vector = max(half, -self.most // 4)
            powers = 0, vector, self.exponent - vector
        return Factors(*(jnp.asarray(2.0**power, self.dtype) for power in powers))

    def expect(self, size: float) -> None:
        """Begin where products of a norm that was found earlier (0 if unknown) are near 1."""
        if np.isfinite(size) and size > 0:
            self.changed_by(size)
            self._tried, self.settled = {self.exponent}, False

    def changed_by(self, size: float) -> bool:
        """Take the norm of a product with a unit vector; tell whether it must be made again.

        That is so if the exponent has changed: because the product is not finite, is zero though
        it may only have vanished, or is the first that is not and far from 1.
        """
        if not np.isfinite(size):
            wanted = max(self.exponent - self.most // 2, -self.most // 2)
        elif self.settled:
            return False
        elif size == 0:
            wanted = self.most
        else:
            power = int(np.frexp(size)[1])
            wanted = self.exponent - power if abs(power) > self.most // 4 else self.exponent
        wanted = int(np.clip(wanted, -self.most, 1.5 * self.most)) // 2 * 2
        if wanted in self._tried:
            self.settled |= bool(np.isfinite(size) and size > 0)
            return False
        self._tried.add(wanted)
        self.exponent = wanted
        return True

    def original(self, values: Any) -> Any:
        """Return what the operator itself has in place of these values (float64)."""
        return np.ldexp(values, -self.exponent)
