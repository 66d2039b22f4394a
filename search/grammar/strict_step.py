"""Holds completions to their query's tools byte by byte, on the device.

Runs in step with the grammar's tracker: that says what a byte is in JSON, this whether some value
that the tools accept may have it there. Where a value may be read in several ways (a union of
objects, say) all are followed.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.grammar import MAX_DEPTH

from .strict_compile import (
    DEEPEST,
    FEWEST,
    FIRST_CHILD,
    FIXED,
    HAS,
    HEIGHT,
    ITEMS,
    KEYS,
    LARGEST,
    LEAST,
    MOST,
    NEEDS,
    NESTED,
    OPEN_SHAPE,
    OTHERS,
    ROOT,
    SHAPE,
)
from .strict_nodes import ARRAY, KINDS, NEVER, NUMBER, OBJECT, STRING
from .strict_state import ALL_OPEN, BODY, DIGIT, NOT_OPEN, Role, Strict, StrictModes
from .strict_tables import StrictTables
from .strict_text import END_OF_NUMBER

_QUOTE, _BACKSLASH, _COMMA, _CLOSE, _CLOSE_LIST = (ord(c) for c in '"\\,}]')
_UNLISTED, _ESCAPED = 0, 1  # states of the automaton of keys: off it; off it at a backslash


class Byte(NamedTuple):
    """One byte per completion and what the grammar makes of it; int32[..., 1] each."""

    symbol: Array
    before: Array  # role of the mode before
    after: Array  # and after
    place: Array  # where in a string the mode before is
    context: Array  # what the innermost container is: 0 the arguments, 1 an object, 2 an array
    depth: Array  # containers open inside the argument, before the byte
    kind: Array  # type of a value that starts with it, -1 where none starts here


class _Frame(NamedTuple):
    """The innermost container."""

    row: Array  # int32[..., K, 9]
    masks: Array  # uint32[..., K, 3, words]
    seen: Array  # uint32[..., K, words]
    free: Array  # uint32[..., K, words], keys that may still be given
    others: Array  # bool[..., K], whether keys that aren't listed may be


def _any(bits: Array) -> Array:
    return jnp.any(bits != 0, axis=-1)


def _level(array: Array, depth: Array, axis: int) -> Array:
    """The entry of one level."""
    index = jnp.minimum(depth, array.shape[axis] - 1)
    index = jnp.broadcast_to(index, array.shape[: array.ndim - (-axis)])
    index = index.reshape(*index.shape, *[1] * -axis)
    return jnp.squeeze(jnp.take_along_axis(array, index, axis=axis), axis)


def _set_level(array: Array, depth: Array, value: Array, where: Array, axis: int) -> Array:
    """The array with the entry of one level replaced where told."""
    levels = jnp.arange(array.shape[axis]).reshape((1,) * where.ndim + (-1,))
    here = where[..., None] & (levels == depth[..., None])
    value = jnp.expand_dims(value, axis)
    return jnp.where(here.reshape(*here.shape, *[1] * (-axis - 1)), value, array)


def _frame(tables: StrictTables, rows: Array, state: Strict, byte: Byte) -> _Frame:
    shape = _level(state.shapes, byte.depth, -1)
    row, masks = tables.shapes[rows, shape], tables.masks[rows, shape]
    seen = _level(state.seen, byte.depth, -2)
    tight = byte.depth + row[..., DEEPEST] > MAX_DEPTH
    nested = jnp.where(tight[..., None], masks[..., NESTED, :], jnp.uint32(0))
    others = tables.heights[rows, row[..., OTHERS]] + byte.depth <= MAX_DEPTH
    return _Frame(row, masks, seen, masks[..., HAS, :] & ~seen & ~nested, others)


def _fork(tables: StrictTables, rows: Array, state: Strict, byte: Byte, starts: Array) -> Strict:
    """Readings at the start of a value, one for each alternative of each."""
    ways = state.alive.shape[-1]
    kind = jnp.maximum(byte.kind, 0)
    choices = tables.choices[rows, state.target * KINDS + kind]
    known = state.open_at == NOT_OPEN
    if ways == 1:
        first = jnp.where(known & starts, choices[..., 0], state.choice)
        fits = ~(known & starts) | (choices[..., 1] > 0)
        return state._replace(choice=first, alive=state.alive & fits)
    state = _distinct(state, byte, starts)
    many = jnp.where(known, choices[..., 1], 1) * state.alive
    ends = jnp.cumsum(many, axis=-1)
    place = jnp.arange(ways).reshape((1,) * (ends.ndim - 1) + (ways,))
    source = jnp.sum(ends[..., None, :] <= place[..., None], axis=-1)
    source = jnp.minimum(source, ways - 1)
    begin = jnp.take_along_axis(ends - many, source, axis=-1)

    def moved(array: Array) -> Array:
        index = source.reshape(*source.shape, *[1] * (array.ndim - source.ndim))
        return jnp.take_along_axis(array, index, axis=source.ndim - 1)

    forked = jax.tree.map(moved, state)
    first = jnp.take_along_axis(choices[..., 0], source, axis=-1) + place - begin
    still = jnp.take_along_axis(known, source, axis=-1)
    # More readings than are followed: the call is left open, so that nothing is refused wrongly.
    lost = ends[..., -1:] > ways
    forked = forked._replace(
        choice=jnp.where(still, first, forked.choice),
        alive=place < ends[..., -1:],
        open_at=jnp.where(lost, ALL_OPEN, forked.open_at),
    )

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(starts.reshape(*starts.shape, *[1] * (new.ndim - starts.ndim)), new, old)

    return jax.tree.map(pick, forked, state)


def _distinct(state: Strict, byte: Byte, starts: Array) -> Strict:
    """Only the first of readings that will never differ again, where a value starts."""
    ways, levels = state.alive.shape[-1], state.shapes.shape[-1]
    around = jnp.arange(levels).reshape((1,) * byte.depth.ndim + (-1,)) <= byte.depth[..., None]
    shapes = jnp.where(around, state.shapes, 0)
    seen = jnp.where(around[..., None], state.seen, jnp.uint32(0))

    def equal(array: Array) -> Array:
        same = jnp.expand_dims(array, state.alive.ndim) == jnp.expand_dims(
            array, state.alive.ndim - 1
        )
        return jnp.all(same, axis=tuple(range(state.alive.ndim + 1, same.ndim)))

    same = equal(state.target) & equal(state.open_at) & equal(shapes) & equal(seen)
    earlier = jnp.tril(jnp.ones((ways, ways), bool), -1).reshape(
        (1,) * (state.alive.ndim - 1) + (ways, ways)
    )
    again = jnp.any(same & earlier & state.alive[..., None, :], axis=-1)
    return state._replace(alive=state.alive & ~(again & starts))


def _begin(
    tables: StrictTables, rows: Array, state: Strict, byte: Byte, starts: Array
) -> tuple[Strict, Array]:
    """A value's first byte: what is to be read, and the container that it opens."""
    choice = tables.alternatives[rows, state.choice]
    shape, is_args = choice[..., SHAPE], byte.after == Role.OBJECT_OPEN
    is_args = is_args & (byte.before == Role.ARGS_START)
    opens = starts & ((byte.kind == ARRAY) | (byte.kind == OBJECT))
    row = tables.shapes[rows, shape]
    level = jnp.where(is_args, 0, byte.depth + 1)
    fits = ~opens | (level + row[..., HEIGHT] - 1 <= MAX_DEPTH)
    fixed = tables.children[rows, row[..., FIRST_CHILD]]
    first = jnp.where(row[..., FIXED] > 0, fixed, row[..., ITEMS])
    deep = tables.heights[rows, first] + level > MAX_DEPTH
    first = jnp.where((row[..., LARGEST] < 1) | deep, NEVER, first)
    typed = opens & (shape != OPEN_SHAPE)
    anything = jnp.where(is_args, ALL_OPEN, byte.depth)
    seen = _set_level(state.seen, level, jnp.zeros_like(state.seen[..., 0, :]), typed, -2)
    return state._replace(
        state=jnp.where(starts & (byte.kind == STRING), choice[..., ROOT], state.state),
        count=jnp.where(starts, 0, state.count),
        target=jnp.where(typed & (byte.kind == ARRAY), first, state.target),
        open_at=jnp.where(opens & ~typed, anything, state.open_at),
        shapes=_set_level(state.shapes, level, shape, typed, -1),
        seen=seen,
    ), fits


def _key(
    tables: StrictTables, rows: Array, state: Strict, byte: Byte, frame: _Frame, hit: Array,
    target: Array,
) -> tuple[Strict, Array]:  # fmt: skip
    """A byte of a key; the closing quote tells whose value comes."""
    inside = byte.before == Role.KEY
    closes = inside & (byte.after != Role.KEY)
    words = state.seen.shape[-1]
    index = jnp.maximum(-1 - target, 0)
    places = 32 * jnp.arange(words).reshape((1,) * index.ndim + (words,))
    offset = index[..., None] - places
    bit = jnp.where(
        (offset >= 0) & (offset < 32), jnp.uint32(1) << (offset & 31).astype(jnp.uint32), 0
    ).astype(jnp.uint32)
    ahead = tables.reach[rows, jnp.maximum(target, 0)]
    listed = hit & (target < 0)
    # Off the automaton a key is none of the listed; in an escape's digits it leads off by itself.
    differs = byte.place != DIGIT
    may_leave = frame.others & (differs | (state.state == _UNLISTED))
    fits = jnp.where(
        listed,
        _any(bit & frame.free),
        jnp.where(hit, _any(ahead & frame.free) | frame.others, may_leave),
    )
    backslash = (byte.symbol == _BACKSLASH) & (byte.place == BODY) & (state.state != _UNLISTED)
    off = jnp.where(backslash, _ESCAPED, _UNLISTED)
    child = tables.children[rows, frame.row[..., FIRST_CHILD] + index]
    value = jnp.where(listed, child, frame.row[..., OTHERS])
    given = _set_level(
        state.seen, jnp.broadcast_to(byte.depth, state.state.shape), frame.seen | bit,
        closes & listed, -2,
    )  # fmt: skip
    return state._replace(
        state=jnp.where(inside, jnp.where(hit, jnp.maximum(target, 0), off), state.state),
        target=jnp.where(closes, value, state.target),
        seen=given,
    ), ~inside | fits


def _separate(
    tables: StrictTables, rows: Array, state: Strict, byte: Byte, frame: _Frame
) -> tuple[Strict, Array]:
    """Commas and closing brackets: whether they may come, and what comes after."""
    between = (
        (byte.before == Role.AFTER)
        | (byte.before == Role.NUMBER)
        | (byte.before == Role.OBJECT_OPEN)
    )
    between |= byte.before == Role.VALUE
    in_array, items = byte.context == 2, frame.seen[..., 0].astype(jnp.int32)
    row = frame.row
    comma = between & (byte.symbol == _COMMA)
    fixed = tables.children[rows, row[..., FIRST_CHILD] + jnp.minimum(items, row[..., FIXED])]
    following = jnp.where(items < row[..., FIXED], fixed, row[..., ITEMS])
    fits_item = tables.heights[rows, following] + byte.depth <= MAX_DEPTH
    another = jnp.where(
        in_array, fits_item & (items < row[..., LARGEST]), _any(frame.free) | frame.others
    )
    whole = ~_any(frame.masks[..., NEEDS, :] & ~frame.seen)
    # A key's first quote, too, needs a key that may be given.
    opens_key = (byte.after == Role.KEY) & (byte.before != Role.KEY)
    fits = jnp.where(comma | opens_key, another, True)
    fits &= ~(between & (byte.symbol == _CLOSE)) | whole
    fits &= ~(between & (byte.symbol == _CLOSE_LIST)) | (items >= row[..., FEWEST])
    return state._replace(
        target=jnp.where(comma & in_array, following, state.target),
        state=jnp.where(opens_key, row[..., KEYS], state.state),
    ), fits


def _read(
    tables: StrictTables, rows: Array, state: Strict, byte: Byte, starts: Array
) -> tuple[Strict, Array, tuple[Array, Array]]:
    """A byte of a name, a string or a number; of a key, too, the edge that its automaton has."""
    choice = tables.alternatives[rows, state.choice]
    begins = starts & (byte.kind == NUMBER)
    ends = (byte.before == Role.NUMBER) & (byte.after != Role.NUMBER)
    at = jnp.where(begins, choice[..., ROOT], state.state)
    letter = jnp.where(ends, END_OF_NUMBER, jnp.minimum(byte.symbol, 255))
    slot = jnp.clip(tables.base[rows, at] + letter, 0, tables.edges.shape[1] - 1)
    edge = tables.edges[rows, slot]
    hit, target = (edge[..., 0] == at) & (at > 0), edge[..., 1]
    in_name, in_text = byte.before == Role.NAME, byte.before == Role.TEXT
    follows = in_name | in_text | begins | (byte.before == Role.NUMBER)
    fits = ~(follows & (at > 0)) | hit
    fits &= ~(in_name & (at == 0))
    tool = tables.tools[rows, jnp.clip(-1 - target, 0, tables.tools.shape[1] - 1)]
    body = in_text & (byte.place == BODY)
    closing = body & (byte.symbol == _QUOTE)
    fits &= ~closing | (state.count >= choice[..., LEAST])
    fits &= ~(body & ~closing) | (state.count < choice[..., MOST])
    state = state._replace(
        state=jnp.where(follows, jnp.where(hit, jnp.maximum(target, 0), 0), state.state),
        target=jnp.where(in_name & (byte.after != Role.NAME), tool, state.target),
        count=state.count + (body & ~closing),
    )
    return state, fits, (hit, target)


def strict_byte(
    modes: StrictModes,
    tables: StrictTables,
    rows: Array,
    state: Strict,
    symbol: Array,
    mode: tuple[Array, Array],
    depth: Array,
    context: Array,
    popped: Array,
) -> tuple[Strict, Array]:
    """Feeds one byte to every completion.

    Args:
      modes: from `strict_modes`.
      tables: of B queries.
      rows: int32[...], the query of each.
      state: [...].
      symbol: int32[...], the byte, 256 for the end of the text.
      mode: int32[...] each, the grammar's before and after the byte.
      depth: int32[...], containers open inside the argument before the byte.
      context: int32[...], of the innermost: 0 the arguments, 1 an object, 2 an array.
      popped: bool[...], whether the byte closes one.

    Returns:
      The states after it, and bool[...], whether the tools still accept some continuation.
    """
    one = [array[..., None] for array in (symbol, modes.roles[mode[0]], modes.roles[mode[1]])]
    symbol, before, after = one
    rows, depth = rows[..., None], depth[..., None]
    kind = jnp.where(before == Role.VALUE, modes.kinds[symbol], -1)
    begins_args = (before == Role.ARGS_START) & (after == Role.OBJECT_OPEN)
    kind = jnp.where(begins_args, OBJECT, kind)
    byte = Byte(
        symbol, before, after, modes.places[mode[0]][..., None], context[..., None], depth, kind
    )
    # A new call forgets the one before.
    calls = (after == Role.CALL) & (before != Role.CALL)
    is_first = jnp.arange(state.alive.shape[-1]).reshape((1,) * (calls.ndim - 1) + (-1,)) == 0
    state = state._replace(
        alive=jnp.where(
            calls, jnp.any(state.alive, axis=-1, keepdims=True) & is_first, state.alive
        ),
        open_at=jnp.where(calls, NOT_OPEN, state.open_at),
    )
    starts = kind >= 0
    state = _fork(tables, rows, state, byte, starts)
    known = state.open_at == NOT_OPEN
    old = state
    frame = _frame(tables, rows, state, byte)
    # An item more, where an array's begins.
    items = jnp.zeros_like(frame.seen).at[..., 0].set(1)
    counted = starts & (byte.context == 2) & (before == Role.VALUE)
    levels = jnp.broadcast_to(depth, state.state.shape)
    state = state._replace(seen=_set_level(state.seen, levels, frame.seen + items, counted, -2))

    state, fits, edge = _read(tables, rows, state, byte, starts)
    state, fits_begin = _begin(tables, rows, state, byte, starts)
    state, fits_key = _key(tables, rows, state, byte, frame, *edge)
    state, fits_between = _separate(tables, rows, state, byte, frame)
    fits &= fits_begin & fits_key & fits_between

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(known.reshape(*known.shape, *[1] * (new.ndim - known.ndim)), new, old)

    state = jax.tree.map(pick, state, old)
    alive = old.alive & (fits | ~known)
    closed = popped[..., None] & (depth - 1 == state.open_at)
    opens_name = (before == Role.NAME_START) & (after == Role.NAME)
    names = tables.names[rows]
    state = state._replace(
        alive=alive,
        open_at=jnp.where(closed, NOT_OPEN, state.open_at),
        state=jnp.where(opens_name, names, state.state),
    )
    refused = (calls & (names == 0)) | (after == Role.TRAILING)
    return state, jnp.any(alive & ~refused, axis=-1)
