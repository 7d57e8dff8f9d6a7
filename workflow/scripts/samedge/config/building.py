"""Settings classes from plain mappings, and back."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

NEEDED = dataclasses.MISSING


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """Build a settings class, and those nested in it, from plain mappings.

    Raises
    ------
    ValueError
        For something that is no mapping, or keys that are not known, or missing and without a
        default. The values themselves are not checked:
        :func:`samedge.config.experiment.validate` does that.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{cls.__name__} needs keys and values, found {values!r}")
    hints = typing.get_type_hints(cls)
    optional = {field.name for field in dataclasses.fields(cls) if _default(field) is not NEEDED}
    for fault, names in (
        ("lacks", hints.keys() - values - optional),
        ("does not know", values.keys() - hints),
    ):
        if names:
            raise ValueError(f"{cls.__name__} {fault} {', '.join(sorted(names))}")
    return cls(**{name: _convert(hints[name], value) for name, value in values.items()})


def _default(field: dataclasses.Field) -> Any:
    """Return what a field is where it is not given, :data:`NEEDED` if it must be."""
    if field.default_factory is not NEEDED:
        return field.default_factory()
    return field.default


def as_before(settings: Any) -> dict[str, Any]:
    """Return settings as nested dictionaries without what is equal to its default."""
    return {
        field.name: as_before(value) if dataclasses.is_dataclass(value) else value
        for field in dataclasses.fields(settings)
        for value in [getattr(settings, field.name)]
        if _default(field) is NEEDED or value != _default(field)
    }


def _convert(hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value)
    if typing.get_origin(hint) is tuple:
        return tuple(_convert(typing.get_args(hint)[0], item) for item in value)
    if isinstance(hint, types.UnionType):
        inner = next(kind for kind in typing.get_args(hint) if kind is not type(None))
        return None if value is None else _convert(inner, value)
    # YAML writes a whole number without a point where a float is meant; one spelling in the record.
    return float(value) if hint is float else value
