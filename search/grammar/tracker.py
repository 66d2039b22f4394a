"""The call grammar's JAX runner: the byte tables of annotation over the bytes of sampled tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from toolprm_jax.grammar import (
    EOT,
    EVENT2_SHIFT,
    EVENT_SHIFT,
    FIELD_MASK,
    MAX_DEPTH,
    MODE_MASK,
    NUM_BYTES,
    OP_POP,
    OP_PUSH_ARRAY,
    OP_PUSH_OBJECT,
    OP_SHIFT,
    Dress,
    Place,
    Site,
    Tables,
    tables,
)
from toolprm_jax.tokens import Codec, byte_table

from .check import Check, StringTables, check_byte, new_check, string_tables
from .schema import HASH_FACTORS, Schema
from .strict_state import (
    Role,
    Strict,
    StrictModes,
    counts_fit,
    ends_calls,
    free_text,
    is_trailing,
    new_strict,
    strict_modes,
)
from .strict_step import strict_byte
from .strict_tables import StrictTables

Rules = Schema | StrictTables  # what completions are held against, beside the grammar

MAX_EVENTS = 8  # boundaries that one token may hold; a token with more is refused


class Grammar(NamedTuple):
    """What the device needs of the grammar and the vocabulary."""

    transitions: Array  # int32[contexts * modes * 257]
    num_modes: Array  # int32[]
    start: Array  # int32[]
    token_bytes: Array  # uint8[V, max_bytes]
    token_lengths: Array  # int32[V], -1 where a token has no bytes and is never sampled
    ends: Array  # bool[V], tokens that end a completion
    strings: StringTables
    strict: StrictModes
    plain: Array  # bool[V], tokens that inside a string are nothing but its characters

    @property
    def allowed(self) -> Array:
        """bool[V], the ids that may be sampled."""
        return (self.token_lengths >= 0) | self.ends


class Tracker(NamedTuple):
    """Where completions stand in the grammar; any leading shape."""

    mode: Array  # int32[...], 0 is dead
    depth: Array  # int32[...]
    stack: Array  # uint32[...]
    digest: Array  # uint32[..., 2], rolling hash of all bytes so far
    length: Array  # int32[...], bytes so far
    calls: Array  # int32[...], calls begun so far
    check: Check | None = None  # where they stand in their schemas; None ignores these
    strict: Strict | None = None  # where they stand in their tools; None doesn't constrain them

    @property
    def dead(self) -> Array:
        """bool[...], whether the completion can't be continued."""
        return self.mode == 0


def make_grammar(codec: Codec, embedding_rows: int) -> Grammar:
    """The grammar of a codec's template over its vocabulary.

    Args:
      codec: tokenizer, template and contract.
      embedding_rows: V, the rows of the policy's embedding.
    """
    return grammar_from_pieces(
        codec.pieces, embedding_rows, codec.contract.ends, codec.template.dress
    )


def grammar_from_pieces(
    pieces: list[bytes | None],
    rows: int,
    ends: Sequence[int],
    dress: Dress,
) -> Grammar:
    """As `make_grammar`, from the bytes of every token."""
    built = tables(dress)
    table, lengths = byte_table(pieces, rows)
    return Grammar(
        *jax.device_put(
            (
                np.asarray(built.transitions, np.int32),
                np.int32(built.num_modes),
                np.int32(built.start),
                table,
                lengths,
                np.isin(np.arange(rows), ends),
            )
        ),
        strings=string_tables(built),
        strict=strict_modes(built),
        plain=jax.device_put(_plain(built, table, lengths)),
    )


def _plain(built: Tables, table: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Tokens that lead from a string's body into the same string, bool[V]."""
    is_text = np.asarray(built.sites) == Site.TEXT
    body = np.flatnonzero(is_text & (np.asarray(built.places) == Place.BODY))[0]
    transitions = np.asarray(built.transitions, np.int32).reshape(3, -1, NUM_BYTES)[0]
    mode = np.full(len(table), body)
    stays = lengths > 0
    for at in range(table.shape[1]):
        reads = at < lengths
        mode = np.where(reads, transitions[mode, table[:, at]] & MODE_MASK, mode)
        stays &= is_text[mode]
    return stays


def follow(
    grammar: Grammar, rules: Rules | None, tracker: Tracker, queries: Array
) -> tuple[Tracker, Array, Array]:
    """Feeds every byte, and the end of the text, to trackers.

    Args:
      grammar: tables.
      rules: of the queries; None for the grammar alone.
      tracker: [N].
      queries: int32[N], the query of each.

    Returns:
      The states [N, 257]; whether they may be, bool[N, 257]; and whether the byte ends the calls.
    """
    shape = (*queries.shape, NUM_BYTES)

    def wide(array: Array) -> Array:
        added = jnp.expand_dims(array, queries.ndim)
        return jnp.broadcast_to(added, (*shape, *array.shape[queries.ndim :]))

    symbols = jnp.broadcast_to(jnp.arange(NUM_BYTES).reshape((1,) * queries.ndim + (-1,)), shape)
    every = jax.tree.map(wide, tracker)
    alive = ~every.dead
    after, events = _step(grammar, every, symbols, alive, rules, wide(queries))
    return after, alive & leads_on(grammar, after), ends_calls(*events)


def can_begin(grammar: Grammar, rules: Rules | None, tracker: Tracker, queries: Array) -> Array:
    """Which bytes, and the end of the text, may come after trackers [N]; bool[N, 257]."""
    return follow(grammar, rules, tracker, queries)[1]


def is_free_text(grammar: Grammar, rules: Rules | None, tracker: Tracker, queries: Array) -> Array:
    """Whether trackers [...] stand in a string that may go on with any characters, bool[...]."""
    return free_text(
        grammar.strict, rules if isinstance(rules, StrictTables) else None, queries,
        tracker.strict, tracker.mode,
    )  # fmt: skip


def leads_on(grammar: Grammar, tracker: Tracker) -> Array:
    """Whether completions live, and only white space follows a closed list; bool[...]."""
    return ~tracker.dead & ~is_trailing(grammar.strict, tracker.mode)


def initial(grammar: Grammar, shape: tuple[int, ...], schema: Rules | None = None) -> Tracker:
    """Trackers before the first byte; with a `Schema` the shape is (B, W)."""
    zeros = jnp.zeros(shape, jnp.int32)
    return Tracker(
        mode=zeros + grammar.start,
        depth=zeros,
        stack=zeros.astype(jnp.uint32),
        digest=jnp.zeros((*shape, 2), jnp.uint32),
        length=zeros,
        calls=zeros,
        check=new_check(schema, shape[1]) if isinstance(schema, Schema) else None,
        strict=new_strict(schema, shape) if isinstance(schema, StrictTables) else None,
    )


def _step(
    grammar: Grammar,
    tracker: Tracker,
    symbol: Array,
    active: Array,
    schema: Rules | None,
    queries: Array | None,
) -> tuple[Tracker, tuple[Array, Array]]:
    """Feeds one symbol (a byte, or EOT) to every tracker; returns the events, 0 for none."""
    context = jnp.where(tracker.depth == 0, 0, 1 + (tracker.stack & 1).astype(jnp.int32))
    row = context * grammar.num_modes + tracker.mode
    entry = grammar.transitions[row * NUM_BYTES + symbol]
    op = entry >> OP_SHIFT & FIELD_MASK
    push = (op == OP_PUSH_OBJECT) | (op == OP_PUSH_ARRAY)
    mode = entry & MODE_MASK
    mode = jnp.where(push & (tracker.depth == MAX_DEPTH), 0, mode)
    pushed = tracker.stack << 1 | (op == OP_PUSH_ARRAY).astype(jnp.uint32)
    popped = tracker.stack >> 1
    first, second = entry >> EVENT_SHIFT & FIELD_MASK, entry >> EVENT2_SHIFT & FIELD_MASK
    roles = grammar.strict.roles
    begins = (roles[mode] == Role.CALL) & (roles[tracker.mode] != Role.CALL)
    calls = tracker.calls + begins
    strict = tracker.strict
    if strict is not None and isinstance(schema, StrictTables) and queries is not None:
        modes, closes = (tracker.mode, mode), op == OP_POP
        strict, fits = strict_byte(
            grammar.strict, schema, queries, strict, symbol, modes, tracker.depth, context, closes
        )
        fits &= counts_fit(grammar.strict, schema, queries, calls, mode, ends_calls(first, second))
        mode = jnp.where(fits, mode, 0)
    factors = jnp.asarray(HASH_FACTORS, jnp.uint32)
    symbol_u32 = symbol.astype(jnp.uint32)[..., None]
    alive = mode != 0
    first, second = jnp.where(alive, first, 0), jnp.where(alive, second, 0)
    check = tracker.check
    if check is not None and isinstance(schema, Schema):
        check = check_byte(
            grammar.strings,
            schema,
            check,
            symbol,
            (tracker.mode, mode),
            tracker.depth,
            (first, second),
            active,
        )
    after = Tracker(
        mode=mode,
        depth=tracker.depth + jnp.where(push, 1, jnp.where(op == OP_POP, -1, 0)),
        stack=jnp.where(push, pushed, jnp.where(op == OP_POP, popped, tracker.stack)),
        digest=tracker.digest * factors.reshape((1,) * symbol.ndim + (2,)) + symbol_u32 + 1,
        length=tracker.length + 1,
        calls=calls,
        check=check,
        strict=strict,
    )
    return after, (first, second)


def advance(
    grammar: Grammar,
    tracker: Tracker,
    tokens: Array,
    schema: Rules | None = None,
    queries: Array | None = None,
) -> tuple[Tracker, Array]:
    """Feeds one token to every tracker.

    Args:
      grammar: tables.
      tracker: states of shape `[...]`.
      tokens: int32[...].
      schema: of the B queries. By a `Schema` they are checked, the shape being [B, W]; what
        `StrictTables` refuse is dead.
      queries: int32[...], the query of each; rows of [B, W] where None.

    Returns:
      The new states, and `int32[..., MAX_EVENTS]`: the kinds of the boundaries that the token
      holds, in firing order, -1 where there are no more. A token that may not be sampled, or that
      holds more boundaries, leads to the dead state.
    """
    shape = tokens.shape
    if queries is None and isinstance(schema, StrictTables):
        each = jnp.arange(shape[0]).reshape((-1,) + (1,) * (len(shape) - 1))
        queries = jnp.broadcast_to(each, shape)
    is_end = grammar.ends[tokens]
    lengths = jnp.where(is_end, 1, grammar.token_lengths[tokens])
    slots = jnp.arange(MAX_EVENTS).reshape((1,) * len(shape) + (MAX_EVENTS,))

    def body(carry: tuple[Array, Tracker, Array, Array]) -> tuple[Array, Tracker, Array, Array]:
        index, state, events, count = carry
        byte = grammar.token_bytes[tokens, jnp.minimum(index, grammar.token_bytes.shape[1] - 1)]
        symbol = jnp.where(is_end, EOT, byte.astype(jnp.int32))
        active = (index < lengths) & ~state.dead
        after, fired = _step(grammar, state, symbol, active, schema, queries)
        state = jax.tree.map(
            lambda new, old: jnp.where(
                active.reshape(shape + (1,) * (new.ndim - len(shape))), new, old
            ),
            after,
            state,
        )
        for event in fired:
            here = active & (event > 0)
            place = here[..., None] & (slots == count[..., None])
            events = jnp.where(place, event[..., None] - 1, events)
            count = count + here
        return index + 1, state, events, count

    def going(carry: tuple[Array, Tracker, Array, Array]) -> Array:
        return jnp.any((carry[0] < lengths) & ~carry[1].dead)

    start = (
        jnp.int32(0),
        tracker,
        jnp.full((*shape, MAX_EVENTS), -1, jnp.int32),
        jnp.zeros(shape, jnp.int32),
    )
    _, state, events, count = jax.lax.while_loop(going, body, start)
    refused = (lengths < 0) | (count > MAX_EVENTS)
    return state._replace(mode=jnp.where(refused, 0, state.mode)), events
