"""The bytes of tokens against what the tokenizers themselves encode."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AddedToken, PreTrainedTokenizerBase

from toolprm_jax.records.readers import read_records
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.vocabulary import byte_table, ends_to_tokens, token_bytes, vocabulary_hash

TEXTS = [
    "",
    " ",
    "\t\r\n  \n",
    '[{"name": "a.b", "arguments": {"x": -1.5e3, "y": ["é", "日本", "🙂"]}}]',
    "naïve Ångström, 中文, العربية, हिन्दी, 👩‍👩‍👧",
    "\x00\x01\x7f\u0080\u00ad\u2028\ufeff",
    "'s 'LL 12345 <|x|>",
]


def check_spelling(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> None:
    pieces = token_bytes(tokenizer)
    encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    for text, ids in zip(texts, encoded, strict=True):  # type: ignore[arg-type]
        assert b"".join(pieces[i] or b"" for i in ids) == text.encode(), text


def test_token_bytes_spell_the_text_with_qwen2(
    qwen_tokenizer: PreTrainedTokenizerBase, shared_data: Path
) -> None:
    records = read_records(shared_data / "toolalpaca" / "toolalpaca_114.json", "toolalpaca")
    queries = [record.query for record in records]
    check_spelling(qwen_tokenizer, TEXTS + queries)


def test_token_bytes_spell_the_text_with_a_small_tokenizer(
    small_tokenizer: PreTrainedTokenizerBase,
) -> None:
    check_spelling(small_tokenizer, TEXTS)


@given(text=st.text())
def test_exact_encoding_spells_any_text(small_codec: Codec, text: str) -> None:
    assert small_codec.decode(small_codec.encode_bytes(text)) == text.encode()


@pytest.mark.parametrize("name", ["small_tokenizer", "qwen_tokenizer"])
def test_every_byte_is_a_token(name: str, request: pytest.FixtureRequest) -> None:
    pieces = token_bytes(request.getfixturevalue(name))
    single = [piece for piece in pieces if piece is not None and len(piece) == 1]
    assert sorted(single) == [bytes([byte]) for byte in range(256)]


def test_special_tokens_have_no_bytes_and_plain_added_ones_their_text(
    small_tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer = copy.deepcopy(small_tokenizer)
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    pieces = token_bytes(tokenizer)
    assert len(pieces) == len(small_tokenizer) + 1
    assert pieces[-1] == b"<tool_call>"
    for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        assert pieces[tokenizer.convert_tokens_to_ids(name)] is None  # type: ignore[index]
    check_spelling(tokenizer, ["<tool_call>\n{}</tool_call>"])


def test_a_vocabulary_that_is_not_byte_level_is_refused(
    small_tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pieces(ids: list[int]) -> list[str]:
        return ["▁the" for _ in ids]  # SentencePiece's space

    tokenizer = copy.copy(small_tokenizer)
    monkeypatch.setattr(tokenizer, "convert_ids_to_tokens", pieces)
    with pytest.raises(ValueError, match=r"'▁the'.*not byte-level BPE"):
        token_bytes(tokenizer)


def test_byte_table_holds_the_pieces() -> None:
    pieces = [b"ab", None, b"", b"\x00", b"xyz"]
    table, lengths = byte_table(pieces, 7)
    assert table.shape == (7, 3)
    assert table.dtype == np.uint8
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [2, -1, 0, 1, 3, -1, -1]
    for token_id, piece in enumerate(pieces):
        if piece is not None:
            assert table[token_id, : lengths[token_id]].tobytes() == piece


@given(st.lists(st.integers(0, 4)), st.data())
def test_ends_fall_on_the_token_of_the_byte_before(lengths: list[int], data: st.DataObject) -> None:
    total = sum(lengths)
    ends = data.draw(st.lists(st.integers(0, total)))
    owners = [index for index, length in enumerate(lengths) for _ in range(length)]
    expected = [owners[end - 1] if end else -1 for end in ends]
    assert ends_to_tokens(lengths, ends) == expected


def test_the_hash_follows_ids_and_tokens(small_tokenizer: PreTrainedTokenizerBase) -> None:
    same = vocabulary_hash(copy.deepcopy(small_tokenizer))
    assert same == vocabulary_hash(small_tokenizer)
    assert len(bytes.fromhex(same)) == 32
    other = copy.deepcopy(small_tokenizer)
    other.add_tokens(["zzz"])
    assert vocabulary_hash(other) != same


def test_the_hash_survives_saving(small_tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    small_tokenizer.save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    again = type(small_tokenizer).from_pretrained(str(tmp_path), local_files_only=True)
    assert vocabulary_hash(again) == vocabulary_hash(small_tokenizer)
