"""A basis that grows by Hessian-vector products, and the Ritz pairs that it gives.

Its vectors V and their products HV are on the device, the projection of H on them on the host.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samedge.curvature.krylov import rows
from samedge.curvature.krylov.hessian import Scalable, flat_shape, product
from samedge.curvature.krylov.pace import Patience
from samedge.curvature.scaling import OperatorScale


class Step(NamedTuple):
    """What a vector of the basis brought, on the device."""

    share: jax.Array | float  # of the direction that was outside the basis; zero if only rounding
    column: jax.Array  # (capacity,), of the projection of the Hessian on the basis
    length: jax.Array  # of what of the product is outside the basis, the rest
    value: jax.Array  # to be added to the column at the vector itself
    coupling: jax.Array  # to be added at the vector before


class Basis:
    """Orthonormal vectors, with their products and what follows from them.

    Everything is of the Hessian at ``scale``, Ritz values and residuals too.

    Parameters
    ----------
    hessian, params
        What is multiplied, and where.
    capacity
        Vectors that there is room for.
    max_products
        Cap on the products.
    pause
        Called before every product.
    rescaled
        Called with the exponent of the power of two by which the scale has changed.

    Attributes
    ----------
    spent
        Products so far.
    rest, length
        The part of the last product outside the basis, (n,) at norm 1, and its norm.
    """

    def __init__(
        self,
        hessian: Scalable,
        params: Any,
        capacity: int,
        max_products: int,
        pause: Callable[[], None],
        rescaled: Callable[[int], None],
    ) -> None:
        self.hessian, self.params, self.pause, self.rescaled = hessian, params, pause, rescaled
        flat = flat_shape(params)
        self.scale = OperatorScale(flat.dtype)
        self.size, self.dtype = flat.size, flat.dtype
        # Share of a product below which what is left of it is rounding.
        self.rounding = 16 * float(np.finfo(flat.dtype).eps)
        self.capacity, self.max_products = min(capacity, flat.size), max_products
        self.vectors = rows.Rows(self.capacity, flat)
        self.products = rows.Rows(self.capacity, flat)
        self.spent = 0
        self.length = 0.0
        self._map: Any = None
        self._last: jax.Array | None = None  # the vector of the last row, as it was put there
        self._patience = Patience()
        self._pairs: tuple[np.ndarray, np.ndarray, list[int]] | None
        self._norms: dict[int, float]  # of residuals that have been formed
        self._project(np.zeros((0, 0)))

    @property
    def filled(self) -> int:
        """Number of vectors in the basis."""
        return self.projection.shape[0]

    @property
    def full(self) -> bool:
        """Whether there is no more room."""
        return self.filled >= self.capacity

    @property
    def capped(self) -> bool:
        """Whether the cap on products is reached."""
        return self.spent >= self.max_products

    @property
    def norm(self) -> float:
        """The largest magnitude of a Ritz value."""
        return float(np.abs(self.values).max())

    @property
    def values(self) -> np.ndarray:
        """The Ritz values (filled,), ascending."""
        return self._ritz_pairs()[0]

    @property
    def states(self) -> np.ndarray:
        """The coefficients of the Ritz vectors in the basis (filled, filled), in columns."""
        return self._ritz_pairs()[1]

    @property
    def order(self) -> list[int]:
        """The Ritz pairs by decreasing magnitude."""
        return self._ritz_pairs()[2]

    def append(self, direction: jax.Array, count: int = 1, onwards: bool = False) -> bool:
        """Multiply what a direction adds to the basis; then the rest of that product, and so on.

        Parameters
        ----------
        direction
            (n,), of any length; ``rest`` where it goes ``onwards`` from the last product.
        count
            Of products; there are fewer where the basis is full, the cap is reached, or nothing
            is left.

        Returns
        -------
        Whether anything was added.
        """
        if onwards and not self.length > 0:
            return False
        if not self.scale.settled:
            count = 1
        count = max(1, min(count, self.capacity - self.filled, self.max_products - self.spent))
        if self._map is None:
            self._map = self.hessian.times(self.scale.factors)
        share: Any = self.length if onwards else None
        before, steps = self._last if onwards else None, []
        for place in range(self.filled, self.filled + count):
            self.pause()
            if share is None:
                direction, share, _ = rows.outside(self.vectors.blocks, np.int32(place), direction)
            self.vectors.put(place, direction)
            rest, step = self._multiplied(place, direction, before, share)
            steps.append(step)
            before, direction, share = direction, rest, step.length
            self._patience.wait(share)
        self._last = before
        return self._take(steps, direction)

    def restart(self, kept: list[int]) -> None:
        """Go on from some Ritz pairs alone, as a basis of their own."""
        coefficients = self.states[:, kept]
        self.vectors.rotate(coefficients)
        self.products.rotate(coefficients)
        self._last = None
        self._project(np.diag(self.values[kept]))

    def truncate(self, count: int) -> None:
        """Forget all but the first vectors; the rest of the last product stays."""
        self._last = None
        self._project(self.projection[:count, :count])

    def residual_norms(self, pairs: list[int], together: int) -> np.ndarray:
        """Return the norms of the residuals of Ritz pairs (m,), so many computed at a time."""
        unknown = [pair for pair in pairs if pair not in self._norms]
        for first in range(0, len(unknown), together):
            some = unknown[first : first + together]
            # Always as many, so that one program serves all.
            states, values = np.zeros((self.filled, together)), np.zeros(together, self.dtype)
            states[:, : len(some)], values[: len(some)] = self.states[:, some], self.values[some]
            norms = rows.residual_norms(self.vectors, self.products, states, values)
            self._norms |= zip(some, norms.tolist(), strict=False)
        return np.array([self._norms[pair] for pair in pairs])

    def residual(self, pair: int) -> tuple[jax.Array | None, float]:
        """Return the residual (n,) of a Ritz pair, None if its norm is known already, and that."""
        if pair in self._norms:
            return None, self._norms[pair]
        direction, norm = rows.residual(
            self.vectors.blocks,
            self.products.blocks,
            np.int32(self.filled),
            self.vectors.coefficients(self.states[:, pair]),
            self.dtype.type(self.values[pair]),
        )
        self._norms[pair] = float(norm)
        return direction, self._norms[pair]

    def coupled_norms(self, pairs: list[int]) -> np.ndarray:
        """Return the residual norms of pairs (m,), up to rounding, where all are parallel."""
        return self.length * np.abs(self.states[-1, pairs])

    def ritz_vectors(self, pairs: list[int], most: int) -> jax.Array:
        """Return the vectors of pairs, at norm 1, as the first rows of an array (most, n)."""
        padded = np.zeros((self.filled, most))
        padded[:, : len(pairs)] = self.states[:, pairs]
        return self.vectors.unit_combinations(padded)

    def _ritz_pairs(self) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Return values, states and order; nobody asks for those of every product."""
        if self._pairs is None:
            values, states = np.linalg.eigh(self.projection)
            order = np.argsort(-np.abs(values), kind="stable")
            self._pairs = values, states, [int(pair) for pair in order]
        return self._pairs

    def _multiplied(
        self, place: int, vector: jax.Array, before: jax.Array | None, share: jax.Array | float
    ) -> tuple[jax.Array, Step]:
        """Multiply the vector in a row; return the rest of the product beside what it brought.

        ``before`` is the vector of the row before if ``vector`` is the rest of its product.
        """
        made = product(self._map, self.params, vector)
        # Of one type whether it comes from the host or the device, so that one program serves both.
        coupling = jnp.asarray(0.0 if before is None else share, self.dtype)
        made, value = self.products.put_product(
            place, made, vector, vector if before is None else before, coupling
        )
        rest, length, column = rows.outside(self.vectors.blocks, np.int32(place + 1), made)
        return rest, Step(share, column, length, value, coupling)

    def _take(self, steps: list[Step], rest: jax.Array) -> bool:
        """Take what was brought by steps, of which the last product has this rest.

        What follows a step that leaves nothing, or that must be made again, is dropped.
        """
        taken = False
        for step in jax.device_get(steps):
            if taken and not self.length > 0:
                self.spent += step.share > 0
                continue
            if not step.share > 0:
                break
            self.spent += 1
            exponent = self.scale.exponent
            column, size = self._column(step)
            while self.scale.changed_by(size):
                rest, step = self._again(self.scale.exponent - exponent)
                column, size = self._column(step)
                exponent = self.scale.exponent
            if not np.isfinite(size):
                raise FloatingPointError("a Hessian-vector product is not finite")
            filled = self.filled
            larger = np.zeros((filled + 1, filled + 1))
            larger[:filled, :filled] = self.projection
            larger[filled, :] = larger[:, filled] = column
            self._project(larger)
            self.rest, taken = rest, True
            self.length = float(step.length) if step.length > self.rounding * size else 0.0
        return taken

    def _again(self, power: int) -> tuple[jax.Array, Step]:
        """Take all that there is to a scale 2**power times larger, and multiply once more."""
        self._map = self.hessian.times(self.scale.factors)
        if np.any(self.projection):
            self.products.multiply(power)
            self._project(np.ldexp(self.projection, power))
        self.rescaled(power)
        self.spent += 1
        rest, step = self._multiplied(self.filled, self.vectors.row(self.filled), None, 1.0)
        return rest, jax.device_get(step)

    def _column(self, step: Step) -> tuple[np.ndarray, float]:
        """Return what a step adds to the projection (filled + 1,), and the norm of its product."""
        column = rows.column(step.column, self.filled, step.value, step.coupling)
        return column, float(np.hypot.reduce([*column, step.length]))

    def _project(self, projection: np.ndarray) -> None:
        """Take a new projection of H on the basis."""
        self.projection = projection
        self._pairs, self._norms = None, {}
