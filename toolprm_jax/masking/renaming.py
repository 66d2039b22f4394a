"""Renames calls with the tools' schemas at hand: gold calls, history, completions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..grammar import Dress, Kind, parse_argument, parse_name, run, tables
from ..records import (
    DataError,
    GoldCall,
    Tool,
    check_nesting,
    parse_json,
    rename_argument,
)
from .defaults import swap_default

_key_at = json.JSONDecoder().raw_decode
_COLON = re.compile(r"\s*:\s*")


class Renamer:
    """New names for the calls of one record.

    Args:
      tools: the record's tools, in old names.
      tool_names: new name of every tool.
      names: new name of every parameter and nested property, by old tool name.
      changes: the defaults that were changed, in old names.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        tool_names: Mapping[str, str],
        names: Mapping[str, Mapping[str, str]],
        changes: Sequence[Mapping[str, str]],
    ) -> None:
        self._tools, self._tool_names, self._names = tools, tool_names, names
        self._changes = changes

    def gold(self, gold: GoldCall) -> GoldCall:
        """A gold call (whose defaults are changed already) in new names."""
        names = self._names[gold.name]
        return GoldCall(
            self._tool_names[gold.name],
            {
                names.get(name, name): tuple(
                    self._value(gold.name, name, value) for value in values
                )
                for name, values in gold.arguments.items()
            },
            frozenset(names.get(name, name) for name in gold.optional),
            gold.extra,
        )

    def _value(self, tool_name: str, parameter: str, value: Any) -> Any:
        mine = [tool for tool in self._tools if tool.name == tool_name]
        for tool in sorted(mine, key=lambda tool: parameter not in tool.properties)[:1]:
            return rename_argument(tool, parameter, value, self._names[tool_name])
        return value

    def message(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """A message in new names: its `calls`, calls in its text, a tool's name; users' stay."""
        if message["role"] == "user":
            return message
        renamed = dict(message)
        pieces = re.split(r"(?<=<tool_call>)(.*?)(?=</tool_call>)", message["content"], flags=re.S)
        renamed["content"] = "".join(self._json_text(piece) for piece in pieces)
        if message.get("calls"):
            renamed["calls"] = [self._json_call(call) for call in message["calls"]]
        if message["role"] == "tool" and self._is_tool(message.get("name")):
            renamed["name"] = self._tool_names[message["name"]]
        return renamed

    def _is_tool(self, name: Any) -> bool:
        return isinstance(name, str) and name in self._tool_names

    def _json_text(self, text: str) -> str:
        try:
            parsed = parse_json(text)
            check_nesting([parsed])
        except DataError:
            return text
        calls = parsed if isinstance(parsed, list) else [parsed]
        if not calls or not all(
            isinstance(call, dict) and self._is_tool(call.get("name")) for call in calls
        ):
            return text
        renamed = [self._json_call(call) for call in calls]
        return json.dumps(renamed if isinstance(parsed, list) else renamed[0], ensure_ascii=False)

    def _json_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        name, renamed = call["name"], dict(call)
        renamed["name"] = self._tool_names[name]
        if isinstance(call.get("arguments"), dict):
            names = self._names[name]
            renamed["arguments"] = {
                names.get(key, key): self._value(name, key, value)
                for key, value in call["arguments"].items()
            }
        return renamed

    def completion(self, text: str, dress: Dress) -> str:
        """A completion in new names, with everything else byte for byte as it was.

        Args:
          text: the completion.
          dress: how it writes calls.

        Returns:
          The text. What no decision closes stays: text around the calls, and what follows the
          last decision of a completion that dies.
        """
        data = text.encode("utf-8", "surrogatepass")
        result = run(tables(dress), data, eot=False)
        pieces: list[bytes] = []
        at, name = 0, ""
        for (kind, _), span in zip(result.events, result.spans, strict=True):
            if span is None:
                continue
            pieces.append(data[at : span[0]])
            at = span[1]
            if kind is Kind.FUNC_NAME:
                name = parse_name(data, span)
                new = _renamed(name, self._tool_names)
                pieces.append(json.dumps(new, ensure_ascii=False).encode())
            else:
                pieces.append(self._argument(name, data, span))
        return b"".join([*pieces, data[at:]]).decode("utf-8", "surrogatepass")

    def _argument(self, tool: str, data: bytes, span: tuple[int, int]) -> bytes:
        spelled = data[span[0] : span[1]].decode()
        _, end = _key_at(spelled)
        parameter, value = parse_argument(data, span)
        rest = spelled[end:]
        new = self._value(tool, parameter, value) if tool in self._names else value
        for change in self._changes:
            if (change["tool"], change["parameter"]) == (tool, parameter):
                new = swap_default(change, new)
        if new != value:  # else the value keeps its spelling
            colon = _COLON.match(rest)
            assert colon is not None
            rest = colon[0] + json.dumps(new, ensure_ascii=False)
        key = _renamed(parameter, self._names.get(tool, {}))
        return (json.dumps(key, ensure_ascii=False) + rest).encode()


def rename_choices(extra: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A record's other keys, with the tools renamed that a request of OpenAI's API asks for."""
    return {
        key: _chosen(value, names) if key in ("tool_choice", "function_call") else value
        for key, value in extra.items()
    }


def _chosen(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_chosen(child, names) for child in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: names.get(child, child)
        if key == "name" and isinstance(child, str)
        else _chosen(child, names)
        for key, child in value.items()
    }


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """The new name; one that the record doesn't know stays, and never becomes one that it knows."""
    if name in names:
        return names[name]
    taken = set(names.values())
    while name in taken:
        name += "_"
    return name
