"""Nested content with arrays in it as the named arrays of a NumPy archive (``.npz``), and back."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

LONGEST_INLINE = 64  # numbers of an array that is written as text

# How JSON refers to an array: by its entry in the archive, or with its numbers.
ENTRY = "array in entry"
INLINE = "array"
TEXT = "json"


def encode(content: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of nested content by name, and the rest as JSON that refers to them.

    Python's JSON keeps every float, not-a-number and infinity included, to the last bit.
    """
    arrays: dict[str, np.ndarray] = {}

    def refer(value: Any) -> dict[str, Any]:
        array = np.asarray(value)
        if array.size <= LONGEST_INLINE and array.dtype.kind in "biuf":
            return {INLINE: array.tolist(), "dtype": array.dtype.str}
        name = f"array{len(arrays)}"
        arrays[name] = array
        return {ENTRY: name}

    text = json.dumps(content, default=refer)
    return {TEXT: np.array(text), **arrays}


def decode(entries: Mapping[str, np.ndarray]) -> Any:
    """Return the nested content of which :func:`encode` made these arrays; tuples are lists."""

    def resolve(found: dict[str, Any]) -> Any:
        if ENTRY in found:
            return entries[found[ENTRY]]
        if INLINE in found:
            return np.array(found[INLINE], np.dtype(found["dtype"]))
        return found

    return json.loads(str(entries[TEXT]), object_hook=resolve)
