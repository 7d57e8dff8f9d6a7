"""Blocks of a Hessian: the curvature of a loss in some of its parameters alone.

There are two ways to one. :func:`block` cuts the loss down, for whoever has a loss;
:func:`hessian_block` cuts a Hessian that is a map already, with microbatches and all.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path

from samedge.curvature.operators.made import REMEMBERED, congruent
from samedge.curvature.operators.operator import Operator


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
    structure, known = jax.tree.structure(params), parameter_names(params)
    inside, outside = chosen_parameters(params, names)
    return _restricted(loss, structure, tuple(known)), inside, outside


def hessian_block(
    hessian: Callable[[Any], Any], params: Any, names: str | Sequence[str]
) -> Operator:
    """Return the block of a Hessian that belongs to the chosen parameters, as an operator.

    It acts on vectors like all the parameters, and is zero on the others: so what is compiled for
    the whole Hessian serves every block, and an eigenvector is zero outside of its block. Each
    product takes one with the whole Hessian, so it costs the same however small the block.

    Parameters
    ----------
    hessian
        A map of pytrees that is one itself, as :func:`samedge.curvature.products.hessian_map`
        returns.
    params, names
        The parameters, and which of them, as in :func:`block`.

    Raises
    ------
    ValueError
        As :func:`block`.
    """
    inside, _ = chosen_parameters(params, names)
    structure, known = jax.tree.structure(params), parameter_names(params)
    types = [leaf.dtype for leaf in jax.tree.leaves(params)]
    # Arguments of what is compiled, not constants in it: one program serves every block.
    mask = [jnp.asarray(name in inside, one) for name, one in zip(known, types, strict=True)]
    whole = jax.tree.unflatten(structure, mask)
    return congruent(hessian, params, whole, symmetric=True)


def layers(params: Any) -> dict[str, str]:
    """Return a pattern for each layer, by the layer's name: arrays that lie beside each other.

    What the names of all layers begin with, such as ``params/``, is left out of them.
    """
    names = parameter_names(params)
    inside = dict.fromkeys(name.rpartition("/")[0] or name for name in names)
    firsts = {layer.partition("/")[0] for layer in inside}
    deep = all("/" in layer for layer in inside)
    common = f"{firsts.pop()}/" if deep and len(firsts) == 1 else ""
    return {layer.removeprefix(common): rf"^{re.escape(layer)}(/[^/]*)?$" for layer in inside}


def parameter_names(params: Any) -> list[str]:
    """Return the name of every array of a pytree: its keys, as ``params/dense_0/kernel``."""
    paths, _ = tree_flatten_with_path(params)
    return [keystr(path, simple=True, separator="/") for path, _ in paths]


def chosen_parameters(
    params: Any, names: str | Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays that patterns choose as in :func:`block`, and the others, by name."""
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
    named = dict(zip(known, jax.tree.leaves(params), strict=True))
    inside = {name: leaf for name, leaf in named.items() if name in chosen}
    return inside, {name: leaf for name, leaf in named.items() if name not in chosen}


@lru_cache(REMEMBERED)
def _restricted(
    loss: Callable[..., jax.Array], structure: Any, names: tuple[str, ...]
) -> Callable[..., jax.Array]:
    def restricted(chosen: Any, others: Any, *data: Any) -> jax.Array:
        both = chosen | others
        return loss(jax.tree.unflatten(structure, [both[name] for name in names]), *data)

    return restricted
