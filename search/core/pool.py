"""The pool of generated tokens: append-only, shared by a query's beams, compacted at prunes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..grammar import MAX_EVENTS


class Pool(NamedTuple):
    """Generated tokens of B queries; slots are in topological order.

    Slot 0 is the prompt's last token, the root below which everything grows.
    """

    tokens: Array  # int32[B, P]
    parents: Array  # int32[B, P], slot of the parent, -1 at the root
    depths: Array  # int32[B, P], 0 at the root
    events: Array  # int32[B, P, E], kinds of the boundaries in the token, -1 for none
    log_p: Array  # float32[B, P, E], log-probability of "+" at each of them
    log_probs: Array  # float32[B, P], of the token under the policy, untempered
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
        log_probs=jnp.zeros((batch, size), jnp.float32),
        scored=jnp.zeros((batch, size), bool),
        used=jnp.ones(batch, jnp.int32),
    )


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


def choose(mask: Array, new: Any, old: Any) -> Any:
    """Picks between two pytrees by a mask over their leading axes."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)

    return jax.tree.map(pick, new, old)
