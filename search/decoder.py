"""The decoder as the search's policy and reward model: caches, lanes, markers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.model import Decoder, KeyValues, Params, tree_visibility
from toolprm_jax.tokens import Contract

from .core import Lanes, Memory, buckets, smallest
from .grammar import Grammar

_BLOCK = 64  # slots that a prune moves at once, and the fewest that are read


class Prompts(NamedTuple):
    """Right-padded prompts."""

    tokens: Array  # int32[B, T]
    lengths: Array  # int32[B], at least 1


class ModelCache(NamedTuple):
    """Keys and values of one model: the prompt once per query, and the pool."""

    prompt: KeyValues  # [layers, B, K, T, D]
    prompt_lengths: Array  # int32[B], cached prompt tokens: all but the last
    pool: KeyValues  # [layers, B, K, P, D], P rounded up to whole blocks


def prefill(model: Decoder, params: Params, prompts: Prompts) -> KeyValues:
    """Keys and values of prompts; one result serves any number of searches.

    Args:
      model: policy or PRM.
      params: its parameters.
      prompts: B prompts.
    """
    # What stands in the padding is seen by nothing before it.
    length = prompts.tokens.shape[1]
    positions = jnp.broadcast_to(jnp.arange(length), prompts.tokens.shape)
    exits = jnp.full_like(prompts.tokens, length)
    cache: Any = model.apply(params, prompts.tokens, positions, exits, method=Decoder.prefill)
    return cache


def new_cache(prompt: KeyValues, lengths: Array, pool_size: int) -> ModelCache:
    """A cache with an empty pool of `pool_size` slots; `lengths` are those of whole prompts."""
    layers, batch, heads, _, dim = prompt.keys.shape
    slots = -(-pool_size // _BLOCK) * _BLOCK
    empty = jnp.zeros((layers, batch, heads, slots, dim), prompt.keys.dtype)
    return ModelCache(prompt, lengths - 1, KeyValues(empty, empty))


class Packed(NamedTuple):
    """Prompts as token trees in one row: what several begin with stands there once."""

    tokens: Array  # int32[S], in depth-first order
    positions: Array  # int32[S]
    exits: Array  # int32[S], the index just past each token's subtree
    places: Array  # int32[n, T], where each prompt's tokens stand; any place past its end
    lengths: Array  # int32[n]
    source: Array  # int32[], a row of the cache
    known: Array  # int32[], first tokens of every prompt that stand there and not here


def empty_cache(model: Decoder, batch: int, prompt_size: int, pool_size: int) -> ModelCache:
    """A cache of prompts that are yet to come.

    Args:
      model: whose.
      batch: B.
      prompt_size: T, tokens of a prompt at most.
      pool_size: as for `new_cache`.
    """
    c = model.config
    empty = jnp.zeros((c.num_layers, batch, c.num_kv_heads, prompt_size, c.head_dim), c.dtype)
    return new_cache(KeyValues(empty, empty), jnp.ones(batch, jnp.int32), pool_size)


def join_cache(
    model: Decoder, params: Params, cache: ModelCache, packed: Packed, rows: Array, count: Array
) -> ModelCache:
    """A cache with new prompts in some of its rows, in place; their pools are as they were.

    Args:
      model: policy or PRM.
      params: its parameters.
      cache: of B queries.
      packed: the prompts, at most B.
      rows: int32[n], the row that each prompt gets.
      count: int32[], how many of the n there are.
    """
    row = (packed.tokens[None], packed.positions[None])
    is_known = jnp.arange(cache.prompt.keys.shape[3]) < packed.known

    def alone() -> KeyValues:
        new: Any = model.apply(params, *row, packed.exits[None], method=Decoder.prefill)
        return new

    def below() -> KeyValues:
        masks = (is_known[None, None],)
        sees = tree_visibility(packed.exits[None])
        above = ((cache.prompt,), masks, packed.source[None])
        result: Any = model.apply(params, *row, sees, *above, method=Decoder.extend)
        return result[1]

    found = jax.lax.cond(packed.known > 0, below, alone)

    def put(number: Array, prompt: KeyValues) -> KeyValues:
        def one(array: Array, new: Array) -> Array:
            mine = jnp.take(new, packed.places[number], axis=3)
            # Where this overwrites the source, it does so with the same first tokens.
            known = jax.lax.dynamic_slice_in_dim(array, packed.source, 1, axis=1)
            mine = jnp.where(is_known[:, None], known, mine)
            return jax.lax.dynamic_update_slice_in_dim(array, mine, rows[number], axis=1)

        return KeyValues(*(one(*pair) for pair in zip(prompt, found, strict=True)))

    prompt = jax.lax.fori_loop(0, count, put, cache.prompt)
    known = jnp.arange(rows.shape[0]) < count
    places = jnp.where(known, rows, cache.prompt_lengths.shape[0])
    lengths = cache.prompt_lengths.at[places].set(packed.lengths - 1, mode="drop")
    return cache._replace(prompt=prompt, prompt_lengths=lengths)


def permute_cache(cache: ModelCache, order: Array) -> ModelCache:
    """Moves the pool's slots `order` to the front, in place, and only those blocks that move.

    Args:
      cache: its pool's slots are a model's keys and values.
      order: int32[B, P], rising, then P; from `compact`.
    """
    size = order.shape[1]
    here = jnp.arange(size)[None, :]
    moves = (order < size) & (order != here)
    first = jnp.min(jnp.where(moves, here, size)) // _BLOCK
    end = -(-jnp.max(jnp.where(moves, here + 1, 0)) // _BLOCK)
    padded = jnp.pad(order, ((0, 0), (0, -size % _BLOCK)), constant_values=size)

    def move(block: Array, pool: KeyValues) -> KeyValues:
        # No slot moves back, so a block reads nothing that those before it have overwritten.
        start = block * _BLOCK
        index = jax.lax.dynamic_slice_in_dim(padded, start, _BLOCK, axis=1)
        index = jnp.minimum(index, size - 1)[None, :, None, :, None]
        return KeyValues(
            *(
                jax.lax.dynamic_update_slice_in_dim(
                    array, jnp.take_along_axis(array, index, axis=3), start, axis=3
                )
                for array in pool
            )
        )

    return cache._replace(pool=jax.lax.fori_loop(first, end, move, cache.pool))


def store_lanes(cache: ModelCache, queries: Array, slots: Array, own: KeyValues) -> ModelCache:
    """Puts keys and values `[R, W, layers, K, D]` of int32[R] queries into their int32[R, W] slots.

    Slot P is never read.
    """
    pool = KeyValues(
        *(
            old.at[:, queries[:, None], :, slots].set(new, mode="drop")
            for old, new in zip(cache.pool, own, strict=True)
        )
    )
    return cache._replace(pool=pool)


MEMORY = Memory(store_lanes, permute_cache)


def run_lanes(
    model: Decoder, params: Params, cache: ModelCache, lanes: Lanes
) -> tuple[Array, KeyValues]:
    """Runs lanes through a model below the prompt and the pool.

    Returns:
      Hidden states `[R, W, hidden_size]`, and keys and values `[R, W, layers, K, D]` that
      `store_lanes` takes.
    """
    # Only the used front of the pool is read, in a few compiled sizes.
    sizes = buckets(lanes.ancestors.shape[2], _BLOCK)
    length = cache.prompt.keys.shape[3]
    cached = cache.prompt_lengths[lanes.queries]
    in_prompt = jnp.arange(length)[None, None, :] < cached[:, None, None]
    positions = cached[:, None] + lanes.depths

    def read(size: int, pool: KeyValues) -> tuple[Array, KeyValues]:
        result: Any = model.apply(
            params,
            lanes.tokens,
            positions,
            lanes.within,
            (cache.prompt, pool),
            (in_prompt, lanes.ancestors[:, :, :size]),
            lanes.queries,
            method=Decoder.extend,
        )
        return result

    branches = [partial(read, size) for size in sizes]
    hidden, own = jax.lax.switch(smallest(sizes, lanes.used), branches, cache.pool)
    return hidden, KeyValues(*(array.transpose(1, 3, 0, 2, 4) for array in own))


@dataclass(frozen=True)
class DecoderPolicy:
    """A decoder that proposes tokens."""

    model: Decoder

    def expand(self, params: Params, cache: ModelCache, lanes: Lanes) -> tuple[Array, KeyValues]:
        """Next-token logits float32[R, W, V] of lanes, and their keys and values."""
        hidden, own = run_lanes(self.model, params, cache, lanes)
        logits: Any = self.model.apply(params, hidden, method=Decoder.logits)
        return logits, own


@dataclass(frozen=True)
class DecoderReward:
    """A decoder that answers "+" or "-" after a marker.

    `marker_ids` are in the order of the decision kinds, `label_ids` those of "-" and "+".
    """

    model: Decoder
    marker_ids: tuple[int, ...]
    label_ids: tuple[int, int]

    @classmethod
    def of(cls, model: Decoder, contract: Contract) -> DecoderReward:
        """The reward model with the ids of its contract."""
        return cls(model, contract.marker_ids, contract.label_ids)

    def judge(
        self, params: Params, cache: ModelCache, lanes: Lanes, kinds: Array
    ) -> tuple[Array, KeyValues]:
        """Reads tokens and answers markers, in one pass.

        Args:
          params: of the model.
          cache: what it has seen.
          lanes: tokens, and markers as leaves below tokens.
          kinds: int32[R, W], of a marker; -1 where the lane is a token.

        Returns:
          Log-probability of "+" at the markers, float32[R, W], and all keys and values.
        """
        markers = jnp.asarray(self.marker_ids)[jnp.maximum(kinds, 0)]
        lanes = lanes._replace(tokens=jnp.where(kinds < 0, lanes.tokens, markers))
        hidden, own = run_lanes(self.model, params, cache, lanes)
        pair: Any = self.model.apply(params, hidden, self.label_ids, method=Decoder.label_logits)
        return jax.nn.log_sigmoid(pair[..., 1] - pair[..., 0]), own


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "grammar"],
    meta_fields=["policy", "prm"],
)
@dataclass(frozen=True)
class Models:
    """Policy and reward model as a jitted search takes them: a pytree of arrays.

    Attributes:
      policy: proposes tokens; static.
      prm: scores decisions, or None to rank by likelihood; static.
      params: of both; new ones do not compile again.
      grammar: from `make_grammar`.
    """

    policy: DecoderPolicy
    prm: DecoderReward | None
    params: tuple[Params, Params]
    grammar: Grammar
