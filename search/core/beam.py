"""Fine-grained beam search as one program over fixed-shape arrays.

The core knows nothing of transformers: a policy offers `expand`, a reward model `absorb` and
`judge` (see `Policy` and `Reward`), and their caches are opaque pytrees.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.grammar import Kind

from ..grammar import Grammar, Schema, Tracker, initial
from .budget import hold_back, wake, woken
from .config import SearchConfig
from .judge import Reward, aggregate_scores, assess, is_labelled
from .lanes import Cache, Lanes, Memory, Own, together
from .output import SearchOutput, Trace, completions, new_trace
from .pool import Pool, choose, compact, new_pool, permute_pool, take
from .sampling import Ranks
from .scopes import CACHE
from .walk import (
    ACTIVE,
    DEAD,
    HELD,
    IDLE,
    STOPPED,
    Walk,
    Walkers,
    first_equal,
    nothing_yet,
    set_out,
    walk_on,
)

LIVE, FINISHED, EMPTY = ACTIVE, STOPPED, IDLE  # of beams; DEAD as of walkers


class Policy(Protocol):
    """Proposes tokens."""

    def expand(self, params: Any, cache: Cache, pool: Pool, lanes: Lanes) -> tuple[Array, Own]:
        """Logits float32[R, W, V] after each lane, and what is to be stored of each."""
        ...


class Beams(NamedTuple):
    """Retained beams, N per query, best first."""

    nodes: Array  # int32[B, N]
    paths: Array  # bool[B, N, P]
    tracker: Tracker  # [B, N]
    log_prob: Array  # float32[B, N], under the policy
    score: Array  # float32[B, N]
    status: Array  # int32[B, N]: LIVE, FINISHED, DEAD, EMPTY
    copies: Array  # int32[B, N], candidates of equal bytes that were merged into it


class _State(NamedTuple):
    decisions: Array  # int32[B], behind each query
    walk: Walk
    reward_cache: Cache
    beams: Beams
    going: Array  # int32[], whether any query is still searching, here or on a device in step
    trace: Trace | None


def deal(beams: Beams, walkers: int, step_limit: int) -> tuple[Walkers, Array]:
    """Deals walkers evenly over the live beams, best first.

    Returns:
      The walkers, and the beam of each, int32[B, W].
    """
    order, counts = compact(beams.status == LIVE)
    index = jnp.arange(walkers)[None, :] % jnp.maximum(counts, 1)[:, None]
    parents = jnp.minimum(take(order, index), beams.nodes.shape[1] - 1)
    tracker = jax.tree.map(lambda array: take(array, parents), beams.tracker)
    shape = parents.shape
    return Walkers(
        nodes=take(beams.nodes, parents),
        paths=take(beams.paths, parents),
        tracker=tracker,
        log_prob=take(beams.log_prob, parents),
        status=jnp.where((counts > 0)[:, None], ACTIVE, jnp.full(shape, IDLE)),
        steps=jnp.full((*shape, step_limit), -1, jnp.int32),
        lengths=jnp.zeros(shape, jnp.int32),
    ), parents


def rule_out(walkers: Walkers, beams: Beams) -> tuple[Walkers, Array, Array]:
    """Kills the candidates that the schemas refuse; if they refuse all, the likeliest stays.

    Args:
      walkers: at their boundaries, with checked trackers.
      beams: finished ones are candidates too.

    Returns:
      The walkers with clean checks, how many were killed, int32[B], and whether a refused one was
      kept, bool[B].
    """
    check = walkers.tracker.check
    if check is None:
        raise ValueError("the trackers carry no schema")
    reached = walkers.status == STOPPED
    refused = reached & check.invalid
    good = jnp.any(reached & ~check.invalid, axis=1) | jnp.any(beams.status == FINISHED, axis=1)
    likeliest = jnp.argmax(jnp.where(refused, walkers.log_prob, -jnp.inf), axis=1)
    is_likeliest = jnp.arange(refused.shape[1])[None, :] == likeliest[:, None]
    rescued = refused & ~good[:, None] & is_likeliest
    out = refused & ~rescued
    clean = check._replace(invalid=jnp.zeros_like(check.invalid))
    walkers = walkers._replace(
        status=jnp.where(out, DEAD, walkers.status),
        tracker=walkers.tracker._replace(check=clean),
    )
    return walkers, jnp.sum(out, axis=1), jnp.any(rescued, axis=1)


def select(
    beams: Beams, walkers: Walkers, scores: Array, final: Array
) -> tuple[Beams, Array, Array, Array, Array]:
    """Merges candidates of equal bytes and keeps the best N; dead ones only where none is alive.

    Args:
      beams: N beams; those that did not explore compete on.
      walkers: W walkers.
      scores: float32[B, W] of the walkers.
      final: bool[B, W], whether a walker's completion is whole.

    Returns:
      N beams, best first; and over the C = N + W candidates their score, status, the candidate
      that stands for each, and its rank (-1 where pruned).
    """
    width = beams.nodes.shape[1]
    carried = jnp.where(beams.status == LIVE, EMPTY, beams.status)
    stopped = jnp.where(final, FINISHED, LIVE)
    arrived = jnp.where(walkers.status == STOPPED, stopped, walkers.status)
    candidates: Beams = jax.tree.map(
        lambda old, new: jnp.concatenate([old, new], axis=1),
        beams._replace(status=carried),
        Beams(
            walkers.nodes,
            walkers.paths,
            walkers.tracker,
            walkers.log_prob,
            scores,
            arrived,
            jnp.ones_like(arrived),
        ),
    )
    alive = (candidates.status == LIVE) | (candidates.status == FINISHED)
    # Of equal bytes the likeliest token path stays: sort by it, then the first one stands for all.
    by_chance = jnp.argsort(-candidates.log_prob, axis=1, stable=True)
    digest = candidates.tracker.digest
    first = first_equal(
        take(digest[..., 0], by_chance),
        take(digest[..., 1], by_chance),
        take(candidates.tracker.length, by_chance),
        among=take(alive, by_chance),
    )
    rows = jnp.arange(alive.shape[0])[:, None]
    same_as = jnp.zeros_like(by_chance).at[rows, by_chance].set(take(by_chance, first))
    index = jnp.broadcast_to(jnp.arange(alive.shape[1]), alive.shape)
    kept = alive & (same_as == index)
    copies = jnp.zeros_like(index).at[rows, same_as].add(candidates.copies)
    candidates = candidates._replace(copies=copies)

    # Alive, then dead, then empty; the dead by likelihood, the others by score.
    group = jnp.where(kept, 0, jnp.where(candidates.status == DEAD, 1, 2))
    score = jnp.where(candidates.status == DEAD, -jnp.inf, candidates.score)
    order = jnp.lexsort((index, -candidates.log_prob, -score, group), axis=1)[:, :width]
    chosen: Beams = jax.tree.map(lambda array: take(array, order), candidates)
    place = jnp.arange(width)[None, :]
    rescued = (take(group, order) == 1) & (place == 0)  # the first is dead: all are
    stays = (take(group, order) == 0) | rescued
    status = jnp.where(stays, chosen.status, EMPTY)
    rank = (
        jnp.full_like(index, -1)
        .at[rows, jnp.where(stays, order, index.shape[1])]
        .set(jnp.broadcast_to(place, order.shape), mode="drop")
    )
    chosen = chosen._replace(
        status=status,
        paths=chosen.paths & stays[..., None],
        score=jnp.where(stays, take(score, order), -jnp.inf),
    )
    return chosen, score, candidates.status, same_as, rank


def beam_search(
    policy: Policy,
    reward: Reward | None,
    memory: Memory,
    grammar: Grammar,
    params: tuple[Any, Any],
    keys: Array,
    roots: Array,
    caches: tuple[Cache, Cache],
    config: SearchConfig,
    schema: Schema | None = None,
) -> SearchOutput:
    """Fine-grained beam search; pure, with no host round trip inside.

    Args:
      policy: proposes tokens.
      reward: scores decisions; None ranks by the policy's own likelihood.
      memory: how their caches are written.
      grammar: tables of the call grammar over the vocabulary.
      params: of the policy and of the reward model.
      keys: key[B], one per query, consumed; equal keys and queries give equal results whatever
        else is in the batch.
      roots: int32[B], the last token of each prompt; the caches hold those before it.
      caches: of the policy and of the reward model.
      config: how to search.
      schema: of the B queries' tools, where `config.schema` is "prune".

    Returns:
      The beams, what they cost and what overflowed.

    Raises:
      ValueError: candidates are to be pruned by a schema, and none is given; or they are to come in
        two goes, and aren't independent draws.

    Source: arXiv:2510.14703, fine-grained beam search; the pool and the sharing are our choice.
    """
    batch = roots.shape[0]
    if config.schema == "ignore":
        schema = None
    elif schema is None:
        raise ValueError('schema: expected the tools\' arrays (make_schema) for schema="prune"')
    if config.probe_width and config.explore != "sample":
        raise ValueError(f'explore: expected "sample" for probe_width, found "{config.explore}"')
    size, width = config.pool_size, config.num_beams
    num_walkers = config.num_beams * config.beam_width
    zeros = jnp.zeros(batch, jnp.int32)
    costs, flags = nothing_yet(batch)
    place = jnp.broadcast_to(jnp.arange(width), (batch, width))
    root_path = jnp.broadcast_to(jnp.arange(size) == 0, (batch, width, size))
    beams = Beams(
        nodes=jnp.zeros((batch, width), jnp.int32),
        paths=root_path,
        tracker=initial(grammar, (batch, width), schema),
        log_prob=jnp.zeros((batch, width), jnp.float32),
        score=jnp.zeros((batch, width), jnp.float32),
        status=jnp.where(place == 0, LIVE, EMPTY),
        copies=jnp.ones((batch, width), jnp.int32),
    )

    def depart(beams: Beams) -> tuple[Walkers, Array, Ranks]:
        """Walkers that set out from beams, the beam of each, and their ranks."""
        walkers, families = deal(beams, num_walkers, config.max_step_tokens)
        walkers, ranks = set_out(walkers, families, config)
        return hold_back(walkers, families, config), families, ranks

    walkers, families, ranks = depart(beams)
    start = _State(
        going=jnp.int32(0),
        decisions=zeros,
        walk=Walk(zeros, new_pool(roots, size), caches[0], walkers, families, ranks, costs, flags),
        reward_cache=caches[1],
        beams=beams,
        trace=new_trace(batch, config) if config.trace else None,
    )

    only_falls = reward is None or config.aggregate in ("min", "product")

    def undecided(beams: Beams) -> Array:
        live = jnp.any(beams.status == LIVE, axis=1)
        if config.early_stop and only_falls:
            # The beams are in order, and none rises that has yet to finish.
            live &= (beams.status[:, 0] != FINISHED) | (config.beta < 0)
        return live

    def searching(state: _State) -> Array:
        return undecided(state.beams) & (state.decisions < config.max_decisions)

    def still_going(state: _State) -> Array:
        return together(jnp.int32(jnp.any(searching(state))), config.in_step)

    def decide(state: _State) -> _State:
        """Walks until enough queries have arrived at a decision; judges and prunes these."""
        beams, decisions = state.beams, state.decisions
        walk = walk_on(
            partial(policy.expand, params[0]),
            memory,
            grammar,
            jax.vmap(jax.random.fold_in)(keys, decisions),
            state.walk,
            config,
            schema,
        )
        pool, costs, flags = walk.pool, walk.costs, walk.flags
        going = walk.walkers
        arrived = searching(state) & ~jnp.any(walk.walkers.status == ACTIVE, axis=1)
        walkers = walk.walkers._replace(
            status=jnp.where(arrived[:, None], walk.walkers.status, IDLE)
        )
        stands = walkers.status == STOPPED
        pruned, violated = zeros, zeros > 0
        if (check := going.tracker.check) is not None:
            stands &= ~check.invalid
            walkers, pruned, violated = rule_out(walkers, beams)
        reached = walkers.status == STOPPED
        events = take(pool.events, walkers.nodes)
        labelled = is_labelled(events, config.labelled)
        final = jnp.any(events == Kind.TOTAL_FINISH, axis=-1)
        reward_cache = state.reward_cache
        if reward is None:
            scores = walkers.log_prob
        else:
            pool, reward_cache, seen, passes = assess(
                reward, memory, params[1], pool, reward_cache, walkers, config
            )
            scores = aggregate_scores(pool, walkers.paths, config)
            scores += config.beta * walkers.log_prob
            costs = costs._replace(
                prm_tokens=costs.prm_tokens + seen,
                prm_passes=costs.prm_passes + jnp.where(arrived, passes, 0),
            )
        if config.probe_width:
            starts = take(beams.log_prob, walk.families)
            needed = wake(pool, walkers, walk.families, starts, stands, config, reward is not None)
            going = choose(arrived, woken(going, needed), going)
            arrived &= ~jnp.any(needed, axis=1)
            stays = arrived[:, None] & (walkers.status != HELD)
            walkers = walkers._replace(status=jnp.where(stays, walkers.status, IDLE))
            reached &= arrived[:, None]
        costs = costs._replace(schema_pruned=costs.schema_pruned + jnp.where(arrived, pruned, 0))
        flags = flags._replace(schema_violation=flags.schema_violation | (violated & arrived))
        if reward is not None:
            alone = jnp.where(reached, walkers.lengths + jnp.sum(labelled, axis=-1), 0)
            more = jnp.sum(alone, axis=1)
            costs = costs._replace(unshared_prm_tokens=costs.unshared_prm_tokens + more)
        log_p = take(pool.log_p, walkers.nodes)
        kept, score, status, same_as, rank = select(beams, walkers, scores, final)

        # Of queries that have arrived the pool keeps what their beams stand on.
        index = jnp.broadcast_to(jnp.arange(size), (batch, size))
        used = jnp.any(kept.paths, axis=1)
        order, counts = compact(used)
        order = jnp.where(arrived[:, None], order, index)
        counts = jnp.where(arrived, counts, pool.used)
        moved = permute_pool(pool, order, counts)
        held = jnp.arange(size)[None, None, :] < counts[:, None, None]
        from_slot = jnp.broadcast_to(jnp.minimum(order, size - 1)[:, None], kept.paths.shape)
        new_slot = jnp.cumsum(used, axis=1) - 1
        kept = kept._replace(
            paths=jnp.take_along_axis(kept.paths, from_slot, axis=2) & held,
            nodes=jnp.maximum(take(new_slot, kept.nodes), 0),
        )
        beams = choose(arrived, kept, beams)
        trace = state.trace
        if trace is not None:
            now = Trace(
                walk.families, walkers.steps, jnp.where(labelled, events, -1), log_p,
                score, status, same_as, rank,
            )  # fmt: skip
            at = (jnp.arange(batch), jnp.where(arrived, decisions, config.max_decisions))
            trace = jax.tree.map(lambda a, b: a.at[at].set(b, mode="drop"), trace, now)
        after = state._replace(decisions=decisions + arrived, beams=beams)
        dealt, families, ranks = depart(beams)
        # A query that is done keeps walkers that go nowhere.
        dealt = dealt._replace(status=jnp.where(searching(after)[:, None], dealt.status, IDLE))
        fresh = (jnp.zeros_like(walk.step), dealt, families, ranks)
        present = (walk.step, going, walk.families, walk.ranks)
        step, walkers, families, ranks = choose(arrived, fresh, present)
        with jax.named_scope(CACHE):
            cache = memory.permute(walk.cache, order)
            reward_cache = None if reward is None else memory.permute(reward_cache, order)
        return after._replace(
            walk=Walk(step, moved, cache, walkers, families, ranks, costs, flags),
            reward_cache=reward_cache,
            trace=trace,
            going=still_going(after),
        )  # fmt: skip

    start = start._replace(going=still_going(start))
    end = jax.lax.while_loop(lambda state: state.going > 0, decide, start)
    beams = end.beams
    is_finished = beams.status == FINISHED
    best = jnp.argmax(is_finished, axis=1)
    return SearchOutput(
        **completions(end.walk.pool, beams.paths, config.max_tokens)._asdict(),
        log_prob=beams.log_prob,
        score=beams.score,
        status=beams.status,
        copies=beams.copies,
        best=best,
        finished=jnp.any(is_finished, axis=1),
        decisions=end.decisions,
        costs=end.walk.costs,
        flags=end.walk.flags._replace(decision_overflow=undecided(beams)),
        trace=end.trace,
    )
