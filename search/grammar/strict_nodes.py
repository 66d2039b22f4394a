"""The tools of a query as nodes: what a value may be, by its JSON type.

A node stands for a union of conjunctions of schemas; nodes are shared by what they stand for, so
recursion is free. What a schema asks for beyond the enforced keywords is left open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from toolprm_jax.grammar import MAX_DEPTH
from toolprm_jax.records import is_list

from . import schema as words
from .strict_flat import EVERYTHING, NOTHING, Conjunction, Fragments, Union
from .strict_words import (
    BOUNDLESS,
    BOUNDS,
    common_step,
    declared,
    listed_values,
    same,
    size_bounds,
    spelled,
    whole_bounds,
    within,
)

STRING, NUMBER, TRUE, FALSE, NULL, ARRAY, OBJECT = range(7)
KINDS = 7
ANY, NEVER = 0, 1  # nodes
TOO_DEEP = MAX_DEPTH + 1
_MOST_NODES = 2048
_MOST_SHAPES = 8  # arrays or objects that one value may be; more leave its kind open
_MOST_PREFIX = 32


class Text(NamedTuple):
    """Strings: listed ones, or all of some lengths in code points."""

    listed: tuple[str, ...] | None = None
    least: int = 0
    most: int = BOUNDLESS


class Number(NamedTuple):
    """Numbers: listed ones as they are spelled, integers of a range or multiples, or all."""

    listed: tuple[str, ...] | None = None
    integer: bool = False
    low: int | None = None
    high: int | None = None
    step: int = 1


class Literal(NamedTuple):
    """`true`, `false` or `null`."""


class ArrayShape(NamedTuple):
    """Arrays: nodes of the first items, of all others, and how many there may be."""

    prefix: tuple[int, ...]
    items: int
    least: int
    most: int


class ObjectShape(NamedTuple):
    """Objects: nodes by key, the keys that must be there, and the node of any other key."""

    keys: tuple[tuple[str, int], ...]
    required: frozenset[str]
    others: int


Alternative = Text | Number | Literal | ArrayShape | ObjectShape
Node = tuple[tuple[Alternative, ...], ...]  # by kind
OPEN_ARRAY = ArrayShape((), ANY, 0, BOUNDLESS)
OPEN_OBJECT = ObjectShape((), frozenset(), ANY)
_OPEN: Node = (
    (Text(),), (Number(),), (Literal(),), (Literal(),), (Literal(),), (OPEN_ARRAY,), (OPEN_OBJECT,),
)  # fmt: skip
_NOTHING: Node = ((),) * KINDS


class Compiler:
    """Turns schemas into nodes.

    Attributes:
      fragments: the schemas; its `left_open` says what isn't enforced.
      nodes: filled by `run`; `ANY` and `NEVER` come first.
    """

    def __init__(self) -> None:
        self.fragments = Fragments()
        self.nodes: list[Node] = [_OPEN, _NOTHING]
        self._ids: dict[Union, int] = {EVERYTHING: ANY, NOTHING: NEVER}
        self._todo: list[tuple[int, Union]] = []
        self._made: dict[object, Mapping[str, Any]] = {}

    def node(self, union: Iterable[Conjunction]) -> int:
        """The node of a union of conjunctions, to be worked out by `run`."""
        parts = frozenset(union)
        key = EVERYTHING if frozenset() in parts else parts
        if key not in self._ids:
            if len(self.nodes) >= _MOST_NODES:
                self.fragments.left_open["too many nodes"] += 1
                return ANY
            self._ids[key] = len(self.nodes)
            self.nodes.append(_NOTHING)
            self._todo.append((self._ids[key], key))
        return self._ids[key]

    def run(self) -> None:
        """Works out all nodes that were asked for, and what they need."""
        while self._todo:
            number, union = self._todo.pop()
            found: list[list[Alternative]] = [[] for _ in range(KINDS)]
            for conjunction in union:
                for flats in self.fragments.flatten(conjunction):
                    for kind, alternative in self._alternatives(flats):
                        found[kind].append(alternative)
            self.nodes[number] = tuple(self._merged(kind, some) for kind, some in enumerate(found))

    def _merged(self, kind: int, found: list[Alternative]) -> tuple[Alternative, ...]:
        """Alternatives of one kind without those that others include."""
        for widest in _OPEN[kind]:
            if widest in found:
                return (widest,)
        unique = list(dict.fromkeys(found))
        if kind in (STRING, NUMBER):
            listed = [some for some in unique if getattr(some, "listed", None) is not None]
            if len(listed) > 1:
                every = dict.fromkeys(text for some in listed for text in some.listed)  # type: ignore[union-attr]
                joined = Text(tuple(every)) if kind == STRING else Number(tuple(every))
                unique = [*(some for some in unique if some not in listed), joined]
        if len(unique) > _MOST_SHAPES:
            self.fragments.left_open["union of too many"] += 1
            return _OPEN[kind]
        return tuple(unique)

    def _alternatives(self, flats: tuple[int, ...]) -> list[tuple[int, Alternative]]:
        """What a value may be under flat schemas that all hold."""
        schemas = [self.fragments[flat] for flat in flats]
        bits = words.ANYTHING
        listed: list[Any] | None = None
        for schema in schemas:
            bits &= declared(schema)
            values = listed_values(schema)
            if values is not None:
                known = listed
                listed = [v for v in values if known is None or any(same(v, w) for w in known)]
        if listed is not None:
            return self._listed(flats, schemas, bits, listed)
        out: list[tuple[int, Alternative]] = []
        if bits & words.STRING:
            least, most = size_bounds(schemas, "minLength", "maxLength")
            if least <= most:
                out.append((STRING, Text(None, least, most)))
        out += [(NUMBER, some) for some in self._numbers(schemas, bits)]
        if bits & words.BOOLEAN:
            out += [(TRUE, Literal()), (FALSE, Literal())]
        if bits & words.NULL:
            out.append((NULL, Literal()))
        if bits & words.ARRAY:
            out.append((ARRAY, self._array(flats)))
        if bits & words.OBJECT:
            out.append((OBJECT, self._object(flats)))
        return out

    def _numbers(self, schemas: list[Mapping[str, Any]], bits: int) -> list[Alternative]:
        """The numbers under flat schemas that list none."""
        step, left_open = common_step(schemas), self.fragments.left_open
        bounded = any(word in schema for schema in schemas for word in BOUNDS)
        if not bits & words.NUMBER:
            return []
        if bits & words.FRACTION and not step:
            if bounded:
                left_open["bounds of fractions"] += 1
            return [Number()]
        if step > 1 and not bounded:
            return [Number(None, True, step=step)]
        if step > 1:
            left_open["multipleOf with bounds"] += 1
        low, high = whole_bounds(schemas)
        if low is not None and high is not None and low > high:
            return []
        return [Number(None, True, low, high)]

    def _listed(
        self,
        flats: tuple[int, ...],
        schemas: list[Mapping[str, Any]],
        bits: int,
        values: list[Any],
    ) -> list[tuple[int, Alternative]]:
        """The values of an enum or const as alternatives."""
        out: list[tuple[int, Alternative]] = []
        texts: list[str] = []
        numbers: list[str] = []
        least, most = size_bounds(schemas, "minLength", "maxLength")
        for value in values:
            if not words.value_type(value) & bits:
                continue
            if isinstance(value, bool):
                out.append((TRUE if value else FALSE, Literal()))
            elif value is None:
                out.append((NULL, Literal()))
            elif isinstance(value, str):
                if least <= len(value) <= most:
                    texts.append(value)
            elif isinstance(value, int | float):
                if all(within(value, schema) for schema in schemas):
                    numbers.append(spelled(value))
            else:
                kind = OBJECT if isinstance(value, Mapping) else ARRAY
                exact = self._exactly(value, flats)
                out.append((kind, self._object(exact) if kind == OBJECT else self._array(exact)))
        if texts:
            out.append((STRING, Text(tuple(dict.fromkeys(texts)))))
        if numbers:
            out.append((NUMBER, Number(tuple(dict.fromkeys(numbers)))))
        return out

    def _exactly(self, value: Any, flats: tuple[int, ...]) -> tuple[int, ...]:
        """Flat schemas that hold for one array or object alone, beside those given."""
        key = ("exactly", repr(value))
        if key not in self._made:
            if isinstance(value, Mapping):
                consts = {name: {"const": part} for name, part in value.items()}
                self._made[key] = {
                    "properties": consts, "required": list(value), "additionalProperties": False,
                }  # fmt: skip
            else:
                consts = [{"const": part} for part in value]
                self._made[key] = {
                    "prefixItems": consts, "items": False,
                    "minItems": len(consts), "maxItems": len(consts),
                }  # fmt: skip
        made = self.fragments.add(self._made[key], self._made[key])
        return flats if made is None else (*flats, made)

    def _array(self, flats: tuple[int, ...]) -> ArrayShape:
        parts = []
        for flat in flats:
            schema, root = self.fragments[flat], self.fragments.root(flat)
            rest, prefix = schema.get("items"), schema.get("prefixItems")
            if is_list(rest):  # as draft 7 has it
                prefix, rest = rest, schema.get("additionalItems")
            first = [self.fragments.add(item, root) for item in (prefix if is_list(prefix) else ())]
            parts.append((first, self.fragments.add(rest, root)))
        longest = max((len(first) for first, _ in parts), default=0)
        if longest > _MOST_PREFIX:
            self.fragments.left_open["prefixItems of too many"] += 1
            return OPEN_ARRAY
        nodes = [
            self.node(
                [
                    self.fragments.conjunction(
                        *(first[at] if at < len(first) else rest for first, rest in parts)
                    )
                ]
            )
            for at in range(longest + 1)
        ]
        least, most = size_bounds(map(self.fragments.__getitem__, flats), "minItems", "maxItems")
        return ArrayShape(tuple(nodes[:-1]), nodes[-1], least, most)

    def _object(self, flats: tuple[int, ...]) -> ObjectShape:
        fragments = self.fragments
        schemas = [(fragments[flat], fragments.root(flat)) for flat in flats]
        names: dict[str, None] = {}
        required: dict[str, None] = {}
        others: list[Conjunction] = [frozenset()]
        for schema, root in schemas:
            names.update(dict.fromkeys(_mapping(schema, "properties")))
            if is_list(schema.get("required")):
                required.update(
                    (name, None) for name in schema["required"] if isinstance(name, str)
                )
            extra = fragments.add(schema.get("additionalProperties"), root)
            # A key that isn't listed may fit a pattern or not: either may be meant.
            patterns = [
                fragments.add(s, root) for s in _mapping(schema, "patternProperties").values()
            ]
            if patterns:
                fragments.left_open["patternProperties"] += 1
            options = [extra, *patterns]
            if len(others) * len(options) > _MOST_SHAPES:
                fragments.left_open["union of too many"] += 1
                continue
            others = [some | fragments.conjunction(one) for some in others for one in options]
        names.update(required)
        keys = []
        for name in names:
            wanted = [part for schema, root in schemas for part in self._under(schema, root, name)]
            keys.append((name, self.node([fragments.conjunction(*wanted)])))
        return ObjectShape(tuple(keys), frozenset(required), self.node(others))

    def _under(self, schema: Mapping[str, Any], root: Any, name: str) -> list[int | None]:
        """What one flat schema asks of the value of a key."""
        found, listed = [], _mapping(schema, "properties")
        if name in listed:
            found.append(self.fragments.add(listed[name], root))
        unsure = False
        for pattern, below in _mapping(schema, "patternProperties").items():
            try:
                fits = re.search(pattern, name) is not None
            except re.error:
                unsure = True
                continue
            if fits:
                found.append(self.fragments.add(below, root))
        if not found and not unsure:
            found.append(self.fragments.add(schema.get("additionalProperties"), root))
        return found


def _mapping(schema: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    value = schema.get(word)
    return value if isinstance(value, Mapping) else {}
