"""GGUF files: every quantisation against the weights it came from, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from toolprm_jax.model.decoder import Decoder, DecoderConfig, RopeScaling, init_params
from toolprm_jax.model.files.gguf import SMOLLM2_INSTALL, load_gguf, smollm2_file
from toolprm_jax.model.files.loading import load, load_weights
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.codec import load_tokenizer
from toolprm_jax.toolworld.embedded import TOKENIZER

LLAMA = DecoderConfig(
    vocab_size=320,
    hidden_size=256,
    intermediate_size=256,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    rope_theta=100_000.0,
    rms_norm_eps=1e-5,
    qkv_bias=False,
    tie_embeddings=True,
    max_positions=512,
)
QWEN = DecoderConfig(**{**LLAMA.__dict__, "qkv_bias": True, "tie_embeddings": False})
_NAMES = {"self_attn/q_proj": "attn_q", "self_attn/k_proj": "attn_k", "self_attn/v_proj": "attn_v"}
_NAMES |= {"self_attn/o_proj": "attn_output", "mlp/gate_proj": "ffn_gate", "mlp/up_proj": "ffn_up"}
_NAMES |= {"mlp/down_proj": "ffn_down"}
_NAMES |= {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head in the order that llama.cpp stores: pairs side by side."""
    halves = weight.reshape(heads, 2, -1, *weight.shape[1:])
    return np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(weight.shape)


def write(
    path: Path,
    config: DecoderConfig,
    params: Any,
    kind: str = "F32",
    raw: Mapping[str, tuple[np.ndarray, gguf.GGMLQuantizationType]] = MappingProxyType({}),
    **fields: Any,
) -> Path:
    """A GGUF file of some parameters; matrices are stored as `kind`, those in `raw` as they are."""
    architecture = "qwen2" if config.qkv_bias else "llama"
    factors = fields.pop("rope_factors", None)
    writer = gguf.GGUFWriter(path, fields.pop("architecture", architecture))
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for name, value in fields.items():
        writer.add_string(f"{architecture}.{name.replace('__', '.')}", value)
    outer = params["params"]

    def add(name: str, value: np.ndarray) -> None:
        value = np.ascontiguousarray(value, np.float32)
        matrix = value.ndim == 2 and not name.endswith("norm.weight")
        stored = gguf.GGMLQuantizationType[kind if matrix else "F32"]
        data, stored = raw.get(name) or (gguf.quantize(value, stored), stored)
        writer.add_tensor(name, data, raw_dtype=stored)

    if factors is not None:
        add("rope_freqs.weight", factors)
    add("token_embd.weight", outer["embed_tokens"]["embedding"])
    add("output_norm.weight", outer["norm"]["scale"])
    if not config.tie_embeddings:
        add("output.weight", outer["lm_head"]["kernel"].T)
    for ours, theirs in _NAMES.items():
        module = outer["layers"]
        for part in ours.split("/"):
            module = module[part]
        heads = {"attn_q": config.num_heads, "attn_k": config.num_kv_heads}.get(theirs, 0)
        for layer in range(config.num_layers):
            for leaf, suffix in (("kernel", "weight"), ("scale", "weight"), ("bias", "bias")):
                if leaf not in module:
                    continue
                value = np.asarray(module[leaf][layer])
                value = value.T if leaf == "kernel" else value
                if heads and architecture == "llama":
                    value = interleaved(value, heads)
                add(f"blk.{layer}.{theirs}.{suffix}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("config", [LLAMA, QWEN], ids=["llama", "qwen2"])
def test_a_file_gives_the_parameters_back(config: DecoderConfig, tmp_path: Path) -> None:
    params = init_params(config, jax.random.key(0))
    found, read = load_gguf(write(tmp_path / "m.gguf", config, params))
    assert found == config
    jax.tree.map(np.testing.assert_array_equal, read, params)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("F16", 1e-3), ("BF16", 8e-3), ("Q8_0", 0.01), ("Q4_0", 0.15), ("Q4_1", 0.12)],
)
def test_quantised_matrices_are_near(kind: str, error: float, tmp_path: Path) -> None:
    params = init_params(LLAMA, jax.random.key(1))
    read = load_gguf(write(tmp_path / "m.gguf", LLAMA, params, kind))[1]
    for (path, a), (_, b) in zip(
        jax.tree.leaves_with_path(params), jax.tree.leaves_with_path(read), strict=True
    ):
        difference = float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a))
        assert difference <= error, (path, difference)


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K"])
def test_k_quants_are_read_as_the_library_reads_them(kind: str, tmp_path: Path) -> None:
    """The library does not write them, so the blocks are random bytes with sane scales."""
    stored = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[stored]
    rng = np.random.default_rng(0)
    raw = rng.integers(256, size=(320, 256 // block * size), dtype=np.uint8)
    scales = [0, 2] if kind == "Q4_K" else [size - 2]
    for at in scales:
        raw[:, at : at + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    params = init_params(LLAMA, jax.random.key(2))
    path = write(tmp_path / "m.gguf", LLAMA, params, raw={"token_embd.weight": (raw, stored)})
    read = load_gguf(path)[1]["params"]["embed_tokens"]["embedding"]
    np.testing.assert_array_equal(read, gguf.dequantize(raw, stored))


def llama3_factors(config: DecoderConfig, factor: float) -> np.ndarray:
    """What the converter of llama.cpp stores for Llama 3.1's `rope_scaling`."""
    out = []
    for pair in range(config.head_dim // 2):
        wavelength = 2 * np.pi * config.rope_theta ** (2 * pair / config.head_dim)
        smooth = (8192 / wavelength - 1.0) / (4.0 - 1.0)
        if wavelength < 8192 / 4:
            out.append(1.0)
        elif wavelength > 8192:
            out.append(factor)
        else:
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.asarray(out, np.float32)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3s_stretch_is_known_by_its_quotients(factor: float, tmp_path: Path) -> None:
    config = replace(LLAMA, rope_theta=500_000.0)
    params = init_params(config, jax.random.key(0))
    path = tmp_path / "m.gguf"
    found, _ = load_gguf(write(path, config, params, rope_factors=llama3_factors(config, factor)))
    assert found == replace(config, rope_scaling=RopeScaling(factor, 1.0, 4.0, 8192))
    ones = np.ones(config.head_dim // 2)
    assert load_gguf(write(path, config, params, rope_factors=ones))[0] == config
    for wrong in (ones * 2, llama3_factors(config, factor)[::-1], ones[1:] * factor):
        with pytest.raises(DataError, match="is no stretch of Llama 3's"):
            load_gguf(write(path, config, params, rope_factors=wrong))


def test_what_is_not_computed_is_refused(tmp_path: Path) -> None:
    params = init_params(LLAMA, jax.random.key(3))
    path = tmp_path / "m.gguf"
    with pytest.raises(DataError, match="architecture is 'gemma3', expected one of llama, qwen2"):
        load_gguf(write(path, LLAMA, params, architecture="gemma3"))
    with pytest.raises(DataError, match=r"rope.scaling.type is 'yarn'"):
        load_gguf(write(path, LLAMA, params, rope__scaling__type="yarn"))
    with pytest.raises(DataError, match=r"quantisation is not read: .*\(Q5_1\)"):
        load_gguf(write(path, LLAMA, params, "Q5_1"))
    with pytest.raises(DataError, match="no such file"):
        load_gguf(tmp_path / "nowhere.gguf")
    whole = write(path, LLAMA, params).read_bytes()
    for cut in (0, 10, 300, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="not a whole GGUF file"):
            load_gguf(path)


def test_the_absent_base_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolprm_jax.model.files.gguf.find_spec", lambda name: None)
    with pytest.raises(DataError, match=re.escape(SMOLLM2_INSTALL)):
        load("smollm2", "compact")


def installed() -> Path:
    try:
        return smollm2_file()
    except DataError as error:
        pytest.skip(str(error))


def test_the_installed_base_answers() -> None:
    installed()
    config, params, *_ = load_weights("smollm2")
    tokenizer = load_tokenizer(TOKENIZER)
    text = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[assignment]
    model = Decoder(config)
    prompt, width = len(ids), len(ids) + 8

    @jax.jit
    def following(tokens: jax.Array, at: int) -> jax.Array:
        positions = jnp.arange(width)[None]
        hidden: Any = model.apply(params, tokens, positions, jnp.full((1, width), width))
        logits: Any = model.apply(params, hidden[0, at], method=Decoder.logits)
        return jnp.argmax(logits)

    for _ in range(8):
        padded = jnp.asarray([[*ids, *[0] * (width - len(ids))]])
        ids.append(int(following(padded, len(ids) - 1)))
    assert "Paris" in str(tokenizer.decode(ids[prompt:]))


def test_the_base_computes_what_transformers_computes() -> None:
    torch = pytest.importorskip("torch", reason="the extra peers")
    transformers = pytest.importorskip("transformers")
    file = installed()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.float32
    ).eval()
    config, params, *_ = load_weights("smollm2")
    model, rng, length = Decoder(config), np.random.default_rng(0), 48

    @jax.jit
    def logits(tokens: jax.Array) -> Any:
        hidden = model.apply(
            params, tokens, jnp.arange(length)[None], jnp.full((1, length), length)
        )
        return model.apply(params, hidden, method="logits")

    for _ in range(20):
        tokens = rng.integers(17, config.vocab_size, size=(1, length))
        with torch.no_grad():
            expected = theirs(torch.tensor(tokens)).logits.numpy()
        found = np.asarray(logits(jnp.asarray(tokens)))
        assert np.abs(found - expected).max() < 1e-3
