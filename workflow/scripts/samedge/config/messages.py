"""Check a configuration against its schema, in words for the person who wrote it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from samedge.base.errors import did_you_mean

TYPES = {
    "object": "keys and values",
    "array": "a list",
    "string": "text (in quotes where it looks like a number)",
    "integer": "a whole number without point or exponent",
    "number": "a number",
    "null": "null",
}

# JSON Schema takes 3.0 for an integer, but a count of layers or steps that is a float would only
# fail much later.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda checker, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def violations(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for everything in ``config`` that the JSON Schema does not allow.

    Each names the key, what was found there and what would be right.
    """
    errors = _Validator(schema).iter_errors(config)
    in_order = sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])
    # A key that two parts of the schema describe is named once.
    yield from dict.fromkeys(line for error in in_order for line in _describe(error))


def key_path(path: Sequence[Any]) -> str:
    """Return the key at a path of keys and list indices: ``tasks.mnist.eta[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "top level"


def as_yaml(value: Any) -> str:
    """Return a value as YAML would spell it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _describe(error: jsonschema.ValidationError) -> Iterator[str]:
    key = key_path(error.absolute_path)
    found = f"found {as_yaml(error.instance)}"
    about = error.schema.get("description")
    meaning = f": {' '.join(about.split())}" if about else ""
    limit = error.validator_value
    match error.validator:
        case "additionalProperties":
            yield from _unknown_keys(key, error)
        case "required":
            missing = [name for name in limit if name not in error.instance]
            yield f"{key}: missing {', '.join(missing)}"
        case "type":
            kinds = [limit] if isinstance(limit, str) else reversed(limit)
            wanted = " or ".join(TYPES.get(kind, kind) for kind in kinds)
            yield f"{key}: {found}, must be {wanted}{meaning}"
        case "enum":
            hint = did_you_mean(str(error.instance), limit)
            yield f"{key}: {found}, must be one of {', '.join(limit)}{hint}{meaning}"
        case "exclusiveMinimum":
            yield f"{key}: {found}, must be greater than {limit}{meaning}"
        case "exclusiveMaximum":
            yield f"{key}: {found}, must be less than {limit}{meaning}"
        case "minimum" | "maximum":
            bound = "least" if error.validator == "minimum" else "most"
            yield f"{key}: {found}, must be at {bound} {limit}{meaning}"
        case "minItems" | "minProperties":
            yield f"{key}: needs at least {limit} entry{meaning}"
        case "maxLength":
            yield f"{key}: {found}, must have at most {limit} characters{meaning}"
        case _:
            yield f"{key}: {found}, which is not allowed{meaning}"


def _unknown_keys(key: str, error: jsonschema.ValidationError) -> Iterator[str]:
    known = error.schema.get("properties", {})
    patterns = error.schema.get("patternProperties", {})
    for name in error.instance:
        if name in known or any(re.search(pattern, name) for pattern in patterns):
            continue
        if patterns:
            yield (
                f"{key}: '{name}' cannot name a task: lower-case letters, digits and "
                "underscores, the first a letter"
            )
        else:
            hint = did_you_mean(name, known) or f"; known: {', '.join(known)}"
            yield f"{key}: unknown key '{name}'{hint}"
