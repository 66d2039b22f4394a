"""JSON calls as byte automata, built from a readable description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .types import (
    NUM_CONTEXTS,
    OP_NONE,
    OP_POP,
    OP_PUSH_ARRAY,
    OP_PUSH_OBJECT,
    SPAN_KEY,
    SPAN_NAME,
    SPAN_NONE,
    Kind,
    Place,
    Site,
    pack,
)


def _span(low: int, high: int) -> bytes:
    return bytes(range(low, high + 1))


SPACE = b" \t\n\r"
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


def _place(state: str) -> Place:
    return Place[state.upper()]


class Builder:
    """Collects modes and edges; an edge that was not given leads to the dead mode 0."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.expects: list[str] = []
        self.sites: list[Site] = []
        self.places: list[Place] = []
        self.edges: list[list[dict[int, int]]] = []  # [mode][context][byte]
        self.mode("dead", "nothing")

    def mode(
        self,
        name: str,
        expects: str,
        site: Site = Site.ELSEWHERE,
        place: Place = Place.NOWHERE,
    ) -> int:
        """A new mode; its name is for error messages."""
        self.ids[name] = len(self.expects)
        self.expects.append(expects)
        self.sites.append(site)
        self.places.append(place)
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
        """Leads from a mode to another on some bytes."""
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

    def otherwise(self, mode: int, like: int) -> None:
        """Lets a mode do what another does on the bytes that it has no edge for."""
        for context, own in enumerate(self.edges[mode]):
            self.edges[mode][context] = self.edges[like][context] | own

    def utf8(self, bodies: Sequence[int], name: str) -> None:
        """Lets modes read any character above U+007F, strictly; the first comes after it."""
        site = self.sites[bodies[0]]
        states = {
            state: self.mode(f"{name}.{state}", "a UTF-8 continuation byte", site, _place(state))
            for state in _UTF8_NEXT
        }
        for body in bodies:
            for state, lead in _UTF8_LEAD.items():
                self.on(body, lead, states[state])
        for state, (symbols, after) in _UTF8_NEXT.items():
            self.on(states[state], symbols, states[after] if after else bodies[0])

    def text(self, body: int, name: str, words: Mapping[bytes, int]) -> dict[bytes, int]:
        """Lets `body` read free text until an ASCII word leads elsewhere (Aho and Corasick, 1975).

        Args:
          body: the mode between characters.
          name: of the new modes.
          words: and where they lead; none is part of another.

        Returns:
          The mode behind every beginning of a word, `body` behind the empty one.
        """
        beginnings = sorted({word[:at] for word in words for at in range(1, len(word))})
        site = self.sites[body]
        modes = {b"": body}
        for beginning in beginnings:
            spelled = f"{name}.{beginning.decode()}"
            modes[beginning] = self.mode(spelled, "valid UTF-8 text", site)
        for beginning, mode in modes.items():
            for byte in range(0x80):
                read = beginning + bytes([byte])
                ends = (read[at:] for at in range(len(read) + 1))
                longest = next(end for end in ends if end in words or end in modes)
                self.on(mode, [byte], words[longest] if longest in words else modes[longest])
        self.utf8(list(modes.values()), name)
        return modes


def _string(
    builder: Builder, name: str, site: Site, close: int, events: tuple[Kind, ...] = ()
) -> int:
    """A JSON string after its opening quote; returns the mode of its body."""

    def state(place: str, expects: str) -> int:
        return builder.mode(f"{name}.{place}", expects, site, _place(place))

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
    builder.utf8([body], name)
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


def _value(builder: Builder, prefix: str, args_next: int, args_closed: int) -> int:
    """A JSON value and what follows it; returns the mode before the value."""

    def mode(name: str, expects: str, site: Site = Site.ELSEWHERE) -> int:
        return builder.mode(prefix + name, expects, site)

    on = builder.on
    value = mode("value", "a JSON value", Site.VALUE)
    after = mode("after_value", "`,` or the closing bracket", Site.AFTER_VALUE)
    array_open = mode("array_open", "a JSON value or `]`", Site.ARRAY_OPEN)
    object_open = mode("object_open", "a key or `}`", Site.OBJECT_OPEN)
    inner_next = mode("inner_next", "a key of the object", Site.INNER_NEXT)
    inner_colon = mode("inner_colon", "`:`")
    on(inner_colon, SPACE, inner_colon)
    on(inner_colon, b":", value)
    text = _string(builder, prefix + "text", Site.TEXT, after)
    inner_key = _string(builder, prefix + "inner_key", Site.INNER_KEY, inner_colon)

    def delimiters(ends_value: int) -> None:
        on(ends_value, SPACE, after)
        on(ends_value, b",", args_next, events=(Kind.ARG_VALUE,), contexts=[0])
        finish = (Kind.ARG_VALUE, Kind.PARAM_FINISH)
        on(ends_value, b"}", args_closed, events=finish, contexts=[0])
        on(ends_value, b",", inner_next, contexts=[1])
        on(ends_value, b"}", after, op=OP_POP, contexts=[1])
        on(ends_value, b",", value, contexts=[2])
        on(ends_value, b"]", after, op=OP_POP, contexts=[2])

    delimiters(after)
    numbers = ("neg", "zero", "int", "point", "frac", "exp", "exp_sign", "exp_digits")
    places = {"frac": Place.FRACTION, "exp": Place.EXPONENT}
    neg, zero, integer, point, frac, exp, exp_sign, exp_digits = (
        builder.mode(
            f"{prefix}number.{name}",
            "a number's next character or what may follow a number",
            Site.NUMBER,
            places.get(name, Place.NOWHERE),
        )
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
        on(before, SPACE, before)
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
        on(before, SPACE, before)
        on(before, b'"', inner_key)
    on(object_open, b"}", after, op=OP_POP, contexts=[1])
    return value


def call(
    builder: Builder, prefix: str, after_call: int, keys: Sequence[str] = ("arguments",)
) -> int:
    """One call object after its `{`.

    The structural keys are spelled plainly: an escape inside them is dead (our choice).

    Args:
      builder: gets its modes.
      prefix: of their names.
      after_call: the mode after its `}`.
      keys: what the key of the arguments may be.

    Returns:
      The mode after the `{`.
    """

    def spaced(name: str, expects: str, site: Site = Site.ELSEWHERE) -> int:
        made = builder.mode(prefix + name, expects, site)
        builder.on(made, SPACE, made)
        return made

    on = builder.on
    open_ = spaced("call_open", '`"name"`', Site.CALL)
    name_colon = spaced("name_colon", "`:`")
    name_value = spaced("name_value", "the function's name, a string", Site.NAME_START)
    after_name = spaced("after_name", "`,`")
    named = " or ".join(f'`"{key}"`' for key in keys)
    args_key = spaced("args_key", named)
    args_colon = spaced("args_colon", "`:`")
    args_value = spaced("args_value", "`{`, the arguments object", Site.ARGS_START)
    args_open = spaced("args_open", "a parameter name or `}`", Site.ARGS_OPEN)
    args_next = spaced("args_next", "a parameter name", Site.ARGS_NEXT)
    key_colon = spaced("key_colon", "`:`")
    args_closed = spaced("args_closed", "`}`, the end of the call")

    builder.literal(open_, b'"name"', name_colon, prefix + "name_key")
    on(name_colon, b":", name_value)
    name = _string(builder, prefix + "name", Site.NAME, after_name, (Kind.FUNC_NAME,))
    on(name_value, b'"', name, span=SPAN_NAME)
    on(after_name, b",", args_key)
    quote = builder.mode(prefix + "args_key.quote", named)
    on(args_key, b'"', quote)
    for word in keys:
        builder.literal(quote, f'{word}"'.encode(), args_colon, f"{prefix}{word}_key")
    on(args_colon, b":", args_value)
    on(args_value, b"{", args_open)
    key = _string(builder, prefix + "key", Site.KEY, key_colon)
    for before in (args_open, args_next):
        on(before, b'"', key, span=SPAN_KEY)
    on(args_open, b"}", args_closed, events=(Kind.PARAM_FINISH,))
    value = _value(builder, prefix, args_next, args_closed)
    on(key_colon, b":", value)
    on(args_closed, b"}", after_call, events=(Kind.FUNC_FINISH,))
    return open_
