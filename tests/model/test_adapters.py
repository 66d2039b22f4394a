"""LoRA: the adapter's forward against the merged one, PEFT's files, and what is refused."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from toolprm_jax.model.adapters import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_WEIGHTS_FILE,
    ROWS,
    Adapter,
    Lora,
    init_adapter,
    merge,
    read_adapter,
    save_adapter,
    with_adapter,
    with_lora,
)
from toolprm_jax.model.decoder import Decoder, DecoderConfig, init_params
from toolprm_jax.model.files.hf import save_model
from toolprm_jax.model.files.loading import load, load_weights
from toolprm_jax.model.files.sums import SUMS_FILE
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.codec import Codec

CONFIG = DecoderConfig(
    vocab_size=2048,
    hidden_size=16,
    intermediate_size=24,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    qkv_bias=False,
    tie_embeddings=True,
)
LORA = Lora(2, 6.0, token_ids=(5, 9))


def trained(lora: Lora, seed: int = 0) -> tuple[Any, Any]:
    """A base, and an adapter that is no longer zero."""
    base = init_params(CONFIG, jax.random.key(seed))
    adapter = init_adapter(CONFIG, lora, jax.random.key(seed + 1), base)
    leaves, tree = jax.tree.flatten(adapter)
    keys = jax.random.split(jax.random.key(seed + 2), len(leaves))
    moved = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return base, jax.tree.unflatten(tree, moved)


def tokens() -> tuple[jax.Array, jax.Array, jax.Array]:
    ids = jnp.asarray([[3, 5, 9, 100, 5, 7]])
    return ids, jnp.arange(6)[None], jnp.full((1, 6), 6)


def hidden(model: Decoder, params: Any) -> np.ndarray:
    return np.asarray(model.apply(params, *tokens()))


@pytest.mark.parametrize("lora", [LORA, Lora(3, 3.0, ("q_proj", "down_proj"))])
def test_the_merged_forward_is_the_adapters(lora: Lora) -> None:
    base, adapter = trained(lora)
    before = jax.tree.map(np.array, base)
    inside = hidden(with_lora(CONFIG, lora), with_adapter(base, adapter, lora, "float32"))
    merged = hidden(Decoder(CONFIG), merge(base, adapter, lora))
    np.testing.assert_allclose(inside, merged, atol=2e-5)
    assert np.abs(merged - hidden(Decoder(CONFIG), base)).max() > 1e-2
    jax.tree.map(np.testing.assert_array_equal, base, before)


def test_every_method_has_the_adapter() -> None:
    base, adapter = trained(LORA)
    plain, model = Decoder(CONFIG), with_lora(CONFIG, LORA)
    merged, params = merge(base, adapter, LORA), with_adapter(base, adapter, LORA, "float32")
    ids, positions, exits = tokens()
    caches: list[Any] = [
        m.apply(p, ids, positions, exits, method="prefill")
        for m, p in ((plain, merged), (model, params))
    ]
    for a, b in zip(*caches, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    mask, seen = jnp.eye(2, dtype=bool)[None], jnp.ones((1, 1, 6), bool)
    more = (ids[:, :2], positions[:, :2] + 6, mask, (caches[0],), (seen,), jnp.zeros(1, jnp.int32))
    one: Any = plain.apply(merged, *more, method="extend")
    other: Any = model.apply(params, *more, method="extend")
    np.testing.assert_allclose(one[0], other[0], atol=2e-5)


def test_a_fresh_adapter_changes_nothing() -> None:
    base = init_params(CONFIG, jax.random.key(0))
    adapter = init_adapter(CONFIG, LORA, jax.random.key(1), base)
    inside = hidden(with_lora(CONFIG, LORA), with_adapter(base, adapter, LORA, "float32"))
    np.testing.assert_allclose(inside, hidden(Decoder(CONFIG), base), atol=1e-6)
    for leaves in adapter["params"]["layers"]["mlp"].values():
        limit = leaves["kernel_lora_a"].shape[1] ** -0.5
        assert 0.8 * limit < float(jnp.abs(leaves["kernel_lora_a"]).max()) <= limit
        assert not leaves["kernel_lora_b"].any()


def test_files_give_the_adapter_back(tmp_path: Path) -> None:
    _, adapter = trained(LORA)
    save_adapter(tmp_path, Adapter("smollm2", LORA, adapter), "float32")
    found = read_adapter(tmp_path, CONFIG)
    assert (found.base, found.lora) == ("smollm2", LORA)
    jax.tree.map(np.testing.assert_array_equal, found.params, adapter)


def test_peft_computes_the_same(tmp_path: Path) -> None:
    """An independent reader of the files: PEFT on transformers' Llama."""
    torch = pytest.importorskip("torch", reason="the extra peers")
    peft = pytest.importorskip("peft", reason="the extra peers")
    transformers = pytest.importorskip("transformers")
    base, adapter = trained(LORA)
    save_model(tmp_path / "base", CONFIG, base, "float32")
    save_adapter(tmp_path / "adapter", Adapter(str(tmp_path / "base"), LORA, adapter), "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what peft still calls, transformers has renamed
        peer = transformers.AutoModelForCausalLM.from_pretrained(
            str(tmp_path / "base"), dtype=torch.float32
        )
        peer = peft.PeftModel.from_pretrained(peer, str(tmp_path / "adapter")).eval()
        peer.save_pretrained(str(tmp_path / "again"))
    ids, _, _ = tokens()
    with torch.no_grad():
        theirs = peer(torch.tensor(np.asarray(ids))).logits.numpy()
    ours = Decoder(CONFIG).apply(
        merge(base, adapter, LORA),
        jnp.asarray(hidden(Decoder(CONFIG), merge(base, adapter, LORA))),
        method="logits",
    )
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-4)
    jax.tree.map(
        np.testing.assert_array_equal, read_adapter(tmp_path / "again", CONFIG).params, adapter
    )


def test_a_model_is_loaded_with_its_adapter(tmp_path: Path, small_codec: Codec) -> None:
    base, adapter = trained(LORA)
    save_model(tmp_path / "base", CONFIG, base, "float32", small_codec.tokenizer)
    save_adapter(tmp_path / "prm", Adapter(str(tmp_path / "base"), LORA, adapter), "float32")
    small_codec.contract.save(tmp_path / "prm")
    weights = load_weights(str(tmp_path / "prm"))
    assert weights.adapter is not None
    jax.tree.map(np.testing.assert_array_equal, weights.params, base)
    loaded = load(str(tmp_path / "prm"))
    np.testing.assert_array_equal(
        hidden(loaded.model, loaded.params), hidden(Decoder(CONFIG), merge(base, adapter, LORA))
    )
    assert loaded.codec.contract == small_codec.contract


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, '"peft_type": "LORA"'),
        ({"use_dora": True}, "not supported: use_dora is True"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern is"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base"),
        ({"init_lora_weights": "pissa_niter_4"}, "which changes the base"),
        ({"init_lora_weights": "olora"}, "which changes the base"),
        ({"init_lora_weights": "loftq"}, "which changes the base"),
        ({"r": "2"}, "expected base_model_name_or_path, r, lora_alpha"),
        ({"target_modules": ["q_proj", "wte"]}, "targets wte"),
        ({"target_modules": "all-linear"}, "target_modules as a list"),
        ({"r": 0}, "rank from 1"),
        ({"r": 10**9}, "rank from 1"),
        ({"lora_alpha": 10**400}, "expected base_model_name_or_path, r, lora_alpha"),
        ({"trainable_token_indices": 7}, "expected base_model_name_or_path, r, lora_alpha"),
        ({"target_modules": ["q_proj"]}, "is not part of the adapter"),
        ({"trainable_token_indices": None}, "is not part of the adapter"),
    ],
)
def test_what_is_not_computed_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_adapter(tmp_path, Adapter("smollm2", LORA, trained(LORA)[1]))
    path = tmp_path / ADAPTER_CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        read_adapter(tmp_path)


def test_empty_settings_are_unset_and_a_plain_start_is_read(tmp_path: Path) -> None:
    save_adapter(tmp_path, Adapter("smollm2", LORA, trained(LORA)[1]))
    expected = read_adapter(tmp_path)
    path = tmp_path / ADAPTER_CONFIG_FILE
    plain = {"modules_to_save": [], "layers_to_transform": [], "rank_pattern": {}, "eva_config": {}}
    path.write_text(
        json.dumps({**json.loads(path.read_text()), **plain, "init_lora_weights": "gaussian"})
    )
    found = read_adapter(tmp_path)
    assert found[:2] == expected[:2]
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_tensors_must_fit(tmp_path: Path) -> None:
    save_adapter(tmp_path, Adapter("smollm2", LORA, trained(LORA)[1]))
    with pytest.raises(DataError, match="the base needs"):
        read_adapter(tmp_path, replace(CONFIG, num_layers=4))
    tensors = load_file(tmp_path / ADAPTER_WEIGHTS_FILE)
    gone = min(tensors)
    del tensors[gone]
    save_file(tensors, tmp_path / ADAPTER_WEIGHTS_FILE)
    with pytest.raises(DataError, match="its SHA-256 is not that of SHA256SUMS"):
        read_adapter(tmp_path)
    (tmp_path / SUMS_FILE).unlink()
    with pytest.raises(DataError, match="is missing"):
        read_adapter(tmp_path)
    (tmp_path / ADAPTER_WEIGHTS_FILE).unlink()
    with pytest.raises(DataError, match="no such file"):
        read_adapter(tmp_path)


def test_rows_replace_the_embedding_of_their_tokens_alone() -> None:
    base, adapter = trained(LORA)
    merged = merge(base, adapter, LORA)["params"]["embed_tokens"]["embedding"]
    old = base["params"]["embed_tokens"]["embedding"]
    np.testing.assert_array_equal(merged[jnp.asarray(LORA.token_ids)], adapter[ROWS])
    others = np.setdiff1d(np.arange(CONFIG.vocab_size), LORA.token_ids)
    np.testing.assert_array_equal(merged[others], old[others])
