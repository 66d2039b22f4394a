"""Records and completions to token ids and back, under one contract."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..annotation import gold_completion
from ..records import DataError, Record, read_json
from .contract import MARKER_TOKENS, Contract, ContractError, chat_template_hash
from .prompts import Template, chat_messages, chat_tools, get_template
from .vocabulary import token_bytes, vocabulary_hash

# What is read beside tokenizer.json, where it is there.
_TEXTS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a Hugging Face directory; never downloads, and never runs its code.

    Raises:
      DataError: there is none, it is damaged, or it needs code of its own (`auto_map`).
    """
    folder = Path(directory)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise DataError(f"{folder}: no tokenizer.json")
    for path in (folder / name for name in _TEXTS):
        if path.is_file():
            refuse_code(path, read_json(path))
    try:
        # Not AutoTokenizer, which looks for classes that the directory brings.
        return PreTrainedTokenizerFast.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises nothing more special
        raise DataError(f"{file}: not a tokenizer that can be read: {error}") from None


def refuse_code(path: Path, data: Any) -> None:
    """Raises a DataError where a file of a model directory names Python code to be run."""
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a JSON object")
    if data.get("auto_map"):
        raise DataError(f"{path}: auto_map names code to be run, which is never done")


class Codec:
    """A tokenizer with the template and the ids of a contract.

    Raises:
      ContractError: the tokenizer, or its chat template, is not the contract's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, contract: Contract) -> None:
        found = vocabulary_hash(tokenizer, MARKER_TOKENS)
        if found != contract.vocabulary:
            raise ContractError(
                f"the contract's vocabulary is {contract.vocabulary[:12]}..., "
                f"the tokenizer's {found[:12]}...: another tokenizer than in training"
            )
        vocabulary = tokenizer.get_vocab()
        markers = zip(MARKER_TOKENS, contract.marker_ids, strict=True)
        if any(vocabulary.get(token, token_id) != token_id for token, token_id in markers):
            raise ContractError(
                f"the contract's marker_ids are {contract.marker_ids}, the tokenizer's are others"
            )
        self.template: Template = get_template(contract.template)
        if self.template.own_chat and chat_template_hash(tokenizer) != contract.chat_template:
            raise ContractError("the tokenizer's chat_template is another one than in training")
        self.tokenizer = tokenizer
        self.contract = contract
        self._specials = {t.content: i for i, t in tokenizer.added_tokens_decoder.items()}
        # Records of one group repeat the turn that lists their tools.
        self._turn = lru_cache(maxsize=64)(lambda text: tuple(self.encode(text)))

    @cached_property
    def pieces(self) -> list[bytes | None]:
        """Bytes of every token id; None where it stands for none."""
        return token_bytes(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; the names of special tokens in it are ordinary text."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]  # type: ignore[return-value]

    @cached_property
    def byte_ids(self) -> dict[int, int]:
        """The token of each single byte that has one."""
        return {piece[0]: i for i, piece in enumerate(self.pieces) if piece and len(piece) == 1}

    def encode_bytes(self, text: str) -> list[int]:
        """Token ids that spell exactly the text's bytes.

        A tokenizer may normalise what it reads (Qwen2 composes accents), and then byte offsets into
        the text say nothing about its tokens. Such runs of the text become one token per byte.
        """

        def spelled(part: str) -> list[int] | None:
            # A lone surrogate has no UTF-8, so the tokenizer can't read it.
            if any("\ud800" <= char <= "\udfff" for char in part):
                return None
            ids = self.encode(part)
            return ids if self.decode(ids) == part.encode() else None

        whole = spelled(text)
        if whole is not None:
            return whole
        out: list[int] = []
        for part in re.findall(r"[\x00-\x7f]+|[^\x00-\x7f]+", text):
            ids = spelled(part)
            if ids is None:
                ids = [self.byte_ids[byte] for byte in part.encode("utf-8", "surrogatepass")]
            out += ids
        return out

    def decode(self, ids: Sequence[int]) -> bytes:
        """Bytes that token ids stand for; special tokens and padding (-1) stand for none."""
        pieces = (self.pieces[i] if 0 <= i < len(self.pieces) else None for i in ids)
        return b"".join(piece for piece in pieces if piece is not None)

    def prompt(self, record: Record) -> list[int]:
        """Token ids of a record's prompt, up to where the completion starts."""
        if self.template.own_chat:
            return self._chat_prompt(record)
        frame = self.template.frame
        ids = [self._special(frame.first)] if frame.first else []
        for role, content in self.template.turns(record):
            ids += [*self._begun(role, content), self._special(frame.closing)]
            ids += self._turn(frame.after)
        return [*ids, *self._begun("assistant", self.template.opening)]

    def _begun(self, role: str, content: str) -> list[int]:
        """A turn up to the end of its content."""
        frame = self.template.frame
        opening = self._special(frame.opening)
        if not frame.named:
            return [opening, *self._turn(f"{role}{frame.gap}{content}")]
        named = self._special(frame.named)
        return [opening, *self._turn(role), named, *self._turn(f"{frame.gap}{content}")]

    def _chat_prompt(self, record: Record) -> list[int]:
        """The prompt as the tokenizer's chat template renders it.

        Special tokens are the template's alone: their names in the record are ordinary text.

        Raises:
          DataError: the chat template refuses the record.
        """
        marks = {name: f"\ue000{index}\ue001" for index, name in enumerate(self._specials)}
        text = json.dumps([chat_messages(record), chat_tools(record)], ensure_ascii=False)
        for name, mark in marks.items():
            text = text.replace(name, mark)
        messages, tools = json.loads(text)
        try:
            rendered = self.tokenizer.apply_chat_template(
                messages, tools=tools, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # a template is a program of the model's makers
            raise DataError(f"record {record.id}: chat_template: {error}") from None
        names = {mark: name for name, mark in marks.items()}
        ids: list[int] = []
        for part in re.split(f"({'|'.join(names)})", str(rendered)):
            if part in names:
                ids += self.encode(names[part])
            elif part:
                ids += self.tokenizer(part, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
        return ids

    def gold(self, record: Record) -> list[int]:
        """Token ids of the completion that a policy is trained on, end of text included."""
        text = gold_completion(record, self.template.dress)
        text = f"{self.template.before}{text}{self.template.after}"
        return [*self.encode(text), self.contract.end_of_text]

    def _special(self, token: str) -> int:
        token_id = self._specials.get(token)
        if token_id is None:
            raise ContractError(f"the tokenizer has no token {token}, which the template needs")
        return token_id
