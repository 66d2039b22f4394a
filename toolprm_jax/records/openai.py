"""Reader of OpenAI's chat format: `messages` with `tool_calls`, and `tools`, old and new forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .fields import (
    CALL_KEYS,
    MESSAGE_KEYS,
    beside,
    exact_gold,
    list_of,
    messages_of,
    row_object,
    tools_of,
    unpack,
)
from .jsonl import Row
from .types import DataError, Record

# OpenAI's roles in our terms: developers are the later name of the system, functions are tools.
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def parse_conversation(row: Row) -> Sequence[Record]:
    """The records of one conversation: one for each turn of the assistant.

    The messages before a turn are its query, its `tool_calls` are the gold, and a turn without any
    means that no call is right there. Neighbouring messages of the assistant are one turn. A turn
    with `"weight": 0`, and a greeting before the user's first message, is history only. The id is
    the row's, with `/0`, `/1`, ... where a conversation has several turns. A conversation without
    a turn of the assistant is one record whose gold is not known.

    Args:
      row: `{"messages": [...], "tools": [...]}`, or the older `functions`; `tools` may be JSON in
        a string. Messages may be items of the Responses API.

    Returns:
      At least one record.

    Raises:
      DataError: with the field and what was expected.

    Source: OpenAI's API reference (chat completions, fine-tuning, responses); one record a turn:
      our choice.
    """
    record_id, value = row_object(row)
    tools = _listed_tools(value)
    given = list_of("messages", unpack("messages", value.pop("messages", None)))
    plain = [plain_message(f"messages[{i}]", message) for i, message in enumerate(given)]
    messages = list(_joined(plain))
    ends = _turns(messages)
    if not ends and any(_counts(message) for message in messages):
        raise DataError("messages[0]: expected a message before the assistant's")
    records = []
    for number, end in enumerate(ends or [len(messages)]):
        golds, extra = None, dict(value)
        if ends:
            golds = tuple(
                exact_gold(f"messages[{end}].calls[{k}]", call)
                for k, call in enumerate(messages[end].get("calls", ()))
            )
            # What the turn says besides its calls is no part of the gold.
            said = {k: v for k, v in messages[end].items() if k not in ("role", "calls") and v}
            if said:
                extra = _with_turn(extra, said)
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


def _listed_tools(value: dict[str, Any]) -> list[Any]:
    """The functions of `tools`, and those of the older `functions` that it doesn't name."""
    tools, older = (
        bare_functions(list_of(field, unpack(field, value.pop(field, None) or [])), field)
        for field in ("tools", "functions")
    )
    names = [tool.get("name") for tool in tools]
    return [*tools, *(tool for tool in older if tool.get("name") not in names)]


def _with_turn(extra: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """`extra` with what a turn says; a foreign `turn` stands inside it."""
    if "turn" in extra:
        said = beside(said, {"turn": extra["turn"]}, ("turn",))
    return {**extra, "turn": said}


def _counts(message: Mapping[str, Any]) -> bool:
    """Whether a message is one of the assistant's that is learnt from."""
    return message["role"] == "assistant" and message.get("weight") in (None, 1)


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Where the turns of the assistant are that answer something."""
    found, asked = [], False
    for i, message in enumerate(messages):
        asked |= message["role"] in ("user", "tool")
        if _counts(message):
            if i and (asked or message.get("calls")):
                found.append(i)
            elif message.get("calls"):
                raise DataError(f"messages[{i}]: expected a message before the assistant's calls")
    return found


def _joined(messages: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Messages; neighbours of the assistant that are learnt from, or not, alike as one."""
    last: dict[str, Any] | None = None
    for message in messages:
        if last is not None:
            if last["role"] == message["role"] == "assistant" and _counts(last) == _counts(message):
                last = _join(last, message)
                continue
            yield last
        last = message
    if last is not None:
        yield last


def _join(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two messages of the assistant as one; where other keys differ, the later stand under it."""
    out = {**second, **{key: value for key, value in first.items() if value is not None}}
    texts = (first["content"], second["content"])
    out["content"] = "\n".join(text for text in texts if text)
    calls = [*first.get("calls", ()), *second.get("calls", ())]
    if calls:
        out["calls"] = calls
    differs = {k: v for k, v in second.items() if k not in MESSAGE_KEYS and out[k] != v}
    if differs:
        out["neighbours"] = [*first.get("neighbours", ()), differs]
    return out


def bare_functions(tools: list[Any], field: str = "tools") -> list[Any]:
    """The function of every `{"type": "function", "function": {...}}`; bare ones are taken too.

    Args:
      tools: the tools, those of Anthropic (`input_schema`) and of MCP (`inputSchema`) included.
      field: their name, for errors.

    Raises:
      DataError: one is no function, or says the same thing twice.
    """
    functions = []
    for i, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise DataError(f"{field}[{i}]: expected an object")
        kind = tool.get("type", "function")
        if kind not in ("function", None) and not (kind == "custom" and "input_schema" in tool):
            raise DataError(f"{field}[{i}].type: expected 'function', found {kind!r}")
        outer = {k: v for k, v in tool.items() if k != "type"}
        inner = outer.get("function")
        if isinstance(inner, Mapping):
            del outer["function"]
            for key in outer.keys() & inner.keys():
                if outer[key] != inner[key]:
                    raise DataError(f"{field}[{i}].{key}: expected it inside of 'function' only")
            outer.update(inner)
        functions.append(outer)
    return functions


def plain_message(field: str, message: Any) -> dict[str, Any]:
    """A message in our form.

    Args:
      field: its name, for errors.
      message: of the chat format, or an item of the Responses API.

    Returns:
      `{"role", "content", "calls"?}`: text as `content`, `tool_calls` or a `function_call` as
      `calls`, other keys as they are.

    Raises:
      DataError: with the field and what was expected.
    """
    if not isinstance(message, Mapping):
        raise DataError(f"{field}: expected an object with 'role' and 'content'")
    if "role" not in message and isinstance(message.get("type"), str):
        return _item(field, message)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise DataError(f"{field}.role: expected one of {', '.join(_ROLES)}, found {role!r}")
    weight = message.get("weight")
    if isinstance(weight, bool) or weight not in (None, 0, 1):
        raise DataError(f"{field}.weight: expected 0 or 1, found {weight!r}")
    ours: dict[str, Any] = {
        "role": _ROLES[role],
        "content": _text(f"{field}.content", message.get("content")),
    }
    calls = _calls(field, message)
    if calls:
        if role != "assistant":
            raise DataError(f"{field}: expected calls of the assistant, found some of {role!r}")
        ours["calls"] = calls
    extra = {
        k: v
        for k, v in message.items()
        if k not in ("role", "content", "tool_calls", "function_call")
        and not (k == "type" and v == "message")
    }
    return beside(ours, extra, MESSAGE_KEYS)


def _calls(field: str, message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls of a message, in its `tool_calls` or its older `function_call`."""
    given = list_of(f"{field}.tool_calls", message.get("tool_calls") or [])
    calls = [_call(f"{field}.tool_calls[{k}]", call) for k, call in enumerate(given)]
    if message.get("function_call") is not None:
        older = _function(f"{field}.function_call", message["function_call"], {})
        said = [(call["name"], call["arguments"]) for call in calls]
        if calls and (older["name"], older["arguments"]) not in said:
            raise DataError(f"{field}.function_call: expected one of the tool_calls beside it")
        calls = calls or [older]
    return calls


def _item(field: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of the Responses API that is no message."""
    kind = item["type"]
    if kind == "function_call":
        extra = {k: v for k, v in item.items() if k not in ("type", "name", "arguments")}
        return {"role": "assistant", "content": "", "calls": [_function(field, item, extra)]}
    if kind == "function_call_output":
        content = _text(f"{field}.output", item.get("output"))
        extra = {k: v for k, v in item.items() if k not in ("type", "output", "call_id")}
        ours = {"role": "tool", "content": content, "tool_call_id": item.get("call_id")}
        return beside(ours, extra, (*MESSAGE_KEYS, "tool_call_id"))
    raise DataError(
        f"{field}.type: expected a message with a role, 'function_call' or "
        f"'function_call_output', found {kind!r}"
    )


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
    extra = {k: v for k, v in function.items() if k not in ("name", "arguments")}
    extra |= {k: v for k, v in call.items() if k not in ("function", "type")}
    return _function(f"{field}.function", function, extra)


def _function(field: str, function: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    """`{"name", "arguments"}` in our form, and what was said beside it."""
    if not isinstance(function, Mapping):
        raise DataError(f"{field}: expected an object with 'name' and 'arguments'")
    arguments = function.get("arguments")
    # Some exports keep arguments as an object, and a call without any as an empty string.
    arguments = {} if arguments in ("", None) else unpack(f"{field}.arguments", arguments)
    made = beside({"name": function.get("name"), "arguments": arguments}, extra, CALL_KEYS)
    exact_gold(field, made)  # for its checks
    return made
