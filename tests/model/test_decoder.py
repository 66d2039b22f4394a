"""The decoder's three forwards against a plain NumPy decoder in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from toolprm_jax.model.attention import attend
from toolprm_jax.model.decoder import Decoder, DecoderConfig, KeyValues, init_params, num_params

Floats = NDArray[np.float64]
CONFIG = DecoderConfig(
    vocab_size=31,
    hidden_size=20,
    intermediate_size=28,
    num_layers=2,
    num_heads=6,
    num_kv_heads=2,
    head_dim=8,  # num_heads * head_dim is not hidden_size
    rope_theta=100.0,
)
CONFIGS = [CONFIG, replace(CONFIG, tie_embeddings=True, qkv_bias=False, num_kv_heads=6)]
TOLERANCE = 1e-5


@cache
def params_of(config: DecoderConfig, seed: int = 0) -> Any:
    """Parameters with no zeros and ones left, so that every one of them shows."""
    params = init_params(config, jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32), params
    )


def reference(config: DecoderConfig, params: Any, tokens: list[int]) -> Floats:
    """Hidden states `[S, hidden]` of one sequence: repeated heads, explicit loops."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    c = config

    def norm(x: Floats, scale: Floats) -> Floats:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + c.rms_norm_eps) * scale

    def rotated(x: Floats) -> Floats:  # [S, D]
        half = c.head_dim // 2
        out = np.empty_like(x)
        for position in range(len(x)):
            for d in range(half):
                angle = position * c.rope_theta ** (-2 * d / c.head_dim)
                a, b = x[position, d], x[position, d + half]
                out[position, d] = a * np.cos(angle) - b * np.sin(angle)
                out[position, d + half] = a * np.sin(angle) + b * np.cos(angle)
        return out

    x = p["embed_tokens"]["embedding"][tokens]
    causal = np.tri(len(tokens), dtype=bool)
    for layer in range(c.num_layers):
        w = jax.tree.map(lambda leaf, layer=layer: leaf[layer], p["layers"])
        h = norm(x, w["input_layernorm"]["scale"])
        q, k, v = (
            h @ w["self_attn"][name]["kernel"] + w["self_attn"][name].get("bias", 0.0)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        heads = []
        for head in range(c.num_heads):
            kv = head // (c.num_heads // c.num_kv_heads)
            mine, theirs = (slice(i * c.head_dim, (i + 1) * c.head_dim) for i in (head, kv))
            scores = rotated(q[:, mine]) @ rotated(k[:, theirs]).T / np.sqrt(c.head_dim)
            weights = np.where(causal, np.exp(scores - scores.max()), 0.0)
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, theirs])
        x = x + np.concatenate(heads, -1) @ w["self_attn"]["o_proj"]["kernel"]
        h = norm(x, w["post_attention_layernorm"]["scale"])
        gate = h @ w["mlp"]["gate_proj"]["kernel"]
        up = h @ w["mlp"]["up_proj"]["kernel"]
        x = x + gate / (1 + np.exp(-gate)) * up @ w["mlp"]["down_proj"]["kernel"]
    return norm(x, p["norm"]["scale"])


class Tree:
    """A random tree: `parents` in depth-first order, with tokens."""

    def __init__(self, seed: int, size: int, chain: int) -> None:
        rng = np.random.default_rng(seed)
        self.parents, last = [-1], [0]  # `last` is the path to the newest node
        for node in range(1, size):
            cut = len(last) if node < chain else int(rng.integers(chain, len(last) + 1))
            last = last[:cut]
            self.parents.append(last[-1])
            last.append(node)
        self.tokens: list[int] = rng.integers(0, CONFIG.vocab_size, size).tolist()
        self.paths = [self._path(node) for node in range(size)]
        self.exits = [
            1 + max(n for n in range(size) if node in self.paths[n]) for node in range(size)
        ]

    def _path(self, node: int) -> list[int]:
        return [] if node < 0 else [*self._path(self.parents[node]), node]

    def expected(self, config: DecoderConfig, params: Any) -> Floats:
        """Hidden state of every node, each from its own path alone."""
        return np.stack(
            [reference(config, params, [self.tokens[n] for n in path])[-1] for path in self.paths]
        )


def row(values: list[int], length: int, fill: int = 0) -> NDArray[np.int32]:
    return np.asarray([[*values, *[fill] * (length - len(values))]], np.int32)


@cache
def forward(config: DecoderConfig) -> Any:
    return jax.jit(Decoder(config).apply)


def run_tree(config: DecoderConfig, params: Any, tree: Tree, spare: int, fill: int = 0) -> Any:
    length = len(tree.tokens) + spare
    depths = [len(path) - 1 for path in tree.paths]
    exits = [*tree.exits, *range(len(tree.tokens) + 1, length + 1)]
    return forward(config)(
        params, row(tree.tokens, length, fill), row(depths, length), row(exits, length)
    )


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_tree_equals_numpy_on_every_path(config: DecoderConfig, seed: int) -> None:
    tree, params = Tree(seed, 18, chain=4), params_of(config, seed)
    assert len({len(path) for path in tree.paths}) < len(tree.paths)  # it branches
    hidden = run_tree(config, params, tree, spare=0)
    np.testing.assert_allclose(
        hidden[0], tree.expected(config, params), rtol=TOLERANCE, atol=TOLERANCE
    )


def test_trees_of_one_row_do_not_see_each_other_or_the_padding() -> None:
    params = params_of(CONFIG)
    size = 8
    first, second = Tree(2, size, chain=2), Tree(3, size, chain=3)
    alone = [run_tree(CONFIG, params, tree, spare=0)[0] for tree in (first, second)]
    for fill in (0, 5):
        for tree, hidden in zip((first, second), alone, strict=True):
            padded = run_tree(CONFIG, params, tree, spare=4, fill=fill)[0]
            np.testing.assert_allclose(padded[: len(hidden)], hidden, rtol=1e-5, atol=1e-6)
    both = forward(CONFIG)(
        params,
        row([*first.tokens, *second.tokens], 2 * size),
        row([len(path) - 1 for tree in (first, second) for path in tree.paths], 2 * size),
        row([*first.exits, *(size + e for e in second.exits)], 2 * size),
    )
    np.testing.assert_allclose(both[0], np.concatenate(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "seed", "width"), [(CONFIGS[0], 0, 1), (CONFIGS[0], 1, 4), (CONFIGS[1], 2, 3)]
)
def test_prefill_and_extend_equal_numpy_on_every_path(
    config: DecoderConfig, seed: int, width: int
) -> None:
    """The prompt is prefilled with padding, the rest joins a pool of spare slots in any order."""
    prompt, slots = 5, 20
    tree, params = Tree(seed, 19, chain=prompt), params_of(config, seed)
    rng = np.random.default_rng(seed)
    model = Decoder(config)
    garbage = rng.integers(0, config.vocab_size, 3).tolist()
    prefill = jax.jit(partial(model.apply, method=Decoder.prefill))
    tokens = row([*tree.tokens[:prompt], *garbage], prompt + 3)
    exits = jnp.full_like(tokens, prompt + 3)
    prompt_kv = prefill(params, tokens, jnp.arange(prompt + 3)[None], exits)
    assert prompt_kv.keys.shape == (2, 1, config.num_kv_heads, prompt + 3, config.head_dim)

    @jax.jit
    def extend(tokens: Any, positions: Any, mask: Any, pool: Any, pool_mask: Any) -> Any:
        in_prompt = jnp.arange(prompt + 3)[None, None] < prompt
        return model.apply(
            params,
            tokens,
            positions,
            mask,
            [prompt_kv, pool],
            [in_prompt, pool_mask],
            jnp.zeros(1, jnp.int32),
            method=Decoder.extend,
        )

    shape = (config.num_layers, 1, config.num_kv_heads, slots, config.head_dim)
    store: list[Any] = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    slot_of: dict[int, int] = {}
    hidden = np.zeros((len(tree.tokens), config.hidden_size))
    waiting = list(range(prompt, len(tree.tokens)))
    while waiting:
        # Any nodes whose parents are known or in the same chunk, in an order of our own.
        chunk: list[int] = []
        for node in rng.permutation(waiting).tolist():
            parent = tree.parents[node]
            if len(chunk) < width and (parent < prompt or parent in slot_of or parent in chunk):
                chunk.append(node)
        lanes = width - len(chunk)
        mask = np.eye(width, dtype=bool)[None]  # a padded lane sees itself
        pool_mask = np.zeros((1, width, slots), bool)
        for lane, node in enumerate(chunk):
            for above in tree.paths[node]:
                if above in chunk:
                    mask[0, lane, chunk.index(above)] = True
                elif above in slot_of:
                    pool_mask[0, lane, slot_of[above]] = True
        out, new = extend(
            row([tree.tokens[n] for n in chunk], width),
            row([len(tree.paths[n]) - 1 for n in chunk], width),
            mask,
            KeyValues(*map(jnp.array, store)),
            pool_mask,
        )
        assert out.shape == (1, width, config.hidden_size)
        assert new.keys.shape == (2, 1, config.num_kv_heads, len(chunk) + lanes, config.head_dim)
        for lane, node in enumerate(chunk):
            hidden[node] = out[0, lane]
            slot_of[node] = len(slot_of)
            for array, own in zip(store, new, strict=True):
                array[..., slot_of[node], :] = own[..., lane, :]
        waiting = [node for node in waiting if node not in slot_of]
    expected = tree.expected(config, params)
    np.testing.assert_allclose(hidden[prompt:], expected[prompt:], rtol=TOLERANCE, atol=TOLERANCE)


def test_attend_over_blocks_is_one_softmax_with_repeated_heads() -> None:
    rng = np.random.default_rng(0)
    q = rng.standard_normal((2, 3, 6, 4))
    keys, values = rng.standard_normal((2, 2, 9, 2, 4))
    mask = rng.random((2, 3, 9)) < 0.5
    mask[:, :, 4] = True
    mask[:, :, 7:] = mask[:, :1, 7:]  # the last block has one mask for all queries
    expected = np.zeros_like(q)
    for b, s, h in np.ndindex(2, 3, 6):
        scores = keys[b, :, h // 3] @ q[b, s, h] / 2
        weights = np.where(mask[b, s], np.exp(scores), 0.0)
        expected[b, s, h] = weights @ values[b, :, h // 3] / weights.sum()
    parts = [slice(0, 4), slice(4, 7), slice(7, 9)]
    blocks: Any = [
        (
            jnp.asarray(keys[:, part].transpose(0, 2, 1, 3), jnp.float32),
            jnp.asarray(values[:, part].transpose(0, 2, 1, 3), jnp.float32),
            jnp.asarray(mask[:, :1, part] if part.stop == 9 else mask[:, :, part]),
        )
        for part in parts
    ]
    out = attend(jnp.asarray(q, jnp.float32), blocks)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_attend_survives_large_scores() -> None:
    q = jnp.full((1, 1, 1, 2), 1e3)
    keys = jnp.asarray([[[[1e3, 0.0], [2e3, 0.0]]]])
    values = jnp.asarray([[[[1.0, 2.0], [3.0, 4.0]]]])
    out = attend(q, [(keys, values, jnp.ones((1, 1, 2), bool))])
    np.testing.assert_allclose(out[0, 0, 0], [3.0, 4.0], rtol=1e-6)


@pytest.mark.parametrize("config", CONFIGS)
def test_label_logits_are_columns_of_the_logits(config: DecoderConfig) -> None:
    params = params_of(config)
    hidden = np.random.default_rng(0).standard_normal((2, 3, config.hidden_size))
    hidden = hidden.astype(np.float32)
    model = Decoder(config)
    full: Any = model.apply(params, hidden, method=Decoder.logits)
    ids = (4, 30, 0)
    few: Any = model.apply(params, hidden, ids, method=Decoder.label_logits)
    assert full.shape == (2, 3, config.vocab_size)
    np.testing.assert_allclose(few, full[..., list(ids)], rtol=1e-5, atol=1e-5)
    tree = params["params"]
    columns = tree["embed_tokens"]["embedding"].T if config.tie_embeddings else None
    columns = tree["lm_head"]["kernel"] if columns is None else columns
    np.testing.assert_allclose(full, hidden @ np.asarray(columns), rtol=1e-5, atol=1e-4)


def test_remat_changes_neither_values_nor_gradients() -> None:
    tree, params = Tree(4, 12, chain=3), params_of(CONFIG)

    def loss(params: Any, config: DecoderConfig) -> Any:
        return jnp.sum(run_tree(config, params, tree, spare=0) ** 3)

    values = [
        jax.jit(jax.value_and_grad(loss), static_argnums=1)(params, replace(CONFIG, remat=remat))
        for remat in (False, True)
    ]
    for plain, again in zip(*map(jax.tree.leaves, values), strict=True):
        scale = float(jnp.abs(plain).max())
        np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-6 * scale)


def test_bfloat16_computes_in_bfloat16_and_scores_in_float32() -> None:
    config = replace(CONFIG, dtype="bfloat16")
    tree, params = Tree(5, 10, chain=3), params_of(CONFIG)
    hidden = run_tree(config, params, tree, spare=0)
    assert hidden.dtype == jnp.bfloat16
    for method, args in ((Decoder.logits, ()), (Decoder.label_logits, ((1, 2),))):
        out: Any = Decoder(config).apply(params, hidden, *args, method=method)
        assert out.dtype == jnp.float32
    close = np.abs(hidden[0].astype(np.float32) - tree.expected(CONFIG, params))
    assert close.mean() < 0.05


def test_parameters_are_float32_and_counted() -> None:
    params = init_params(replace(CONFIG, dtype="bfloat16"), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    c, heads, kv = CONFIG, 6 * 8, 2 * 8
    layer = c.hidden_size * (heads + 2 * kv) + heads + 2 * kv + heads * c.hidden_size
    layer += 3 * c.hidden_size * c.intermediate_size + 2 * c.hidden_size
    outer = 2 * c.vocab_size * c.hidden_size + c.hidden_size
    assert num_params(params) == 2 * layer + outer
