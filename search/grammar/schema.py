"""The tools' schemas as arrays, so that a search rules out calls that they refuse.

Strings are compared by a rolling hash of their code points, two uint32; what a schema leaves open
is allowed. `check.py` holds the completion against these arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from toolprm_jax.records import Record, Tool, is_list, plain_schema_words

HASH_FACTORS = (16777619, 2654435769)
# What an argument's value may be, as bits. A number without a fraction, 3.0 too, is an integer.
STRING, INTEGER, FRACTION, BOOLEAN, NULL, ARRAY, OBJECT = (1 << i for i in range(7))
NUMBER = INTEGER | FRACTION
ANYTHING = 127

_BITS = {
    "string": STRING,
    "integer": INTEGER,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "null": NULL,
    "array": ARRAY,
    "object": OBJECT,
}
# Keywords under which a schema may allow parameters that `properties` doesn't list.
_OPEN = ("additionalProperties", "patternProperties", "anyOf", "oneOf", "allOf", "$ref", "if",
         "dependentSchemas", "dependencies")  # fmt: skip


class Schema(NamedTuple):
    """Tools of B queries: F tools, Q parameters of all tools together, X enum strings."""

    tools: Array  # uint32[B, F, 2], hashes of the names
    tool_known: Array  # bool[B, F], False in the padding
    tool_open: Array  # bool[B, F], whether other parameters than the listed are allowed
    params: Array  # uint32[B, Q, 2], hashes of the names
    owners: Array  # int32[B, Q], the parameter's tool, -2 in the padding
    types: Array  # int32[B, Q], bits of what the value may be
    required: Array  # bool[B, Q]
    has_enum: Array  # bool[B, Q], whether a string must be one of the parameter's enum
    enums: Array  # uint32[B, X, 2], hashes of the strings
    enum_params: Array  # int32[B, X], the enum's parameter, -2 in the padding


class _Parameter(NamedTuple):
    name: str
    tool: int
    types: int
    required: bool
    enum: tuple[str, ...] | None


def string_hash(text: str) -> tuple[int, int]:
    """The hash of a string's code points, as `check.py` computes it."""
    first = second = 0
    for char in text:
        first = (first * HASH_FACTORS[0] + ord(char) + 1) & 0xFFFFFFFF
        second = (second * HASH_FACTORS[1] + ord(char) + 1) & 0xFFFFFFFF
    return first, second


def _union(types: Iterable[int]) -> int:
    bits = 0
    for some in types:
        bits |= some
    return bits


def named_types(schema: Mapping[str, Any]) -> int:
    """Bits of the types that a schema names in JSON Schema's words; of anything without one."""
    named = schema.get("type", ())
    return (
        _union(_BITS[name] for name in ([named] if isinstance(named, str) else named)) or ANYTHING
    )


def value_type(value: Any) -> int:
    """Bits of a JSON value's type."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int | float):
        whole = isinstance(value, int) or value.is_integer()
        return INTEGER if whole else FRACTION
    kinds = ((str, STRING), (type(None), NULL), (Mapping, OBJECT))
    return next((bits for kind, bits in kinds if isinstance(value, kind)), ARRAY)


def value_types(schema: Any) -> tuple[int, tuple[str, ...] | None]:
    """What a parameter's value may be.

    Args:
      schema: the parameter's schema, JSON Schema or xLAM's `{"type": "str, optional"}`.

    Returns:
      Bits of the types, and the strings it may be, None for any. Keywords that this check doesn't
      know leave everything open.
    """
    if not isinstance(schema, Mapping):
        return ANYTHING, None
    schema = plain_schema_words(schema)
    types = named_types(schema)
    branches = schema.get("anyOf", schema.get("oneOf"))
    if types == ANYTHING and is_list(branches):
        types = _union(value_types(branch)[0] for branch in branches) or ANYTHING
    values = schema.get("enum")
    enum = None
    if is_list(values) and values:
        listed = _union(map(value_type, values))
        # An enum that has nothing of the declared type is meant for something else.
        if listed & types:
            types &= listed
            if types & STRING:
                enum = tuple(value for value in values if isinstance(value, str))
    if schema.get("nullable") is True or ("default" in schema and schema["default"] is None):
        types |= NULL
    return types, enum


def required_names(record: Record, tool: Tool) -> frozenset[str]:
    """The parameters that every call of a record's tool must give."""
    if tool.is_json_schema:
        return tool.required
    flat = [
        schema
        for other in record.tools
        if not other.is_json_schema
        for schema in other.properties.values()
    ]
    # Records that say "required" of some parameters only mean that the others are optional.
    if any(isinstance(schema, Mapping) and "required" in schema for schema in flat):
        return frozenset(
            name
            for name, schema in tool.properties.items()
            if isinstance(schema, Mapping) and schema.get("required") is True
        )
    return tool.required


def _parameters(record: Record) -> list[_Parameter]:
    """The parameters of all tools, those of namesakes left out."""
    names = [tool.name for tool in record.tools]
    found = []
    for index, tool in enumerate(record.tools):
        if names.count(tool.name) > 1:
            continue
        required = required_names(record, tool)
        for name, schema in tool.properties.items():
            types, enum = value_types(schema)
            found.append(_Parameter(name, index, types, name in required, enum))
    return found


def _is_open(tool: Tool, names: Sequence[str]) -> bool:
    """Whether a tool may take parameters that it doesn't list."""
    written = tool.is_json_schema and any(tool.parameters.get(key) for key in _OPEN)
    return bool(written) or names.count(tool.name) > 1  # of two namesakes either may be meant


class SchemaSize(NamedTuple):
    """The static sizes of a `Schema`; one for all batches of a run, so that it compiles once."""

    tools: int
    params: int
    enums: int


def schema_size(records: Sequence[Record]) -> SchemaSize:
    """Sizes that hold every record's tools, rounded up to powers of two.

    Args:
      records: all that will be searched for.
    """
    params = [_parameters(record) for record in records]
    counts = (
        [len(record.tools) for record in records],
        [len(found) for found in params],
        [sum(len(p.enum or ()) for p in found) for found in params],
    )
    return SchemaSize(*(1 << max(0, max(some, default=0) - 1).bit_length() for some in counts))


def make_schema(records: Sequence[Record], size: SchemaSize | None = None) -> Schema:
    """The tools of a batch of records.

    Args:
      records: B records.
      size: from `schema_size` of all records of the run; the batch's own if None.
    """
    size = size or schema_size(records)
    batch = len(records)
    tools = np.zeros((batch, size.tools, 2), np.uint32)
    known = np.zeros((batch, size.tools), bool)
    is_open = np.zeros((batch, size.tools), bool)
    params = np.zeros((batch, size.params, 2), np.uint32)
    owners = np.full((batch, size.params), -2, np.int32)
    types = np.full((batch, size.params), ANYTHING, np.int32)
    required = np.zeros((batch, size.params), bool)
    has_enum = np.zeros((batch, size.params), bool)
    enums = np.zeros((batch, size.enums, 2), np.uint32)
    enum_params = np.full((batch, size.enums), -2, np.int32)
    for row, record in enumerate(records):
        names = [tool.name for tool in record.tools]
        for index, tool in enumerate(record.tools):
            tools[row, index] = string_hash(tool.name)
            known[row, index] = True
            is_open[row, index] = _is_open(tool, names)
        used = 0
        for index, parameter in enumerate(_parameters(record)):
            params[row, index] = string_hash(parameter.name)
            owners[row, index] = parameter.tool
            types[row, index] = parameter.types
            required[row, index] = parameter.required
            has_enum[row, index] = parameter.enum is not None
            for text in parameter.enum or ():
                enums[row, used] = string_hash(text)
                enum_params[row, used] = index
                used += 1
    arrays = (tools, known, is_open, params, owners, types, required, has_enum, enums, enum_params)
    return Schema(*jax.device_put(arrays))
