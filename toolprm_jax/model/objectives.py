"""Losses, step scores and metrics over token trees."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ..grammar import Kind
from ..tokens import TreeBatch
from .decoder import Decoder, Params

Sums = dict[str, Array]  # sums over a batch: add them up over batches, then divide
_CHUNK = 128  # tokens of each row whose logits exist at once


def step_logits(
    model: Decoder, params: Params, batch: TreeBatch, label_ids: tuple[int, int]
) -> Array:
    """Logit of "+" against "-" at every token; only those at markers mean anything.

    Args:
      model: the PRM.
      params: its parameters.
      batch: arrays `[B, S]`.
      label_ids: ids of "-" and "+".

    Returns:
      float32[B, S]; the probability of "+" is its sigmoid.

    Source: arXiv:2510.14703, the generative reward model; our choice: the softmax is over the two
    label tokens alone.
    """
    hidden = model.apply(params, batch.tokens, batch.positions, batch.exits)
    pair: Any = model.apply(params, hidden, label_ids, method=Decoder.label_logits)
    return pair[..., 1] - pair[..., 0]


def sibling_sums(logits_BxS: Array, batch: TreeBatch) -> Sums:
    """How far right decisions stand above the wrong ones that follow the same token.

    Every wrong marker is held against the right ones among its siblings, alike in weight.

    Args:
      logits_BxS: float32[B, S], of "+" against "-" at every token.
      batch: arrays `[B, S]`.

    Returns:
      float32 scalars, all weighted as the wrong markers that have a right sibling are:
      `sibling_loss`, -log sigmoid(right - wrong) (nats); `sibling_weight`; `sibling_hits`, the
      share of the right siblings that stand above.

    Source: our choice; choosing among siblings is what the search asks of a reward model.
    """
    marked = batch.weights > 0
    right = marked & (batch.labels == 1)
    wrong = marked & (batch.labels == 0)
    # [B, S, S], a wrong one before a right one.
    pairs = wrong[:, :, None] & right[:, None, :]
    pairs &= batch.starts[:, :, None] == batch.starts[:, None, :]
    counts = jnp.sum(pairs, axis=2)
    weights = jnp.where(counts > 0, batch.weights / jnp.maximum(counts, 1), 0.0)
    gaps = logits_BxS[:, None, :] - logits_BxS[:, :, None]

    def total(x: Array) -> Array:
        return jnp.sum(jnp.sum(jnp.where(pairs, x, 0.0), axis=2) * weights)

    return {
        "sibling_loss": total(jax.nn.softplus(-gaps)),
        "sibling_weight": jnp.sum(jnp.where(counts > 0, batch.weights, 0.0)),
        "sibling_hits": total((gaps > 0).astype(jnp.float32)),
    }


def prm_sums(
    model: Decoder,
    params: Params,
    batch: TreeBatch,
    label_ids: tuple[int, int],
    sibling_weight: float = 0.0,
) -> Sums:
    """Weighted sums of cross-entropy and hits over the labelled markers of a batch.

    Args:
      model: the PRM.
      params: its parameters.
      batch: arrays `[B, S]`.
      label_ids: ids of "-" and "+".
      sibling_weight: of `sibling_sums`' loss, which is added to `loss`; 0 is the paper's.

    Returns:
      float32 scalars: `loss` (nats), `weight`, `hits` (p >= 0.5 iff "+"), `final_hits`,
      `final_weight` over `TOTAL_FINISH` alone (the trajectory accuracy), and those of
      `sibling_sums`.
    """
    logits = step_logits(model, params, batch, label_ids)
    siblings = sibling_sums(logits, batch)
    sign = jnp.where(batch.labels == 1, 1.0, -1.0)
    hits = jnp.where((logits >= 0) == (batch.labels == 1), batch.weights, 0.0)
    final = batch.kinds == Kind.TOTAL_FINISH
    loss = jnp.sum(jax.nn.softplus(-sign * logits) * batch.weights)
    return {
        **siblings,
        "loss": loss + sibling_weight * siblings["sibling_loss"],
        "weight": jnp.sum(batch.weights),
        "hits": jnp.sum(hits),
        "final_hits": jnp.sum(jnp.where(final, hits, 0.0)),
        "final_weight": jnp.sum(jnp.where(final, batch.weights, 0.0)),
    }


def lm_sums(model: Decoder, params: Params, batch: TreeBatch) -> Sums:
    """Weighted sums of next-token cross-entropy over the edges of the trees of a batch.

    Each weighted token is predicted from its parent's hidden state, so a token with several
    children is trained on each of them. Only chunks that hold a weighted token reach the output
    layer, and their logits are computed again in the backward pass, so `[B, S, V]` never exists.

    Returns:
      float32 scalars: `loss` (nats), `weight`, `hits` (the token is the likeliest).

    Source: our choice.
    """
    hidden = jnp.asarray(model.apply(params, batch.tokens, batch.positions, batch.exits))
    # Weighted tokens first in each row, so that the chunks without any are as many as can be.
    order = jnp.argsort(batch.weights == 0, axis=1, stable=True)

    def chunked(x: Any) -> Array:
        """`[B, S, ...]` in that order, as `[chunks, B, _CHUNK, ...]`."""
        axes = (1,) * (x.ndim - 2)
        x = jnp.take_along_axis(x, order.reshape(*order.shape, *axes), axis=1)
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % _CHUNK), *((0, 0),) * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(x.shape[0], -1, _CHUNK, *x.shape[2:]), 1, 0)

    sources = jnp.take_along_axis(hidden, batch.parents[..., None], axis=1)

    @jax.checkpoint
    def sums_of(sources: Array, tokens: Array, weights: Array) -> tuple[Array, Array]:
        logits: Any = model.apply(params, sources, method=Decoder.logits)
        picked = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
        losses = jax.nn.logsumexp(logits, axis=-1) - picked
        hits = jnp.argmax(logits, axis=-1) == tokens
        return jnp.sum(losses * weights), jnp.sum(jnp.where(hits, weights, 0.0))

    zero = jnp.zeros((), jnp.float32)

    def add(total: tuple[Array, Array], chunk: tuple[Array, ...]) -> Any:
        weighted = jnp.any(chunk[2] > 0)
        loss, hits = jax.lax.cond(weighted, sums_of, lambda *_: (zero, zero), *chunk)
        return (total[0] + loss, total[1] + hits), None

    chunks = (chunked(sources), chunked(batch.tokens), chunked(batch.weights))
    (loss, hits), _ = jax.lax.scan(add, (zero, zero), chunks)
    return {"loss": loss, "weight": jnp.sum(batch.weights), "hits": hits}


def means(sums: Sums) -> dict[str, Array]:
    """Sums to weighted means: `loss`, `accuracy`, and a PRM's of trajectories and siblings."""
    out = {"loss": sums["loss"] / sums["weight"], "accuracy": sums["hits"] / sums["weight"]}
    if "final_weight" in sums:
        out["trajectory_accuracy"] = sums["final_hits"] / jnp.maximum(sums["final_weight"], 1e-9)
        weight = jnp.maximum(sums["sibling_weight"], 1e-9)
        out["sibling_accuracy"] = sums["sibling_hits"] / weight
    return out
