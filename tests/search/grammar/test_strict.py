"""Strict decoding byte by byte, against JSON Schema's validator and an enumeration of all texts."""

from __future__ import annotations

import json
import os
import random
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_schemas import NAMES, TEXTS, instance, some_parameters, some_value, write
from strict_runs import (
    BYTES,
    END,
    SIZE,
    call_text,
    died_at,
    feed,
    fits,
    parsed,
    record_of,
    wander,
)

from search.grammar.strict_compile import StrictSize, arguments_schema, compile_tools
from search.grammar.strict_tables import (
    ANY_CALLS,
    LARGEST_SIZE,
    make_strict,
    rounded,
    strict_size,
)
from search.grammar.tracker import can_begin, grammar_from_pieces, initial
from toolprm_jax.grammar.types import MAX_DEPTH, Dress
from toolprm_jax.records.types import Call, DataError, Record, Tool, spell_calls

jsonschema = pytest.importorskip("jsonschema")
# `STRICT_SCHEMAS=10000` walks through as many; the tests are content with a few hundred.
SCHEMAS = int(os.environ.get("STRICT_SCHEMAS", "256"))
BATCH = 128


def violation(tool: Tool, arguments: Any, record: Record) -> str | None:
    """What JSON Schema's validator has against a call, None where nothing."""
    validator = jsonschema.Draft202012Validator(arguments_schema(record, tool))
    try:
        return next((error.message for error in validator.iter_errors(arguments)), None)
    except RecursionError:  # a definition that is nothing but itself
        return None


def random_records(count: int, first_seed: int) -> list[Record]:
    """Records of random tools that fit the size of the tests."""
    out: list[Record] = []
    seed = first_seed
    while len(out) < count:
        how = random.Random(seed)
        seed += 1
        names = how.sample(["f", "g", "fg", "é"], how.randint(1, 2))
        record = record_of(*(Tool(name, "", some_parameters(how)) for name in names))
        if fits(record):
            out.append(record)
    return out


LETTERS = sorted(
    {*"".join([*NAMES, *TEXTS]).encode(), *b'{}[]",: \\/truefalsnmcb0123456789-+.eEdgu'}
)


def walks(records: list[Record], seed: int) -> list[tuple[bytes, bool, bool]]:
    """A random walk under each record's tools: its text, whether it got stuck, whether it ended."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(len(records), 256)) * 2
    weights[:, list(b'"{}[],:')] += 4
    weights[:, list(b"0123456789tfnulrase-")] += 1.5
    weights[:, list(b" \n\t")] -= 2
    closing = weights.copy()
    closing[:, list(b"}]")] += 30
    closing[:, ord('"')] += 20
    closing[:, ord(",")] -= 20
    opening = b"["
    found, stuck, done = wander(
        make_strict(records, SIZE),
        jnp.asarray(list(opening)),
        jnp.asarray(LETTERS),
        jnp.asarray(weights[:, LETTERS], jnp.float32),
        jnp.asarray(closing[:, LETTERS], jnp.float32),
        jax.random.key(seed),
        220,
    )
    texts = [opening + bytes(byte for byte in row if byte >= 0) for row in found.tolist()]
    return list(zip(texts, stuck.tolist(), done.tolist(), strict=True))


def test_random_walks_end_in_calls_that_the_schemas_accept() -> None:
    """A policy that knows nothing: whatever it writes fits, and it never gets stuck."""
    finished = calls = 0
    for first in range(0, SCHEMAS, BATCH):
        records = random_records(BATCH, 10_000 + 3 * first)
        for record, (text, stuck, done) in zip(records, walks(records, first), strict=True):
            assert not stuck, (text, record.tools)
            if not done:
                continue
            finished += 1
            for call in parsed(text):
                calls += 1
                (tool,) = (tool for tool in record.tools if tool.name == call["name"])
                wrong = violation(tool, call["arguments"], record)
                assert wrong is None, (text, tool.parameters, wrong)
    assert finished > 0.6 * SCHEMAS
    assert calls > 0.3 * SCHEMAS


def test_accepts_what_the_validator_accepts_and_nothing_else() -> None:
    """Values made for the schemas, and others, in several spellings."""
    records, texts, wanted = [], [], []
    for index, record in enumerate(random_records(160, 500_000)):
        how = random.Random(index)
        tool = record.tools[0]
        for _ in range(4):
            arguments = instance(how, tool.parameters, tool.parameters)
            if not isinstance(arguments, dict):
                arguments = {how.choice(NAMES): some_value(how, 2)}
            text = call_text(tool.name, write(arguments, how))
            if len(text) <= 512:
                records.append(record)
                texts.append(text)
                wanted.append(violation(tool, arguments, record))
    found = feed(records, texts)
    for record, text, wrong, died in zip(records, texts, wanted, found, strict=True):
        assert (died >= 0) == (wrong is not None), (text, record.tools, wrong, died)
    share = np.mean([wrong is None for wrong in wanted])
    assert 0.25 < share < 0.85


# Texts of all JSON values of a few letters, up to a length.
@cache
def _values(length: int) -> tuple[str, ...]:
    numbers = ["0", "1"]
    whole = [*numbers]
    while whole[-1:] and len(whole[-1]) < length:
        whole = [a + b for a in whole if a != "0" for b in "01"]
        numbers += whole
    numbers += ["-" + number for number in numbers if len(number) < length]
    strings = [f'"{text}"' for text in _strings(length - 2)]
    words = [word for word in ("true", "null") if len(word) <= length]
    arrays = [f"[{inner}]" for inner in _items(length - 2)]
    objects = [f"{{{inner}}}" for inner in _pairs(length - 2, ("a", "b"))]
    return tuple(x for x in (*numbers, *strings, *words, *arrays, *objects) if len(x) <= length)


@cache
def _strings(length: int) -> tuple[str, ...]:
    if length < 0:
        return ()
    shorter = _strings(length - 1) if length else ()
    return ("", *(text + letter for text in shorter for letter in "ab")) if length else ("",)


@cache
def _items(length: int) -> tuple[str, ...]:
    if length < 0:
        return ()
    out = [""]
    for first in _values(length):
        out.append(first)
        out += [f"{first},{rest}" for rest in _items(length - len(first) - 1) if rest]
    return tuple(out)


@cache
def _pairs(length: int, names: tuple[str, ...]) -> tuple[str, ...]:
    if length < 0:
        return ()
    out = [""]
    for name in names:
        rest = tuple(other for other in names if other != name)
        for value in _values(length - 4):
            pair = f'"{name}":{value}'
            out.append(pair)
            out += [f"{pair},{more}" for more in _pairs(length - len(pair) - 1, rest) if more]
    return tuple(out)


SMALL: list[Any] = [
    {"type": "integer", "minimum": -1, "maximum": 10},
    {"type": "integer", "exclusiveMinimum": 1},
    {"type": "string", "minLength": 1, "maxLength": 2},
    {"enum": ["a", "ab", 1, 10, True, [0], {"a": 1}]},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    {"type": "array", "prefixItems": [{"type": "string"}, {"const": 1}], "items": False},
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["b"],
     "additionalProperties": False},
    {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False},
    {"anyOf": [{"type": "array", "items": {"type": "integer"}},
               {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    {"anyOf": [{"type": "object", "properties": {"a": {"const": 1}, "b": {}},
                "required": ["a"], "additionalProperties": False},
               {"type": "object", "properties": {"a": {"const": 0}}, "required": ["a"],
                "additionalProperties": False}]},
    {"allOf": [{"type": ["integer", "string"]}, {"not": {"type": "string"}}, {"minimum": 0}]},
]  # fmt: skip
LONGEST, SHOWN = 10, 5  # lengths of texts, and of prefixes whose next bytes are compared
# Longer texts: two keys in either order, the values of all kinds.
KINDS = ("0", "1", "-1", '""', "[]", "{}", "true", "null")
PAIRS = [
    f'{{"{a}":{one},"{b}":{other}}}' for a, b in ("ab", "ba") for one in KINDS for other in KINDS
]


@pytest.mark.parametrize("schema", SMALL, ids=range(len(SMALL)))
def test_allows_the_bytes_that_some_valid_text_goes_on_with(schema: Any) -> None:
    """Of all prefixes of valid texts, the next bytes are those of the texts."""
    valid = jsonschema.Draft202012Validator(schema).is_valid
    following: dict[str, set[str]] = {}
    for text in (*_values(LONGEST), *PAIRS):
        if valid(json.loads(text)):
            for at in range(min(len(text), SHOWN + 1)):
                following.setdefault(text[:at], set()).add(text[at])
            if len(text) <= SHOWN:  # what follows the value
                following.setdefault(text, set()).add("}")
    record = record_of(Tool("f", "", {"type": "object", "properties": {"x": schema}}))
    assert fits(record)
    head = '[{"name":"f","arguments":{"x":'
    prefixes = sorted(prefix for prefix in following if len(prefix) <= SHOWN)
    letters = sorted({*'01-tn[]{},:ab"', "}"})
    tests = [(prefix, letter) for prefix in prefixes for letter in letters]
    died = feed([record] * len(tests), [(head + a + b).encode() for a, b in tests], length=48)
    for (prefix, letter), at in zip(tests, died, strict=True):
        assert at in (-1, len(head) + len(prefix)), (prefix, letter)
        if prefix.count('"') % 2 and letter not in 'ab"':
            continue  # the texts have no other letters
        assert (at < 0) == (letter in following[prefix]), (prefix, letter)


TREE = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/node"}, "k": {"type": "integer"}},
    "required": ["k"],
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "integer"}},
            "required": ["v"],
            "additionalProperties": False,
        }
    },
}


def dies(tools: list[Tool], text: str) -> int:
    return feed([record_of(*tools)], [text.encode()])[0]


SEVEN = Tool("tell", "", {"type": "object", "properties": {"é\"": {"type": "int"}, "b": {}},
                          "required": ['é"']})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("[]", True),
        (" ```json\n[ {", True),
        ("[]x", False),
        ("[] \n", True),
        ('[{"name":"tells', False),
        ('[{"name":"tell","arguments":{}', False),
        ('[{"name":"tell" , "arguments" : { "é\\"" : 3.00 } } ]', True),
        ('[{"name":"t\\', False),  # letters are spelled plainly
        ('[{"name":"tell","arguments":{"\\u00e9\\"":1}}]', True),
        ('[{"name":"tell","arguments":{"\\u00E9\\"":1e2}}]', True),
        ('[{"name":"tell","arguments":{"é\\"":1.5', False),
        ('[{"name":"tell","arguments":{"é\\"":1e-', False),
        ('[{"name":"tell","arguments":{"é\\"":1,"b', True),
        ('[{"name":"tell","arguments":{"é\\"":1,"é'.encode()[:-1].decode("latin-1"), False),
        ('[{"name":"tell","arguments":{"é\\"":1,"b":{"z":[{}]}}', True),
        ('[{"name":"tell","arguments":{"é\\"":1,"b":2,', False),
    ],
)
def test_what_dies_and_where(text: str, fits: bool) -> None:
    """What doesn't fit dies at its last byte."""
    data = text.encode("latin-1" if "Ã" in text else "utf-8")
    assert feed([record_of(SEVEN)], [data]) == [-1 if fits else len(data) - 1]


def test_without_tools_there_is_no_call() -> None:
    assert dies([], "[{") == 1
    assert dies([], "[]") == -1
    nothing = Tool("f", "", {"type": "object", "properties": {"a": False}, "required": ["a"]})
    assert dies([nothing], "[{") == 1
    both = [nothing, Tool("fg", "", {})]
    assert dies(both, '[{"name":"f"') == 11
    assert dies(both, '[{"name":"fg","arguments":{}}]') == -1


def test_without_tools_there_is_no_tag() -> None:
    pieces: list[bytes | None] = [*(bytes([byte]) for byte in range(256)), None]
    grammar = grammar_from_pieces(pieces, 257, [END], "tool_call")
    text = list(b"No tool: <tool_call>")
    for tools, died in (([], len(text) - 1), ([SEVEN], -1)):
        tables = make_strict([record_of(*tools)], SIZE)
        assert died_at(grammar, tables, jnp.asarray([text])).tolist() == [died]


def test_of_namesakes_either_may_be_meant() -> None:
    one = Tool("f", "", {"type": "object", "properties": {"a": {"type": "int"}}, "required": ["a"]})
    two = Tool("f", "", {"type": "object", "properties": {"a": {"type": "str"}}, "required": ["a"]})
    head = '[{"name":"f","arguments":{"a":'
    assert [dies([one, two], head + value) for value in ('1}}]', '"x"}}]', "[", "1.")] == [
        -1, -1, len(head), -1,
    ]  # fmt: skip
    assert dies([one, two], head + "1.5") == len(head) + 2


def test_readings_of_a_union_are_one_again_after_each_item() -> None:
    """Else they would double with each item, and a call with too many is left open."""
    parts = [{"properties": {"k": {"const": 1}}}, {"properties": {"k": {"type": "integer"}}}]
    items = {"anyOf": [{"type": "object", **part} for part in parts]}
    schema = {"type": "array", "items": items}
    tool = Tool("f", "", {"type": "object", "properties": {"x": schema}})
    head = '[{"name":"f","arguments":{"x":[' + '{"k":1},' * 6 + '{"k":'
    assert dies([tool], head + "2}]}}]") == -1
    assert dies([tool], head + '"') == len(head)


def test_more_readings_than_are_followed_leave_a_call_open() -> None:
    """What can't be told is allowed, in this call and not in the next."""
    parts = [{"properties": {f"k{i}": {"const": i}}, "required": [f"k{i}"]} for i in range(6)]
    schema = {"anyOf": [{"type": "object", **part} for part in parts]}
    tool = Tool("f", "", {"type": "object", "properties": {"x": schema}})
    record = record_of(tool)
    assert compile_tools(record).size.ways == 6 > SIZE.ways
    size = SIZE._replace(alternatives=512)
    head = '[{"name":"f","arguments":{"x":{"k9":7}, "k5":1}},{"name":"'
    assert feed([record] * 2, [(head + name).encode() for name in "fg"], size) == [-1, len(head)]


def test_recursion_ends_where_nesting_does() -> None:
    """Where no further container fits, none is begun that would need one."""
    tool = Tool("f", "", TREE)
    size = rounded([compile_tools(record_of(tool)).size])
    assert size.levels == MAX_DEPTH + 1
    head = '[{"name":"f","arguments":{"k":1,"n":'
    deep = MAX_DEPTH - 1
    whole = head + '{"next":' * deep + '{"v":1}' + ',"v":1}' * deep + "}}]"
    more = head + '{"next":' * deep + '{"n'
    found = feed([record_of(tool)] * 2, [whole.encode(), more.encode()], size, length=1024, rows=2)
    assert found == [-1, len(more) - 1]


def test_beside_the_listed_keys_others_are_told_from_them() -> None:
    """A listed key can't be spelled so that it passes for another."""
    schema = {"type": "object", "properties": {"ab": {"type": "integer"}}}
    tool = Tool("f", "", {"type": "object", "properties": {"x": schema}})
    head = '[{"name":"f","arguments":{"x":{"a'
    wanted = {
        'b":1}': True, 'b":"': False, '":"': True, "c\\u0062": True, "\\u006": False,
        "\\u0080": True, "\\ud83d\\ude00": True, '\\n":""': True, 'bc":[': True, 'b":1,"ab"': False,
    }  # fmt: skip
    for tail, fits_it in wanted.items():
        assert dies([tool], head + tail) == (-1 if fits_it else len(head + tail) - 1), tail


def test_sizes_are_few_and_checked() -> None:
    many = Tool("f", "", {f"p{i}": {"type": "str"} for i in range(300)})
    with pytest.raises(DataError, match="at most 8 words for strict decoding, found 10"):
        strict_size([record_of(many)])
    small = strict_size([record_of(SEVEN)])
    assert small == strict_size([record_of(SEVEN), record_of(Tool("g", "", {}))])
    assert small.nbytes < 32 * 1024
    assert LARGEST_SIZE.nbytes < 4 * 2**20
    assert strict_size([]) == rounded([StrictSize()])


def test_what_is_left_open_is_counted() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^x"}, "b": {"$ref": "other.json"}},
    }
    assert compile_tools(record_of(Tool("f", "", schema))).left_open == {"pattern": 1, "$ref": 1}


def test_the_first_bytes_of_a_value() -> None:
    tables = make_strict([record_of(SEVEN)], SIZE)
    tracker = initial(BYTES, (1,), tables)
    begins = np.flatnonzero(can_begin(BYTES, tables, tracker, jnp.zeros(1, jnp.int32))[0])
    assert bytes(begins.tolist()) == b"\t\n\r [`"


@pytest.mark.parametrize("dress", ["list", "tool_call", "llama"])
def test_calls_are_counted(dress: Dress) -> None:
    pieces: list[bytes | None] = [*(bytes([byte]) for byte in range(256)), None]
    grammar = grammar_from_pieces(pieces, 257, [END], dress)
    written = [spell_calls([Call("f", {})] * count, dress) for count in range(4)]
    texts = [[*text.encode(), END] for text in written]
    longest = max(map(len, texts))
    padded = jnp.asarray([text + [-1] * (longest - len(text)) for text in texts])
    for least, most in ((0, 0), (1, 1), (0, 1), (2, 3), ANY_CALLS):
        tables = make_strict([record_of(Tool("f", "", {}))] * 4, SIZE, (least, most))
        died = died_at(grammar, tables, padded).tolist()
        for count, (text, place) in enumerate(zip(texts, died, strict=True)):
            if least <= count <= most:
                assert place == -1, (least, most, count)
            elif count < least:
                assert place == len(text) - 2 + (dress != "list"), (least, most, count)
            else:  # where the call too many becomes inevitable, or at its first byte
                both = zip(texts[most], text, strict=False)
                shared = next(i for i, (one, other) in enumerate(both) if one != other)
                # Before a whole tag there is only text.
                tag = len("<tool_call>") if dress == "tool_call" else 1
                assert 0 <= place - shared <= tag, (least, most, count)
