"""The pool of generated tokens: append-only, shared by a query's beams, compacted at prunes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from .tracker import MAX_EVENTS


class Pool(NamedTuple):
    """Generated tokens of B queries; slots are in topological order.

    Slot 0 is the prompt's last token, the root below which everything grows.
    """

    tokens: Array  # int32[B, P]
    parents: Array  # int32[B, P], slot of the parent, -1 at the root
    depths: Array  # int32[B, P], 0 at the root
    events: Array  # int32[B, P, E], kinds of the boundaries in the token, -1 for none
    log_p: Array  # float32[B, P, E], log-probability of "+" at each of them
    scored: Array  # bool[B, P], whether the reward model has seen the token
    used: Array  # int32[B], slots in use


def new_pool(roots: Array, size: int) -> Pool:
    """Pools that hold only the root.

    Args:
      roots: int32[B], the last token of each prompt.
      size: P, slots per query.
    """
    batch = roots.shape[0]
    zeros = jnp.zeros((batch, size), jnp.int32)
    return Pool(
        tokens=zeros.at[:, 0].set(roots),
        parents=zeros - 1,
        depths=zeros,
        events=jnp.full((batch, size, MAX_EVENTS), -1, jnp.int32),
        log_p=jnp.zeros((batch, size, MAX_EVENTS), jnp.float32),
        scored=jnp.zeros((batch, size), bool),
        used=jnp.ones(batch, jnp.int32),
    )


Cache = Any  # what a model keeps per query: a pytree of arrays
Own = Any  # what a model keeps of each lane: a pytree of arrays [B, W, ...]


class Memory(NamedTuple):
    """How a model's cache is written."""

    store: Callable[[Cache, Array, Own], Cache]  # into slots int32[B, W]; what goes to P is lost
    permute: Callable[[Cache, Array], Cache]  # slots `order` int32[B, P] to the front


def widen(own: Own, slots: Array, width: int, size: int) -> tuple[Own, Array]:
    """What fewer lanes keep, as of `width` lanes; the others' slot is P = `size`."""
    more = width - slots.shape[1]
    own = jax.tree.map(
        lambda array: jnp.pad(array, ((0, 0), (0, more), *[(0, 0)] * (array.ndim - 2))), own
    )
    return own, jnp.pad(slots, ((0, 0), (0, more)), constant_values=size)


class Lanes(NamedTuple):
    """A chunk of tokens to run through a model, W per query; no two lanes are one slot."""

    slots: Array  # int32[B, W], P where a lane is idle or is not to be stored
    tokens: Array  # int32[B, W]
    depths: Array  # int32[B, W]
    ancestors: Array  # bool[B, W, P], slots above the lane, without its own
    within: Array  # bool[B, W, W], lanes of this chunk that a lane sees, itself always
    active: Array  # bool[B, W]
    used: Array  # int32[], no ancestor stands at or behind this slot


def make_lanes(slots: Array, tokens: Array, depths: Array, paths: Array, active: Array) -> Lanes:
    """Lanes of slots, or of leaves below slots, from the paths that lead to them.

    Args:
      slots: int32[B, W], where the lane's own keys and values go; P where nowhere.
      tokens: int32[B, W].
      depths: int32[B, W].
      paths: bool[B, W, P], a path that leads to the lane; what follows its own slot is ignored.
      active: bool[B, W], idle lanes see only themselves.
    """
    size = paths.shape[-1]
    slots = jnp.where(active, slots, size)
    # What this chunk is about to store isn't in the cache yet; it is seen through `within`.
    inside = jnp.any(slots[:, :, None] == jnp.arange(size)[None, None, :], axis=1)
    above = jnp.arange(size)[None, None, :] < slots[..., None]
    sees = paths & above & active[..., None]
    columns = jnp.minimum(slots, size - 1)[:, None, :]
    within = jnp.take_along_axis(sees, columns, axis=2) & (slots < size)[:, None, :]
    ancestors = sees & ~inside[:, None, :]
    highest = jnp.max(jnp.where(ancestors, jnp.arange(size)[None, None, :] + 1, 0))
    return Lanes(
        slots=slots,
        tokens=tokens,
        depths=depths,
        ancestors=ancestors,
        within=within | jnp.eye(slots.shape[1], dtype=bool)[None],
        active=active,
        used=highest,
    )


def buckets(most: int, fewest: int) -> list[int]:
    """Sizes that a program is compiled for: `most` and its quarters down to `fewest`, rising."""
    sizes = [most]
    while sizes[0] // 4 >= fewest:
        sizes.insert(0, sizes[0] // 4)
    return sizes


def smallest(sizes: Sequence[int], wanted: Array) -> Array:
    """Index of the first of the rising sizes that holds what is wanted, else of the last."""
    return jnp.minimum(jnp.searchsorted(jnp.asarray(sizes), wanted), len(sizes) - 1)


def compact(mask: Array) -> tuple[Array, Array]:
    """Indices of the true entries, in order, at the front.

    Args:
      mask: bool[B, n].

    Returns:
      int32[B, n], n where there are no more, and the counts int32[B].
    """
    batch, size = mask.shape
    rank = jnp.cumsum(mask, axis=1) - 1
    rows = jnp.arange(batch)[:, None]
    order = jnp.full((batch, size), size, jnp.int32)
    places = jnp.where(mask, rank, size)
    values = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), mask.shape)
    return order.at[rows, places].set(values, mode="drop"), jnp.sum(mask, axis=1)


def take(array: Array, indices: Array) -> Array:
    """`array[b, indices[b, i], ...]`; indices past the end read the last entry."""
    indices = jnp.minimum(indices, array.shape[1] - 1)
    return jnp.take_along_axis(
        array, indices.reshape(indices.shape + (1,) * (array.ndim - 2)), axis=1
    )


def permute_pool(pool: Pool, order: Array, counts: Array) -> Pool:
    """Moves the slots `order` (ancestors included) to the front and forgets the others.

    Args:
      pool: P slots per query.
      order: int32[B, P] from `compact`.
      counts: int32[B], how many there are.
    """
    size = order.shape[1]
    moved = Pool(*(take(array, order) for array in pool[:-1]), used=counts)
    # old slot -> new slot
    rows = jnp.arange(order.shape[0])[:, None]
    new_slot = jnp.zeros_like(order)
    values = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), order.shape)
    new_slot = new_slot.at[rows, order].set(values, mode="drop")
    parents = jnp.where(moved.parents < 0, -1, take(new_slot, jnp.maximum(moved.parents, 0)))
    return moved._replace(parents=parents)
