"""Losses, step scores and metrics over token trees."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ..annotation.grammar import Kind
from ..tokens.tree import TreeBatch
from .decoder import Decoder, Params

Sums = dict[str, Array]  # sums over a batch: add them up over batches, then divide


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


def prm_sums(model: Decoder, params: Params, batch: TreeBatch, label_ids: tuple[int, int]) -> Sums:
    """Weighted sums of cross-entropy and hits over the labelled markers of a batch.

    Returns:
      float32 scalars: `loss` (nats), `weight`, `hits` (p >= 0.5 iff "+"), and `final_hits`,
      `final_weight` over `TOTAL_FINISH` alone (the trajectory accuracy).
    """
    logits = step_logits(model, params, batch, label_ids)
    sign = jnp.where(batch.labels == 1, 1.0, -1.0)
    hits = jnp.where((logits >= 0) == (batch.labels == 1), batch.weights, 0.0)
    final = batch.kinds == Kind.TOTAL_FINISH
    return {
        "loss": jnp.sum(jax.nn.softplus(-sign * logits) * batch.weights),
        "weight": jnp.sum(batch.weights),
        "hits": jnp.sum(hits),
        "final_hits": jnp.sum(jnp.where(final, hits, 0.0)),
        "final_weight": jnp.sum(jnp.where(final, batch.weights, 0.0)),
    }


def lm_sums(model: Decoder, params: Params, batch: TreeBatch) -> Sums:
    """Weighted sums of next-token cross-entropy over the edges of the trees of a batch.

    Each weighted token is predicted from its parent's hidden state, so a token with several
    children is trained on each of them.

    Returns:
      float32 scalars: `loss` (nats), `weight`, `hits` (the token is the likeliest).
    """
    hidden = model.apply(params, batch.tokens, batch.positions, batch.exits)
    sources = jnp.take_along_axis(jnp.asarray(hidden), batch.parents[..., None], axis=1)
    logits: Any = model.apply(params, sources, method=Decoder.logits)
    log_probs = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(log_probs, batch.tokens[..., None], axis=-1)[..., 0]
    hits = jnp.argmax(logits, axis=-1) == batch.tokens
    return {
        "loss": -jnp.sum(picked * batch.weights),
        "weight": jnp.sum(batch.weights),
        "hits": jnp.sum(jnp.where(hits, batch.weights, 0.0)),
    }


def means(sums: Sums) -> dict[str, Array]:
    """Sums to weighted means: `loss`, `accuracy` and, for a PRM, `trajectory_accuracy`."""
    out = {"loss": sums["loss"] / sums["weight"], "accuracy": sums["hits"] / sums["weight"]}
    if "final_weight" in sums:
        out["trajectory_accuracy"] = sums["final_hits"] / jnp.maximum(sums["final_weight"], 1e-9)
    return out
