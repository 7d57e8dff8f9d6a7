"""Orthonormal bases in arrays of fixed size: what the eigensolver does on the device.

Rows are taken in groups, so that the empty part of an array costs nothing, and every program
has one shape however long a measurement takes: it is compiled once.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from samedge.products import hessian_map

GROUP = 8  # rows handled at a time


def empty(capacity: int, size: int, dtype: Any) -> jax.Array:
    """Return room for ``capacity`` vectors of ``size`` numbers, filled up to whole groups."""
    return jnp.zeros((whole_groups(capacity), size), dtype)


def whole_groups(count: int) -> int:
    """Return the least number of rows, at least ``count``, that is a multiple of the group."""
    return -(-count // GROUP) * GROUP


def flat_shape(params: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and type of the parameters as one flat vector, without making it."""
    return jax.eval_shape(lambda: ravel_pytree(params)[0])


@jax.jit
def trees(params: Any, rows: jax.Array) -> tuple[Any, ...]:
    """Return rows ``(k, n)`` as pytrees like ``params``."""
    _, unravel = ravel_pytree(params)
    return tuple(unravel(row) for row in rows)


# The map that this returns is the same function object every time, but for the arrays in it; so
# what takes it is compiled once per loss and shapes.
compiled_map = jax.jit(hessian_map, static_argnames=("loss", "microbatch"))


@partial(jax.jit, donate_argnames=("vectors", "products"))
def append(
    hessian: Any,
    params: Any,
    vectors: jax.Array,
    products: jax.Array,
    filled: jax.Array,
    direction: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Append what of ``direction`` (n,) is orthogonal to the basis, and its product with H.

    ``hessian`` maps pytrees like ``params``, see :func:`samedge.products.hessian_map`.
    Returns the basis, its products, the new column of the projection, ``(capacity,)``, and the
    share of the direction that was orthogonal. Where that is lost in rounding, it is zero and
    nothing is appended or multiplied.
    """
    _, unravel = ravel_pytree(params)
    length = jnp.linalg.norm(direction)
    unit = direction / jnp.where(length > 0, length, 1)
    rest, share = orthogonal(vectors, filled, unit)

    def multiply() -> tuple[jax.Array, jax.Array, jax.Array]:
        product, _ = ravel_pytree(hessian(unravel(rest)))
        grown = vectors.at[filled].set(rest)
        column = project(grown, filled + 1, product)
        return grown, products.at[filled].set(product), column

    def nothing() -> tuple[jax.Array, jax.Array, jax.Array]:
        return vectors, products, jnp.zeros(vectors.shape[0], vectors.dtype)

    return *jax.lax.cond(share > 0, multiply, nothing), share


@jax.jit
def residual(
    vectors: jax.Array,
    products: jax.Array,
    filled: jax.Array,
    coefficients: jax.Array,
    value: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the residual ``Hy - value y`` (n,) of the Ritz vector y, and its norm."""
    rest = combine(products, filled, coefficients) - value * combine(vectors, filled, coefficients)
    return rest, jnp.linalg.norm(rest)


@jax.jit
def corrected(
    recalled: jax.Array, count: jax.Array, gains: jax.Array, direction: jax.Array
) -> jax.Array:
    """Scale the components of ``direction`` along the recalled vectors by one plus their gains."""
    return direction + combine(recalled, count, gains * project(recalled, count, direction))


@partial(jax.jit, donate_argnames=("vectors", "products"))
def rotated(
    vectors: jax.Array, products: jax.Array, coefficients: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the basis and its products in the Ritz vectors of ``coefficients`` (capacity, m)."""
    return coefficients.T @ vectors, coefficients.T @ products


@jax.jit
def ritz_vectors(vectors: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Return the Ritz vectors of ``coefficients`` (capacity, m) as unit rows ``(m, n)``."""
    rows = coefficients.T @ vectors
    lengths = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.where(lengths > 0, lengths, 1)


def project(vectors: jax.Array, filled: jax.Array, x: jax.Array) -> jax.Array:
    """Return the inner products (capacity,) of ``x`` with the filled rows; zero for the others."""

    def group(index: jax.Array, products: jax.Array) -> jax.Array:
        rows = jax.lax.dynamic_slice_in_dim(vectors, index * GROUP, GROUP)
        return jax.lax.dynamic_update_slice_in_dim(products, rows @ x, index * GROUP, axis=0)

    none = jnp.zeros(vectors.shape[0], vectors.dtype)
    products = jax.lax.fori_loop(0, _groups(filled), group, none)
    return jnp.where(jnp.arange(vectors.shape[0], dtype=filled.dtype) < filled, products, 0)


def combine(vectors: jax.Array, filled: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Return the combination (n,) of the filled rows with ``coefficients`` (capacity,)."""

    def group(index: jax.Array, total: jax.Array) -> jax.Array:
        rows = jax.lax.dynamic_slice_in_dim(vectors, index * GROUP, GROUP)
        part = jax.lax.dynamic_slice_in_dim(coefficients, index * GROUP, GROUP)
        return total + part @ rows

    return jax.lax.fori_loop(0, _groups(filled), group, jnp.zeros(vectors.shape[1], vectors.dtype))


def _groups(filled: jax.Array) -> jax.Array:
    return (filled + GROUP - 1) // GROUP


def orthogonal(
    vectors: jax.Array, filled: jax.Array, unit: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the normalised part of a unit vector outside the filled rows, and its length.

    Classical Gram-Schmidt, repeated until a pass no longer shortens the rest (Daniel et al.
    1976); a length of the order of rounding is returned as zero.
    """
    floor = 16 * jnp.finfo(unit.dtype).eps

    def one_pass(carry: tuple[jax.Array, jax.Array, jax.Array]):
        rest, norm, _ = carry
        shorter = rest - combine(vectors, filled, project(vectors, filled, rest))
        return shorter, jnp.linalg.norm(shorter), norm

    def shortened(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, norm, previous = carry
        return (norm < 0.7 * previous) & (norm > floor)

    first = one_pass((unit, jnp.linalg.norm(unit), jnp.zeros((), unit.dtype)))
    rest, norm, _ = jax.lax.while_loop(shortened, one_pass, first)
    kept = jnp.where(norm > floor, norm, 0)
    return rest / jnp.where(kept > 0, kept, 1), kept
