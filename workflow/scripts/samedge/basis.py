"""Orthonormal bases in arrays of fixed size: what the eigensolver does on the device.

A basis fills its array from the top, and the rows that are still empty are zero. So every program
has one shape however long a measurement takes, and is compiled once.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from samedge.products import hessian_map


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


# The map that this returns is the same function object every time, but for the arrays in it; so
# what takes it is compiled once per loss and shapes.
compiled_map = jax.jit(hessian_map, static_argnames=("loss", "microbatch"))


@partial(jax.jit, donate_argnames="basis")
def append(
    hessian: Any, params: Any, basis: Basis, filled: jax.Array, direction: jax.Array
) -> Appended:
    """Append what of ``direction`` (n,) is orthogonal to the basis, and its product with H.

    ``hessian`` maps pytrees like ``params``, see :func:`samedge.products.hessian_map`. Where
    nothing of the direction is left but rounding, nothing is multiplied and zeros are appended.
    """
    _, unravel = ravel_pytree(params)
    vector, share = orthogonal(basis.vectors, unit(direction))
    # Only the product is conditional: a branch that took the basis would copy it.
    product = jax.lax.cond(
        share > 0,
        lambda: ravel_pytree(hessian(unravel(vector)))[0],
        lambda: jnp.zeros_like(vector),
    )
    vectors = basis.vectors.at[filled].set(vector)
    products = basis.products.at[filled].set(product)
    column = vectors @ product
    rest = product - column @ vectors
    return Appended(Basis(vectors, products), column, share, rest, jnp.linalg.norm(rest))


@jax.jit
def residual(
    basis: Basis, coefficients: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the residual ``Hy - value y`` (n,) of the Ritz vector y, and its norm."""
    rest = coefficients @ basis.products - value * (coefficients @ basis.vectors)
    return rest, jnp.linalg.norm(rest)


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


def unit(vector: jax.Array) -> jax.Array:
    """Return a vector at norm 1, or zero if it is zero."""
    length = jnp.linalg.norm(vector)
    return vector / jnp.where(length > 0, length, 1)


def orthogonal(vectors: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the normalised part of a unit vector outside of orthonormal rows, and its length.

    Classical Gram-Schmidt, repeated until a pass no longer shortens the rest (Daniel et al.
    1976); a length of the order of rounding is returned as zero. Rows may be zero.
    """
    floor = 16 * jnp.finfo(start.dtype).eps

    def one_pass(carry: tuple[jax.Array, jax.Array, jax.Array]):
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
