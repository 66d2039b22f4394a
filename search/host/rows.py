"""The engine's rows on the device, and the programs that run over them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.records import Record

from ..core import (
    SearchConfig,
    SearchOutput,
    Setup,
    State,
    Trace,
    advance,
    begin,
    choose,
    finish,
    release,
    restart,
    searching,
)
from ..decoder import MEMORY, Models, Packed, empty_cache, join_cache
from ..grammar import Rules, StrictSize, make_strict
from .packing import Intake, merged, pack


class Own(NamedTuple):
    """What queries have of their own among the leaves of the configuration; of one, numbers."""

    temperature: Any  # float32[B]
    top_p: Any  # float32[B]
    answers: Any  # int32[B]
    token_limit: Any  # int32[B]
    step_limit: Any  # int32[B]
    candidates: Any  # int32[B]
    whole: Any  # bool[B]
    judged: Any  # bool[B]


NO_OWN = Own(1.0, 1.0, 1, 1, 1, 1, False, False)  # of a row without a query


class Held(NamedTuple):
    """What lives on the device, B rows."""

    state: State
    keys: Array  # key[B]
    rules: Rules | None
    own: Own


class Joining(NamedTuple):
    """Queries that join, as the device takes them."""

    packed: Packed
    rows: Array  # int32[B], the row of each, those that there are first
    count: Array  # int32[]
    fresh: Array  # bool[B], rows that get a new query
    roots: Array  # int32[B], last tokens of prompts
    keys: Array  # the others as in `Held`
    rules: Rules | None
    own: Own


def _setup(models: Models, rules: Rules | None, caches: tuple[Any, Any] = (None, None)) -> Setup:
    parts = (models.policy, models.prm, MEMORY, models.grammar, models.params)
    return Setup(*parts, caches, rules)


def _with(config: SearchConfig, own: Own) -> SearchConfig:
    return replace(config, **own._asdict())


@partial(jax.jit, donate_argnames="held")
def join(models: Models, held: Held, new: Joining, config: SearchConfig) -> Held:
    """Prompts into caches, and their queries into the search."""
    state, params = held.state, models.params
    keys, rules, own = choose(new.fresh, (new.keys, new.rules, new.own), held[1:])
    into = (new.packed, new.rows, new.count)
    cache = join_cache(models.policy.model, params[0], state.walk.cache, *into)
    reward = state.reward_cache
    if models.prm is not None:
        reward = join_cache(models.prm.model, params[1], reward, *into)
    state = state._replace(walk=state.walk._replace(cache=cache), reward_cache=reward)
    config = _with(config, own)
    state = restart(_setup(models, rules), state, new.fresh, new.roots, config)
    return Held(state, keys, rules, own)


@partial(jax.jit, donate_argnames="held")
def go_on(models: Models, held: Held, rounds: Array, config: SearchConfig) -> tuple[Held, Array]:
    """Goes on; and which queries are still being searched for, bool[B]."""
    config = _with(config, held.own)
    state = advance(_setup(models, held.rules), held.keys, config, held.state, rounds)
    return held._replace(state=state), searching(state, config, models.prm is not None)


@partial(jax.jit, donate_argnames="held")
def give_up(models: Models, held: Held, rows: Array, config: SearchConfig) -> Held:
    """Ends the searches of rows bool[B]."""
    setup = _setup(models, held.rules)
    config = _with(config, held.own)  # whether any goes on depends on it
    return held._replace(state=release(setup, held.state, rows, config))


@jax.jit
def outcome(models: Models, held: Held, config: SearchConfig) -> SearchOutput:
    """What has been found so far, of every row; without its trace, see `trace_of`."""
    state = held.state._replace(trace=None)
    return finish(state, _with(config, held.own), models.prm is not None)


@jax.jit
def trace_of(held: Held, row: Array) -> Trace | None:
    """The trace of a row int32[], without a leading axis."""
    return jax.tree.map(lambda leaf: leaf[row], held.state.trace)


# Whose query is in a row that has none.
NOBODY = Record("", ({"role": "user", "content": ""},), (), None)


def nobodys_rules(config: SearchConfig, size: StrictSize, rows: int) -> Rules | None:
    """The tools of rows without queries; None where decoding is not strict about schemas."""
    if config.schema != "strict":
        return None
    one = make_strict([NOBODY], size)
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, rows, axis=0), one)


def _nobodys_own(rows: int) -> Own:
    return jax.tree.map(lambda leaf: jnp.full(rows, leaf), NO_OWN)


def nobody_joins(rules: Rules | None, rows: int, longest: int, tokens: int) -> Joining:
    """What takes nobody into rows; its shapes are those of any other.

    Args:
      rules: from `nobodys_rules`.
      rows: B.
      longest: T, tokens of a prompt at most.
      tokens: of the packed row, of `Prefixes.sizes`.
    """
    packed = pack(Intake(merged([]), tokens, 0), rows, longest)
    none = jnp.zeros(rows, jnp.int32)
    keys = jax.random.split(jax.random.key(0), rows)
    return Joining(packed, none, jnp.int32(0), none > 0, none, keys, rules, _nobodys_own(rows))


@jax.jit
def empty_rows(models: Models, config: SearchConfig, rules: Rules | None, like: Array) -> Held:
    """Rows without queries; `like` is int32[B, T]."""
    batch, longest = like.shape
    caches = [
        one and empty_cache(one.model, batch, longest, config.pool_size)
        for one in (models.policy, models.prm)
    ]
    setup = _setup(models, rules, (caches[0], caches[1]))
    state = begin(setup, like[:, 0], config)
    state = release(setup, state, jnp.ones(batch, bool), config)
    keys = jax.random.split(jax.random.key(0), batch)
    return Held(state, keys, rules, _nobodys_own(batch))
