"""Holds a completion against its query's schemas, byte by byte, on the device."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from toolprm_jax.grammar import Kind, Place, Site, Tables

from .schema import (
    ARRAY,
    BOOLEAN,
    FRACTION,
    HASH_FACTORS,
    INTEGER,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    Schema,
)

_NOWHERE, _NAME, _KEY, _TEXT = range(4)
_SITES = {Site.NAME: _NAME, Site.KEY: _KEY, Site.TEXT: _TEXT}
_BEFORE_VALUE, _IN_FRACTION, _IN_EXPONENT = 1, 2, 4
_SHIFT, _EMIT = 8, 12  # layout of an action: what is added | shift << 8 | emit << 12
_CHARACTER, _PAIR = 1, 2
_ESCAPES = {ord(a): ord(b) for a, b in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True)}
_FIRST_BYTES = {b'"': STRING, b"-0123456789": INTEGER, b"tf": BOOLEAN, b"n": NULL, b"[": ARRAY,
                b"{": OBJECT}  # fmt: skip


class StringTables(NamedTuple):
    """What the grammar's modes and bytes mean for strings and values."""

    sites: Array  # int32[modes], the string that a mode stands in
    states: Array  # int32[modes], where in the string, a `Place`
    roles: Array  # int32[modes], bits
    actions: Array  # int32[places * 256], what a byte adds to the code point
    first_bytes: Array  # int32[257], type of the value that starts with a byte


class Check(NamedTuple):
    """Where completions stand in their schemas; [B, W] each."""

    digest: Array  # uint32[B, W, 2], of the string being read, or read last
    code: Array  # uint32[B, W], the code point in the making
    tool: Array  # int32[B, W], of the present call, -1 if none of the query's
    param: Array  # int32[B, W], of the present argument, -1 if none of the tool's
    value: Array  # int32[B, W], types that the argument's value has
    seen: Array  # bool[B, W, Q], parameters given in the present call
    invalid: Array  # bool[B, W], whether something was refused since the last prune


def string_tables(tables: Tables) -> StringTables:
    """The tables of a dress."""
    places = np.asarray(tables.places, np.int32)
    sites = np.asarray([_SITES.get(site, _NOWHERE) for site in tables.sites], np.int32)
    states = np.where(sites == _NOWHERE, Place.NOWHERE, places)
    roles = np.where(np.asarray(tables.sites) == Site.VALUE, _BEFORE_VALUE, 0)
    roles = np.where(places == Place.FRACTION, _IN_FRACTION, roles)
    roles = np.where(places == Place.EXPONENT, _IN_EXPONENT, roles)
    actions = np.zeros((len(Place), 256), np.int32)

    def act(place: str, symbols: bytes, adds: dict[int, int], shift: int, emit: int) -> None:
        for byte in symbols:
            entry = adds.get(byte, byte) | shift << _SHIFT | emit << _EMIT
            actions[Place[place.upper()], byte] = entry

    plain = bytes(set(range(0x20, 0x80)) - set(b'"\\'))
    act("body", plain, {}, 0, _CHARACTER)
    for low, high, mask in ((0xC2, 0xDF, 0x1F), (0xE0, 0xEF, 0x0F), (0xF0, 0xF4, 0x07)):
        leads = range(low, high + 1)
        act("body", bytes(leads), {byte: byte & mask for byte in leads}, 0, 0)
    rest = range(0x80, 0xC0)
    for state in ("cont1", "cont2", "cont3", "e0", "ed", "f0", "f4"):
        emit = _CHARACTER if state == "cont1" else 0
        act(state, bytes(rest), {byte: byte & 0x3F for byte in rest}, 6, emit)
    act("esc", bytes(_ESCAPES), _ESCAPES, 0, _CHARACTER)
    digits = {byte: int(chr(byte), 16) for byte in b"0123456789abcdefABCDEF"}
    emits = {"u4": _CHARACTER, "lo4": _PAIR}
    for state in ("u1", "u2", "u3", "u4", "ud", "hi3", "hi4", "lo1", "lo2", "lo3", "lo4"):
        act(state, bytes(digits), digits, 4, emits.get(state, 0))
    first = np.zeros(257, np.int32)
    for symbols, bits in _FIRST_BYTES.items():
        first[list(symbols)] = bits
    arrays = (sites, states, roles, actions.reshape(-1), first)
    return StringTables(*jax.device_put([np.asarray(array, np.int32) for array in arrays]))


def new_check(schema: Schema, width: int) -> Check:
    """W checks per query, before the first byte."""
    shape = (schema.tools.shape[0], width)
    zeros = jnp.zeros(shape, jnp.int32)
    return Check(
        digest=jnp.zeros((*shape, 2), jnp.uint32),
        code=zeros.astype(jnp.uint32),
        tool=zeros - 1,
        param=zeros - 1,
        value=zeros,
        seen=jnp.zeros((*shape, schema.params.shape[1]), bool),
        invalid=zeros > 0,
    )


def check_byte(
    strings: StringTables,
    schema: Schema,
    check: Check,
    symbol: Array,
    modes: tuple[Array, Array],
    depth: Array,
    fired: tuple[Array, Array],
    active: Array,
) -> Check:
    """Feeds one byte to every check.

    Args:
      strings: from `string_tables`.
      schema: of the B queries.
      check: [B, W].
      symbol: int32[B, W], the byte, 256 for the end of the text.
      modes: int32[B, W] each, before and after the byte.
      depth: int32[B, W], containers open inside the argument before the byte.
      fired: int32[B, W] each, kind + 1 of the boundaries at the byte.
      active: bool[B, W], others stay as they are.
    """
    before, after = modes
    inside = strings.sites[before]
    opening = active & (inside == _NOWHERE) & (strings.sites[after] != _NOWHERE)
    closing = active & (inside != _NOWHERE) & (strings.sites[after] == _NOWHERE)
    action = strings.actions[strings.states[before] * 256 + jnp.minimum(symbol, 255)]
    action = jnp.where(active, action, 0).astype(jnp.uint32)
    code = (check.code << (action >> _SHIFT & 0xF)) | (action & 0xFF)
    emit = action >> _EMIT
    high, low = code >> 16 & 0x3FF, code & 0x3FF
    point = jnp.where(emit == _PAIR, 0x10000 + (high << 10 | low), code)
    factors = jnp.asarray(HASH_FACTORS, jnp.uint32)[None, None, :]
    digest = jnp.where(
        (emit > 0)[..., None], check.digest * factors + point[..., None] + 1, check.digest
    )
    digest = jnp.where(opening[..., None], jnp.uint32(0), digest)
    code = jnp.where(opening | (emit > 0), jnp.uint32(0), code)

    outside = active & (depth == 0)
    starts = outside & (strings.roles[before] == _BEFORE_VALUE) & (after != before)
    value = jnp.where(starts, strings.first_bytes[symbol], check.value)
    digit = (symbol > ord("0")) & (symbol <= ord("9"))
    broken = outside & (strings.roles[after] == _IN_FRACTION) & digit
    value = jnp.where(broken, FRACTION, value)
    # Whether 1.5e3 is an integer is left open.
    value = jnp.where(outside & (strings.roles[after] == _IN_EXPONENT), NUMBER, value)
    check = check._replace(digest=digest, code=code, value=value)

    def happened(kind: Kind) -> Array:
        return active & ((fired[0] == kind + 1) | (fired[1] == kind + 1))

    named, keyed = happened(Kind.FUNC_NAME), closing & (inside == _KEY)
    valued, closed = happened(Kind.ARG_VALUE), happened(Kind.PARAM_FINISH)
    return jax.lax.cond(
        jnp.any(named | keyed | valued | closed),
        lambda: _look_up(schema, check, named, keyed, valued, closed),
        lambda: check,
    )


def _look_up(
    schema: Schema, check: Check, named: Array, keyed: Array, valued: Array, closed: Array
) -> Check:
    """Checks what has just ended: a name, a parameter's name, a value, the arguments."""

    def equal(hashes: Array) -> Array:
        return jnp.all(check.digest[:, :, None] == hashes[:, None], axis=-1)

    def of(array: Array, index: Array) -> Array:
        return jnp.take_along_axis(array, jnp.maximum(index, 0), axis=1)

    tools = equal(schema.tools) & schema.tool_known[:, None]
    some_tool = jnp.any(tools, axis=2)
    found = jnp.where(some_tool, jnp.argmax(tools, axis=2), -1).astype(jnp.int32)
    tool = jnp.where(named, found, check.tool)
    seen = check.seen & ~named[..., None]

    mine = schema.owners[:, None] == tool[..., None]  # [B, W, Q]
    params = equal(schema.params) & mine
    some_param = jnp.any(params, axis=2)
    found = jnp.where(some_param, jnp.argmax(params, axis=2), -1).astype(jnp.int32)
    param = jnp.where(keyed, found, check.param)
    closed_tool = (tool >= 0) & ~of(schema.tool_open, tool)
    refused = named & ~some_tool
    refused |= keyed & ((~some_param & closed_tool) | jnp.any(params & seen, axis=2))
    seen |= params & keyed[..., None]

    wrong_type = (check.value & of(schema.types, param)) == 0
    listed = equal(schema.enums) & (schema.enum_params[:, None] == param[..., None])
    text = check.value == STRING
    not_listed = text & of(schema.has_enum, param) & ~jnp.any(listed, axis=2)
    refused |= valued & (param >= 0) & (wrong_type | not_listed)
    missing = jnp.any(schema.required[:, None] & mine & ~seen, axis=2)
    refused |= closed & missing
    return check._replace(tool=tool, param=param, seen=seen, invalid=check.invalid | refused)
