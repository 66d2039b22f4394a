"""Changes of default values that would give the right argument away (part of masking)."""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..annotation import EqualBy, equal_by, number_of
from ..records import GoldCall, Record, Tool, plain_schema_words
from .spellings import is_number, plain_number, respell, text_of

_VOWELS = "aeiou"
_CONSONANTS = "".join(c for c in string.ascii_lowercase if c not in _VOWELS)
_TRIES = 20
# Keywords that may hold of one value and not of another of its shape.
_COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "dependencies",
              "patternProperties", "enum", "const", "literal")  # fmt: skip
_RESTRICTING = ("pattern", "format", "minimum", "maximum", "exclusiveMinimum",
                "exclusiveMaximum", "multipleOf", *_COMBINING)  # fmt: skip


@dataclass(frozen=True)
class ChangedDefaults:
    """A record with other defaults; `changed` and `left` say which, and which not and why."""

    record: Record
    changed: list[dict[str, str]]
    left: list[dict[str, str]]


def change_defaults(record: Record, rng: random.Random) -> ChangedDefaults:
    """Replaces every default that equals a gold value, where that keeps the record right.

    The new value stands in the schema, in the answers and, where the old one occurs exactly once
    as a whole word, in the messages. A default is left, with its reason, where a change could
    make the record wrong: the value is no number or string, is one of several accepted values or
    of an enum, is named in the description, or occurs in the messages in another way.

    Args:
      record: the record in its original names.
      rng: source of the new values; used in the order of tools and parameters.

    Returns:
      The new record and the two lists, in original names; values are given as text.

    Source: our choice (DESIGN: "Function masking").
    """
    changed: list[dict[str, str]] = []
    left: list[dict[str, str]] = []
    for index, tool in enumerate(record.tools):
        for parameter, schema in tool.properties.items():
            if not isinstance(schema, Mapping) or "default" not in schema:
                continue
            equal = [
                value
                for gold in record.answers or ()
                if gold.name == tool.name
                for value in gold.arguments.get(parameter, ())
                if _same(schema["default"], value)
            ]
            if not equal:
                continue
            where = {"tool": tool.name, "parameter": parameter}
            old = text_of(schema["default"])
            by = equal_by(schema, record.equality)
            reason = _obstacle(record, tool, parameter, schema, by)
            new = None if reason else _new_text(record, tool.name, parameter, old, rng, by)
            if new is None:
                left.append({**where, "reason": reason or "no other value of this shape was found"})
                continue
            record = _replace(record, index, parameter, old, new, by)
            changed.append({**where, "old": old, "new": new, "equal_by": by})
    return ChangedDefaults(record, changed, left)


def swap_default(change: Mapping[str, str], value: Any) -> Any:
    """Exchanges the old and the new default of `change`, each in the value's own spelling.

    Both ways, because a wrong argument that happens to be the other default must stay wrong.

    Args:
      change: one entry of `ChangedDefaults.changed`; tool and parameter are not read.
      value: a JSON value.

    Returns:
      The value.
    """
    by: Any = change.get("equal_by", "exact")  # maps of before had none
    for here, there in (("new", "old"), ("old", "new")):
        found = _replaced(value, change[here], change[there], by)
        if found != value:
            return found
    return value


def _is_text(value: Any, text: str) -> bool:
    return (isinstance(value, str) or is_number(value)) and text_of(value) == text


def _like(value: Any, text: str) -> Any:
    return text if isinstance(value, str) else json.loads(text)


def _same(default: Any, value: Any) -> bool:
    # xLAM writes the default of an int as a string, hence equality of the text.
    if isinstance(default, bool) == isinstance(value, bool) and default == value:
        return True
    return text_of(default) == text_of(value)


def _obstacle(
    record: Record, tool: Tool, parameter: str, schema: Mapping[str, Any], by: EqualBy
) -> str | None:
    default = schema["default"]
    text = text_of(default)
    if parameter not in tool.own_properties:
        return "the schema defines the parameter in another place"
    if not (isinstance(default, str) or is_number(default)):
        return "neither a number nor a string"
    if text in ("true", "false", "True", "False", "null", "None") or not _digits_or_letters(text):
        return "nothing in the value can be replaced"
    if plain_number(text) is None and (
        is_number(default) or (by == "number" and is_number(number_of(text)))
    ):
        return "a number with an exponent, or written in another way"
    if any(
        key in words for words in (schema, plain_schema_words(schema)) for key in _RESTRICTING
    ) or (tool.is_json_schema and any(key in tool.parameters for key in _COMBINING)):
        return "the schema restricts the values"
    if sum(t.name == tool.name for t in record.tools) > 1:
        return "two tools have this name"
    if _count(text, str(schema.get("description", "")), whole=False):
        return "the description names the value"
    for gold in record.answers or ():
        values = gold.arguments.get(parameter, ()) if gold.name == tool.name else ()
        equal = [value for value in values if _same(default, value)]
        if equal and (len(values) > 1 or parameter in gold.optional):
            return "other values are accepted too"
        equal += [value for value in values if respell(value, text, text, by) is not None]
        if not all(_is_text(value, text) for value in equal):
            return "schema and answer write the value differently"
    whole = sum(_count(text, message["content"], whole=True) for message in record.messages)
    loose = sum(_count(text, message["content"], whole=False) for message in record.messages)
    if loose > 1:
        return "the value occurs more than once in the messages"
    if loose != whole:
        return "the value occurs in the messages in another form"
    if whole and _is_used_elsewhere(record, tool.name, parameter, text):
        return "the word in the messages belongs to another argument too"
    return None


def _digits_or_letters(text: str) -> bool:
    return any(c in string.digits or c in string.ascii_letters for c in text)


def _is_used_elsewhere(record: Record, tool: str, parameter: str, text: str) -> bool:
    return any(
        (gold.name, name) != (tool, parameter) and _mentions(value, text)
        for gold in record.answers or ()
        for name, values in gold.arguments.items()
        for value in values
    )


def _mentions(value: Any, text: str) -> bool:
    return _count(text, text_of(value), whole=False) > 0


def _pattern(text: str, whole: bool) -> re.Pattern[str]:
    if whole:  # `10` is no word in `10.5`, `-10` or `top-10`
        return re.compile(rf"(?<![\w-])(?<!\d[.,]){re.escape(text)}(?![\w-]|[.,]\d)")
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)", re.IGNORECASE)


def _count(text: str, where: str, *, whole: bool) -> int:
    return len(_pattern(text, whole).findall(where))


def _new_text(
    record: Record, tool: str, parameter: str, old: str, rng: random.Random, by: EqualBy
) -> str | None:
    """A value of the same shape that is new to this parameter and to the messages."""
    golds = [gold for gold in record.answers or () if gold.name == tool]
    used = [old, *(value for gold in golds for value in gold.arguments.get(parameter, ()))]
    for _ in range(_TRIES):
        new = "".join(_like_character(c, rng) for c in old)
        if (plain_number(old) is None) != (plain_number(new) is None):
            continue  # `07`, or `0.50`, would not survive as a number
        if is_number(number_of(old)) != is_number(number_of(new)):
            continue
        if any(respell(value, new, new, by) is not None for value in used):
            continue
        if any(new in m["content"] for m in record.messages):
            continue
        return new
    return None


def _like_character(character: str, rng: random.Random) -> str:
    for alphabet in (string.digits, _VOWELS, _CONSONANTS):
        if character in alphabet:
            return rng.choice(alphabet)
        if character in alphabet.upper():
            return rng.choice(alphabet.upper())
    return character


def _replace(record: Record, index: int, parameter: str, old: str, new: str, by: EqualBy) -> Record:
    tool = record.tools[index]
    schema = tool.own_properties[parameter]
    schema = {**schema, "default": _like(schema["default"], new)}
    tools = list(record.tools)
    tools[index] = tool.with_properties({parameter: schema})
    answers = tuple(
        GoldCall(
            gold.name,
            {
                name: tuple(_replaced(value, old, new, by) for value in values)
                if gold.name == tool.name and name == parameter
                else values
                for name, values in gold.arguments.items()
            },
            gold.optional,
            gold.extra,
        )
        for gold in record.answers or ()
    )
    messages = tuple(
        {**message, "content": _pattern(old, True).sub(lambda _: new, message["content"])}
        for message in record.messages
    )
    return record.with_(messages=messages, tools=tuple(tools), answers=answers)


def _replaced(value: Any, old: str, new: str, by: EqualBy) -> Any:
    found = respell(value, old, new, by)
    return value if found is None else found
