"""An operator: a function that multiplies, with what it acts on, tried for symmetry."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from samedge.curvature import arguments
from samedge.curvature.krylov.hessian import OnHost, flat_shape, product
from samedge.curvature.scaling import Factors, scaled

#: Share of a product by which one may miss what linearity and symmetry ask for: more than rounding
#: makes in any type that products are computed in, and less than what is neither.
MISSED = 1e-2
PAIRS = 2  # of random vectors that symmetry is tried on


class Operator:
    """A symmetric linear operator, as a function that multiplies by it.

    Parameters
    ----------
    function
        ``function(*given, vector) -> product``, of pytrees like ``like``. JAX compiles it once per
        function object; arrays that change from one operator to the next belong in ``given``.
    like
        A pytree of float32 arrays, or of float64, such as the parameters; or a whole number n, for
        flat vectors ``(n,)`` of float32. Only shapes and types count.
    given
        What the function takes before the vector: pytrees of arrays and numbers.
    on_host
        Whether the function takes and returns NumPy arrays ``(n,)``, whatever computes them;
        ``like`` is then n, or a flat array.
    symmetric
        Whether it is certain that it is linear and symmetric, so that it need not be tried.

    Raises
    ------
    TypeError, ValueError
        For what is not as described, products of other shapes or types among it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        like: Any,
        *given: Any,
        on_host: bool = False,
        symmetric: bool = False,
    ) -> None:
        if not callable(function):
            raise TypeError(
                f"an operator needs a function that multiplies by it, and {function!r} is none"
            )
        if isinstance(like, int):
            arguments.require_whole("like", like, 1)
            like = jnp.zeros(like, jnp.float32)
        arguments.require_parameters("like", like)
        self.like = like
        self._tried = symmetric
        if on_host:
            if np.ndim(like) != 1:
                raise TypeError("an operator on the host acts on flat vectors; give like as n")
            self._map: Any = OnHost(partial(function, *given))
            return
        self._map = Partial(function, *given)
        found = jax.eval_shape(lambda vector: self._map(vector), like)
        arguments.require_like("the operator's product", found, like, "its vectors")

    @classmethod
    def of(cls, operator: Any) -> "Operator | None":
        """Return an operator, or the one that a SciPy LinearOperator stands for; None of others.

        Raises
        ------
        ValueError
            If it is not square.
        """
        if isinstance(operator, Operator):
            return operator
        if not all(hasattr(operator, name) for name in ("matvec", "shape", "dtype")):
            return None
        rows, columns = operator.shape
        if rows != columns:
            raise ValueError(f"an operator has to be square, and this one is {rows} × {columns}")
        wide = operator.dtype == np.float64 and jax.config.jax_enable_x64  # type: ignore[attr-defined]
        like = jnp.zeros(rows, jnp.float64 if wide else jnp.float32)
        return cls(operator.matvec, like, on_host=True)

    def times(self, factors: Factors | None) -> Any:
        """Return the operator as a map, times the factors; None is 1."""
        if factors is None:
            return self._map
        if isinstance(self._map, OnHost):
            return OnHost(partial(_scaled_on_host, self._map.function, factors))
        return Partial(_scaled, self._map, factors)

    def is_held(self, norm: float, share: float, factors: Factors | None) -> bool:
        """Tell whether an operator of this norm is known to that share of it in its type.

        One whose products are zero, times the factors too, is taken for zero.
        """
        del factors
        flat = flat_shape(self.like)
        least = np.sqrt(flat.size) * float(jnp.finfo(flat.dtype).tiny)
        return norm == 0 or share * norm >= least

    def require_symmetric(self) -> None:
        """Refuse what random vectors show to be no symmetric operator; it takes five products.

        An operator is tried once. Products that are not finite are for the measurement to find.

        Raises
        ------
        ValueError
            If it is not linear or not symmetric, by more than a hundredth of its size.
        """
        if self._tried:
            return
        flat = flat_shape(self.like)
        vectors = jax.random.normal(jax.random.key(0), (2 * PAIRS, flat.size), flat.dtype)
        made = [self._product(vector) for vector in vectors]
        both = self._product(vectors[0] + 2 * vectors[1])
        sizes = np.array([np.linalg.norm(x) for x in made])
        if not np.all(np.isfinite([*sizes, np.linalg.norm(both)])):
            return
        apart = sizes[0] + 2 * sizes[1]
        missed = float(np.linalg.norm(both - made[0] - 2 * made[1]))
        if missed > MISSED * apart:
            raise ValueError(
                "the operator is not linear: what it makes of a sum of two vectors differs from "
                f"the sum of what it makes of them by {missed / max(apart, 1e-300):.1g} of that"
            )
        hosted = np.asarray(vectors, np.float64)
        for one, other in zip(range(0, 2 * PAIRS, 2), range(1, 2 * PAIRS, 2), strict=True):
            # u'(A - A')v of Gaussian vectors is as large as the Frobenius norm of A - A', and each
            # product as that of A.
            missed = abs(float(hosted[one] @ made[other] - hosted[other] @ made[one]))
            if missed > MISSED * max(sizes[one], sizes[other]):
                raise ValueError(
                    "the operator is not symmetric: u'Av and v'Au of random vectors u and v differ "
                    f"by {missed / max(sizes[one], sizes[other]):.1g} of its size"
                )
        self._tried = True

    def _product(self, vector: jax.Array) -> np.ndarray:
        return np.asarray(product(self._map, self.like, vector), np.float64)


def _scaled(linear: Any, factors: Factors, vector: Any) -> Any:
    made = scaled(linear, factors, vector)
    return jax.tree.map(lambda x: x * factors.loss, made)


def _scaled_on_host(
    function: Callable[[np.ndarray], Any], factors: Factors, vector: np.ndarray
) -> Any:
    loss, before, after = (float(factor) for factor in factors)
    return np.asarray(function(vector * vector.dtype.type(before))) * after * loss
