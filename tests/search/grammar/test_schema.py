"""The schema check on the device, against a plain validator over parsed values."""

from __future__ import annotations

import json
import random
import string
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_schema import fits, violations
from toy_search import BASE, ROOT, reference, toy_params, toy_search

from search.core.interfaces import Status
from search.grammar.check import Check
from search.grammar.schema import (
    ANYTHING,
    ARRAY,
    INTEGER,
    NULL,
    NUMBER,
    STRING,
    SchemaSize,
    make_schema,
    string_hash,
    value_types,
)
from search.grammar.tracker import advance, grammar_from_pieces, initial
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import parse_calls
from toolprm_jax.records.types import Record, Tool

# Single bytes, and tokens that end a string or hold several boundaries.
TOKENS = [bytes([byte]) for byte in range(256)]
TOKENS += [b'"}}', b'"}', b'": "', b'": ', b'", "', b'", "arguments": {"', b"}}, {", b"\\u00"]
END, WIDTH, LENGTH = len(TOKENS), 4, 320
GRAMMAR = grammar_from_pieces([*TOKENS, None], END + 1, [END], "list")
SIZE = SchemaSize(tools=4, params=16, enums=64)
BY_LENGTH = sorted(range(len(TOKENS)), key=lambda i: -len(TOKENS[i]))


def encode(text: bytes) -> list[int]:
    ids = []
    while text:
        token = next(i for i in BY_LENGTH if text.startswith(TOKENS[i]))
        ids.append(token)
        text = text[len(TOKENS[token]) :]
    return ids


@jax.jit
def run_check(tokens, schema) -> tuple[Check, jax.Array]:
    """Final checks and modes of int32[1, W, T] tokens, -1 past the end."""

    def body(tracker, column):
        after, _ = advance(GRAMMAR, tracker, jnp.maximum(column, 0), schema)

        def pick(new, old):
            real = (column >= 0).reshape(column.shape + (1,) * (new.ndim - 2))
            return jnp.where(real, new, old)

        return jax.tree.map(pick, after, tracker), None

    start = initial(GRAMMAR, (1, WIDTH), schema)
    end, _ = jax.lax.scan(body, start, jnp.moveaxis(tokens, 2, 0))
    return end.check, end.mode


def refused(tools: list[Tool], texts: list[str]) -> list[bool]:
    """What the device says of whole or partial completions."""
    tokens = np.full((1, WIDTH, LENGTH), -1, np.int32)
    for row, text in enumerate(texts):
        ids = encode(text.encode())
        tokens[0, row, : len(ids)] = ids
    record = Record("r", ({"role": "user", "content": "?"},), tuple(tools), None)
    check, modes = run_check(tokens, make_schema([record], SIZE))
    assert (modes[0, : len(texts)] > 0).all(), texts
    return np.asarray(check.invalid)[0, : len(texts)].tolist()


CHARACTERS = 'ab"\\/\n\u0000\u007f\u0080é\u07ff\u0800\ud7ff\ue000\uffff\U00010000😀\U0010ffff'
TYPES = ["string", "integer", "number", "boolean", "null", "array", "object", "any", "str",
         "int, optional", "List[int]", "bool", "float", "dict"]  # fmt: skip


def some_name(how: random.Random) -> str:
    return "".join(how.choices(CHARACTERS, k=how.randint(1, 3)))


def some_value(how: random.Random, depth: int = 0) -> Any:
    kind = how.randrange(6 if depth else 8)
    if kind == 6:
        return [some_value(how, 1) for _ in range(how.randrange(3))]
    if kind == 7:
        return {some_name(how): some_value(how, 1) for _ in range(how.randrange(3))}
    choices = [None, how.random() < 0.5, how.randint(-20, 20), how.choice([0.0, 3.0, -2.50])]
    return [*choices, how.choice([0.05, 1.25, 10.5, -0.001]), some_name(how)][kind]


def some_parameter(how: random.Random) -> dict[str, Any]:
    declared: Any = how.choice([*TYPES, how.sample(TYPES[:7], 2)])
    schema = {"type": declared}
    if how.random() < 0.3:
        schema = {"type": "string", "enum": [some_name(how) for _ in range(how.randint(1, 3))]}
    if how.random() < 0.2:
        schema["nullable"] = True
    return schema


def some_tool(how: random.Random) -> Tool:
    properties = {some_name(how): some_parameter(how) for _ in range(how.randrange(5))}
    if how.random() < 0.3 and properties:
        flat = {
            name: {**schema, "required": how.random() < 0.5} for name, schema in properties.items()
        }
        return Tool(some_name(how), "", flat)
    required = [name for name in properties if how.random() < 0.5]
    parameters: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if how.random() < 0.3:
        parameters["additionalProperties"] = True
    return Tool(some_name(how), "", parameters)


def spell(text: str, how: random.Random) -> str:
    """A JSON string of the text, every character in one of its spellings."""
    short = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n",
             "\r": "\\r", "\t": "\\t"}  # fmt: skip
    out = []
    for char in text:
        ways = []
        if char not in '"\\' and ord(char) >= 0x20:
            ways += [char, char]
        if char in short:
            ways.append(short[char])
        units = char.encode("utf-16-be")
        pairs = [f"{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)]
        ways.append("".join("\\u" + (u.upper() if how.random() < 0.5 else u) for u in pairs))
        out.append(how.choice(ways))
    return '"' + "".join(out) + '"'


def write(value: Any, how: random.Random) -> str:
    space = how.choice(["", " "])
    if isinstance(value, str):
        return spell(value, how)
    if isinstance(value, list):
        return "[" + ("," + space).join(write(item, how) for item in value) + space + "]"
    if isinstance(value, dict):
        pairs = [f"{spell(key, how)}:{space}{write(item, how)}" for key, item in value.items()]
        return "{" + ("," + space).join(pairs) + "}"
    return json.dumps(value)


def some_call(how: random.Random, tools: list[Tool]) -> str:
    """A call that its tool allows, or one with a single change that the tool may refuse."""
    called = how.choice(tools)
    pairs = []
    for name, schema in called.properties.items():
        if name not in called.required and how.random() < 0.5:
            continue
        fitting = [v for v in (some_value(how) for _ in range(60)) if fits(v, schema)]
        pairs.append((name, how.choice(schema.get("enum", fitting or [None]))))
    how.shuffle(pairs)
    change = how.randrange(8)
    name = some_name(how) if change == 0 else called.name
    if change == 1:
        pairs.insert(how.randint(0, len(pairs)), (some_name(how), some_value(how)))
    if change == 2 and pairs:
        pairs.append(how.choice(pairs))
    if change == 3 and pairs:
        pairs.pop()
    if change == 4 and pairs:
        pairs[-1] = (pairs[-1][0], some_value(how))
    if change == 5 and pairs:
        pairs[-1] = (pairs[-1][0], some_name(how))
    if change == 6 and pairs:
        pairs[-1] = (pairs[-1][0], how.choice([2.5, 0.04, 4.0]))
    arguments = ", ".join(f"{spell(key, how)}: {write(value, how)}" for key, value in pairs)
    return f'{{"name": {spell(name, how)}, "arguments": {{{arguments}}}}}'


def some_completion(how: random.Random, tools: list[Tool]) -> str:
    text = "[" + ", ".join(some_call(how, tools) for _ in range(how.randint(1, 2))) + "]"
    return text if len(text.encode()) <= LENGTH else "[]"


def says_plain(tools: list[Tool], texts: list[str]) -> list[bool]:
    grammar = tables("list")
    return [violations(tools, parse_calls(grammar, text.encode())) > 0 for text in texts]


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_equals_a_plain_validator(seed: int) -> None:
    how = random.Random(seed)
    tools = [some_tool(how) for _ in range(how.randint(1, 3))]
    texts = [some_completion(how, tools) for _ in range(WIDTH)]
    assert refused(tools, texts) == says_plain(tools, texts), (tools, texts)


def test_the_generated_calls_are_of_both_sorts() -> None:
    verdicts = []
    for seed in range(200):
        how = random.Random(seed)
        tools = [some_tool(how) for _ in range(how.randint(1, 3))]
        verdicts += says_plain(tools, [some_completion(how, tools) for _ in range(WIDTH)])
    assert 0.3 < np.mean(verdicts) < 0.7


TOOL = Tool(
    "f",
    "",
    {
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "unit": {"type": "string", "enum": ["°C", "°F"]},
            "pair": {"type": ["number", "null"]},
        },
        "required": ["n"],
    },
)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ('{"n": 3}', False),
        ('{"n": 3.0}', False),
        ('{"n": -3.00}', False),
        ('{"n": 3.01}', True),
        ('{"n": 1.5e1}', False),  # left open
        ('{"n": "3"}', True),
        ('{"n": [3]}', True),
        ('{"n": 3, "n": 3}', True),
        ('{"n": 3, "\\u006e": 3}', True),
        ('{"n": 3, "m": 3}', True),
        ("{}", True),
        ('{"n": 3, "unit": "\\u00b0C"}', False),
        ('{"n": 3, "unit": "\\u00B0K"}', True),
        ('{"n": 3, "unit": 4}', True),
        ('{"n": 3, "pair": null}', False),
        ('{"n": 3, "pair": 0.5}', False),
        ('{"n": 3, "pair": {"n": "x"}}', True),
    ],
)
def test_what_is_refused(arguments: str, wrong: bool) -> None:
    assert refused([TOOL], [f'[{{"name": "f", "arguments": {arguments}}}]']) == [wrong]
    assert refused([TOOL], [f'[{{"name": "g", "arguments": {arguments}}}]']) == [True]


def test_a_refusal_shows_at_its_boundary() -> None:
    """Before a boundary nothing is refused that the boundary allows, and it stays refused."""
    text = '[{"name": "f", "arguments": {"n": 2.5, "unit": "x"}}]'
    found = [refused([TOOL], [text[:end]])[0] for end in range(1, len(text) + 1)]
    assert found == sorted(found)
    assert text[found.index(True)] == ","


def test_required_is_what_the_record_says() -> None:
    """Where some flat parameters say it, the others are optional; where none does, xLAM's rule."""
    silent = Tool("f", "", {"a": {"type": "int"}, "b": {"type": "int, optional"}})
    stating = Tool("g", "", {"a": {"type": "int"}, "b": {"type": "int", "required": True}})
    calls = [f'[{{"name": "f", "arguments": {{{a}}}}}]' for a in ('"b": 1', '"a": 1')]
    assert refused([silent], calls) == [True, False]
    assert refused([silent, stating], calls) == [False, False]
    calls = [call.replace('"f"', '"g"') for call in calls]
    assert refused([silent, stating], calls) == [False, True]


def test_namesakes_are_left_open() -> None:
    other = Tool("f", "", {"type": "object", "properties": {"m": {"type": "string"}}})
    assert refused([TOOL, other], ['[{"name": "f", "arguments": {"k": 1}}]']) == [False]


@pytest.mark.parametrize(
    ("schema", "types", "enum"),
    [
        ({"type": "str, optional"}, STRING | NULL, None),
        ({"type": "List[Union[int, float]]"}, ARRAY, None),
        ({"type": "Union[int, str]"}, INTEGER | STRING, None),
        ({"type": "Optional[float]"}, NUMBER | NULL, None),
        ({"type": "Callable[[int], str]"}, ANYTHING, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, INTEGER | NULL, None),
        ({"anyOf": [{"$ref": "#/$defs/x"}]}, ANYTHING, None),
        ({"enum": ["a", 1]}, STRING | INTEGER, ("a",)),
        ({"type": "array", "enum": ["a", "b"]}, ARRAY, None),
        ({"type": "string", "default": None}, STRING | NULL, None),
        ("anything", ANYTHING, None),
    ],
)
def test_types_of_a_schema(schema: Any, types: int, enum: tuple[str, ...] | None) -> None:
    assert value_types(schema) == (types, enum)


def test_names_do_not_collide() -> None:
    """No collision among names as masking draws them, and among all short strings of a few."""
    rng = random.Random(0)
    letters = string.ascii_letters + string.digits + "_."
    names = {"".join(rng.choices(letters, k=rng.randint(4, 15))) for _ in range(60_000)}
    names |= {a + b + c for a in letters for b in letters for c in "aZ9_"}
    names |= {chr(rng.randrange(0x10000)) + chr(rng.randrange(0x10000)) for _ in range(40_000)}
    assert len({string_hash(name) for name in names}) == len(names)


TOY_TOOLS = {
    "some": [
        Tool(
            "f",
            "",
            {"x": {"type": "int", "required": True}, "y": {"type": "int", "required": False}},
        ),
        Tool("fg", "", {"y": {"type": "str", "required": True}}),  # its values are always refused
    ],
    "none": [Tool("h", "", {})],  # every name is refused, and what follows is open again
}


@pytest.mark.parametrize("offered", TOY_TOOLS)
def test_pruning_equals_the_plain_search(offered: str) -> None:
    tools = TOY_TOOLS[offered]
    config = replace(BASE, schema="prune")
    record = Record("r", ({"role": "user", "content": "?"},), tuple(tools), None)
    params = toy_params(11)
    if offered == "none":  # else "no call" is always among the candidates
        params["logits"] = params["logits"].at[ROOT, :, 0].set(-20.0)
    keys = jax.random.split(jax.random.key(12), 8)
    output = toy_search(params, keys, config, make_schema([record] * 8, SchemaSize(2, 4, 1)))
    grammar = tables("list")

    def counted(data: bytes) -> int:
        return violations(tools, parse_calls(grammar, data))

    plain = replace(reference(params), violations=counted)
    violated = kept = 0
    for row in range(8):
        beams, _ = plain.search(keys[row], config)
        for rank, beam in enumerate(beams):
            length = int(output.lengths[row, rank])
            assert output.tokens[row, rank, :length].tolist() == beam.tokens
        refused_all = counted(beams[0].data) > 0
        assert bool(output.flags.schema_violation[row]) == refused_all
        violated += refused_all
        kept += int(output.status[row, 0] == Status.FINISHED)
    assert kept >= 4
    assert violated >= (4 if offered == "none" else 0)
    assert output.costs.schema_pruned.sum() > 0


def test_pruning_needs_the_schemas() -> None:
    keys = jax.random.split(jax.random.key(0), 1)
    with pytest.raises(ValueError, match="make_schema"):
        toy_search(toy_params(0), keys, replace(BASE, schema="prune"))
