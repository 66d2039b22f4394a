"""A search that queries join and leave: its loop in pieces."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array

from .beam import State, begin, decide, searching, still_going
from .config import SearchConfig
from .interfaces import Setup, Status
from .pool import choose


def advance(
    setup: Setup, keys: Array, config: SearchConfig, state: State, rounds: Array | int
) -> State:
    """Goes on with a search until one of its queries is done, or for so many rounds.

    Args:
      setup: as for `beam_search`; its caches are not read, for the state holds them.
      keys: key[B], of each query.
      config: how to search.
      state: from `begin`, `restart` or this.
      rounds: int32[], of decisions; at most.
    """
    guided = setup.reward is not None

    def count(state: State) -> Array:
        return jnp.sum(searching(state, config, guided))

    def goes_on(carry: tuple[State, Array]) -> Array:
        state, left = carry
        return (state.going > 0) & (left > 0) & (count(state) >= started)

    def step(carry: tuple[State, Array]) -> tuple[State, Array]:
        return decide(setup, keys, config, carry[0]), carry[1] - 1

    started = count(state)
    return jax.lax.while_loop(goes_on, step, (state, jnp.int32(rounds)))[0]


def restart(setup: Setup, state: State, rows: Array, roots: Array, config: SearchConfig) -> State:
    """A search in which some queries are replaced by new ones; the caches are left as they are.

    Args:
      setup: with the schemas of the queries as they are from now on.
      state: of B queries.
      rows: bool[B], which are replaced.
      roots: int32[B], the last token of each new prompt.
      config: how to search.
    """

    def bare(state: State) -> State:
        walk = state.walk._replace(cache=None)
        return state._replace(walk=walk, reward_cache=None, going=rows)

    fresh = begin(replace(setup, caches=(None, None)), roots, config)
    mixed: State = choose(rows, bare(fresh), bare(state))
    walk = mixed.walk._replace(cache=state.walk.cache)
    mixed = mixed._replace(walk=walk, reward_cache=state.reward_cache)
    return mixed._replace(going=still_going(mixed, config, setup.reward is not None))


def release(setup: Setup, state: State, rows: Array, config: SearchConfig) -> State:
    """A search in which some queries are given up: they are done, with nothing found.

    Args:
      setup: of the search.
      state: of B queries.
      rows: bool[B], which.
      config: how to search.
    """
    walkers, beams = state.walk.walkers, state.beams
    idle = jnp.where(rows[:, None], Status.IDLE, walkers.status)
    empty = jnp.where(rows[:, None], Status.EMPTY, beams.status)
    walk = state.walk._replace(walkers=walkers._replace(status=idle))
    state = state._replace(walk=walk, beams=beams._replace(status=empty))
    return state._replace(going=still_going(state, config, setup.reward is not None))
