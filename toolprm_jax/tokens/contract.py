"""The tokenisation contract: what a checkpoint and its user must agree on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..grammar import Kind
from ..records import DataError, parse_json
from .prompts import get_template
from .vocabulary import vocabulary_hash

if TYPE_CHECKING:  # half a second that commands need only to read a tokenizer
    from transformers import PreTrainedTokenizerBase

CONTRACT_FILE = "toolprm_contract.json"
LABEL_TOKENS = ("-", "+")  # in the order of the labels 0 and 1
# In the order of `Kind`, as exported tokenizers name them.
MARKER_TOKENS = tuple(f"<|toolprm_{kind.name.lower()}|>" for kind in Kind)
# Tokens that were kept free for such uses, of Llama 3 and of Mistral's newer tokenizers; and those
# of SmolLM2 that mark up source code, which no prompt here holds.
_RESERVED = re.compile(
    r"<\|reserved_special_token_\d+\|>|<SPECIAL_\d+>"
    r"|<(repo_?name|file_sep|filename|gh_stars|issue_(start|comment|closed))>"
)

Granularity = Literal["toolprm", "cprm", "orm"]
Target = Literal["label", "prefix"]


class ContractError(DataError):
    """A checkpoint meets a tokenizer, template or objective that it was not trained with."""


@dataclass(frozen=True)
class Contract:
    """Stored beside every checkpoint; for a policy `granularity` and `target` are None.

    `marker_ids` are in the order of `Kind`; `label_ids` are the ids of "-" and "+". `vocabulary`
    and `chat_template` are hashes; the latter is None unless the prompts are made by it. A policy
    is trained to end with `end_of_text`; `other_ends` end its completions too.
    """

    template: str
    vocabulary: str  # vocabulary_hash of the tokenizer without the markers
    end_of_text: int
    marker_ids: tuple[int, ...]
    label_ids: tuple[int, int]
    granularity: Granularity | None = None
    target: Target | None = None
    chat_template: str | None = None
    other_ends: tuple[int, ...] = ()

    @property
    def ends(self) -> tuple[int, ...]:
        """Every token that ends a completion."""
        return (self.end_of_text, *self.other_ends)

    def check(self, other: Contract, *names: str) -> None:
        """Raises ContractError unless the named fields (all where none is named) are equal."""
        wrong = [
            f"{f.name} is {getattr(self, f.name)!r} in one, {getattr(other, f.name)!r} in the other"
            for f in fields(self)
            if (not names or f.name in names) and getattr(self, f.name) != getattr(other, f.name)
        ]
        if wrong:
            raise ContractError("tokenisation contracts differ: " + "; ".join(wrong))

    def _check_values(self) -> None:
        texts = (self.template, self.vocabulary, self.chat_template or "")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("expected text in template, vocabulary and chat_template")
        ids = (*self.marker_ids, *self.label_ids, *self.ends)
        if any(type(token_id) is not int or token_id < 0 for token_id in ids):
            raise ValueError("expected token ids in marker_ids, label_ids, end_of_text, other_ends")
        if (len(self.marker_ids), len(self.label_ids)) != (len(Kind), len(LABEL_TOKENS)):
            raise ValueError(f"expected {len(Kind)} marker_ids and {len(LABEL_TOKENS)} label_ids")
        for name, known in (("granularity", Granularity), ("target", Target)):
            if getattr(self, name) not in (None, *get_args(known)):
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {get_args(known)}")

    def save(self, directory: Path) -> None:
        """Writes the contract into a checkpoint's directory."""
        (directory / CONTRACT_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Contract:
        """Reads the contract of a checkpoint.

        Raises:
          ContractError: there is none, or it is damaged.
        """
        path = directory / CONTRACT_FILE
        if not path.exists():
            raise ContractError(f"{path}: no such file; name the template of a model without it")
        try:
            data = parse_json(path.read_text(encoding="utf-8"))
            contract = cls(
                **{
                    **data,
                    "marker_ids": tuple(data["marker_ids"]),
                    "label_ids": tuple(data["label_ids"]),
                    "other_ends": tuple(data.get("other_ends", ())),
                }
            )
            contract._check_values()
            return contract
        except (ValueError, TypeError, KeyError) as error:
            raise ContractError(f"{path}: not a tokenisation contract: {error}") from None


def chat_template_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the chat template with tools that a tokenizer carries, hex.

    Raises:
      ContractError: it carries none.
    """
    try:
        text = tokenizer.get_chat_template(tools=[{}])
    except ValueError:
        raise ContractError(
            "the tokenizer has no chat_template, which the template needs"
        ) from None
    return hashlib.sha256(text.encode()).hexdigest()


def _marker_ids(tokenizer: PreTrainedTokenizerBase, embedding_rows: int) -> tuple[int, ...]:
    vocabulary = tokenizer.get_vocab()
    if all(token in vocabulary for token in MARKER_TOKENS):
        return tuple(vocabulary[token] for token in MARKER_TOKENS)
    first = len(tokenizer)
    if first + len(Kind) <= embedding_rows:
        return tuple(first + kind for kind in Kind)
    reserved = sorted(i for token, i in vocabulary.items() if _RESERVED.fullmatch(token))
    if len(reserved) < len(Kind) or reserved[len(Kind) - 1] >= embedding_rows:
        raise ContractError(
            f"the embedding has {embedding_rows} rows and the tokenizer {first} tokens, "
            f"{len(reserved)} of them reserved: no room for {len(Kind)} markers"
        )
    return tuple(reserved[: len(Kind)])


def add_marker_tokens(tokenizer: PreTrainedTokenizerBase, contract: Contract) -> None:
    """Gives the markers that have no token of their own a special one, in place.

    Raises:
      ContractError: the tokenizer would give them other ids.
    """
    from transformers import AddedToken

    new = [
        AddedToken(token, special=True, normalized=False)
        for token, token_id in zip(MARKER_TOKENS, contract.marker_ids, strict=True)
        if token_id >= len(tokenizer)
    ]
    if new:
        tokenizer.add_tokens(new, special_tokens=True)
        vocabulary = tokenizer.get_vocab()
        found = tuple(vocabulary.get(token) for token in MARKER_TOKENS)
        if found != contract.marker_ids:
            raise ContractError(
                f"the tokenizer gives the markers the ids {found}, not {contract.marker_ids}"
            )


def make_contract(
    tokenizer: PreTrainedTokenizerBase,
    embedding_rows: int,
    template: str,
    granularity: Granularity | None = None,
    target: Target | None = None,
    ends: Sequence[int] = (),
) -> Contract:
    """The contract of a new model.

    Args:
      tokenizer: its tokenizer.
      embedding_rows: rows of its embedding. The markers are the tokens that an exported tokenizer
        has for them, else the first rows past the tokenizer, else its first reserved tokens.
      template: name of the prompt template.
      granularity: which decisions a PRM's labels cover; None for a policy.
      target: which label a PRM is trained on; None for a policy.
      ends: tokens that end the model's turn, as `generation_config.json` lists them; of these the
        tokenizer's end of text stands for all, else the first.

    Raises:
      ContractError: there is no room for the markers, "+" and "-" are not single tokens, or the
        tokenizer has no chat template where the template is that.
    """
    marker_ids = _marker_ids(tokenizer, embedding_rows)
    labels = [tokenizer.encode(text, add_special_tokens=False) for text in LABEL_TOKENS]
    if any(len(ids) != 1 for ids in labels) or tokenizer.eos_token_id is None:
        raise ContractError(
            'the tokenizer needs an end-of-text token and single tokens "+" and "-"'
        )
    own_chat = get_template(template).own_chat
    end = int(tokenizer.eos_token_id)  # type: ignore[arg-type]
    end = end if end in ends or not ends else ends[0]
    return Contract(
        template=template,
        vocabulary=vocabulary_hash(tokenizer, MARKER_TOKENS),
        end_of_text=end,
        marker_ids=marker_ids,
        label_ids=(labels[0][0], labels[1][0]),
        granularity=granularity,
        target=target,
        chat_template=chat_template_hash(tokenizer) if own_chat else None,
        other_ends=tuple(other for other in ends if other != end),
    )
