"""Where completions stand in their query's tools, and what the grammar's modes mean there."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from toolprm_jax.grammar import (
    EVENT2_SHIFT,
    EVENT_SHIFT,
    FIELD_MASK,
    MAX_DEPTH,
    MODE_MASK,
    Kind,
    Place,
    Site,
    Tables,
)

from .strict_compile import MOST
from .strict_nodes import ARRAY, BOUNDLESS, FALSE, NULL, NUMBER, OBJECT, STRING, TRUE
from .strict_tables import StrictTables


class Role(IntEnum):
    """What a mode of the grammar is for; `START` and `OPEN` stand before what they name."""

    OTHER, CALL, NAME_START, NAME, ARGS_START, OBJECT_OPEN, OBJECT_NEXT = range(7)
    KEY, VALUE, TEXT, NUMBER, AFTER, TRAILING = range(7, 13)


_ROLES = {
    Site.ELSEWHERE: Role.OTHER, Site.CALL: Role.CALL, Site.NAME_START: Role.NAME_START,
    Site.NAME: Role.NAME, Site.ARGS_START: Role.ARGS_START, Site.ARGS_OPEN: Role.OBJECT_OPEN,
    Site.OBJECT_OPEN: Role.OBJECT_OPEN, Site.ARGS_NEXT: Role.OBJECT_NEXT,
    Site.INNER_NEXT: Role.OBJECT_NEXT, Site.KEY: Role.KEY, Site.INNER_KEY: Role.KEY,
    Site.VALUE: Role.VALUE, Site.ARRAY_OPEN: Role.VALUE, Site.TEXT: Role.TEXT,
    Site.NUMBER: Role.NUMBER, Site.AFTER_VALUE: Role.AFTER, Site.TRAILING: Role.TRAILING,
}  # fmt: skip
# The second half of a surrogate pair belongs to its escape.
_DIGITS = (Place.U1, Place.U2, Place.U3, Place.U4, Place.UD, Place.HI3, Place.HI4, Place.LO_ESC,
           Place.LO_U, Place.LO1, Place.LO2, Place.LO3, Place.LO4)  # fmt: skip
INSIDE, BODY, DIGIT = range(3)  # where in a string: else, between characters, in \u's digits
_FIRST_BYTES = {b'"': STRING, b"-0123456789": NUMBER, b"t": TRUE, b"f": FALSE, b"n": NULL,
                b"[": ARRAY, b"{": OBJECT}  # fmt: skip
NOT_OPEN, ALL_OPEN = -1, MAX_DEPTH + 1  # of `Strict.open_at`


class StrictModes(NamedTuple):
    """What the grammar's modes and bytes mean here."""

    roles: Array  # int32[modes]
    places: Array  # int32[modes], where in a string
    kinds: Array  # int32[257], type of the value that starts with a byte, -1 for none
    may_end: Array  # bool[modes], whether the list has ended, or can without another call


class Strict(NamedTuple):
    """Where completions stand in their tools; K readings each, of which some are alive."""

    alive: Array  # bool[..., K]
    target: Array  # int32[..., K], node of the value to come
    choice: Array  # int32[..., K], alternative of the value being read
    state: Array  # int32[..., K], of the automaton of the string or number being read
    count: Array  # int32[..., K], characters of the string being read
    open_at: Array  # int32[..., K], depth at which a container that may hold anything began
    shapes: Array  # int32[..., K, levels], of the containers around
    seen: Array  # uint32[..., K, levels, words], their keys so far; of an array its items


def strict_modes(tables: Tables) -> StrictModes:
    """The tables of a dress."""
    roles = np.asarray([_ROLES[site] for site in tables.sites], np.int32)
    named = {Place.BODY: BODY, **dict.fromkeys(_DIGITS, DIGIT)}
    places = np.asarray([named.get(place, INSIDE) for place in tables.places], np.int32)
    kinds = np.full(257, -1, np.int32)
    for symbols, kind in _FIRST_BYTES.items():
        kinds[list(symbols)] = kind
    return StrictModes(*jax.device_put((roles, places, kinds, _may_end(tables, roles))))


def ends_calls(first: Any, second: Any) -> Any:
    """Whether one of a byte's two events, each its kind plus 1, ends the list of calls."""
    finish = Kind.TOTAL_FINISH + 1
    return (first == finish) | (second == finish)


def _may_end(tables: Tables, roles: np.ndarray) -> np.ndarray:
    """Modes in or after which the list can end without another call being begun, bool[modes]."""
    entries = np.asarray(tables.transitions, np.int32).reshape(3, len(roles), -1)
    targets = entries & MODE_MASK
    ends = ends_calls(entries >> EVENT_SHIFT & FIELD_MASK, entries >> EVENT2_SHIFT & FIELD_MASK)
    begins = (roles[targets] == Role.CALL) & (roles[None, :, None] != Role.CALL)
    follows = (targets != tables.dead) & ~begins
    found = np.zeros(len(roles), bool)
    found[[*tables.accepting, tables.done]] = True
    while True:
        more = np.any((ends | found[targets]) & follows, axis=(0, 2))
        if np.array_equal(more | found, found):
            return found
        found |= more


def counts_fit(
    modes: StrictModes, tables: StrictTables, rows: Array, calls: Array, mode: Array, ends: Array
) -> Array:
    """Whether as many calls may have been begun, bool[...].

    Args:
      modes: from `strict_modes`.
      tables: of B queries.
      rows: int32[...], the query of each.
      calls: int32[...], begun so far.
      mode: int32[...], of the grammar, after a byte.
      ends: bool[...], whether the byte ended the list.
    """
    least, most = tables.calls[rows, 0], tables.calls[rows, 1]
    full = (calls >= most) & ~modes.may_end[mode]
    return (calls <= most) & ~full & ~(ends & (calls < least))


def new_strict(tables: StrictTables, shape: tuple[int, ...]) -> Strict:
    """States before the first byte."""
    ways, levels, words = tables.ways.shape[1], tables.frames.shape[1], tables.reach.shape[2]
    zeros = jnp.zeros((*shape, ways), jnp.int32)
    return Strict(
        alive=jnp.broadcast_to(jnp.arange(ways) == 0, zeros.shape),
        target=zeros,
        choice=zeros,
        state=zeros,
        count=zeros,
        open_at=zeros + NOT_OPEN,
        shapes=jnp.zeros((*zeros.shape, levels), jnp.int32),
        seen=jnp.zeros((*zeros.shape, levels, words), jnp.uint32),
    )


def is_trailing(modes: StrictModes, mode: Array) -> Array:
    """Whether modes int32[...] stand in text behind the answer, bool[...]."""
    return modes.roles[mode] == Role.TRAILING


def free_text(
    modes: StrictModes,
    tables: StrictTables | None,
    rows: Array,
    state: Strict | None,
    mode: Array,
) -> Array:
    """Whether completions stand in a string, between two characters, that may be any; bool[...]."""
    role = modes.roles[mode]
    between = modes.places[mode] == BODY
    if state is None or tables is None:
        return between & ((role == Role.NAME) | (role == Role.KEY) | (role == Role.TEXT))
    choice = tables.alternatives[rows[..., None], state.choice]
    any_text = (role == Role.TEXT)[..., None] & (choice[..., MOST] == BOUNDLESS)
    free = (state.state == 0) & (any_text | (role == Role.KEY)[..., None])
    inside = ((role == Role.TEXT) | (role == Role.KEY))[..., None]
    free |= inside & (state.open_at != NOT_OPEN)
    return between & jnp.any(state.alive & free, axis=-1)
