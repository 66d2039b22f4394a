"""What the reward model makes of candidates: new markers judged once, scores aggregated."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from .config import SearchConfig
from .explore import STOPPED, Cache, Walkers
from .pool import Lanes, Pool, compact, make_lanes, take
from .tracker import MAX_EVENTS


class Reward(Protocol):
    """Scores decisions."""

    def absorb(self, params: Any, cache: Any, pool: Pool, lanes: Lanes) -> Any:
        """The cache with the lanes stored."""
        ...

    def judge(self, params: Any, cache: Any, pool: Pool, lanes: Lanes, kinds: Array) -> Array:
        """Log-probability of "+", float32[B, W], at leaves below the lanes' paths."""
        ...


def is_labelled(events: Array, kinds: tuple[int, ...]) -> Array:
    """Bool like `events`, whether the boundary is of one of the kinds."""
    return jnp.any(jnp.stack([events == kind for kind in kinds]), axis=0)


def assess(
    reward: Reward, params: Any, pool: Pool, cache: Cache, walkers: Walkers, config: SearchConfig
) -> tuple[Pool, Cache, Array]:
    """Shows the reward model the tokens and markers that it hasn't seen yet.

    Only what leads to a walker that reached a boundary is run, each token and marker once.

    Returns:
      The pool with `log_p` filled in, the cache, and the tokens run, int32[B].
    """
    batch, size = pool.tokens.shape
    width = config.prm_width
    rows = jnp.arange(batch)[:, None]
    reached = walkers.status == STOPPED
    through = walkers.paths & reached[..., None]
    needed = jnp.any(through, axis=1) & ~pool.scored
    one_of = jnp.argmax(through, axis=1)  # [B, P], a walker that a slot leads to
    slots, num_slots = compact(needed)
    padded = jnp.pad(slots, ((0, 0), (0, width)), constant_values=size)

    def chunk_of(chunk: Array, array: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(array, chunk * width, width, axis=1)

    def lanes_of(chosen: Array, own: Array, depths: Array) -> Lanes:
        paths = take(walkers.paths, take(one_of, chosen))
        paths &= jnp.arange(size)[None, None, :] <= chosen[..., None]
        return make_lanes(own, take(pool.tokens, chosen), depths, paths, chosen < size)

    def absorb(carry: tuple[Array, Cache]) -> tuple[Array, Cache]:
        chunk, cache = carry
        chosen = chunk_of(chunk, padded)
        lanes = lanes_of(chosen, chosen, take(pool.depths, chosen))
        return chunk + 1, reward.absorb(params, cache, pool, lanes)

    chunks = -(-jnp.max(num_slots) // width)
    _, cache = jax.lax.while_loop(lambda c: c[0] < chunks, absorb, (jnp.int32(0), cache))

    labelled = is_labelled(pool.events, config.labelled) & needed[..., None]
    leaves, num_leaves = compact(labelled.reshape(batch, size * MAX_EVENTS))
    # A token holds at most MAX_EVENTS boundaries, and few hold any: the chunks follow the count.
    leaves = jnp.pad(leaves, ((0, 0), (0, width)), constant_values=size * MAX_EVENTS)
    kinds = pool.events.reshape(batch, -1)

    def judge(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        chunk, log_p = carry
        chosen = chunk_of(chunk, leaves)
        above = chosen // MAX_EVENTS
        nowhere = jnp.full_like(above, size)
        lanes = lanes_of(above, nowhere, take(pool.depths, above) + 1)
        answers = reward.judge(params, cache, pool, lanes, jnp.maximum(take(kinds, chosen), 0))
        return chunk + 1, log_p.at[rows, chosen].set(answers, mode="drop")

    chunks = -(-jnp.max(num_leaves) // width)
    start = (jnp.int32(0), pool.log_p.reshape(batch, -1))
    _, log_p = jax.lax.while_loop(lambda c: c[0] < chunks, judge, start)
    pool = pool._replace(log_p=log_p.reshape(pool.log_p.shape), scored=pool.scored | needed)
    return pool, cache, num_slots + num_leaves


def aggregate_scores(pool: Pool, paths: Array, config: SearchConfig) -> Array:
    """Scores of candidates from all their decisions, in firing order.

    Args:
      pool: with `log_p`.
      paths: bool[B, C, P].
      config: which decisions count, and how.

    Returns:
      float32[B, C]: a probability; for "product" a log-probability.
    """
    labelled = is_labelled(pool.events, config.labelled)
    mine = paths[..., None] & labelled[:, None]  # [B, C, P, E]
    log_p = pool.log_p[:, None]
    if config.aggregate == "min":
        return jnp.exp(jnp.min(jnp.where(mine, log_p, 0.0), axis=(2, 3)))
    if config.aggregate == "product":
        return jnp.sum(jnp.where(mine, log_p, 0.0), axis=(2, 3))
    if config.aggregate == "mean":
        total = jnp.sum(jnp.where(mine, jnp.exp(log_p), 0.0), axis=(2, 3))
        return total / jnp.maximum(jnp.sum(mine, axis=(2, 3)), 1)
    flat = mine.reshape(*mine.shape[:2], -1)
    last = flat.shape[-1] - 1 - jnp.argmax(flat[..., ::-1], axis=-1)
    return jnp.exp(take(pool.log_p.reshape(pool.log_p.shape[0], -1), last))
