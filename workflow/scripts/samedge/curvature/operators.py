"""Symmetric operators other than the Hessian of a loss, for whoever measures their spectrum.

An :class:`Operator` is a function that multiplies, with what it acts on. :func:`gauss_newton`
makes one of a model and a loss, :func:`congruent` one of a map that a diagonal multiplies from both
sides, and :func:`block` cuts a loss down to some of its parameters, so that its Hessian is a block.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial, keystr, tree_flatten_with_path

from samedge.curvature import arguments
from samedge.curvature.krylov.hessian import Hessian, OnHost, Scalable, flat_shape, product
from samedge.curvature.scaling import Factors, scaled

#: Share of a product by which one may miss what linearity and symmetry ask for: more than rounding
#: makes in any type that products are computed in, and less than what is neither.
MISSED = 1e-2
PAIRS = 2  # of random vectors that symmetry is tried on
REMEMBERED = 128  # functions made of others, so that what is compiled for them is found again


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


def measured(
    loss: Any, params: Any, data: Any, microbatch: int | None, pure: bool, known: Any = None
) -> tuple[Scalable, Any]:
    """Return the Hessian of a loss, or the operator in its place, and what it acts on.

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
        arguments.require(loss, params, data, microbatch)
        return Hessian(loss, params, tuple(data), microbatch, pure, known), params
    if params is not None or tuple(data) or microbatch is not None or known is not None:
        raise TypeError(
            "an operator brings what it acts on; leave out params, data, microbatch and known"
        )
    operator.require_symmetric()
    return operator, operator.like


def gauss_newton(
    outputs: Callable[..., Any],
    loss: Callable[..., jax.Array],
    params: Any,
    inputs: tuple[Any, ...],
    targets: tuple[Any, ...] = (),
) -> Operator:
    r"""Return the Gauss-Newton matrix of ``loss(outputs(params, *inputs), *targets)``.

    It is :math:`J^\top H_\ell J` with the Jacobian J of the outputs and the Hessian of the loss
    with respect to them (Schraudolph 2002): the Hessian without the curvature of the model. Where
    the loss is convex in the outputs it has no negative eigenvalue.

    Raises
    ------
    TypeError, ValueError
        For parameters that are not arrays of float32, or of float64.
    """
    function = _gauss_newton_product(outputs, loss)
    return Operator(function, params, params, tuple(inputs), tuple(targets))


def congruent(hessian: Callable[[Any], Any], like: Any, diagonal: Any) -> Operator:
    r"""Return :math:`D A D` of a symmetric map A and a diagonal D, a pytree like ``like``.

    With :math:`D = P^{-1/2}` it has the eigenvalues of the preconditioned :math:`P^{-1}A`, which is
    not symmetric itself.

    Parameters
    ----------
    hessian
        A map of pytrees that is one itself, as :func:`samedge.curvature.products.hessian_map`
        returns.
    like
        The parameters.
    diagonal
        What it multiplies by, on both sides.
    """
    return Operator(_congruent_product, like, hessian, diagonal)


def block(
    loss: Callable[..., jax.Array], params: Any, names: str | Sequence[str]
) -> tuple[Callable[..., jax.Array], dict[str, Any], dict[str, Any]]:
    """Return a loss of some of the parameters, these, and the others, each by its name.

    The Hessian of the first, a function ``(chosen, others, *data)``, is the block of the Hessian
    that belongs to the chosen parameters.

    Parameters
    ----------
    loss, params
        ``loss(params, *data)``, and a pytree of arrays.
    names
        Regular expressions, one of which is found in the name of each chosen array
        (:func:`parameter_names`).

    Raises
    ------
    ValueError
        If they choose nothing, or one is no regular expression.
    """
    patterns = [names] if isinstance(names, str) else list(names)
    known = parameter_names(params)
    try:
        chosen = {name for name in known if any(re.search(pattern, name) for pattern in patterns)}
    except re.error as error:
        raise ValueError(f"names: {error.pattern!r} is no regular expression: {error}") from error
    if not chosen:
        raise ValueError(
            f"names: no parameter has {' or '.join(map(repr, patterns))} in its name; there are "
            f"{', '.join(known)}"
        )
    leaves, structure = jax.tree.flatten(params)
    named = dict(zip(known, leaves, strict=True))
    inside = {name: leaf for name, leaf in named.items() if name in chosen}
    outside = {name: leaf for name, leaf in named.items() if name not in chosen}
    return _restricted(loss, structure, tuple(known)), inside, outside


def parameter_names(params: Any) -> list[str]:
    """Return the name of every array of a pytree: its keys, as ``params/dense_0/kernel``."""
    paths, _ = tree_flatten_with_path(params)
    return [keystr(path, simple=True, separator="/") for path, _ in paths]


@lru_cache(REMEMBERED)
def _restricted(
    loss: Callable[..., jax.Array], structure: Any, names: tuple[str, ...]
) -> Callable[..., jax.Array]:
    def restricted(chosen: Any, others: Any, *data: Any) -> jax.Array:
        both = chosen | others
        return loss(jax.tree.unflatten(structure, [both[name] for name in names]), *data)

    return restricted


@lru_cache(REMEMBERED)
def _gauss_newton_product(
    outputs: Callable[..., Any], loss: Callable[..., jax.Array]
) -> Callable[..., Any]:
    def multiplied(params: Any, inputs: Any, targets: Any, vector: Any) -> Any:
        def model(point: Any) -> Any:
            return outputs(point, *inputs)

        def slope(made: Any) -> Any:
            return jax.grad(lambda x: arguments.scalar(loss(x, *targets)))(made)

        made, back = jax.vjp(model, params)
        _, change = jax.jvp(model, (params,), (vector,))
        return back(jax.jvp(slope, (made,), (change,))[1])[0]

    return multiplied


def _congruent_product(hessian: Any, diagonal: Any, vector: Any) -> Any:
    inner = hessian(jax.tree.map(jnp.multiply, diagonal, vector))
    return jax.tree.map(jnp.multiply, diagonal, inner)


def _scaled(linear: Any, factors: Factors, vector: Any) -> Any:
    made = scaled(linear, factors, vector)
    return jax.tree.map(lambda x: x * factors.loss, made)


def _scaled_on_host(
    function: Callable[[np.ndarray], Any], factors: Factors, vector: np.ndarray
) -> Any:
    loss, before, after = (float(factor) for factor in factors)
    return np.asarray(function(vector * vector.dtype.type(before))) * after * loss
