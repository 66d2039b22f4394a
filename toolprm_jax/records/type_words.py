"""Type words as xLAM, Python, TypeScript and OpenAPI write them, read as JSON Schema."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_WORDS = {
    "string": "string str char character varchar",
    "integer": "integer int long short byte bigint int8 int16 int32 int64 uint uint8 uint16 "
    "uint32 uint64",
    "number": "number float double decimal numeric float16 float32 float64",
    "boolean": "boolean bool",
    "null": "null none nonetype undefined void",
    "array": "array list tuple set frozenset sequence iterable collection arraylist",
    "object": "object dict dictionary map mapping hashmap record ordereddict defaultdict",
}
_TYPE_OF = {word: name for name, words in _WORDS.items() for word in words.split()}
_WRAPPERS = ("annotated", "final", "required", "notrequired", "readonly", "classvar")
_TOKEN = re.compile(
    r"""\s*(\[\s*\]|\.\.\.|"[^"\\]*"|'[^'\\]*'|-?\d+(?:\.\d+)?|[^\W\d][\w.]*|[\[\]<>(),|?])\s*"""
)
_NOTE = re.compile(r"\W*(?:optional|required|default\b.*)\W*", re.IGNORECASE | re.DOTALL)
_LEADING = re.compile(r"\s*optional\s+(?=\w)", re.IGNORECASE)
_MARKS = ("optional", "required")
_LONGEST = 1000  # characters; what is longer is no type's name
_DEEPEST = 32
_CLOSING = {"[": "]", "<": ">"}


class TypeWords(NamedTuple):
    """What a type's name says.

    Attributes:
      schema: the same as JSON Schema; `{}` where the name says nothing that is known.
      optional: whether it says that the parameter may be left out.
    """

    schema: Mapping[str, Any]
    optional: bool


class _UnknownError(Exception):
    """The text is no type's name."""


@functools.lru_cache(4096)
def read_type_words(text: str) -> TypeWords:
    """What a type's name says, in any case.

    Args:
      text: `str`, `int, optional`, `str (Optional)`, `List[Dict[str, Any]]`, `Union[int, None]`,
        `string[]`, `Array<string>`, `int | str`, `list of str`, `Literal["a", "b"]`, ...

    Returns:
      The JSON Schema, not to be changed; an optional value may also be null.

    Source: our choice.
    """
    if len(text) > _LONGEST:
        return TypeWords({}, False)
    leading = _LEADING.match(text)
    optional = leading is not None
    alternatives = []
    for part in _parts(text[leading.end() :] if leading else text):
        if _NOTE.fullmatch(part):
            optional |= "optional" in part.lower()
            continue
        try:
            alternatives.append(_Reader(part).whole())
        except _UnknownError:
            alternatives.append(_container(part))
    schema = union_of(alternatives) if alternatives else {}
    if optional:
        schema = union_of([schema, {"type": "null"}])
    return TypeWords(schema, optional or _head(text) == "optional")


def plain_schema_words(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema whose `type`, if it has one, is in JSON Schema's own words.

    Args:
      schema: of one value; only its own `type` is read, not those inside.

    Returns:
      The schema. Where the words say more than a type (`List[int]`), that stands beside, but never
      in the place of what the schema says itself.
    """
    named = schema.get("type")
    if isinstance(named, str):
        said = read_type_words(named).schema
    elif isinstance(named, Sequence) and named and all(isinstance(name, str) for name in named):
        said = union_of([read_type_words(name).schema for name in named])
    else:
        said = {}
    rest = {word: value for word, value in schema.items() if word != "type"}
    return {**said, **rest}


def union_of(schemas: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The schema of what one of several allows; a list of types where that is all they say."""
    unique = [some for i, some in enumerate(schemas) if some not in schemas[:i]]
    if len(unique) == 1:
        return unique[0]
    if not unique or not all(unique):
        return {}
    if all(some.keys() == {"type"} for some in unique):
        named = [some["type"] for some in unique]
        types = [[names] if isinstance(names, str) else names for names in named]
        return {"type": list(dict.fromkeys(name for names in types for name in names))}
    return {"anyOf": unique}


def _parts(text: str) -> list[str]:
    """The parts between commas outside of brackets; a last pair of round ones is a part, too."""
    parts, start, depth = [], 0, 0
    for at, char in enumerate(text):
        if char in "[<(":
            if char in "([" and depth == 0 and _NOTE.fullmatch(text[at:]):
                parts.append(text[start:at])
                start = at
            depth += 1
        elif char in "]>)":
            depth -= 1
        elif char in ",;" and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    bare = [part for part in parts if part.strip()]
    # "str optional" has no comma.
    words = bare[-1].rsplit(maxsplit=1) if bare else []
    return [*bare[:-1], *words] if words[1:] and words[1].lower() in _MARKS else bare


def _container(text: str) -> Mapping[str, Any]:
    """The schema of `List[...]` or `Dict[...]` whose inside is no type's name."""
    name = _TYPE_OF.get(_head(text)) if text.rstrip()[-1:] in ("]", ">") else None
    return {"type": name} if name in ("array", "object") else {}


def _head(text: str) -> str:
    found = re.match(r"\s*(?:[\w.]+\.)?(\w+)\s*[\[<]", text)
    return found[1].lower() if found else ""


class _Reader:
    """Reads one type from its tokens."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise _UnknownError
            self._tokens.append("[]" if token[1].startswith("[") and token[1] != "[" else token[1])
            at = token.end()
        self._at = 0
        self._depth = 0

    def whole(self) -> Mapping[str, Any]:
        """The schema of all tokens."""
        schema = self._union()
        if self._at != len(self._tokens):
            raise _UnknownError
        return schema

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> bool:
        if self._next().lower() not in wanted:
            return False
        self._at += 1
        return True

    def _union(self) -> Mapping[str, Any]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _UnknownError
        found = [self._postfix()]
        while self._take("|", "or"):
            found.append(self._postfix())
        self._depth -= 1
        return union_of(found)

    def _postfix(self) -> Mapping[str, Any]:
        nullable = self._take("?")
        if self._take("("):
            schema = self._union()
            if not self._take(")"):
                raise _UnknownError
        else:
            schema = self._named()
        while self._next() in ("[]", "?"):
            if self._take("[]"):
                schema = _array(schema)
            else:
                nullable = self._take("?")
        return union_of([schema, {"type": "null"}]) if nullable else schema

    def _named(self) -> Mapping[str, Any]:
        word = self._next().rpartition(".")[2].lower()
        if not word.isidentifier():
            raise _UnknownError
        self._at += 1
        if self._next() in _CLOSING:
            return self._generic(word)
        one = word if word == "bytes" else word.removesuffix("s")  # no list of integers in JSON
        name = _TYPE_OF.get(word) or _TYPE_OF.get(one)
        if name == "array" and self._take("of"):
            return _array(self._postfix())
        return {"type": name} if name else {}

    def _generic(self, word: str) -> Mapping[str, Any]:
        closing = _CLOSING[self._next()]
        self._at += 1
        if word in ("literal", "enum"):
            return {"enum": self._literals(closing)}
        if word not in _TYPE_OF and word not in ("optional", "union", *_WRAPPERS):
            raise _UnknownError  # Callable[[int], str]
        inner, repeats = [], False
        while not self._take(closing):
            if self._take("..."):
                repeats = True
            else:
                inner.append(self._union())
            if not self._take(",") and self._next() != closing:
                raise _UnknownError
        if not inner:
            raise _UnknownError
        return _generic_schema(word, inner, repeats)

    def _literals(self, closing: str) -> list[Any]:
        values = []
        while not self._take(closing):
            token = self._next()
            self._at += 1
            try:
                values.append(ast.literal_eval(token))
            except (ValueError, SyntaxError):
                raise _UnknownError from None
            if not self._take(",", "|") and self._next() != closing:
                raise _UnknownError
        if not values:
            raise _UnknownError
        return values


def _generic_schema(word: str, inner: list[Mapping[str, Any]], repeats: bool) -> Mapping[str, Any]:
    if word == "union":
        return union_of(inner)
    if word == "optional":
        return union_of([*inner, {"type": "null"}])
    if word in _WRAPPERS:
        return inner[0]
    name = _TYPE_OF[word]
    if word == "tuple" and not repeats:
        return {"type": "array", "prefixItems": inner} if any(inner) else {"type": "array"}
    if name == "array":
        return _array(union_of(inner))
    if name == "object":  # of a dictionary's keys JSON says nothing
        return {"type": name, "additionalProperties": inner[-1]} if inner[-1] else {"type": name}
    return {"type": name}  # `int[3]`, `string<uuid>`


def _array(items: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "array", "items": items} if items else {"type": "array"}
