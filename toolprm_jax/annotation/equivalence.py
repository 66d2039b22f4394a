"""Values that differ only in ways that the parameter's schema calls equal (off by default)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from ..records import Equality, is_list, plain_schema_words
from .matching import strings_equal, takes_strings, values_equal

EqualBy = Literal["number", "string", "exact"]

_NUMBERS = frozenset({"integer", "number"})
_STRINGS = frozenset({"string"})
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
    schema = _plain(schema)
    if isinstance(gold, list | tuple) and isinstance(value, list | tuple):
        items = _mapping(schema.get("items"))
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
    by = _by_types(schema)
    if by == "number":
        return values_equal(number_of(gold), number_of(value))
    if by == "string" and isinstance(gold, str) and isinstance(value, str):
        if schema.get("format") in ("date", "date-time"):
            moment = _moment(gold)
            return moment is not None and moment == _moment(value)
        return strings_equal(gold, value)
    return False


def equal_by(schema: Mapping[str, Any], equality: Equality = "json") -> EqualBy:
    """How two strings are compared that are not the same.

    Args:
      schema: of the parameter.
      equality: of the record; "bfcl" compares strings by its rules where the schema wants no other.

    Returns:
      As the numbers that they spell, as texts whose case and punctuation don't count, or not at
      all.
    """
    by = _by_types(_plain(schema))
    return "string" if by == "exact" and equality == "bfcl" and takes_strings(schema) else by


def _by_types(plain: Mapping[str, Any]) -> EqualBy:
    types = _types(plain)
    if types and types <= _NUMBERS:
        return "number"
    return "string" if types and types <= _STRINGS else "exact"


def _mapping(schema: Any) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {}


def _plain(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema in JSON Schema's words; of what may also be null, what else it may be."""
    schema = plain_schema_words(schema)
    branches = schema.get("anyOf")
    if "type" in schema or not is_list(branches):
        return schema
    others = [branch for branch in branches if branch != {"type": "null"}]
    return plain_schema_words({**schema, **_mapping(others[0])}) if len(others) == 1 else schema


def _types(schema: Mapping[str, Any]) -> set[str]:
    """The names of the types that a value may have, `null` left out."""
    named = schema.get("type", ())
    return {*([named] if isinstance(named, str) else named)} - {"null"}


def number_of(value: Any) -> Any:
    """The number that a string spells; any other value as it is."""
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
