"""A tiny reward model with random weights."""

from __future__ import annotations

import jax
import pytest

from toolprm_jax.model.decoder import Decoder, DecoderConfig, init_params
from toolprm_jax.model.files.loading import LoadedModel
from toolprm_jax.tokens.codec import Codec

CONFIG = DecoderConfig(
    vocab_size=2048,
    hidden_size=24,
    intermediate_size=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    tie_embeddings=True,
)


@pytest.fixture(scope="module")
def prm(small_codec: Codec) -> LoadedModel:
    return LoadedModel(Decoder(CONFIG), init_params(CONFIG, jax.random.key(0)), small_codec)
