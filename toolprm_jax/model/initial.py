"""A start for small models trained from scratch: one induction head, in place from the first step.

Function calling with masked names is copying, and copying takes two heads in a row: one that looks
at the previous token, and one that finds the earlier token whose previous token is the present
one. Small models need millions of tokens to find the pair; here it is written into the first two
layers, for training to refine. All else keeps its random start.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .decoder import DecoderConfig, Params

_FAST = 5  # frequencies of the rotary embedding that tell neighbours apart
_STEADY_TURN = 0.02  # radians per token, at most, of the frequencies that match content
_BIAS = 8.0  # of the previous-token head
_MATCH = 2.0  # gain of the queries and keys of the matching head
_WRITE = 3.0  # gain of what the two heads write, against an embedding's 1
_READ = 0.1  # gain of the output layer on what the matching head writes


def with_induction_head(config: DecoderConfig, params: Params, key: Array) -> Params:
    """Writes a previous-token head and a matching head into fresh parameters.

    Args:
      config: with `qkv_bias`, untied embeddings, at least two layers.
      params: fresh parameters.
      key: a PRNG key, consumed.

    Raises:
      ValueError: the architecture has no room for the pair.

    Source: our choice; the mechanism is the induction head of in-context copying.
    """
    if not config.qkv_bias or config.tie_embeddings or config.num_layers < 2:
        raise ValueError("an induction head needs qkv_bias, untied embeddings and two layers")
    width, dim, half = config.hidden_size, config.head_dim, config.head_dim // 2
    turns = config.rope_theta ** (-2 * np.arange(half) / dim)
    steady = np.flatnonzero(turns <= _STEADY_TURN)
    steady = np.concatenate([steady, steady + half])
    basis = jnp.linalg.qr(jax.random.normal(key, (width, width)))[0]
    match, above, copied = np.split(
        np.asarray(basis), [len(steady), 2 * len(steady)], axis=1
    )  # what is matched, where the previous token's is written, what is copied
    copied = copied[:, :dim]

    outer = params["params"]
    attention = jax.tree.map(np.array, outer["layers"]["self_attn"])
    q, k, v, o = (attention[f"{name}_proj"] for name in "qkvo")
    # Layer 0, first head: query and key biases alone, so the score depends on the distance alone
    # and peaks at one token.
    fast = np.arange(min(_FAST, half))
    for projection in (q, k):
        projection["kernel"][0, :, :dim] = 0.0
    k["bias"][0, fast] = _BIAS
    q["bias"][0, fast] = _BIAS * np.cos(turns[fast])
    q["bias"][0, half + fast] = -_BIAS * np.sin(turns[fast])
    v["kernel"][0, :, :dim] = 0.0
    v["kernel"][0][:, steady] = match
    o["kernel"][0, :dim] = 0.0
    o["kernel"][0, steady] = _WRITE * above.T
    # Layer 1, first head: the present token against what stands above earlier ones.
    for projection, source in ((q, match), (k, above)):
        projection["kernel"][1, :, :dim] = 0.0
        projection["kernel"][1][:, steady] = _MATCH * source
    v["kernel"][1, :, :dim] = copied
    o["kernel"][1, :dim] = _WRITE * copied.T
    read = _READ * copied @ copied.T @ np.asarray(outer["embed_tokens"]["embedding"]).T
    changed = {
        **outer,
        "layers": {**outer["layers"], "self_attn": attention},
        "lm_head": {"kernel": outer["lm_head"]["kernel"] + read},
    }
    return jax.tree.map(jnp.asarray, {"params": changed})
