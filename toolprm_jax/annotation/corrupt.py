"""`toolprm-corrupt`: rollouts without a model, the gold and the gold with one mistake."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Collection
from typing import get_args

from annotated_types import Ge, Le
from tqdm import tqdm

from ..command import Parser, add_format, check_files, command, number, whole_number
from ..grammar import Dress
from ..records import DataError, Record, atomic_writer, read_records, rejects_file
from .corruption import MISTAKES, corruptions, gold_completion

_MOST = 1 << 20  # completions of a record, which lie in memory


def completions(
    record: Record,
    seed: int,
    num: int,
    gold_share: float,
    dress: Dress = "list",
    mistakes: Collection[str] = MISTAKES,
) -> list[tuple[str, str]]:
    """Completions of one record, right ones and wrong ones.

    Args:
      record: a record with gold calls.
      seed: of the choice; the record's id is folded in, so that records don't depend on others.
      num: how many.
      gold_share: probability of the right one, in [0, 1].
      dress: how the completions write calls.
      mistakes: kinds that are made.

    Returns:
      ("gold" or the kind of mistake, text); the gold where no mistake can be made.

    Source: our choice.
    """
    rng = random.Random(f"{seed}:{record.id}:corrupt")
    made = []
    for _ in range(num):
        wrong = []
        if rng.random() >= gold_share:
            wrong = [c for c in corruptions(record, rng, dress) if c.kind in mistakes]
        if wrong:
            kind, text, _ = rng.choice(wrong)
            made.append((kind, text))
        else:
            made.append(("gold", gold_completion(record, dress)))
    return made


def _parser() -> Parser:
    parser = Parser(
        "toolprm-corrupt",
        "Writes rollouts without a model: gold answers, and gold answers with one mistake.",
    )
    parser.add_argument("--records", required=True, help="records with their gold answers")
    add_format(parser)
    parser.add_argument(
        "--num", type=whole_number(1, _MOST), default=9, help="completions a record (default: 9)"
    )
    parser.add_argument(
        "--gold-share",
        type=number(float, Ge(0), Le(1)),
        default=0.7,
        help="fraction that is right (default: 0.7)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice (default: 0)")
    parser.add_argument(
        "--mistakes", default=",".join(MISTAKES), help="kinds, with commas (default: all)"
    )
    parser.add_argument("--dress", choices=get_args(Dress), default="list")
    parser.add_argument("--out", required=True, help="rollouts file to write")
    return parser


def _write(args: argparse.Namespace) -> int:
    mistakes = args.mistakes.split(",")
    unknown = sorted(set(mistakes) - set(MISTAKES))
    if unknown:
        raise DataError(f"--mistakes: expected some of {', '.join(MISTAKES)}; found {unknown[0]}")
    rejects_path = f"{args.out}.rejects.jsonl"
    check_files({"records": args.records}, {"out": args.out, "rejects": rejects_path})
    kinds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    found: list[str] = []
    with rejects_file(rejects_path) as reject, atomic_writer(args.out) as write:
        records = read_records(args.records, args.format, reject, found.append)
        for record in tqdm(records, unit=" records", disable=None):
            if record.answers is None:
                counts["without gold"] += 1
                continue
            counts["written"] += 1
            made = completions(record, args.seed, args.num, args.gold_share, args.dress, mistakes)
            kinds.update(kind for kind, _ in made)
            write({"id": record.id, "completions": [text for _, text in made]})
        if not counts["written"]:
            raise DataError(
                f"{args.records}: expected a record with gold answers, found none{reject.why}"
            )
    for name in found:
        print(f"{args.records}: format {name}, recognised")
    for kind, count in kinds.most_common():
        print(f"{count:8} {kind}")
    print(
        f"{counts['written']} records written to {args.out}, {counts['without gold']} have no "
        f"gold\n{reject.count} rows rejected, see {rejects_path}"
    )
    return 0


main = command(_parser, _write)


if __name__ == "__main__":
    sys.exit(main())
