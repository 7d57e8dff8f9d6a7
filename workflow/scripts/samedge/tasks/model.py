"""Models behind one interface, looked up by name in :data:`MODELS`.

Each is a file of :mod:`samedge.tasks.models` under its name, and is imported when it is asked for:
a job needs one of them, and the library that it builds on takes a while. Its function takes its
settings as keywords and returns a :class:`Model`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from samedge.base.registry import Registry

Params = Any  # a pytree of float32 arrays


@dataclass(frozen=True)
class Model:
    """``init(key, inputs) -> params`` and ``apply(params, inputs) -> outputs``, both pure."""

    init: Callable[[jax.Array, jax.Array], Params]
    apply: Callable[[Params, jax.Array], jax.Array]


MODELS: Registry[Callable[..., Model]] = Registry("model")
