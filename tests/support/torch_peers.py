"""Random models of transformers on torch, to compare the decoder with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from toolprm_jax.model.decoder import Decoder

torch: Any = pytest.importorskip("torch", reason="needs torch: pip install -e '.[peers]'")

from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

torch.set_num_threads(1)  # the models are too small for more
VOCAB = 96
STRETCH = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "qwen2": (Qwen2Config, {}),
    "qwen2-tied": (Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, {"tie_word_embeddings": True}),
    "llama": (LlamaConfig, {}),
    "llama3": (LlamaConfig, {"rope_parameters": STRETCH}),
    "mistral": (MistralConfig, {"sliding_window": None}),
}
ARCHITECTURES = tuple(_CONFIGS)


def make_peer(architecture: str, kv_heads: int = 2, groups: int = 2, head_dim: int = 16) -> Any:
    """A model of 2 layers on torch whose every parameter shows in its logits."""
    config_class, options = _CONFIGS[architecture]
    config = config_class(
        vocab_size=VOCAB,
        hidden_size=40,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=kv_heads * groups,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        **options,
    )
    torch.manual_seed(kv_heads * 100 + groups)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
            else:
                parameter.copy_(torch.randn_like(parameter) * parameter.shape[1] ** -0.5)
        model.get_input_embeddings().weight *= 2.0
    return model


def peer_logits(
    model: Any, tokens: NDArray[np.int32], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Logits `[B, S, V]`; positions count the tokens that `mask` shows."""
    seen = np.ones(tokens.shape, bool) if mask is None else mask
    positions = np.maximum(np.cumsum(seen, axis=1) - 1, 0)
    with torch.no_grad():
        out = model(
            input_ids=torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(seen.astype(np.int64)),
            position_ids=torch.tensor(positions, dtype=torch.long),
        )
    return out.logits.float().numpy()


def our_logits(
    model: Decoder,
    params: Any,
    tokens: NDArray[np.int32],
    positions: NDArray[np.int32],
    exits: NDArray[np.int32],
) -> NDArray[np.float32]:
    """Logits `[B, S, V]` over token trees."""

    @jax.jit
    def forward(params: Any) -> Any:
        hidden = model.apply(params, tokens, positions, exits)
        return model.apply(params, hidden, method=Decoder.logits)

    return np.asarray(forward(params))


def save_peer(model: Any, directory: Path, **options: Any) -> Path:
    """Writes the peer as transformers does."""
    model.save_pretrained(str(directory), **options)
    return directory
