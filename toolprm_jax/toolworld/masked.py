"""The corpus with function masking on, as the embedded models read it.

python -m toolprm_jax.toolworld.masked --split train --seed 3 --count 1600 --out runs/train.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from ..annotation.command import Parser, run_command
from ..annotation.jsonl import write_jsonl
from ..annotation.masking import mask_record
from ..annotation.readers import record_to_json
from ..annotation.records import Record
from .corpus import make_group
from .spec import SPLITS, Split

RANDOM_EVERY = 7  # one group in seven has the paper's random strings, the others pseudo-words


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


def _write(args: argparse.Namespace) -> int:
    records = masked_corpus(args.seed, args.split, args.count)
    write_jsonl(args.out, (record_to_json(record) for record in records))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Writes a masked corpus as record JSONL.

    Args:
      argv: the arguments; those of the process if None.

    Returns:
      The exit status: 0, or 2 for input that can't be used.
    """
    parser = Parser(
        "python -m toolprm_jax.toolworld.masked", "Writes masked records of the corpus."
    )
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", required=True, help="record JSONL to write")
    return run_command(parser, _write, argv)


if __name__ == "__main__":
    raise SystemExit(main())
