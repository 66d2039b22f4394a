"""Schemas in the few words that strict decoding enforces, before they are compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolprm_jax.records import is_list, plain_schema_words

from .strict_flat import FLAT, STRUCTURE

_TYPES = ("string", "number", "boolean", "null", "array", "object")
# Keywords whose value is a schema, a list of schemas, or schemas by name.
_ONE = ("additionalProperties", "additionalItems", "items", "unevaluatedProperties",
        "unevaluatedItems")  # fmt: skip
_MANY = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_DOCUMENT = ("$defs", "definitions", "$schema", "$id")
# Keywords by which other schemas tell what is evaluated.
_APPLICATORS = ("anyOf", "oneOf", "$ref", "$dynamicRef", "if", "dependentSchemas", "contains",
                "patternProperties", "$recursiveRef")  # fmt: skip
_DEPENDENT = ("dependentRequired", "dependentSchemas", "dependencies")


def prepared(schema: Any) -> Any:
    """A schema with what the readers know beyond JSON Schema said in its words.

    `nullable` and a default of null let null pass; draft 7 ignores what stands beside a `$ref`.
    """
    return _prepared(schema, old=False)


def _is_old(schema: Mapping[str, Any], old: bool) -> bool:
    """Whether a schema is of draft 7 or before."""
    if "$schema" in schema:
        return "draft-0" in str(schema["$schema"])
    return old or ("definitions" in schema and "$defs" not in schema)


def _prepared(schema: Any, old: bool) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    old = _is_old(schema, old)
    out = dict(plain_schema_words(schema))
    if old and isinstance(out.get("$ref"), str):
        kept = ("$ref", *_DOCUMENT)
        out = {word: value for word, value in out.items() if word in kept}
    for word in _ONE:
        if isinstance(out.get(word), Mapping):
            out[word] = _prepared(out[word], old)
    for word in _MANY:
        if is_list(out.get(word)):
            out[word] = [_prepared(part, old) for part in out[word]]
    for word in _NAMED:
        if isinstance(out.get(word), Mapping):
            out[word] = {name: _prepared(part, old) for name, part in out[word].items()}
    # What is evaluated is told before the keywords that tell it are replaced.
    also = [
        *_unevaluated(out, "unevaluatedProperties", "properties", "additionalProperties"),
        *_unevaluated(out, "unevaluatedItems", "prefixItems", "items"),
        *_dependent(out, old),
        *_denied(out),
        *_conditional(out, old),
        *_named(out),
        *_twice(out),
    ]
    if also:
        out["allOf"] = [*(out["allOf"] if is_list(out.get("allOf")) else ()), *also]
    null = out.get("nullable") is True or ("default" in out and out["default"] is None)
    if null and any(word in out for word in (*FLAT, *STRUCTURE)):
        named = {word: out.pop(word) for word in _DOCUMENT if word in out}
        for word in ("nullable", "default"):
            out.pop(word, None)
        out = {**named, "anyOf": [out, {"type": "null"}]}
    return out


def _dependent(out: dict[str, Any], old: bool) -> list[Any]:
    """What follows from the presence of keys as unions: the key is absent, or the rest holds."""
    found = []
    for word in _DEPENDENT:
        given = out.get(word)
        if not isinstance(given, Mapping):
            continue
        del out[word]
        for name, needed in given.items():
            then = {"required": list(needed)} if is_list(needed) else _prepared(needed, old)
            found.append({"anyOf": [{"properties": {name: False}}, then]})
    return found


def _denied(out: dict[str, Any]) -> list[Any]:
    """What `not` leaves, where it names nothing but types."""
    denied = out.get("not")
    if denied is False or denied is None:
        return []
    if denied is True or denied == {}:
        del out["not"]
        return [False]
    if not isinstance(denied, Mapping) or denied.keys() != {"type"}:
        return []
    names = [denied["type"]] if isinstance(denied["type"], str) else denied["type"]
    if not is_list(names) or not all(name in (*_TYPES, "integer") for name in names):
        return []
    if "integer" not in names:  # of numbers that are no integers nothing is known
        del out["not"]
    return [{"type": [name for name in _TYPES if name not in names]}]


def _conditional(out: dict[str, Any], old: bool) -> list[Any]:
    """`if` with `else` as a union that includes it: what fails the condition may do as it likes."""
    if "if" not in out or "else" not in out:
        return []
    parts = [_prepared(out[word], old) for word in ("if", "then") if word in out]
    return [{"anyOf": [{"allOf": parts}, _prepared(out["else"], old)]}]


def _unevaluated(out: dict[str, Any], word: str, listed: str, others: str) -> list[Any]:
    """`unevaluated...` as what it comes to where all that evaluates stands in plain sight."""
    if word not in out:
        return []
    parts = out["allOf"] if is_list(out.get("allOf")) else []
    inner = [out, *parts]
    if any(not isinstance(part, Mapping) for part in inner):
        return []
    hidden = (*_APPLICATORS, "unevaluatedItems", "unevaluatedProperties", "allOf")
    if any(key in out for key in _APPLICATORS) or any(key in p for p in parts for key in hidden):
        return []
    rest = out.pop(word)
    if any(others in part for part in inner):  # all are evaluated
        return []
    if listed == "properties":
        names = {name: True for part in inner for name in part.get(listed, {})}
        return [{listed: names, others: rest}]
    longest = max(len(part.get(listed, ())) for part in inner)
    return [{listed: [True] * longest, others: rest}]


def _named(out: dict[str, Any]) -> list[Any]:
    """`propertyNames` where it lists the names."""
    names = out.get("propertyNames")
    if names is False:
        listed: list[Any] = []
    elif isinstance(names, Mapping) and names.keys() == {"enum"} and is_list(names["enum"]):
        listed = [name for name in names["enum"] if isinstance(name, str)]
    elif isinstance(names, Mapping) and names.keys() == {"const"}:
        listed = [names["const"]] if isinstance(names["const"], str) else []
    else:
        return []
    del out["propertyNames"]
    return [{"properties": dict.fromkeys(listed, True), "additionalProperties": False}]


def _twice(out: Mapping[str, Any]) -> list[Any]:
    """Nothing, where of `oneOf` two parts let everything pass."""
    parts = out["oneOf"] if is_list(out.get("oneOf")) else []
    return [False] if sum(part is True or part == {} for part in parts) > 1 else []
