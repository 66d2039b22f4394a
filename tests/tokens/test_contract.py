"""The tokenisation contract: stored, loaded, compared."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from toolprm_jax.annotation.grammar import Kind
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.contract import (
    CONTRACT_FILE,
    Contract,
    ContractError,
    make_contract,
)

CONTRACT = Contract(
    template="hammer",
    vocabulary="ab" * 32,
    end_of_text=2,
    marker_ids=(10, 11, 12, 13, 14),
    label_ids=(3, 4),
    granularity="cprm",
    target="prefix",
)
OTHER: dict[str, Any] = {
    "template": "qwen",
    "vocabulary": "cd" * 32,
    "end_of_text": 1,
    "marker_ids": (11, 12, 13, 14, 15),
    "label_ids": (4, 3),
    "granularity": None,
    "target": "label",
}


@pytest.mark.parametrize("contract", [CONTRACT, replace(CONTRACT, granularity=None, target=None)])
def test_what_is_saved_is_loaded(contract: Contract, tmp_path: Path) -> None:
    contract.save(tmp_path)
    assert Contract.load(tmp_path) == contract


def test_every_field_is_tried() -> None:
    assert {field.name for field in fields(Contract)} == OTHER.keys()


@pytest.mark.parametrize("name", OTHER)
def test_a_difference_is_named_with_both_values(name: str) -> None:
    other = replace(CONTRACT, **{name: OTHER[name]})
    with pytest.raises(ContractError) as caught:
        CONTRACT.check(other)
    message = str(caught.value)
    assert f"{name} is {getattr(CONTRACT, name)!r}" in message
    assert repr(OTHER[name]) in message
    assert not any(f"{n} is" in message for n in OTHER if n != name)
    assert "\n" not in message
    with pytest.raises(ContractError, match=name):
        CONTRACT.check(other, name)
    CONTRACT.check(other, *(n for n in OTHER if n != name))


def test_equal_contracts_pass_and_all_differences_are_listed() -> None:
    CONTRACT.check(replace(CONTRACT))
    with pytest.raises(ContractError) as caught:
        CONTRACT.check(replace(CONTRACT, **OTHER))
    assert all(f"{name} is" in str(caught.value) for name in OTHER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"template": "hammer", "marker_ids": [1], "label_ids": [1, 2]}),
        json.dumps({"marker_ids": 3, "label_ids": [1, 2]}),
    ],
)
def test_a_damaged_contract_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / CONTRACT_FILE).write_text(text)
    with pytest.raises(ContractError, match=f"{CONTRACT_FILE}: not a tokenisation contract"):
        Contract.load(tmp_path)


def test_a_missing_contract_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=f"{CONTRACT_FILE}: no such file"):
        Contract.load(tmp_path)


def test_markers_take_the_rows_past_the_tokenizer(
    small_tokenizer: PreTrainedTokenizerBase,
) -> None:
    size = len(small_tokenizer)
    contract = make_contract(small_tokenizer, size + 5, "compact", "orm", "label")
    assert contract.marker_ids == tuple(range(size, size + len(Kind)))
    assert [small_tokenizer.decode([i]) for i in contract.label_ids] == ["-", "+"]
    assert small_tokenizer.decode([contract.end_of_text]) == "<|im_end|>"
    assert (contract.granularity, contract.target) == ("orm", "label")
    with pytest.raises(ContractError, match=f"{size + 4} rows.*{size} tokens.*5 markers"):
        make_contract(small_tokenizer, size + 4, "compact")


def test_the_markers_of_qwen2_have_the_ids_of_qwen2_5(
    qwen_tokenizer: PreTrainedTokenizerBase,
) -> None:
    contract = make_contract(qwen_tokenizer, 151_936, "hammer", "toolprm", "label")
    assert contract.marker_ids == tuple(range(151_665, 151_670))
    assert contract.end_of_text == 151_645


def test_a_tokenizer_without_end_of_text_is_refused(
    small_tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer = copy.deepcopy(small_tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(ContractError, match="end-of-text"):
        make_contract(tokenizer, 4096, "compact")


def test_a_codec_refuses_another_tokenizer(small_codec: Codec) -> None:
    tokenizer = copy.deepcopy(small_codec.tokenizer)
    tokenizer.add_tokens(["zzz"])
    with pytest.raises(ContractError, match="another tokenizer than in training"):
        Codec(tokenizer, small_codec.contract)
