"""Finite automata over bytes for strict decoding: listed strings, numbers, integer ranges.

A target below zero is `-1 - index` of what has been read to its end. State 0 means none: of keys,
that what has been read is the beginning of no listed one. An escape that might spell a letter of a
listed key is followed through states 1 to 4 first.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FIRST_STATE = 5
_ESCAPED, _U, _ZERO, _ZEROS = range(1, 5)  # off the listed keys
END_OF_NUMBER = 0  # stands for whatever follows a number; no byte of JSON is 0
_HEX = b"0123456789abcdefABCDEF"
_NO_LETTER = bytes(byte for byte in _HEX if byte not in b"234567")  # third digits of \u00XX
_SHORT = {'"': b'\\"', "\\": b"\\\\", "/": b"\\/", "\b": b"\\b", "\f": b"\\f", "\n": b"\\n",
          "\r": b"\\r", "\t": b"\\t"}  # fmt: skip


class Packed(NamedTuple):
    """Automata as arrays: the edge of a state by a byte is at `base[state] + byte`."""

    base: NDArray  # int32[states]
    edges: NDArray  # int32[slots, 2]: the state that the edge leaves, -1 for none, and its target


@cache
def spellings(char: str) -> tuple[bytes, ...]:
    r"""How a character may be written inside a JSON string, digits of \u escapes in lower case.

    A printable ASCII character stands for itself or has its short escape; only others are also
    spelled `\uXXXX` (our choice: six states for every letter would buy nothing).
    """
    ways = []
    if char not in '"\\' and ord(char) >= 0x20:
        ways.append(char.encode("utf-8", "surrogatepass"))
    if char in _SHORT:
        ways.append(_SHORT[char])
    if not 0x20 <= ord(char) <= 0x7E:
        units = char.encode("utf-16-be", "surrogatepass")
        pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
        ways.append("".join("\\u" + pair for pair in pairs).encode())
    return tuple(ways)


class Automata:
    """Automata in the making; their states share one numbering."""

    def __init__(self) -> None:
        self.edges: list[dict[int, int]] = [{} for _ in range(FIRST_STATE)]
        self.edges[_ESCAPED][ord("u")] = _U
        for state, after in ((_U, _ZERO), (_ZERO, _ZEROS)):
            self.edges[state].update(dict.fromkeys(_HEX, 0) | {ord("0"): after})
        self.edges[_ZEROS].update(dict.fromkeys(_NO_LETTER, 0))
        self.reach: dict[int, int] = {}  # of states of strings: bits of what may yet be read
        self._known: dict[object, int] = {}

    def state(self) -> int:
        """A new state."""
        self.edges.append({})
        return len(self.edges) - 1

    def strings(self, texts: Iterable[str], keys: bool = False) -> int:
        """The automaton of strings after their opening quote; returns its first state.

        The closing quote of the i-th leads to `-1 - i`; `reach` gets the bits of all i ahead. Where
        they are keys, an escape that begins as one of theirs may yet spell something else.
        """
        listed = tuple(texts)
        if (listed, keys) in self._known:
            return self._known[listed, keys]
        self._escapes: dict[int, bytes] = {}
        tree: dict[str, dict] = {}
        for index, text in enumerate(listed):
            node = tree
            for char in text:
                node = node.setdefault(char, {})
            node[""] = {"index": index}
        root = self.state()
        # Depth first, so that what a state reaches is known once its children are done.
        todo: list[tuple[dict, int, bool]] = [(tree, root, False)]
        children: dict[int, list[tuple[str, int]]] = {}
        while todo:
            node, state, done = todo.pop()
            if done:
                self._spell(state, children[state], node.get(""))
                continue
            todo.append((node, state, True))
            children[state] = []
            for char, below in node.items():
                if char:
                    target = self.state()
                    children[state].append((char, target))
                    todo.append((below, target, False))
        if keys:
            self._leave()
        self._known[listed, keys] = root
        return root

    def _leave(self) -> None:
        """Edges from inside the escapes of listed keys to where these aren't what is spelled."""
        for state, way in self._escapes.items():
            edges = self.edges[state]
            letters = way[2:4] == b"00"[: len(way) - 2]  # whether it may still be one
            if len(way) == 1:
                edges.setdefault(ord("u"), _U)
                continue
            elsewhere = dict.fromkeys(_HEX, 0)
            if letters and len(way) < 4:
                elsewhere[ord("0")] = _ZERO if len(way) == 2 else _ZEROS
            elif letters and len(way) == 4:
                elsewhere = dict.fromkeys(_NO_LETTER, 0)
            elif letters and len(way) == 5 and way[4] not in _NO_LETTER:
                elsewhere = {}
            edges.update({byte: to for byte, to in elsewhere.items() if byte not in edges})

    def _spell(self, state: int, children: list[tuple[str, int]], end: dict | None) -> None:
        """Edges from a state between two characters to those after each child."""
        reach = 0
        if end is not None:
            reach |= 1 << end["index"]
            self.edges[state][ord('"')] = -1 - end["index"]
        for char, target in children:
            ahead = self.reach[target]
            reach |= ahead
            for way in spellings(char):
                self._write(state, way, target, ahead)
        self.reach[state] = reach

    def _write(self, state: int, way: bytes, target: int, ahead: int) -> None:
        """One spelling of a character as edges, the digits of an escape in either case."""
        for at, byte in enumerate(way):
            edges = self.edges[state]
            after = target
            if at + 1 < len(way):
                after = edges.get(byte) or self.state()
                if way.startswith(b"\\"):
                    self._escapes[after] = way[: at + 1]
                self.reach[after] = self.reach.get(after, 0) | ahead
            edges[byte] = after
            if way.startswith(b"\\u") and at % 6 >= 2 and byte in b"abcdef":
                edges[byte - 32] = after
            state = after

    def integer(self) -> int:
        """The automaton of integers from their first byte: 12, -0, 12.00, 12e3."""
        if "integer" in self._known:
            return self._known["integer"]
        start, negative, zero, whole = (self.state() for _ in range(4))
        digits = range(ord("0"), ord("9") + 1)
        for before in (start, negative):
            self.edges[before].update(dict.fromkeys(digits, whole) | {ord("0"): zero})
        self.edges[start][ord("-")] = negative
        self.edges[whole].update(dict.fromkeys(digits, whole))
        exponent, sign, more = (self.state() for _ in range(3))
        fraction = self._zeros()
        for before in (zero, whole):
            self.edges[before].update(self.edges[fraction])
        for before in (zero, whole, self._fraction_of(fraction)):
            self.edges[before].update({ord("e"): exponent, ord("E"): exponent})
        self.edges[exponent].update(dict.fromkeys(digits, more) | {ord("+"): sign})
        self.edges[sign].update(dict.fromkeys(digits, more))
        self.edges[more].update(dict.fromkeys(digits, more) | {END_OF_NUMBER: -1})
        self._known["integer"] = start
        return start

    def _zeros(self) -> int:
        """A state after an integer that may end, or go on with `.`, zeros."""
        end, point, zeros = (self.state() for _ in range(3))
        self.edges[end].update({END_OF_NUMBER: -1, ord("."): point})
        self.edges[point][ord("0")] = zeros
        self.edges[zeros].update({END_OF_NUMBER: -1, ord("0"): zeros})
        return end

    def _fraction_of(self, end: int) -> int:
        """The state within the zeros of `_zeros`."""
        return self.edges[self.edges[end][ord(".")]][ord("0")]

    def numbers(self, spelled: Iterable[str]) -> int:
        """The automaton of listed numbers from their first byte; integers also as 3.0."""
        listed = tuple(
            way for text in spelled for way in ((text, "-0") if text == "0" else (text,))
        )
        key = ("numbers", listed)
        if key in self._known:
            return self._known[key]
        root, tails = self.state(), self._zeros()
        for text in listed:
            state = root
            for char in text:
                state = self.edges[state].setdefault(ord(char), len(self.edges))
                if state == len(self.edges):
                    self.state()
            self.edges[state][END_OF_NUMBER] = -1
            if text.lstrip("-").isdigit():
                self.edges[state].setdefault(ord("."), self.edges[tails][ord(".")])
        self._known[key] = root
        return root

    def multiples(self, step: int) -> int:
        """The automaton of the multiples of an integer above 1, without exponents."""
        key = ("multiples", step)
        if key in self._known:
            return self._known[key]
        root, negative, zero, tails = self.state(), self.state(), self.state(), self._zeros()
        end = {END_OF_NUMBER: -1, ord("."): self.edges[tails][ord(".")]}
        rests = [self.state() for _ in range(step)]
        for rest, state in enumerate(rests):
            for digit in range(10):
                self.edges[state][ord("0") + digit] = rests[(10 * rest + digit) % step]
        self.edges[rests[0]].update(end)
        self.edges[zero].update(end)
        for before in (root, negative):
            self.edges[before].update({ord("0") + d: rests[d % step] for d in range(1, 10)})
            self.edges[before][ord("0")] = zero
        self.edges[root][ord("-")] = negative
        self._known[key] = root
        return root

    def integer_range(self, low: int | None, high: int | None) -> int:
        """The automaton of the integers from `low` to `high`; None for no bound."""
        key = ("range", low, high)
        if key in self._known:
            return self._known[key]
        root, tails = self.state(), self._zeros()
        tail = self.edges[tails][ord(".")]
        if (low is None or low <= 0) and (high is None or high >= 0):
            zero = self.state()
            self.edges[root][ord("0")] = zero
            self.edges[zero].update({END_OF_NUMBER: -1, ord("."): tail})
        if high is None or high > 0:
            self._magnitudes(root, max(low or 1, 1), high, tail)
        if low is None or low <= 0:
            negative = self.state()
            self.edges[root][ord("-")] = negative
            if high is None or high >= 0:
                self.edges[negative][ord("0")] = self.edges[root][ord("0")]
            if low is None or low < 0:
                least = 1 if high is None else max(-high, 1)
                self._magnitudes(negative, least, None if low is None else -low, tail)
            if not self.edges[negative]:
                del self.edges[root][ord("-")]
        self._known[key] = root
        return root

    def _magnitudes(self, root: int, low: int, high: int | None, tail: int) -> None:
        """Edges for the numbers from `low` to `high`, both above zero.

        A state is how the digits so far compare with as many of each bound, and how many there
        are; past the longer bound only the comparison counts.
        """
        lows = str(low)
        highs = None if high is None else str(high)
        longest = max(len(lows), len(highs or ""))
        made: dict[tuple[int, int, int], int] = {}

        def compare(order: int, digit: str, bound: str, at: int) -> int:
            if order or at >= len(bound):
                return order
            return (digit > bound[at]) - (digit < bound[at])

        def is_within(length: int, to_low: int, to_high: int) -> bool:
            if length < len(lows) or (length == len(lows) and to_low < 0):
                return False
            if highs is None:
                return True
            return length < len(highs) or (length == len(highs) and to_high <= 0)

        def can_be(length: int, to_low: int, to_high: int) -> bool:
            most = max(length, longest + 1)
            return any(is_within(more, to_low, to_high) for more in range(length, most + 1))

        todo = [(root, 0, 0, 0)]
        while todo:
            state, length, to_low, to_high = todo.pop()
            for digit in "0123456789":
                if length == 0 and digit == "0":
                    continue
                after = (
                    min(length + 1, longest + 1),
                    compare(to_low, digit, lows, length),
                    0 if highs is None else compare(to_high, digit, highs, length),
                )
                if not can_be(*after):
                    continue
                if after not in made:
                    made[after] = self.state()
                    todo.append((made[after], *after))
                    if is_within(*after):
                        self.edges[made[after]].update({END_OF_NUMBER: -1, ord("."): tail})
                self.edges[state][ord(digit)] = made[after]

    def pack(self) -> Packed:
        """All automata as arrays, each edge in the first place that is free; place 0 stays free."""
        base = np.zeros(len(self.edges), np.int32)
        placed: dict[int, tuple[int, int]] = {}
        taken, low = 1, 1  # places in use, as bits, and the first that isn't
        for state in sorted(range(len(self.edges)), key=lambda s: -len(self.edges[s])):
            edges = self.edges[state]
            if not edges:
                continue
            first, place = min(edges), low
            if len(edges) > 1:
                wanted = sum(1 << byte - first for byte in edges)
                while taken >> place & wanted:
                    place += 1
                taken |= wanted << place
            else:
                taken |= 1 << place
            base[state] = place - first
            placed.update((place - first + byte, (state, to)) for byte, to in edges.items())
            while taken >> low & 1:
                low += 1
        packed = np.full((max(placed, default=0) + 1, 2), -1, np.int32)
        if placed:
            packed[list(placed)] = list(placed.values())
        return Packed(base, packed)
