"""Models as Hugging Face directories: round trips, and files that are wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from toolprm_jax.annotation.records import DataError
from toolprm_jax.model.decoder import Decoder, DecoderConfig, init_params
from toolprm_jax.model.hf import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    config_from_hf,
    config_to_hf,
    load_model,
    save_model,
)
from toolprm_jax.tokens.codec import Codec, load_tokenizer
from toolprm_jax.tokens.contract import Contract

CONFIG = DecoderConfig(
    vocab_size=17,
    hidden_size=12,
    intermediate_size=20,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    rope_theta=5_000.0,
    rms_norm_eps=1e-5,
)
TIED = replace(CONFIG, tie_embeddings=True)
LAYER = {
    "input_layernorm.weight": (12,),
    "post_attention_layernorm.weight": (12,),
    "self_attn.q_proj.weight": (16, 12),
    "self_attn.q_proj.bias": (16,),
    "self_attn.k_proj.weight": (8, 12),
    "self_attn.k_proj.bias": (8,),
    "self_attn.v_proj.weight": (8, 12),
    "self_attn.v_proj.bias": (8,),
    "self_attn.o_proj.weight": (12, 16),
    "mlp.gate_proj.weight": (20, 12),
    "mlp.up_proj.weight": (20, 12),
    "mlp.down_proj.weight": (12, 20),
}
OUTER = {
    "model.embed_tokens.weight": (17, 12),
    "model.norm.weight": (12,),
    "lm_head.weight": (17, 12),
}


@cache
def params_of(config: DecoderConfig) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32),
        jax.eval_shape(lambda: init_params(config, jax.random.key(0))),
    )


def saved(directory: Path, config: DecoderConfig = CONFIG) -> dict[str, Any]:
    """Writes a float32 model; returns its tensors."""
    save_model(directory, config, params_of(config), dtype="float32")
    return load_file(directory / WEIGHTS_FILE)


@pytest.mark.parametrize("config", [CONFIG, TIED])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_saved_is_loaded(config: DecoderConfig, dtype: str, tmp_path: Path) -> None:
    params = params_of(config)
    save_model(tmp_path / "new" / "model", config, params, dtype=dtype)
    found, loaded = load_model(tmp_path / "new" / "model", dtype=dtype)
    assert found == replace(config, dtype=dtype)
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for leaf, original in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert leaf.dtype == jnp.dtype(dtype)
        np.testing.assert_array_equal(leaf, original.astype(dtype))


def test_the_tensors_are_those_of_qwen2(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    expected = OUTER | {
        f"model.layers.{layer}.{name}": shape for layer in range(2) for name, shape in LAYER.items()
    }
    assert {name: array.shape for name, array in tensors.items()} == expected
    layers = params_of(CONFIG)["params"]["layers"]
    np.testing.assert_array_equal(
        tensors["model.layers.1.mlp.up_proj.weight"], layers["mlp"]["up_proj"]["kernel"][1].T
    )
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["torch_dtype"] == "float32"


def test_the_loaded_model_computes_the_same(tmp_path: Path) -> None:
    saved(tmp_path)
    config, params = load_model(tmp_path)
    tokens = np.arange(6, dtype=np.int32)[None]
    exits = np.full_like(tokens, 6)
    outs = [
        jax.jit(Decoder(c).apply)(p, tokens, tokens, exits)
        for c, p in ((CONFIG, params_of(CONFIG)), (config, params))
    ]
    np.testing.assert_array_equal(outs[0], outs[1])


def test_contract_and_tokenizer_lie_beside_the_weights(small_codec: Codec, tmp_path: Path) -> None:
    save_model(
        tmp_path,
        CONFIG,
        params_of(CONFIG),
        tokenizer=small_codec.tokenizer,
        contract=small_codec.contract,
    )
    assert Contract.load(tmp_path) == small_codec.contract
    again = Codec(load_tokenizer(tmp_path), Contract.load(tmp_path))
    assert again.encode("hello") == small_codec.encode("hello")
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert config["eos_token_id"] == small_codec.contract.end_of_text


@pytest.mark.parametrize(
    "name", ["lm_head.weight", "model.norm.weight", "model.layers.1.self_attn.k_proj.bias"]
)
def test_missing_and_misshapen_tensors_are_named(name: str, tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    shape = tensors[name].shape
    save_file({n: a for n, a in tensors.items() if n != name}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(DataError) as caught:
        load_model(tmp_path)
    assert f"{WEIGHTS_FILE}: {name} is missing, expected {shape}" in str(caught.value)
    save_file({**tensors, name: np.zeros((3, 5), np.float32)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(DataError) as caught:
        load_model(tmp_path)
    assert f"{name} is of shape (3, 5), expected {shape}" in str(caught.value)


def test_extra_tensors_are_named(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    extra = "model.layers.2.input_layernorm.weight"
    save_file({**tensors, extra: np.zeros(12, np.float32)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(DataError, match=f"{extra} is not part of the architecture"):
        load_model(tmp_path, dtype="bfloat16")


def test_a_tied_model_may_repeat_its_output_layer(tmp_path: Path) -> None:
    tensors = saved(tmp_path, TIED)
    assert "lm_head.weight" not in tensors
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    assert load_model(tmp_path)[0] == TIED


@pytest.mark.parametrize("keep", [0, 4, 100, -10])
def test_truncated_weights_are_refused_by_name(keep: int, tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=f"{tmp_path}: not a readable model"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_absent_files_are_named(name: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name}: no such file"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "\udcff"])
def test_a_config_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / CONFIG_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=f"{tmp_path}: not a readable model"):
        load_model(tmp_path)


SOURCE = Path("somewhere") / CONFIG_FILE


@pytest.mark.parametrize("config", [CONFIG, TIED])
def test_the_config_comes_back(config: DecoderConfig) -> None:
    assert config_from_hf(config_to_hf(config, "bfloat16", 3), SOURCE) == config


def test_qwen2_5_configs_are_read_in_both_spellings() -> None:
    old = {  # of Qwen2.5-1.5B
        "model_type": "qwen2",
        "hidden_act": "silu",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    }
    new = {key: value for key, value in old.items() if key != "rope_theta"}
    new["rope_parameters"] = {"rope_theta": 1000000.0, "rope_type": "default"}
    expected = DecoderConfig(
        vocab_size=151936,
        hidden_size=1536,
        intermediate_size=8960,
        num_layers=28,
        num_heads=12,
        num_kv_heads=2,
        head_dim=128,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_embeddings=True,
    )
    assert config_from_hf(old, SOURCE) == config_from_hf(new, SOURCE) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2', expected 'qwen2'"),
        ({"use_sliding_window": True}, "use_sliding_window is not supported"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "scaled rotary positions"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "scaled rotary positions"),
        ({"quantization_config": {"bits": 4}}, "quantised weights are not supported"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', expected 'silu'"),
    ],
)
def test_what_the_decoder_does_not_compute_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        config_from_hf({**config_to_hf(CONFIG, "float32", 0), **change}, SOURCE)
    assert str(caught.value).startswith(f"{SOURCE}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_hidden_layers"])
def test_missing_fields_are_named(name: str) -> None:
    data = config_to_hf(CONFIG, "float32", 0)
    del data[name]
    with pytest.raises(DataError, match=f"no field '{name}'"):
        config_from_hf(data, SOURCE)


def test_a_config_that_is_no_object_is_refused() -> None:
    with pytest.raises(DataError, match="expected a JSON object"):
        config_from_hf([], SOURCE)
