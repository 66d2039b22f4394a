"""Reader of OpenAI's chat format: `messages` with `tool_calls`, and `tools`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .fields import exact_gold, list_of, messages_of, row_object, tools_of, unpack
from .jsonl import Row
from .types import DataError, Record


def parse_conversation(row: Row) -> Sequence[Record]:
    """The records of one conversation: one for each assistant turn.

    The messages before a turn are its query, its `tool_calls` are the gold, and a turn without any
    means that no call is right there. A turn with `"weight": 0` is history only. The id is the
    row's, with `/0`, `/1`, ... where a conversation has several turns. A conversation without
    assistant turn is one record whose gold is not known.

    Args:
      row: `{"messages": [...], "tools": [...]}`; `tools` may be JSON in a string.

    Returns:
      At least one record.

    Raises:
      DataError: with the field and what was expected.

    Source: OpenAI's API reference (chat completions, fine-tuning); one record a turn: our choice.
    """
    record_id, value = row_object(row)
    tools = bare_functions(list_of("tools", unpack("tools", value.pop("tools", []) or [])))
    given = list_of("messages", unpack("messages", value.pop("messages", None)))
    messages = [plain_message(f"messages[{i}]", message) for i, message in enumerate(given)]
    turns = [
        i
        for i, message in enumerate(messages)
        if message["role"] == "assistant" and message.get("weight", 1) != 0
    ]
    ends = turns or [len(messages)]
    records = []
    for number, end in enumerate(ends):
        golds, extra = None, dict(value)
        if turns:
            golds = tuple(
                exact_gold(f"messages[{end}].tool_calls[{k}]", call)
                for k, call in enumerate(messages[end].get("calls", ()))
            )
            # What the turn says besides its calls is no part of the gold.
            beside = {k: v for k, v in messages[end].items() if k not in ("role", "calls") and v}
            if beside:
                extra["turn"] = beside
        if not end:
            raise DataError(f"messages[{end}]: expected a message before the assistant's")
        records.append(
            Record(
                f"{record_id}/{number}" if len(ends) > 1 else record_id,
                messages_of("messages", messages[:end]),
                tools_of("tools", tools, may_be_empty=golds == ()),
                golds,
                extra=extra,
            )
        )
    return records


def bare_functions(tools: list[Any]) -> list[Any]:
    """The function of every `{"type": "function", "function": {...}}`; bare ones are taken too."""
    functions = []
    for i, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise DataError(f"tools[{i}]: expected an object")
        if tool.get("type", "function") != "function":
            raise DataError(f"tools[{i}].type: expected 'function', found {tool['type']!r}")
        inner = tool.get("function")
        if isinstance(inner, Mapping):
            outer = {k: v for k, v in tool.items() if k not in ("type", "function")}
            functions.append({**outer, **inner})
        else:
            functions.append({k: v for k, v in tool.items() if k != "type"})
    return functions


def plain_message(field: str, message: Any) -> dict[str, Any]:
    """A message in our form: text as `content`, `tool_calls` as `calls`, other keys as they are."""
    if not isinstance(message, Mapping):
        raise DataError(f"{field}: expected an object with 'role' and 'content'")
    out = {k: v for k, v in message.items() if k not in ("content", "tool_calls")}
    out["content"] = _text(f"{field}.content", message.get("content"))
    calls = message.get("tool_calls")
    if calls:
        given = list_of(f"{field}.tool_calls", calls)
        out["calls"] = [_call(f"{field}.tool_calls[{k}]", call) for k, call in enumerate(given)]
    return out


def _text(field: str, content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for k, part in enumerate(list_of(field, content)):
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise DataError(f"{field}[{k}]: expected a part of type 'text'")
        texts.append(part["text"])
    return "".join(texts)


def _call(field: str, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise DataError(f"{field}.function: expected an object with 'name' and 'arguments'")
    arguments = function.get("arguments")
    # Some exports keep arguments as an object, and a call without any as an empty string.
    arguments = {} if arguments in ("", None) else unpack(f"{field}.function.arguments", arguments)
    extra = {k: v for k, v in call.items() if k not in ("function", "type")}
    made = {"name": function.get("name"), "arguments": arguments, **extra}
    exact_gold(f"{field}.function", made)  # for its checks
    return made
