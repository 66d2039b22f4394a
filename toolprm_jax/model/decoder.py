"""A Qwen2, Qwen3 or Llama decoder in Flax Linen, over token trees and over caches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from ..records import DataError
from .attention import attend, tree_visibility

Params = Any  # a plain pytree of arrays: {"params": {...}}


class RopeScaling(NamedTuple):
    """Llama 3's stretch of the rotary embedding; names and meanings are those of `config.json`."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class DecoderConfig:
    """Shape of a decoder; the names and meanings are those of a Qwen2 `config.json`.

    `qk_norm` normalises each head's queries and keys, as Qwen3 does. `max_positions` is written to
    exported models and changes no result. `dtype` is the dtype of the computation; parameters are
    created in float32. `remat` recomputes each layer in the backward pass.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-6
    qkv_bias: bool = True
    qk_norm: bool = False
    rope_scaling: RopeScaling | None = None
    tie_embeddings: bool = False
    max_positions: int = 32_768
    dtype: str = "float32"
    remat: bool = False

    def __post_init__(self) -> None:
        """Gives `rope_scaling` its type back: JSON keeps it as a list, configs as a dict."""
        given: Any = self.rope_scaling
        if given is not None:
            scaling = RopeScaling(**given) if isinstance(given, dict) else RopeScaling(*given)
            object.__setattr__(self, "rope_scaling", scaling)


# What a file may claim before anything is allocated for it; far above any published model.
_MOST = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 22,
    "num_layers": 1 << 12,
    "num_heads": 1 << 12,
    "num_kv_heads": 1 << 12,
    "head_dim": 1 << 14,
    "max_positions": 1 << 30,
}


def checked_shape(config: DecoderConfig, source: object) -> DecoderConfig:
    """The config, if a decoder can have this shape.

    Args:
      config: read from somewhere.
      source: from where, for messages.

    Raises:
      DataError: names the field and what was expected.
    """
    for name, most in _MOST.items():
        value = getattr(config, name)
        if type(value) is not int or not 1 <= value <= most:
            raise DataError(f"{source}: {name}: expected an integer from 1 to {most}, got {value}")
    if config.num_heads % config.num_kv_heads or config.head_dim % 2:
        raise DataError(
            f"{source}: num_heads {config.num_heads} is no multiple of num_kv_heads "
            f"{config.num_kv_heads}, or head_dim {config.head_dim} is odd"
        )
    numbers = {"rope_theta": config.rope_theta, "rms_norm_eps": config.rms_norm_eps}
    scaling = config.rope_scaling
    if scaling is not None:
        numbers |= scaling._asdict()
        numbers["high_freq_factor - low_freq_factor"] = (
            scaling.high_freq_factor - scaling.low_freq_factor
        )
    for name, value in numbers.items():
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise DataError(f"{source}: {name}: expected a positive number, got {value}")
    return config


class KeyValues(NamedTuple):
    """Cached keys and values of all layers."""

    keys: Array  # [layers, B, K, T, D]
    values: Array  # [layers, B, K, T, D]


def rope_frequencies(config: DecoderConfig) -> NDArray[np.float32]:
    """Radians per position of each pair of a head's dimensions, float32[head_dim / 2].

    Source: arXiv:2104.09864; the stretch is Llama 3.1's (arXiv:2407.21783, section 3.4): slow
    turns are divided by `factor`, fast ones stay, those between are blended.
    """
    # Rounded where transformers on torch rounds: an error of one bit is felt 2,000 tokens on.
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    powers = np.power(config.rope_theta, exponents.astype(np.float64)).astype(np.float32)
    frequencies = np.float32(1) / powers
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    turns = scaling.original_max_position_embeddings / (np.float32(2 * np.pi) / frequencies)
    fast = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    fast = np.clip(fast, 0, 1)
    return ((1 - fast) * frequencies / scaling.factor + fast * frequencies).astype(np.float32)


def rope(positions_BxS: Array, frequencies: NDArray[np.float32]) -> tuple[Array, Array]:
    """Cosines and sines of the rotary embedding, float32[B, S, 1, head_dim / 2] each."""
    angles = positions_BxS[..., None, None].astype(jnp.float32) * frequencies[None, None, None, :]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotates `[B, S, H, D]` in pairs `(d, d + D/2)`, as Hugging Face models do."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)


def front(array: Array, length: int, rows: Array | None) -> Array:
    """The first keys or values `[R, K, length, D]` of the rows; all rows where None."""
    array = array[:, :, :length]
    return array if rows is None else jnp.take(array, rows, axis=0, mode="clip")


def across(array: Array) -> Array:
    """Keys or values `[R, W, K, D]` of all rows as one block `[K, R * W, D]`."""
    return array.transpose(2, 0, 1, 3).reshape(array.shape[2], -1, array.shape[3])


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    config: DecoderConfig

    @nn.compact
    def __call__(
        self,
        x: Array,
        angles: tuple[Array, Array],
        mask: Array,
        cache: Sequence[KeyValues],
        cache_masks: Sequence[Array],
        rows: Array | None,
    ) -> tuple[Array, KeyValues]:
        """Attends to the cache and to `x`; returns the output and the new keys and values.

        With `rows` of the cache, every row of `x` may see every other.
        """
        c = self.config

        def project(heads: int, name: str) -> Array:
            dense = nn.Dense(heads * c.head_dim, use_bias=c.qkv_bias, dtype=c.dtype, name=name)
            return dense(x).reshape(*x.shape[:2], heads, c.head_dim)

        def rotated(heads: int, letter: str) -> Array:
            projected = project(heads, f"{letter}_proj")
            if c.qk_norm:
                norm = nn.RMSNorm(epsilon=c.rms_norm_eps, dtype=c.dtype, name=f"{letter}_norm")
                projected = norm(projected)
            return rotate(projected, *angles)

        q = rotated(c.num_heads, "q")
        keys, values = rotated(c.num_kv_heads, "k"), project(c.num_kv_heads, "v_proj")
        own = KeyValues(keys.transpose(0, 2, 1, 3), values.transpose(0, 2, 1, 3))
        blocks = [
            (front(kv.keys, m.shape[-1], rows), front(kv.values, m.shape[-1], rows), m)
            for kv, m in zip(cache, cache_masks, strict=True)
        ]
        new = (own.keys, own.values) if rows is None else (across(keys), across(values))
        blocks.append((*new, mask))
        out = attend(q, blocks)
        out = out.reshape(*x.shape[:2], c.num_heads * c.head_dim)
        return nn.Dense(c.hidden_size, use_bias=False, dtype=c.dtype, name="o_proj")(out), own


class Mlp(nn.Module):
    """The SwiGLU feed-forward layer."""

    config: DecoderConfig

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, S, hidden_size]` to the same shape."""
        c = self.config

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, use_bias=False, dtype=c.dtype, name=name)

        gated = nn.silu(dense(c.intermediate_size, "gate_proj")(x))
        gated *= dense(c.intermediate_size, "up_proj")(x)
        return dense(c.hidden_size, "down_proj")(gated)


class Block(nn.Module):
    """One pre-norm transformer layer, in the form that `nn.scan` wants."""

    config: DecoderConfig

    @nn.compact
    def __call__(
        self,
        x: Array,
        cache: Sequence[KeyValues],
        angles: tuple[Array, Array],
        mask: Array,
        cache_masks: Sequence[Array],
        rows: Array | None,
    ) -> tuple[Array, KeyValues]:
        """One layer; the carry is `x`, the scanned output the new keys and values."""
        c = self.config

        def norm(name: str) -> nn.RMSNorm:
            return nn.RMSNorm(epsilon=c.rms_norm_eps, dtype=c.dtype, name=name)

        attended, own = Attention(c, name="self_attn")(
            norm("input_layernorm")(x), angles, mask, cache, cache_masks, rows
        )
        x += attended
        x += Mlp(c, name="mlp")(norm("post_attention_layernorm")(x))
        return x, own


class Decoder(nn.Module):
    """Decoder-only transformer with three forwards over the same parameters.

    Call through `model.apply(params, ..., method=...)`:
      `__call__` trains over token trees, `prefill` makes prompts' caches, `extend` adds tokens
      below cached ones; `logits` and `label_logits` turn their hidden states into scores.
    """

    config: DecoderConfig

    def setup(self) -> None:
        """Makes the embeddings, the scanned layers and the output."""
        c = self.config
        # Unit-variance embeddings and an output layer of its own are what small models learn to
        # copy with (our choice); imported checkpoints overwrite both.
        self.embed_tokens = nn.Embed(
            c.vocab_size,
            c.hidden_size,
            dtype=c.dtype,
            embedding_init=nn.initializers.normal(1.0),
        )
        self.norm = nn.RMSNorm(epsilon=c.rms_norm_eps, dtype=c.dtype)
        if not c.tie_embeddings:
            self.lm_head = nn.Dense(c.vocab_size, use_bias=False, dtype=c.dtype)
        self.layers = nn.scan(
            nn.remat(Block, prevent_cse=False) if c.remat else Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            # Flax annotates an int; a pytree prefix per argument is documented.
            in_axes=(0, *[nn.broadcast] * 4),  # pyright: ignore[reportArgumentType]
            length=c.num_layers,
            # No variable is broadcast; since flax 0.12.9 the check mistakes effects of the body,
            # such as looking at a layout, for a dependency.
            check_constancy_invariants=False,
        )(c)

    def _run(
        self,
        tokens: Array,
        positions: Array,
        mask: Array,
        cache: Sequence[KeyValues] = (),
        cache_masks: Sequence[Array] = (),
        rows: Array | None = None,
    ) -> tuple[Array, KeyValues]:
        c = self.config
        angles = rope(positions, rope_frequencies(c))
        x, own = self.layers(
            self.embed_tokens(tokens), tuple(cache), angles, mask, tuple(cache_masks), rows
        )
        return self.norm(x), own

    def __call__(self, tokens: Array, positions: Array, exits: Array) -> Array:
        """Hidden states of every token of packed token trees.

        Args:
          tokens: int32[B, S], in depth-first order.
          positions: int32[B, S], depths below the tree's root (not row indices).
          exits: int32[B, S], the index just past each token's subtree.

        Returns:
          `[B, S, hidden_size]` after the final norm.
        """
        return self._run(tokens, positions, tree_visibility(exits))[0]

    def prefill(self, tokens: Array, positions: Array, exits: Array) -> KeyValues:
        """Keys and values of every token of packed token trees.

        Args:
          tokens: as for `__call__`, as what follows.
          positions: likewise.
          exits: likewise.

        Returns:
          KeyValues of S tokens.
        """
        return self._run(tokens, positions, tree_visibility(exits))[1]

    def extend(
        self,
        tokens: Array,
        positions: Array,
        mask: Array,
        cache: Sequence[KeyValues],
        cache_masks: Sequence[Array],
        rows: Array,
    ) -> tuple[Array, KeyValues]:
        """Runs R rows of W new tokens below cached ones.

        Args:
          tokens: int32[R, W].
          positions: int32[R, W].
          mask: bool[R, W, R * W], which new tokens, of all rows, each new token sees; it must see
            itself.
          cache: KeyValues blocks, for example the prompt's and the pool's.
          cache_masks: per block bool[R, W or 1, n], which of its first n tokens each new token
            sees; what stands behind them is not read.
          rows: int32[R], the row of the cache below which each row of tokens stands; one may
            occur any number of times.

        Returns:
          Hidden states `[R, W, hidden_size]` after the final norm and the KeyValues of the new
          tokens; appending them to a cache is the caller's work.
        """
        return self._run(tokens, positions, mask, cache, cache_masks, rows)

    def logits(self, hidden: Array) -> Array:
        """Next-token logits, float32[..., vocab_size], of hidden states."""
        if self.config.tie_embeddings:
            return self.embed_tokens.attend(hidden).astype(jnp.float32)
        return self.lm_head(hidden).astype(jnp.float32)

    def label_logits(self, hidden: Array, token_ids: Sequence[int]) -> Array:
        """Logits of a few tokens only, float32[..., len(token_ids)].

        Reads just those rows of the output embedding, so no `[..., vocab_size]` array exists.
        """
        ids = jnp.asarray(token_ids)
        if self.config.tie_embeddings:
            rows = self.embed_tokens.embedding[ids]
        else:
            rows = self.lm_head.variables["params"]["kernel"].T[ids]
        return jnp.matmul(hidden, rows.T.astype(hidden.dtype), preferred_element_type=jnp.float32)


def init_params(config: DecoderConfig, key: Array, model: Decoder | None = None) -> Params:
    """Fresh parameters: `{"params": ...}`, float32, fan-in initialised.

    Args:
      config: shape of the decoder.
      key: a PRNG key, consumed.
      model: whose parameters, where it has more than the plain decoder.
    """
    model = model or Decoder(config)

    def touch_all(module: Decoder, tokens: Array) -> Array:
        return module.logits(module(tokens, jnp.zeros_like(tokens), tokens + 1))

    return model.init(key, jnp.zeros((1, 1), jnp.int32), method=touch_all)


def abstract_params(config: DecoderConfig) -> Params:
    """The shapes of `init_params`, as `jax.ShapeDtypeStruct`, without computing anything."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def num_params(params: Params) -> int:
    """Number of parameters in a pytree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
