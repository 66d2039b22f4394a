"""Walks through a tool's parameter schema: every property name, and renaming them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .types import Tool

# Keywords of JSON Schema that hold one schema, a list of schemas, or schemas by name.
_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_BY_NAME = ("$defs", "definitions", "patternProperties")
_VALUES = ("default", "const", "enum", "example", "examples")


def property_names(tool: Tool) -> Iterator[str]:
    """Every parameter and nested property name of a tool, outer names first, with repeats.

    Args:
      tool: the tool, with either form of `parameters`.

    Returns:
      Names in the order in which they are written.
    """
    if tool.is_json_schema:
        yield from _nested_names(tool.parameters)
        return
    yield from tool.parameters
    for schema in tool.parameters.values():
        yield from _nested_names(schema)


def _nested_names(schema: Any) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        yield from properties
        for child in properties.values():
            yield from _nested_names(child)
    for child in _children(schema):
        yield from _nested_names(child)


def _children(schema: Mapping[str, Any]) -> Iterator[Any]:
    for key in _ONE:
        if isinstance(schema.get(key), Mapping):
            yield schema[key]
    for key in _LISTS:
        if isinstance(schema.get(key), Sequence) and not isinstance(schema[key], str):
            yield from schema[key]
    for key in _BY_NAME:
        if isinstance(schema.get(key), Mapping):
            yield from schema[key].values()


def rename_tool(tool: Tool, name: str, names: Mapping[str, str]) -> Tool:
    """A tool under another name, with every parameter and nested property renamed.

    Args:
      tool: the tool, with either form of `parameters`.
      name: its new name.
      names: new name of every old one (`property_names` lists them).

    Returns:
      The renamed tool; descriptions and unknown keys stay.
    """
    root = tool.parameters
    if tool.is_json_schema:
        parameters = _rename_schema(root, names, root)
    else:
        parameters = {names[old]: _rename_schema(s, names, root) for old, s in root.items()}
    extra = dict(tool.extra)
    if isinstance(extra.get("required"), list):
        extra["required"] = _rename_required(extra["required"], names)
    return Tool(name, tool.description, parameters, extra)


def _rename_required(required: list[Any], names: Mapping[str, str]) -> list[Any]:
    return [names.get(name, name) if isinstance(name, str) else name for name in required]


def _rename_schema(schema: Any, names: Mapping[str, str], root: Mapping[str, Any]) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        is_list = isinstance(value, list | tuple)
        if key == "properties" and isinstance(value, Mapping):
            out[key] = {names[old]: _rename_schema(s, names, root) for old, s in value.items()}
        elif key == "required" and isinstance(value, list):
            out[key] = _rename_required(value, names)
        elif key in _ONE:
            out[key] = _rename_schema(value, names, root)
        elif key in _LISTS and is_list:
            out[key] = [_rename_schema(child, names, root) for child in value]
        elif key in _BY_NAME and isinstance(value, Mapping):
            out[key] = {old: _rename_schema(child, names, root) for old, child in value.items()}
        elif key in _VALUES:
            out[key] = rename_value(value, (schema,), names, root)
        else:
            out[key] = value
    return out


def rename_value(
    value: Any, schemas: Iterable[Any], names: Mapping[str, str], root: Mapping[str, Any]
) -> Any:
    """A value with the keys renamed that its schema names; free-form keys stay.

    A list where the schema has no `items` is read as alternatives for one value, so that
    BFCL's lists of acceptable values inside an object are reached.

    Args:
      value: a JSON value.
      schemas: the schemas that may describe it.
      names: new name of every old one.
      root: the schema in which local `$ref`s are looked up.

    Returns:
      The renamed value.
    """
    variants = list(_variants(schemas, root))
    if isinstance(value, Mapping):
        out = {}
        for key, child in value.items():
            known = [s["properties"][key] for s in variants if key in _properties(s)]
            if known:
                out[names[key]] = rename_value(child, known, names, root)
            else:
                free = [s["additionalProperties"] for s in variants if "additionalProperties" in s]
                out[key] = rename_value(child, free, names, root)
        return out
    if isinstance(value, list | tuple):
        items: list[Any] = [s["items"] for s in variants if "items" in s]
        items += [child for s in variants for child in s.get("prefixItems", ())]
        return [rename_value(child, items or variants, names, root) for child in value]
    return value


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _variants(schemas: Iterable[Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas themselves and all that they combine (`anyOf`, ..., local `$ref`)."""
    todo, seen = list(schemas), set()
    while todo:
        schema = todo.pop(0)
        if not isinstance(schema, Mapping) or id(schema) in seen:
            continue
        seen.add(id(schema))
        yield schema
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(key), Sequence) and not isinstance(schema[key], str):
                todo.extend(schema[key])
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            target: Any = root
            for part in reference[2:].split("/"):
                target = target.get(part) if isinstance(target, Mapping) else None
            todo.append(target)
