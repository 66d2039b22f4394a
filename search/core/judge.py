"""What the reward model makes of candidates: new markers judged once, scores aggregated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ..grammar import MAX_EVENTS
from .config import Aggregate, SearchConfig
from .interfaces import Cache, Lanes, LaneState, Setup, Status
from .lanes import Rows, in_passes, make_lanes
from .pool import Pool, compact
from .scopes import REWARD
from .walk import Walkers


def is_labelled(events: Array, kinds: tuple[int, ...]) -> Array:
    """Bool like `events`, whether the boundary is of one of the kinds."""
    return jnp.any(jnp.stack([events == kind for kind in kinds]), axis=0)


def assess(
    setup: Setup, pool: Pool, cache: Cache, walkers: Walkers, config: SearchConfig
) -> tuple[Pool, Cache, Array, Array]:
    """Shows the reward model the tokens and markers that it hasn't seen yet.

    Only what leads to a walker that reached a boundary is run, each token and marker once.

    Returns:
      The pool with `log_p` filled in, the cache, the tokens run, int32[B], and the number of
      passes, int32[].
    """
    reward, params, execution = setup.reward, setup.params[1], config.execution
    assert reward is not None
    batch, size = pool.tokens.shape
    reached = walkers.status == Status.STOPPED
    through = walkers.paths & reached[..., None]
    needed = jnp.any(through, axis=1) & ~pool.scored
    one_of = jnp.argmax(through, axis=1)  # [B, P], a walker that a slot leads to
    # All there is to show: P tokens, then the boundaries that each may hold. Tokens come first, so
    # what a lane sees is in the cache or beside it.
    labelled = is_labelled(pool.events, config.labelled) & needed[..., None]
    wanted = jnp.concatenate([needed, labelled.reshape(batch, size * MAX_EVENTS)], axis=1)
    things, counts = compact(wanted)
    all_kinds = pool.events.reshape(batch, -1)

    def judge(rows: Rows, cache: Cache, log_p: Array) -> tuple[Lanes, LaneState, Array]:
        queries = rows.queries[:, None]
        chosen = jnp.where(rows.active, things[queries, rows.places], 0)
        boundary = jnp.maximum(chosen - size, 0)
        is_token = chosen < size
        slots = jnp.where(is_token, chosen, boundary // MAX_EVENTS)
        paths = walkers.paths[queries, one_of[queries, slots]]
        paths &= jnp.arange(size)[None, None, :] <= slots[..., None]
        lanes = make_lanes(
            batch,
            rows.queries,
            jnp.where(is_token, slots, size),
            pool.tokens[queries, slots],
            pool.depths[queries, slots] + ~is_token,
            paths,
            rows.active,
            execution.in_step,
        )
        kinds = jnp.where(is_token, -1, all_kinds[queries, boundary])
        with jax.named_scope(REWARD):
            answers, own = reward.judge(params, cache, lanes, kinds)
        places = jnp.where(is_token | ~rows.active, all_kinds.shape[1], boundary)
        return lanes, own, log_p.at[queries, places].set(answers, mode="drop")

    log_p = pool.log_p.reshape(batch, -1)
    longest = size * (1 + MAX_EVENTS)
    width = min(execution.prm_lane_width, longest)
    cache, log_p, passes = in_passes(
        judge, setup.memory, counts, longest, width, execution, cache, log_p
    )
    pool = pool._replace(log_p=log_p.reshape(pool.log_p.shape), scored=pool.scored | needed)
    return pool, cache, counts, passes


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
    log_p = jnp.broadcast_to(pool.log_p[:, None], mine.shape)
    flat = (*mine.shape[:2], -1)
    return aggregate(log_p.reshape(flat), mine.reshape(flat), config.aggregate)


def aggregate(log_p: Any, among: Any, how: Aggregate) -> Any:
    """The score of a completion, or of many, from those of its decisions.

    Args:
      log_p: float[..., n], log-probability of "+" at each decision, in firing order; of NumPy or
        JAX.
      among: bool[..., n], those that count.
      how: what becomes of them.

    Returns:
      float[...]: the last, the smallest or the mean probability, or the sum of logarithms.
    """
    xp = log_p.__array_namespace__()
    if how == "product":
        return xp.sum(xp.where(among, log_p, 0.0), axis=-1)
    if how == "min":
        return xp.exp(xp.min(xp.where(among, log_p, 0.0), axis=-1))
    if how == "mean":
        total = xp.sum(xp.where(among, xp.exp(log_p), 0.0), axis=-1)
        return total / xp.maximum(xp.sum(among, axis=-1), 1)
    last = among.shape[-1] - 1 - xp.argmax(xp.flip(among, axis=-1), axis=-1)
    return xp.exp(xp.take_along_axis(log_p, last[..., None], axis=-1)[..., 0])
