"""The form of the call grammar's tables: decisions, packed entries, contexts.

One table entry is a packed int32, see `pack`. Entries are indexed by
`(context * num_modes + mode) * 257 + byte`, where byte 256 is the end of the text and the context
says what the innermost open container inside an argument value is (0 none, 1 object, 2 array).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

Dress = Literal["list", "tool_call", "llama"]


class Kind(IntEnum):
    """The five kinds of decision, in the order in which they fire inside a call."""

    FUNC_NAME = 0
    ARG_VALUE = 1
    PARAM_FINISH = 2
    FUNC_FINISH = 3
    TOTAL_FINISH = 4


class Site(IntEnum):
    """What a mode stands in (strings, numbers, text) or before (everything else)."""

    ELSEWHERE, CALL, NAME_START, NAME, ARGS_START, ARGS_OPEN, ARGS_NEXT, KEY = range(8)
    VALUE, ARRAY_OPEN, OBJECT_OPEN, INNER_NEXT, INNER_KEY, TEXT, NUMBER = range(8, 15)
    AFTER_VALUE, TRAILING = 15, 16


class Place(IntEnum):
    r"""Where in a string or a number a mode stands.

    In a string: `BODY` between characters; `ESC` after a backslash; `U1` to `U4` before the four
    digits of a \u escape, `UD` before the second digit after a `d`; `HI3`, `HI4` before the last
    two digits of a high surrogate, then `LO_ESC`, `LO_U`, `LO1` to `LO4` the same for its low
    surrogate, which must follow; and the states of UTF-8 after RFC 3629.
    """

    NOWHERE, BODY, ESC, U1, U2, U3, U4, UD, HI3, HI4, LO_ESC, LO_U, LO1, LO2, LO3, LO4 = range(16)
    CONT1, CONT2, CONT3, E0, ED, F0, F4, FRACTION, EXPONENT = range(16, 25)


EOT = 256  # the "byte" that stands for the end of the text
NUM_BYTES = 257
NUM_CONTEXTS = 3
MAX_DEPTH = 32  # containers open at once inside one argument value

# Layout of a packed entry: next mode | op << 12 | event << 16 | event2 << 20 | span << 24.
MODE_BITS = 12
OP_SHIFT = 12
EVENT_SHIFT = 16
EVENT2_SHIFT = 20
SPAN_SHIFT = 24
MODE_MASK = (1 << MODE_BITS) - 1
FIELD_MASK = 0xF

OP_NONE, OP_PUSH_OBJECT, OP_PUSH_ARRAY, OP_POP = range(4)
SPAN_NONE, SPAN_NAME, SPAN_KEY = range(3)  # this byte opens a function name / a parameter name


def pack(
    mode: int, op: int = OP_NONE, event: int = 0, event2: int = 0, span: int = SPAN_NONE
) -> int:
    """One table entry.

    Args:
      mode: the next mode.
      op: OP_NONE, OP_PUSH_OBJECT, OP_PUSH_ARRAY or OP_POP.
      event: 0 for none, else kind + 1.
      event2: a second event that fires after the first on the same byte, coded alike.
      span: SPAN_NAME or SPAN_KEY where this byte is that string's opening quote.

    Returns:
      The packed int32.
    """
    return (
        mode | op << OP_SHIFT | event << EVENT_SHIFT | event2 << EVENT2_SHIFT | span << SPAN_SHIFT
    )


def unpack(entry: int) -> tuple[int, int, int, int, int]:
    """The inverse of `pack`: (mode, op, event, event2, span)."""
    return (
        entry & MODE_MASK,
        entry >> OP_SHIFT & FIELD_MASK,
        entry >> EVENT_SHIFT & FIELD_MASK,
        entry >> EVENT2_SHIFT & FIELD_MASK,
        entry >> SPAN_SHIFT & FIELD_MASK,
    )


@dataclass(frozen=True, eq=False)
class Tables:
    """The automaton of one dress.

    Attributes:
      transitions: int32, flat, `(context * num_modes + mode) * 257 + byte` -> packed entry.
      names: name of every mode, for error messages.
      expects: what every mode waits for, in words, likewise.
      sites: what every mode stands in or before.
      places: where in it.
      start: the mode at the first byte.
      dead: the mode (0) that nothing leaves.
      done: the mode after an accepted end of text.
      accepting: the modes in which TOTAL_FINISH has fired.
      trailing: the modes behind text after or between the calls, which is reported and not
        labelled.
      links: the same for the Python runner: `links[context][mode][byte]` is the list of the next
        mode where nothing but the mode changes, else None; the mode itself lies behind the bytes.
    """

    transitions: array[int]
    names: tuple[str, ...]
    expects: tuple[str, ...]
    sites: tuple[Site, ...]
    places: tuple[Place, ...]
    start: int
    dead: int
    done: int
    accepting: frozenset[int]
    trailing: frozenset[int]
    links: Sequence[Sequence[list[Any]]] = field(repr=False)

    @property
    def num_modes(self) -> int:
        """Number of modes."""
        return len(self.names)

    def entry(self, context: int, mode: int, byte: int) -> int:
        """The packed entry of one (context, mode, byte)."""
        return self.transitions[(context * self.num_modes + mode) * NUM_BYTES + byte]
