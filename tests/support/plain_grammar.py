"""A strict reader of lists of calls, written from RFC 8259 and the shape of a call."""

from __future__ import annotations

import json
from typing import Any

from toolprm_jax.grammar.types import MAX_DEPTH, Kind


class Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys in order, repeated ones included."""


def refuse(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate raises
    elif isinstance(value, Pairs):
        if depth == MAX_DEPTH:
            raise ValueError("too deep")
        for key, item in value:
            check(key, depth + 1)
            check(item, depth + 1)
    elif isinstance(value, list):
        if depth == MAX_DEPTH:
            raise ValueError("too deep")
        for item in value:
            check(item, depth + 1)


def reference_calls(text: str) -> list[Kind] | None:
    """The decisions of a list of calls without fence or trailing text, or None."""
    try:
        # CPython's reader joins surrogate halves only when they are adjacent escapes, as we do.
        found = json.loads(text, parse_constant=refuse, object_pairs_hook=Pairs)
        if isinstance(found, Pairs) or not isinstance(found, list):
            return None
        kinds: list[Kind] = []
        for call in found:
            if not isinstance(call, Pairs) or [key for key, _ in call] != ["name", "arguments"]:
                return None
            (_, name), (_, arguments) = call
            if not isinstance(name, str) or not isinstance(arguments, Pairs):
                return None
            check(name, 0)
            for key, item in arguments:
                check(key, 0)
                check(item, 0)
            kinds += [Kind.FUNC_NAME, *[Kind.ARG_VALUE] * len(arguments)]
            kinds += [Kind.PARAM_FINISH, Kind.FUNC_FINISH]
        return [*kinds, Kind.TOTAL_FINISH]
    except (ValueError, RecursionError):
        return None


def reference(data: bytes) -> list[Kind] | None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    # The structural keys have to be spelled plainly: an escape in them is refused by choice.
    return reference_calls(text)


def mutate(data: bytes, mutation: tuple[str, float, int]) -> bytes:
    how, where, byte = mutation
    at = int(where * (len(data) + 1))
    if how == "insert":
        return data[:at] + bytes([byte]) + data[at:]
    if how == "delete":
        return data[:at] + data[at + 1 :]
    if how == "replace":
        return data[:at] + bytes([byte]) + data[at + 1 :]
    return data[:at] + data[max(0, at - byte % 8) : at] + data[at:]
