"""Completions without a model: the gold's own text, and the same with one mistake."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..grammar import Dress, Kind, run, tables
from ..records import (
    Call,
    DataError,
    Record,
    arguments_key,
    dress_calls,
    spell_call,
    spell_calls,
)
from .matching import (
    call_matches,
    exact_match,
    missing_parameters,
    schema_of,
    tools_by_name,
    value_accepted,
    values_equal,
)


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


def gold_completion(record: Record, dress: Dress = "list") -> str:
    """The completion that is right for a record.

    Args:
      record: a record with gold calls.
      dress: how the completions write calls.

    Returns:
      The text.
    """
    return spell_calls(gold_calls(record), dress)


class Corruption(NamedTuple):
    """A wrong completion.

    Attributes:
      kind: of mistake.
      text: the completion.
      hit: index of the decision that the mistake hits: all before it are right, and `prefix` is
        `-` from it on.
    """

    kind: str
    text: str
    hit: int


# Calls with a mistake and the decision that it hits; None where the mistake can't be made.
_Edited = tuple[list[Call], int]
_Edit = Callable[[Record, list[Call], random.Random], "_Edited | None"]


def _start(calls: Sequence[Call], at: int) -> int:
    """Index of the first decision of call `at`; with `at` = the number of calls, of the end."""
    return sum(len(call.arguments) + 3 for call in calls[:at])


def _pick(calls: list[Call], rng: random.Random, *, with_arguments: bool) -> int | None:
    choices = [i for i, c in enumerate(calls) if c.arguments or not with_arguments]
    return rng.choice(choices) if choices else None


def _replaced(calls: list[Call], at: int, call: Call) -> list[Call]:
    return [*calls[:at], call, *calls[at + 1 :]]


def _wrong_name(record: Record, calls: list[Call], rng: random.Random) -> _Edited | None:
    at = _pick(calls, rng, with_arguments=False)
    if at is None:
        return None
    right = {call.name for call in calls}
    others = [tool.name for tool in record.tools if tool.name not in right]
    name = rng.choice(others) if others else calls[at].name + "_"
    if name in right:
        return None
    return _replaced(calls, at, Call(name, calls[at].arguments)), _start(calls, at)


def _changed(value: Any, rng: random.Random) -> Any:
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + rng.choice((-7, -1, 1, 2, 10))
    if isinstance(value, str):
        words = value.split()
        if len(words) > 1:  # what policies do: they leave a word out
            del words[rng.randrange(len(words))]
            return " ".join(words)
        return value[: len(value) // 2] + rng.choice(("x", "ing", "0", "qu")) + value
    if isinstance(value, list):
        return value[:-1] if value else ["x"]
    if isinstance(value, dict):
        return dict(list(value.items())[:-1]) if value else {"x": 1}
    return "none"


_TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "object": dict,
}


def _plausible(
    record: Record, calls: Sequence[Call], schema: Mapping[str, Any], rng: random.Random
) -> list[Any]:
    """Values for a parameter that someone might take for right: of its enum, else of the query.

    Values of other parameters that have its type stand in the query as a rule, and so do words.
    """
    if isinstance(schema.get("enum"), list):
        return list(schema["enum"])
    wanted = schema.get("type")
    kind = _TYPES.get(wanted) if isinstance(wanted, str) else None
    found = [value for call in calls for value in call.arguments.values()]
    if kind is not None:
        found = [v for v in found if isinstance(v, kind) and (kind is bool) == isinstance(v, bool)]
    words = "".join(c if c.isalnum() or c in "-.:" else " " for c in record.query).split()
    if kind in (str, None) and words:
        at = rng.randrange(len(words))
        found.append(" ".join(words[at : at + rng.choice((1, 2))]).rstrip(".:-") or words[at])
    if kind in (int, (int, float)):
        found += [int(word) for word in words if word.isascii() and word.isdigit()]
    return found


def _guess(schema: Mapping[str, Any]) -> Any:
    """A value of the parameter's type, or a string."""
    guesses = {"boolean": True, "integer": 1, "number": 1, "array": ["value"], "object": {}}
    return guesses.get(str(schema.get("type")), "value")


def _other_value(
    record: Record,
    calls: Sequence[Call],
    schema: Mapping[str, Any],
    value: Any,
    rng: random.Random,
) -> Any:
    """A value that differs: as often as not a plausible one, where there is one."""
    others = [v for v in _plausible(record, calls, schema, rng) if not values_equal(v, value)]
    return rng.choice(others) if others and rng.random() < 0.6 else _changed(value, rng)


def _wrong_value(record: Record, calls: list[Call], rng: random.Random) -> _Edited | None:
    at = _pick(calls, rng, with_arguments=True)
    if at is None:
        return None
    call = calls[at]
    place = rng.randrange(len(call.arguments))
    param = list(call.arguments)[place]
    tool = tools_by_name(record).get(call.name)
    schema = schema_of(tool, param)
    value = _other_value(record, calls, schema, call.arguments[param], rng)
    for gold in record.answers or ():
        if gold.name == call.name and value_accepted(gold, param, value, record.equality, tool):
            return None
    wrong = Call(call.name, {**call.arguments, param: value})
    return _replaced(calls, at, wrong), _start(calls, at) + 1 + place


def _is_some_gold(record: Record, call: Call) -> bool:
    tool, pairs = tools_by_name(record).get(call.name), list(call.arguments.items())
    return any(
        call_matches(gold, call.name, pairs, record.equality, tool) for gold in record.answers or ()
    )


def _missing_parameter(record: Record, calls: list[Call], rng: random.Random) -> _Edited | None:
    at = _pick(calls, rng, with_arguments=True)
    if at is None or record.answers is None:
        return None
    tool = tools_by_name(record).get(calls[at].name)
    needed = missing_parameters(record.answers[at], (), record.equality, tool)
    if not needed:
        return None
    dropped = rng.choice(sorted(needed))
    kept = {name: value for name, value in calls[at].arguments.items() if name != dropped}
    call = Call(calls[at].name, kept)
    if _is_some_gold(record, call):
        return None
    return _replaced(calls, at, call), _start(calls, at) + 1 + len(kept)


def _extra_parameter(record: Record, calls: list[Call], rng: random.Random) -> _Edited | None:
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
    schema = schema_of(tool, name)
    value = rng.choice([*_plausible(record, calls, schema, rng), _guess(schema)])
    longer = Call(call.name, {**call.arguments, name: value})
    return _replaced(calls, at, longer), _start(calls, at) + 1 + len(call.arguments)


def _swapped_values(record: Record, calls: list[Call], rng: random.Random) -> _Edited | None:
    """Two calls of one function exchange the value of one parameter, which comes last in both."""
    choices = [
        (i, j, name)
        for j, second in enumerate(calls)
        for i, first in enumerate(calls[:j])
        if first.name == second.name
        for name in first.arguments
        if name in second.arguments and len(first.arguments) > 1
    ]
    if not choices:
        return None
    i, j, name = rng.choice(choices)
    mine, theirs = dict(calls[i].arguments), dict(calls[j].arguments)
    mine[name], theirs[name] = theirs.pop(name), mine.pop(name)
    swapped = Call(calls[i].name, mine)
    # Where another gold has the other arguments too, the swap is no mistake at this decision.
    tool = tools_by_name(record).get(swapped.name)
    pairs = mine.items()
    for gold in record.answers or ():
        if gold.name == swapped.name and all(
            value_accepted(gold, key, value, record.equality, tool) for key, value in pairs
        ):
            return None
    edited = _replaced(_replaced(calls, i, swapped), j, Call(calls[j].name, theirs))
    return edited, _start(calls, i) + len(mine)


def _duplicated_call(record: Record, calls: list[Call], rng: random.Random) -> _Edited | None:
    at = _pick(calls, rng, with_arguments=False)
    # Every gold is used by then, so that the name alone is one too many.
    return None if at is None else ([*calls, calls[at]], _start(calls, len(calls)))


def _dropped_call(record: Record, calls: list[Call], rng: random.Random) -> _Edited | None:
    at = _pick(calls, rng, with_arguments=False)
    if at is None:
        return None
    kept = calls[:at] + calls[at + 1 :]
    return kept, _start(kept, len(kept))


def _extra_call(record: Record, calls: list[Call], rng: random.Random) -> _Edited | None:
    if not record.tools:
        return None
    tool = rng.choice(record.tools)
    arguments = {}
    for name in sorted(tool.required):
        schema = schema_of(tool, name)
        arguments[name] = rng.choice([*_plausible(record, calls, schema, rng), _guess(schema)])
    extra = Call(tool.name, arguments)
    return [*calls, extra], _start(calls, len(calls))


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
    spelled = [spell_call(call, dress) for call in calls]
    spelled[at] = text
    return dress_calls(spelled, dress)


# A text with a mistake and the decision that it hits; None where the mistake can't be made.
_Written = tuple[str, int]


def _key_order(calls: list[Call], rng: random.Random, dress: Dress) -> _Written | None:
    at = _pick(calls, rng, with_arguments=False)
    if at is None:
        return None
    call = {arguments_key(dress): dict(calls[at].arguments), "name": calls[at].name}
    text = _respell(calls, at, json.dumps(call, ensure_ascii=False), dress)
    return text, _start(calls, at)


def _repeated_parameter(calls: list[Call], rng: random.Random, dress: Dress) -> _Written | None:
    at = _pick(calls, rng, with_arguments=True)
    if at is None:
        return None
    arguments = list(calls[at].arguments.items())
    arguments.append(rng.choice(arguments))
    inner = ", ".join(
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
        for name, value in arguments
    )
    name = json.dumps(calls[at].name, ensure_ascii=False)
    call = f'{{"name": {name}, "{arguments_key(dress)}": {{{inner}}}}}'
    text = _respell(calls, at, call, dress)
    return text, _start(calls, at) + len(arguments)


def _truncated(calls: list[Call], rng: random.Random, dress: Dress) -> _Written | None:
    if not calls:
        return None
    text = spell_calls(calls, dress)
    cut = text[: rng.randrange(len(text))]
    # What the cut has left is read by the grammar alone: it knows no gold.
    events = run(tables(dress), cut.encode("utf-8", "surrogatepass"), eot=False).events
    return cut, sum(kind is not Kind.TOTAL_FINISH for kind, _ in events)


def _no_json(calls: list[Call], rng: random.Random, dress: Dress) -> _Written | None:
    if dress != "list" and not calls:
        return None  # there, text without a call is the right answer
    return rng.choice(("I cannot help with that.", "Sure! Here is the call:", "None of them.")), 0


_TEXT_EDITS: dict[str, Callable[[list[Call], random.Random, Dress], _Written | None]] = {
    "truncated": _truncated,
    "no_json": _no_json,
    "key_order": _key_order,
    "repeated_parameter": _repeated_parameter,
}

MISTAKES = (*_CALL_EDITS, *_TEXT_EDITS)


def corruptions(record: Record, rng: random.Random, dress: Dress = "list") -> Iterator[Corruption]:
    """One wrong completion per kind of mistake that can be made on a record.

    Args:
      record: a record with gold calls.
      rng: the only source of randomness.
      dress: how the completions write calls.

    Yields:
      Completions of which none is right, in the order of `MISTAKES`.

    Source: our choice.
    """
    calls = gold_calls(record)
    for kind, edit in _CALL_EDITS.items():
        edited = edit(record, calls, rng)
        if edited is not None and not exact_match(record, edited[0]):
            yield Corruption(kind, spell_calls(edited[0], dress), edited[1])
    for kind, write in _TEXT_EDITS.items():
        written = write(calls, rng, dress)
        if written is not None:
            yield Corruption(kind, *written)
