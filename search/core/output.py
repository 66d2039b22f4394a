"""What a search returns."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from ..grammar import MAX_EVENTS
from .config import SearchConfig
from .interfaces import Status
from .pool import Pool, compact, take
from .walk import Costs, Flags


class Trace(NamedTuple):
    """Every candidate of every decision; D is the decision limit, W the walkers, C = N + W.

    The first N candidates of a decision are the beams before it, carried over if they don't
    explore; the others are the walkers.
    """

    parents: Array  # int32[B, D, W], the beam that a walker started from
    steps: Array  # int32[B, D, W, T], its tokens, -1 past the end
    events: Array  # int32[B, D, W, E], boundaries in its last token
    log_p: Array  # float32[B, D, W, E], log-probability of "+" at each
    score: Array  # float32[B, D, C]
    status: Array  # int32[B, D, C], `Status` of a beam
    same_as: Array  # int32[B, D, C], the candidate of equal bytes that stands for it
    rank: Array  # int32[B, D, C], its beam after the decision, -1 where pruned


class Completions(NamedTuple):
    """Completions of B queries, N each; -1 or 0 past the end."""

    tokens: Array  # int32[B, N, max_tokens]
    lengths: Array  # int32[B, N]
    log_probs: Array  # float32[B, N, max_tokens], of each token under the policy, untempered
    events: Array  # int32[B, N, max_tokens, E], kinds of the boundaries in each token, -1 for none
    log_p: Array  # float32[B, N, max_tokens, E], log-probability of "+" at each, 0 where not judged


class SearchOutput(NamedTuple):
    """What every method returns; B queries, N beams, best first."""

    tokens: Array  # int32[B, N, max_tokens]; the first five as in `Completions`
    lengths: Array  # int32[B, N]
    log_probs: Array  # float32[B, N, max_tokens]
    events: Array  # int32[B, N, max_tokens, E]
    log_p: Array  # float32[B, N, max_tokens, E]
    log_prob: Array  # float32[B, N], under the policy, untempered
    score: Array  # float32[B, N]
    status: Array  # int32[B, N], `Status` of a beam
    copies: Array  # int32[B, N], candidates that turned out to be equal byte for byte
    best: Array  # int32[B], the beam that is the answer
    finished: Array  # bool[B], whether the answer is a whole completion
    decisions: Array  # int32[B]
    costs: Costs
    flags: Flags
    trace: Trace | None


def new_trace(batch: int, config: SearchConfig) -> Trace:
    """A trace of no decision."""
    walkers = config.num_beams * config.beam_width
    shape = (batch, config.max_decisions, walkers)
    wide = (batch, config.max_decisions, config.num_beams + walkers)
    return Trace(
        parents=jnp.zeros(shape, jnp.int32),
        steps=jnp.full((*shape, config.max_step_tokens), -1, jnp.int32),
        events=jnp.full((*shape, MAX_EVENTS), -1, jnp.int32),
        log_p=jnp.zeros((*shape, MAX_EVENTS), jnp.float32),
        score=jnp.zeros(wide, jnp.float32),
        status=jnp.full(wide, Status.EMPTY, jnp.int32),
        same_as=jnp.zeros(wide, jnp.int32),
        rank=jnp.full(wide, -1, jnp.int32),
    )


def completions(pool: Pool, paths: Array, max_tokens: int) -> Completions:
    """What stands along paths, without the root.

    Args:
      pool: the pool.
      paths: bool[B, N, P].
      max_tokens: T.
    """
    batch, width, size = paths.shape
    below = paths.at[:, :, 0].set(False)
    order, lengths = compact(below.reshape(batch * width, size))
    short = max(max_tokens - size, 0)
    order = jnp.pad(order[:, :max_tokens], ((0, 0), (0, short)), constant_values=size)
    order = order.reshape(batch, -1)

    def along(array: Array, nothing: int) -> Array:
        there = (order < size).reshape(*order.shape, *[1] * (array.ndim - 2))
        found = jnp.where(there, take(array, order), nothing)
        return found.reshape(batch, width, max_tokens, *array.shape[2:])

    return Completions(
        along(pool.tokens, -1),
        lengths.reshape(batch, width),
        along(pool.log_probs, 0),
        along(pool.events, -1),
        along(pool.log_p, 0),
    )
