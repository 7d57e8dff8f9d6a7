"""Models behind one interface, looked up by name in :data:`MODELS`.

Each is a file of :mod:`samedge.tasks.models` under its name, and is imported when it is asked for:
a job needs one of them, and the library that it builds on takes a while. Its function takes its
settings as keywords and returns a :class:`Model`.

A model may be noisy, as with dropout. Each step then draws a key for each of its examples from the
seed and the step alone. Both gradients of SAM take the same ones, and a check measures loss,
gradients and Hessian with those of the step that follows: the masks are fixed, and no average over
them is taken. There is no noise in the test metric.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from samedge.base.registry import Registry

Params = Any  # a pytree of float32 arrays

#: Sets the keys of noise apart from those of parameters and solver, which are split off a seed's.
NOISE = 0x6E6F6973


@dataclass(frozen=True)
class Model:
    """A model of inputs ``(n, …)``; both functions are pure.

    Attributes
    ----------
    init
        ``(key, inputs) -> params``.
    apply
        ``(params, inputs) -> outputs`` ``(n, …)``, without noise. A noisy one is also called as
        ``apply(params, inputs, keys)`` with a key for each example, ``(n,)``.
    noisy
        Whether it is.
    """

    init: Callable[[jax.Array, jax.Array], Params]
    apply: Callable[..., jax.Array]
    noisy: bool = False


class Noise(NamedTuple):
    """What the keys of a run's noise come from, of its next step and those after it.

    Attributes
    ----------
    key
        The run's, as whole numbers.
    step
        The steps taken so far.
    """

    key: jax.Array
    step: jax.Array | np.ndarray | np.integer[Any]

    @classmethod
    def of(cls, seed: int, step: int) -> "Noise":
        """Return that of a run with a seed, after so many steps."""
        key = jax.random.fold_in(jax.random.key(seed), NOISE)
        return cls(jax.random.key_data(key), np.int32(step))

    def keys(self, examples: int, later: jax.Array | int = 0) -> jax.Array:
        """Return the keys of a step's examples, as whole numbers ``(examples, …)``.

        They are those of the next step, or of one so many steps later.
        """
        key = jax.random.fold_in(jax.random.wrap_key_data(self.key), self.step + later)
        return jax.random.key_data(jax.random.split(key, examples))


MODELS: Registry[Callable[..., Model]] = Registry("model")
