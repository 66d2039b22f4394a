"""One decision: every walker grows by tokens up to a boundary; equal prefixes run once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.annotation.grammar import Kind

from .config import SearchConfig
from .pool import (
    Cache,
    Lanes,
    Memory,
    Own,
    Pool,
    buckets,
    compact,
    make_lanes,
    smallest,
    take,
    widen,
)
from .sampling import Children, Ranks, best_children, sample_token, survivors, tempered
from .schema import Schema
from .tracker import Grammar, Tracker, advance

ACTIVE, STOPPED, DEAD, IDLE = range(4)
_FEWEST_LANES = 4

Expand = Callable[[Cache, Pool, Lanes], tuple[Array, Own]]  # -> logits [B, W, V]


class Walkers(NamedTuple):
    """Candidates in the making, W per query."""

    nodes: Array  # int32[B, W], slot of the last token
    paths: Array  # bool[B, W, P], slots from the root to the last token
    tracker: Tracker  # [B, W]
    log_prob: Array  # float32[B, W], of the whole completion under the policy, untempered
    status: Array  # int32[B, W]: ACTIVE, STOPPED, DEAD, IDLE
    steps: Array  # int32[B, W, T], tokens of this decision, -1 past the end
    lengths: Array  # int32[B, W], their number


class Costs(NamedTuple):
    """What the search computed, per query; the prompt is not counted."""

    policy_tokens: Array  # int32[B]
    prm_tokens: Array  # int32[B], markers included
    unshared_policy_tokens: Array  # int32[B], as if every walker ran alone
    unshared_prm_tokens: Array  # int32[B], likewise
    pool_high_water: Array  # int32[B], slots
    schema_pruned: Array  # int32[B], candidates that the schemas ruled out


class Flags(NamedTuple):
    """What overflowed or could not be kept to, per query."""

    pool_overflow: Array  # bool[B]: a walker found no free slot and died
    step_overflow: Array  # bool[B]: a walker reached the limit of one decision and died
    length_overflow: Array  # bool[B]: a walker reached the limit of a completion and died
    decision_overflow: Array  # bool[B]: live beams were left at the limit of decisions
    schema_violation: Array  # bool[B]: every candidate of a decision was refused; one was kept


def nothing_yet(batch: int) -> tuple[Costs, Flags]:
    """Costs and flags before a search."""
    zeros = jnp.zeros(batch, jnp.int32)
    return Costs(*[zeros] * len(Costs._fields)), Flags(*[zeros > 0] * len(Flags._fields))


def first_equal(*keys: Array, among: Array) -> Array:
    """For each entry the first one with equal keys, both in `among`; itself where it is not.

    Args:
      *keys: int[B, W] each.
      among: bool[B, W].

    Returns:
      int32[B, W].
    """
    width = among.shape[1]
    equal = among[:, :, None] & among[:, None, :]
    for key in keys:
        equal &= key[:, :, None] == key[:, None, :]
    first = jnp.argmax(equal, axis=2).astype(jnp.int32)
    return jnp.where(among, first, jnp.arange(width, dtype=jnp.int32)[None, :])


class Walk(NamedTuple):
    """State of the loop over tokens."""

    step: Array
    pool: Pool
    cache: Cache
    walkers: Walkers
    costs: Costs
    flags: Flags


def walk(
    expand: Expand,
    memory: Memory,
    grammar: Grammar,
    keys: Array,
    pool: Pool,
    cache: Cache,
    walkers: Walkers,
    families: Array,
    costs: Costs,
    flags: Flags,
    config: SearchConfig,
    schema: Schema | None = None,
) -> Walk:
    """Runs all walkers to their next boundary.

    Args:
      expand: runs lanes through the policy; returns their logits and what is to be stored.
      memory: stores it.
      grammar: tables of the call grammar.
      keys: key[B], one per query and decision; consumed.
      pool: the pool.
      cache: the policy's cache.
      walkers: W per query; `steps` fixes T, the step limit in tokens.
      families: int32[B, W], the beam that each walker starts from.
      costs: counted up.
      flags: raised.
      config: how tokens are drawn, where a walker stops, limits.
      schema: what the walkers' trackers are checked against, if anything.

    Returns:
      The state with all walkers STOPPED, DEAD or IDLE.

    Source: arXiv:2510.14703, section on fine-grained beam search; sharing is our choice. Each draw
    depends on (key, walker, token index) alone, so walkers are independent and neither lane, chunk
    nor batch changes what is drawn.
    """
    batch, width = walkers.nodes.shape
    size = pool.tokens.shape[1]
    limit = walkers.steps.shape[2]
    widths = buckets(config.lane_width, _FEWEST_LANES)
    rows = jnp.arange(batch)[:, None]
    banned = jnp.where(grammar.allowed, 0.0, -jnp.inf)
    stops = jnp.zeros(8, bool).at[jnp.asarray(config.stop_kinds)].set(True)
    independent = config.explore == "sample"
    fan_out = 1 if independent else min(width, banned.shape[0])
    index = jnp.arange(width, dtype=jnp.int32)[None, :]
    if not independent:  # a family starts as one sequence and spreads over its walkers
        alone = first_equal(families, among=walkers.status == ACTIVE) == index
        walkers = walkers._replace(status=jnp.where(alone, walkers.status, IDLE))

    def keys_of(chosen: Array, step: Array) -> Array:
        """Keys of walkers int32[B, n] at a token."""

        def fold(key: Array, walker: Array) -> Array:
            return jax.random.fold_in(jax.random.fold_in(key, walker), step)

        return jax.vmap(jax.vmap(fold, in_axes=(None, 0)))(keys, chosen)

    def grow(
        step: Array, pool: Pool, cache: Cache, walkers: Walkers, ranks: Ranks
    ) -> tuple[Cache, Children, Array]:
        """Runs the policy after each different prefix; returns the next tokens and the lanes."""
        active = walkers.status == ACTIVE
        first = first_equal(walkers.nodes, among=active)
        leads = active & (first == index)
        leaders, num_lanes = compact(leads)
        lane_of = take(jnp.cumsum(leads, axis=1) - 1, first)
        everyone = jnp.broadcast_to(index, (batch, width))
        uniform = None
        if independent:
            uniform = jax.vmap(jax.vmap(jax.random.uniform))(keys_of(everyone, step))

        padded = jnp.pad(leaders, ((0, 0), (0, widths[-1])), constant_values=width)

        def run_chunk(
            lane_width: int, start: Array, cache: Cache, children: Children
        ) -> tuple[Array, Children, tuple[Own, Array]]:
            chosen = jax.lax.dynamic_slice_in_dim(padded, start, lane_width, axis=1)
            slots = take(walkers.nodes, chosen)
            lanes = make_lanes(
                slots,
                take(pool.tokens, slots),
                take(pool.depths, slots),
                take(walkers.paths, chosen),
                chosen < width,
            )
            logits, own = expand(cache, pool, lanes)
            stored = widen(own, lanes.slots, widths[-1], size)
            logits = logits + banned[None, None]
            allowed = tempered(logits, config.temperature, config.top_k, config.top_p)
            if uniform is None:
                mine = jax.tree.map(lambda array: take(array, chosen), ranks)
                noise = None
                if config.explore == "distinct":
                    gumbel = partial(jax.random.gumbel, shape=banned.shape)
                    noise = jax.vmap(jax.vmap(gumbel))(keys_of(chosen, step))
                found = best_children(logits, allowed, mine, noise, fan_out)
                put = partial(_put, rows, chosen)
                return start + lane_width, jax.tree.map(put, children, found), stored
            lane = lane_of - start
            served = active & (lane >= 0) & (lane < lane_width)
            lane = jnp.clip(lane, 0, lane_width - 1)
            drawn = sample_token(allowed, uniform, lane)
            normaliser = jax.nn.logsumexp(logits, axis=-1)
            flat = logits.reshape(batch, -1)
            picked = take(flat, lane * logits.shape[-1] + drawn) - take(normaliser, lane)
            found = children._replace(tokens=drawn[..., None], log_probs=picked[..., None])
            return start + lane_width, _where(served, found, children), stored

        most = jnp.max(num_lanes)
        branches = [partial(run_chunk, lane_width) for lane_width in widths]

        def next_chunk(carry: tuple[Array, Cache, Children]) -> tuple[Array, Cache, Children]:
            which = smallest(widths, most - carry[0])
            start, children, (own, slots) = jax.lax.switch(which, branches, *carry)
            return start, memory.store(carry[1], slots, own), children

        empty = jnp.zeros((batch, width, fan_out))
        nothing = Children(empty.astype(jnp.int32), empty, Ranks(empty, empty - jnp.inf))
        _, cache, children = jax.lax.while_loop(
            lambda carry: carry[0] < most, next_chunk, (jnp.int32(0), cache, nothing)
        )
        return cache, children, num_lanes

    def move_on(
        walkers: Walkers, ranks: Ranks, children: Children
    ) -> tuple[Walkers, Ranks, Array, Array]:
        """Each walker as what it becomes: the parent of its next token, or what has ended."""
        dead = walkers.status == DEAD
        ended = dead | (walkers.status == STOPPED)
        # A dead sequence is an outcome as any other of a draw; a beam search drops it.
        last = dead & (config.explore == "likeliest")
        chosen, exists = survivors(families, ended, last, walkers.status == ACTIVE, ranks, children)
        child = jnp.maximum(chosen - width, 0)
        source = jnp.where(chosen < width, chosen, child // fan_out)
        walkers = jax.tree.map(lambda array: take(array, source), walkers)
        walkers = walkers._replace(status=jnp.where(exists, walkers.status, IDLE))
        flat = jax.tree.map(lambda array: take(array.reshape(batch, -1), child), children)
        kept = jax.tree.map(lambda array: take(array, source), ranks)
        return walkers, _where(chosen < width, kept, flat.ranks), flat.tokens, flat.log_probs

    def body(carry: tuple[Walk, Ranks]) -> tuple[Walk, Ranks]:
        (step, pool, cache, walkers, costs, flags), ranks = carry
        computed = jnp.sum(walkers.status == ACTIVE, axis=1)
        cache, children, num_lanes = grow(step, pool, cache, walkers, ranks)
        if independent:
            tokens, log_probs = children.tokens[..., 0], children.log_probs[..., 0]
        else:
            walkers, ranks, tokens, log_probs = move_on(walkers, ranks, children)

        # Walkers with the same token below the same slot share the new slot.
        active = walkers.status == ACTIVE
        first = first_equal(walkers.nodes, tokens, among=active)
        leads = active & (first == index)
        slot = take(pool.used[:, None] + jnp.cumsum(leads, axis=1) - 1, first)
        lost = active & (slot >= size)
        moves = active & ~lost
        tracker, events = advance(grammar, walkers.tracker, tokens, schema)
        tracker = _where(moves, tracker, walkers.tracker)

        places = jnp.where(leads & moves, slot, size)
        depths = take(pool.depths, walkers.nodes) + 1
        pool = pool._replace(
            tokens=pool.tokens.at[rows, places].set(tokens, mode="drop"),
            parents=pool.parents.at[rows, places].set(walkers.nodes, mode="drop"),
            depths=pool.depths.at[rows, places].set(depths, mode="drop"),
            events=pool.events.at[rows, places].set(events, mode="drop"),
            scored=pool.scored.at[rows, places].set(False, mode="drop"),
            used=jnp.minimum(pool.used + jnp.sum(leads, axis=1), size),
        )
        at_boundary = jnp.any((events >= 0) & stops[events], axis=-1)
        ended = tokens == grammar.end_of_text
        whole = jnp.any(events == Kind.TOTAL_FINISH, axis=-1)
        going = moves & ~tracker.dead
        too_long = going & ~whole & (depths >= config.max_tokens)
        too_far = going & ~at_boundary & (walkers.lengths + 1 >= limit) & ~too_long
        dead = lost | (moves & (tracker.dead | (ended & ~at_boundary))) | too_long | too_far
        status = jnp.where(dead, DEAD, jnp.where(moves & at_boundary, STOPPED, walkers.status))
        onto = moves[..., None] & (slot[..., None] == jnp.arange(size)[None, None, :])
        column = jnp.arange(limit)[None, None, :] == walkers.lengths[..., None]
        walkers = Walkers(
            nodes=jnp.where(moves, slot, walkers.nodes),
            paths=walkers.paths | onto,
            tracker=tracker,
            log_prob=jnp.where(moves, walkers.log_prob + log_probs, walkers.log_prob),
            status=status,
            steps=jnp.where(moves[..., None] & column, tokens[..., None], walkers.steps),
            lengths=walkers.lengths + moves,
        )
        costs = costs._replace(
            policy_tokens=costs.policy_tokens + num_lanes,
            unshared_policy_tokens=costs.unshared_policy_tokens + computed,
            pool_high_water=jnp.maximum(costs.pool_high_water, pool.used),
        )
        flags = flags._replace(
            pool_overflow=flags.pool_overflow | jnp.any(lost, axis=1),
            step_overflow=flags.step_overflow | jnp.any(too_far, axis=1),
            length_overflow=flags.length_overflow | jnp.any(too_long, axis=1),
        )
        return Walk(step + 1, pool, cache, walkers, costs, flags), ranks

    zeros = jnp.zeros((batch, width))
    end, _ = jax.lax.while_loop(
        lambda carry: jnp.any(carry[0].walkers.status == ACTIVE),
        body,
        (Walk(jnp.int32(0), pool, cache, walkers, costs, flags), Ranks(zeros, zeros)),
    )
    return end


def _put(rows: Array, places: Array, old: Array, new: Array) -> Array:
    """`old[b, places[b, i]] = new[b, i]`; places past the end are dropped."""
    return old.at[rows, places].set(new, mode="drop")


def _where(mask: Array, new: Any, old: Any) -> Any:
    """Picks between two pytrees by a mask over their leading axes."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)

    return jax.tree.map(pick, new, old)
