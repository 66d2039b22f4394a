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
from safetensors.numpy import load_file
from safetensors.numpy import save_file as write_file

from toolprm_jax.model.decoder import Decoder, DecoderConfig, init_params
from toolprm_jax.model.files.hf import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, load_model, save_model
from toolprm_jax.model.files.sums import SUMS_FILE
from toolprm_jax.model.sharding import make_mesh, param_shardings
from toolprm_jax.records.types import DataError
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


def assert_equal(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def save_file(tensors: dict[str, Any], path: Path) -> None:
    """Writes a weight file as other programs do, without sums beside it."""
    (path.parent / SUMS_FILE).unlink(missing_ok=True)
    write_file(tensors, path)


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
    assert str(caught.value) == f"{tmp_path}: {name} is missing, expected {shape}"
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


def test_a_tied_model_with_another_output_layer_is_refused(tmp_path: Path) -> None:
    tensors = saved(tmp_path, TIED)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + np.eye(17, 12, dtype="f4")
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    with pytest.raises(DataError, match=r"lm_head\.weight differs from model\.embed_tokens"):
        load_model(tmp_path)


def test_rotary_frequencies_of_old_files_are_passed_over(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_file({**saved(tmp_path), name: np.ones(2, np.float32)}, tmp_path / WEIGHTS_FILE)
    assert load_model(tmp_path)[0] == CONFIG


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_every_stored_dtype_is_read(stored: str, tmp_path: Path) -> None:
    save_model(tmp_path, CONFIG, params_of(CONFIG), dtype=stored)
    _, loaded = load_model(tmp_path, dtype="float32")
    for leaf, original in zip(
        jax.tree.leaves(loaded), jax.tree.leaves(params_of(CONFIG)), strict=True
    ):
        assert leaf.dtype == jnp.float32
        np.testing.assert_array_equal(leaf, original.astype(stored).astype("float32"))


def test_other_dtypes_are_refused_by_name(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.float64)
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    with pytest.raises(DataError, match=r"norm\.weight is stored as F64, expected one of BF16"):
        load_model(tmp_path)


def sharded(directory: Path, config: DecoderConfig = CONFIG) -> list[Path]:
    """Writes a float32 model in several files; returns them."""
    save_model(directory, config, params_of(config), dtype="float32", shard_bytes=2_000)
    assert not (directory / WEIGHTS_FILE).exists()
    return sorted(directory.glob("*.safetensors"))


def test_several_files_hold_what_one_holds(tmp_path: Path) -> None:
    files = sharded(tmp_path / "many")
    assert len(files) > 3
    one, many = saved(tmp_path / "one"), [load_file(file) for file in files]
    assert all(sum(a.nbytes for a in part.values()) <= 2_000 for part in many)
    assert sum(map(len, many)) == len(one)
    index = json.loads((tmp_path / "many" / INDEX_FILE).read_text())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in one.values())
    for file, part in zip(files, many, strict=True):
        for name, array in part.items():
            assert index["weight_map"][name] == file.name
            np.testing.assert_array_equal(array, one[name])
    assert_equal(load_model(tmp_path / "many")[1], params_of(CONFIG))


def test_a_model_written_over_another_leaves_nothing_of_it(tmp_path: Path) -> None:
    sharded(tmp_path)
    saved(tmp_path)
    assert [file.name for file in tmp_path.glob("*.safetensors*")] == [WEIGHTS_FILE]
    sharded(tmp_path)
    assert_equal(load_model(tmp_path)[1], params_of(CONFIG))


def test_a_flipped_bit_of_the_weights_is_found_out(tmp_path: Path) -> None:
    for file in [saved(tmp_path / "one") and tmp_path / "one" / WEIGHTS_FILE, *sharded(tmp_path)]:
        data = bytearray(file.read_bytes())
        data[-5] ^= 1
        file.write_bytes(data)
        with pytest.raises(DataError, match=rf"{file.name}: damaged: its SHA-256 is not that of"):
            load_model(file.parent)
        data[-5] ^= 1
        file.write_bytes(data)
        load_model(file.parent)


def test_damage_to_several_files_is_listed_by_file(tmp_path: Path) -> None:
    first, second, third, *_ = sharded(tmp_path)
    first.write_bytes(first.read_bytes()[:-3])
    second.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_model(tmp_path)
    assert f"{first.name}: truncated" in str(caught.value)
    assert f"{second.name}: truncated" in str(caught.value)
    third.unlink()
    with pytest.raises(DataError, match=f"{INDEX_FILE}: no such files: {third.name}"):
        load_model(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    first, second, *_ = sharded(tmp_path)
    name, array = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: array}, second)
    with pytest.raises(DataError, match=f"{name} is also in {second.name}"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": "../../etc/passwd"}}']
)
def test_an_index_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / INDEX_FILE).write_text(text)
    with pytest.raises(DataError, match=f"{INDEX_FILE}: expected weight_map"):
        load_model(tmp_path)


# Dimensions that split over eight devices, and some that don't.
SPLIT = replace(CONFIG, vocab_size=24, hidden_size=16, num_kv_heads=4, intermediate_size=18)


@pytest.mark.parametrize("mesh", [(2, 2, 2), (1, 8, 1), (1, 1, 8)])
def test_arrays_come_out_sharded_as_asked(mesh: tuple[int, int, int], tmp_path: Path) -> None:
    params = params_of(SPLIT)
    save_model(tmp_path, SPLIT, params, dtype="float32")
    asked = param_shardings(make_mesh(*mesh), params)
    _, loaded = load_model(tmp_path, shardings=lambda abstract: asked)
    for leaf, sharding in zip(jax.tree.leaves(loaded), jax.tree.leaves(asked), strict=True):
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
    assert any(not leaf.is_fully_replicated for leaf in jax.tree.leaves(loaded))
    assert_equal(loaded, params)


@pytest.mark.parametrize("keep", [0, 4, 100, -10])
def test_truncated_weights_are_refused_by_name(keep: int, tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=f"{tmp_path}: {WEIGHTS_FILE}: truncated or damaged"):
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
    with pytest.raises(DataError, match=f"{tmp_path / CONFIG_FILE}: expected "):
        load_model(tmp_path)
