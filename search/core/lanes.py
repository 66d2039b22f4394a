"""Tokens of many queries run through a model together, in passes of a few compiled sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from .config import Execution
from .interfaces import Cache, Lanes, LaneState, Memory
from .scopes import CACHE

_FEWEST_ROWS = 2

Carry = Any  # what the passes over one list accumulate: a pytree of arrays


def together(value: Array, axis: str) -> Array:
    """The largest value on the devices along a mesh axis, all of which go by it; "" for no axis.

    Devices that share a model must reach each of its collectives, so they may not choose by their
    own queries whether and in which size the model runs.
    """
    return jax.lax.pmax(value, axis) if axis else value


def make_lanes(
    batch: int,
    queries: Array,
    slots: Array,
    tokens: Array,
    depths: Array,
    paths: Array,
    active: Array,
    in_step: str = "",
) -> Lanes:
    """Lanes of slots, or of leaves below slots, from the paths that lead to them.

    Args:
      batch: B.
      queries: int32[R].
      slots: int32[R, W], where the lane's own keys and values go; P where nowhere.
      tokens: int32[R, W].
      depths: int32[R, W].
      paths: bool[R, W, P], a path that leads to the lane; what follows its own slot is ignored.
      active: bool[R, W], idle lanes see only themselves.
      in_step: see `Execution`.
    """
    size = paths.shape[-1]
    slots = jnp.where(active, slots, size)
    # What this pass is about to store isn't in the cache yet; it is seen through `within`.
    inside = jnp.zeros((batch, size), bool).at[queries[:, None], slots].set(True, mode="drop")
    above = jnp.arange(size)[None, None, :] < slots[..., None]
    sees = paths & above & active[..., None]
    flat = slots.reshape(-1)
    same_query = queries[:, None] == jnp.repeat(queries, slots.shape[1])[None, :]
    within = jnp.take(sees, jnp.minimum(flat, size - 1), axis=2)
    within &= (same_query & (flat < size)[None, :])[:, None, :]
    ancestors = sees & ~inside[queries][:, None, :]
    highest = jnp.max(jnp.where(ancestors, jnp.arange(size)[None, None, :] + 1, 0))
    return Lanes(
        queries=queries,
        slots=slots,
        tokens=tokens,
        depths=depths,
        ancestors=ancestors,
        within=within | jnp.eye(flat.shape[0], dtype=bool).reshape(*slots.shape, -1),
        active=active,
        used=together(highest, in_step),
    )


class Rows(NamedTuple):
    """Which entries of the queries' lists a pass runs."""

    first: Array  # int32[], number of its first row among those of all passes
    queries: Array  # int32[R]
    places: Array  # int32[R, W], in the query's list
    active: Array  # bool[R, W]


def buckets(most: int, fewest: int, count: int = 4) -> list[int]:
    """Sizes that a program is compiled for, rising: `most`, its half, quarter and so on.

    Args:
      most: the largest.
      fewest: none but `most` is smaller.
      count: how many there are at most.
    """
    sizes = [most >> halvings for halvings in range(count - 1, 0, -1)]
    return [*(size for size in sizes if size >= fewest), most]


def smallest(sizes: Sequence[int], wanted: Array) -> Array:
    """Index of the first of the rising sizes that holds what is wanted, else of the last."""
    return jnp.minimum(jnp.searchsorted(jnp.asarray(sizes), wanted), len(sizes) - 1)


def first_rows(counts: Array, width: int) -> Array:
    """The number of each query's first row among all rows, int32[B]; see `in_passes`."""
    rows = -(-counts // width)
    return jnp.cumsum(rows) - rows


def _rows_of(
    first: Array, rows: int, counts: Array, starts: Array, ends: Array, width: int
) -> Rows:
    """Some rows of the queries' lists; those behind the last are not active."""
    number = first + jnp.arange(rows, dtype=jnp.int32)
    queries = jnp.minimum(jnp.searchsorted(ends, number, side="right"), counts.shape[0] - 1)
    piece = (number - starts[queries])[:, None]
    places = piece * width + jnp.arange(width, dtype=jnp.int32)[None, :]
    active = (number < ends[-1])[:, None] & (places < counts[queries][:, None])
    return Rows(first, queries, places, active)


def in_passes(
    run: Callable[[Rows, Cache, Carry], tuple[Lanes, LaneState, Carry]],
    memory: Memory,
    counts: Array,
    longest: int,
    width: int,
    execution: Execution,
    cache: Cache,
    carry: Carry,
) -> tuple[Cache, Carry, Array]:
    """Runs the queries' lists through a model, densely packed, in their order.

    Each query's list is cut into rows, and as many rows as may be run at once. A pass takes the
    smallest compiled size that holds what is left.

    Args:
      run: one pass; returns its lanes, what is to be stored of them, and the carry.
      memory: stores it. It does so outside of `run`, for XLA appends in place only what no
        conditional hands through.
      counts: int32[B], lengths of the lists.
      longest: no list can be longer.
      width: W, lanes of a row, at most `longest`.
      execution: its `max_lanes` limits a pass.
      cache: of the model.
      carry: what `run` accumulates.

    Returns:
      The cache, what was accumulated, and the number of passes, int32[].

    Source: our choice.
    """
    starts = first_rows(counts, width)
    ends = starts + -(-counts // width)
    batch, total = counts.shape[0], together(ends[-1], execution.in_step)
    most = min(batch * -(-longest // width), max(execution.max_lanes // width, 1))
    sizes = buckets(most, _FEWEST_ROWS, execution.pass_sizes)

    def one(rows: int, first: Array, cache: Cache, carry: Carry) -> Any:
        passed = _rows_of(first, rows, counts, starts, ends, width)
        lanes, own, carry = run(passed, cache, carry)

        def widened(array: Array, value: int = 0) -> Array:
            more = ((0, most - rows), *[(0, 0)] * (array.ndim - 1))
            return jnp.pad(array, more, constant_values=value)

        size = lanes.ancestors.shape[2]
        stored = (widened(passed.queries), widened(lanes.slots, size), jax.tree.map(widened, own))
        return first + rows, carry, stored

    branches = [partial(one, rows) for rows in sizes]

    def next_pass(state: tuple[Array, Cache, Carry, Array]) -> tuple[Array, Cache, Carry, Array]:
        first, cache, _, passes = state
        which = smallest(sizes, total - first)
        first, carry, stored = jax.lax.switch(which, branches, *state[:3])
        with jax.named_scope(CACHE):
            cache = memory.store(cache, *stored)
        return first, cache, carry, passes + 1

    begin = (jnp.int32(0), cache, carry, jnp.int32(0))
    return jax.lax.while_loop(lambda state: state[0] < total, next_pass, begin)[1:]
