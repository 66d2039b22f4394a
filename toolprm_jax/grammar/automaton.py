"""The call grammar as byte tables, built from a readable description.

The same tables are run in Python (`grammar.py`) and in JAX (the search), so that a boundary in
training data is a boundary in search.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from .types import (
    EOT,
    MODE_MASK,
    NUM_BYTES,
    NUM_CONTEXTS,
    OP_NONE,
    OP_POP,
    OP_PUSH_ARRAY,
    OP_PUSH_OBJECT,
    SPAN_KEY,
    SPAN_NAME,
    SPAN_NONE,
    ArgumentsKey,
    Dress,
    Kind,
    Tables,
    pack,
)


def _span(low: int, high: int) -> bytes:
    return bytes(range(low, high + 1))


_SPACE = b" \t\n\r"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_CONTINUATION = _span(0x80, 0xBF)
_ASCII_TEXT = bytes(set(_span(0x20, 0x7F)) - set(b'"\\'))  # in a JSON string, stands for itself

# UTF-8 after RFC 3629: state -> (bytes, next state); "" is the end of the character.
_UTF8_LEAD = {
    "cont1": _span(0xC2, 0xDF),
    "e0": b"\xe0",
    "cont2": _span(0xE1, 0xEC) + b"\xee\xef",
    "ed": b"\xed",
    "f0": b"\xf0",
    "cont3": _span(0xF1, 0xF3),
    "f4": b"\xf4",
}
_UTF8_NEXT = {
    "cont1": (_CONTINUATION, ""),
    "cont2": (_CONTINUATION, "cont1"),
    "cont3": (_CONTINUATION, "cont2"),
    "e0": (_span(0xA0, 0xBF), "cont1"),  # no overlong forms
    "ed": (_span(0x80, 0x9F), "cont1"),  # no surrogates
    "f0": (_span(0x90, 0xBF), "cont2"),  # no overlong forms
    "f4": (_span(0x80, 0x8F), "cont2"),  # nothing above U+10FFFF
}


class _Builder:
    """Collects modes and edges; an edge that was not given leads to the dead mode 0."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.expects: list[str] = []
        self.edges: list[list[dict[int, int]]] = []  # [mode][context][byte]
        self.mode("dead", "nothing")

    def mode(self, name: str, expects: str) -> int:
        self.ids[name] = len(self.expects)
        self.expects.append(expects)
        self.edges.append([{} for _ in range(NUM_CONTEXTS)])
        return self.ids[name]

    def on(
        self,
        mode: int,
        symbols: Iterable[int],
        target: int,
        *,
        events: tuple[Kind, ...] = (),
        op: int = OP_NONE,
        span: int = SPAN_NONE,
        contexts: Iterable[int] = range(NUM_CONTEXTS),
    ) -> None:
        event, event2 = [*(kind + 1 for kind in events), 0, 0][:2]
        packed = pack(target, op, event, event2, span)
        symbols = tuple(symbols)
        for context in contexts:
            self.edges[mode][context].update(dict.fromkeys(symbols, packed))

    def literal(self, mode: int, text: bytes, target: int, site: str) -> None:
        """Spells `text` from `mode` to `target` through one new mode per inner byte."""
        for at in range(1, len(text)):
            inner = self.mode(f"{site}.{at}", f"the rest of `{text.decode()}`")
            self.on(mode, text[at - 1 : at], inner)
            mode = inner
        self.on(mode, text[-1:], target)

    def utf8(self, body: int, site: str) -> None:
        """Lets `body` read any character above U+007F, strictly."""
        states = {
            state: self.mode(f"{site}.{state}", "a UTF-8 continuation byte") for state in _UTF8_NEXT
        }
        for state, lead in _UTF8_LEAD.items():
            self.on(body, lead, states[state])
        for state, (symbols, after) in _UTF8_NEXT.items():
            self.on(states[state], symbols, states[after] if after else body)


def _string(builder: _Builder, site: str, close: int, events: tuple[Kind, ...] = ()) -> int:
    r"""A JSON string after its opening quote; returns the mode of its body.

    The states are: `body`; `esc` after a backslash; `u1`..`u4` before the four digits of a
    \u escape, `ud` before the second digit after a `d`; `hi3`, `hi4` before the last two digits of
    a high surrogate, then `lo_esc`, `lo_u`, `lo1`..`lo4` the same for its low surrogate, which
    must follow; and the UTF-8 states `cont1`, `cont2`, `cont3`, `e0`, `ed`, `f0`, `f4`.
    """

    def state(name: str, expects: str) -> int:
        return builder.mode(f"{site}.{name}", expects)

    digit = "a hexadecimal digit of a \\u escape"
    low = "the low surrogate \\udc00-\\udfff"
    body = state("body", "a string's character or closing quote")
    esc = state("esc", 'an escape: one of "\\/bfnrtu')
    u1, u2, u3, u4 = (state(f"u{at}", digit) for at in range(1, 5))
    ud = state("ud", "a \\u escape that is no lone low surrogate")
    hi3, hi4 = state("hi3", digit), state("hi4", digit)
    lo_esc, lo_u = state("lo_esc", low), state("lo_u", low)
    lo1, lo2 = state("lo1", low), state("lo2", low)
    lo3, lo4 = state("lo3", digit), state("lo4", digit)
    on = builder.on
    on(body, _ASCII_TEXT, body)
    on(body, b'"', close, events=events)
    on(body, b"\\", esc)
    builder.utf8(body, site)
    on(esc, b'"\\/bfnrt', body)
    on(esc, b"u", u1)
    on(u1, set(_HEX) - set(b"dD"), u2)
    on(u1, b"dD", ud)
    on(ud, b"01234567", u3)
    on(ud, b"89abAB", hi3)
    for mode, target in ((u2, u3), (u3, u4), (u4, body), (hi3, hi4), (hi4, lo_esc)):
        on(mode, _HEX, target)
    on(lo_esc, b"\\", lo_u)
    on(lo_u, b"u", lo1)
    on(lo1, b"dD", lo2)
    on(lo2, b"cdefCDEF", lo3)
    on(lo3, _HEX, lo4)
    on(lo4, _HEX, body)
    return body


def _value(builder: _Builder, prefix: str, args_next: int, args_closed: int) -> int:
    """A JSON value and what follows it; returns the mode before the value."""

    def mode(name: str, expects: str) -> int:
        return builder.mode(prefix + name, expects)

    on = builder.on
    value = mode("value", "a JSON value")
    after = mode("after_value", "`,` or the closing bracket")
    array_open = mode("array_open", "a JSON value or `]`")
    object_open = mode("object_open", "a key or `}`")
    inner_next = mode("inner_next", "a key of the object")
    inner_colon = mode("inner_colon", "`:`")
    on(inner_colon, _SPACE, inner_colon)
    on(inner_colon, b":", value)
    text = _string(builder, prefix + "text", after)
    inner_key = _string(builder, prefix + "inner_key", inner_colon)

    def delimiters(ends_value: int) -> None:
        on(ends_value, _SPACE, after)
        on(ends_value, b",", args_next, events=(Kind.ARG_VALUE,), contexts=[0])
        finish = (Kind.ARG_VALUE, Kind.PARAM_FINISH)
        on(ends_value, b"}", args_closed, events=finish, contexts=[0])
        on(ends_value, b",", inner_next, contexts=[1])
        on(ends_value, b"}", after, op=OP_POP, contexts=[1])
        on(ends_value, b",", value, contexts=[2])
        on(ends_value, b"]", after, op=OP_POP, contexts=[2])

    delimiters(after)
    numbers = ("neg", "zero", "int", "point", "frac", "exp", "exp_sign", "exp_digits")
    neg, zero, integer, point, frac, exp, exp_sign, exp_digits = (
        mode(f"number.{name}", "a number's next character or what may follow a number")
        for name in numbers
    )
    for ends_value in (zero, integer, frac, exp_digits):
        delimiters(ends_value)
    on(neg, b"0", zero)
    on(neg, b"123456789", integer)
    on(integer, _DIGITS, integer)
    for whole in (zero, integer):
        on(whole, b".", point)
    for significand in (zero, integer, frac):
        on(significand, b"eE", exp)
    on(point, _DIGITS, frac)
    on(frac, _DIGITS, frac)
    on(exp, b"+-", exp_sign)
    for exponent in (exp, exp_sign, exp_digits):
        on(exponent, _DIGITS, exp_digits)

    for before in (value, array_open):
        on(before, _SPACE, before)
        on(before, b'"', text)
        on(before, b"-", neg)
        on(before, b"0", zero)
        on(before, b"123456789", integer)
        on(before, b"{", object_open, op=OP_PUSH_OBJECT)
        on(before, b"[", array_open, op=OP_PUSH_ARRAY)
    for literal in (b"true", b"false", b"null"):
        site = prefix + literal.decode()
        builder.literal(value, literal, after, site)
        on(array_open, literal[:1], builder.ids[f"{site}.1"])
    on(array_open, b"]", after, op=OP_POP, contexts=[2])
    for before in (object_open, inner_next):
        on(before, _SPACE, before)
        on(before, b'"', inner_key)
    on(object_open, b"}", after, op=OP_POP, contexts=[1])
    return value


def _call(builder: _Builder, prefix: str, after_call: int, arguments_key: ArgumentsKey) -> int:
    """One call object after its `{`; returns the mode there.

    The structural keys are spelled plainly: an escape inside them is dead (our choice).
    """

    def mode(name: str, expects: str) -> int:
        return builder.mode(prefix + name, expects)

    def spaced(name: str, expects: str) -> int:
        made = mode(name, expects)
        builder.on(made, _SPACE, made)
        return made

    on = builder.on
    open_ = spaced("call_open", '`"name"`')
    name_colon = spaced("name_colon", "`:`")
    name_value = spaced("name_value", "the function's name, a string")
    after_name = spaced("after_name", "`,`")
    args_key = spaced("args_key", '`"arguments"`')
    args_colon = spaced("args_colon", "`:`")
    args_value = spaced("args_value", "`{`, the arguments object")
    args_open = spaced("args_open", "a parameter name or `}`")
    args_next = spaced("args_next", "a parameter name")
    key_colon = spaced("key_colon", "`:`")
    args_closed = spaced("args_closed", "`}`, the end of the call")

    builder.literal(open_, b'"name"', name_colon, prefix + "name_key")
    on(name_colon, b":", name_value)
    name = _string(builder, prefix + "name", after_name, (Kind.FUNC_NAME,))
    on(name_value, b'"', name, span=SPAN_NAME)
    on(after_name, b",", args_key)
    quote = mode("args_key.quote", "`arguments`")
    on(args_key, b'"', quote)
    builder.literal(quote, b'arguments"', args_colon, prefix + "args_key")
    if arguments_key == "parameters":
        builder.literal(quote, b'parameters"', args_colon, prefix + "params_key")
    on(args_colon, b":", args_value)
    on(args_value, b"{", args_open)
    key = _string(builder, prefix + "key", key_colon)
    for before in (args_open, args_next):
        on(before, b'"', key, span=SPAN_KEY)
    on(args_open, b"}", args_closed, events=(Kind.PARAM_FINISH,))
    value = _value(builder, prefix, args_next, args_closed)
    on(key_colon, b":", value)
    on(args_closed, b"}", after_call, events=(Kind.FUNC_FINISH,))
    return open_


def _list_body(builder: _Builder, prefix: str, after_list: int, arguments_key: ArgumentsKey) -> int:
    """The list of calls after its `[`; returns the mode there."""
    on = builder.on
    list_open = builder.mode(prefix + "list_open", "a call or `]`")
    list_next = builder.mode(prefix + "list_next", "a call")
    after_call = builder.mode(prefix + "after_call", "`,` or `]`")
    call_open = _call(builder, prefix, after_call, arguments_key)
    for before in (list_open, list_next):
        on(before, _SPACE, before)
        on(before, b"{", call_open)
    on(after_call, _SPACE, after_call)
    on(after_call, b",", list_next)
    for before in (list_open, after_call):
        on(before, b"]", after_list, events=(Kind.TOTAL_FINISH,))
    return list_open


def _list_dress(builder: _Builder, arguments_key: ArgumentsKey) -> tuple[set[int], set[int]]:
    """Hammer's dress; returns (accepting, trailing). `start` and `done` exist already."""
    on, start, done = builder.on, builder.ids["start"], builder.ids["done"]
    trailing = builder.mode("trailing", "anything")
    after_list = builder.mode("after_list", "the end of the text")
    fence_list = builder.mode("fenced:after_list", "the closing fence")
    close1 = builder.mode("fenced:close.1", "the rest of the closing fence")
    close2 = builder.mode("fenced:close.2", "the rest of the closing fence")
    on(trailing, range(NUM_BYTES), trailing)
    for mode in (after_list, fence_list, close1, close2):
        on(mode, range(NUM_BYTES), trailing)
    for mode in (after_list, fence_list):
        on(mode, _SPACE, mode)
        on(mode, [EOT], done)
    on(fence_list, b"`", close1)
    on(close1, b"`", close2)
    on(close2, b"`", after_list)

    on(start, _SPACE, start)
    on(start, b"[", _list_body(builder, "", after_list, arguments_key))
    fence = builder.mode("fence_open", "`json` or `[`")
    labelled = builder.mode("fence_labelled", "`[`")
    builder.literal(start, b"```", fence, "fence")
    builder.literal(fence, b"json", labelled, "fence_json")
    fenced_open = _list_body(builder, "fenced:", fence_list, arguments_key)
    for mode in (fence, labelled):
        on(mode, _SPACE, labelled)
        on(mode, b"[", fenced_open)
    return {after_list, fence_list, close1, close2, trailing, done}, {close1, close2, trailing}


_TAG_OPEN, _TAG_CLOSE = b"<tool_call>", b"</tool_call>"


def _tool_call_dress(builder: _Builder, arguments_key: ArgumentsKey) -> tuple[set[int], set[int]]:
    """Qwen's dress; returns (accepting, trailing). `start` is the free text before the calls."""
    on, text, done = builder.on, builder.ids["start"], builder.ids["done"]
    before_call = builder.mode("before_call", "`{`, a call")
    between = builder.mode("between", "another `<tool_call>` or the end of the text")
    after_call = builder.mode("after_call", "`</tool_call>`")
    for mode in (before_call, between, after_call):
        on(mode, _SPACE, mode)
    on(before_call, b"{", _call(builder, "", after_call, arguments_key))
    builder.literal(after_call, _TAG_CLOSE, between, "tag_close")
    builder.literal(between, _TAG_OPEN, before_call, "tag_next")

    # Free text that may turn into the tag: the tag's first byte occurs nowhere else in it, so a
    # mismatch falls back to the tag's first byte or to plain text (Knuth-Morris-Pratt).
    builder.utf8(text, "start")
    builder.literal(text, _TAG_OPEN, before_call, "tag")
    partial = [builder.ids[f"tag.{at}"] for at in range(1, len(_TAG_OPEN))]
    plain = dict(builder.edges[text][0]) | {
        byte: pack(text) for byte in range(0x80) if byte != _TAG_OPEN[0]
    }
    for mode in (text, *partial):
        for context in range(NUM_CONTEXTS):
            builder.edges[mode][context] = plain | builder.edges[mode][context]
    for mode in (text, *partial, between):
        on(mode, [EOT], done, events=(Kind.TOTAL_FINISH,))
    return {done}, set()


@cache
def tables(dress: Dress = "list", arguments_key: ArgumentsKey = "arguments") -> Tables:
    """The automaton of one dress, built once.

    Args:
      dress: "list" (Hammer's list of calls, optionally in a code fence) or "tool_call" (Qwen's
        `<tool_call>` blocks after free text).
      arguments_key: "parameters" also reads that key as "arguments" (the Llama template).

    Returns:
      The tables.

    Raises:
      ValueError: an unknown dress or key.

    Source: arXiv:2510.14703, section 3 (the five decisions); the byte grammar is our choice.
    """
    builders = {"list": _list_dress, "tool_call": _tool_call_dress}
    if dress not in builders:
        raise ValueError(f"dress: expected one of {sorted(builders)}, got {dress!r}")
    if arguments_key not in ("arguments", "parameters"):
        raise ValueError(f"arguments_key: expected arguments or parameters, got {arguments_key!r}")
    builder = _Builder()
    start_expects = {"list": "`[` or a code fence", "tool_call": "valid UTF-8 text"}
    start = builder.mode("start", start_expects[dress])
    done = builder.mode("done", "nothing more")
    builder.on(done, [EOT], done)
    accepting, trailing = builders[dress](builder, arguments_key)
    flat = array("i")
    for context in range(NUM_CONTEXTS):
        for edges in builder.edges:
            flat.extend(_row(edges[context]))
    return Tables(
        transitions=flat,
        names=tuple(builder.ids),
        expects=tuple(builder.expects),
        start=start,
        dead=0,
        done=done,
        accepting=frozenset(accepting),
        trailing=frozenset(trailing),
        links=_links(builder.edges),
    )


def _row(edges: Mapping[int, int]) -> list[int]:
    row = [0] * NUM_BYTES
    for byte, entry in edges.items():
        row[byte] = entry
    return row


def _links(edges: Sequence[Sequence[Mapping[int, int]]]) -> list[list[list[Any]]]:
    links: list[list[list[Any]]] = [
        [[None] * NUM_BYTES + [mode] for mode in range(len(edges))] for _ in range(NUM_CONTEXTS)
    ]
    for mode, by_context in enumerate(edges):
        for linked, given in zip(links, by_context, strict=True):
            row = linked[mode]
            for byte, entry in given.items():
                if entry <= MODE_MASK:
                    row[byte] = linked[entry]
    return links
