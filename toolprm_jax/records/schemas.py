"""Walks through a tool's parameter schema: every property name, and renaming them all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .parameters import is_list, pointer_step, properties_of, resolve
from .types import Tool

# Keywords of JSON Schema by what they hold. Of the same value: one schema, or a list of schemas.
_SAME = ("not", "if", "then", "else")
_SAME_LISTS = ("anyOf", "oneOf", "allOf")
# Of a list's elements, or of an object's other values.
_ELEMENTS = ("items", "prefixItems", "additionalItems", "contains", "unevaluatedItems")
_OTHERS = ("additionalProperties", "unevaluatedProperties")
_BY_PROPERTY = ("properties", "dependentSchemas", "dependencies", "dependentRequired")
_DEFINITIONS = ("$defs", "definitions")
_NAME_LISTS = ("required", "propertyOrdering")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_VALUES = ("default", "const", "example")
_VALUE_LISTS = ("enum", "examples")
# A pattern that might take long is not tried: it may match anything.
_RISKY = re.compile(r"\)[*+?{]|\\[1-9]|\(\?[^:]")
_LONGEST = 100


def property_names(tool: Tool) -> Iterator[str]:
    """Every parameter and nested property name of a tool, outer names first, with repeats.

    Args:
      tool: the tool, with either form of `parameters`.

    Returns:
      Names in the order in which they are written; also those that are only required, or only
      listed elsewhere.
    """
    if not tool.is_json_schema:
        yield from tool.properties
    for schema in tool_schemas(tool):
        yield from _names_in(schema)


def tool_schemas(tool: Tool) -> Iterator[Mapping[str, Any]]:
    """Every schema inside a tool's parameters, outer ones first."""
    todo = [tool.parameters] if tool.is_json_schema else list(tool.properties.values())
    while todo:
        schema = todo.pop(0)
        if isinstance(schema, Mapping):
            yield schema
            todo += _children(schema)


def _children(schema: Mapping[str, Any]) -> Iterator[Any]:
    for key in (*_SAME, *_OTHERS, "propertyNames", "contentSchema"):
        yield schema.get(key)
    for key in (*_SAME_LISTS, *_ELEMENTS):
        value = schema.get(key)
        yield from value if is_list(value) else (value,)
    for key in (*_BY_PROPERTY, *_DEFINITIONS, "patternProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from schema[key].values()


def _names_in(schema: Mapping[str, Any]) -> Iterator[str]:
    """The property names that a schema itself speaks of."""
    for key in _BY_PROPERTY:
        if isinstance(schema.get(key), Mapping):
            yield from schema[key]
    lists = [schema.get(key) for key in _NAME_LISTS]
    for key in ("dependentRequired", "dependencies"):
        if isinstance(schema.get(key), Mapping):
            lists += schema[key].values()
    named = schema.get("propertyNames")
    if isinstance(named, Mapping):
        lists += [named.get("enum"), [named.get("const")]]
    discriminator = schema.get("discriminator")
    if isinstance(discriminator, Mapping):
        lists.append([discriminator.get("propertyName")])
    for listed in lists:
        if is_list(listed):
            yield from (name for name in listed if isinstance(name, str))


def pattern_matches(pattern: str, name: str) -> bool:
    """Whether a pattern of `patternProperties` matches a name, or can't be told not to."""
    if len(pattern) > _LONGEST or len(name) > _LONGEST or _RISKY.search(pattern):
        return True
    try:
        return re.search(pattern, name) is not None
    except (re.error, RecursionError, OverflowError):
        return True


def rename_tool(tool: Tool, name: str, names: Mapping[str, str]) -> Tool:
    """A tool under another name, with every parameter and nested property renamed.

    Args:
      tool: the tool, with either form of `parameters`.
      name: its new name.
      names: new name of every old one; those that it doesn't know stay.

    Returns:
      The renamed tool; descriptions and unknown keys stay.
    """
    renamer = _Renamer(names, tool)
    extra = dict(tool.extra)
    for key in ("inputSchema", "input_schema"):
        if key in extra:
            extra[key] = renamer.schema(extra[key], [extra[key]])
    if is_list(extra.get("required")):
        extra["required"] = renamer.listed(extra["required"])
    return Tool(name, tool.description, renamer.parameters(), extra)


def rename_argument(tool: Tool, parameter: str, value: Any, names: Mapping[str, str]) -> Any:
    """The value of one of a tool's parameters with the keys renamed that its schema names.

    Free-form keys stay. A list where the schema has no `items` is read as alternatives for one
    value, so that BFCL's lists of acceptable values inside an object are reached.

    Args:
      tool: the tool, in old names.
      parameter: the parameter's old name.
      value: a JSON value.
      names: new name of every old one.

    Returns:
      The renamed value.
    """
    renamer = _Renamer(names, tool)
    if not tool.is_json_schema:
        return renamer.value(value, [tool.properties.get(parameter)])
    return renamer.value(value, _below(renamer.variants([tool.parameters]), parameter))


class _Renamer:
    """Renames what one tool's schema holds.

    Args:
      names: new name of every old one.
      tool: the tool, in old names; `$ref`s lead into its parameters.
    """

    def __init__(self, names: Mapping[str, str], tool: Tool) -> None:
        self._names, self._tool, self._root = names, tool, tool.parameters

    def parameters(self) -> dict[str, Any]:
        """The tool's parameters."""
        root = self._root
        if self._tool.is_json_schema:
            return self.schema(root, [root])
        known = self._tool.properties
        return {
            self._name(key): self.schema(value, [value])
            if key in known
            else self._keyword(key, value, root, [])
            for key, value in root.items()
        }

    def schema(self, schema: Any, here: Sequence[Any]) -> Any:
        """A schema; `here` are all that describe the same values, itself among them."""
        if not isinstance(schema, Mapping):
            return schema
        return {key: self._keyword(key, value, schema, here) for key, value in schema.items()}

    def listed(self, given: Iterable[Any]) -> list[Any]:
        """A list of names."""
        return [self._name(name) for name in given]

    def _name(self, name: Any) -> Any:
        return self._names.get(name, name) if isinstance(name, str) else name

    def _keyword(self, key: str, value: Any, schema: Mapping[str, Any], here: Sequence[Any]) -> Any:
        if isinstance(value, Mapping) and key in _MAPPINGS:
            return _MAPPINGS[key](self, value, here)
        if key in _SAME:
            return self.schema(value, here)
        if key in _OTHERS or key == "contentSchema":
            return self.schema(value, [value])
        if key in _ELEMENTS:
            elements = _elements(self.variants(here))
            return self._each(value, lambda child: self.schema(child, elements))
        if key in _VALUES or (key in _VALUE_LISTS and not is_list(value)):
            return self.value(value, here)
        if key in _REFERENCES or key == "title":
            return self._pointer(value) if key != "title" else self._name(value)
        if not is_list(value) or key == "type":
            return value
        if key in _SAME_LISTS:
            return [self.schema(child, here) for child in value]
        if key in _VALUE_LISTS:
            return [self.value(child, here) for child in value]
        # Whatever the keyword (`x-order`), names of this schema are names.
        if key in _NAME_LISTS or (value and all(_is_in(n, properties_of(schema)) for n in value)):
            return self.listed(value)
        return value

    @staticmethod
    def _each(value: Any, change: Callable[[Any], Any]) -> Any:
        return [change(child) for child in value] if is_list(value) else change(value)

    def _properties(self, value: Mapping[str, Any], here: Sequence[Any]) -> dict[str, Any]:
        variants = self.variants(here)
        return {
            self._name(old): self.schema(child, [child, *_below(variants, old)])
            for old, child in value.items()
        }

    def _dependent(self, value: Mapping[str, Any], here: Sequence[Any]) -> dict[str, Any]:
        return {
            self._name(old): self.listed(child) if is_list(child) else self.schema(child, here)
            for old, child in value.items()
        }

    def _definitions(self, value: Mapping[str, Any], here: Sequence[Any]) -> dict[str, Any]:
        del here  # other places refer to them
        return {self._name(old): self.schema(child, [child]) for old, child in value.items()}

    def _patterns(self, value: Mapping[str, Any], here: Sequence[Any]) -> dict[str, Any]:
        del here
        return {pattern: self.schema(child, [child]) for pattern, child in value.items()}

    def _property_names(self, value: Mapping[str, Any], here: Sequence[Any]) -> dict[str, Any]:
        del here
        return {
            key: self.listed(child)
            if key == "enum" and is_list(child)
            else self._name(child)
            if key == "const"
            else child
            for key, child in value.items()
        }

    def _discriminator(self, value: Mapping[str, Any], here: Sequence[Any]) -> dict[str, Any]:
        del here
        out = dict(value)
        if "propertyName" in out:
            out["propertyName"] = self._name(out["propertyName"])
        if isinstance(out.get("mapping"), Mapping):
            out["mapping"] = {tag: self._pointer(leads) for tag, leads in out["mapping"].items()}
        return out

    def _pointer(self, reference: Any) -> Any:
        """A reference, with the names on its way renamed."""
        if not isinstance(reference, str) or "#/" not in reference:
            return reference
        place, _, pointer = reference.partition("#/")
        steps = []
        is_name = not self._tool.is_json_schema and self._starts_with_parameter(pointer)
        above = ""
        for step in pointer.split("/"):
            plain = pointer_step(step)
            if is_name and plain in self._names:
                step = self._names[plain].replace("~", "~0").replace("/", "~1")
            steps.append(step)
            # After a name, a pattern or an index comes a keyword.
            is_key = is_name or above in ("patternProperties", *_SAME_LISTS, "prefixItems")
            is_name = not is_key and plain in (*_BY_PROPERTY, *_DEFINITIONS)
            above = "" if is_key else plain
        return f"{place}#/{'/'.join(steps)}"

    def _starts_with_parameter(self, pointer: str) -> bool:
        return pointer_step(pointer.partition("/")[0]) in self._tool.properties

    def value(self, value: Any, schemas: Iterable[Any]) -> Any:
        """A value with the keys renamed that its schemas name."""
        variants = self.variants(schemas)
        if isinstance(value, Mapping):
            named = {name for schema in variants for name in _names_in(schema)}
            return {
                self._name(key) if key in named else key: self.value(child, _below(variants, key))
                for key, child in value.items()
            }
        if is_list(value):
            elements = _elements(variants) or variants
            return [self.value(child, elements) for child in value]
        return value

    def variants(self, schemas: Iterable[Any]) -> list[Mapping[str, Any]]:
        """The schemas themselves and all that describe the same value beside them."""
        todo, found, seen = list(schemas), [], set()
        while todo:
            schema = todo.pop(0)
            if not isinstance(schema, Mapping) or id(schema) in seen:
                continue
            seen.add(id(schema))
            found.append(schema)
            todo += (schema.get(key) for key in _SAME)
            for key in _SAME_LISTS:
                todo += schema[key] if is_list(schema.get(key)) else ()
            for key in ("dependentSchemas", "dependencies"):
                todo += schema[key].values() if isinstance(schema.get(key), Mapping) else ()
            todo += (resolve(schema.get(key), self._root) for key in _REFERENCES)
        return found


_MAPPINGS: Mapping[str, Callable[[_Renamer, Mapping[str, Any], Sequence[Any]], Any]] = {
    "properties": _Renamer._properties,
    "dependentSchemas": _Renamer._dependent,
    "dependencies": _Renamer._dependent,
    "dependentRequired": _Renamer._dependent,
    "patternProperties": _Renamer._patterns,
    "propertyNames": _Renamer._property_names,
    "discriminator": _Renamer._discriminator,
    **dict.fromkeys(_DEFINITIONS, _Renamer._definitions),
}


def _is_in(name: Any, properties: Mapping[str, Any]) -> bool:
    return isinstance(name, str) and name in properties


def _elements(variants: Iterable[Mapping[str, Any]]) -> list[Any]:
    """The schemas of a list's elements."""
    found: list[Any] = []
    for schema in variants:
        for key in _ELEMENTS:
            value = schema.get(key)
            found += value if is_list(value) else [value] if isinstance(value, Mapping) else []
    return found


def _below(variants: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    """The schemas of what an object holds under a key."""
    found: list[Any] = []
    for schema in variants:
        listed = properties_of(schema)
        mine = [listed[key]] if key in listed else []
        patterns = schema.get("patternProperties")
        if isinstance(patterns, Mapping):
            mine += (child for p, child in patterns.items() if pattern_matches(p, key))
        found += mine or [schema.get(other) for other in _OTHERS]
    return found
