"""The tokenisation contract: what a checkpoint and its user must agree on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from ..annotation.grammar import Kind
from ..annotation.records import DataError
from .vocabulary import vocabulary_hash

CONTRACT_FILE = "toolprm_contract.json"
LABEL_TOKENS = ("-", "+")  # in the order of the labels 0 and 1

Granularity = Literal["toolprm", "cprm", "orm"]
Target = Literal["label", "prefix"]


class ContractError(DataError):
    """A checkpoint meets a tokenizer, template or objective that it was not trained with."""


@dataclass(frozen=True)
class Contract:
    """Stored beside every checkpoint; for a policy `granularity` and `target` are None.

    `marker_ids` are in the order of `Kind`; `label_ids` are the ids of "-" and "+".
    """

    template: str
    vocabulary: str  # vocabulary_hash of the tokenizer
    end_of_text: int
    marker_ids: tuple[int, ...]
    label_ids: tuple[int, int]
    granularity: Granularity | None = None
    target: Target | None = None

    def check(self, other: Contract, *names: str) -> None:
        """Raises ContractError unless the named fields (all where none is named) are equal."""
        wrong = [
            f"{f.name} is {getattr(self, f.name)!r} in one, {getattr(other, f.name)!r} in the other"
            for f in fields(self)
            if (not names or f.name in names) and getattr(self, f.name) != getattr(other, f.name)
        ]
        if wrong:
            raise ContractError("tokenisation contracts differ: " + "; ".join(wrong))

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
        try:
            data = json.loads(path.read_text())
            return cls(
                **{
                    **data,
                    "marker_ids": tuple(data["marker_ids"]),
                    "label_ids": tuple(data["label_ids"]),
                }
            )
        except FileNotFoundError:
            raise ContractError(f"{path}: no such file; not a ToolPRM checkpoint") from None
        except (ValueError, TypeError, KeyError) as error:
            raise ContractError(f"{path}: not a tokenisation contract: {error}") from None


def make_contract(
    tokenizer: PreTrainedTokenizerBase,
    embedding_rows: int,
    template: str,
    granularity: Granularity | None = None,
    target: Target | None = None,
) -> Contract:
    """The contract of a new model.

    Args:
      tokenizer: its tokenizer.
      embedding_rows: rows of its embedding; the markers take the first ones past the tokenizer.
      template: name of the prompt template.
      granularity: which decisions a PRM's labels cover; None for a policy.
      target: which label a PRM is trained on; None for a policy.

    Raises:
      ContractError: there is no room for the markers, or "+" and "-" are not single tokens.
    """
    first = len(tokenizer)
    if first + len(Kind) > embedding_rows:
        raise ContractError(
            f"the embedding has {embedding_rows} rows and the tokenizer {first} tokens: "
            f"no room for {len(Kind)} markers"
        )
    labels = [tokenizer.encode(text, add_special_tokens=False) for text in LABEL_TOKENS]
    if any(len(ids) != 1 for ids in labels) or tokenizer.eos_token_id is None:
        raise ContractError(
            'the tokenizer needs an end-of-text token and single tokens "+" and "-"'
        )
    return Contract(
        template=template,
        vocabulary=vocabulary_hash(tokenizer),
        end_of_text=int(tokenizer.eos_token_id),  # type: ignore[arg-type]
        marker_ids=tuple(first + kind for kind in Kind),
        label_ids=(labels[0][0], labels[1][0]),
        granularity=granularity,
        target=target,
    )
