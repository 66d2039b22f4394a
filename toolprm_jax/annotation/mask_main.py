"""`toolprm-mask`: records with masked function and parameter names, and the map back."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from .command import Parser, distinct_files, run_command
from .jsonl import Reject, atomic_writer
from .masking import mask_record
from .readers import FORMATS, read_records, record_to_json
from .records import DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `toolprm-mask`.

    Args:
      argv: the arguments; those of the process if None.

    Returns:
      The exit status: 0, 1 if no record could be read, 2 for input that can't be used.
    """
    return run_command(_parser(), _mask, argv)


def chosen(record_id: str, seed: int, share: float) -> bool:
    """Whether a record is among the share that is masked.

    Args:
      record_id: the record's id.
      seed: the seed of the masking.
      share: fraction of the records, in [0, 1].

    Returns:
      The choice; it depends on (seed, id) alone, and a larger share chooses these and more.

    Source: our choice.
    """
    return random.Random(f"{seed}:{record_id}:share").random() < share


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


def _parser() -> Parser:
    parser = Parser(
        "toolprm-mask",
        "Replaces every function and parameter name by a random one, alike in tools and answers; "
        "descriptions stay, tools are shuffled.",
    )
    parser.add_argument("--records", required=True, help="records to mask")
    parser.add_argument(
        "--format", choices=FORMATS, help="format of the records; recognised if not given"
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses the names (default: 0)")
    parser.add_argument(
        "--share", type=_share, default=1.0, help="fraction of records to mask (default: 1)"
    )
    parser.add_argument(
        "--style",
        choices=("random", "pseudoword"),
        default="random",
        help="random characters (default), or syllables, which take fewer tokens",
    )
    parser.add_argument("--out", required=True, help="record JSON lines to write")
    parser.add_argument(
        "--map", help="the way back, one line a masked record (default: OUT.map.jsonl)"
    )
    return parser


def _mask(args: argparse.Namespace) -> int:
    map_path = args.map or f"{args.out}.map.jsonl"
    rejects_path = f"{args.out}.rejects.jsonl"
    distinct_files(records=args.records, out=args.out, map=map_path, rejects=rejects_path)
    counts: Counter[str] = Counter()
    with atomic_writer(rejects_path) as write_reject:

        def reject(row: Reject) -> None:
            counts["rejected"] += 1
            write_reject(row.to_json())

        records = read_records(args.records, args.format, reject)
        with atomic_writer(args.out) as write, atomic_writer(map_path) as write_map:
            for record in tqdm(records, unit=" records", disable=None):
                counts["read"] += 1
                if chosen(record.id, args.seed, args.share):
                    masked = mask_record(record, args.seed, style=args.style)
                    counts["masked"] += 1
                    counts["changed"] += len(masked.map["defaults"]["changed"])
                    counts["left"] += len(masked.map["defaults"]["left"])
                    write_map({"id": record.id, **masked.map})
                    record = masked.record
                write(record_to_json(record))
            if not counts["read"]:
                raise DataError(f"{args.records}: every row was rejected")
    print(
        f"{counts['read']} records written to {args.out}, {counts['masked']} of them masked\n"
        f"defaults equal to the gold: {counts['changed']} changed, {counts['left']} left\n"
        f"{counts['rejected']} rows rejected, see {rejects_path}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
