"""Values that differ only in ways that the parameter's schema calls equal (off by default)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .matching import strings_equal, values_equal

_NUMBERS = frozenset(
    {"integer", "int", "number", "float", "double", "long", "short", "byte", "bigint"}
)
_STRINGS = frozenset({"string", "str"})
_LIST = re.compile(r"(?:list|array|tuple|set|sequence)(?:\[(?P<items>.*)\])?")
_UNION = re.compile(r"(?:union|optional)\[(?P<parts>.*)\]")
_NUMERIC = re.compile(r"\s*[+-]?(?:\d{1,400}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?\s*")
_INFINITE = (math.inf, -math.inf)
_LONGEST_DATE = 64
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b", re.IGNORECASE)
# Year first, or the month as a word: 01/02/2024 is two dates and therefore none.
_DATES = ("%Y/%m/%d", "%Y.%m.%d", "%d %B %Y", "%d %b %Y", "%B %d %Y", "%b %d %Y")


def schema_equal(gold: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether the schema calls two values equal, which JSON need not.

    A number and the string that spells it where the type is a number; strings that differ in case
    and in BFCL's punctuation; forms of one date where the format is a date; arrays and objects
    whose elements are so equal.

    Args:
      gold: the gold's value.
      value: the completion's value.
      schema: the parameter's schema, in JSON Schema's types or xLAM's (`List[int], optional`).

    Returns:
      True iff they are equal under the schema; values that JSON calls equal always are.

    Source: our choice.
    """
    if values_equal(gold, value):
        return True
    if isinstance(gold, list | tuple) and isinstance(value, list | tuple):
        items = _items(schema)
        return len(gold) == len(value) and all(
            schema_equal(a, b, items) for a, b in zip(gold, value, strict=True)
        )
    if isinstance(gold, Mapping) and isinstance(value, Mapping):
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        return gold.keys() == value.keys() and all(
            schema_equal(child, value[key], _mapping(properties.get(key)))
            for key, child in gold.items()
        )
    types = _types(schema.get("type"))
    if types and types <= _NUMBERS:
        return values_equal(_number(gold), _number(value))
    if types and types <= _STRINGS and isinstance(gold, str) and isinstance(value, str):
        if schema.get("format") in ("date", "date-time"):
            moment = _moment(gold)
            return moment is not None and moment == _moment(value)
        return strings_equal(gold, value)
    return False


def _mapping(schema: Any) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {}


def _plain(name: str) -> str:
    """`List[int], optional` -> `list[int]`: what follows the first comma outside brackets goes."""
    depth = 0
    for at, char in enumerate(name):
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            name = name[:at]
            break
    return name.strip().lower()


def _types(given: Any) -> set[str]:
    """The names of the types that a value may have, `null` left out."""
    if isinstance(given, list):
        return set().union(*map(_types, given)) - {"null", "none"}
    if not isinstance(given, str):
        return set()
    name = _plain(given)
    union = _UNION.fullmatch(name)
    parts = union["parts"].split(",") if union else [name]
    return {part.strip() for part in parts} - {"null", "none"}


def _items(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of an array's elements: `items`, or what stands in `List[...]`."""
    if isinstance(schema.get("items"), Mapping):
        return schema["items"]
    listed = _LIST.fullmatch(_plain(str(schema.get("type", ""))))
    return {"type": listed["items"]} if listed and listed["items"] else {}


def _number(value: Any) -> Any:
    if not isinstance(value, str) or not _NUMERIC.fullmatch(value):
        return value
    number = float(value) if set(value) & set(".eE") else int(value)
    return value if number in _INFINITE else number


def _moment(text: str) -> datetime | None:
    if len(text) > _LONGEST_DATE:
        return None
    text = " ".join(_ORDINAL.sub("", text).replace(",", " ").split())
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for form in _DATES:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None
