"""Attention over token trees and over cached keys and values, as plain XLA."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

_MASKED = -1e30  # added to the score of a key that is not seen; finite, so a row never yields NaN


def tree_visibility(exits_BxS: Array) -> Array:
    """Which tokens of a row each token sees: its ancestors and itself.

    Args:
      exits_BxS: int32[B, S], the index just past each token's subtree, tokens in depth-first order.

    Returns:
      bool[B, S, S], `[b, i, j]` true iff token i sees token j.

    Source: our choice; equals causal attention on each root-to-leaf path.
    """
    index = jnp.arange(exits_BxS.shape[-1])
    return (index[None, None, :] <= index[None, :, None]) & (
        index[None, :, None] < exits_BxS[:, None, :]
    )


def _product(equation: str, queries: Array, block: Array) -> Array:
    """Batched products in float32 of `[B, K, s, n]` with `[B, K, ...]`, or with one for all B."""
    if block.ndim == queries.ndim:
        return jnp.einsum(equation, queries, block, preferred_element_type=jnp.float32)
    batch, heads, length, _ = queries.shape
    folded = queries.transpose(1, 0, 2, 3).reshape(heads, batch * length, -1)
    out = jnp.einsum(equation, folded, block, preferred_element_type=jnp.float32)
    return out.reshape(heads, batch, length, -1).transpose(1, 0, 2, 3)


def attend(q_BxSxHxD: Array, blocks: Sequence[tuple[Array, Array, Array]]) -> Array:
    """Grouped-query attention with one softmax over several blocks of keys.

    Blocks are scored apart and only their scores are joined, and heads come before tokens as
    batched products want them, so a cache is neither copied nor transposed.

    Args:
      q_BxSxHxD: queries `[B, S, H, D]`.
      blocks: `(keys [B, K, T, D], values [B, K, T, D], mask bool[B, S or 1, T])` each, or without
        B where all rows have the same keys; H is a multiple of K. Every query must see one key.

    Returns:
      `[B, S, H, D]` in the dtype of the queries; the softmax is taken in float32.
    """
    batch, length, heads, dim = q_BxSxHxD.shape
    kv_heads = blocks[0][0].shape[-3]
    groups = heads // kv_heads
    q = (q_BxSxHxD * dim**-0.5).reshape(batch, length, kv_heads, groups, dim)
    # [B, K, G * S, D]: one plain batched product per block, which CPUs too do well.
    q = q.transpose(0, 2, 3, 1, 4).reshape(batch, kv_heads, groups * length, dim)
    scores = []
    for keys, _, mask in blocks:
        # Scores are never rounded to the queries' dtype.
        s = _product("...sd,...td->...st", q, keys)
        bias = jnp.where(mask, 0.0, _MASKED)[:, None, None]
        scores.append(s.reshape(batch, kv_heads, groups, length, -1) + bias)
    highest = jnp.max(jnp.stack([jnp.max(s, axis=-1, keepdims=True) for s in scores]), axis=0)
    out = jnp.zeros((batch, kv_heads, groups * length, dim), jnp.float32)
    total = jnp.zeros_like(highest)
    for s, (_, values, _) in zip(scores, blocks, strict=True):
        weights = jnp.exp(s - jax.lax.stop_gradient(highest))
        total += jnp.sum(weights, axis=-1, keepdims=True)
        weights = weights.reshape(batch, kv_heads, groups * length, -1).astype(values.dtype)
        out += _product("...st,...td->...sd", weights, values)
    out = out.reshape(batch, kv_heads, groups, length, dim) / total
    out = out.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, dim)
    return out.astype(q_BxSxHxD.dtype)
