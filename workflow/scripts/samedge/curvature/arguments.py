"""What the functions of the Python API accept, checked in one place.

Whatever is wrong is named with its place, before anything is computed. The checks read types and
shapes alone, so that they cost nothing beside a product and hold for traced arrays too.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

REAL = (np.dtype(np.float32), np.dtype(np.float64))


def require(loss: Any, params: Any, data: Any, microbatch: Any = None) -> None:
    """Refuse a loss, parameters, data or a microbatch that cannot be measured.

    Raises
    ------
    TypeError
        If the loss is no function, data is no tuple, or the parameters are not arrays of float32,
        or all of float64.
    ValueError
        If there are no parameters, they are float64 and JAX is not in 64-bit mode, or microbatches
        do not divide the data.
    """
    if not callable(loss):
        raise TypeError(f"loss is a {_kind(loss)}; give a function loss(params, *data)")
    require_parameters("params", params)
    if not isinstance(data, tuple | list):
        raise TypeError(
            f"data is a {_kind(data)}; give a tuple of what the loss takes after the parameters, "
            "such as data=(batch,) for loss(params, batch)"
        )
    for path, leaf in tree_flatten_with_path(tuple(data))[0]:
        if not isinstance(leaf, bool | int | float | complex) and not _is_array(leaf):
            raise TypeError(
                f"data{keystr(path)} is a {_kind(leaf)}, and data are arrays and numbers; bind "
                "anything else to the loss with functools.partial"
            )
    if microbatch is not None:
        require_pieces(tuple(data), microbatch)


def require_pieces(data: tuple[Any, ...], microbatch: Any) -> None:
    """Refuse microbatches that do not divide the data.

    Raises
    ------
    TypeError
        If ``microbatch`` is no whole number.
    ValueError
        If it is below 1, an array of the data has no leading axis, the leading axes differ, or
        their length is no multiple of it.
    """
    require_whole("microbatch", microbatch, 1)
    lengths = {}
    for path, leaf in tree_flatten_with_path(tuple(data))[0]:
        if np.ndim(leaf) == 0:
            raise ValueError(
                f"data{keystr(path)} is a single {_kind(leaf)}, and microbatches cut all data "
                "along the examples; leave microbatch None, or bind it to the loss with "
                "functools.partial"
            )
        lengths[f"data{keystr(path)}"] = np.shape(leaf)[0]
    if not lengths:
        raise ValueError("there are no data that microbatches could cut; leave microbatch None")
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{length} in {name}" for name, length in lengths.items())
        raise ValueError(
            f"microbatches cut all data along the examples, and their numbers differ: {listing}; "
            "leave microbatch None, or bind what is no example to the loss with functools.partial"
        )
    [examples] = set(lengths.values())
    if examples == 0 or examples % microbatch:
        raise ValueError(f"microbatch {microbatch} does not divide the {examples} examples")


def require_like(name: str, tree: Any, params: Any, others: str = "params") -> None:
    """Refuse a pytree that is not one of arrays like the parameters, or what ``others`` calls them.

    Raises
    ------
    TypeError
        If structure, shapes or types differ.
    """
    leaves, structure = jax.tree.flatten(tree)
    wanted, expected = tree_flatten_with_path(params)
    if structure != expected:  # type: ignore[operator]  # JAX's types know no comparison
        raise TypeError(f"{name} is {structure}, and {others} are {expected}")
    for (path, like), leaf in zip(wanted, leaves, strict=True):
        found = f"{getattr(leaf, 'dtype', _kind(leaf))}{list(np.shape(leaf))}"
        asked = f"{like.dtype}{list(np.shape(like))}"
        if found != asked:
            raise TypeError(f"{name}{keystr(path)} is {found}, and {others}{keystr(path)} {asked}")


def require_parameters(called: str, params: Any) -> None:
    """Refuse parameters that are not arrays of float32, or all of float64.

    Raises
    ------
    TypeError, ValueError
        Naming the array by what the parameters are ``called`` and its place.
    """
    leaves, _ = tree_flatten_with_path(params)
    if not sum(int(np.size(leaf)) for _, leaf in leaves):
        raise ValueError(f"{called} hold no numbers")
    for path, leaf in leaves:
        name = f"{called}{keystr(path)}"
        if not _is_array(leaf):
            hint = "; keep the arrays alone, by equinox.partition or nnx.split" * callable(leaf)
            raise TypeError(f"{name} is a {_kind(leaf)}; parameters are arrays of float32{hint}")
        if leaf.dtype not in REAL:
            raise TypeError(
                f"{name} is {leaf.dtype}; parameters are float32, or all float64: convert it if it "
                "is a parameter, and pass it through data if it is not"
            )
        if leaf.dtype == np.float64 and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            raise ValueError(
                f"{name} is float64, and JAX would compute in float32; convert the parameters to "
                'float32, or call jax.config.update("jax_enable_x64", True)'
            )
    types = {str(leaf.dtype) for _, leaf in leaves}
    if len(types) > 1:
        raise TypeError(
            f"{called} are of {' and '.join(sorted(types))}; convert all to one of them"
        )


def require_key(key: Any) -> None:
    """Refuse what is no PRNG key; old ones, of uint32, will do.

    Raises
    ------
    TypeError
        For anything but a single key.
    """
    shape = getattr(key, "shape", None)
    if _is_array(key) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if shape == ():
            return
        raise TypeError(f"key holds PRNG keys of shape {shape}; give one of them")
    raw = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    if not _is_array(key) or (shape, key.dtype) != (raw.shape, raw.dtype):
        raise TypeError(f"key is a {_kind(key)}; give a PRNG key, such as jax.random.key(0)")


def require_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number; if it is too small.
    """
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, and has to be a whole number") from None
    if isinstance(value, bool) or whole < least:
        raise ValueError(f"{name} is {value!r}, and has to be a whole number of at least {least}")


def require_number(name: str, value: Any, fits: Callable[[float], bool], asked: str) -> None:
    """Refuse what is no number, or none that fits; a traced one cannot be seen and passes.

    Raises
    ------
    TypeError, ValueError
        If it is no real number; if it is not what is ``asked``.
    """
    if isinstance(value, jax.core.Tracer) and np.shape(value) == ():
        return
    try:
        if np.shape(value) != () or isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is a {_kind(value)}, and has to be a number {asked}") from None
    if not fits(number):
        raise ValueError(f"{name} is {number:g}, and has to be a number {asked}")


def require_untraced(name: str, *trees: Any) -> None:
    """Refuse traced arrays, whose values are not there yet.

    Raises
    ------
    TypeError
        If a leaf is traced.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees)):
        raise TypeError(
            f"{name} decides by the values it finds, and cannot run inside jit, grad or vmap; "
            "call it outside of them"
        )


def scalar(value: Any) -> jax.Array:
    """Return a loss; refuse what is no real scalar.

    Raises
    ------
    TypeError
        For anything but a single floating-point number.
    """
    if isinstance(value, tuple | list | dict):
        raise TypeError(
            f"the loss returns a {_kind(value)}; it has to return the scalar alone, without "
            "auxiliary output"
        )
    if not (isinstance(value, float) or _is_array(value)):
        raise TypeError(f"the loss returns a {_kind(value)}, and has to return a real scalar")
    array = jnp.asarray(value)
    if array.shape != () or not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"the loss returns {array.dtype}{list(array.shape)}, and has to return a real scalar, "
            "such as the mean over the examples"
        )
    return array


def holds_subnormal(trees: Any) -> bool:
    """Tell whether a pytree holds numbers below the smallest normal one, which XLA takes for 0."""
    for leaf in jax.tree.leaves(trees):
        if _is_array(leaf) and leaf.dtype in REAL:
            magnitudes = np.abs(np.asarray(leaf))
            if np.any((magnitudes > 0) & (magnitudes < np.finfo(leaf.dtype).tiny)):
                return True
    return False


def _is_array(value: Any) -> bool:
    if not isinstance(value, np.ndarray | np.generic | jax.Array):
        return False
    kinds = (jax.dtypes.prng_key, np.bool_, jnp.number)
    return any(jnp.issubdtype(value.dtype, kind) for kind in kinds)


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else f"{dtype}{list(np.shape(value))}"
