"""The decoder against transformers on torch, on the same random weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_peers import (
    ARCHITECTURES,
    VOCAB,
    make_peer,
    our_logits,
    peer_logits,
    save_peer,
    torch,
)
from transformers import AutoModelForCausalLM

from toolprm_jax.model.decoder import Decoder, DecoderConfig, KeyValues
from toolprm_jax.model.files.hf import load_model, save_model
from toolprm_jax.tokens.tree import TreeBuilder, pack

TOLERANCE = 1e-4  # of logits of a few units


@cache
def peer(architecture: str, kv_heads: int = 2, groups: int = 2) -> Any:
    return make_peer(architecture, kv_heads, groups)


@pytest.fixture
def imported(tmp_path: Path) -> Any:
    def load(model: Any, dtype: str = "float32") -> tuple[DecoderConfig, Any]:
        return load_model(save_peer(model, tmp_path / "peer"), dtype=dtype)

    return load


def some_tokens(rows: int, length: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(1, VOCAB, (rows, length)).astype(np.int32)


def chain(shape: tuple[int, int]) -> tuple[Any, Any]:
    """Positions and exits of rows that are one sequence each."""
    index = np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape)
    return index, np.full(shape, shape[1], np.int32)


def padded(tokens: Any, lengths: list[int], side: str) -> tuple[Any, Any, Any, Any]:
    """Tokens with padding on one side, where the real ones are, positions and exits."""
    length = tokens.shape[1]
    mask = np.arange(length)[None] < np.asarray(lengths)[:, None]
    if side == "left":
        mask = mask[:, ::-1]
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0).astype(np.int32)
    # A padded token is a tree of its own.
    exits = np.where(mask, length, np.arange(1, length + 1)[None]).astype(np.int32)
    return np.where(mask, tokens, 0), mask, positions, exits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_transformers_and_stay_so_when_written(
    architecture: str, imported: Any, tmp_path: Path
) -> None:
    model = peer(architecture)
    config, params = imported(model)
    tokens = some_tokens(2, 150)
    theirs = peer_logits(model, tokens)
    assert theirs.std() > 0.5
    ours = our_logits(Decoder(config), params, tokens, *chain(tokens.shape))
    assert np.abs(ours - theirs).max() < TOLERANCE
    save_model(tmp_path / "ours", config, params, dtype="float32", shard_bytes=20_000)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    assert np.abs(peer_logits(again, tokens) - theirs).max() < TOLERANCE


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama3"])
def test_padding_changes_nothing(architecture: str, side: str, imported: Any) -> None:
    model = peer(architecture)
    config, params = imported(model)
    tokens, mask, positions, exits = padded(some_tokens(3, 24), [24, 9, 1], side)
    theirs = peer_logits(model, tokens, mask)
    ours = our_logits(Decoder(config), params, tokens, positions, exits)
    assert np.abs(ours - theirs)[mask].max() < TOLERANCE


@pytest.mark.parametrize(("kv_heads", "groups"), [(4, 1), (2, 6), (2, 7), (1, 8)])
def test_heads_share_keys_in_any_ratio(kv_heads: int, groups: int, imported: Any) -> None:
    model = peer("qwen2", kv_heads, groups)
    config, params = imported(model)
    assert (config.num_heads, config.num_kv_heads) == (kv_heads * groups, kv_heads)
    tokens = some_tokens(1, 33)
    ours = our_logits(Decoder(config), params, tokens, *chain(tokens.shape))
    assert np.abs(ours - peer_logits(model, tokens)).max() < TOLERANCE


@pytest.mark.parametrize("length", [1, 2, 2048])
def test_lengths_from_1_to_2048(length: int, imported: Any) -> None:
    model = peer("llama3")
    config, params = imported(model)
    tokens = some_tokens(1, length)
    ours = our_logits(Decoder(config), params, tokens, *chain(tokens.shape))
    assert np.abs(ours - peer_logits(model, tokens)).max() < TOLERANCE


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama"])
def test_bfloat16_is_as_close_to_float32_as_that_of_transformers(
    architecture: str, imported: Any
) -> None:
    model = make_peer(architecture).to(torch.bfloat16)
    config, params = imported(model, "bfloat16")
    tokens = some_tokens(4, 100)
    theirs = peer_logits(model, tokens)
    exact = peer_logits(model.float(), tokens)  # of the same rounded weights
    ours = our_logits(Decoder(config), params, tokens, *chain(tokens.shape))
    errors = [float(np.sqrt(np.mean((x - exact) ** 2))) for x in (ours, theirs)]
    assert 0 < errors[0] <= 1.2 * errors[1], errors


@pytest.mark.parametrize("architecture", ["qwen2-tied", "qwen3", "llama3"])
def test_greedy_generation_is_that_of_transformers(architecture: str, imported: Any) -> None:
    """Prefill and 200 times extend, on prompts of 20 lengths."""
    rows, new, longest = 20, 200, 30
    model = peer(architecture)
    config, params = imported(model)
    decoder = Decoder(config)
    lengths = list(range(longest - rows + 1, longest + 1))
    prompts = some_tokens(rows, longest, seed=1)
    left, mask, _, _ = padded(prompts, lengths, "left")
    theirs = model.generate(
        input_ids=torch.tensor(left, dtype=torch.long),
        attention_mask=torch.tensor(mask.astype(np.int64)),
        do_sample=False,
        max_new_tokens=new,
    )[:, longest:].numpy()
    right = np.zeros_like(left)
    for row, length in enumerate(lengths):
        right[row, :length] = left[row, longest - length :]
    sizes = jnp.asarray(lengths, jnp.int32)

    @jax.jit
    def generate(params: Any) -> Any:
        positions, exits = jnp.arange(longest)[None], jnp.full_like(right, longest)
        prompt: Any = decoder.apply(params, right, positions, exits, method=Decoder.prefill)
        shape = (config.num_layers, rows, config.num_kv_heads, new, config.head_dim)
        pool = KeyValues(jnp.zeros(shape), jnp.zeros(shape))
        # All but the last prompt token are cached; it is the first to be extended by.
        in_prompt = jnp.arange(longest)[None, None] < sizes[:, None, None] - 1

        def step(carry: Any, index: Any) -> Any:
            token, pool = carry
            used = jnp.broadcast_to(jnp.arange(new)[None, None] < index, (rows, 1, new))
            out: Any = decoder.apply(
                params,
                token[:, None],
                (sizes - 1 + index)[:, None],
                jnp.eye(rows, dtype=bool)[:, None],
                (prompt, pool),
                (in_prompt, used),
                jnp.arange(rows),
                method=Decoder.extend,
            )
            hidden, own = out
            pool = KeyValues(
                *(
                    jax.lax.dynamic_update_index_in_dim(old, fresh[..., 0, :], index, 3)
                    for old, fresh in zip(pool, own, strict=True)
                )
            )
            logits: Any = decoder.apply(params, hidden[:, 0], method=Decoder.logits)
            chosen = jnp.argmax(logits, axis=-1).astype(jnp.int32)
            return (chosen, pool), chosen

        last = jnp.asarray(right)[jnp.arange(rows), sizes - 1]
        return jax.lax.scan(step, (last, pool), jnp.arange(new))[1].T

    np.testing.assert_array_equal(generate(params), theirs)
    assert len(np.unique(theirs)) > 10


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama3"])
def test_a_tree_gives_on_each_path_what_transformers_gives(
    architecture: str, imported: Any
) -> None:
    model = peer(architecture)
    config, params = imported(model)
    rng = np.random.default_rng(2)
    prompt = rng.integers(1, VOCAB, 12).tolist()
    builder = TreeBuilder()
    paths, nodes = [], []
    for _ in range(8):
        # Few different tokens, so that paths share beginnings.
        path = [*prompt, *rng.integers(1, 4, rng.integers(1, 9)).tolist()]
        paths.append(path)
        nodes.append(builder.add_path(path))
    batch = pack([builder.build()], 80)
    assert len({node for path in nodes for node in path}) < sum(map(len, paths)) - 5 * len(prompt)
    ours = our_logits(Decoder(config), params, batch.tokens, batch.positions, batch.exits)[0]
    by_path = {
        tuple(path_of(batch, index)): ours[index]
        for index in range(batch.tokens.shape[1])
        if batch.tokens[0, index]
    }
    longest = max(map(len, paths))
    rows = np.asarray([[*path, *[0] * (longest - len(path))] for path in paths], np.int32)
    theirs = peer_logits(model, rows)
    for row, path in enumerate(paths):
        for end in range(1, len(path) + 1):
            difference = by_path[tuple(path[:end])] - theirs[row, end - 1]
            assert np.abs(difference).max() < TOLERANCE


def path_of(batch: Any, index: int) -> list[int]:
    """Tokens from the root down to one."""
    parent = int(batch.parents[0, index])
    above = [] if parent == index else path_of(batch, parent)
    return [*above, int(batch.tokens[0, index])]
