"""One decision: every walker samples tokens up to a boundary; equal prefixes run once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.annotation.grammar import Kind

from .pool import Lanes, Pool, compact, make_lanes, take
from .tracker import Grammar, Tracker, advance

ACTIVE, STOPPED, DEAD, IDLE = range(4)

Cache = Any  # what a model keeps per query: a pytree of arrays
Expand = Callable[[Cache, Pool, Lanes], tuple[Array, Cache]]  # -> logits [B, W, V]


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


class Flags(NamedTuple):
    """What overflowed, per query."""

    pool_overflow: Array  # bool[B]: a walker found no free slot and died
    step_overflow: Array  # bool[B]: a walker reached the step or completion limit and died


def sample_token(logits: Array, uniform: Array, lanes: Array, temperature: float) -> Array:
    """Samples one token per walker from its lane's distribution, by inverting the CDF.

    One uniform number per walker, and two levels (blocks, then tokens of a block), so that no
    `[walkers, V]` array exists and float32 sums stay exact enough at any V.

    Args:
      logits: float32[B, W, V]; -inf where a token is not allowed.
      uniform: float32[B, M] in [0, 1).
      lanes: int32[B, M], the lane of each walker.
      temperature: above 0; at 0 the likeliest token is taken.

    Returns:
      int32[B, M].
    """
    if temperature == 0.0:
        return take(jnp.argmax(logits, axis=-1).astype(jnp.int32), lanes)
    batch, width, vocab = logits.shape
    probs = jax.nn.softmax(logits / temperature, axis=-1)
    block = 1 << (max(vocab - 1, 1).bit_length() + 1) // 2
    blocks = -(-vocab // block)
    probs = jnp.pad(probs, ((0, 0), (0, 0), (0, blocks * block - vocab)))
    probs = probs.reshape(batch, width, blocks, block)
    totals = jnp.cumsum(jnp.sum(probs, axis=-1), axis=-1)  # [B, W, blocks]

    mine = take(totals, lanes)  # [B, M, blocks]
    target = uniform[..., None] * mine[..., -1:]
    which = jnp.sum(mine <= target, axis=-1)
    # Rounding may point past the last token that has any probability: step back to it.
    which = jnp.minimum(which, _last_positive(jnp.diff(mine, axis=-1, prepend=0.0)))
    before = jnp.where(
        which > 0, jnp.take_along_axis(mine, jnp.maximum(which - 1, 0)[..., None], -1)[..., 0], 0.0
    )
    flat = probs.reshape(batch, width * blocks, block)
    inner = take(flat, lanes * blocks + which)  # [B, M, block]
    sums = jnp.cumsum(inner, axis=-1)
    offset = jnp.sum(sums <= target - before[..., None], axis=-1)
    offset = jnp.minimum(offset, _last_positive(inner))
    return (which * block + offset).astype(jnp.int32)


def _last_positive(values: Array) -> Array:
    """Index of the last positive entry of the last axis."""
    size = values.shape[-1]
    return size - 1 - jnp.argmax(values[..., ::-1] > 0, axis=-1)


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
    grammar: Grammar,
    keys: Array,
    pool: Pool,
    cache: Cache,
    walkers: Walkers,
    costs: Costs,
    flags: Flags,
    *,
    stop_kinds: tuple[int, ...],
    temperature: float,
    lane_width: int,
    max_tokens: int,
) -> Walk:
    """Runs all walkers to their next boundary.

    Args:
      expand: runs lanes through the policy, stores their keys and values, returns their logits.
      grammar: tables of the call grammar.
      keys: key[B], one per query and decision; consumed.
      pool: the pool.
      cache: the policy's cache.
      walkers: W per query; `steps` fixes T, the step limit in tokens.
      costs: counted up.
      flags: raised.
      stop_kinds: kinds of boundary at which a walker stops.
      temperature: of the policy; 0 takes the likeliest token.
      lane_width: lanes per query that run at once.
      max_tokens: limit of a completion, in tokens.

    Returns:
      The state with all walkers STOPPED, DEAD or IDLE.

    Source: arXiv:2510.14703, section on fine-grained beam search; sharing is our choice. Each draw
    depends on (key, walker, token index) alone, so walkers are independent and neither lane, chunk
    nor batch changes what is drawn.
    """
    batch, width = walkers.nodes.shape
    size = pool.tokens.shape[1]
    limit = walkers.steps.shape[2]
    rows = jnp.arange(batch)[:, None]
    banned = jnp.where(grammar.allowed, 0.0, -jnp.inf)
    walker_keys = jax.vmap(
        lambda key: jax.vmap(lambda walker: jax.random.fold_in(key, walker))(jnp.arange(width))
    )(keys)
    stops = jnp.zeros(8, bool).at[jnp.asarray(stop_kinds)].set(True)

    def draw(step: Array) -> Array:
        fold = jax.vmap(jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, step))))
        return fold(walker_keys)

    def body(state: Walk) -> Walk:
        step, pool, cache, walkers, costs, flags = state
        active = walkers.status == ACTIVE
        first = first_equal(walkers.nodes, among=active)
        leads = active & (first == jnp.arange(width)[None, :])
        leaders, num_lanes = compact(leads)
        lane_of = take(jnp.cumsum(leads, axis=1) - 1, first)
        uniform = draw(step)

        def run_chunk(
            carry: tuple[Array, Cache, Array, Array],
        ) -> tuple[Array, Cache, Array, Array]:
            chunk, cache, tokens, log_probs = carry
            start = chunk * lane_width
            padded = jnp.pad(leaders, ((0, 0), (0, lane_width)), constant_values=width)
            chosen = jax.lax.dynamic_slice_in_dim(padded, start, lane_width, axis=1)
            slots = take(walkers.nodes, chosen)
            lanes = make_lanes(
                slots,
                take(pool.tokens, slots),
                take(pool.depths, slots),
                take(walkers.paths, chosen),
                chosen < width,
            )
            logits, cache = expand(cache, pool, lanes)
            logits = logits + banned[None, None]
            lane = lane_of - start
            mine = active & (lane >= 0) & (lane < lane_width)
            lane = jnp.clip(lane, 0, lane_width - 1)
            drawn = sample_token(logits, uniform, lane, temperature)
            normaliser = jax.nn.logsumexp(logits, axis=-1)
            flat = logits.reshape(batch, -1)
            picked = take(flat, lane * logits.shape[-1] + drawn) - take(normaliser, lane)
            tokens = jnp.where(mine, drawn, tokens)
            return chunk + 1, cache, tokens, jnp.where(mine, picked, log_probs)

        chunks = -(-jnp.max(num_lanes) // lane_width)
        nothing = jnp.zeros((batch, width), jnp.int32)
        _, cache, tokens, log_probs = jax.lax.while_loop(
            lambda carry: carry[0] < chunks,
            run_chunk,
            (jnp.int32(0), cache, nothing, jnp.zeros((batch, width), jnp.float32)),
        )

        # Walkers that drew the same token below the same slot share the new slot.
        first = first_equal(walkers.nodes, tokens, among=active)
        leads = active & (first == jnp.arange(width)[None, :])
        slot = take(pool.used[:, None] + jnp.cumsum(leads, axis=1) - 1, first)
        lost = active & (slot >= size)
        moves = active & ~lost
        tracker, events = advance(grammar, walkers.tracker, tokens)
        tracker = _where(moves, tracker, walkers.tracker)

        places = jnp.where(leads & moves, slot, size)
        makers = jnp.broadcast_to(jnp.arange(width), slot.shape)
        depths = take(pool.depths, walkers.nodes) + 1
        pool = pool._replace(
            tokens=pool.tokens.at[rows, places].set(tokens, mode="drop"),
            parents=pool.parents.at[rows, places].set(walkers.nodes, mode="drop"),
            depths=pool.depths.at[rows, places].set(depths, mode="drop"),
            events=pool.events.at[rows, places].set(events, mode="drop"),
            scored=pool.scored.at[rows, places].set(False, mode="drop"),
            makers=pool.makers.at[rows, places].set(makers, mode="drop"),
            used=jnp.minimum(pool.used + jnp.sum(leads, axis=1), size),
        )
        at_boundary = jnp.any((events >= 0) & stops[events], axis=-1)
        ended = tokens == grammar.end_of_text
        whole = jnp.any(events == Kind.TOTAL_FINISH, axis=-1)
        long = (~at_boundary & (step + 1 >= limit)) | (~whole & (depths >= max_tokens))
        long &= moves & ~tracker.dead
        dead = lost | (moves & (tracker.dead | (ended & ~at_boundary))) | long
        status = jnp.where(dead, DEAD, jnp.where(moves & at_boundary, STOPPED, walkers.status))
        onto = moves[..., None] & (slot[..., None] == jnp.arange(size)[None, None, :])
        column = moves[..., None] & (jnp.arange(limit)[None, None, :] == step)
        walkers = Walkers(
            nodes=jnp.where(moves, slot, walkers.nodes),
            paths=walkers.paths | onto,
            tracker=tracker,
            log_prob=jnp.where(moves, walkers.log_prob + log_probs, walkers.log_prob),
            status=status,
            steps=jnp.where(column, tokens[..., None], walkers.steps),
            lengths=walkers.lengths + moves,
        )
        costs = costs._replace(
            policy_tokens=costs.policy_tokens + num_lanes,
            unshared_policy_tokens=costs.unshared_policy_tokens + jnp.sum(active, axis=1),
            pool_high_water=jnp.maximum(costs.pool_high_water, pool.used),
        )
        flags = Flags(
            flags.pool_overflow | jnp.any(lost, axis=1), flags.step_overflow | jnp.any(long, axis=1)
        )
        return Walk(step + 1, pool, cache, walkers, costs, flags)

    return jax.lax.while_loop(
        lambda state: jnp.any(state.walkers.status == ACTIVE),
        body,
        Walk(jnp.int32(0), pool, cache, walkers, costs, flags),
    )


def _where(mask: Array, new: Any, old: Any) -> Any:
    """Picks between two pytrees by a mask over their leading axes."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)

    return jax.tree.map(pick, new, old)
