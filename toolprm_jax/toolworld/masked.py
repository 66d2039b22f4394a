"""The corpus with function masking on, as the embedded models read it.

python -m toolprm_jax.toolworld.masked --split train --seed 3 --count 500 --group-size 6 --out FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..command import Parser, command
from ..masking import mask_record
from ..records import Record, record_to_json, write_jsonl
from .corpus import make_group
from .spec import SPLITS, Split

RANDOM_EVERY = 7  # one group in seven has the paper's random strings, the others pseudo-words


def masked_group(seed: int, split: Split, index: int, size: int) -> list[Record]:
    """A group of `corpus.make_group`, its names masked alike in all its records.

    Args:
      seed: of the corpus and of the masks.
      split: as for `corpus.tools`.
      index: of the group.
      size: number of queries.
    """
    style = "random" if index % RANDOM_EVERY == 0 else "pseudoword"
    key = f"{split}-{index}"
    return [
        mask_record(record, seed, style=style, key=key).record
        for record in make_group(seed, split, index, size)
    ]


def takes(index: int, share: float) -> bool:
    """Whether an index is one of a share of all of them that is spread evenly."""
    return int((index + 1) * share) > int(index * share)


def training_group(seed: int, split: Split, index: int, size: int, masked: float) -> list[Record]:
    """A group whose names are masked, or not, as it falls to its index.

    Args:
      seed: of the corpus and of the masks.
      split: as for `corpus.tools`.
      index: of the group.
      size: number of queries.
      masked: share of the groups that are masked.
    """
    make = masked_group if takes(index, masked) else make_group
    return make(seed, split, index, size)


def masked_corpus(seed: int, split: Split, count: int) -> Iterator[Record]:
    """The first `count` records of a corpus, one per group, masked."""
    for index in range(count):
        yield masked_group(seed, split, index, 1)[0]


def _write(args: argparse.Namespace) -> int:
    groups = (
        training_group(args.seed, args.split, index, args.group_size, args.masked)
        for index in range(args.count)
    )
    write_jsonl(args.out, (record_to_json(record) for group in groups for record in group))
    return 0


def _parser() -> Parser:
    parser = Parser(
        "python -m toolprm_jax.toolworld.masked", "Writes masked records of the corpus."
    )
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True, help="groups")
    parser.add_argument("--group-size", type=int, default=1, help="queries that share their tools")
    parser.add_argument("--masked", type=float, default=1.0, help="share of the groups")
    parser.add_argument("--out", required=True, help="record JSONL to write")
    return parser


main = command(_parser, _write)


if __name__ == "__main__":
    raise SystemExit(main())
