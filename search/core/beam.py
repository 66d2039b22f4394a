"""Fine-grained beam search as one program over fixed-shape arrays.

Allocate everything, then loop: walk on, judge, wake, select, compact, record. The core knows
nothing of transformers: see `interfaces`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.grammar import Kind

from ..grammar import Schema, StrictTables, initial
from .budget import hold_back, wake, woken
from .config import SearchConfig
from .interfaces import Cache, Setup, Status
from .judge import aggregate_scores, assess, is_labelled
from .lanes import together
from .output import SearchOutput, Trace, completions, new_trace
from .pool import Pool, choose, compact, new_pool, permute_pool, take
from .sampling import Ranks
from .scopes import CACHE
from .select import Beams, Selected, rule_out, select
from .walk import Walk, Walkers, by_query, nothing_yet, set_out, walk_on


class State(NamedTuple):
    """A search under way."""

    decisions: Array  # int32[B], behind each query
    walk: Walk
    reward_cache: Cache
    beams: Beams
    going: Array  # int32[], whether any query is still searching, here or on a device in step
    trace: Trace | None


class Arrival(NamedTuple):
    """Queries whose walkers have all come to the end of their decision."""

    arrived: Array  # bool[B]
    candidates: Walkers  # of the queries that have arrived; those of the others are idle
    stands: Array  # bool[B, W], candidates at a boundary that no schema refuses
    pruned: Array  # int32[B], candidates that the schemas ruled out
    violated: Array  # bool[B], whether a refused candidate was kept, for there was no other


def beam_search(setup: Setup, keys: Array, roots: Array, config: SearchConfig) -> SearchOutput:
    """Fine-grained beam search; pure, with no host round trip inside.

    Args:
      setup: models, parameters, caches, grammar and schemas.
      keys: key[B], one per query, consumed; equal keys and queries give equal results whatever
        else is in the batch.
      roots: int32[B], the last token of each prompt; the caches hold those before it.
      config: how to search.

    Returns:
      The beams, what they cost and what overflowed.

    Raises:
      ValueError: schemas are to be used, and none are given; or candidates are to come in two goes,
        and aren't independent draws.

    Source: arXiv:2510.14703, fine-grained beam search; the pool and the sharing are our choice.
    """
    wanted = {"prune": (Schema, "make_schema"), "strict": (StrictTables, "make_strict")}
    if config.schema in wanted:
        kind, maker = wanted[config.schema]
        if not isinstance(setup.schema, kind):
            text = f"schema: expected the tools' arrays ({maker}) for {config.schema!r}"
            raise ValueError(text)
    if config.probe_width and config.explore != "sample":
        raise ValueError(f'explore: expected "sample" for probe_width, found "{config.explore}"')
    if config.schema == "ignore":
        setup = replace(setup, schema=None)
    guided = setup.reward is not None
    start = begin(setup, roots, config)
    start = start._replace(going=still_going(start, config, guided))
    end = jax.lax.while_loop(
        lambda state: state.going > 0, partial(decide, setup, keys, config), start
    )
    return finish(end, config, guided)


def begin(setup: Setup, roots: Array, config: SearchConfig) -> State:
    """The state before the first decision: one empty beam a query, and its walkers."""
    batch, size, width = roots.shape[0], config.pool_size, config.num_beams
    place = jnp.broadcast_to(jnp.arange(width), (batch, width))
    beams = Beams(
        nodes=jnp.zeros((batch, width), jnp.int32),
        paths=jnp.broadcast_to(jnp.arange(size) == 0, (batch, width, size)),
        tracker=initial(setup.grammar, (batch, width), setup.schema),
        log_prob=jnp.zeros((batch, width), jnp.float32),
        score=jnp.zeros((batch, width), jnp.float32),
        status=jnp.where(place == 0, Status.LIVE, Status.EMPTY),
        copies=jnp.ones((batch, width), jnp.int32),
    )
    zeros = jnp.zeros(batch, jnp.int32)
    walkers, families, ranks = depart(beams, config)
    return State(
        decisions=zeros,
        walk=Walk(
            zeros,
            new_pool(roots, size),
            setup.caches[0],
            walkers,
            families,
            ranks,
            *nothing_yet(batch),
        ),
        reward_cache=setup.caches[1],
        beams=beams,
        going=jnp.int32(0),
        trace=new_trace(batch, config) if config.trace else None,
    )


def decide(setup: Setup, keys: Array, config: SearchConfig, state: State) -> State:
    """Walks until enough queries have arrived at a decision; judges and prunes these."""
    guided = setup.reward is not None
    step_keys = jax.vmap(jax.random.fold_in)(keys, state.decisions)
    walk = walk_on(setup, step_keys, state.walk, config)
    arrival = arrive(walk, state, config, guided)
    walk, reward_cache, scores = judge(setup, walk, state.reward_cache, arrival, config)
    walk, arrival = wake_more(walk, state.beams, arrival, config, guided)
    walk = account(walk, arrival, config, guided)
    events = take(walk.pool.events, arrival.candidates.nodes)
    final = jnp.any(events == Kind.TOTAL_FINISH, axis=-1)
    selected = select(state.beams, arrival.candidates, scores, final)
    trace = None
    if state.trace is not None:
        trace = record(state.trace, state.decisions, walk, arrival, selected, config)
    state = state._replace(reward_cache=reward_cache, trace=trace)
    return move_on(setup, walk, state, arrival.arrived, selected.beams, config)


def undecided(beams: Beams, config: SearchConfig, guided: bool) -> Array:
    """Queries that have a beam left to explore, bool[B]."""
    live = jnp.any(beams.status == Status.LIVE, axis=1)
    only_falls = not guided or config.aggregate in ("min", "product")
    if config.early_stop and only_falls:
        # The beams are in order, and none rises that has yet to finish.
        finished = jnp.cumprod(beams.status == Status.FINISHED, axis=1)
        live &= (jnp.sum(finished, axis=1) < config.answers) | (config.beta < 0)
    return live


def searching(state: State, config: SearchConfig, guided: bool) -> Array:
    """Queries that are neither decided nor at the limit of decisions, bool[B]."""
    return undecided(state.beams, config, guided) & (state.decisions < config.max_decisions)


def still_going(state: State, config: SearchConfig, guided: bool) -> Array:
    """Whether a query is searching, here or on a device in step, int32[]."""
    here = jnp.int32(jnp.any(searching(state, config, guided)))
    return together(here, config.execution.in_step)


def depart(beams: Beams, config: SearchConfig) -> tuple[Walkers, Array, Ranks]:
    """Walkers that set out from beams, the beam of each, and their ranks."""
    width = config.num_beams * config.beam_width
    walkers, families = deal(beams, width, config.max_step_tokens)
    sets_out = jnp.arange(width)[None, :] < by_query(config.candidates)
    walkers = walkers._replace(status=jnp.where(sets_out, walkers.status, Status.IDLE))
    walkers, ranks = set_out(walkers, families, config)
    return hold_back(walkers, families, config), families, ranks


def deal(beams: Beams, walkers: int, step_limit: int) -> tuple[Walkers, Array]:
    """Deals walkers evenly over the live beams, best first.

    Returns:
      The walkers, and the beam of each, int32[B, W].
    """
    order, counts = compact(beams.status == Status.LIVE)
    index = jnp.arange(walkers)[None, :] % jnp.maximum(counts, 1)[:, None]
    parents = jnp.minimum(take(order, index), beams.nodes.shape[1] - 1)
    tracker = jax.tree.map(lambda array: take(array, parents), beams.tracker)
    shape = parents.shape
    return Walkers(
        nodes=take(beams.nodes, parents),
        paths=take(beams.paths, parents),
        tracker=tracker,
        log_prob=take(beams.log_prob, parents),
        status=jnp.where((counts > 0)[:, None], Status.ACTIVE, jnp.full(shape, Status.IDLE)),
        steps=jnp.full((*shape, step_limit), -1, jnp.int32),
        lengths=jnp.zeros(shape, jnp.int32),
    ), parents


def arrive(walk: Walk, state: State, config: SearchConfig, guided: bool) -> Arrival:
    """Which queries have arrived, and with which candidates; the schemas have their say."""
    under_way = jnp.any(walk.walkers.status == Status.ACTIVE, axis=1)
    arrived = searching(state, config, guided) & ~under_way
    candidates = walk.walkers._replace(
        status=jnp.where(arrived[:, None], walk.walkers.status, Status.IDLE)
    )
    stands = candidates.status == Status.STOPPED
    none = jnp.zeros_like(state.decisions)
    check = candidates.tracker.check
    if check is None:
        return Arrival(arrived, candidates, stands, none, none > 0)
    stands &= ~check.invalid
    return Arrival(arrived, *rule_out(candidates, state.beams, stands))


def judge(
    setup: Setup, walk: Walk, cache: Cache, arrival: Arrival, config: SearchConfig
) -> tuple[Walk, Cache, Array]:
    """Scores float32[B, W] of the candidates, by the reward model or by likelihood."""
    candidates, costs = arrival.candidates, walk.costs
    if setup.reward is None:
        return walk, cache, candidates.log_prob
    judged = by_query(config.judged)
    shown = candidates._replace(status=jnp.where(judged, candidates.status, Status.IDLE))
    pool, cache, seen, passes = assess(setup, walk.pool, cache, shown, config)
    scores = aggregate_scores(pool, candidates.paths, config)
    scores = jnp.where(judged, scores + config.beta * candidates.log_prob, candidates.log_prob)
    costs = costs._replace(
        prm_tokens=costs.prm_tokens + seen,
        prm_passes=costs.prm_passes + jnp.where(arrival.arrived & judged[:, 0], passes, 0),
    )
    return walk._replace(pool=pool, costs=costs), cache, scores


def wake_more(
    walk: Walk, beams: Beams, arrival: Arrival, config: SearchConfig, guided: bool
) -> tuple[Walk, Arrival]:
    """Sends walkers that were held back after all; their queries haven't arrived yet."""
    if not config.probe_width:
        return walk, arrival
    candidates, arrived = arrival.candidates, arrival.arrived
    starts = take(beams.log_prob, walk.families)
    needed = wake(walk.pool, candidates, walk.families, starts, arrival.stands, config, guided)
    walkers = choose(arrived, woken(walk.walkers, needed), walk.walkers)
    arrived &= ~jnp.any(needed, axis=1)
    stays = arrived[:, None] & (candidates.status != Status.HELD)
    status = jnp.where(stays, candidates.status, Status.IDLE)
    candidates = candidates._replace(status=status)
    return walk._replace(walkers=walkers), arrival._replace(arrived=arrived, candidates=candidates)


def account(walk: Walk, arrival: Arrival, config: SearchConfig, guided: bool) -> Walk:
    """Counts what pruning ruled out, and what judging would have cost without sharing."""
    costs, candidates, arrived = walk.costs, arrival.candidates, arrival.arrived
    pruned = jnp.where(arrived, arrival.pruned, 0)
    costs = costs._replace(schema_pruned=costs.schema_pruned + pruned)
    violated = walk.flags.schema_violation | (arrival.violated & arrived)
    if guided:
        labelled = is_labelled(take(walk.pool.events, candidates.nodes), config.labelled)
        reached = (candidates.status == Status.STOPPED) & by_query(config.judged)
        alone = jnp.where(reached, candidates.lengths + jnp.sum(labelled, axis=-1), 0)
        more = jnp.sum(alone, axis=1)
        costs = costs._replace(unshared_prm_tokens=costs.unshared_prm_tokens + more)
    return walk._replace(costs=costs, flags=walk.flags._replace(schema_violation=violated))


def record(
    trace: Trace,
    decisions: Array,
    walk: Walk,
    arrival: Arrival,
    selected: Selected,
    config: SearchConfig,
) -> Trace:
    """Adds a decision of the queries that have arrived to the trace."""
    candidates = arrival.candidates
    events = take(walk.pool.events, candidates.nodes)
    now = Trace(
        parents=walk.families,
        steps=candidates.steps,
        events=jnp.where(is_labelled(events, config.labelled), events, -1),
        log_p=take(walk.pool.log_p, candidates.nodes),
        score=selected.score,
        status=selected.status,
        same_as=selected.same_as,
        rank=selected.rank,
    )
    rows = jnp.arange(decisions.shape[0])
    at = (rows, jnp.where(arrival.arrived, decisions, config.max_decisions))
    return jax.tree.map(lambda a, b: a.at[at].set(b, mode="drop"), trace, now)


def compact_pool(pool: Pool, kept: Beams, arrived: Array) -> tuple[Pool, Beams, Array]:
    """Leaves of a pool what its beams stand on, in queries that have arrived.

    Returns:
      The pool, the beams in its new slots, and the order int32[B, P] that caches move by.
    """
    size = pool.tokens.shape[1]
    used = jnp.any(kept.paths, axis=1)
    order, counts = compact(used)
    order = jnp.where(arrived[:, None], order, jnp.arange(size)[None, :])
    counts = jnp.where(arrived, counts, pool.used)
    held = jnp.arange(size)[None, None, :] < counts[:, None, None]
    from_slot = jnp.broadcast_to(jnp.minimum(order, size - 1)[:, None], kept.paths.shape)
    new_slot = jnp.cumsum(used, axis=1) - 1
    kept = kept._replace(
        paths=jnp.take_along_axis(kept.paths, from_slot, axis=2) & held,
        nodes=jnp.maximum(take(new_slot, kept.nodes), 0),
    )
    return permute_pool(pool, order, counts), kept, order


def move_on(
    setup: Setup, walk: Walk, state: State, arrived: Array, kept: Beams, config: SearchConfig
) -> State:
    """Compacts pool and caches; where a query has arrived, walkers set out from its new beams."""
    guided = setup.reward is not None
    pool, kept, order = compact_pool(walk.pool, kept, arrived)
    beams = choose(arrived, kept, state.beams)
    after = state._replace(decisions=state.decisions + arrived, beams=beams)
    dealt, families, ranks = depart(beams, config)
    # A query that is done keeps walkers that go nowhere.
    goes_on = searching(after, config, guided)[:, None]
    dealt = dealt._replace(status=jnp.where(goes_on, dealt.status, Status.IDLE))
    fresh = (jnp.zeros_like(walk.step), dealt, families, ranks)
    present = (walk.step, walk.walkers, walk.families, walk.ranks)
    step, walkers, families, ranks = choose(arrived, fresh, present)
    with jax.named_scope(CACHE):
        cache = setup.memory.permute(walk.cache, order)
        reward_cache = setup.memory.permute(state.reward_cache, order) if guided else None
    return after._replace(
        walk=Walk(step, pool, cache, walkers, families, ranks, walk.costs, walk.flags),
        reward_cache=reward_cache,
        going=still_going(after, config, guided),
    )


def finish(end: State, config: SearchConfig, guided: bool) -> SearchOutput:
    """What a search returns, from its last state."""
    beams = end.beams
    is_finished = beams.status == Status.FINISHED
    flags = end.walk.flags._replace(decision_overflow=undecided(beams, config, guided))
    return SearchOutput(
        **completions(end.walk.pool, beams.paths, config.max_tokens)._asdict(),
        log_prob=beams.log_prob,
        score=beams.score,
        status=beams.status,
        copies=beams.copies,
        best=jnp.argmax(is_finished, axis=1),
        finished=jnp.any(is_finished, axis=1),
        decisions=end.decisions,
        costs=end.walk.costs,
        flags=flags,
        trace=end.trace,
    )
