"""`config.json` of Hugging Face models: what the decoder computes, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ...records import DataError
from ..decoder import DecoderConfig, RopeScaling, checked_shape

ARCHITECTURES = {
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
}
# What transformers takes where config.json says nothing.
_ROPE_THETA = 10_000.0
_EPSILON = 1e-6
_QWEN_WINDOW_LAYERS = 28
_QWEN3_HEAD_DIM = 128


def config_to_hf(config: DecoderConfig, dtype: str, end_of_text: int | None) -> dict[str, Any]:
    """The `config.json` of a decoder, as transformers and vLLM read it.

    Mistral without a sliding window is Llama under another name, and is written as Llama.

    Raises:
      DataError: no architecture has these options.
    """
    if config.qk_norm and config.qkv_bias:
        raise DataError("config: no Hugging Face architecture has both qk_norm and qkv_bias")
    model_type = "qwen3" if config.qk_norm else "qwen2" if config.qkv_bias else "llama"
    scaling = config.rope_scaling
    return {
        "architectures": [ARCHITECTURES[model_type]],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rope_theta": config.rope_theta,
        "rope_scaling": scaling and {"rope_type": "llama3", **scaling._asdict()},
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        **({} if model_type == "llama" else {"use_sliding_window": False}),
        "max_position_embeddings": config.max_positions,
        "bos_token_id": None,
        "eos_token_id": end_of_text,
        "torch_dtype": dtype,
    }


def config_from_hf(data: Any, source: Path) -> DecoderConfig:
    """The decoder that a `config.json` describes.

    Args:
      data: what the file holds.
      source: its path, for messages.

    Raises:
      DataError: a field that this decoder does not compute, a missing one, or one of a wrong type.
    """
    if not isinstance(data, dict):
        raise DataError(f"{source}: expected a JSON object")
    model_type = data.get("model_type")
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        expected = ", ".join(ARCHITECTURES)
        raise DataError(f"{source}: model_type is {model_type!r}, expected one of {expected}")
    try:
        problems = _unsupported(data, model_type)
        if problems:
            raise DataError(f"{source}: not supported: {'; '.join(problems)}")
        heads = _size(data, "num_attention_heads")
        head_dim = _QWEN3_HEAD_DIM if model_type == "qwen3" else _size(data, "hidden_size") // heads
        if data.get("head_dim") is not None:
            head_dim = _size(data, "head_dim")
        kv_heads = heads
        # Absent means as many as heads to Llama alone; the others have odd defaults.
        if data.get("num_key_value_heads") is not None or model_type != "llama":
            kv_heads = _size(data, "num_key_value_heads")
        config = DecoderConfig(
            vocab_size=_size(data, "vocab_size"),
            hidden_size=_size(data, "hidden_size"),
            intermediate_size=_size(data, "intermediate_size"),
            num_layers=_size(data, "num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=head_dim,
            rope_theta=_number({**data, **_rope(data)}, "rope_theta", _ROPE_THETA),
            rope_scaling=_rope_scaling(data),
            rms_norm_eps=_number(data, "rms_norm_eps", _EPSILON),
            qkv_bias=model_type == "qwen2",
            qk_norm=model_type == "qwen3",
            tie_embeddings=bool(data.get("tie_word_embeddings", False)),
            max_positions=int(
                _number(data, "max_position_embeddings", DecoderConfig.max_positions)
            ),
        )
    except KeyError as error:
        raise DataError(f"{source}: no field {error.args[0]!r}") from None
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{source}: {error}") from None
    except (TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{source}: a field has a value of another kind: {error}") from None
    return checked_shape(config, source)


def _size(data: dict[str, Any], name: str) -> int:
    value = data[name]
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is {value!r}, expected a positive integer")
    return value


def _number(data: dict[str, Any], name: str, default: float | None = None) -> float:
    value = data.get(name, default) if default is not None else data[name]
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}, expected a positive number")
    return float(value)


def _rope(data: dict[str, Any]) -> dict[str, Any]:
    """Parameters of the rotary embedding; transformers renamed the field in its version 5."""
    rope = data.get("rope_scaling") or data.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise ValueError(f"rope_scaling is {rope!r}, expected an object")
    return rope


def _rope_type(data: dict[str, Any]) -> str:
    rope = _rope(data)
    return rope.get("rope_type", rope.get("type", "default"))


def _rope_scaling(data: dict[str, Any]) -> RopeScaling | None:
    if _rope_type(data) == "default":
        return None
    rope = _rope(data)
    for place in (data, rope):
        if place.get("original_max_position_embeddings"):
            original = _size(place, "original_max_position_embeddings")
            break
    else:
        original = _size(data, "max_position_embeddings")
    return RopeScaling(
        factor=_number(rope, "factor"),
        low_freq_factor=_number(rope, "low_freq_factor"),
        high_freq_factor=_number(rope, "high_freq_factor"),
        original_max_position_embeddings=original,
    )


def _window(data: dict[str, Any], model_type: str) -> str | None:
    """The field that puts a sliding window to use, or None."""
    layer_types = data.get("layer_types")
    if layer_types:
        other = sorted(set(layer_types) - {"full_attention"})
        return f"layer_types has {other[0]!r}" if other else None
    if model_type == "mistral":
        # Absent means 4,096 to transformers.
        window = data.get("sliding_window", "absent, which means 4096")
        return None if window is None else f"sliding_window is {window}, expected null"
    if model_type == "llama" or not data.get("use_sliding_window"):
        return None
    first = data.get("max_window_layers", _QWEN_WINDOW_LAYERS)
    if data.get("sliding_window", 0) is None or first >= data["num_hidden_layers"]:
        return None
    return f"use_sliding_window is true from layer {first} on"


def _unsupported(data: dict[str, Any], model_type: str) -> list[str]:
    """The fields that would change the result and that the decoder does not compute."""
    problems = []
    window = _window(data, model_type)
    if window:
        problems.append(window)
    if data.get("hidden_act", "silu") != "silu":
        problems.append(f"hidden_act is {data['hidden_act']!r}, expected 'silu'")
    rope = _rope(data)
    if any(isinstance(value, dict) for value in rope.values()):
        problems.append("rope_parameters differ between layers")
    elif _rope_type(data) not in ("default", "llama3"):
        problems.append(f"rope_type is {_rope_type(data)!r}, expected 'default' or 'llama3'")
    partial = rope.get("partial_rotary_factor", data.get("partial_rotary_factor"))
    if partial not in (None, 1):
        problems.append(f"partial_rotary_factor is {partial}")
    problems += [
        f"{name} is set" for name in ("quantization_config", "compression_config") if data.get(name)
    ]
    biases = {"llama": ("attention_bias", "mlp_bias"), "qwen3": ("attention_bias",)}
    problems += [f"{name} is true" for name in biases.get(model_type, ()) if data.get(name)]
    architectures = data.get("architectures") or [ARCHITECTURES[model_type]]
    if architectures != [ARCHITECTURES[model_type]]:
        problems.append(f"architectures is {architectures}, expected {[ARCHITECTURES[model_type]]}")
    return problems
