"""Function masking: random names for tools and parameters, so that only descriptions help."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..grammar import Dress
from ..records import Call, GoldCall, Record, Tool, property_names, rename_tool
from .defaults import change_defaults, swap_default
from .kept import is_seen, key_patterns
from .renaming import Renamer, rename_choices

Style = Literal["random", "pseudoword"]

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"
_TRIES_PER_LENGTH = 50
_TRIES_PER_PATTERN = 100


@dataclass(frozen=True)
class Masked:
    """A masked record and the map that takes it back.

    `map` is plain JSON: `tools` {new: old}, `parameters` {new tool: {new: old}} (nested property
    names too), `order` (original index of each tool, in the masked order), `defaults` (in new
    names; `changed`: tool, parameter, old, new; `left`: tool, parameter, reason), `messages`
    {index: original message} of the messages that changed, and `kept` {new tool: [name]}, the
    names that stay, for a pattern of the schema reads them.
    """

    record: Record
    map: dict[str, Any]
    renamer: Renamer = field(repr=False, compare=False)

    def completion(self, text: str, dress: Dress = "list") -> str:
        """A completion that a policy made for the original record, in the masked names.

        Its labels for the masked record are those that it had for the original one, with other
        offsets. Token ids are those of the original text and of no use any more.

        Args:
          text: the completion.
          dress: how it writes calls.

        Returns:
          The text; what no decision closes stays as it is.
        """
        return self.renamer.completion(text, dress)


def mask_record(
    record: Record, seed: int, *, style: Style = "random", key: str | None = None
) -> Masked:
    """Replaces every tool and parameter name of a record and shuffles its tools.

    Args:
      record: the record; its tools, answers and any calls in its messages are renamed alike.
      seed: chooses the names, together with the key.
      style: "random" draws 5-15 (tools) or 4-10 (parameters) letters, digits, `_` and, in tools,
        `.`; "pseudoword" draws 2-3 or 2 syllables, which take fewer tokens.
      key: what makes records differ under one seed; the record's id unless given.

    Returns:
      The masked record and its map. The same (seed, key) gives the same result, in any order.

    Source: arXiv:2510.14703, data collection; "pseudoword" and the rules for defaults: our choice.
    """
    rng = random.Random(f"{seed}:{record.id if key is None else key}:{style}")
    changed = change_defaults(record, rng)
    source = changed.record
    draw = _Names(rng, style, set(_strings(source)))

    tool_names: dict[str, str] = {}
    names: dict[str, dict[str, str]] = {}
    kept: dict[str, list[str]] = {}
    patterns = key_patterns(source.tools)
    for tool, properties in _all_names(source):
        if tool not in tool_names:
            tool_names[tool] = draw()
        known, seen = names.setdefault(tool, {}), patterns.get(tool, ())
        for old in properties:
            if old in known or old in kept.get(tool, ()):
                continue
            new = None if is_seen(old, seen) else draw.parameter(seen)
            if new is None:
                kept.setdefault(tool, []).append(old)
            else:
                known[old] = new

    order = list(range(len(source.tools)))
    rng.shuffle(order)
    renamer = Renamer(source.tools, tool_names, names, changed.changed)
    messages = tuple(renamer.message(message) for message in source.messages)
    answers = source.answers
    masked = source.with_(
        messages=messages,
        tools=tuple(
            rename_tool(tool, tool_names[tool.name], names[tool.name])
            for tool in (source.tools[index] for index in order)
        ),
        answers=None if answers is None else tuple(renamer.gold(gold) for gold in answers),
        extra=rename_choices(source.extra, tool_names),
    )

    def in_new_names(entry: Mapping[str, str]) -> dict[str, str]:
        tool, parameter = entry["tool"], entry["parameter"]
        return {
            **entry,
            "tool": tool_names[tool],
            "parameter": names[tool].get(parameter, parameter),
        }

    back = {
        "tools": {new: old for old, new in tool_names.items()},
        "parameters": {
            tool_names[tool]: {new: old for old, new in known.items()}
            for tool, known in names.items()
        },
        "kept": {tool_names[tool]: some for tool, some in kept.items()},
        "order": order,
        "defaults": {
            "changed": [in_new_names(entry) for entry in changed.changed],
            "left": [in_new_names(entry) for entry in changed.left],
        },
        "messages": {
            str(i): dict(old)
            for i, (old, new) in enumerate(zip(record.messages, messages, strict=True))
            if old != new
        },
    }
    return Masked(masked, back, renamer)


def unmask_calls(back: Mapping[str, Any], calls: Sequence[Call]) -> tuple[Call, ...]:
    """Takes calls in masked names back to the original names and defaults.

    Args:
      back: the map of `mask_record`.
      calls: calls as a policy made them for the masked record.

    Returns:
      The calls in original names; names that the map doesn't know stay.
    """
    return tuple(
        Call(
            back["tools"].get(call.name, call.name),
            {
                _old(back, call.name, name): _unmask_value(back, call.name, name, value)
                for name, value in call.arguments.items()
            },
        )
        for call in calls
    )


def unmask_record(back: Mapping[str, Any], record: Record) -> Record:
    """Takes a masked record back: `unmask_record(m.map, m.record)` is the original record.

    Args:
      back: the map of `mask_record`.
      record: the masked record.

    Returns:
      The record with original names, defaults, messages and tool order.
    """
    tools: dict[int, Tool] = {}
    defaults = {
        (change["tool"], change["parameter"]): change for change in back["defaults"]["changed"]
    }
    for index, tool in zip(back["order"], record.tools, strict=True):
        tool = tool.with_properties(
            {
                name: {**schema, "default": swap_default(change, schema["default"])}
                for name, schema in tool.own_properties.items()
                if (change := defaults.get((tool.name, name))) and "default" in schema
            }
        )
        tools[index] = rename_tool(tool, back["tools"][tool.name], back["parameters"][tool.name])
    answers = record.answers
    if answers is not None:
        answers = tuple(
            GoldCall(
                back["tools"][gold.name],
                {
                    _old(back, gold.name, name): tuple(
                        _unmask_value(back, gold.name, name, value) for value in values
                    )
                    for name, values in gold.arguments.items()
                },
                frozenset(_old(back, gold.name, name) for name in gold.optional),
                gold.extra,
            )
            for gold in answers
        )
    messages = tuple(
        back["messages"].get(str(i), message) for i, message in enumerate(record.messages)
    )
    in_order = tuple(tools[index] for index in sorted(tools))
    extra = rename_choices(record.extra, back["tools"])
    return record.with_(messages=messages, tools=in_order, answers=answers, extra=extra)


def _old(back: Mapping[str, Any], tool: str, name: str) -> str:
    return back["parameters"].get(tool, {}).get(name, name)


def _unmask_value(back: Mapping[str, Any], tool: str, parameter: str, value: Any) -> Any:
    for change in back["defaults"]["changed"]:
        if change["tool"] == tool and change["parameter"] == parameter:
            value = swap_default(change, value)
    return _rename_keys(value, back["parameters"].get(tool, {}))


def _rename_keys(value: Any, names: Mapping[str, str]) -> Any:
    # No schema is needed on the way back: a new name equals no other key of the record.
    if isinstance(value, Mapping):
        return {names.get(key, key): _rename_keys(child, names) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_rename_keys(child, names) for child in value]
    return value


class _Names:
    """Draws names that were never drawn before and that occur nowhere in the record."""

    def __init__(self, rng: random.Random, style: Style, taken: set[str]) -> None:
        self._rng, self._style, self._taken = rng, style, taken

    def __call__(self) -> str:
        """A tool's name."""
        name = self._draw(is_tool=True, patterns=())
        assert name is not None
        return name

    def parameter(self, patterns: Sequence[str]) -> str | None:
        """A parameter's name that no pattern matches; None where none was found."""
        return self._draw(is_tool=False, patterns=patterns)

    def _draw(self, *, is_tool: bool, patterns: Sequence[str]) -> str | None:
        draw = self._pseudoword if self._style == "pseudoword" else self._random
        tries = 0
        while (name := draw(is_tool, tries // _TRIES_PER_LENGTH)) in self._taken or is_seen(
            name, patterns
        ):
            tries += 1
            if patterns and tries > _TRIES_PER_PATTERN:
                return None
        self._taken.add(name)
        return name

    def _random(self, is_tool: bool, longer: int) -> str:
        del longer  # even four characters leave millions of names
        length = self._rng.randint(5, 15) if is_tool else self._rng.randint(4, 10)
        alphabet = string.ascii_letters + string.digits + ("_." if is_tool else "_")
        first = self._rng.choice(string.ascii_letters)
        return first + "".join(self._rng.choices(alphabet, k=length - 1))

    def _pseudoword(self, is_tool: bool, longer: int) -> str:
        syllables = (self._rng.randint(2, 3) if is_tool else 2) + longer
        return "".join(
            self._rng.choice(_CONSONANTS) + self._rng.choice(_VOWELS) for _ in range(syllables)
        )


def _all_names(record: Record) -> Iterator[tuple[str, Iterator[str]]]:
    for tool in record.tools:
        yield tool.name, property_names(tool)
    # A gold may state a tool or a parameter that the tools don't list: masked as well.
    for gold in record.answers or ():
        yield gold.name, iter((*gold.arguments, *sorted(gold.optional)))
    for call in _history(record):
        yield call["name"], iter(call["arguments"])


def _history(record: Record) -> Iterator[Mapping[str, Any]]:
    for message in record.messages:
        yield from message.get("calls", ())


def _strings(record: Record) -> Iterator[str]:
    """Every word and every key that a new name must not equal."""
    for message in record.messages:
        yield from re.findall(r"[\w.]+", message["content"])
        yield from re.findall(r"\w+", message["content"])
    for tool in record.tools:
        yield tool.name
        yield from _keys(tool.parameters)
    for gold in record.answers or ():
        yield gold.name
        yield from gold.optional
        yield from _keys(gold.arguments)
    for call in _history(record):
        yield call["name"]
        yield from _keys(call["arguments"])


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from value
        for child in value.values():
            yield from _keys(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _keys(child)
    elif isinstance(value, str):
        yield value
