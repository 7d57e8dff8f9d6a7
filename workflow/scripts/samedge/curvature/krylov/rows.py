"""Flat vectors kept on the device, in blocks of rows, so that nothing reads what is not filled.

A Gram-Schmidt pass is bound by how fast memory is read. What is done with a basis reads the blocks
that are filled, each of them once; and a row is written without a copy of the others.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from samedge.curvature.scaling import norm, unit

BLOCK = 8  # rows
PIECE = 2**22  # columns that are combined at a time, which bounds what it takes beside the rows
SHORTER = 0.7  # a pass that leaves less than this share of a vector is repeated

Blocks = tuple[jax.Array, ...]


class Rows:
    """Room for ``capacity`` flat vectors like ``flat``.

    Attributes
    ----------
    blocks
        Arrays ``(at most BLOCK, n)``, one after the other; what is not filled is of no account.
    """

    def __init__(self, capacity: int, flat: jax.ShapeDtypeStruct) -> None:
        self.capacity, self.size, self.dtype = capacity, flat.size, flat.dtype
        self.blocks: Blocks = tuple(
            jnp.zeros((min(BLOCK, capacity - first), flat.size), flat.dtype)
            for first in range(0, capacity, BLOCK)
        )

    def put(self, row: int, vector: jax.Array) -> None:
        """Set a row."""
        index, place = divmod(row, BLOCK)
        block = _placed(self.blocks[index], np.int32(place), vector)
        self.blocks = (*self.blocks[:index], block, *self.blocks[index + 1 :])

    def put_product(
        self,
        row: int,
        product: jax.Array,
        vector: jax.Array,
        before: jax.Array,
        coupling: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Set a row to a product, and return what :func:`without_neighbours` makes of it."""
        index, place = divmod(row, BLOCK)
        block, rest, value = _placed_product(
            self.blocks[index], np.int32(place), product, vector, before, coupling
        )
        self.blocks = (*self.blocks[:index], block, *self.blocks[index + 1 :])
        return rest, value

    def multiply(self, power: int) -> None:
        """Multiply all rows by ``2**power``."""
        self.blocks = tuple(_multiple(block, np.int32(power)) for block in self.blocks)

    def coefficients(self, filled: np.ndarray) -> np.ndarray:
        """Return coefficients of the filled rows ``(filled, ...)``, padded to all rows."""
        padded = np.zeros((self.capacity, *filled.shape[1:]), self.dtype)
        padded[: len(filled)] = filled
        return padded

    def unit_combinations(self, coefficients: np.ndarray) -> jax.Array:
        """Return combinations ``(m, n)`` of the filled rows, each at norm 1.

        Coefficients are ``(filled, m)``.
        """
        filled, wide = np.int32(len(coefficients)), self.coefficients(coefficients)
        if self.size <= PIECE:
            return _units(_combinations(self.blocks, filled, wide))
        found = jnp.zeros((coefficients.shape[1], self.size), self.dtype)
        for start, _, width in self.pieces():
            found = _combined(found, self.blocks, filled, wide, start, width)
        return _units(found)

    def pieces(self) -> Iterator[tuple[np.int32, np.int32, int]]:
        """Yield where columns that are worked on together start, how many are done, and the width.

        The last piece is as wide as the others, so that some of its columns are done already.
        """
        width = min(self.size, PIECE)
        for first in range(0, self.size, width):
            start = min(first, self.size - width)
            yield np.int32(start), np.int32(first - start), width

    def row(self, row: int) -> jax.Array:
        """Return a row."""
        return self.blocks[row // BLOCK][row % BLOCK]

    def rotate(self, coefficients: np.ndarray) -> None:
        """Let combinations of the filled rows, ``(filled, m)``, take the place of the first m."""
        wide = np.zeros((self.capacity, -(-coefficients.shape[1] // BLOCK) * BLOCK), self.dtype)
        wide[: len(coefficients), : coefficients.shape[1]] = coefficients
        wide = wide[:, : self.capacity]
        filled = np.int32(len(coefficients))
        for start, done, width in self.pieces():
            self.blocks = _rotated(self.blocks, filled, wide, start, done, width)


@jax.jit
def outside(
    blocks: Blocks, filled: np.int32, vector: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Split a vector ``(n,)`` into its parts along the filled rows, orthonormal, and the rest.

    Gram-Schmidt, block after block, repeated where a pass leaves little (Daniel et al. 1976).

    Returns
    -------
    The rest at norm 1, its length, and the components along the rows (capacity,). A rest of the
    order of rounding is zero.
    """
    size = norm(vector)
    floor = 16 * jnp.finfo(vector.dtype).eps

    def one_pass(
        carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        rest, components, length, _ = carry
        rest, found = _one_pass(blocks, filled, rest)
        return rest, components + found, jnp.linalg.norm(rest), length

    def shortened(carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, _, length, before = carry
        return (length < SHORTER * before) & (length > floor)

    components = jnp.zeros(sum(map(len, blocks)), vector.dtype)
    one = jnp.ones((), vector.dtype)
    # The first pass is made whatever it leaves.
    first = (unit(vector), components, one, one * jnp.inf)
    rest, components, length, _ = jax.lax.while_loop(shortened, one_pass, first)
    kept = jnp.where(length > floor, length, 0)
    return jnp.where(kept > 0, rest / length, 0), kept * size, components * size


@jax.jit
def without_neighbours(
    product: jax.Array, vector: jax.Array, before: jax.Array, coupling: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Subtract from ``Av`` what it has along v and, ``coupling`` of it, along the vector before.

    In a Lanczos sequence that is all but rounding, so that one pass of :func:`outside` is as good
    as two on the whole product, whose errors would grow from step to step. Returned are the rest
    and its component along v.
    """
    value = vector @ product
    return product - value * vector - coupling * before, value


def column(components: jax.Array, place: int, value: jax.Array, coupling: jax.Array) -> np.ndarray:
    """Return all components (place + 1,) of a product along the rows up to that of its vector.

    These are what :func:`outside` found, and what :func:`without_neighbours` took before.
    """
    found = np.array(components[: place + 1], np.float64)
    found[place] += float(value)
    if place:
        found[place - 1] += float(coupling)
    return found


def _one_pass(blocks: Blocks, filled: np.int32, vector: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Subtract from a vector its components along the filled rows, and return them too."""
    found = []
    for block, first in zip(blocks, _firsts(blocks), strict=True):

        def subtracted(vector: jax.Array, block: jax.Array, first: int = first) -> tuple:
            rows = first + jnp.arange(len(block), dtype=jnp.int32)
            components = jnp.where(rows < filled, block @ vector, 0)
            return vector - components @ block, components

        def unchanged(vector: jax.Array, block: jax.Array) -> tuple:
            return vector, jnp.zeros(len(block), block.dtype)

        vector, components = jax.lax.cond(filled > first, subtracted, unchanged, vector, block)
        found.append(components)
    return vector, jnp.concatenate(found)


@jax.jit
def residual(
    vectors: Blocks, products: Blocks, filled: np.int32, coefficients: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the residual ``Hy - value y`` (n,) of the Ritz vector y, and its norm.

    ``coefficients`` (capacity,) are zero but for the filled rows.
    """
    rest = jnp.zeros(vectors[0].shape[1:], vectors[0].dtype)
    for vector, product, first in zip(vectors, products, _firsts(vectors), strict=True):
        part = coefficients[first : first + len(vector)]
        rest = jax.lax.cond(
            filled > first,
            lambda rest, vector, product, part: rest + (part @ product - (value * part) @ vector),
            lambda rest, vector, product, part: rest,
            rest,
            vector,
            product,
            part,
        )
    return rest, norm(rest)


def residual_norms(
    vectors: Rows, products: Rows, coefficients: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Return the norms (m,) of residuals of Ritz vectors, see :func:`residual`.

    ``coefficients`` of the filled rows are ``(filled, m)``, ``values`` ``(m,)``.
    """
    filled, wide = np.int32(len(coefficients)), vectors.coefficients(coefficients)
    parts = [
        _residual_norms(vectors.blocks, products.blocks, filled, wide, values, *piece)
        for piece in vectors.pieces()
    ]
    return np.hypot.reduce(np.array(parts, np.float64), axis=0)


@jax.jit
def corrected(recalled: jax.Array, gains: jax.Array, direction: jax.Array) -> jax.Array:
    """Scale the components of ``direction`` along the recalled vectors by one plus their gains."""
    return direction + (gains * (recalled @ direction)) @ recalled


def _firsts(blocks: Blocks) -> list[int]:
    """Return the number of the first row of each block."""
    return [BLOCK * place for place in range(len(blocks))]


@partial(jax.jit, donate_argnames="block")
def _placed(block: jax.Array, place: np.int32, vector: jax.Array) -> jax.Array:
    return block.at[place].set(vector)


@partial(jax.jit, donate_argnames="block")
def _placed_product(
    block: jax.Array,
    place: np.int32,
    product: jax.Array,
    vector: jax.Array,
    before: jax.Array,
    coupling: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    block = block.at[place].set(product)
    return block, *without_neighbours(product, vector, before, coupling)


@partial(jax.jit, donate_argnames="block")
def _multiple(block: jax.Array, power: np.int32) -> jax.Array:
    return jnp.ldexp(block, power)


@partial(jax.jit, static_argnames="width")
def _residual_norms(
    vectors: Blocks,
    products: Blocks,
    filled: np.int32,
    coefficients: jax.Array,
    values: jax.Array,
    start: np.int32,
    done: np.int32,
    width: int,
) -> jax.Array:
    vectors, products = (
        tuple(_columns(block, start, width) for block in blocks) for blocks in (vectors, products)
    )
    rest = _combinations(products, filled, coefficients)
    rest -= values[:, None] * _combinations(vectors, filled, coefficients)
    return jax.vmap(norm)(jnp.where(jnp.arange(width, dtype=jnp.int32) < done, 0, rest))


@partial(jax.jit, donate_argnames="found", static_argnames="width")
def _combined(
    found: jax.Array,
    blocks: Blocks,
    filled: np.int32,
    coefficients: jax.Array,
    start: np.int32,
    width: int,
) -> jax.Array:
    """Set ``width`` columns from ``start`` on to combinations of those of the rows."""
    pieces = tuple(_columns(block, start, width) for block in blocks)
    new = _combinations(pieces, filled, coefficients)
    return jax.lax.dynamic_update_slice_in_dim(found, new, start, axis=1)


@partial(jax.jit, donate_argnames="vectors")
def _units(vectors: jax.Array) -> jax.Array:
    return jax.vmap(unit)(vectors)


@jax.jit
def _combinations(blocks: Blocks, filled: np.int32, coefficients: jax.Array) -> jax.Array:
    """Return combinations ``(m, n)`` by coefficients ``(capacity, m)``."""
    total = jnp.zeros((coefficients.shape[1], blocks[0].shape[1]), blocks[0].dtype)
    for block, first in zip(blocks, _firsts(blocks), strict=True):
        total = jax.lax.cond(
            filled > first,
            # Fused with the sum, the product would be computed number by number.
            lambda total, block, part: total + jax.lax.optimization_barrier(part.T @ block),
            lambda total, block, part: total,
            total,
            block,
            coefficients[first : first + len(block)],
        )
    return total


@partial(jax.jit, donate_argnames="blocks", static_argnames="width")
def _rotated(
    blocks: Blocks,
    filled: np.int32,
    coefficients: jax.Array,
    start: np.int32,
    done: np.int32,
    width: int,
) -> Blocks:
    """Combine ``width`` columns from ``start`` on, but for the first ``done`` of them.

    ``coefficients`` are ``(capacity, rows of the blocks that are written)``.
    """
    pieces = tuple(_columns(block, start, width) for block in blocks)
    rotated = list(blocks)
    for place, first in enumerate(_firsts(blocks)):
        if first >= coefficients.shape[1]:
            break
        new = _combinations(pieces, filled, coefficients[:, first : first + len(blocks[place])])
        new = jnp.where(jnp.arange(width, dtype=jnp.int32) < done, pieces[place], new)
        rotated[place] = jax.lax.dynamic_update_slice_in_dim(blocks[place], new, start, axis=1)
    return tuple(rotated)


def _columns(block: jax.Array, start: np.int32, width: int) -> jax.Array:
    """Return columns of a block; all of them are the block itself, which spares a copy."""
    if width == block.shape[1]:
        return block
    return jax.lax.dynamic_slice_in_dim(block, start, width, axis=1)
