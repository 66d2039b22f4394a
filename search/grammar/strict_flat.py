"""JSON Schemas without `$ref`, `allOf` and unions: alternatives of flat schemas that all hold.

A fragment is a schema and the document that its references are relative to; it is known by a
number. A conjunction is a set of fragments, a union a set of conjunctions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from toolprm_jax.records import is_list, mappings, resolve

Conjunction = frozenset[int]
Union = frozenset[Conjunction]
# Fragments that hold beside one, and unions of which one part holds.
_Structure = tuple[tuple[int | None, ...], tuple[tuple[int | None, ...], ...]]
EVERYTHING: Union = frozenset([frozenset()])
NOTHING: Union = frozenset()

_MOST_WAYS = 64  # combinations of alternatives; a union that makes more is left open
STRUCTURE = ("$ref", "allOf", "anyOf", "oneOf")
FLAT = (
    "type", "enum", "const", "properties", "required", "additionalProperties", "patternProperties",
    "items", "prefixItems", "additionalItems", "minItems", "maxItems", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
)  # fmt: skip
# What is not enforced: whatever it says, every value passes.
LEFT_OPEN = (
    "pattern", "format", "not", "if", "contains", "minContains", "maxContains", "uniqueItems",
    "propertyNames", "dependencies", "dependentRequired", "dependentSchemas", "minProperties",
    "maxProperties", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef",
    "$recursiveRef", "contentEncoding", "contentMediaType", "contentSchema",
)  # fmt: skip


class Fragments:
    """All schemas in use, and their alternatives.

    Attributes:
      left_open: what the schemas ask for and strict decoding doesn't enforce, with counts.
    """

    def __init__(self) -> None:
        self.left_open: Counter[str] = Counter()
        self._items: list[tuple[Any, Any]] = []
        self._ids: dict[tuple[int, int], int] = {}
        self._parts: dict[int, _Structure] = {}
        self._foreign: dict[int, bool] = {}

    def add(self, schema: Any, root: Any) -> int | None:
        """The number of a schema; None where it lets everything pass."""
        if schema is not False:
            if not isinstance(schema, Mapping):
                return None
            if "$schema" in schema or isinstance(schema.get("$id"), str):
                root = schema
            for word in LEFT_OPEN:
                if word in schema and (id(schema), id(root)) not in self._ids:
                    self.left_open[word] += 1
            if not any(word in schema for word in (*FLAT, *STRUCTURE)):
                return None
        key = (id(schema), id(root))
        if key not in self._ids:
            self._ids[key] = len(self._items)
            self._items.append((schema, root))  # keeps both alive, so that ids stay theirs
        return self._ids[key]

    def conjunction(self, *parts: int | None) -> Conjunction:
        """Fragments that must all hold."""
        return frozenset(part for part in parts if part is not None)

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        return self._items[number][0]

    def root(self, number: int) -> Any:
        """The document of a fragment."""
        return self._items[number][1]

    def flatten(self, conjunction: Conjunction) -> list[tuple[int, ...]]:
        """The alternatives of a conjunction; in each, flat fragments that must all hold."""
        out: list[tuple[int, ...]] = []
        stack: list[tuple[list[Any], frozenset[int]]] = [(sorted(conjunction), frozenset())]
        while stack:
            todo, done = stack.pop()
            while todo:
                part = todo.pop()
                if isinstance(part, tuple):
                    if len(out) + len(stack) + len(part) > _MOST_WAYS:
                        self.left_open["union of too many"] += 1
                        continue
                    stack += [([*todo, branch], done) for branch in reversed(part)]
                    break
                if part is None or part in done:
                    continue
                done |= {part}
                if self._items[part][0] is False:
                    break
                also, unions = self._structure(part)
                todo += [*also, *unions]
            else:
                flat = (part for part in done if any(word in self[part] for word in FLAT))
                out.append(tuple(sorted(flat)))
        return out

    def _structure(self, number: int) -> _Structure:
        """Fragments that must hold beside one, and unions of which one part must hold."""
        if number in self._parts:
            return self._parts[number]
        schema, root = self._items[number]
        also: list[int | None] = []
        unions: list[tuple[int | None, ...]] = []
        if isinstance(schema.get("$ref"), str):
            target = self._resolve(schema["$ref"], root)
            if target is None:
                self.left_open["$ref"] += 1
            else:
                also.append(self.add(target, root))
        if is_list(schema.get("allOf")):
            also += [self.add(part, root) for part in schema["allOf"]]
        for word in ("anyOf", "oneOf"):
            if is_list(schema.get(word)) and schema[word]:
                unions.append(tuple(self.add(part, root) for part in schema[word]))
        self._parts[number] = (tuple(also), tuple(unions))
        return self._parts[number]

    def _resolve(self, reference: str, root: Any) -> Any:
        """What a local reference means, None where that can't be told."""
        if not isinstance(root, Mapping) or self._has_resources(root):
            return None
        found = resolve(reference, root)
        return found if isinstance(found, Mapping | bool) else None

    def _has_resources(self, root: Mapping[str, Any]) -> bool:
        """Whether schemas inside a document have an identity, to which references are local."""
        if id(root) not in self._foreign:
            self._foreign[id(root)] = any(
                isinstance(inner.get(word), str)
                for inner in mappings(root)
                if inner is not root
                for word in ("$id", "id")
            )
        return self._foreign[id(root)]
