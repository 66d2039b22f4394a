"""Models by name: what a directory must hold, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import jax
import pytest

from toolprm_jax.model.decoder import DecoderConfig, RopeScaling, init_params
from toolprm_jax.model.files.hf import save_model
from toolprm_jax.model.files.loading import load
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.codec import Codec, load_tokenizer
from toolprm_jax.tokens.contract import CONTRACT_FILE, ContractError, make_contract

CONFIG = DecoderConfig(
    vocab_size=2048,
    hidden_size=8,
    intermediate_size=8,
    num_layers=1,
    num_heads=1,
    num_kv_heads=1,
    head_dim=8,
)


@pytest.fixture
def published(small_codec: Codec, tmp_path: Path) -> Path:
    """A model as others publish it: without a contract."""
    params = init_params(CONFIG, jax.random.key(0))
    save_model(tmp_path, CONFIG, params, tokenizer=small_codec.tokenizer)
    return tmp_path


def test_a_published_model_takes_the_template_that_is_named(
    published: Path, small_codec: Codec
) -> None:
    loaded = load(str(published), "hammer")
    assert loaded.codec.contract == make_contract(small_codec.tokenizer, 2048, "hammer")
    assert loaded.codec.template.name == "hammer"
    with pytest.raises(ContractError, match="name the template"):
        load(str(published))


def test_another_template_than_the_contracts_is_refused(
    published: Path, small_codec: Codec
) -> None:
    small_codec.contract.save(published)
    assert load(str(published), "compact").codec.contract == small_codec.contract
    with pytest.raises(ContractError, match="template is 'compact', not 'hammer'"):
        load(str(published), "hammer")


def test_another_tokenizer_than_the_contracts_is_refused(
    published: Path, small_codec: Codec
) -> None:
    replace(small_codec.contract, vocabulary="0" * 64).save(published)
    with pytest.raises(ContractError, match="another tokenizer than in training"):
        load(str(published))


@pytest.mark.parametrize("name", ["marker_ids", "label_ids", "end_of_text"])
def test_ids_past_the_embedding_are_refused(name: str, published: Path, small_codec: Codec) -> None:
    values = asdict(small_codec.contract)
    large = {"marker_ids": [*range(2044, 2049)], "label_ids": [1, 2048], "end_of_text": 2048}
    (published / CONTRACT_FILE).write_text(json.dumps({**values, name: large[name]}))
    with pytest.raises(ContractError, match="names token 2048, the embedding has 2048 rows"):
        load(str(published))


def test_a_tokenizer_larger_than_the_embedding_is_refused(
    published: Path, small_codec: Codec
) -> None:
    tokenizer = load_tokenizer(published)
    tokenizer.add_tokens([f"<extra{i}>" for i in range(2049 - len(tokenizer))])
    tokenizer.save_pretrained(str(published))
    with pytest.raises(ContractError, match="tokenizer has token 2048, the embedding has 2048"):
        load(str(published), "compact")


def test_every_end_of_a_turn_that_is_listed_ends_a_completion(
    published: Path, small_codec: Codec
) -> None:
    end = small_codec.contract.end_of_text
    (published / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, end, 9, 7]}))
    contract = load(str(published), "compact").codec.contract
    assert (contract.end_of_text, contract.other_ends) == (end, (7, 9))
    (published / "generation_config.json").write_text(json.dumps({"eos_token_id": 8}))
    assert load(str(published), "compact").codec.contract.ends == (8,)
    (published / "generation_config.json").write_text("{}")
    assert load(str(published), "compact").codec.contract.ends == (end,)
    for wrong in ([1, "2"], {"a": 1}, -1):
        (published / "generation_config.json").write_text(json.dumps({"eos_token_id": wrong}))
        with pytest.raises(DataError, match="eos_token_id: expected a token id"):
            load(str(published), "compact")
    (published / "generation_config.json").write_text(json.dumps({"eos_token_id": [2048]}))
    with pytest.raises(ContractError, match="names token 2048, the embedding has 2048"):
        load(str(published), "compact")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no such model; expected a directory, a GGUF file or smollm2"
    ):
        load("nowhere")
    with pytest.raises(DataError, match="no whole checkpoint"):
        load(str(tmp_path))


def test_a_config_survives_json() -> None:
    config = replace(CONFIG, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 8192))
    assert DecoderConfig(**json.loads(json.dumps(asdict(config)))) == config
    stretch = {**asdict(config), "rope_scaling": RopeScaling(8.0, 1.0, 4.0, 8192)._asdict()}
    assert DecoderConfig(**stretch) == config
    # As checkpoints had it before there were other architectures.
    old = {k: v for k, v in asdict(CONFIG).items() if k not in ("qk_norm", "rope_scaling")}
    assert DecoderConfig(**old) == CONFIG
