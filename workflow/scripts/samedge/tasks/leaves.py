"""The parameters of a model by name: each leaf of their tree under its path."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from samedge.base.errors import UserError
from samedge.curvature.operators.blocks import parameter_names


def named_leaves(tree: Any) -> dict[str, np.ndarray]:
    """Return copies of the leaves of a pytree by their paths, such as ``params/dense_0/kernel``.

    Raises
    ------
    ValueError
        If two leaves have the same path.
    """
    leaves = jax.tree.leaves(tree)
    # Copies: the memory of parameters is given to the next training step.
    named = dict(zip(parameter_names(tree), map(np.array, leaves), strict=True))
    if len(named) != len(leaves):
        raise ValueError("two leaves of the parameters have the same path")
    return named


def restore(leaves: Mapping[str, np.ndarray], like: Any, dtype: np.dtype | type) -> Any:
    """Return a pytree shaped like ``like`` with these leaves, converted to ``dtype``.

    Parameters
    ----------
    leaves
        Every leaf by its path, as from :func:`named_leaves`.
    like
        A pytree whose leaves have a shape.

    Raises
    ------
    UserError
        If paths or shapes are not those of ``like``.
    """
    wanted, structure = jax.tree.flatten(like)
    shapes = {path: leaf.shape for path, leaf in zip(parameter_names(like), wanted, strict=True)}
    found = {path: np.shape(leaf) for path, leaf in leaves.items()}
    if found != shapes:
        differing = sorted(
            path for path in found.keys() | shapes.keys() if found.get(path) != shapes.get(path)
        )
        listing = "; ".join(
            f"{path} is {found.get(path, 'missing')}, the model has {shapes.get(path, 'none')}"
            for path in differing
        )
        raise UserError(f"the saved parameters are not those of the run's model: {listing}")
    return jax.tree.unflatten(structure, [np.asarray(leaves[path], dtype) for path in shapes])
