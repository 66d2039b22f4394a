"""Completions through the strict tracker: whole ones byte by byte, and random walks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from search.grammar.strict_compile import StrictSize, compile_tools
from search.grammar.strict_tables import StrictTables, make_strict
from search.grammar.tracker import Grammar, Tracker, advance, grammar_from_pieces, initial
from toolprm_jax.grammar.types import Kind
from toolprm_jax.records.types import Record, Tool

END = 256
BYTES = grammar_from_pieces([*(bytes([byte]) for byte in range(256)), None], 257, [END], "list")
SIZE = StrictSize(
    alternatives=256, nodes=128, shapes=64, children=128, states=1024, slots=2048, words=1,
    tools=4, levels=8, ways=4,
)  # fmt: skip


def record_of(*tools: Tool) -> Record:
    return Record("r", ({"role": "user", "content": "?"},), tools, None)


def fits(record: Record, size: StrictSize = SIZE) -> bool:
    """Whether a record's tools fit the size that the tests compile for."""
    return all(a <= b for a, b in zip(compile_tools(record).size, size, strict=True))


def _choose(where: jax.Array, new: Tracker, old: Tracker) -> Tracker:
    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(where.reshape(where.shape + (1,) * (a.ndim - where.ndim)), a, b)

    return jax.tree.map(pick, new, old)


@jax.jit
def died_at(grammar: Grammar, tables: StrictTables, tokens: jax.Array) -> jax.Array:
    """Index of the token at which each of int32[B, T] dies, -1 where none does; -1 pads."""

    def body(carry: Any, column: jax.Array) -> tuple[Any, None]:
        tracker, died, at = carry
        after, _ = advance(grammar, tracker, jnp.maximum(column, 0), tables)
        after = _choose(column >= 0, after, tracker)
        died = jnp.where((died < 0) & after.dead, at, died)
        return (after, died, at + 1), None

    count = tokens.shape[0]
    start = (initial(grammar, (count,), tables), jnp.full(count, -1), jnp.int32(0))
    (_, died, _), _ = jax.lax.scan(body, start, tokens.T)
    return died


def feed(
    records: Sequence[Record],
    texts: Sequence[bytes],
    size: StrictSize = SIZE,
    length: int = 512,
    rows: int = 64,
) -> list[int]:
    """The byte at which each text dies under its record's tools, -1 where it doesn't."""
    out: list[int] = []
    for first in range(0, len(texts), rows):
        some = [*range(first, min(first + rows, len(texts)))]
        filled = some + [some[0]] * (rows - len(some))
        tokens = np.full((rows, length), -1, np.int32)
        for row, index in enumerate(filled):
            tokens[row, : len(texts[index])] = list(texts[index])
        tables = make_strict([records[index] for index in filled], size)
        out += np.asarray(died_at(BYTES, tables, jnp.asarray(tokens)))[: len(some)].tolist()
    return out


@partial(jax.jit, static_argnames="length")
def wander(
    tables: StrictTables, opening: jax.Array, alphabet: jax.Array, weights: jax.Array,
    closing: jax.Array, key: jax.Array, length: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
    """Random bytes, each drawn among those that strict decoding allows.

    Args:
      tables: of B queries.
      opening: int32[n], bytes that all begin with.
      alphabet: int32[A], bytes to draw from.
      weights: float32[B, A], their logits; `closing` those of the last part of the walk.
      closing: float32[B, A].
      key: consumed.
      length: bytes drawn at most.

    Returns:
      int32[B, length] bytes, -1 past the end; whether nothing was allowed at some point; whether
      the list was closed.
    """
    batch, letters = weights.shape
    tokens = jnp.broadcast_to(alphabet[None], (batch, letters))
    each = jnp.arange(batch)

    def body(carry: Any, at: jax.Array) -> tuple[Any, jax.Array]:
        tracker, stuck, done = carry
        wide = jax.tree.map(
            lambda a: jnp.broadcast_to(a[:, None], (batch, letters, *a.shape[1:])), tracker
        )
        after, events = advance(BYTES, wide, tokens, tables)
        logits = jnp.where(at < length * 0.6, weights, closing)
        logits = jnp.where(after.dead, -jnp.inf, logits)
        picked = jax.random.categorical(jax.random.fold_in(key, at), logits, axis=-1)
        halted = done | stuck
        stuck |= ~done & jnp.all(after.dead, axis=1)
        finished = jnp.any(events[each, picked] == Kind.TOTAL_FINISH, axis=-1)
        tracker = _choose(~(done | stuck), jax.tree.map(lambda a: a[each, picked], after), tracker)
        return (tracker, stuck, done | (finished & ~stuck)), jnp.where(
            halted | stuck, -1, tokens[each, picked]
        )

    def begin(at: jax.Array, tracker: Tracker) -> Tracker:
        byte = jnp.broadcast_to(opening[at], (batch,))
        return advance(BYTES, tracker, byte, tables)[0]

    start = jax.lax.fori_loop(0, opening.shape[0], begin, initial(BYTES, (batch,), tables))
    no = jnp.zeros(batch, bool)
    (_, stuck, done), out = jax.lax.scan(body, (start, no, no), jnp.arange(length))
    return out.T, stuck, done


def exact_number(text: str) -> int | float:
    """A number with a fraction or an exponent, an int where it is whole."""
    exponent = int(text.lower().partition("e")[2] or 0)
    if abs(exponent) > 400:
        return 10**400 if exponent > 0 else 0.5
    number = Fraction(text)
    return int(number) if number.denominator == 1 else float(number)


def parsed(text: bytes) -> Any:
    """A completion's calls."""
    return json.loads(text, parse_float=exact_number)


def call_text(name: str, arguments: str) -> bytes:
    return f'[{{"name": {json.dumps(name)}, "arguments": {arguments}}}]'.encode()
