"""One query's tools compiled for strict decoding: rows of the tables, and how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from toolprm_jax.grammar import MAX_DEPTH
from toolprm_jax.records import Record, Tool

from .schema import required_names
from .strict_nodes import (
    ANY,
    BOUNDLESS,
    FALSE,
    KINDS,
    NEVER,
    OBJECT,
    OPEN_ARRAY,
    OPEN_OBJECT,
    TOO_DEEP,
    Alternative,
    ArrayShape,
    Compiler,
    Number,
    ObjectShape,
    Text,
)
from .strict_prepare import prepared
from .strict_text import FIRST_STATE, Automata, Packed

# Columns of `alternatives` and `shapes`.
ROOT, LEAST, MOST, SHAPE = range(4)
KEYS, OTHERS, FIRST_CHILD, FEWEST, LARGEST, FIXED, ITEMS, HEIGHT, DEEPEST = range(9)
HAS, NEEDS, NESTED = range(3)  # masks of a shape: its keys, those required, those of containers
OPEN_SHAPE = 0
# Keywords under which a schema may allow parameters that `properties` doesn't list.
_OPEN_WORDS = ("patternProperties", "anyOf", "oneOf", "allOf", "$ref", "if", "dependentSchemas",
               "dependencies")  # fmt: skip
MOST_WAYS = 8
_FAR = 1 << 16  # more bytes than any value that is searched for


class StrictSize(NamedTuple):
    """The static sizes of `StrictTables`; a search compiles once for each."""

    alternatives: int = 1
    nodes: int = 2
    shapes: int = 1
    children: int = 1
    states: int = FIRST_STATE
    slots: int = 1
    words: int = 1
    tools: int = 1
    levels: int = 1
    ways: int = 1

    @property
    def nbytes(self) -> int:
        """What one query takes on the device, in bytes."""
        return 4 * (
            4 * self.alternatives
            + (2 * KINDS + 1) * self.nodes
            + (9 + 3 * self.words) * self.shapes
            + self.children
            + (1 + self.words) * self.states
            + 2 * self.slots
            + 1
            + self.tools
        )


class Compiled(NamedTuple):
    """One query's tools, compiled.

    `left_open` counts what their schemas ask for and strict decoding doesn't enforce; `least` has
    the fewest bytes of each key of a shape with its value. All else are rows of `StrictTables`.
    """

    alternatives: list[tuple[int, int, int, int]]
    choices: list[tuple[int, int]]
    heights: list[int]
    shapes: list[tuple[int, ...]]
    masks: list[tuple[int, int, int]]
    least: list[tuple[int, ...]]
    children: list[int]
    packed: Packed
    reach: dict[int, int]
    names: int
    tools: list[int]
    size: StrictSize
    left_open: Counter[str]


def arguments_schema(record: Record, tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments, closed to unlisted parameters unless it says otherwise.

    Args:
      record: whose tool it is; other tools tell what its xLAM parameters leave out.
      tool: JSON Schema or xLAM's flat form.
    """
    required = required_names(record, tool)
    if not tool.is_json_schema:
        return {
            "type": "object",
            "properties": {
                name: _without_required(schema) for name, schema in tool.properties.items()
            },
            "required": sorted(required),
            "additionalProperties": False,
        }
    schema = {**tool.parameters, "type": "object"}
    is_open = any(schema.get(word) for word in _OPEN_WORDS)
    if not is_open and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
        # Nothing could be called that requires a parameter which it doesn't take.
        schema["required"] = sorted(required & tool.properties.keys())
    return schema


def _without_required(schema: Any) -> Any:
    if isinstance(schema, Mapping) and not isinstance(schema.get("required"), list):
        return {word: value for word, value in schema.items() if word != "required"}
    return schema


def _heights(compiler: Compiler) -> list[int]:
    """How many containers the shallowest value of each node opens; TOO_DEEP where there is none."""
    heights = [TOO_DEEP] * len(compiler.nodes)
    heights[ANY] = 0
    changed = True
    while changed:
        changed = False
        for number, node in enumerate(compiler.nodes):
            least = min(
                (height_of(some, heights) for kind in node for some in kind), default=TOO_DEEP
            )
            if least < heights[number]:
                heights[number] = least
                changed = True
    return heights


def height_of(some: Alternative, heights: Sequence[int]) -> int:
    """How many containers the shallowest value of an alternative opens."""
    if isinstance(some, ArrayShape):
        if some.least > some.most:
            return TOO_DEEP
        needed = list(some.prefix[: some.least])
        if some.least > len(some.prefix):
            needed.append(some.items)
    elif isinstance(some, ObjectShape):
        needed = [node for name, node in some.keys if name in some.required]
    else:
        return 0
    return min(1 + max((heights[node] for node in needed), default=0), TOO_DEEP)


def _least_bytes(compiler: Compiler) -> list[int]:
    """How many bytes the shortest value of each node has, at least."""
    least = [_FAR] * len(compiler.nodes)
    least[ANY] = 1
    for _ in range(MAX_DEPTH + 1):
        before = least[:]
        for number, node in enumerate(compiler.nodes):
            for kind, some in ((kind, some) for kind, many in enumerate(node) for some in many):
                least[number] = min(least[number], _bytes_of(kind, some, before))
        if before == least:
            break
    return least


def _bytes_of(kind: int, some: Alternative, least: Sequence[int]) -> int:
    if isinstance(some, Text):
        shortest = min(map(len, some.listed), default=_FAR) if some.listed is not None else 0
        return 2 + max(shortest, some.least)
    if isinstance(some, Number):
        return min(map(len, some.listed), default=_FAR) if some.listed is not None else 1
    if isinstance(some, ArrayShape):
        first = some.prefix[: some.least]
        rest = (some.least - len(first)) * least[some.items]
        return min(2 + sum(least[node] for node in first) + rest + max(some.least - 1, 0), _FAR)
    if isinstance(some, ObjectShape):
        given = [key_bytes(name, least[node]) for name, node in some.keys if name in some.required]
        return min(2 + sum(given) + max(len(given) - 1, 0), _FAR)
    return len("false") if kind == FALSE else len("true")


def key_bytes(name: str, value: int) -> int:
    """The fewest bytes of a key, its colon and its value."""
    return len(name) + len('"":') + value


def _below(some: Alternative) -> tuple[int, ...]:
    """The nodes that an alternative's parts may have."""
    if isinstance(some, ArrayShape):
        return (*some.prefix, some.items)
    if isinstance(some, ObjectShape):
        return (*(node for _, node in some.keys), some.others)
    return ()


def _nesting(compiler: Compiler, roots: Sequence[int]) -> tuple[int, int]:
    """How many typed containers stand in each other at most, and readings at once, both capped."""
    levels = [0] * len(compiler.nodes)
    ways = [1] * len(compiler.nodes)
    open_ = (OPEN_ARRAY, OPEN_OBJECT)
    parts = [
        [[(_below(some), some not in open_) for some in kind] for kind in node if kind]
        for node in compiler.nodes
    ]
    for _ in range(MAX_DEPTH + 1):
        before = (levels[:], ways[:])
        for number, node in enumerate(parts):
            for kind in node:
                total = 0
                for below, typed in kind:
                    total += max([ways[n] for n in below], default=1)
                    if below and typed:
                        deepest = 1 + max([levels[n] for n in below])
                        levels[number] = max(levels[number], min(deepest, MAX_DEPTH + 1))
                ways[number] = max(ways[number], min(total, MOST_WAYS))
        if before == (levels, ways):
            break
    return (
        max((levels[root] for root in roots), default=1),
        max((ways[root] for root in roots), default=1),
    )


class _Assembly:
    """Lists of rows in the making."""

    def __init__(self, compiler: Compiler, heights: list[int], least: list[int]) -> None:
        self.automata = Automata()
        self.alternatives: list[tuple[int, int, int, int]] = []
        self.choices: list[tuple[int, int]] = []
        self.shapes: list[tuple[int, ...]] = [(0, ANY, 0, 0, BOUNDLESS, 0, ANY, 1, 0)]
        self.masks: list[tuple[int, int, int]] = [(0, 0, 0)]
        self.least: list[tuple[int, ...]] = [()]
        self._least = least
        self.children: list[int] = []
        self._heights = heights
        self._shapes: dict[Alternative, int] = {OPEN_ARRAY: OPEN_SHAPE, OPEN_OBJECT: OPEN_SHAPE}
        for node in compiler.nodes:
            for kind in node:
                rows = [self._row(s) for s in kind if height_of(s, heights) <= MAX_DEPTH]
                self.choices.append((len(self.alternatives) if rows else 0, len(rows)))
                self.alternatives += rows

    def _row(self, some: Alternative) -> tuple[int, int, int, int]:
        if isinstance(some, Text):
            root = 0 if some.listed is None else self.automata.strings(some.listed)
            return root, some.least, some.most, 0
        if isinstance(some, Number):
            if some.listed is not None:
                return self.automata.numbers(some.listed), 0, BOUNDLESS, 0
            if not some.integer:
                return 0, 0, BOUNDLESS, 0
            if some.step > 1:
                return self.automata.multiples(some.step), 0, BOUNDLESS, 0
            if some.low is None and some.high is None:
                return self.automata.integer(), 0, BOUNDLESS, 0
            return self.automata.integer_range(some.low, some.high), 0, BOUNDLESS, 0
        if isinstance(some, ArrayShape | ObjectShape):
            return 0, 0, BOUNDLESS, self._shape(some)
        return 0, 0, BOUNDLESS, 0

    def _shape(self, some: ArrayShape | ObjectShape) -> int:
        if some in self._shapes:
            return self._shapes[some]
        number = self._shapes[some] = len(self.shapes)
        heights, height, first = self._heights, height_of(some, self._heights), len(self.children)
        if isinstance(some, ArrayShape):
            self.children += some.prefix
            row = (0, NEVER, first, some.least, some.most, len(some.prefix), some.items, height, 0)
            masks, keys = (0, 0, 0), ()
        else:
            root = (
                self.automata.strings((name for name, _ in some.keys), keys=True)
                if some.keys
                else 0
            )
            has = needs = nested = deepest = 0
            for bit, (name, node) in enumerate(some.keys):
                has |= (heights[node] <= MAX_DEPTH) << bit
                needs |= (name in some.required) << bit
                nested |= (heights[node] > 0) << bit
                if heights[node] <= MAX_DEPTH:
                    deepest = max(deepest, heights[node])
            self.children += (node for _, node in some.keys)
            row = (root, some.others, first, 0, BOUNDLESS, 0, NEVER, height, deepest)
            masks = (has, needs, nested)
            keys = tuple(key_bytes(name, self._least[node]) for name, node in some.keys)
        self.least.append(keys)
        self.shapes.append(row)
        self.masks.append(masks)
        return number


def compile_tools(record: Record) -> Compiled:
    """One query's tools, ready to be put into arrays."""
    compiler = Compiler()
    parts: dict[str, list[frozenset[int]]] = {}
    for tool in record.tools:
        schema = prepared(arguments_schema(record, tool))
        number = compiler.fragments.add(schema, schema)
        # Of two namesakes either may be meant.
        parts.setdefault(tool.name, []).append(compiler.fragments.conjunction(number))
    roots = {name: compiler.node(some) for name, some in parts.items()}
    compiler.run()
    heights = _heights(compiler)
    made = _Assembly(compiler, heights, _least_bytes(compiler))
    callable_ = {
        name: node for name, node in roots.items() if made.choices[node * KINDS + OBJECT][1]
    }
    names = made.automata.strings(callable_) if callable_ else 0
    packed = made.automata.pack()
    levels, ways = _nesting(compiler, list(callable_.values()))
    if ways == MOST_WAYS:  # perhaps more: a call with more of them is left open
        compiler.fragments.left_open["unions inside unions"] += 1
    widest = max((mask[HAS] | mask[NEEDS] | mask[NESTED] for mask in made.masks), default=0)
    size = StrictSize(
        alternatives=len(made.alternatives), nodes=len(compiler.nodes), shapes=len(made.shapes),
        children=max(len(made.children), 1), states=len(packed.base), slots=len(packed.edges),
        words=-(-max(widest.bit_length(), 1) // 32), tools=max(len(callable_), 1),
        levels=max(levels, 1), ways=ways,
    )  # fmt: skip
    return Compiled(
        made.alternatives, made.choices, heights, made.shapes, made.masks, made.least,
        made.children, packed, made.automata.reach, names, list(callable_.values()), size,
        compiler.fragments.left_open,
    )  # fmt: skip
