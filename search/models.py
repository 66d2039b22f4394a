"""The decoder as the search's policy and reward model: caches, lanes, markers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.model.decoder import Decoder, KeyValues, Params
from toolprm_jax.tokens.contract import Contract

from .pool import Lanes, Pool

_SMALLEST_READ = 64  # slots


class Prompts(NamedTuple):
    """Right-padded prompts."""

    tokens: Array  # int32[B, T]
    lengths: Array  # int32[B], at least 1


class ModelCache(NamedTuple):
    """Keys and values of one model: the prompt once per query, and the pool."""

    prompt: KeyValues  # [layers, B, T, K, D]
    prompt_lengths: Array  # int32[B], cached prompt tokens: all but the last
    pool: KeyValues  # [layers, B, P, K, D]


def prefill(model: Decoder, params: Params, prompts: Prompts) -> KeyValues:
    """Keys and values of prompts; one result serves any number of searches.

    Args:
      model: policy or PRM.
      params: its parameters.
      prompts: B prompts.
    """
    cache: Any = model.apply(params, prompts.tokens, method=Decoder.prefill)
    return cache


def new_cache(prompt: KeyValues, lengths: Array, pool_size: int) -> ModelCache:
    """A cache with an empty pool of `pool_size` slots; `lengths` are those of whole prompts."""
    layers, batch, _, heads, dim = prompt.keys.shape
    empty = jnp.zeros((layers, batch, pool_size, heads, dim), prompt.keys.dtype)
    return ModelCache(prompt, lengths - 1, KeyValues(empty, empty))


def permute_cache(cache: ModelCache, order: Array) -> ModelCache:
    """Moves the pool's slots `order` int32[B, P] to the front."""
    index = jnp.minimum(order, order.shape[1] - 1)[None, :, :, None, None]
    pool = KeyValues(*(jnp.take_along_axis(array, index, axis=2) for array in cache.pool))
    return cache._replace(pool=pool)


def run_lanes(
    model: Decoder, params: Params, cache: ModelCache, lanes: Lanes
) -> tuple[Array, ModelCache]:
    """Runs lanes through a model and stores their keys and values in their slots.

    Returns:
      Hidden states `[B, W, hidden_size]` and the cache.
    """
    pool_size = cache.pool.keys.shape[2]
    # Only the used front of the pool is read, in a few compiled sizes.
    sizes = [pool_size]
    while sizes[0] // 2 >= _SMALLEST_READ:
        sizes.insert(0, sizes[0] // 2)
    length = cache.prompt.keys.shape[2]
    in_prompt = jnp.arange(length)[None, None, :] < cache.prompt_lengths[:, None, None]
    positions = cache.prompt_lengths[:, None] + lanes.depths

    def read(size: int, pool: KeyValues) -> tuple[Array, KeyValues]:
        front = KeyValues(*(array[:, :, :size] for array in pool))
        result: Any = model.apply(
            params,
            lanes.tokens,
            positions,
            lanes.within,
            (cache.prompt, front),
            (in_prompt, lanes.ancestors[:, :, :size]),
            method=Decoder.extend,
        )
        return result

    which = jnp.searchsorted(jnp.asarray(sizes), lanes.used)
    hidden, own = jax.lax.switch(which, [partial(read, size) for size in sizes], cache.pool)
    rows = jnp.arange(lanes.slots.shape[0])[:, None]
    # The pool is appended to after it was read, so that XLA updates it in place.
    pool = KeyValues(
        *(
            old.at[:, rows, lanes.slots].set(new.astype(old.dtype), mode="drop")
            for old, new in zip(cache.pool, own, strict=True)
        )
    )
    return hidden, cache._replace(pool=pool)


@dataclass(frozen=True)
class DecoderPolicy:
    """A decoder that proposes tokens."""

    model: Decoder

    def expand(
        self, params: Params, cache: ModelCache, pool: Pool, lanes: Lanes
    ) -> tuple[Array, ModelCache]:
        """Next-token logits float32[B, W, V] of lanes, and the cache that now holds them."""
        del pool
        hidden, cache = run_lanes(self.model, params, cache, lanes)
        logits: Any = self.model.apply(params, hidden, method=Decoder.logits)
        return logits, cache


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

    def absorb(self, params: Params, cache: ModelCache, pool: Pool, lanes: Lanes) -> ModelCache:
        """Stores the keys and values of new tokens."""
        del pool
        return run_lanes(self.model, params, cache, lanes)[1]

    def judge(
        self, params: Params, cache: ModelCache, pool: Pool, lanes: Lanes, kinds: Array
    ) -> Array:
        """Log-probability of "+", float32[B, W], at leaves of the given kinds int32[B, W]."""
        del pool
        markers = jnp.asarray(self.marker_ids)[kinds]
        leaves = lanes._replace(tokens=markers)
        hidden, _ = run_lanes(self.model, params, cache, leaves)
        pair: Any = self.model.apply(params, hidden, self.label_ids, method=Decoder.label_logits)
        return jax.nn.log_sigmoid(pair[..., 1] - pair[..., 0])
