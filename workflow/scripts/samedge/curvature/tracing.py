"""What a loss reads, seen by tracing it: programs are compiled for that, not for its name alone.

``jax.jit`` remembers a function by the object it is. A loss that reads a global, an attribute or a
closed-over array would go on with what it read first.
"""

import functools
import hashlib
import re
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable
from types import FrameType, MethodType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

JITTED = type(jax.jit(lambda: None))
NEW_FUNCTIONS = 3  # function objects of one definition, from which on a user is told
ADDRESS = re.compile(r"0x[0-9a-f]+")  # in the representation of an object

_digests: dict[int, tuple[weakref.ref, bytes]] = {}  # of arrays that cannot change, by identity


def what_it_reads(loss: Callable[..., Any], params: Any, data: tuple[Any, ...]) -> str:
    """Return a digest of what the loss computes, and of all values it reads beside its arguments.

    The loss is traced anew, so that a global, an attribute or a closed-over array which has
    changed since changes the digest. Not seen is what a function reads that the loss calls under
    ``jax.jit``, since JAX remembers its trace, and what only the rules of a custom derivative read.
    """
    # JAX remembers traces by function: a new one is not known yet.
    traced = jax.make_jaxpr(lambda params, *data: loss(params, *data))(params, *data)
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(traced):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def without_jit(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function, or method, without the ``jax.jit`` around it, which remembers traces."""
    if isinstance(loss, MethodType):
        function = without_jit(loss.__func__)
        return loss if function is loss.__func__ else MethodType(function, loss.__self__)
    if isinstance(loss, JITTED):
        return without_jit(loss.__wrapped__)  # type: ignore[attr-defined]
    return loss


_made: dict[Any, set[int]] = {}  # the functions that were seen of each definition, by their hashes


def warn_of_new_functions(loss: Callable[..., Any]) -> None:
    """Warn, once for each definition, of a loss that is defined anew at every call.

    What is compiled for a loss is found again by the object that it is: a lambda inside a loop, or
    a ``functools.partial`` of arrays that change, is compiled at every turn.
    """
    definition: Any = without_jit(loss)
    while isinstance(definition, functools.partial | MethodType):
        inner = (
            definition.func if isinstance(definition, functools.partial) else definition.__func__
        )
        definition = without_jit(inner)
    code = getattr(definition, "__code__", None)
    if code is None:
        return
    seen = _made.setdefault(code, set())
    if len(seen) >= NEW_FUNCTIONS:
        return
    seen.add(hash(loss))
    if len(seen) == NEW_FUNCTIONS:
        warnings.warn(
            f"{NEW_FUNCTIONS} function objects have come of the loss {code.co_qualname!r}, defined "
            f"in {code.co_filename}, line {code.co_firstlineno}; each is compiled anew, which "
            "takes seconds. Define the loss once, outside of the loop, and pass what changes "
            "through params or data",
            stacklevel=_outside_of_package(),
        )


def _outside_of_package() -> int:
    """Return the level at which a warning points at the caller of the package."""
    package, level, frame = __name__.partition(".")[0], 1, sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame, package):
        frame, level = frame.f_back, level + 1
    return level


def _is_inside(frame: FrameType, package: str) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in (package, "contextlib")


def _parts(value: Any) -> Iterable[bytes]:
    """Yield what tells one traced program, and the values in it, from another."""
    if isinstance(value, core.ClosedJaxpr | core.Jaxpr):
        # Since JAX 0.11 the two are one class, whose ``jaxpr`` is itself.
        yield from (_content(const) for const in getattr(value, "consts", ()))
        program: Any = getattr(value, "jaxpr", value)
        yield from _program(program)
    elif isinstance(value, tuple | list):
        yield str(len(value)).encode()
        for item in value:
            yield from _parts(item)
    elif isinstance(value, np.ndarray | np.generic | jax.Array):
        yield _content(value)
    elif callable(value):
        yield getattr(value, "__qualname__", type(value).__qualname__).encode()
    else:
        yield ADDRESS.sub("", repr(value)).encode()


def _program(jaxpr: core.Jaxpr) -> Iterable[bytes]:
    """Yield what a traced program computes; variables are numbered in the order they come up."""
    numbers: dict[Any, int] = {}
    for variable in (*jaxpr.constvars, *jaxpr.invars):
        yield str(variable.aval).encode()
        numbers[variable] = len(numbers)
    for equation in jaxpr.eqns:
        yield equation.primitive.name.encode()
        for atom in equation.invars:
            yield _atom(atom, numbers)
        for variable in equation.outvars:
            yield str(variable.aval).encode()
            numbers[variable] = len(numbers)
        for name in sorted(equation.params):
            yield name.encode()
            yield from _parts(equation.params[name])
    yield from (_atom(atom, numbers) for atom in jaxpr.outvars)


def _atom(atom: Any, numbers: dict[Any, int]) -> bytes:
    if isinstance(atom, core.Literal):
        return f"{atom.aval} {np.asarray(atom.val).tobytes().hex()}".encode()
    return str(numbers[atom]).encode()


def _content(array: Any) -> bytes:
    """Return a digest of an array's type, shape and values."""
    fixed = isinstance(array, jax.Array)
    known = _digests.get(id(array)) if fixed else None
    if known is not None and known[0]() is array:
        return known[1]
    raw = jax.random.key_data(array) if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) else array
    values = np.ascontiguousarray(raw)
    head = f"{array.dtype}{np.shape(array)}".encode()
    found = hashlib.blake2b(head + b"\0" + values.tobytes(), digest_size=16).digest()
    if fixed:
        place = id(array)
        _digests[place] = weakref.ref(array, lambda _: _digests.pop(place, None)), found
    return found
