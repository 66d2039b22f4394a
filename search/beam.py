"""Fine-grained beam search as one program over fixed-shape arrays.

The core knows nothing of transformers: a policy offers `expand`, a reward model `absorb` and
`judge` (see `Policy` and `Reward`), and their caches are opaque pytrees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.annotation.grammar import Kind

from .explore import ACTIVE, DEAD, IDLE, STOPPED, Cache, Costs, Flags, Walkers, first_equal, walk
from .pool import Lanes, Pool, compact, make_lanes, new_pool, permute_pool, take
from .tracker import MAX_EVENTS, Grammar, Tracker, initial

Aggregate = Literal["last", "min", "mean", "product"]
LIVE, FINISHED, EMPTY = ACTIVE, STOPPED, IDLE  # of beams; DEAD as of walkers


class Policy(Protocol):
    """Proposes tokens."""

    def expand(self, params: Any, cache: Any, pool: Pool, lanes: Lanes) -> tuple[Array, Any]:
        """Logits float32[B, W, V] after each lane, and the cache with the lanes stored."""
        ...


class Reward(Protocol):
    """Scores decisions."""

    def absorb(self, params: Any, cache: Any, pool: Pool, lanes: Lanes) -> Any:
        """The cache with the lanes stored."""
        ...

    def judge(self, params: Any, cache: Any, pool: Pool, lanes: Lanes, kinds: Array) -> Array:
        """Log-probability of "+", float32[B, W], at leaves below the lanes' paths."""
        ...


@dataclass(frozen=True)
class SearchConfig:
    """What a search is compiled for; hashable.

    Attributes:
      num_beams: N, beams retained after each decision.
      beam_width: M, candidates explored from each beam at each decision.
      temperature: of the policy; 0 takes the likeliest token.
      labelled: kinds of decision that the reward model scores.
      stop_kinds: kinds at which a candidate stops to be compared.
      aggregate: how a beam's score comes from those of its decisions.
      max_decisions: limit of decisions.
      max_step_tokens: limit of one decision, in tokens.
      max_tokens: limit of a completion, in tokens.
      pool_size: P, slots per query, root included.
      lane_width: lanes of the policy that run at once, per query.
      prm_width: lanes of the reward model that run at once, per query.
      trace: whether the output tells every candidate of every decision.
    """

    num_beams: int = 4
    beam_width: int = 4
    temperature: float = 0.8
    labelled: tuple[int, ...] = tuple(Kind)
    stop_kinds: tuple[int, ...] = tuple(Kind)
    aggregate: Aggregate = "min"
    max_decisions: int = 32
    max_step_tokens: int = 64
    max_tokens: int = 192
    pool_size: int = 1024
    lane_width: int = 4
    prm_width: int = 8
    trace: bool = False


class Beams(NamedTuple):
    """Retained beams, N per query, best first."""

    nodes: Array  # int32[B, N]
    paths: Array  # bool[B, N, P]
    tracker: Tracker  # [B, N]
    log_prob: Array  # float32[B, N], under the policy
    score: Array  # float32[B, N]
    status: Array  # int32[B, N]: LIVE, FINISHED, DEAD, EMPTY


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
    status: Array  # int32[B, D, C]
    same_as: Array  # int32[B, D, C], the candidate of equal bytes that stands for it
    rank: Array  # int32[B, D, C], its beam after the decision, -1 where pruned


class SearchOutput(NamedTuple):
    """What every method returns; B queries, N beams, best first."""

    tokens: Array  # int32[B, N, max_tokens], -1 past the end
    lengths: Array  # int32[B, N]
    log_prob: Array  # float32[B, N], under the policy, untempered
    score: Array  # float32[B, N]
    status: Array  # int32[B, N]
    best: Array  # int32[B], the beam that is the answer
    finished: Array  # bool[B], whether the answer is a whole completion
    decisions: Array  # int32[B]
    costs: Costs
    flags: Flags
    trace: Trace | None


class _State(NamedTuple):
    decision: Array
    decisions: Array  # int32[B]
    pool: Pool
    policy_cache: Cache
    reward_cache: Cache
    beams: Beams
    costs: Costs
    flags: Flags
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


def _labelled(events: Array, kinds: tuple[int, ...]) -> Array:
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
    needed = jnp.any(walkers.paths & reached[..., None], axis=1) & ~pool.scored
    slots, num_slots = compact(needed)
    padded = jnp.pad(slots, ((0, 0), (0, width)), constant_values=size)

    def chunk_of(chunk: Array, array: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(array, chunk * width, width, axis=1)

    def lanes_of(chosen: Array, own: Array, depths: Array) -> Lanes:
        paths = take(walkers.paths, take(pool.makers, chosen))
        paths &= jnp.arange(size)[None, None, :] <= chosen[..., None]
        return make_lanes(own, take(pool.tokens, chosen), depths, paths, chosen < size)

    def absorb(carry: tuple[Array, Cache]) -> tuple[Array, Cache]:
        chunk, cache = carry
        chosen = chunk_of(chunk, padded)
        lanes = lanes_of(chosen, chosen, take(pool.depths, chosen))
        return chunk + 1, reward.absorb(params, cache, pool, lanes)

    chunks = -(-jnp.max(num_slots) // width)
    _, cache = jax.lax.while_loop(lambda c: c[0] < chunks, absorb, (jnp.int32(0), cache))

    labelled = _labelled(pool.events, config.labelled) & needed[..., None]
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
    labelled = _labelled(pool.events, config.labelled)
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
        Beams(walkers.nodes, walkers.paths, walkers.tracker, walkers.log_prob, scores, arrived),
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


def _new_trace(batch: int, config: SearchConfig) -> Trace:
    walkers = config.num_beams * config.beam_width
    shape = (batch, config.max_decisions, walkers)
    wide = (batch, config.max_decisions, config.num_beams + walkers)
    return Trace(
        parents=jnp.zeros(shape, jnp.int32),
        steps=jnp.full((*shape, config.max_step_tokens), -1, jnp.int32),
        events=jnp.full((*shape, MAX_EVENTS), -1, jnp.int32),
        log_p=jnp.zeros((*shape, MAX_EVENTS), jnp.float32),
        score=jnp.zeros(wide, jnp.float32),
        status=jnp.full(wide, EMPTY, jnp.int32),
        same_as=jnp.zeros(wide, jnp.int32),
        rank=jnp.full(wide, -1, jnp.int32),
    )


def beam_search(
    policy: Policy,
    reward: Reward | None,
    permute: Callable[[Cache, Array], Cache],
    grammar: Grammar,
    params: tuple[Any, Any],
    keys: Array,
    roots: Array,
    caches: tuple[Cache, Cache],
    config: SearchConfig,
) -> SearchOutput:
    """Fine-grained beam search; pure, with no host round trip inside.

    Args:
      policy: proposes tokens.
      reward: scores decisions; None ranks by the policy's own likelihood.
      permute: moves a cache's pool slots to the front, `(cache, order int32[B, P]) -> cache`.
      grammar: tables of the call grammar over the vocabulary.
      params: of the policy and of the reward model.
      keys: key[B], one per query, consumed; equal keys and queries give equal results whatever
        else is in the batch.
      roots: int32[B], the last token of each prompt; the caches hold those before it.
      caches: of the policy and of the reward model.
      config: static.

    Returns:
      The beams, what they cost and what overflowed.

    Source: arXiv:2510.14703, fine-grained beam search; the pool and the sharing are our choice.
    """
    batch = roots.shape[0]
    size, width = config.pool_size, config.num_beams
    walkers_per_query = config.num_beams * config.beam_width
    zeros = jnp.zeros(batch, jnp.int32)
    no = jnp.zeros(batch, bool)
    place = jnp.broadcast_to(jnp.arange(width), (batch, width))
    root_path = jnp.broadcast_to(jnp.arange(size) == 0, (batch, width, size))
    start = _State(
        decision=jnp.int32(0),
        decisions=zeros,
        pool=new_pool(roots, size),
        policy_cache=caches[0],
        reward_cache=caches[1],
        beams=Beams(
            nodes=jnp.zeros((batch, width), jnp.int32),
            paths=root_path,
            tracker=initial(grammar, (batch, width)),
            log_prob=jnp.zeros((batch, width), jnp.float32),
            score=jnp.zeros((batch, width), jnp.float32),
            status=jnp.where(place == 0, LIVE, EMPTY),
        ),
        costs=Costs(zeros, zeros, zeros, zeros, zeros),
        flags=Flags(no, no),
        trace=_new_trace(batch, config) if config.trace else None,
    )

    def searching(state: _State) -> Array:
        return jnp.any(state.beams.status == LIVE) & (state.decision < config.max_decisions)

    def decide(state: _State) -> _State:
        beams = state.beams
        busy = jnp.any(beams.status == LIVE, axis=1)
        walkers, parents = deal(beams, walkers_per_query, config.max_step_tokens)
        walked = walk(
            partial(policy.expand, params[0]),
            grammar,
            jax.vmap(lambda key: jax.random.fold_in(key, state.decision))(keys),
            state.pool,
            state.policy_cache,
            walkers,
            state.costs,
            state.flags,
            stop_kinds=config.stop_kinds,
            temperature=config.temperature,
            lane_width=config.lane_width,
            max_tokens=config.max_tokens,
        )
        pool, walkers, costs = walked.pool, walked.walkers, walked.costs
        reached = walkers.status == STOPPED
        events = take(pool.events, walkers.nodes)
        labelled = _labelled(events, config.labelled)
        final = jnp.any(events == Kind.TOTAL_FINISH, axis=-1)
        reward_cache = state.reward_cache
        if reward is None:
            scores = walkers.log_prob
        else:
            pool, reward_cache, seen = assess(
                reward, params[1], pool, reward_cache, walkers, config
            )
            scores = aggregate_scores(pool, walkers.paths, config)
            alone = jnp.where(reached, walkers.lengths + jnp.sum(labelled, axis=-1), 0)
            costs = costs._replace(
                prm_tokens=costs.prm_tokens + seen,
                unshared_prm_tokens=costs.unshared_prm_tokens + jnp.sum(alone, axis=1),
            )
        log_p = take(pool.log_p, walkers.nodes)
        kept, score, status, same_as, rank = select(beams, walkers, scores, final)

        used = jnp.any(kept.paths, axis=1)
        order, counts = compact(used)
        moved = permute_pool(pool, order, counts)
        held = jnp.arange(size)[None, None, :] < counts[:, None, None]
        index = jnp.broadcast_to(jnp.minimum(order, size - 1)[:, None], kept.paths.shape)
        new_slot = jnp.cumsum(used, axis=1) - 1
        kept = kept._replace(
            paths=jnp.take_along_axis(kept.paths, index, axis=2) & held,
            nodes=jnp.maximum(take(new_slot, kept.nodes), 0),
        )
        trace = state.trace
        if trace is not None:
            now = Trace(
                parents, walkers.steps, jnp.where(labelled, events, -1), log_p,
                score, status, same_as, rank,
            )  # fmt: skip
            trace = jax.tree.map(lambda a, b: a.at[:, state.decision].set(b), trace, now)
        return _State(
            decision=state.decision + 1,
            decisions=state.decisions + busy,
            pool=moved,
            policy_cache=permute(walked.cache, order),
            reward_cache=None if reward is None else permute(reward_cache, order),
            beams=kept,
            costs=costs,
            flags=walked.flags,
            trace=trace,
        )

    end = jax.lax.while_loop(searching, decide, start)
    beams = end.beams
    tokens, lengths = completions(end.pool, beams.paths, config.max_tokens)
    is_finished = beams.status == FINISHED
    best = jnp.argmax(is_finished, axis=1)
    return SearchOutput(
        tokens=tokens,
        lengths=lengths,
        log_prob=beams.log_prob,
        score=beams.score,
        status=beams.status,
        best=best,
        finished=jnp.any(is_finished, axis=1),
        decisions=end.decisions,
        costs=end.costs,
        flags=end.flags,
        trace=end.trace,
    )


def completions(pool: Pool, paths: Array, max_tokens: int) -> tuple[Array, Array]:
    """Tokens along paths, without the root.

    Args:
      pool: the pool.
      paths: bool[B, N, P].
      max_tokens: T.

    Returns:
      int32[B, N, T], -1 past the end, and lengths int32[B, N].
    """
    batch, width, size = paths.shape
    below = paths.at[:, :, 0].set(False)
    order, lengths = compact(below.reshape(batch * width, size))
    order = order[:, :max_tokens].reshape(batch, -1)
    tokens = jnp.where(order < size, take(pool.tokens, order), -1)
    tokens = tokens.reshape(batch, width, -1)
    short = max_tokens - tokens.shape[2]
    return jnp.pad(
        tokens, ((0, 0), (0, 0), (0, max(short, 0))), constant_values=-1
    ), lengths.reshape(batch, width)
