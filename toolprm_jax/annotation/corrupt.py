"""Completions without a model: the gold's own text, and the same with one mistake."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from .grammar import Dress
from .matching import exact_match, missing_parameters, tools_by_name, value_accepted
from .records import Call, DataError, Record, calls_json


def _fill(template: Any) -> Any:
    """BFCL's nested golds list the acceptable values at every leaf: takes the first of each."""
    if isinstance(template, dict):
        filled = {}
        for key, listed in template.items():
            choices = [c for c in listed if c != ""] if isinstance(listed, list) else [listed]
            if choices:
                filled[key] = _fill(choices[0])
        return filled
    if isinstance(template, (list, tuple)):
        return [_fill(item) for item in template]
    return template


def gold_calls(record: Record) -> list[Call]:
    """The record's right calls, each with the first accepted values.

    Raises:
      DataError: the record's gold is not known.
    """
    if record.answers is None:
        raise DataError(f"record {record.id}: answers: expected a list of gold calls, found none")
    calls = [gold.first() for gold in record.answers]
    if record.equality == "bfcl":
        calls = [
            Call(c.name, {name: _fill(value) for name, value in c.arguments.items()}) for c in calls
        ]
    return calls


def spell(calls: list[Call], dress: Dress) -> str:
    """Calls as a completion in one dress."""
    if dress == "list":
        return calls_json(calls)
    blocks = (json.dumps(call.to_json(), ensure_ascii=False) for call in calls)
    return "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in blocks)


def gold_completion(record: Record, dress: Dress = "list") -> str:
    """The completion that is right for a record.

    Args:
      record: a record with gold calls.
      dress: "list" or "tool_call".

    Returns:
      The text.
    """
    return spell(gold_calls(record), dress)


Pairs = list[tuple[str, Any]]
_Edit = Callable[[Record, list[Call], random.Random], "list[Call] | None"]


def _pick(calls: list[Call], rng: random.Random, *, with_arguments: bool) -> int | None:
    choices = [i for i, c in enumerate(calls) if c.arguments or not with_arguments]
    return rng.choice(choices) if choices else None


def _replaced(calls: list[Call], at: int, call: Call) -> list[Call]:
    return [*calls[:at], call, *calls[at + 1 :]]


def _wrong_name(record: Record, calls: list[Call], rng: random.Random) -> list[Call] | None:
    at = _pick(calls, rng, with_arguments=False)
    if at is None:
        return None
    right = {call.name for call in calls}
    others = [tool.name for tool in record.tools if tool.name not in right]
    name = rng.choice(others) if others else calls[at].name + "_"
    if name in right:
        return None
    return _replaced(calls, at, Call(name, calls[at].arguments))


def _other_value(value: Any, rng: random.Random) -> Any:
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + rng.choice((-7, -1, 1, 2, 10))
    if isinstance(value, str):
        return value[: len(value) // 2] + rng.choice(("x", "ing", "0", "qu")) + value
    if isinstance(value, list):
        return value[:-1] if value else ["x"]
    if isinstance(value, dict):
        return dict(list(value.items())[:-1]) if value else {"x": 1}
    return "none"


def _wrong_value(record: Record, calls: list[Call], rng: random.Random) -> list[Call] | None:
    at = _pick(calls, rng, with_arguments=True)
    if at is None:
        return None
    call = calls[at]
    param = rng.choice(list(call.arguments))
    value = _other_value(call.arguments[param], rng)
    tool = tools_by_name(record).get(call.name)
    for gold in record.answers or ():
        if gold.name == call.name and value_accepted(gold, param, value, record.equality, tool):
            return None
    return _replaced(calls, at, Call(call.name, {**call.arguments, param: value}))


def _missing_parameter(record: Record, calls: list[Call], rng: random.Random) -> list[Call] | None:
    at = _pick(calls, rng, with_arguments=True)
    if at is None or record.answers is None:
        return None
    tool = tools_by_name(record).get(calls[at].name)
    needed = missing_parameters(record.answers[at], (), record.equality, tool)
    if not needed:
        return None
    dropped = rng.choice(sorted(needed))
    kept = {name: value for name, value in calls[at].arguments.items() if name != dropped}
    return _replaced(calls, at, Call(calls[at].name, kept))


def _extra_parameter(record: Record, calls: list[Call], rng: random.Random) -> list[Call] | None:
    at = _pick(calls, rng, with_arguments=False)
    if at is None:
        return None
    call = calls[at]
    tool = tools_by_name(record).get(call.name)
    known = {name for gold in record.answers or () for name in gold.arguments}
    unused = sorted(set(tool.properties if tool else ()) - known)
    name = rng.choice(unused) if unused else "extra"
    if name in known:
        return None
    value = rng.choice((1, "value", True))
    return _replaced(calls, at, Call(call.name, {**call.arguments, name: value}))


def _swapped_values(record: Record, calls: list[Call], rng: random.Random) -> list[Call] | None:
    choices = [
        (i, j, name)
        for i, first in enumerate(calls)
        for j, second in enumerate(calls[:i])
        if first.name == second.name
        for name in first.arguments
        if name in second.arguments and len(first.arguments) > 1
    ]
    if not choices:
        return None
    i, j, name = rng.choice(choices)
    mine, theirs = dict(calls[i].arguments), dict(calls[j].arguments)
    mine[name], theirs[name] = theirs[name], mine[name]
    swapped = _replaced(calls, i, Call(calls[i].name, mine))
    return _replaced(swapped, j, Call(calls[j].name, theirs))


def _duplicated_call(record: Record, calls: list[Call], rng: random.Random) -> list[Call] | None:
    at = _pick(calls, rng, with_arguments=False)
    return None if at is None else [*calls, calls[at]]


def _dropped_call(record: Record, calls: list[Call], rng: random.Random) -> list[Call] | None:
    at = _pick(calls, rng, with_arguments=False)
    return None if at is None else calls[:at] + calls[at + 1 :]


def _extra_call(record: Record, calls: list[Call], rng: random.Random) -> list[Call] | None:
    if not record.tools:
        return None
    tool = rng.choice(record.tools)
    return [*calls, Call(tool.name, dict.fromkeys(sorted(tool.required), "value"))]


_CALL_EDITS: dict[str, _Edit] = {
    "wrong_name": _wrong_name,
    "wrong_value": _wrong_value,
    "missing_parameter": _missing_parameter,
    "extra_parameter": _extra_parameter,
    "swapped_values": _swapped_values,
    "duplicated_call": _duplicated_call,
    "dropped_call": _dropped_call,
    "extra_call": _extra_call,
}


def _respell(calls: list[Call], at: int, text: str, dress: Dress) -> str:
    """The calls with call `at` written as `text`."""
    spelled = [json.dumps(call.to_json(), ensure_ascii=False) for call in calls]
    spelled[at] = text
    if dress == "list":
        return "[" + ", ".join(spelled) + "]"
    return "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in spelled)


def _key_order(calls: list[Call], rng: random.Random, dress: Dress) -> str | None:
    at = _pick(calls, rng, with_arguments=False)
    if at is None:
        return None
    call = {"arguments": dict(calls[at].arguments), "name": calls[at].name}
    return _respell(calls, at, json.dumps(call, ensure_ascii=False), dress)


def _repeated_parameter(calls: list[Call], rng: random.Random, dress: Dress) -> str | None:
    at = _pick(calls, rng, with_arguments=True)
    if at is None:
        return None
    arguments: Pairs = list(calls[at].arguments.items())
    arguments.append(rng.choice(arguments))
    inner = ", ".join(
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
        for name, value in arguments
    )
    name = json.dumps(calls[at].name, ensure_ascii=False)
    return _respell(calls, at, f'{{"name": {name}, "arguments": {{{inner}}}}}', dress)


def _truncated(calls: list[Call], rng: random.Random, dress: Dress) -> str | None:
    text = spell(calls, dress)
    return text[: rng.randrange(len(text))] if calls else None


def _no_json(calls: list[Call], rng: random.Random, dress: Dress) -> str | None:
    if dress == "tool_call" and not calls:
        return None  # there, text without a call is the right answer
    return rng.choice(("I cannot help with that.", "Sure! Here is the call:", "None of them."))


_TEXT_EDITS: dict[str, Callable[[list[Call], random.Random, Dress], str | None]] = {
    "truncated": _truncated,
    "no_json": _no_json,
    "key_order": _key_order,
    "repeated_parameter": _repeated_parameter,
}


def corruptions(
    record: Record, rng: random.Random, dress: Dress = "list"
) -> Iterator[tuple[str, str]]:
    """One wrong completion per kind of mistake that can be made on a record.

    Args:
      record: a record with gold calls.
      rng: the only source of randomness.
      dress: "list" or "tool_call".

    Yields:
      (kind of mistake, completion); none of the completions is right.

    Source: our choice.
    """
    calls = gold_calls(record)
    for kind, edit in _CALL_EDITS.items():
        edited = edit(record, calls, rng)
        if edited is not None and not exact_match(record, edited):
            yield kind, spell(edited, dress)
    for kind, write in _TEXT_EDITS.items():
        text = write(calls, rng, dress)
        if text is not None:
            yield kind, text
