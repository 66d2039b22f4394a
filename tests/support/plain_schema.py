"""Whether calls keep to the tools' schemas, in plain Python over parsed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolprm_jax.grammar.runner import PartialCall
from toolprm_jax.records.types import Tool


def has_type(value: Any, name: str) -> bool:
    """Whether a value has a type of JSON Schema, BFCL or xLAM."""
    name = name.removesuffix(", optional")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in ("integer", "int"):
        return is_number and float(value).is_integer()
    if name in ("number", "float"):
        return is_number
    names: dict[str, type] = {
        "string": str, "str": str, "boolean": bool, "bool": bool, "null": type(None),
        "array": list, "List[int]": list, "object": dict, "dict": dict,
    }  # fmt: skip
    return name not in names or isinstance(value, names[name])


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a parameter may have a value."""
    declared = schema.get("type", "any")
    listed = [declared] if isinstance(declared, str) else declared
    optional = any(name.endswith("optional") for name in listed)
    if value is None and (optional or schema.get("nullable")):
        return True
    if not any(has_type(value, name) for name in listed):
        return False
    return "enum" not in schema or not isinstance(value, str) or value in schema["enum"]


def violations(tools: Sequence[Tool], calls: Sequence[PartialCall]) -> int:
    """How many things in calls, whole or partial, the tools' schemas refuse."""
    count = 0
    for call in calls:
        named = [tool for tool in tools if tool.name == call.name]
        if len(named) != 1:
            count += not named
            continue
        properties = named[0].properties
        seen: set[str] = set()
        for name, value in call.pairs:
            if name not in properties:
                count += not named[0].parameters.get("additionalProperties")
                continue
            count += name in seen
            seen.add(name)
            count += not fits(value, properties[name])
        if call.closed:
            count += bool((named[0].required & properties.keys()) - seen)
    return count
