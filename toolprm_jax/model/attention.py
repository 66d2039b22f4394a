"""Attention over token trees and over cached keys and values, as plain XLA."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array


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


def attend(q_BxSxHxD: Array, blocks: Sequence[tuple[Array, Array, Array]]) -> Array:
    """Grouped-query attention with one softmax over several blocks of keys.

    Blocks are scored apart and only their scores are joined, so a cache is never copied.

    Args:
      q_BxSxHxD: queries `[B, S, H, D]`.
      blocks: `(keys [B, T, K, D], values [B, T, K, D], mask bool[B, S or 1, T])` each; H is a
        multiple of K. Every query must see at least one key.

    Returns:
      `[B, S, H, D]` in the dtype of the queries; the softmax is taken in float32.
    """
    batch, length, heads, dim = q_BxSxHxD.shape
    kv_heads = blocks[0][0].shape[2]
    q = q_BxSxHxD.reshape(batch, length, kv_heads, heads // kv_heads, dim) * dim**-0.5
    scores = [
        jnp.where(
            mask[:, None, None],
            jnp.einsum("bskgd,btkd->bkgst", q, keys).astype(jnp.float32),
            jnp.finfo(jnp.float32).min,
        )
        for keys, _, mask in blocks
    ]
    probs = jax.nn.softmax(jnp.concatenate(scores, axis=-1), axis=-1).astype(q.dtype)
    out = jnp.zeros_like(q)
    start = 0
    for _, values, _ in blocks:
        stop = start + values.shape[1]
        out += jnp.einsum("bkgst,btkd->bskgd", probs[..., start:stop], values)
        start = stop
    return out.reshape(batch, length, heads, dim)
