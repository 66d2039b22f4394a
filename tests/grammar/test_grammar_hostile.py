"""Hostile completions: no exception, and no more than linear work."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.steps_file import steps_json
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import parse_calls, run
from toolprm_jax.grammar.types import MAX_DEPTH, Dress, Kind
from toolprm_jax.records.types import Call, GoldCall, Record, Tool

RECORD = Record(
    "r",
    ({"role": "user", "content": "q"},),
    (Tool("f", "", {"x": {"type": "int"}, "y": {"type": "str"}}),),
    (
        GoldCall("f", {"x": (1, 2), "y": ("a",)}),
        GoldCall("f", {"x": (2, 3)}, frozenset({"x"})),
        GoldCall("\0", {}),
    ),
)
DRESSES: list[Dress] = ["list", "tool_call", "llama"]

any_text = st.text(st.characters(exclude_categories=()))  # surrogates included
numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),  # nan and inf included
    st.integers(1, 20_000).map(lambda n: "9" * n),
    st.integers(1, 20_000).map(lambda n: "-0." + "0" * n + "1"),
    st.tuples(st.integers(), st.integers()).map(lambda pair: f"{pair[0]}e{pair[1]}"),
)
escapes = st.lists(
    st.sampled_from(
        ["\\u0000", "\\ud83d\\ude00", "\\ud83d", "\\ude00", "\\", '\\"', "\\n", "\\x", "\\u12",
         "\0", "\x7f", "\ud800", "\u2028", "é", "\U0010ffff", "a", "\t", "\n"]
    )
).map("".join)  # fmt: skip
scalars = st.one_of(
    numbers,
    st.sampled_from(["true", "false", "null", "NaN", "Infinity", "tru", "", "''"]),
    any_text.map(json.dumps),
    any_text.map(lambda text: f'"{text}"'),
    escapes.map(lambda text: f'"{text}"'),
)
keys = st.sampled_from(['"x"', '"x"', '"y"', '"\\u0078"', '""', '"\0"', "x"])


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(keys, inner).map(": ".join)
    depth = st.integers(0, MAX_DEPTH + 3)
    return st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(pairs, max_size=4).map(lambda items: "{" + ",".join(items) + "}"),
        st.tuples(depth, inner).map(lambda deep: "[" * deep[0] + deep[1] + "]" * deep[0]),
        st.tuples(depth, inner).map(lambda deep: '{"x":' * deep[0] + deep[1] + "}" * deep[0]),
    )


values = st.recursive(scalars, nested, max_leaves=6)
arguments = st.lists(st.tuples(keys, values).map(":".join), max_size=4).map(",".join)
names = st.one_of(
    st.sampled_from(['"f"', '"\\u0066"', '"\\u0000"', '"g"', "f"]), any_text.map(json.dumps)
)
calls = st.tuples(names, st.sampled_from(["arguments", "parameters", "name"]), arguments).map(
    lambda call: f'{{"name": {call[0]}, "{call[1]}": {{{call[2]}}}}}'
)
lists = st.lists(calls, max_size=4).map(lambda made: "[" + ", ".join(made) + "]")
blocks = st.lists(calls, max_size=4).map(
    lambda made: "".join(f"<tool_call>{call}</tool_call>" for call in made)
)
tails = st.sampled_from(["", "\n", "\0", "```", " so", "\ud800", "]"])
objects = st.lists(calls, max_size=4).map("; ".join)
completions = st.one_of(
    any_text, st.binary(), st.tuples(st.one_of(lists, blocks, objects), tails).map("".join)
)


@given(completions, st.sampled_from(DRESSES), st.booleans())
def test_no_completion_raises_and_every_step_lies_inside_it(
    text: str | bytes, dress: Dress, flag: bool
) -> None:
    labelled = label_completion(RECORD, text, dress=dress, ordered=flag, equivalence=not flag)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    ends = [step.end for step in labelled.steps]
    assert ends == sorted(ends)
    assert 0 <= ends[0] <= ends[-1] <= len(data)
    assert [s.kind for s in labelled.steps].index(Kind.TOTAL_FINISH) == len(labelled.steps) - 1
    prefix = True
    for step in labelled.steps:
        prefix = prefix and step.label
        assert step.prefix == prefix
    assert labelled.correct == labelled.steps[-1].label
    assert labelled.error is None or not labelled.correct
    json.dumps(steps_json("r", str(text), labelled))
    whole = parse_calls(tables(dress), data, eot=True)
    assert sum(call.finished for call in whole) == len(labelled.calls)


# --- work, counted in executed lines, not in seconds ---------------------------------------------


def executed_lines(work: Callable[[], Any]) -> int:
    """How many lines of Python run; what runs in C is bounded by the bytes that it is given."""
    count = 0

    def tracer(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def call(name: str, inner: str) -> str:
    return f'{{"name": "{name}", "arguments": {{{inner}}}}}'


SHAPES: dict[str, Callable[[int], str]] = {
    "text": lambda n: "no call at all " * n,
    "string": lambda n: "[" + call("f", f'"x": "{"a" * 8 * n}"') + "]",
    "escapes": lambda n: "[" + call("f", '"x": "' + "\\ud83d\\ude00" * n + '"') + "]",
    "backslashes": lambda n: "[" + call("f", '"x": "' + "\\\\" * 4 * n) + "]",
    "digits": lambda n: "[" + call("f", f'"x": {"9" * 8 * n}') + "]",
    "parameters": lambda n: "[" + call("f", ", ".join(f'"p{i}": 1' for i in range(n))) + "]",
    "one parameter": lambda n: "[" + call("f", ", ".join(['"x": 1'] * n)) + "]",
    "calls": lambda n: "[" + ", ".join([call("f", '"x": 2')] * n) + "]",
    "nested": lambda n: "[" + call("f", '"x": [' + ", ".join(["[[[[]]]]"] * n) + "]") + "]",
    "duplicate keys": lambda n: "[" + call("f", '"x": {' + ", ".join(['"k": 1'] * n) + "}") + "]",
    "too deep": lambda n: "[" + call("f", '"x": ' + "[" * 8 * n) + "]",
    "white space": lambda n: "[" + " \n" * 4 * n + "]",
    "tags": lambda n: "<tool_call" * n,
    "trailing": lambda n: "[]" + "x" * 8 * n,
}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_grows_no_faster_than_the_text(shape: str, dress: Dress) -> None:
    def lines(n: int) -> int:
        text = SHAPES[shape](n)
        if dress == "tool_call" and text.startswith("[{"):
            text = f"<tool_call>{text[1:-1]}</tool_call>"
        if dress == "llama" and text.startswith("[{"):
            text = text[1:-1]
        return executed_lines(lambda: label_completion(RECORD, text, dress=dress))

    lines(8)  # caches that are filled once
    small, large = lines(128), lines(512)
    assert large <= 4.3 * small + 50


@given(completions)
def test_no_byte_is_parsed_twice(text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    for dress in DRESSES:
        spans = [span for span in run(tables(dress), data, eot=True).spans if span]
        assert all(low < high for low, high in spans)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ('"' + "a" * MEGABYTE + '"', True),
        ('"' + "a" * MEGABYTE + 'b"', False),
        ('"' + "\\u0061" * (MEGABYTE // 6) + '"', False),
        ('"' + "\\u0000" * (MEGABYTE // 6) + '"', False),
        ('"' + "€" * (MEGABYTE // 3) + '"', False),
        ("9" * MEGABYTE, False),
        ("[" + "0," * (MEGABYTE // 2) + "0]", False),
    ],
    ids=["gold", "longer", "escaped", "nul", "euro", "digits", "array"],
)
def test_a_megabyte_is_labelled(value: str, label: bool) -> None:
    gold = GoldCall.exact(Call("f", {"x": "a" * MEGABYTE}))
    text = "[" + call("f", f'"x": {value}') + "]"
    labelled = label_completion(RECORD.with_(answers=(gold,)), text)
    assert [step.label for step in labelled.steps] == [True, *[label] * 4]
    assert labelled.error is None
    assert labelled.steps[-1].end == len(text.encode())


def test_the_last_of_repeated_keys_inside_a_value_counts() -> None:
    """As in every JSON reader that would run the call; a repeated parameter is wrong itself."""
    record = RECORD.with_(answers=(GoldCall.exact(Call("f", {"x": {"k": 2}})),))
    for inner, right in (('{"k": 1, "k": 2}', True), ('{"k": 2, "k": 1}', False)):
        assert label_completion(record, "[" + call("f", f'"x": {inner}') + "]").correct is right
