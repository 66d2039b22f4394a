"""Completions in other forms than the model's dress."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.annotation.respell import respelled
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import parse_calls
from toolprm_jax.grammar.types import Dress
from toolprm_jax.records.types import Call, spell_calls

DRESSES: tuple[Dress, ...] = get_args(Dress)
CALLS = [Call("f", {"x": 1, "y": ["ä"]}), Call("g", {})]


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("other", DRESSES)
def test_every_dress_is_read_in_every_other(dress: Dress, other: Dress) -> None:
    assert respelled(spell_calls(CALLS, other), dress) == spell_calls(CALLS, dress)


def openai(call: Call) -> dict[str, object]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": "call_1", "type": "function", "function": function}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (json.dumps({"role": "assistant", "tool_calls": [openai(c) for c in CALLS]}), CALLS),
        (json.dumps([openai(c) for c in CALLS]), CALLS),
        (json.dumps(openai(CALLS[0])), CALLS[:1]),
        (json.dumps(CALLS[0].to_json()), CALLS[:1]),
        ("Sure [1], here:\n" + spell_calls(CALLS), CALLS),
        ("Sure:\n```json\n" + spell_calls(CALLS) + "\n```", CALLS),
        ("<think>[</think>" + spell_calls(CALLS, "tool_call") + "<|im_end|>", CALLS),
    ],
)
def test_forms_of_engines_are_read(text: str, calls: list[Call], dress: Dress) -> None:
    found = respelled(text, dress).encode()
    read = parse_calls(tables(dress), found, eot=True)
    assert [Call(call.name or "", dict(call.pairs)) for call in read] == calls


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "I can't.",
        '[{"name": "f"',
        '{"a": 1}',
        '[{"name": "f", "arguments": {}} so',
        "[[[",
    ],
)
def test_what_states_no_calls_stays(text: str) -> None:
    for dress in DRESSES:
        assert respelled(text, dress) == text


@given(st.text(), st.sampled_from(DRESSES))
def test_nothing_raises(text: str, dress: Dress) -> None:
    assert isinstance(respelled(text, dress), str)
