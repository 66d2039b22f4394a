"""Values written as Java or JavaScript literals, for BFCL's categories of those languages.

There every argument is a string; `literal_value` reads it by the parameter's declared type, as
BFCL's checker does before it compares, and `write_literal` is its inverse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

Language = Literal["java", "javascript"]
LANGUAGES: tuple[Language, ...] = ("java", "javascript")
MAX_NESTING = 8  # lists and objects in each other; each level is one more look at the text

# The declared types under the names of BFCL's Python categories.
_TYPES: Mapping[str, str] = {
    "byte": "integer",
    "short": "integer",
    "integer": "integer",
    "long": "integer",
    "Bigint": "integer",
    "float": "float",
    "double": "float",
    "boolean": "boolean",
    "Boolean": "boolean",
    "Array": "array",
    "ArrayList": "array",
    "array": "array",
    "HashMap": "dict",
    "dict": "dict",
}
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)[lLfFn]?")
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
_WHOLE = re.compile(r"-?\d{1,4000}")  # Python converts some more digits, and then refuses
# How a number of each type is written: the suffix is no part of the value.
_SUFFIXES: Mapping[Language, Mapping[str, str]] = {
    "java": {"byte": "", "short": "", "integer": "", "long": "lL", "float": "fF", "double": ""},
    "javascript": {"integer": "", "float": "", "Bigint": "n"},
}
# How a list or an object starts and what it ends with; what lies between is split at `separator`.
# No pattern backtracks over more than it has read, so that the work is linear in the text.
_JAVA_LIST = r"new\s+ArrayList\s*<[^()]*>\s*\(\s*"
_JAVA_MAP = r"new\s+HashMap\s*<[^()]*>\s*\(\s*"


class _Form(NamedTuple):
    head: re.Pattern[str]
    tail: str  # empty where the head is the whole, without elements
    separator: str = ","
    call: str = ""  # the method that adds each element


_LISTS: Mapping[Language, Sequence[_Form]] = {
    "java": (
        _Form(re.compile(r"new\s+[\w.<>?, ]++\[\]\s*\{"), "}"),
        _Form(re.compile(_JAVA_LIST + r"(?:Arrays\.asList|List\.of)\s*\("), "))"),
        _Form(re.compile(_JAVA_LIST + r"\)\s*\{\s*\{"), "}}", ";", "add"),
        _Form(re.compile(_JAVA_LIST + r"\)"), ""),
    ),
    "javascript": (
        _Form(re.compile(r"\["), "]"),
        _Form(re.compile(r"new\s+Array\s*\("), ")"),
    ),
}
_OBJECTS: Mapping[Language, Sequence[_Form]] = {
    "java": (
        _Form(re.compile(_JAVA_MAP + r"\)\s*\{\s*\{"), "}}", ";", "put"),
        _Form(re.compile(_JAVA_MAP + r"\)(?:\s*\{\s*\})?"), ""),
    ),
    "javascript": (_Form(re.compile(r"\{"), "}"),),
}
# What matters to a split: whole strings (one that has no end takes the rest), Java's types with
# their angle brackets, brackets, separators.
_PIECES = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|'(?:[^'\\]|\\.)*+(?:'|\\?\Z))"""
    r"|new\s{1,9}[\w.]{1,99}\s{0,9}<[\w\s,.<>?\[\]]{0,200}>"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])|[,;:]",
    re.DOTALL,
)


def plain_schema(literal: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the value that a literal stands for, in the types of the Python categories.

    Args:
      literal: the `literal` of a parameter's schema: `language`, `type` and perhaps `items`.

    Returns:
      `{"type", "items"?}`.
    """
    schema: dict[str, Any] = {"type": _TYPES.get(str(literal.get("type")), "string")}
    items = literal.get("items")
    if isinstance(items, Mapping):
        schema["items"] = {"type": _TYPES.get(str(items.get("type")), "string")}
    return schema


def literal_value(text: str, schema: Mapping[str, Any], language: Language) -> Any:
    """The value that a literal of the declared type stands for.

    Args:
      text: the literal.
      schema: the parameter's own schema: `type`, `items`.
      language: of the literal.

    Returns:
      The value as JSON, or the text itself where it is no such literal: the name of a variable,
      or lists and objects in each other more than `MAX_NESTING` deep.

    Source: BFCL's type converters; nesting and commas inside strings are our choice.
    """
    return _declared(text.strip(), schema, language, MAX_NESTING)


def _declared(text: str, schema: Mapping[str, Any], language: Language, depth: int) -> Any:
    name = str(schema.get("type"))
    if name in _SUFFIXES[language]:
        return _number(text, name, language)
    if name in ("boolean", "Boolean"):
        return {"true": True, "false": False}.get(text, text)
    if name == "String" and language == "javascript" and _is_quoted(text):
        return text[1:-1]
    if _TYPES.get(name) == "array":
        items = schema.get("items")
        return _list(text, items if isinstance(items, Mapping) else {}, language, depth)
    if _TYPES.get(name) == "dict":
        return _object(text, language, depth)
    return text


def _number(text: str, name: str, language: Language) -> Any:
    suffix = _SUFFIXES[language][name]
    digits = text
    if suffix:
        if text[-1:] not in tuple(suffix):
            return text
        digits = text[:-1]
    if _TYPES[name] == "integer":
        return int(digits) if _WHOLE.fullmatch(digits) else text
    number = _NUMBER.fullmatch(digits)
    return float(digits) if number and number[1] == digits else text


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _list(text: str, items: Mapping[str, Any], language: Language, depth: int) -> Any:
    parts = _parts(text, _LISTS[language]) if depth else None
    if parts is None:
        return text
    return [
        _any_value(part, language, depth - 1)
        if "type" not in items or _is_quoted(part)
        else _declared(part, items, language, depth - 1)
        for part in parts
    ]


def _object(text: str, language: Language, depth: int) -> Any:
    parts = _parts(text, _OBJECTS[language]) if depth else None
    if parts is None:
        return text
    between = "," if language == "java" else ":"
    pairs = [_split(part, between, limit=1) for part in parts]
    if any(len(pair) != 2 for pair in pairs):
        return text
    return {
        key[1:-1] if _is_quoted(key) else key: _any_value(value, language, depth - 1)
        for key, value in pairs
    }


def _any_value(text: str, language: Language, depth: int) -> Any:
    """A literal whose type is not declared."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _is_quoted(text):
        return text[1:-1]
    number = _NUMBER.fullmatch(text)
    if number:
        whole = _WHOLE.fullmatch(number[1]) and text[-1] not in "fF"
        return int(number[1]) if whole else float(number[1])
    value = _list(text, {}, language, depth)
    return _object(text, language, depth) if value == text else value


def _parts(text: str, forms: Sequence[_Form]) -> list[str] | None:
    """The elements of a list or an object in the first form that fits; None where none does."""
    for head, tail, separator, call in forms:
        start = head.match(text)
        end = _before(text, tail)
        if start is None or end is None or end < start.end() or (not tail and end > start.end()):
            continue
        parts = _split(text[start.end() : end], separator)
        if not call:
            return parts
        unwrapped = [part for part in map(partial(_unwrapped, call), parts) if part is not None]
        if len(unwrapped) == len(parts):
            return unwrapped
    return None


def _before(text: str, tail: str) -> int | None:
    """Where the closing brackets of `tail` start, with white space between them; None without."""
    end = len(text)
    for bracket in reversed(tail):
        end = len(text[:end].rstrip()) - 1
        if end < 0 or text[end] != bracket:
            return None
    return end


def _unwrapped(call: str, text: str) -> str | None:
    """The arguments of one `add(...)` or `put(...)`."""
    rest = text.removeprefix(call).lstrip()
    if rest == text or not rest.startswith("(") or not rest.endswith(")"):
        return None
    return rest[1:-1].strip()


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    """The stripped parts between separators that stand in no string and no bracket."""
    parts, start, depth = [], 0, 0
    for piece in _PIECES.finditer(text):
        if piece["open"]:
            depth += 1
        elif piece["close"]:
            depth -= 1
        elif piece[0] == separator and depth == 0 and limit != len(parts):
            parts.append(text[start : piece.start()].strip())
            start = piece.end()
    last = text[start:].strip()
    return [*parts, last] if last else parts


def write_literal(value: Any, schema: Mapping[str, Any], language: Language) -> str:
    """A value as a literal of the declared type; strings outside collections stay bare.

    Args:
      value: a JSON value.
      schema: the parameter's own schema: `type`, `items`.
      language: to write in.

    Returns:
      The literal, from which `literal_value` makes the value again.
    """
    if isinstance(value, str):
        return value
    return _written(value, schema, language)


def _written(value: Any, schema: Mapping[str, Any], language: Language) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        name = str(schema.get("type"))
        suffix = _SUFFIXES[language].get(name, "")[:1]
        return json.dumps(value) + suffix.upper().replace("F", "f").replace("N", "n")
    if isinstance(value, Sequence):
        items = schema.get("items")
        items = items if isinstance(items, Mapping) else {}
        inner = ", ".join(_written(child, items, language) for child in value)
        if language == "javascript":
            return f"[{inner}]"
        if schema.get("type") == "Array":
            return f"new {items.get('type', 'Object')}[]{{{inner}}}"
        return f"new ArrayList<>(Arrays.asList({inner}))" if value else "new ArrayList<>()"
    pairs = [(json.dumps(key), _written(child, {}, language)) for key, child in value.items()]
    if language == "javascript":
        return "{" + ", ".join(f"{key}: {child}" for key, child in pairs) + "}"
    puts = " ".join(f"put({key}, {child});" for key, child in pairs)
    return f"new HashMap<String, Object>() {{{{ {puts} }}}}" if pairs else "new HashMap<>()"
