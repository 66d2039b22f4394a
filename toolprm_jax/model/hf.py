"""Models as Hugging Face directories: config.json, model.safetensors, tokenizer, contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.flax import load_file, save_file
from transformers import PreTrainedTokenizerBase

from ..annotation.records import DataError
from ..tokens.contract import Contract
from .decoder import DecoderConfig, Params, init_params

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

# Ours -> theirs, per layer; kernels are stored transposed.
_LAYER = {
    "input_layernorm/scale": "input_layernorm.weight",
    "post_attention_layernorm/scale": "post_attention_layernorm.weight",
    **{
        f"self_attn/{name}_proj/{ours}": f"self_attn.{name}_proj.{theirs}"
        for name in "qkvo"
        for ours, theirs in (("kernel", "weight"), ("bias", "bias"))
    },
    **{f"mlp/{name}_proj/kernel": f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")},
}
_OUTER = {
    "embed_tokens/embedding": "model.embed_tokens.weight",
    "norm/scale": "model.norm.weight",
    "lm_head/kernel": "lm_head.weight",
}


def _paths(params: Params) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(params["params"])
    return {"/".join(key.key for key in path): leaf for path, leaf in flat}


def _to_hf(params: Params) -> dict[str, jax.Array]:
    out: dict[str, jax.Array] = {}
    for path, leaf in _paths(params).items():
        transpose = path.endswith("kernel")
        if not path.startswith("layers/"):
            out[_OUTER[path]] = leaf.T if transpose else leaf
            continue
        name = _LAYER[path.removeprefix("layers/")]
        for layer, array in enumerate(leaf):
            out[f"model.layers.{layer}.{name}"] = array.T if transpose else array
    return out


def config_to_hf(config: DecoderConfig, dtype: str, end_of_text: int | None) -> dict[str, Any]:
    """The `config.json` of a decoder, as transformers' Qwen2ForCausalLM reads it."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "use_sliding_window": False,
        "max_position_embeddings": 32768,
        "eos_token_id": end_of_text,
        "torch_dtype": dtype,
    }


def config_from_hf(data: Any, source: Path) -> DecoderConfig:
    """The decoder that a `config.json` describes.

    Raises:
      DataError: an architecture or option that this decoder does not compute, or a missing field.
    """
    if not isinstance(data, dict):
        raise DataError(f"{source}: expected a JSON object")
    if data.get("model_type") != "qwen2":
        raise DataError(f"{source}: model_type is {data.get('model_type')!r}, expected 'qwen2'")
    if data.get("use_sliding_window"):
        raise DataError(f"{source}: use_sliding_window is not supported")
    if data.get("hidden_act", "silu") != "silu":
        raise DataError(f"{source}: hidden_act is {data['hidden_act']!r}, expected 'silu'")
    rope = data.get("rope_parameters") or {}
    if data.get("rope_scaling") or rope.get("rope_type", "default") != "default":
        raise DataError(f"{source}: scaled rotary positions are not supported")
    if data.get("quantization_config"):
        raise DataError(f"{source}: quantised weights are not supported")
    try:
        heads = data["num_attention_heads"]
        return DecoderConfig(
            vocab_size=data["vocab_size"],
            hidden_size=data["hidden_size"],
            intermediate_size=data["intermediate_size"],
            num_layers=data["num_hidden_layers"],
            num_heads=heads,
            num_kv_heads=data.get("num_key_value_heads", heads),
            head_dim=data.get("head_dim") or data["hidden_size"] // heads,
            rope_theta=float((rope or data).get("rope_theta", 10_000.0)),
            rms_norm_eps=float(data.get("rms_norm_eps", 1e-6)),
            tie_embeddings=bool(data.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise DataError(f"{source}: no field {error.args[0]!r}") from None


def save_model(
    directory: str | Path,
    config: DecoderConfig,
    params: Params,
    dtype: str = "bfloat16",
    tokenizer: PreTrainedTokenizerBase | None = None,
    contract: Contract | None = None,
) -> None:
    """Writes a model as a Hugging Face directory.

    Args:
      directory: made where absent.
      config: shape of the decoder.
      params: its parameters.
      dtype: dtype of the stored weights.
      tokenizer: stored beside them.
      contract: stored beside them.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    end_of_text = contract.end_of_text if contract else None
    text = json.dumps(config_to_hf(config, dtype, end_of_text), indent=2)
    (directory / CONFIG_FILE).write_text(text + "\n")
    weights = {name: jnp.asarray(array, dtype) for name, array in _to_hf(params).items()}
    save_file(weights, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    if tokenizer is not None:
        tokenizer.save_pretrained(str(directory))
    if contract is not None:
        contract.save(directory)


def load_model(directory: str | Path, dtype: str = "float32") -> tuple[DecoderConfig, Params]:
    """Reads a model from a Hugging Face directory.

    Args:
      directory: holds `config.json` and `model.safetensors`.
      dtype: dtype of the returned parameters and of the computation.

    Returns:
      The shape of the decoder and its parameters.

    Raises:
      DataError: a file is missing or damaged, or tensors are missing, extra or of another shape.
    """
    directory = Path(directory)
    try:
        data = json.loads((directory / CONFIG_FILE).read_text())
        config = config_from_hf(data, directory / CONFIG_FILE)
        tensors = load_file(directory / WEIGHTS_FILE)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or directory / WEIGHTS_FILE}: no such file") from None
    except (ValueError, SafetensorError) as error:
        raise DataError(f"{directory}: not a readable model: {error}") from None
    config = DecoderConfig(**{**config.__dict__, "dtype": dtype})
    expected = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    wanted = _paths(expected)

    problems: list[str] = []

    def take(name: str, shape: tuple[int, ...], transpose: bool) -> np.ndarray:
        stored = shape[::-1] if transpose else shape
        tensor = tensors.pop(name, None)
        if tensor is None or tensor.shape != stored:
            found = "missing" if tensor is None else f"of shape {tensor.shape}"
            problems.append(f"{name} is {found}, expected {stored}")
            return np.zeros(shape, dtype)
        array = np.asarray(tensor.astype(dtype))
        return array.T if transpose else array

    leaves: list[Any] = []
    for path, leaf in wanted.items():
        transpose = path.endswith("kernel")
        if path.startswith("layers/"):
            name = _LAYER[path.removeprefix("layers/")]
            layers = [
                take(f"model.layers.{layer}.{name}", leaf.shape[1:], transpose)
                for layer in range(config.num_layers)
            ]
            leaves.append(jnp.asarray(np.stack(layers)))
        else:
            leaves.append(jnp.asarray(take(_OUTER[path], leaf.shape, transpose)))
    if config.tie_embeddings:
        tensors.pop("lm_head.weight", None)
    problems += [f"{name} is not part of the architecture" for name in sorted(tensors)]
    if problems:
        raise DataError(f"{directory / WEIGHTS_FILE}: " + "; ".join(problems))
    return config, jax.tree.unflatten(jax.tree.structure(expected), leaves)
