"""One decision: every walker grows by tokens up to a boundary; equal prefixes run once."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.grammar import Kind

from ..grammar import Grammar, Rules, Tracker, advance
from .allowed import Readers, draw_independent, is_strict, read_all
from .config import SearchConfig
from .interfaces import Cache, Lanes, LaneState, Setup, Status
from .lanes import Rows, first_rows, in_passes, make_lanes, together
from .pool import Pool, choose, compact, take
from .sampling import Children, Ranks, best_children, of_lanes, survivors, tempered
from .scopes import POLICY


class Walkers(NamedTuple):
    """Candidates in the making, W per query."""

    nodes: Array  # int32[B, W], slot of the last token
    paths: Array  # bool[B, W, P], slots from the root to the last token
    tracker: Tracker  # [B, W]
    log_prob: Array  # float32[B, W], of the whole completion under the policy, untempered
    status: Array  # int32[B, W], `Status` of a walker
    steps: Array  # int32[B, W, T], tokens of this decision, -1 past the end
    lengths: Array  # int32[B, W], their number


class Costs(NamedTuple):
    """What the search computed, per query; the prompt is not counted."""

    policy_tokens: Array  # int32[B]
    policy_passes: Array  # int32[B], times that the policy's weights were read while it searched
    prm_tokens: Array  # int32[B], markers included
    prm_passes: Array  # int32[B], likewise
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


def by_query(leaf: Array | float) -> Array:
    """A leaf of the configuration beside arrays [B, W]: [B, 1], or [1, 1] where all have one."""
    return jnp.asarray(leaf).reshape(-1, 1)


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


def is_first(first: Array, among: Array) -> Array:
    """Which entries stand for those equal to them, bool[B, W]; `first` is from `first_equal`."""
    return among & (first == jnp.arange(first.shape[1], dtype=jnp.int32)[None, :])


class Walk(NamedTuple):
    """State of the loop over tokens."""

    step: Array  # int32[B], tokens since the query's walkers set out
    pool: Pool
    cache: Cache
    walkers: Walkers
    families: Array  # int32[B, W], the beam that each walker set out from
    ranks: Ranks  # [B, W], of what is drawn without replacement
    costs: Costs
    flags: Flags


class Groups(NamedTuple):
    """Walkers at the same token, which the policy sees once."""

    lane: Array  # int32[B, W], the place of each walker's token in its query's list
    leaders: Array  # int32[B, W], one walker of each different token, then W
    counts: Array  # int32[B], different tokens


def set_out(walkers: Walkers, families: Array, config: SearchConfig) -> tuple[Walkers, Ranks]:
    """Walkers at the start of a decision.

    Without independent draws a family starts as one sequence and spreads over its walkers.
    """
    zeros = jnp.zeros(families.shape)
    if config.explore != "sample":
        active = walkers.status == Status.ACTIVE
        alone = is_first(first_equal(families, among=active), active)
        walkers = walkers._replace(status=jnp.where(alone, walkers.status, Status.IDLE))
    return walkers, Ranks(zeros, zeros)


def group(walkers: Walkers) -> Groups:
    """Finds the walkers that stand at the same token."""
    active = walkers.status == Status.ACTIVE
    first = first_equal(walkers.nodes, among=active)
    leads = is_first(first, active)
    leaders, counts = compact(leads)
    return Groups(take(jnp.cumsum(leads, axis=1) - 1, first), leaders, counts)


def _keys_of(keys: Array, walk: Walk, queries: Array, chosen: Array) -> Array:
    """Keys of this token for walkers int32[N, M] of queries int32[N]."""

    def fold(key: Array, walker: Array, step: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, walker), step)

    per_query = jax.vmap(fold, in_axes=(None, 0, None))
    return jax.vmap(per_query)(keys[queries], chosen, walk.step[queries])


class _Stand(NamedTuple):
    """Where the lanes of a pass stand."""

    lanes: Lanes
    chosen: Array  # int32[R, W], the walker that leads each lane
    readers: Readers  # [R, W]


def _stand(walk: Walk, groups: Groups, rows: Rows, in_step: str) -> _Stand:
    """The lanes of a pass: one of each group of its rows."""
    pool, walkers, queries = walk.pool, walk.walkers, rows.queries
    batch, width = walkers.nodes.shape
    leaders = groups.leaders[queries[:, None], jnp.minimum(rows.places, width - 1)]
    chosen = jnp.where(rows.active, leaders, 0)
    at = (queries[:, None], chosen)
    slots = walkers.nodes[at]
    here = (queries[:, None], slots)
    lanes = make_lanes(
        batch, queries, slots, pool.tokens[here], pool.depths[here], walkers.paths[at],
        rows.active, in_step,
    )  # fmt: skip
    tracker = jax.tree.map(lambda array: array[at], walkers.tracker)
    return _Stand(lanes, chosen, Readers(tracker, jnp.broadcast_to(queries[:, None], at[1].shape)))


def _best(
    setup: Setup, keys: Array, walk: Walk, stand: _Stand, logits: Array, config: SearchConfig,
    children: Children,
) -> Children:  # fmt: skip
    """The children with those of a pass's walkers: the likeliest, or by Gumbel top-k."""
    queries, chosen, active = stand.lanes.queries, stand.chosen, stand.lanes.active
    likely = logits
    if is_strict(config):
        mask = read_all(setup, stand.readers, active, config.execution.in_step)
        likely = jnp.where(mask, logits, -jnp.inf)
    own = of_lanes(config, stand.readers.queries)
    drawn = tempered(likely, own.temperature, own.top_k, own.top_p)
    ranks = jax.tree.map(lambda array: array[queries[:, None], chosen], walk.ranks)
    noise = None
    if config.explore == "distinct":
        gumbel = partial(jax.random.gumbel, shape=logits.shape[-1:])
        noise = jax.vmap(jax.vmap(gumbel))(_keys_of(keys, walk, queries, chosen))
    _, width, fan_out = children.tokens.shape
    found = best_children(logits, drawn, ranks, noise, fan_out)
    places = (queries[:, None], jnp.where(active, chosen, width))
    return jax.tree.map(lambda old, new: old.at[places].set(new, mode="drop"), children, found)


def _independent(
    setup: Setup, keys: Array, walk: Walk, stand: _Stand, logits: Array, config: SearchConfig,
    children: Children, lane: Array,
) -> Children:  # fmt: skip
    """The children with one of each walker whose lane, counted within the pass, is in it."""
    flat = logits.reshape(-1, logits.shape[-1])
    active = walk.walkers.status == Status.ACTIVE
    served = active & (lane >= 0) & (lane < flat.shape[0])
    lane = jnp.clip(lane, 0, flat.shape[0] - 1)
    drawn = draw_independent(
        setup, walk.walkers.tracker, keys, flat, stand.readers, lane, served, config
    )
    picked = flat[lane, drawn] - jax.nn.logsumexp(flat, axis=-1)[lane]
    found = children._replace(tokens=drawn[..., None], log_probs=picked[..., None])
    return choose(served, found, children)


def draw(
    setup: Setup, keys: Array, walk: Walk, groups: Groups, config: SearchConfig
) -> tuple[Cache, Children, Array]:
    """Runs the policy once after each different prefix and draws the walkers' next tokens.

    Returns:
      The cache with the lanes stored; per walker K tokens, one where draws are independent, else
      the likeliest ones or those of Gumbel top-k; and the number of passes, int32[].
    """
    execution = config.execution
    batch, width = walk.walkers.nodes.shape
    banned = jnp.where(setup.grammar.allowed, 0.0, -jnp.inf)
    independent = config.explore == "sample"
    fan_out = 1 if independent else min(width, banned.shape[0])
    lane_width = min(execution.lane_width, width)
    lane = first_rows(groups.counts, lane_width)[:, None] * lane_width + groups.lane
    everyone = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32)[None, :], (batch, width))
    # Outside of the passes, for they are the same in each.
    own_keys = _keys_of(keys, walk, jnp.arange(batch), everyone) if independent else keys

    def run(rows: Rows, cache: Cache, children: Children) -> tuple[Lanes, LaneState, Children]:
        stand = _stand(walk, groups, rows, execution.in_step)
        with jax.named_scope(POLICY):
            logits, own = setup.policy.expand(setup.params[0], cache, stand.lanes)
        logits = logits + banned[None, None]
        passed = (setup, own_keys, walk, stand, logits, config, children)
        if independent:
            children = _independent(*passed, lane - rows.first * lane_width)
        else:
            children = _best(*passed)
        return stand.lanes, own, children

    empty = jnp.zeros((batch, width, fan_out))
    nothing = Children(empty.astype(jnp.int32), empty, Ranks(empty, empty - jnp.inf))
    return in_passes(
        run, setup.memory, groups.counts, width, lane_width, execution, walk.cache, nothing
    )


def spread(walk: Walk, children: Children, config: SearchConfig) -> tuple[Walk, Array, Array]:
    """Each walker as what it becomes: the parent of its next token, or what has ended.

    Returns:
      The walk with walkers and ranks rearranged, the next tokens and their log-probabilities.
    """
    walkers, families = walk.walkers, walk.families
    batch, width, fan_out = children.tokens.shape
    dead = walkers.status == Status.DEAD
    ended = dead | (walkers.status == Status.STOPPED)
    # A dead sequence is an outcome as any other of a draw; a beam search drops it.
    last = dead & (config.explore == "likeliest")
    active = walkers.status == Status.ACTIVE
    chosen, exists = survivors(families, ended, last, active, walk.ranks, children)
    child = jnp.maximum(chosen - width, 0)
    source = jnp.where(chosen < width, chosen, child // fan_out)
    walkers = jax.tree.map(lambda array: take(array, source), walkers)
    walkers = walkers._replace(status=jnp.where(exists, walkers.status, Status.IDLE))
    flat = jax.tree.map(lambda array: take(array.reshape(batch, -1), child), children)
    kept = jax.tree.map(lambda array: take(array, source), walk.ranks)
    ranks = choose(chosen < width, kept, flat.ranks)
    return walk._replace(walkers=walkers, ranks=ranks), flat.tokens, flat.log_probs


class Appended(NamedTuple):
    """The walkers' tokens in the pool."""

    pool: Pool
    slots: Array  # int32[B, W]
    moves: Array  # bool[B, W], walkers that got a slot
    lost: Array  # bool[B, W], those that got none
    tracker: Tracker  # [B, W], after the token
    events: Array  # int32[B, W, E], boundaries in the token


def append(
    grammar: Grammar, walk: Walk, tokens: Array, log_probs: Array, schema: Rules | None
) -> Appended:
    """Puts the walkers' next tokens into the pool; equal tokens below one slot share theirs."""
    pool, walkers = walk.pool, walk.walkers
    size = pool.tokens.shape[1]
    rows = jnp.arange(tokens.shape[0])[:, None]
    active = walkers.status == Status.ACTIVE
    first = first_equal(walkers.nodes, tokens, among=active)
    leads = is_first(first, active)
    slots = take(pool.used[:, None] + jnp.cumsum(leads, axis=1) - 1, first)
    lost = active & (slots >= size)
    moves = active & ~lost
    tracker, events = advance(grammar, walkers.tracker, tokens, schema)
    places = jnp.where(leads & moves, slots, size)
    depths = take(pool.depths, walkers.nodes) + 1
    pool = pool._replace(
        tokens=pool.tokens.at[rows, places].set(tokens, mode="drop"),
        parents=pool.parents.at[rows, places].set(walkers.nodes, mode="drop"),
        depths=pool.depths.at[rows, places].set(depths, mode="drop"),
        events=pool.events.at[rows, places].set(events, mode="drop"),
        log_probs=pool.log_probs.at[rows, places].set(log_probs, mode="drop"),
        scored=pool.scored.at[rows, places].set(False, mode="drop"),
        used=jnp.minimum(pool.used + jnp.sum(leads, axis=1), size),
    )
    tracker = choose(moves, tracker, walkers.tracker)
    return Appended(pool, slots, moves, lost, tracker, events)


def stop(
    grammar: Grammar,
    walk: Walk,
    appended: Appended,
    tokens: Array,
    log_probs: Array,
    config: SearchConfig,
) -> tuple[Walkers, Flags]:
    """Moves the walkers on to their tokens, and stops or kills those that have come to an end."""
    walkers, flags = walk.walkers, walk.flags
    moves, events, slots = appended.moves, appended.events, appended.slots
    size, limit = appended.pool.tokens.shape[1], walkers.steps.shape[2]
    stops = jnp.zeros(8, bool).at[jnp.asarray(config.stop_kinds)].set(True)
    at_boundary = jnp.any((events >= 0) & stops[events], axis=-1)
    ended = grammar.ends[tokens]
    whole = jnp.any(events == Kind.TOTAL_FINISH, axis=-1)
    at_boundary &= whole | ~by_query(config.whole)
    going = moves & ~appended.tracker.dead
    depths = take(appended.pool.depths, jnp.where(moves, slots, walkers.nodes))
    most = jnp.minimum(config.max_tokens, by_query(config.token_limit))
    furthest = jnp.minimum(limit, by_query(config.step_limit))
    too_long = going & ~whole & (depths >= most)
    too_far = going & ~at_boundary & (walkers.lengths + 1 >= furthest) & ~too_long
    broken = moves & (appended.tracker.dead | (ended & ~at_boundary))
    dead = appended.lost | broken | too_long | too_far
    status = jnp.where(
        dead, Status.DEAD, jnp.where(moves & at_boundary, Status.STOPPED, walkers.status)
    )
    onto = moves[..., None] & (slots[..., None] == jnp.arange(size)[None, None, :])
    column = jnp.arange(limit)[None, None, :] == walkers.lengths[..., None]
    walkers = Walkers(
        nodes=jnp.where(moves, slots, walkers.nodes),
        paths=walkers.paths | onto,
        tracker=appended.tracker,
        log_prob=jnp.where(moves, walkers.log_prob + log_probs, walkers.log_prob),
        status=status,
        steps=jnp.where(moves[..., None] & column, tokens[..., None], walkers.steps),
        lengths=walkers.lengths + moves,
    )
    flags = flags._replace(
        pool_overflow=flags.pool_overflow | jnp.any(appended.lost, axis=1),
        step_overflow=flags.step_overflow | jnp.any(too_far, axis=1),
        length_overflow=flags.length_overflow | jnp.any(too_long, axis=1),
    )
    return walkers, flags


def _under_way(walk: Walk) -> Array:
    """Queries with a walker that is still growing, bool[B]."""
    return jnp.any(walk.walkers.status == Status.ACTIVE, axis=1)


def _grow(setup: Setup, keys: Array, walk: Walk, config: SearchConfig) -> Walk:
    """Every active walker grows by one token."""
    going = _under_way(walk)
    computed = jnp.sum(walk.walkers.status == Status.ACTIVE, axis=1)
    groups = group(walk.walkers)
    cache, children, passes = draw(setup, keys, walk, groups, config)
    if config.explore == "sample":
        tokens, log_probs = children.tokens[..., 0], children.log_probs[..., 0]
    else:
        walk, tokens, log_probs = spread(walk, children, config)
    appended = append(setup.grammar, walk, tokens, log_probs, setup.schema)
    walkers, flags = stop(setup.grammar, walk, appended, tokens, log_probs, config)
    costs = walk.costs
    costs = costs._replace(
        policy_tokens=costs.policy_tokens + groups.counts,
        policy_passes=costs.policy_passes + going * passes,
        unshared_policy_tokens=costs.unshared_policy_tokens + computed,
        pool_high_water=jnp.maximum(costs.pool_high_water, appended.pool.used),
    )
    return walk._replace(
        step=walk.step + going,
        pool=appended.pool,
        cache=cache,
        walkers=walkers,
        costs=costs,
        flags=flags,
    )


def walk_on(setup: Setup, keys: Array, walk: Walk, config: SearchConfig) -> Walk:
    """Runs walkers to their next boundaries, token by token, until enough queries have arrived.

    Args:
      setup: policy, grammar, and the schemas that walkers' trackers are checked against, if any.
      keys: key[B], one per query and decision; consumed once the query has arrived.
      walk: where the walkers stand; W per query, `steps` fixes the step limit in tokens.
      config: how tokens are drawn, where a walker stops, limits; of the queries with a walker
        under way at the start, `patience` is the share that must arrive, at least one.

    Returns:
      The state; no walker of a query that has arrived is active.

    Source: arXiv:2510.14703, section on fine-grained beam search; sharing is our choice. Each draw
    depends on (key, walker, token index) alone, so walkers are independent and neither lane, pass,
    patience nor batch changes what is drawn.
    """
    started = jnp.sum(_under_way(walk))
    # As many may still be under way at the end; one has arrived in any case.
    waiting = jnp.minimum(
        jnp.floor((1.0 - config.execution.patience) * started), jnp.maximum(started - 1, 0)
    )

    def going(walk: Walk) -> Array:
        return together(jnp.int32(jnp.sum(_under_way(walk)) > waiting), config.execution.in_step)

    def step(state: tuple[Walk, Array]) -> tuple[Walk, Array]:
        walk = _grow(setup, keys, state[0], config)
        return walk, going(walk)

    return jax.lax.while_loop(lambda state: state[1] > 0, step, (walk, going(walk)))[0]
