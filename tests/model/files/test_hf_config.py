"""`config.json` of the supported models, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.model.decoder import DecoderConfig, RopeScaling
from toolprm_jax.model.files.hf import CONFIG_FILE
from toolprm_jax.model.files.hf_config import config_from_hf, config_to_hf
from toolprm_jax.records.types import DataError

SOURCE = Path("somewhere") / CONFIG_FILE
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
STRETCH = RopeScaling(8.0, 1.0, 4.0, 8192)
QWEN2_5: dict[str, Any] = {  # 1.5B
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "max_window_layers": 21,
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3: dict[str, Any] = {  # 0.6B
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "vocab_size": 151936,
}
LLAMA: dict[str, Any] = {  # 3.1 8B
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", **STRETCH._asdict()},
    "vocab_size": 128256,
}
MISTRAL: dict[str, Any] = {  # 7B v0.3
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "vocab_size": 32768,
}


def read(data: dict[str, Any], **changes: Any) -> DecoderConfig:
    return config_from_hf({**data, **changes}, SOURCE)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, tie_embeddings=True, max_positions=77),
        replace(CONFIG, qkv_bias=False, qk_norm=True),
        replace(CONFIG, qkv_bias=False, rope_scaling=STRETCH),
    ],
)
def test_the_config_comes_back(config: DecoderConfig) -> None:
    assert read(config_to_hf(config, "bfloat16", 3)) == config


def test_what_no_architecture_has_is_not_written() -> None:
    with pytest.raises(DataError, match="both qk_norm and qkv_bias"):
        config_to_hf(replace(CONFIG, qk_norm=True), "bfloat16", 3)


def test_qwen2_5_is_read_in_both_spellings_of_the_rotary_fields() -> None:
    new = {key: value for key, value in QWEN2_5.items() if key != "rope_theta"}
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
    assert read(QWEN2_5) == read(new) == expected
    # The window starts above the last layer, so no layer has it.
    assert read(QWEN2_5, use_sliding_window=True, max_window_layers=28) == expected


def test_qwen3_has_normalised_heads_of_a_size_of_their_own() -> None:
    config = read(QWEN3)
    assert (config.qk_norm, config.qkv_bias, config.head_dim) == (True, False, 128)
    assert config.num_heads * config.head_dim == 2 * config.hidden_size


def test_llama_3_has_stretched_positions_and_mistral_none() -> None:
    llama, mistral = read(LLAMA), read(MISTRAL)
    assert llama.rope_scaling == STRETCH
    assert mistral.rope_scaling is None
    for config in (llama, mistral):
        assert (config.qk_norm, config.qkv_bias, config.head_dim) == (False, False, 128)
    assert llama.max_positions == 131_072


@pytest.mark.parametrize(
    ("data", "change", "message"),
    [
        (QWEN2_5, {"model_type": ["qwen2"]}, "model_type is ['qwen2'], expected one of qwen2"),
        (QWEN2_5, {"model_type": {}}, "model_type is {}, expected one of qwen2"),
        (QWEN2_5, {"model_type": "gpt2"}, "model_type is 'gpt2', expected one of qwen2, qwen3"),
        (QWEN2_5, {"architectures": ["Qwen2ForSequenceClassification"]}, "architectures is ['Qwen"),
        (QWEN2_5, {"use_sliding_window": True}, "use_sliding_window is true from layer 21"),
        (QWEN2_5, {"layer_types": ["sliding_attention"] * 28}, "layer_types has 'sliding_attent"),
        (MISTRAL, {"sliding_window": 4096}, "sliding_window is 4096, expected null"),
        (QWEN2_5, {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_type is 'yarn'"),
        (QWEN2_5, {"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        (LLAMA, {"rope_scaling": {"rope_type": "linear", "factor": 2}}, "rope_type is 'linear'"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        (QWEN2_5, {"quantization_config": {"bits": 4}}, "quantization_config is set"),
        (QWEN2_5, {"hidden_act": "gelu"}, "hidden_act is 'gelu', expected 'silu'"),
        (QWEN3, {"attention_bias": True}, "attention_bias is true"),
        (LLAMA, {"mlp_bias": True}, "mlp_bias is true"),
        (QWEN2_5, {"num_key_value_heads": 5}, "num_heads 12 is no multiple of"),
        (QWEN2_5, {"hidden_size": "wide"}, "hidden_size is 'wide', expected a positive integer"),
        (QWEN2_5, {"rope_theta": None}, "rope_theta is None, expected a positive number"),
        (QWEN2_5, {"rope_scaling": [1]}, "rope_scaling is [1], expected an object"),
        (QWEN2_5, {"rope_theta": math.nan}, "rope_theta is nan, expected a positive number"),
        (QWEN2_5, {"rms_norm_eps": math.inf}, "rms_norm_eps is inf, expected a positive number"),
        (QWEN2_5, {"rope_theta": 10**400}, "a field has a value of another kind"),
        (QWEN2_5, {"layer_types": [{}]}, "a field has a value of another kind"),
        (QWEN2_5, {"layer_types": 1}, "a field has a value of another kind"),
        (QWEN2_5, {"num_hidden_layers": 10**9}, "num_layers: expected an integer from 1 to 4096"),
        (QWEN2_5, {"vocab_size": 10**30}, "vocab_size: expected an integer from 1 to 16777216"),
    ],
)
def test_what_the_decoder_does_not_compute_is_refused(
    data: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(data, **change)
    assert str(caught.value).startswith(f"{SOURCE}: ")
    assert message in str(caught.value)


def test_all_that_is_not_supported_is_listed() -> None:
    with pytest.raises(DataError) as caught:
        read(LLAMA, mlp_bias=True, hidden_act="gelu", quantization_config={"bits": 4})
    assert all(name in str(caught.value) for name in ("mlp_bias", "hidden_act", "quantization"))


def test_an_absent_window_of_mistral_means_a_window() -> None:
    data = {key: value for key, value in MISTRAL.items() if key != "sliding_window"}
    with pytest.raises(DataError, match="sliding_window is absent, which means 4096"):
        read(data)


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_hidden_layers"])
def test_missing_fields_are_named(name: str) -> None:
    data = {key: value for key, value in QWEN2_5.items() if key != name}
    with pytest.raises(DataError, match=f"no field '{name}'"):
        read(data)


@pytest.mark.parametrize("name", ["factor", "low_freq_factor", "high_freq_factor"])
def test_missing_fields_of_the_stretch_are_named(name: str) -> None:
    stretch = {key: value for key, value in LLAMA["rope_scaling"].items() if key != name}
    with pytest.raises(DataError, match=f"no field '{name}'"):
        read(LLAMA, rope_scaling=stretch)


def test_a_config_that_is_no_object_is_refused() -> None:
    with pytest.raises(DataError, match="expected a JSON object"):
        config_from_hf([], SOURCE)
