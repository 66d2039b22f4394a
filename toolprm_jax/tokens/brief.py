"""A parameter's schema in a few words, for the `compact` prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..records import is_list, resolve

_MOST_REFERENCES = 3  # in each other; what lies deeper is told by its type alone


def brief_type(schema: Any, root: Mapping[str, Any], references: int = 0) -> str:
    """A schema in a few words.

    Args:
      schema: of one value, JSON Schema or xLAM's.
      root: the tool's parameters, into which `$ref`s lead.
      references: how many `$ref`s led here.

    Returns:
      `string`, `array of integer`, `"c"/"f"`, `date`, `integer or null`, `object {day string}`, ...

    Source: our choice.
    """
    if not isinstance(schema, Mapping):
        return json.dumps(schema, ensure_ascii=False)
    if is_list(schema.get("enum")) and schema["enum"]:
        return "/".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    target = resolve(schema["$ref"], root) if "$ref" in schema else None
    if isinstance(target, Mapping):
        if references == _MOST_REFERENCES:
            return _types(target)
        rest = {word: value for word, value in schema.items() if word != "$ref"}
        return brief_type({**target, **rest}, root, references + 1)
    parts = schema.get("allOf")
    if is_list(parts) and len(parts) == 1 and isinstance(parts[0], Mapping):
        rest = {word: value for word, value in schema.items() if word != "allOf"}
        return brief_type({**parts[0], **rest}, root, references)
    branches = schema.get("anyOf", schema.get("oneOf"))
    if "type" not in schema and is_list(branches) and branches:
        return _either([brief_type(branch, root, references) for branch in branches])
    return _whole(schema, root, references)


def _whole(schema: Mapping[str, Any], root: Mapping[str, Any], references: int) -> str:
    words = _types(schema)
    null = words.endswith(_OR_NULL) and is_list(schema.get("type"))
    words = words.removesuffix(_OR_NULL) if null else words
    items, first = schema.get("items"), schema.get("prefixItems")
    if is_list(items) or is_list(first):
        listed = items if is_list(items) else first
        words += f" of ({', '.join(brief_type(s, root, references) for s in listed or ())})"
    elif isinstance(items, Mapping):
        words += f" of {brief_type(items, root, references)}"
    if isinstance(schema.get("properties"), Mapping):
        properties = schema["properties"].items()
        inner = (f"{name} {brief_type(s, root, references)}" for name, s in properties)
        words += " {" + ", ".join(inner) + "}"
    return f"{words}{_OR_NULL}" if null else words


_OR_NULL = " or null"


def _types(schema: Mapping[str, Any]) -> str:
    """The format, else the types, null last; `any` where none is named."""
    named, format_ = schema.get("type", "any"), schema.get("format")
    names = [named] if isinstance(named, str) else named
    names = [name for name in names if isinstance(name, str)] if is_list(names) else []
    if isinstance(format_, str) and format_:
        names = [format_, *(name for name in names if is_list(named) and name == "null")]
    return _either(names) if names else "any"


def _either(words: Sequence[str]) -> str:
    unique = sorted(dict.fromkeys(words), key=lambda word: word == "null")
    return " or ".join(unique)
