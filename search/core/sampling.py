"""Drawing tokens: temperature and filters, independent draws, draws without replacement."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from .config import SearchConfig
from .pool import take

_ABOVE_ONE = 0x40000000  # the bits of 2.0, above those of any probability


def of_lanes(config: SearchConfig, queries: Array) -> SearchConfig:
    """The configuration with the temperature and top_p of each lane's query, [..., 1].

    Args:
      config: where they are of all queries they stay what they are, float32[].
      queries: int32[...], of each lane.
    """

    def of(value: Array | float) -> Array:
        value = jnp.asarray(value)
        return value[queries][..., None] if value.ndim else value

    return replace(config, temperature=of(config.temperature), top_p=of(config.top_p))


def tempered(
    logits: Array, temperature: Array | float, top_k: int = 0, top_p: Array | float = 1.0
) -> Array:
    """Logits of the distribution that is drawn from.

    Args:
      logits: float32[..., V]; -inf where a token is not allowed.
      temperature: float32[] or [..., 1]; 0 leaves only the likeliest token.
      top_k: leaves the k likeliest tokens and those as likely as the k-th; 0 for all; static.
      top_p: likewise; then leaves the likeliest tokens that together have at least this share of
        what top_k left, and those as likely as the last of them; 1 for all.

    Returns:
      float32[..., V], -inf where a token is not drawn.
    """
    likeliest = jnp.argmax(logits, axis=-1, keepdims=True)
    ids = jnp.arange(logits.shape[-1]).reshape((1,) * (logits.ndim - 1) + (-1,))
    greedy = jnp.where(ids == likeliest, 0.0, -jnp.inf)
    warm = logits / jnp.where(temperature > 0.0, temperature, 1.0)
    if top_k:
        probs = jax.nn.softmax(warm, axis=-1)
        least = _threshold(probs, jnp.ones_like(probs), jnp.float32(top_k))
        warm = jnp.where(probs >= least, warm, -jnp.inf)

    def nucleus(warm: Array) -> Array:
        probs = jax.nn.softmax(warm, axis=-1)
        share = top_p * jnp.sum(probs, axis=-1, keepdims=True)
        left = jnp.where(probs >= _threshold(probs, probs, share), warm, -jnp.inf)
        return jnp.where(top_p < 1.0, left, warm)

    warm = jax.lax.cond(jnp.any(jnp.asarray(top_p) < 1.0), nucleus, lambda warm: warm, warm)
    return jnp.where(temperature > 0.0, warm, greedy)


def _threshold(probs: Array, weights: Array, goal: Array) -> Array:
    """The largest t at which the weights of all `probs >= t` sum to the goal, [..., 1]; 0 if none.

    Bisection over the bits of the float: exact, and far cheaper than sorting a vocabulary.
    """
    bits = jax.lax.bitcast_convert_type(probs, jnp.int32)

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        total = jnp.sum(jnp.where(bits >= middle, weights, 0.0), axis=-1, keepdims=True)
        reached = total >= goal
        return jnp.where(reached, middle, low), jnp.where(reached, high, middle)

    low = jnp.zeros((*probs.shape[:-1], 1), jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, halve, (low, low + _ABOVE_ONE))
    return jax.lax.bitcast_convert_type(low, jnp.float32)


def sample_token(logits: Array, uniform: Array, lanes: Array) -> Array:
    """Samples one token per walker from its lane's distribution, by inverting the CDF.

    One uniform number per walker, and two levels (blocks, then tokens of a block), so that no
    `[walkers, V]` array exists and float32 sums stay exact enough at any V.

    Args:
      logits: float32[B, W, V] from `tempered`.
      uniform: float32[B, M] in [0, 1).
      lanes: int32[B, M], the lane of each walker.

    Returns:
      int32[B, M].
    """
    batch, width, vocab = logits.shape
    probs = jax.nn.softmax(logits, axis=-1)
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


class Ranks(NamedTuple):
    """What orders partial sequences that are drawn without replacement."""

    log_prob: Array  # float32[B, W], of this decision's tokens, tempered
    key: Array  # float32[B, W], `log_prob` plus Gumbel noise; without noise `log_prob` itself


class Children(NamedTuple):
    """The K best continuations of every walker by one token."""

    tokens: Array  # int32[B, W, K]
    log_probs: Array  # float32[B, W, K], of the token under the policy, untempered
    ranks: Ranks  # [B, W, K]; a key of -inf where there is no such token


def best_children(
    logits: Array, drawn: Array, ranks: Ranks, noise: Array | None, count: int
) -> Children:
    """The continuations that rank best among all.

    Args:
      logits: float32[B, W, V] under the policy.
      drawn: float32[B, W, V] from `tempered`.
      ranks: of the W partial sequences.
      noise: float32[B, W, V], standard Gumbel; None ranks by likelihood.
      count: K.

    Source: arXiv:1903.06059, Gumbel top-k over sequences: the children's keys are Gumbels given
    that the largest of them is their parent's key.
    """
    log_prob = ranks.log_prob[..., None] + jax.nn.log_softmax(drawn, axis=-1)
    key = log_prob
    if noise is not None:
        free = log_prob + noise
        top = jnp.max(free, axis=-1, keepdims=True)
        parent = ranks.key[..., None]
        # key = -log(exp(-parent) - exp(-top) + exp(-free)), without overflow.
        gap = jnp.where(jnp.isfinite(free), free - top, -jnp.inf)
        shift = parent - free + jnp.log1p(-jnp.exp(gap))
        key = parent - jnp.maximum(shift, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(shift)))
        # At the largest child the shift is -inf: it gets its parent's key.
        key = jnp.where(jnp.isfinite(free), key, -jnp.inf)
    keys, tokens = jax.lax.top_k(key, count)
    chances = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), tokens, axis=-1)
    mine = jnp.take_along_axis(log_prob, tokens, axis=-1)
    return Children(tokens.astype(jnp.int32), chances, Ranks(mine, keys))


def place_in_family(families: Array) -> Array:
    """How many walkers of its family stand before each, int32[B, W]."""
    same = families[:, :, None] == families[:, None, :]
    return jnp.sum(jnp.tril(same, k=-1), axis=2)


def survivors(
    families: Array, ended: Array, last: Array, active: Array, ranks: Ranks, children: Children
) -> tuple[Array, Array]:
    """Of every family the best of its ended sequences and its children, as many as it has walkers.

    Args:
      families: int32[B, W], which walkers compete with each other: those from one beam.
      ended: bool[B, W], sequences that keep what they are.
      last: bool[B, W], ended ones that rank behind all others.
      active: bool[B, W], walkers whose children compete.
      ranks: of the walkers.
      children: of the active walkers.

    Returns:
      int32[B, W], for each walker an index into the W walkers followed by the W * K children, and
      bool[B, W], whether there is one.
    """
    batch, _, count = children.tokens.shape
    own = jnp.where(ended, jnp.where(last, 1, 0), 2)
    alive = active[..., None] & (children.ranks.key > -jnp.inf)
    group = jnp.concatenate([own, jnp.where(alive, 0, 2).reshape(batch, -1)], axis=1)
    key = jnp.concatenate([ranks.key, children.ranks.key.reshape(batch, -1)], axis=1)
    family = jnp.concatenate([families, jnp.repeat(families, count, axis=1)], axis=1)
    order = jnp.lexsort((-key, group, family), axis=1)
    # A family of n walkers has n * (1 + K) entries, next to each other.
    before = jnp.sum(families[:, None, :] < families[:, :, None], axis=2)
    chosen = take(order, before * (1 + count) + place_in_family(families))
    return chosen, take(group, chosen) < 2
