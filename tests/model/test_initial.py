"""The heads of the start look where they should: a plain NumPy forward shows their attention."""

import dataclasses

import jax
import numpy as np
import pytest

from toolprm_jax.model.decoder import DecoderConfig, init_params
from toolprm_jax.model.initial import with_more_layers, with_retrieval_heads

CONFIG = DecoderConfig(
    vocab_size=300,
    hidden_size=128,
    intermediate_size=256,
    num_layers=4,
    num_heads=6,
    num_kv_heads=3,
    head_dim=32,
)
NAME_MARK, PARAMETER_MARK = 1, 2


@pytest.fixture(scope="module")
def params():
    fresh, heads = jax.random.split(jax.random.key(0))
    return with_retrieval_heads(
        CONFIG, init_params(CONFIG, fresh), heads, [NAME_MARK], [PARAMETER_MARK]
    )


def attention(params, tokens):
    """Attention probabilities `[layer, head, query, key]`, written out."""
    weights = jax.tree.map(np.asarray, params["params"])
    x = weights["embed_tokens"]["embedding"][tokens]
    length, c = len(tokens), CONFIG
    turns = c.rope_theta ** (-np.arange(0, c.head_dim, 2) / c.head_dim)
    turned = np.exp(1j * np.arange(length)[:, None] * turns)[:, None]

    def rotate(a):
        first, second = np.split(a, 2, axis=-1)
        both = (first + 1j * second) * turned
        return np.concatenate([both.real, both.imag], axis=-1)

    def norm(x, scale):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + c.rms_norm_eps) * scale

    out = []
    for layer in range(len(weights["layers"]["input_layernorm"]["scale"])):
        w = jax.tree.map(lambda a, i=layer: a[i], weights["layers"])
        own, h = w["self_attn"], norm(x, w["input_layernorm"]["scale"])
        q, k, v = (
            (h @ own[f"{n}_proj"]["kernel"] + own[f"{n}_proj"]["bias"]).reshape(
                length, -1, c.head_dim
            )
            for n in "qkv"
        )
        q, k = rotate(q), rotate(k)
        k, v = (np.repeat(a, c.num_heads // c.num_kv_heads, 1) for a in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(c.head_dim)
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        seen = np.exp(scores - scores.max(-1, keepdims=True))
        seen /= seen.sum(-1, keepdims=True)
        out.append(seen)
        x = x + np.einsum("hqk,khd->qhd", seen, v).reshape(length, -1) @ own["o_proj"]["kernel"]
        h = norm(x, w["post_attention_layernorm"]["scale"])
        gate = h @ w["mlp"]["gate_proj"]["kernel"]
        gated = gate / (1 + np.exp(-gate)) * (h @ w["mlp"]["up_proj"]["kernel"])
        x = x + gated @ w["mlp"]["down_proj"]["kernel"]
    return np.stack(out)


def block(rng, mark, words):
    """A mark, a name and its words."""
    return [mark, int(rng.integers(10, 60)), *(int(word) for word in words)]


def test_every_token_looks_at_the_one_before(params):
    tokens = np.random.default_rng(0).integers(10, 300, 60)
    seen = attention(params, tokens)[0, 0]
    assert np.diagonal(seen, -1)[3:].min() > 0.9


def test_a_repeated_token_looks_at_what_followed_it(params):
    cycle = np.random.default_rng(1).permutation(np.arange(10, 300))[:20]
    seen = attention(params, np.tile(cycle, 3))[1, 0]
    # From the second period on, the successors of the earlier same tokens.
    share = [seen[i, [j + 1 for j in range(i) if (i - j) % 20 == 0]].sum() for i in range(20, 60)]
    assert np.mean(share) > 0.6


@pytest.mark.parametrize(("mark", "head"), [(NAME_MARK, 2), (PARAMETER_MARK, 4)])
def test_the_words_of_a_block_look_at_its_name(params, mark, head):
    rng = np.random.default_rng(2)
    tokens, starts = [], []
    for _ in range(4):
        starts += [len(tokens) + 1] * 8
        tokens += block(rng, mark, rng.integers(60, 300, 6))
    seen = attention(params, np.asarray(tokens))[1, head]
    share = [seen[i, starts[i]] for i in range(len(tokens)) if i > starts[i] + 1]
    assert np.mean(share) > 0.8


def test_a_word_of_the_query_looks_at_the_block_that_has_it(params):
    rng = np.random.default_rng(3)
    words = rng.permutation(np.arange(60, 300))[:24].reshape(4, 6)
    tokens = [token for group in words for token in block(rng, NAME_MARK, group)]
    query = len(tokens)
    seen = attention(params, np.asarray([*tokens, *words[2, :4]]))[2, 2]
    assert seen[query:, 16:25].sum(-1).mean() > 0.6


def test_fresh_layers_go_on_top_and_see_the_previous_token(params):
    deeper, grown = with_more_layers(CONFIG, params, 2, jax.random.key(1))
    assert deeper == dataclasses.replace(CONFIG, num_layers=6)
    jax.tree.map(
        lambda old, new: np.testing.assert_array_equal(old, new[:4]),
        params["params"]["layers"],
        grown["params"]["layers"],
    )
    tokens = np.random.default_rng(0).integers(10, 300, 60)
    seen = attention(grown, tokens)
    assert len(seen) == 6
    assert np.diagonal(seen[4, 0], -1)[3:].min() > 0.9


def test_fresh_layers_without_biases_are_an_error(params):
    config = dataclasses.replace(CONFIG, qkv_bias=False)
    with pytest.raises(ValueError, match="fresh layers need qkv_bias"):
        with_more_layers(config, params, 1, jax.random.key(0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_layers", 3),
        ("hidden_size", 96),
        ("head_dim", 16),
        ("tie_embeddings", True),
        ("qkv_bias", False),
    ],
)
def test_no_room_is_an_error(field, value):
    config = dataclasses.replace(CONFIG, **{field: value})
    with pytest.raises(ValueError, match="retrieval heads need"):
        with_retrieval_heads(config, {}, jax.random.key(0), [1], [2])
