"""Closes calls that ran against a limit: the shortest way that grammar and tools accept (A*)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from toolprm_jax.grammar import (
    EOT,
    EVENT2_SHIFT,
    EVENT_SHIFT,
    FIELD_MASK,
    MODE_MASK,
    NUM_BYTES,
    OP_NONE,
    OP_POP,
    OP_SHIFT,
    Dress,
    Kind,
    Site,
    Tables,
    run,
    tables,
)
from toolprm_jax.records import Record
from toolprm_jax.tokens import Codec

from ..grammar import NEEDS, NOT_OPEN, Grammar, Rules, Tracker, compile_tools, follow, initial

_AT_ONCE = 16  # states whose next bytes are tried together
_READ_AT_ONCE = 512  # bytes of a completion
_MOST = 4096  # states that are tried before a completion is given up
_FAR = 1 << 20
_INSIDE = bytes(range(0x80, 0xC0))  # bytes of UTF-8 that begin no character
_KEY_SITES = (Site.KEY, Site.INNER_KEY, Site.ARGS_NEXT, Site.INNER_NEXT)


class _Distances(NamedTuple):
    """Least bytes by the call grammar alone, by mode."""

    end: np.ndarray  # int[modes], to the end of the calls, outside of containers
    pop: np.ndarray  # int[contexts, modes], to the end of the innermost container


def _distance(table: Tables, context: int, goal: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Least bytes to a goal bool[modes, bytes] without entering or leaving a container."""
    found = np.where(goal.any(axis=1), 1, _FAR)
    plain = (entries >> OP_SHIFT & FIELD_MASK) == OP_NONE
    after = np.where(plain, entries & MODE_MASK, table.dead)
    while True:
        reached = found[after]
        reached[after == table.dead] = _FAR
        closer = np.minimum(found, 1 + reached.min(axis=1))
        if np.array_equal(closer, found):
            return found
        found = closer


@cache
def _distances(dress: Dress) -> _Distances:
    table = tables(dress)
    entries = np.asarray(table.transitions, np.int32).reshape(-1, table.num_modes, NUM_BYTES)
    fired = [entries[0] >> shift & FIELD_MASK for shift in (EVENT_SHIFT, EVENT2_SHIFT)]
    is_end = (fired[0] == Kind.TOTAL_FINISH + 1) | (fired[1] == Kind.TOTAL_FINISH + 1)
    end = _distance(table, 0, is_end, entries[0])
    pops = (entries >> OP_SHIFT & FIELD_MASK) == OP_POP
    pop = [_distance(table, c, pops[c], entries[c]) for c in range(len(entries))]
    return _Distances(end, np.stack(pop))


class _Keys(NamedTuple):
    """What a query's tools ask for at least."""

    least: np.ndarray  # int[shapes, keys], bytes of a key with its value
    needs: np.ndarray  # bool[shapes, keys], whether it is required


def _keys(record: Record) -> _Keys:
    compiled = compile_tools(record)
    widest = max(map(len, compiled.least))
    least = np.zeros((len(compiled.least), max(widest, 1)), int)
    needs = np.zeros(least.shape, bool)
    for shape, (bytes_, masks) in enumerate(zip(compiled.least, compiled.masks, strict=True)):
        least[shape, : len(bytes_)] = bytes_
        needs[shape, : len(bytes_)] = [masks[NEEDS] >> bit & 1 for bit in range(len(bytes_))]
    return _Keys(least, needs)


def _remaining(dress: Dress, keys: _Keys | None, states: Tracker) -> np.ndarray:
    """Bytes that are missing at least, int[n]: never more than there are."""
    table, distances = tables(dress), _distances(dress)
    sites = np.asarray(table.sites)
    context = 1 + (states.stack & 1).astype(int)
    after = distances.end[sites == Site.AFTER_VALUE].min()
    inside = distances.pop[context, states.mode] + states.depth - 1 + after
    left = np.where(states.depth > 0, inside, distances.end[states.mode])
    strict = states.strict
    if keys is None or strict is None:
        return left
    levels = np.arange(strict.shapes.shape[-1])
    depth, open_at = states.depth[:, None, None], strict.open_at[..., None]
    typed = (levels <= depth) & ((open_at == NOT_OPEN) | (levels < open_at))
    seen = np.unpackbits(
        np.ascontiguousarray(strict.seen).view(np.uint8), axis=-1, bitorder="little"
    )
    missing = keys.needs[strict.shapes] & (seen[..., : keys.needs.shape[1]] == 0)
    asked = np.where(missing & typed[..., None], keys.least[strict.shapes], 0)
    # A key that is being read, or must follow, is counted by its mode already.
    in_key = np.isin(sites[states.mode], _KEY_SITES)[:, None, None]
    begun = np.where(in_key & (levels == depth), asked.max(axis=-1), 0)
    total = asked.sum(axis=(-2, -1)) - begun.sum(axis=-1)
    return left + np.where(strict.alive, total, _FAR).min(axis=-1)


@jax.jit
def _expand(
    grammar: Grammar, rules: Rules | None, states: Tracker, queries: Array
) -> tuple[Tracker, Array, Array]:
    """What every byte makes of states [n]: see `follow`."""
    return follow(grammar, rules, states, queries)


def _padded(states: Sequence[Tracker]) -> Tracker:
    """States without a shape as one [_AT_ONCE]; the last is repeated."""
    filled = [*states, *[states[-1]] * (_AT_ONCE - len(states))]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *filled)


def _unsized(state: Tracker) -> Tracker:
    """A state without what only says how it was reached."""
    return state._replace(digest=np.zeros_like(state.digest), length=np.zeros_like(state.length))


@jax.jit
def _read_some(
    grammar: Grammar, rules: Rules | None, state: Tracker, text: Array, length: Array
) -> tuple[Tracker, Array]:
    """What the first bytes of a text make of a state [1], and whether they may stand there."""

    def more(carry: tuple[Array, Tracker, Array]) -> Array:
        return (carry[0] < length) & carry[2]

    def read(carry: tuple[Array, Tracker, Array]) -> tuple[Array, Tracker, Array]:
        at, before, _ = carry
        after, lives, _ = follow(grammar, rules, before, jnp.zeros(1, jnp.int32))
        return at + 1, jax.tree.map(lambda leaf: leaf[:, text[at]], after), lives[0, text[at]]

    start = (jnp.zeros_like(length), state, jnp.ones((), bool))
    _, state, lives = jax.lax.while_loop(more, read, start)
    return state, lives


def _read(grammar: Grammar, rules: Rules | None, text: bytes) -> Tracker | None:
    """The state behind a text; None where it is refused."""
    # Put where the grammar lies, as what comes back does: else another program reads on.
    state = jax.device_put(initial(grammar, (1,), rules), _host())
    for start in range(0, max(len(text), 1), _READ_AT_ONCE):  # once at least, for a warm-up
        some = np.frombuffer(text[start : start + _READ_AT_ONCE], np.uint8).astype(np.int32)
        padded = np.pad(some, (0, _READ_AT_ONCE - len(some)))
        state, lives = _read_some(grammar, rules, state, padded, np.int32(len(some)))
        if not bool(lives):
            return None
    return _unsized(jax.tree.map(lambda leaf: np.asarray(leaf)[0], state))


def _host() -> Any:
    """A device of the host, for steps so small; None where JAX was told to do without."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def shortest_closing(
    grammar: Grammar, rules: Rules | None, row: int, record: Record, text: bytes, dress: Dress
) -> bytes | None:
    """The fewest bytes that end a completion's calls.

    Args:
      grammar: over any vocabulary.
      rules: tables of a batch's tools; None for the grammar alone.
      row: of the query in `rules`.
      record: the query.
      text: the completion.
      dress: of its calls.

    Returns:
      The bytes, or None where the text is no beginning of calls that the tools accept, or no end
      was found among some thousand states.

    Source: our choice; Hart, Nilsson and Raphael, 1968 (A*).
    """
    # Of one query, on the host: a program serves all batches, wherever their tables lie.
    rules = jax.tree.map(lambda leaf: np.asarray(leaf)[row : row + 1], rules)
    grammar, rules = jax.device_put((grammar, rules), _host())
    queries = np.zeros(_AT_ONCE, np.int32)
    start = _read(grammar, rules, text)
    if start is None:
        return None
    if run(tables(dress), text, eot=False).accepted:
        return b""
    keys = None if rules is None else _keys(record)
    waiting: list[tuple[int, int, int, bytes, Tracker | None]] = [(0, 0, 0, b"", start)]
    known, tried, pushed = {_identity(start)}, 0, 0
    while waiting and tried < _MOST:
        if waiting[0][4] is None:
            return waiting[0][3]
        some = []
        while waiting and len(some) < _AT_ONCE and waiting[0][4] is not None:
            some.append(heapq.heappop(waiting))
        tried += len(some)
        states = _padded([state for *_, state in some if state is not None])
        after, lives, over = jax.device_get(_expand(grammar, rules, states, queries))
        after = _unsized(after)
        places = np.argwhere(lives[: len(some)])
        found = jax.tree.map(lambda leaf, at=places: leaf[at[:, 0], at[:, 1]], after)
        least = _remaining(dress, keys, found)
        for index, (of, symbol) in enumerate(places):
            written = some[of][3] + (b"" if symbol == EOT else bytes([symbol]))
            state = jax.tree.map(lambda leaf, at=index: leaf[at], found)
            is_end = bool(over[of, symbol])
            if not is_end and _identity(state) in known:
                continue
            known.add(_identity(state))
            pushed += 1
            rest = 0 if is_end else int(least[index])
            item = (len(written) + rest, -len(written), pushed, written, None if is_end else state)
            heapq.heappush(waiting, item)
    return None


def closing_tokens(
    codec: Codec, grammar: Grammar, rules: Rules | None, row: int, record: Record,
    ids: Sequence[int],
) -> list[int] | None:  # fmt: skip
    """Tokens that end a completion's calls by the fewest bytes, as a policy would have drawn them.

    Args:
      codec: of the policy.
      grammar: over its vocabulary.
      rules: as for `shortest_closing`, as what follows.
      row: likewise.
      record: likewise.
      ids: the completion's tokens.

    Returns:
      The tokens; None where `shortest_closing` finds nothing.
    """
    dress, text = codec.template.dress, codec.decode(ids)
    ending = shortest_closing(grammar, rules, row, record, text, dress)
    if ending is None:
        return None
    whole = ending.lstrip(_INSIDE)  # a limit may stand inside of a character
    rest = [codec.byte_ids[byte] for byte in ending[: len(ending) - len(whole)]]
    rest += codec.encode_bytes(whole.decode())
    is_over = run(tables(dress), text + ending, eot=False).accepted
    return rest if is_over else [*rest, codec.contract.end_of_text]


def _identity(state: Tracker) -> bytes:
    return b"".join(leaf.tobytes() for leaf in jax.tree.leaves(state))
