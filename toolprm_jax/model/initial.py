"""A start for small models trained from scratch: heads that copy, and that choose what to copy.

Function calling with masked names is copying (a name, a value) and choosing what to copy (the tool
whose description shares words with the query, the value beside the words that describe it). Both
take several attention heads in a row, which small models need many millions of tokens to find.
Here rough versions are written into four layers, for training to refine; all else keeps a random
start, with its outputs damped so that it does not drown them:

  head   layer 0           layer 1                   layer 2                     layer 3
  copy   previous token    same token's successor
  tool                     start of the last name    its tool, from like words   tools of the query
  value                    start of the last         its parameter, from like    tokens of the same
                           parameter                 words just before           parameter
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .decoder import DecoderConfig, Params, init_params

_FAST = 5  # frequencies of the rotary embedding that tell neighbours apart
_MEDIUM = (3, 4, 5)  # that fall off over a line
_SLOW = (4, 5)  # that fall off over a query
_STEADY_TURN = 0.02  # radians per token, at most, of the frequencies that match content
_TOOL_WIDTH, _PARAMETER_WIDTH = 14, 12  # dimensions that stand for a tool's or parameter's name
_DAMP = 0.3  # of the random outputs
_READ = 0.1  # gain of the output layer on what is copied


class _Heads:
    """Writes heads, one per key-value group, into copies of the attention parameters."""

    def __init__(self, config: DecoderConfig, attention: Params) -> None:
        self.attention = jax.tree.map(np.array, attention)
        self._dim = config.head_dim
        self._group = config.num_heads // config.num_kv_heads
        half = self._dim // 2
        self.turns = config.rope_theta ** (-2 * np.arange(half) / self._dim)
        steady = np.flatnonzero(self.turns <= _STEADY_TURN)
        self.steady = np.concatenate([steady, steady + half])

    def part(self, layer: int, group: int, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Views of a head's kernel (`o`: `[dim, width]`, else `[width, dim]`) and its bias."""
        start = group * self._dim * (self._group if name in "qo" else 1)
        projection = self.attention[f"{name}_proj"]
        own = slice(start, start + self._dim)
        if name == "o":
            return projection["kernel"][layer, own], None
        return projection["kernel"][layer, :, own], projection["bias"][layer, own]

    def clear(self, layer: int, group: int) -> None:
        """Zeroes a head."""
        for name in "qkvo":
            kernel, bias = self.part(layer, group, name)
            kernel[...] = 0.0
            if bias is not None:
                bias[...] = 0.0

    def move(
        self, layer: int, group: int, source: np.ndarray, target: np.ndarray, gain: float
    ) -> None:
        """What a head reads, and where it writes it: `[width, n]` each."""
        self.part(layer, group, "v")[0][:, : source.shape[1]] = source
        self.part(layer, group, "o")[0][: target.shape[1]] = gain * target.T

    def same(self, layer: int, group: int, query: np.ndarray, key: np.ndarray, gain: float) -> None:
        """The head looks where the key's part of the residual is like the query's."""
        used = self.steady[: query.shape[1]]
        self.part(layer, group, "q")[0][:, used] = gain * query
        self.part(layer, group, "k")[0][:, used] = gain * key

    def after(self, layer: int, group: int, above: np.ndarray) -> None:
        """The head looks at the nearest token whose previous token lies along `above`."""
        bias = self.part(layer, group, "q")[1]
        assert bias is not None
        bias[list(_MEDIUM)] = 6.0
        self.part(layer, group, "k")[0][:, list(_MEDIUM)] = 2.0 * above[:, None]

    def near(self, layer: int, group: int) -> None:
        """The head looks at all tokens that are not far back."""
        for name in "qk":
            bias = self.part(layer, group, name)[1]
            assert bias is not None
            bias[list(_SLOW)] = 3.5

    def previous(self, layer: int, group: int) -> None:
        """The head looks at the previous token: biases alone make its score peak there."""
        fast = np.arange(min(_FAST, self._dim // 2))
        q, k = self.part(layer, group, "q")[1], self.part(layer, group, "k")[1]
        assert q is not None
        assert k is not None
        k[fast] = 8.0
        q[fast] = 8.0 * np.cos(self.turns[fast])
        q[self._dim // 2 + fast] = -8.0 * np.sin(self.turns[fast])


def with_retrieval_heads(
    config: DecoderConfig,
    params: Params,
    key: Array,
    name_marks: Sequence[int],
    parameter_marks: Sequence[int],
) -> Params:
    """Writes heads that copy, and that choose what to copy, into fresh parameters.

    Args:
      config: with `qkv_bias`, untied embeddings, at least four layers, three key-value heads of 32
        and a hidden size of 128.
      params: fresh parameters.
      key: a PRNG key, consumed.
      name_marks: ids of the tokens after which a tool's name starts.
      parameter_marks: ids of the tokens after which a parameter's name starts.

    Raises:
      ValueError: the architecture has no room for the heads.

    Source: our choice; copying is the induction head of in-context learning.
    """
    if not config.qkv_bias or config.tie_embeddings:
        raise ValueError("retrieval heads need qkv_bias and untied embeddings")
    if config.num_layers < 4 or config.num_kv_heads < 3:
        raise ValueError("retrieval heads need four layers and three key-value heads")
    if config.hidden_size < 128 or config.head_dim < 32:
        raise ValueError("retrieval heads need a hidden size of 128 and heads of 32")
    outer = params["params"]
    layers = _damped(outer["layers"])
    heads = _Heads(config, layers["self_attn"])
    matched, width = len(heads.steady), config.hidden_size
    basis = np.asarray(jnp.linalg.qr(jax.random.normal(key, (width, width)))[0])
    sizes = (matched, matched, config.head_dim, *2 * (_TOOL_WIDTH,), *2 * (_PARAMETER_WIDTH,))
    # Parts of the residual: what is matched, where the previous token's is written, what is
    # copied; the name of the tool and of the parameter a token belongs to, and those it speaks for.
    own, above, copied, tool, tool_vote, parameter, parameter_vote = np.split(
        basis, np.cumsum(sizes), axis=1
    )[: len(sizes)]
    name = copied[:, :_TOOL_WIDTH]
    parameter_name = copied[:, _TOOL_WIDTH : _TOOL_WIDTH + _PARAMETER_WIDTH]
    embedding = np.asarray(outer["embed_tokens"]["embedding"])

    def marks(ids: Sequence[int]) -> np.ndarray:
        seen = (embedding[np.asarray(ids)] @ own).T
        seen /= np.linalg.norm(seen, axis=0)
        # The direction on which all marks read one.
        return above @ seen @ np.linalg.solve(seen.T @ seen, np.ones(len(ids)))

    for layer, groups in enumerate(((0,), (0, 1, 2), (1, 2), (1, 2))):
        for group in groups:
            heads.clear(layer, group)
    heads.previous(0, 0)
    heads.move(0, 0, own, above, 3.0)
    heads.same(1, 0, own, above, 2.0)
    heads.move(1, 0, copied, copied, 3.0)

    heads.after(1, 1, marks(name_marks))
    heads.move(1, 1, name, tool, 3.0)
    heads.same(2, 1, own, above, 3.0)
    heads.move(2, 1, tool, tool_vote, 3.0)
    heads.near(3, 1)
    heads.move(3, 1, tool_vote, name, 10.0)

    heads.after(1, 2, marks(parameter_marks))
    heads.move(1, 2, parameter_name, parameter, 3.0)
    heads.same(2, 2, above, above, 3.0)
    heads.move(2, 2, parameter, parameter_vote, 3.0)
    heads.same(3, 2, parameter, parameter_vote, 2.0)
    heads.move(3, 2, copied, copied, 6.0)

    read = _READ * copied @ copied.T @ embedding.T
    changed = {
        **outer,
        "layers": {**layers, "self_attn": heads.attention},
        "lm_head": {"kernel": outer["lm_head"]["kernel"] + read},
    }
    return jax.tree.map(jnp.asarray, {"params": changed})


def with_more_layers(
    config: DecoderConfig, params: Params, count: int, key: Array
) -> tuple[DecoderConfig, Params]:
    """Puts fresh layers on top, damped, so that the model starts close to what it was.

    A reward model that starts from its policy can then compare what the policy would have said
    next, which is known only above its last layer, with what was said: the first fresh layer has
    a head that looks at the previous token.

    Args:
      config: with `qkv_bias`.
      params: its parameters.
      count: of fresh layers.
      key: a PRNG key, consumed.

    Returns:
      The deeper shape and its parameters.

    Raises:
      ValueError: the architecture has no biases to write the head into.

    Source: our choice.
    """
    if not config.qkv_bias:
        raise ValueError("fresh layers need qkv_bias")
    deeper = dataclasses.replace(config, num_layers=config.num_layers + count)
    fresh = init_params(dataclasses.replace(config, num_layers=count), key)["params"]["layers"]
    heads = _Heads(config, fresh["self_attn"])
    for name in "qk":
        kernel, bias = heads.part(0, 0, name)
        assert bias is not None
        kernel[...] = 0.0
        bias[...] = 0.0
    heads.previous(0, 0)
    fresh = _damped({**fresh, "self_attn": heads.attention})
    layers = jax.tree.map(
        lambda old, new: jnp.concatenate([old, jnp.asarray(new, old.dtype)]),
        params["params"]["layers"],
        fresh,
    )
    return deeper, {"params": {**params["params"], "layers": layers}}


def _damped(layers: Params) -> Params:
    """Layers with weaker outputs."""
    damp = partial(jax.tree.map, lambda x: _DAMP * x)
    return {
        **layers,
        "self_attn": {**layers["self_attn"], "o_proj": damp(layers["self_attn"]["o_proj"])},
        "mlp": {**layers["mlp"], "down_proj": damp(layers["mlp"]["down_proj"])},
    }
