"""What a tool's `parameters` name, as JSON Schema or in xLAM's form, and where `$ref`s lead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import unquote

from .type_words import read_type_words

_TEXTS = ("$schema", "$id", "$ref", "$anchor", "$comment", "$dynamicRef", "$dynamicAnchor",
          "$recursiveRef", "type", "title", "description", "format", "pattern")  # fmt: skip
_LISTS = ("type", "required", "anyOf", "oneOf", "allOf", "enum", "examples", "prefixItems",
          "propertyOrdering")  # fmt: skip
_SWITCHES = ("additionalProperties", "unevaluatedProperties", "nullable", "deprecated",
             "readOnly", "writeOnly", "uniqueItems", "strict", "$recursiveAnchor")  # fmt: skip
_COUNTS = ("minProperties", "maxProperties")
_BY_NAME = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_ANY = ("default", "const", "example")
# Keywords that hold one schema or object, as a parameter does.
_HOLDING = ("additionalProperties", "unevaluatedProperties", "propertyNames", "items", "contains",
            "not", "if", "then", "else", "discriminator", "dependencies", *_ANY)  # fmt: skip
# Keywords that only a JSON Schema has in this form; titles and the like a list of words may have.
_DECISIVE = ("$schema", "$id", "$ref", "anyOf", "oneOf", "allOf", "properties", "$defs",
             "definitions")  # fmt: skip


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a JSON array."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def is_keyword(word: str, value: Any) -> bool:
    """Whether a key of `parameters` is a keyword of JSON Schema in its form, and no parameter.

    Args:
      word: the key.
      value: its value; a parameter's schema is an object.
    """
    if isinstance(value, Mapping):
        return word in _BY_NAME and all(isinstance(s, Mapping | bool) for s in value.values())
    if value is None:
        return word in (*_TEXTS, *_LISTS, *_SWITCHES, *_COUNTS, *_BY_NAME, *_ANY)
    if isinstance(value, bool):
        return word in (*_SWITCHES, *_ANY)
    if isinstance(value, str):
        return word in (*_TEXTS, *_ANY)
    return word in (*(_LISTS if is_list(value) else _COUNTS), *_ANY)


def is_json_schema(parameters: Mapping[str, Any]) -> bool:
    """Whether `parameters` are a JSON Schema, rather than xLAM's flat `{parameter: schema}`."""
    if any(word in parameters and is_keyword(word, parameters[word]) for word in _DECISIVE):
        return True
    named = parameters.get("type")
    if any("object" in _types(name) for name in (named if is_list(named) else [named])):
        return not any(_is_stray(*item) for item in parameters.items())
    return bool(parameters) and all(is_keyword(*item) for item in parameters.items())


def _is_stray(word: str, value: Any) -> bool:
    """Whether a key beside `"type": "object"` is a parameter that belongs under `properties`."""
    if word in _HOLDING or word.startswith("x-") or is_keyword(word, value):
        return False
    return isinstance(value, Mapping) and isinstance(value.get("type"), str)


def parameter_schemas(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of every parameter by name, in order.

    Those that the schema itself, its `$ref` or `allOf` names come first, then those of
    alternatives (`anyOf`, `then`, `dependentSchemas`, ...); where these differ, as an `anyOf`.
    """
    if not is_json_schema(parameters):
        return {name: s for name, s in parameters.items() if not is_keyword(name, s)}
    if parameters.keys().isdisjoint(_COMBINING):
        return properties_of(parameters)
    certain: dict[str, Any] = {}
    possible: dict[str, list[Any]] = {}
    always = list(_conjuncts([parameters], parameters))
    for schema in always:
        for name, child in properties_of(schema).items():
            certain.setdefault(name, child)
    for schema in _reachable(always, parameters):
        for name, child in properties_of(schema).items():
            known = possible.setdefault(name, [])
            if child not in known:
                known.append(child)
    others = {
        name: some[0] if len(some) == 1 else {"anyOf": some}
        for name, some in possible.items()
        if name not in certain
    }
    return {**certain, **others}


def required_parameters(parameters: Mapping[str, Any]) -> frozenset[str]:
    """Names of the parameters that every call must give, whichever form `parameters` have."""
    if is_json_schema(parameters):
        return _required(parameters)
    listed = _names(parameters.get("required"))
    return frozenset(
        name
        for name, schema in parameter_schemas(parameters).items()
        if name in listed or (isinstance(schema, Mapping) and _is_required(schema))
    )


def properties_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema's own `properties`; empty where it has none."""
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def resolve(reference: Any, root: Mapping[str, Any]) -> Any:
    """What a reference inside of a document leads to; None where that isn't in it.

    Args:
      reference: `#`, `#/$defs/x`, `#anchor`, or the same after the document's own `$id`.
      root: the document.
    """
    if not isinstance(reference, str):
        return None
    place, _, pointer = reference.partition("#")
    if place and place != root.get("$id"):
        return None
    if pointer and not pointer.startswith("/"):
        named = [schema for schema in mappings(root) if pointer in _anchors(schema)]
        return named[0] if len(named) == 1 else None
    found: Any = root
    for step in pointer.split("/")[1:]:
        step = pointer_step(step)
        if isinstance(found, Mapping):
            found = found.get(step)
        elif is_list(found) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def pointer_step(step: str) -> str:
    """The key that one step of a JSON pointer stands for."""
    return unquote(step).replace("~1", "/").replace("~0", "~")


def _is_required(schema: Mapping[str, Any]) -> bool:
    """Whether a schema of the flat form says, or doesn't deny, that its parameter is required."""
    if "required" in schema:
        return schema["required"] is True
    return "default" not in schema and not (
        isinstance(schema.get("type"), str) and read_type_words(schema["type"]).optional
    )


def _types(name: Any) -> Sequence[str]:
    named = read_type_words(name).schema.get("type", ()) if isinstance(name, str) else ()
    return [named] if isinstance(named, str) else named


def _names(value: Any) -> frozenset[str]:
    names = value if is_list(value) else ()
    return frozenset(name for name in names if isinstance(name, str))


_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ALTERNATIVES = ("anyOf", "oneOf")
_CONDITIONAL = ("then", "else")
_COMBINING = frozenset(
    (*_REFERENCES, "allOf", *_ALTERNATIVES, *_CONDITIONAL, "dependentSchemas", "dependencies")
)


def _conjuncts(schemas: Iterable[Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Schemas and those that hold wherever they do (`$ref`, `allOf`), each once."""
    todo, seen = list(schemas), set()
    while todo:
        schema = todo.pop(0)
        if not isinstance(schema, Mapping) or id(schema) in seen:
            continue
        seen.add(id(schema))
        yield schema
        todo += (resolve(schema.get(word), root) for word in _REFERENCES)
        todo += schema["allOf"] if is_list(schema.get("allOf")) else ()


def _reachable(
    always: Sequence[Mapping[str, Any]], root: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """The schemas of alternatives and conditions, which hold of some calls."""
    seen = {id(schema) for schema in always}
    todo = [part for schema in always for part in _branches(schema)]
    while todo:
        for schema in _conjuncts([todo.pop(0)], root):
            if id(schema) not in seen:
                seen.add(id(schema))
                yield schema
                todo += _branches(schema)


def _branches(schema: Mapping[str, Any]) -> Iterator[Any]:
    for word in _ALTERNATIVES:
        if is_list(schema.get(word)):
            yield from schema[word]
    for word in _CONDITIONAL:
        yield schema.get(word)
    for word in ("dependentSchemas", "dependencies"):
        if isinstance(schema.get(word), Mapping):
            yield from schema[word].values()


def _required(parameters: Mapping[str, Any]) -> frozenset[str]:
    """What a schema requires; of alternatives, what every one does."""
    found: frozenset[str] = frozenset()
    for schema in _conjuncts([parameters], parameters):
        found |= _names(schema.get("required"))
        for word in _ALTERNATIVES:
            parts = schema[word] if is_list(schema.get(word)) else ()
            each = [_listed([part], parameters) for part in parts]
            found |= frozenset.intersection(*each) if each else frozenset()
    return found


def _listed(schemas: Iterable[Any], root: Mapping[str, Any]) -> frozenset[str]:
    every = (_names(schema.get("required")) for schema in _conjuncts(schemas, root))
    return frozenset().union(*every)


def mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """All objects inside a JSON value, itself first."""
    todo = [value]
    while todo:
        item = todo.pop(0)
        if isinstance(item, Mapping):
            yield item
            todo += item.values()
        elif is_list(item):
            todo += item


def _anchors(schema: Mapping[str, Any]) -> tuple[Any, ...]:
    return schema.get("$anchor"), schema.get("$dynamicAnchor")
