"""Which candidates of a decision stay: schemas rule out, equal bytes merge, the best N survive."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..grammar import Tracker
from .interfaces import Status
from .pool import take
from .walk import Walkers, first_equal


class Beams(NamedTuple):
    """Retained beams, N per query, best first."""

    nodes: Array  # int32[B, N]
    paths: Array  # bool[B, N, P]
    tracker: Tracker  # [B, N]
    log_prob: Array  # float32[B, N], under the policy
    score: Array  # float32[B, N]
    status: Array  # int32[B, N], `Status` of a beam
    copies: Array  # int32[B, N], candidates of equal bytes that were merged into it


class Selected(NamedTuple):
    """What became of the C = N + W candidates of a decision: the beams before it, the walkers."""

    beams: Beams  # the N that are kept, best first
    score: Array  # float32[B, C]
    status: Array  # int32[B, C], `Status` of a beam
    same_as: Array  # int32[B, C], the candidate of equal bytes that stands for it
    rank: Array  # int32[B, C], its beam after the decision, -1 where pruned


def rule_out(walkers: Walkers, beams: Beams, stands: Array) -> tuple[Walkers, Array, Array, Array]:
    """Kills the candidates that the schemas refuse; if they refuse all, the likeliest stays.

    Args:
      walkers: at their boundaries, with checked trackers.
      beams: finished ones are candidates too.
      stands: bool[B, W], walkers at a boundary that no schema refuses.

    Returns:
      The walkers with clean checks, `stands`, how many were killed, int32[B], and whether a refused
      one was kept, bool[B].
    """
    check = walkers.tracker.check
    if check is None:
        raise ValueError("the trackers carry no schema")
    refused = (walkers.status == Status.STOPPED) & check.invalid
    good = jnp.any(stands, axis=1) | jnp.any(beams.status == Status.FINISHED, axis=1)
    likeliest = jnp.argmax(jnp.where(refused, walkers.log_prob, -jnp.inf), axis=1)
    is_likeliest = jnp.arange(refused.shape[1])[None, :] == likeliest[:, None]
    rescued = refused & ~good[:, None] & is_likeliest
    out = refused & ~rescued
    clean = check._replace(invalid=jnp.zeros_like(check.invalid))
    walkers = walkers._replace(
        status=jnp.where(out, Status.DEAD, walkers.status),
        tracker=walkers.tracker._replace(check=clean),
    )
    return walkers, stands, jnp.sum(out, axis=1), jnp.any(rescued, axis=1)


def pooled(beams: Beams, walkers: Walkers, scores: Array, final: Array) -> Beams:
    """Beams that don't explore, and walkers, as one list of candidates [B, C]."""
    carried = jnp.where(beams.status == Status.LIVE, Status.EMPTY, beams.status)
    stopped = jnp.where(final, Status.FINISHED, Status.LIVE)
    arrived = jnp.where(walkers.status == Status.STOPPED, stopped, walkers.status)
    mine = Beams(
        walkers.nodes,
        walkers.paths,
        walkers.tracker,
        walkers.log_prob,
        scores,
        arrived,
        jnp.ones_like(arrived),
    )
    return jax.tree.map(
        lambda old, new: jnp.concatenate([old, new], axis=1), beams._replace(status=carried), mine
    )


def merge_equal(candidates: Beams, alive: Array) -> tuple[Beams, Array]:
    """Finds candidates of equal bytes; the likeliest token path stands for all, with their copies.

    Args:
      candidates: C per query.
      alive: bool[B, C], those that are compared.

    Returns:
      The candidates, and int32[B, C], the one that stands for each.
    """
    # Sorted by likelihood, the first of equal ones stands for all.
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
    copies = jnp.zeros_like(same_as).at[rows, same_as].add(candidates.copies)
    return candidates._replace(copies=copies), same_as


def select(beams: Beams, walkers: Walkers, scores: Array, final: Array) -> Selected:
    """Merges candidates of equal bytes and keeps the best N; dead ones only where none is alive.

    Args:
      beams: N beams; those that did not explore compete on.
      walkers: W walkers.
      scores: float32[B, W] of the walkers.
      final: bool[B, W], whether a walker's completion is whole.
    """
    width = beams.nodes.shape[1]
    candidates = pooled(beams, walkers, scores, final)
    alive = (candidates.status == Status.LIVE) | (candidates.status == Status.FINISHED)
    candidates, same_as = merge_equal(candidates, alive)
    index = jnp.broadcast_to(jnp.arange(alive.shape[1]), alive.shape)
    kept = alive & (same_as == index)

    # Alive, then dead, then empty; the dead by likelihood, the others by score.
    is_dead = candidates.status == Status.DEAD
    group = jnp.where(kept, 0, jnp.where(is_dead, 1, 2))
    score = jnp.where(is_dead, -jnp.inf, candidates.score)
    order = jnp.lexsort((index, -candidates.log_prob, -score, group), axis=1)[:, :width]
    chosen: Beams = jax.tree.map(lambda array: take(array, order), candidates)
    place = jnp.arange(width)[None, :]
    rescued = (take(group, order) == 1) & (place == 0)  # the first is dead: all are
    stays = (take(group, order) == 0) | rescued
    rank = (
        jnp.full_like(index, -1)
        .at[jnp.arange(alive.shape[0])[:, None], jnp.where(stays, order, index.shape[1])]
        .set(jnp.broadcast_to(place, order.shape), mode="drop")
    )
    chosen = chosen._replace(
        status=jnp.where(stays, chosen.status, Status.EMPTY),
        paths=chosen.paths & stays[..., None],
        score=jnp.where(stays, take(score, order), -jnp.inf),
    )
    return Selected(chosen, score, candidates.status, same_as, rank)
