"""The corpus with function masking on, as the embedded models read it."""

from __future__ import annotations

from collections.abc import Iterator

from ..annotation.masking import mask_record
from ..annotation.records import Record
from .corpus import Split, make_group

RANDOM_EVERY = 4  # one group in four has the paper's random strings, the others pseudo-words


def masked_group(seed: int, split: Split, index: int, size: int) -> list[Record]:
    """A group of `corpus.make_group`, its names masked alike in all its records.

    Args:
      seed: of the corpus and of the masks.
      split: "train" or "heldout".
      index: of the group.
      size: number of queries.
    """
    style = "random" if index % RANDOM_EVERY == 0 else "pseudoword"
    key = f"{split}-{index}"
    return [
        mask_record(record, seed, style=style, key=key).record
        for record in make_group(seed, split, index, size)
    ]


def masked_corpus(seed: int, split: Split, count: int) -> Iterator[Record]:
    """The first `count` records of a corpus, one per group, masked."""
    for index in range(count):
        yield masked_group(seed, split, index, 1)[0]
