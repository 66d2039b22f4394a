"""Checks of one row's fields: messages, tools, calls. Every error names field and expectation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .jsonl import Row, parse_json
from .types import Call, DataError, GoldCall, Tool

MAX_NESTING = 64  # of a row's JSON; what walks through records may recurse
# The keys of our own form, which foreign keys of the same name must not replace.
FOREIGN = "foreign"
RECORD_KEYS = ("id", "query", "tools", "answers", "accepted", "equality", FOREIGN)
CALL_KEYS = ("name", "arguments", FOREIGN)
ACCEPTED_KEYS = (*CALL_KEYS, "optional")
MESSAGE_KEYS = ("role", "content", "calls", FOREIGN)
# Where tools keep their schema: our key, then those of MCP and of Anthropic.
_PARAMETERS = ("parameters", "inputSchema", "input_schema")


def row_object(row: Row) -> tuple[str, dict[str, Any]]:
    """The id and a copy of a row that is an object.

    Raises:
      DataError: it is no object, has no usable id, is nested too deeply, or holds text that is no
        Unicode.
    """
    if row.problem:
        raise DataError(row.problem)
    if not isinstance(row.value, dict):
        raise DataError(f"expected an object, found {type(row.value).__name__}")
    if row.id is None:
        raise DataError("id: expected a string or an integer")
    check_nesting(row.value)
    check_unicode(row.value)
    value = dict(row.value)
    value.pop("id", None)
    return row.id, value


def check_nesting(value: Any) -> None:
    """Checks that what walks through a value may recurse.

    Args:
      value: a JSON object or list.

    Raises:
      DataError: it is nested more than `MAX_NESTING` deep.
    """
    level, depth = [value], 0
    while level:
        if depth > MAX_NESTING:
            raise DataError(f"expected JSON nested at most {MAX_NESTING} deep")
        depth += 1
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]


def check_unicode(value: Any) -> None:
    """Checks that JSON holds no text that tokenizers and files can't take.

    Raises:
      DataError: it holds a lone surrogate.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError("expected Unicode text, found a lone surrogate") from None


def beside(
    ours: Mapping[str, Any], extra: Mapping[str, Any], keys: Sequence[str]
) -> dict[str, Any]:
    """`ours` and what was kept beside it; what bears a name of ours stands under `foreign`.

    Args:
      ours: keys and values of our form.
      extra: other keys, as their owner wrote them.
      keys: all that our form has.

    Returns:
      One object, from which `kept_beside` gets `extra` back.
    """
    hidden = {key: value for key, value in extra.items() if key in keys}
    plain = {key: value for key, value in extra.items() if key not in keys}
    return {**ours, **plain, **({FOREIGN: hidden} if hidden else {})}


def kept_beside(value: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """What stands beside the keys of our form, those under `foreign` included."""
    extra = {key: child for key, child in value.items() if key not in keys}
    hidden = value.get(FOREIGN)
    if isinstance(hidden, dict) and hidden and hidden.keys() <= set(keys):
        return {**extra, **hidden}
    return {**extra, FOREIGN: hidden} if FOREIGN in value else extra


def unpack(field: str, value: Any) -> Any:
    """The value of a field that may hold JSON in a string."""
    if not isinstance(value, str):
        return value
    try:
        parsed = parse_json(value)
        if isinstance(parsed, dict | list):
            check_nesting(parsed)
        return parsed
    except DataError as error:
        raise DataError(f"{field}: {error}") from None


def list_of(field: str, value: Any) -> list[Any]:
    """The value of a field that must be a list."""
    if not isinstance(value, list):
        raise DataError(f"{field}: expected a list, found {type(value).__name__}")
    return value


def messages_of(field: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    """The messages of a query: a string, or a list of `{"role", "content", "calls"?}`."""
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise DataError(f"{field}: expected a string or a list of messages")
    for i, message in enumerate(value):
        if not isinstance(message, dict):
            raise DataError(f"{field}[{i}]: expected an object with 'role' and 'content'")
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                raise DataError(f"{field}[{i}].{key}: expected a string")
        if "calls" in message:
            for j, call in enumerate(list_of(f"{field}[{i}].calls", message["calls"])):
                exact_gold(f"{field}[{i}].calls[{j}]", call)
    if value[-1]["role"] != "tool" and not value[-1]["content"].strip():
        raise DataError(f"{field}: expected a text, found an empty one")
    return tuple(value)


def tools_of(field: str, value: Any, *, may_be_empty: bool = False) -> tuple[Tool, ...]:
    """The tools of a query; none at all only where no call is right."""
    tools = tuple(_tool(f"{field}[{i}]", tool) for i, tool in enumerate(list_of(field, value)))
    if not tools and not may_be_empty:
        raise DataError(f"{field}: expected at least one tool, found none")
    return tools


def _tool(field: str, value: Any) -> Tool:
    name = _name(field, value)
    description = value.get("description") or ""
    if not isinstance(description, str):
        raise DataError(f"{field}.description: expected a string")
    key = next((key for key in _PARAMETERS if value.get(key) is not None), "parameters")
    parameters = value.get(key)
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise DataError(f"{field}.{key}: expected an object")
    extra = {k: v for k, v in value.items() if k not in ("name", "description", "parameters", key)}
    tool = Tool(name, description, parameters, extra)
    if tool.is_json_schema:
        required = parameters.get("required")
        required = [] if required is None else required
        if not isinstance(required, list) or not all(isinstance(n, str) for n in required):
            raise DataError(f"{field}.{key}.required: expected a list of strings")
    return tool


def _name(field: str, value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name:
        raise DataError(f"{field}: expected an object with a non-empty string 'name'")
    return name


def exact_gold(field: str, value: Any) -> GoldCall:
    """The gold of one `{"name", "arguments"}`; its other keys are kept."""
    name = _name(field, value)
    if not isinstance(value.get("arguments"), dict):
        raise DataError(f"{field}.arguments: expected an object")
    extra = kept_beside(value, CALL_KEYS)
    return GoldCall.exact(Call(name, value["arguments"]), extra)


def accepted_gold(field: str, value: Any) -> GoldCall:
    """The gold of one `{"name", "arguments": {parameter: [accepted, ...]}, "optional"}`."""
    name = _name(field, value)
    arguments, optional = value.get("arguments"), value.get("optional", [])
    if not isinstance(arguments, dict) or not all(
        isinstance(values, list) and values for values in arguments.values()
    ):
        raise DataError(f"{field}.arguments: expected a list of accepted values per parameter")
    if not isinstance(optional, list) or not all(isinstance(n, str) for n in optional):
        raise DataError(f"{field}.optional: expected a list of strings")
    extra = kept_beside(value, ACCEPTED_KEYS)
    accepted = {parameter: tuple(values) for parameter, values in arguments.items()}
    return GoldCall(name, accepted, frozenset(optional), extra)
