"""Completions that ran against a limit, closed in the fewest bytes."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest

import search.host.closing as closing
from search.grammar.strict_tables import make_strict
from search.grammar.tracker import advance, grammar_from_pieces, initial
from search.host.closing import shortest_closing
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import run
from toolprm_jax.grammar.types import Dress
from toolprm_jax.records.types import Record, Tool

PIECES: list[bytes | None] = [*(bytes([byte]) for byte in range(256)), None]
GRAMMARS = {
    dress: grammar_from_pieces(PIECES, 257, [256], dress)
    for dress in ("list", "tool_call", "llama")
}
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Reykjavík", "Rome"]},
        "days": {"type": "integer", "minimum": 10, "maximum": 20},
        "where": {
            "type": "object",
            "properties": {"longitude": {"type": "number"}, "note": {"type": "string"}},
            "required": ["longitude"],
        },
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
        "note": {"type": "string", "minLength": 3},
    },
    "required": ["city", "where"],
}
RECORD = Record(
    "r",
    ({"role": "user", "content": "?"},),
    (Tool("weather", "", WEATHER), Tool("an_alarm_clock", "", {})),
    None,
)
RULES = make_strict([RECORD])
ADVANCE = jax.jit(advance)
HEAD = '[{"name":"weather","arguments":{'


def closed(text: str, dress: Dress = "list", rules: Any = RULES) -> str | None:
    found = shortest_closing(GRAMMARS[dress], rules, 0, RECORD, text.encode(), dress)
    return None if found is None else text + found.decode()


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", "[]"),
        ("[]", "[]"),
        (HEAD, HEAD + '"city":"Rome","where":{"longitude":0}}}]'),
        (HEAD + '"city":"Re', HEAD + '"city":"Reykjavík","where":{"longitude":0}}}]'),
        (HEAD + '"where":{"longitude":1.', HEAD + '"where":{"longitude":1.0},"city":"Rome"}}]'),
        (HEAD + '"where":{"note":"\\ud83d', None),
        (HEAD + '"city":"Rome","tags":[', None),
        (HEAD + '"city":"Rome","where":{"longitude":0},"days":', None),
        ('[{"name":"an', '[{"name":"an_alarm_clock","arguments":{}}]'),
        (HEAD + '"city":"Rome","where":{"longitude":0}}}', None),
    ],
)
def test_what_is_missing_is_added(text: str, whole: str | None) -> None:
    found = closed(text)
    assert found is not None
    assert found.startswith(text)
    if whole is not None:
        assert len(found) == len(whole)
    for call in json.loads(found):
        if call["name"] == "weather":
            jsonschema.validate(call["arguments"], WEATHER)


@pytest.mark.parametrize("size", [511, 512, 513, 1024, 1500])
def test_a_long_text_is_read_in_pieces(size: int) -> None:
    """Whatever lies at the seams: what comes behind is closed alike, a fault behind is found."""
    head, rest = HEAD + '"note":"', '","city":"Rome","where":{"longitude":'
    head += "n" * (size - len(head + rest) - 1)
    assert closed(head + rest + "4") == head + rest + "4}}}]"
    assert closed(head + rest + "4,") is not None
    assert closed(head + '","note":') is None


def test_a_long_text_compiles_no_more_than_a_short_one() -> None:
    head, rest = HEAD + '"note":"', '","city":"Rome","where":{"longitude":4'
    assert closed(head + "nnn" + rest) is not None
    read: Any = closing._read_some
    compiled = read._cache_size()
    for size in (512, 513, 1024):
        assert closed(head + "n" * (size - len(head + rest)) + rest) is not None
    assert read._cache_size() == compiled


def test_it_closes_where_jax_knows_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """`JAX_PLATFORMS=cuda` leaves no device but GPUs."""

    def nowhere(**_: Any) -> list[Any]:
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "local_devices", nowhere)
    assert closed("") == "[]"


SMALL = Record(
    "s",
    ({"role": "user", "content": "?"},),
    (
        Tool(
            "f",
            "",
            {
                "type": "object",
                "properties": {
                    "a": {"enum": ["xy", 7]},
                    "b": {"type": "object", "properties": {"c": {}}, "required": ["c"]},
                },
                "required": ["a"],
            },
        ),
    ),
    None,
)


@pytest.mark.parametrize("tail", ["", '"a":"', '"b":{"', '"b":{"c":[[', '"b":{"c":1}', '"a":7'])
def test_no_other_way_is_shorter(tail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lengths come out without looking ahead, where every state is tried."""
    rules, grammar = make_strict([SMALL]), GRAMMARS["list"]
    text = ('[{"name":"f","arguments":{' + tail).encode()
    found = shortest_closing(grammar, rules, 0, SMALL, text, "list")
    remaining = closing._remaining
    monkeypatch.setattr(closing, "_MOST", 10**6)
    monkeypatch.setattr(closing, "_remaining", lambda d, k, states: 0 * remaining(d, k, states))
    other = shortest_closing(grammar, rules, 0, SMALL, text, "list")
    assert found is not None
    assert other is not None
    assert len(found) == len(other), (found, other)
    (call,) = json.loads(text + found)
    jsonschema.validate(call["arguments"], SMALL.tools[0].parameters)


@pytest.mark.parametrize("dress", ["tool_call", "llama"])
def test_calls_are_closed_in_every_dress(dress: Dress) -> None:
    head = {"tool_call": "So: <tool_call>\n", "llama": ""}[dress]
    key = "parameters" if dress == "llama" else "arguments"
    text = head + '{"name": "weather", "' + key + '": {"city": "R'
    found = closed(text, dress)
    assert found is not None
    assert run(tables(dress), found.encode(), eot=True).accepted
    assert closed("No tool fits", dress) == "No tool fits"


def test_the_grammar_alone_closes_what_no_tool_allows() -> None:
    text = '[{"name":"other","arguments":{"x":{"y":[1'
    assert closed(text) is None
    assert closed(text, rules=None) == text + "]}}}]"
    assert closed("[x", rules=None) is None


def test_what_is_missing_is_never_overestimated() -> None:
    """Or a longer way would be found first."""
    keys = closing._keys(RECORD)
    tail = '"where":{"longitude":1,"note":"ab"},"tags":[true,false],"city":"Rome"}}]'
    text = (HEAD + tail).encode()
    state = initial(GRAMMARS["list"], (1,), RULES)
    for at, byte in enumerate(text):
        found = jax.tree.map(np.asarray, state)
        assert closing._remaining("list", keys, found)[0] <= len(text) - at, text[:at]
        state, _ = ADVANCE(GRAMMARS["list"], state, jnp.full(1, byte), RULES)
