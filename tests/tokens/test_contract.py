"""The tokenisation contract: stored, loaded, compared."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AddedToken, PreTrainedTokenizerBase

from toolprm_jax.grammar.types import Kind
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.contract import (
    CONTRACT_FILE,
    MARKER_TOKENS,
    Contract,
    ContractError,
    add_marker_tokens,
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
    chat_template="ef" * 32,
    other_ends=(7,),
)
OTHER: dict[str, Any] = {
    "template": "qwen",
    "vocabulary": "cd" * 32,
    "end_of_text": 1,
    "marker_ids": (11, 12, 13, 14, 15),
    "label_ids": (4, 3),
    "granularity": None,
    "target": "label",
    "chat_template": None,
    "other_ends": (7, 8),
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
    assert not any(re.search(rf"\b{n} is", message) for n in OTHER if n != name)
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
        json.dumps({**asdict(CONTRACT), "marker_ids": [1, 2]}),
        json.dumps({**asdict(CONTRACT), "label_ids": ["+", "-"]}),
        json.dumps({**asdict(CONTRACT), "granularity": "fine"}),
        json.dumps({**asdict(CONTRACT), "target": "suffix"}),
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


def test_a_contract_from_before_chat_templates_loads(tmp_path: Path) -> None:
    data = {key: value for key, value in asdict(CONTRACT).items() if key != "chat_template"}
    (tmp_path / CONTRACT_FILE).write_text(json.dumps(data))
    assert Contract.load(tmp_path) == replace(CONTRACT, chat_template=None)


def test_llama_3_gives_reserved_tokens_to_the_markers(
    small_tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer = copy.deepcopy(small_tokenizer)
    first = len(tokenizer)
    names = ["<|other|>", *(f"<|reserved_special_token_{k}|>" for k in range(6))]
    tokenizer.add_tokens([AddedToken(name, special=True) for name in names], special_tokens=True)
    contract = make_contract(tokenizer, len(tokenizer), "compact")
    assert contract.marker_ids == tuple(range(first + 1, first + 6))
    add_marker_tokens(tokenizer, contract)
    assert len(tokenizer) == first + len(names)
    assert Codec(tokenizer, contract).contract == contract


def test_added_markers_keep_the_contract_and_no_other_ids_do(small_codec: Codec) -> None:
    contract = small_codec.contract
    tokenizer = copy.deepcopy(small_codec.tokenizer)
    add_marker_tokens(tokenizer, contract)
    vocabulary = tokenizer.get_vocab()
    assert tuple(vocabulary[token] for token in MARKER_TOKENS) == contract.marker_ids
    assert Codec(tokenizer, contract).encode(MARKER_TOKENS[0]) == small_codec.encode(
        MARKER_TOKENS[0]
    )
    moved = copy.deepcopy(small_codec.tokenizer)
    moved.add_tokens(list(reversed(MARKER_TOKENS)), special_tokens=True)
    with pytest.raises(ContractError, match="marker_ids"):
        Codec(moved, contract)
    other = copy.deepcopy(small_codec.tokenizer)
    other.add_tokens(["zzz"])
    with pytest.raises(ContractError, match="gives the markers the ids"):
        add_marker_tokens(other, contract)
