"""Bytes of every token of a byte-level BPE tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..records import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NO_BYTE = "\uffff"  # has no place in Latin-1, so encoding to it fails


@lru_cache(maxsize=1)
def _alphabet() -> dict[int, str]:
    """The characters of GPT-2's byte-level BPE as Latin-1: printable bytes stand for themselves."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    table = dict.fromkeys(others, _NO_BYTE)
    return table | {256 + index: chr(byte) for index, byte in enumerate(others)}


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes | None]:
    """The bytes that each token id stands for.

    Args:
      tokenizer: a byte-level BPE tokenizer (Qwen2, Llama 3, GPT-2 ...).

    Returns:
      One entry per id in `range(len(tokenizer))`; None for special tokens, which stand for no
      bytes of the text. Added tokens that are not special (`<tool_call>` of Qwen2.5) stand for
      their own text.

    Raises:
      DataError: a token has a character outside the byte-level alphabet.
    """
    alphabet = _alphabet()
    added = tokenizer.added_tokens_decoder
    out: list[bytes | None] = []
    for token_id, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))):
        if token_id in added:
            out.append(None if added[token_id].special else added[token_id].content.encode())
            continue
        if token is None:
            out.append(None)
            continue
        try:
            out.append(token.translate(alphabet).encode("latin-1"))
        except UnicodeEncodeError as error:
            raise DataError(
                f"the tokenizer's token {token_id} ({token!r}) is not byte-level BPE: "
                f"character {token[error.start]!r} stands for no byte"
            ) from None
    return out


def byte_table(pieces: Sequence[bytes | None], rows: int) -> tuple[NDArray, NDArray]:
    """Token bytes as arrays for the device.

    Args:
      pieces: from `token_bytes`.
      rows: number of rows of the model's embedding, at least `len(pieces)`.

    Returns:
      `uint8[rows, max_bytes]` and their lengths `int32[rows]`, -1 for ids without bytes.
    """
    width = max(len(piece) for piece in pieces if piece is not None)
    table = np.zeros((rows, width), np.uint8)
    lengths = np.full(rows, -1, np.int32)
    for token_id, piece in enumerate(pieces):
        if piece is not None:
            table[token_id, : len(piece)] = np.frombuffer(piece, np.uint8)
            lengths[token_id] = len(piece)
    return table, lengths


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase, without: Sequence[str] = ()) -> str:
    """SHA-256 over the id of every token, hex.

    Args:
      tokenizer: any tokenizer.
      without: tokens left out: exported tokenizers have markers, those in training had none.
    """
    tokens = tokenizer.get_vocab().items()
    vocabulary = sorted((item for item in tokens if item[0] not in without), key=lambda x: x[1])
    return hashlib.sha256(json.dumps(vocabulary, ensure_ascii=True).encode()).hexdigest()


def ends_to_tokens(lengths: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Index of the token that holds the byte just before each end; -1 for an end of 0.

    Args:
      lengths: bytes of each token of the completion.
      ends: byte offsets just past a boundary.
    """
    return [int(i) for i in np.searchsorted(np.cumsum([0, *lengths]), ends, side="left") - 1]
