"""Records and completions to token ids and back, under one contract."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..annotation.corrupt import gold_completion
from ..annotation.records import DataError, Record
from .contract import Contract, ContractError
from .prompts import Template, get_template
from .vocabulary import token_bytes, vocabulary_hash


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a Hugging Face directory; never downloads.

    Raises:
      DataError: there is none.
    """
    if not (Path(directory) / "tokenizer.json").is_file():
        raise DataError(f"{directory}: no tokenizer.json")
    return AutoTokenizer.from_pretrained(str(directory), local_files_only=True)


class Codec:
    """A tokenizer with the template and the ids of a contract.

    Raises:
      ContractError: the tokenizer is not the contract's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, contract: Contract) -> None:
        found = vocabulary_hash(tokenizer)
        if found != contract.vocabulary:
            raise ContractError(
                f"the contract's vocabulary is {contract.vocabulary[:12]}..., "
                f"the tokenizer's {found[:12]}...: another tokenizer than in training"
            )
        self.tokenizer = tokenizer
        self.contract = contract
        self.template: Template = get_template(contract.template)
        self._specials = tokenizer.get_added_vocab()
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

    def decode(self, ids: Sequence[int]) -> bytes:
        """Bytes that token ids stand for; special tokens stand for none."""
        pieces = (self.pieces[i] if i < len(self.pieces) else None for i in ids)
        return b"".join(piece for piece in pieces if piece is not None)

    def prompt(self, record: Record) -> list[int]:
        """Token ids of a record's prompt, up to where the completion starts."""
        start = self._special("<|im_start|>")
        end = self._special("<|im_end|>")
        ids: list[int] = []
        for role, content in self.template.turns(record):
            ids += [start, *self._turn(f"{role}\n{content}"), end, *self._turn("\n")]
        return [*ids, start, *self._turn("assistant\n")]

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
