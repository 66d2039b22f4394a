"""Completions in whatever form an engine gave them, respelled in the dress that a model reads."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from ..grammar import Dress, parse_calls, run, tables
from ..records import Call, spell_calls

_LIST = re.compile(r'\[\s*\{\s*"name"')
_TRIES = 8  # places at which a list of calls may begin behind other text


def respelled(text: str, dress: Dress) -> str:
    """A completion in the dress asked for.

    Read are all dresses, OpenAI's `tool_calls` (a message, its list or one of them) and a list of
    calls behind other text.

    Args:
      text: the completion.
      dress: of the model that reads it.

    Returns:
      The text itself where it states calls in that dress, or nowhere any; else its calls in it.
    """
    if _dressed(text, dress):
        return text
    calls = next((calls for calls in _readings(text) if calls), None)
    return text if calls is None else spell_calls(calls, dress)


def _dressed(text: str, dress: Dress) -> list[Call]:
    """The calls of a completion that is whole in a dress; none where it is not."""
    data = text.encode("utf-8", "surrogatepass")
    found = run(tables(dress), data, eot=True)
    if not found.accepted:
        return []
    calls = parse_calls(tables(dress), data, result=found)
    return [Call(call.name or "", dict(call.pairs)) for call in calls]


def _readings(text: str) -> Iterator[list[Call]]:
    """The calls that a text may state, the likeliest first."""
    for dress in get_args(Dress):
        yield _dressed(text, dress)
    with contextlib.suppress(ValueError, RecursionError):
        yield _openai(json.loads(text))
    for at, _ in zip(_LIST.finditer(text), range(_TRIES), strict=False):
        yield _dressed(text[at.start() :], "list")


def _openai(value: Any) -> list[Call]:
    """The calls of OpenAI's API; none where the value is nothing of it."""
    if isinstance(value, dict):
        value = value.get("tool_calls", [value])
    calls = []
    for item in value if isinstance(value, list) else []:
        function = item.get("function", item) if isinstance(item, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return []
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            arguments = json.loads(arguments or "{}")
        if not isinstance(arguments, dict):
            return []
        calls.append(Call(function["name"], arguments))
    return calls
