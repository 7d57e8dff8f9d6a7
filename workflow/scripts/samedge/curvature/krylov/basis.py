"""Orthonormal bases in arrays of fixed size: what the eigensolver does on the device.

A basis fills its array from the top, and the rows that are still empty are zero. So every program
has one shape however long a measurement takes, and is compiled once.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from samedge.curvature import arguments, tracing
from samedge.curvature.products import Loss, hessian_map
from samedge.curvature.scaling import Factors, norm, unit


class Basis(NamedTuple):
    """Orthonormal rows, and their products with the Hessian in the same order."""

    vectors: jax.Array  # (capacity, n)
    products: jax.Array  # (capacity, n)


class Appended(NamedTuple):
    """What a direction added to a basis."""

    basis: Basis
    column: jax.Array  # (capacity,), of the projection of the Hessian on the basis
    share: jax.Array  # of the direction that was outside the basis; zero if only by rounding
    rest: jax.Array  # (n,), the part of the new product outside the basis
    length: jax.Array  # its norm


def empty(capacity: int, flat: jax.ShapeDtypeStruct) -> Basis:
    """Return room for ``capacity`` flat vectors."""
    return Basis(*(jnp.zeros((capacity, flat.size), flat.dtype) for _ in Basis._fields))


def flat_shape(params: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and type of the parameters as one flat vector, without making it."""
    return jax.eval_shape(lambda: ravel_pytree(params)[0])


class Hessian:
    """The Hessian of ``loss(params, *data)`` as compiled maps, see :func:`hessian_map`.

    They are compiled for what the loss computes now, with all values that it reads beside its
    arguments; ``pure`` says that there are none, which saves tracing it.
    """

    def __init__(
        self, loss: Loss, params: Any, data: tuple[Any, ...], microbatch: int | None, pure: bool
    ) -> None:
        loss = loss if pure else tracing.without_jit(loss)
        self._arguments = loss, params, data, microbatch
        self._reads = "" if pure else tracing.what_it_reads(loss, params, data)

    def times(self, factors: Factors | None) -> Any:
        """Return the map of the Hessian times the factors; None is 1."""
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
        return not np.any(_flat_product(hessian, params, vector))


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


@jax.jit
def _flat_product(hessian: Any, params: Any, vector: jax.Array) -> jax.Array:
    _, unravel = ravel_pytree(params)
    return ravel_pytree(hessian(unravel(vector)))[0]


@partial(jax.jit, donate_argnames="basis")
def append(
    hessian: Any, params: Any, basis: Basis, filled: jax.Array, direction: jax.Array
) -> Appended:
    """Append what of ``direction`` (n,) is orthogonal to the basis, and its product with H.

    ``hessian`` maps pytrees like ``params``, see :func:`samedge.curvature.products.hessian_map`.
    Where nothing of the direction is left but rounding, nothing is multiplied and zeros are
    appended.
    """
    vector, share = orthogonal(basis.vectors, unit(direction))
    vectors = basis.vectors.at[filled].set(vector)
    return _multiplied(hessian, params, Basis(vectors, basis.products), filled, vector, share)


@partial(jax.jit, donate_argnames="basis")
def append_again(
    hessian: Any, params: Any, basis: Basis, filled: jax.Array, share: jax.Array
) -> Appended:
    """Multiply the vector that was appended last once more, by another multiple of H."""
    return _multiplied(hessian, params, basis, filled, basis.vectors[filled], share)


def _multiplied(
    hessian: Any, params: Any, basis: Basis, filled: jax.Array, vector: jax.Array, share: jax.Array
) -> Appended:
    """Set the product of the row ``filled``, which is ``vector``, if there is a share of it."""
    # Only the product is conditional: a branch that took the basis would copy it.
    product = jax.lax.cond(
        share > 0,
        lambda: _flat_product(hessian, params, vector),
        lambda: jnp.zeros_like(vector),
    )
    products = basis.products.at[filled].set(product)
    column = basis.vectors @ product
    rest = product - column @ basis.vectors
    return Appended(Basis(basis.vectors, products), column, share, rest, norm(rest))


@partial(jax.jit, donate_argnames="rows")
def multiple(rows: jax.Array, power: jax.Array) -> jax.Array:
    """Return rows times ``2**power``."""
    return jnp.ldexp(rows, power)


@jax.jit
def residual(
    basis: Basis, coefficients: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the residual ``Hy - value y`` (n,) of the Ritz vector y, and its norm."""
    rest = coefficients @ basis.products - value * (coefficients @ basis.vectors)
    return rest, norm(rest)


@jax.jit
def corrected(recalled: jax.Array, gains: jax.Array, direction: jax.Array) -> jax.Array:
    """Scale the components of ``direction`` along the recalled vectors by one plus their gains."""
    return direction + (gains * (recalled @ direction)) @ recalled


@partial(jax.jit, donate_argnames="rows")
def rotated(rows: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Return the combinations of rows ``(capacity, n)`` in ``coefficients`` (capacity, m).

    They fill the first m rows of an array of the same shape; the others are zero.
    """
    combinations = coefficients.T @ rows
    return jnp.zeros_like(rows).at[: len(combinations)].set(combinations)


@jax.jit
def ritz_vectors(basis: Basis, coefficients: jax.Array) -> jax.Array:
    """Return the Ritz vectors of ``coefficients`` (capacity, m) as unit rows ``(m, n)``."""
    return jax.vmap(unit)(coefficients.T @ basis.vectors)


@jax.jit
def trees(params: Any, rows: jax.Array) -> tuple[Any, ...]:
    """Return rows ``(k, n)`` as pytrees like ``params``."""
    _, unravel = ravel_pytree(params)
    return tuple(unravel(row) for row in rows)


def orthogonal(vectors: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the normalised part of a unit vector outside of orthonormal rows, and its length.

    Classical Gram-Schmidt, repeated until a pass no longer shortens the rest (Daniel et al.
    1976); a length of the order of rounding is returned as zero. Rows may be zero.
    """
    floor = 16 * jnp.finfo(start.dtype).eps

    def one_pass(
        carry: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        rest, norm, _ = carry
        shorter = rest - (vectors @ rest) @ vectors
        return shorter, jnp.linalg.norm(shorter), norm

    def shortened(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, norm, previous = carry
        return (norm < 0.7 * previous) & (norm > floor)

    first = one_pass((start, jnp.linalg.norm(start), jnp.zeros((), start.dtype)))
    rest, norm, _ = jax.lax.while_loop(shortened, one_pass, first)
    kept = jnp.where(norm > floor, norm, 0)
    return jnp.where(kept > 0, rest / norm, 0), kept
