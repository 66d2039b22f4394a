"""The Python runner of the call grammar: bytes -> decisions, and the calls that they spell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from .dresses import tables
from .types import (
    EOT,
    EVENT2_SHIFT,
    EVENT_SHIFT,
    FIELD_MASK,
    MAX_DEPTH,
    MODE_MASK,
    NUM_BYTES,
    NUM_CONTEXTS,
    OP_NONE,
    OP_POP,
    OP_PUSH_ARRAY,
    OP_PUSH_OBJECT,
    OP_SHIFT,
    SPAN_KEY,
    SPAN_NAME,
    SPAN_SHIFT,
    Dress,
    Kind,
    Tables,
    pack,
    unpack,
)

__all__ = [
    "EOT", "EVENT2_SHIFT", "EVENT_SHIFT", "FIELD_MASK", "MAX_DEPTH", "MODE_MASK", "NUM_BYTES",
    "NUM_CONTEXTS", "OP_NONE", "OP_POP", "OP_PUSH_ARRAY", "OP_PUSH_OBJECT", "OP_SHIFT", "SPAN_KEY",
    "SPAN_NAME", "SPAN_SHIFT", "Dress", "Kind", "PartialCall", "Run", "State",
    "Tables", "advance", "context_of", "explain", "initial", "pack", "parse_calls", "run",
    "tables", "unpack",
]  # fmt: skip

_KINDS = tuple(Kind)
_STACK_MASK = 0xFFFFFFFF


class State(NamedTuple):
    """Where a run stands: mode, number of open containers, and their kinds (1 = array) as bits."""

    mode: int
    depth: int
    stack: int  # uint32, the innermost container in the lowest bit


class Run(NamedTuple):
    """What one text turned out to hold.

    Attributes:
      events: (kind, end) in firing order; `end` is the byte offset just past the byte that fired,
        or the length of the text for the end of the text.
      spans: aligned with `events`: for FUNC_NAME the (start, end) of the name with its quotes, for
        ARG_VALUE (start of the parameter's quote, offset of the delimiter), else None.
      state: the last state; the mode is `tables.dead` after a death.
      died_at: offset of the byte that was refused (the length of the text: its end), or None.
      died_in: the state that refused it, or None.
      accepted: whether TOTAL_FINISH has fired.
      trailing: whether other text follows the answer.
    """

    events: list[tuple[Kind, int]]
    spans: list[tuple[int, int] | None]
    state: State
    died_at: int | None
    died_in: State | None
    accepted: bool
    trailing: bool

    @property
    def mode(self) -> int:
        """The last mode."""
        return self.state.mode


def initial(tables_: Tables) -> State:
    """The state before the first byte."""
    return State(tables_.start, 0, 0)


def context_of(depth: int, stack: int) -> int:
    """The table's context: 0 outside containers, 1 in an object, 2 in an array."""
    return 0 if depth == 0 else 1 + (stack & 1)


@cache
def _unpacked(entry: int) -> tuple[int, int, Kind | None, Kind | None, int]:
    """`unpack` with the events as kinds; the distinct entries are few, hence the cache."""
    mode, op, event, event2, span = unpack(entry)
    kinds = (None, *_KINDS)
    return mode, op, kinds[event], kinds[event2], span


def _scan(
    tables_: Tables, state: State, symbols: Sequence[int]
) -> tuple[list[tuple[Kind, int]], list[tuple[int, int] | None], State, int | None, State | None]:
    """Runs `symbols` (bytes, or EOT) from `state`: events, spans, state, died_at, died_in."""
    transitions, num_modes = tables_.transitions, tables_.num_modes
    mode, depth, stack = state
    context = context_of(depth, stack)
    row = tables_.links[context][mode]
    events: list[tuple[Kind, int]] = []
    spans: list[tuple[int, int] | None] = []
    opened = 0
    for at, symbol in enumerate(symbols):
        linked = row[symbol]
        if linked is not None:  # the common case: nothing happens but the next mode
            row = linked
            continue
        before = row[NUM_BYTES]
        if before == 0:
            return events, spans, state, None, None
        entry = transitions[(context * num_modes + before) * NUM_BYTES + symbol]
        mode, op, kind, kind2, span = _unpacked(entry)
        if mode == 0 or (op in (OP_PUSH_OBJECT, OP_PUSH_ARRAY) and depth == MAX_DEPTH):
            return events, spans, State(0, depth, stack), at, State(before, depth, stack)
        if op:
            if op == OP_POP:
                stack >>= 1
                depth -= 1
            else:
                stack = (stack << 1 | (op == OP_PUSH_ARRAY)) & _STACK_MASK
                depth += 1
            context = context_of(depth, stack)
        row = tables_.links[context][mode]
        if span:
            opened = at
        if kind is not None:
            end = at if symbol == EOT else at + 1
            events.append((kind, end))
            if kind is Kind.FUNC_NAME:
                spans.append((opened, end))
            elif kind is Kind.ARG_VALUE:
                spans.append((opened, at))
            else:
                spans.append(None)
            if kind2 is not None:
                events.append((kind2, end))
                spans.append(None)
    return events, spans, State(row[NUM_BYTES], depth, stack), None, None


def run(tables_: Tables, data: bytes, *, eot: bool) -> Run:
    """Runs one whole text.

    Args:
      tables_: the dress's tables.
      data: the text's bytes (UTF-8).
      eot: whether the text ends here; if not, `data` is a prefix of a completion.

    Returns:
      The run.
    """
    symbols: Sequence[int] = [*data, EOT] if eot else data
    events, spans, state, died_at, died_in = _scan(tables_, initial(tables_), symbols)
    return Run(
        events,
        spans,
        state,
        died_at,
        died_in,
        accepted=state.mode in tables_.accepting,
        trailing=state.mode in tables_.trailing,
    )


def advance(
    tables_: Tables, state: State, data: Sequence[int]
) -> tuple[State, list[tuple[Kind, int]]]:
    """Runs one more piece of a text, such as the bytes of one token.

    Args:
      tables_: the dress's tables.
      state: where the text stands.
      data: bytes; `[EOT]` (alone or last) is the end of the text.

    Returns:
      The new state (dead stays dead) and the events, whose ends are relative to this piece.
    """
    events, _, state, _, _ = _scan(tables_, state, data)
    return state, events


def explain(tables_: Tables, result: Run, data: bytes) -> str | None:
    """Why a run died, in words; None where it did not."""
    if result.died_at is None or result.died_in is None:
        return None
    at, (mode, depth, stack) = result.died_at, result.died_in
    symbol = data[at] if at < len(data) else EOT
    entry = tables_.entry(context_of(depth, stack), mode, symbol)
    if entry & MODE_MASK:  # the table would have gone on: only a push is refused elsewhere
        return f"byte {at}: expected at most {MAX_DEPTH} nested containers, found one more"
    if symbol == EOT:
        found = "the end of the text"
    else:
        found = repr(chr(symbol)) if 0x20 <= symbol < 0x7F else f"byte 0x{symbol:02x}"
    return f"byte {at}: expected {tables_.expects[mode]}, found {found} in {tables_.names[mode]}"


@dataclass
class PartialCall:
    """A call as far as a text spells it.

    `pairs` keeps the arguments in order, repeated names included.
    """

    name: str
    pairs: list[tuple[str, Any]] = field(default_factory=list)
    closed: bool = False  # PARAM_FINISH has fired
    finished: bool = False  # FUNC_FINISH has fired


def _parse_int(digits: str) -> Any:
    """An integer, or NaN (which equals nothing) beyond Python's limit on digits."""
    try:
        return int(digits)
    except ValueError:
        return float("nan")


_decode = json.JSONDecoder(parse_int=_parse_int).raw_decode


def parse_name(data: bytes, span: tuple[int, int]) -> str:
    """The function name at a FUNC_NAME event's span."""
    return _decode(data[span[0] : span[1]].decode())[0]


def parse_argument(data: bytes, span: tuple[int, int]) -> tuple[str, Any]:
    """The (parameter, value) at an ARG_VALUE event's span."""
    pair, _ = _decode("{" + data[span[0] : span[1]].decode() + "}")
    return next(iter(pair.items()))


def parse_calls(
    tables_: Tables, data: bytes, *, eot: bool = False, result: Run | None = None
) -> list[PartialCall]:
    """The calls that a text spells, whole or partial, up to its last decision.

    Args:
      tables_: the dress's tables.
      data: the text's bytes.
      eot: whether the text ends here.
      result: the run of `data`, where it is known already.

    Returns:
      The calls, in order.
    """
    result = run(tables_, data, eot=eot) if result is None else result
    calls: list[PartialCall] = []
    for (kind, _), span in zip(result.events, result.spans, strict=True):
        if kind is Kind.FUNC_NAME and span is not None:
            calls.append(PartialCall(parse_name(data, span)))
        elif kind is Kind.ARG_VALUE and span is not None:
            calls[-1].pairs.append(parse_argument(data, span))
        elif kind is Kind.PARAM_FINISH:
            calls[-1].closed = True
        elif kind is Kind.FUNC_FINISH:
            calls[-1].finished = True
    return calls
