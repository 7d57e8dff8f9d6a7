"""What a model makes of a whole test set: example by example, or batch by batch.

The test metric of a model whose output for an example is the same in every batch is computed a few
examples at a time. Where it depends on the rest of the batch, as with batch normalisation, the test
set is cut into the fewest batches that are no larger than those of training, and of sizes that
differ by one at most; of n batches each has every n-th example.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samedge.machine.signals import raise_if_signalled

TEST_BATCH = 100  # examples evaluated at a time


def each(one: Callable[..., Any], params: Any, examples: tuple[np.ndarray, ...]) -> Any:
    """Return ``one(params, *example)`` of each example, arrays (n, ...) on the host.

    A signal ends it between batches; ``one`` is compiled once per function object.
    """
    whole = len(examples[0]) // TEST_BATCH * TEST_BATCH
    batches = tuple(jnp.asarray(x[:whole].reshape(-1, TEST_BATCH, *x.shape[1:])) for x in examples)
    parts = []
    for number in range(whole // TEST_BATCH):
        raise_if_signalled()
        parts.append(_of_batch(one, params, batches, number, number + 1))
    if whole < len(examples[0]):
        raise_if_signalled()
        rest = (jnp.asarray(x[whole:]) for x in examples)
        parts.append(_of_all(one, params, *rest))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


@partial(jax.jit, static_argnames="one")
def _of_batch(
    one: Callable[..., Any], params: Any, batches: tuple[jax.Array, ...], first: int, end: int
) -> Any:
    """Return what the last batch from ``first`` to ``end`` comes to.

    It is a loop, of one pass, so that it is compiled as the loop over all of them would be.
    """

    def values(number: jax.Array) -> Any:
        return jax.vmap(partial(one, params))(*(x[number] for x in batches))

    shapes = jax.eval_shape(values, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.fori_loop(first, end, lambda number, _: values(number), zeros)


@partial(jax.jit, static_argnames="one")
def _of_all(one: Callable[..., Any], params: Any, *examples: jax.Array) -> Any:
    return jax.vmap(partial(one, params))(*examples)


def batches_of(examples: tuple[np.ndarray, ...], most: int) -> Iterator[tuple[jax.Array, ...]]:
    """Yield the fewest batches of at most ``most`` examples, of sizes as equal as can be.

    Each takes every n-th example, since a test set may be sorted by its labels. A signal ends it
    between batches.
    """
    count = -(-len(examples[0]) // most)
    for first in range(count):
        raise_if_signalled()
        yield tuple(jnp.asarray(x[first::count]) for x in examples)
