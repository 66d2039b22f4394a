"""`toolprm-mask`: records and rollouts with masked names, and the map back."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from ..annotation import RecordStore
from ..command import Parser, add_format, check_files, command
from ..grammar import Dress
from ..records import (
    ROLLOUTS_FORM,
    DataError,
    Record,
    Rejects,
    atomic_writer,
    checked_rollouts,
    read_records,
    read_rollout_rows,
    record_to_json,
    rejects_file,
)
from .masked import mask_record


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
        above, slash, below = text.partition("/")
        # Not Fraction(text), which takes 1e999999999 at its word.
        value = float(Fraction(int(above), int(below))) if slash else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
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
    add_format(parser)
    parser.add_argument("--seed", type=int, default=0, help="chooses the names (default: 0)")
    parser.add_argument(
        "--share",
        type=_share,
        default=1.0,
        help="fraction of records to mask, each whole: 1 as in the paper (default), 2/3 as Hammer",
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
    parser.add_argument(
        "--rollouts",
        help=f"completions for the unmasked records, JSON lines {ROLLOUTS_FORM}, to mask alike",
    )
    parser.add_argument(
        "--rollouts-out", help="masked completions to write (default: OUT.rollouts.jsonl)"
    )
    parser.add_argument(
        "--dress",
        choices=get_args(Dress),
        default="list",
        help="completions are a JSON list (Hammer, default) or <tool_call> blocks (Qwen)",
    )
    return parser


def _mask(args: argparse.Namespace) -> int:
    map_path = args.map or f"{args.out}.map.jsonl"
    rejects_path = f"{args.out}.rejects.jsonl"
    rollouts_path = args.rollouts_out or f"{args.out}.rollouts.jsonl"
    if args.rollouts_out and not args.rollouts:
        raise DataError("--rollouts: expected completions to write to --rollouts-out")
    outputs = {"out": args.out, "map": map_path, "rejects": rejects_path}
    if args.rollouts:
        outputs["rollouts-out"] = rollouts_path
    check_files({"records": args.records, "rollouts": args.rollouts}, outputs)
    if args.rollouts:
        checked_rollouts(args.rollouts)
    counts: Counter[str] = Counter()
    found: list[str] = []
    with contextlib.ExitStack() as stack:
        reject = stack.enter_context(rejects_file(rejects_path))
        records: Iterator[Record] = read_records(args.records, args.format, reject, found.append)
        write = stack.enter_context(atomic_writer(args.out))
        write_map = stack.enter_context(atomic_writer(map_path))
        records = _masked_records(records, args, counts, write, write_map)
        if args.rollouts:
            write_rollouts = stack.enter_context(atomic_writer(rollouts_path))
            # No other run makes it while this one writes --out, and a killed one's is replaced.
            place = Path(os.path.realpath(args.out)).with_name(f".{Path(args.out).name}.records")
            stack.callback(place.unlink, missing_ok=True)
            store = stack.enter_context(RecordStore(place, new=True))
            store.add(records)
            _mask_rollouts(store, args, counts, write_rollouts, reject)
        else:
            for _ in records:
                pass
        if not counts["read"]:
            raise DataError(f"{args.records}: every row was rejected{reject.why}")
    for name in found:
        print(f"{args.records}: format {name}, recognised")
    print(
        f"{counts['read']} records written to {args.out}, {counts['masked']} of them masked\n"
        f"defaults equal to the gold: {counts['changed']} changed, {counts['left']} left\n"
        f"names kept, for a pattern in the schema reads them: {counts['kept']}"
    )
    if args.rollouts:
        print(
            f"{counts['completions']} completions written to {rollouts_path}, "
            f"{counts['masked completions']} of them masked; the token ids of "
            f"{counts['token ids']} were dropped, for their text is another"
        )
    print(f"{reject.count} rows rejected, see {rejects_path}")
    return 0


def _masked_records(
    records: Iterator[Record],
    args: argparse.Namespace,
    counts: Counter[str],
    write: Callable[[Any], None],
    write_map: Callable[[Any], None],
) -> Iterator[Record]:
    """Writes every record, masked where it is chosen, and passes the original on."""
    for record in tqdm(records, unit=" records", disable=None):
        counts["read"] += 1
        if chosen(record.id, args.seed, args.share):
            masked = mask_record(record, args.seed, style=args.style)
            counts["masked"] += 1
            counts["changed"] += len(masked.map["defaults"]["changed"])
            counts["left"] += len(masked.map["defaults"]["left"])
            counts["kept"] += sum(map(len, masked.map["kept"].values()))
            write_map({"id": record.id, **masked.map})
            write(record_to_json(masked.record))
        else:
            write(record_to_json(record))
        yield record


def _mask_rollouts(
    store: RecordStore,
    args: argparse.Namespace,
    counts: Counter[str],
    write: Callable[[Any], None],
    reject: Rejects,
) -> None:
    rows = read_rollout_rows(args.rollouts, reject)
    for row, (record_id, completions, _) in tqdm(rows, unit=" rollouts", disable=None):
        numbered = store.get(record_id)
        if numbered is None:
            row.reject(
                f"id: expected the id of a record, found {record_id!r}",
                reject,
                completions=len(completions),
            )
            continue
        line = dict(row.value)
        counts["completions"] += len(completions)
        if chosen(record_id, args.seed, args.share):
            masked = mask_record(numbered[1], args.seed, style=args.style)
            line["completions"] = [masked.completion(text, args.dress) for text in completions]
            counts["masked completions"] += len(completions)
            counts["token ids"] += len(line.pop("token_ids", None) or ())
        write({**line, "id": record_id})


main = command(_parser, _mask)


if __name__ == "__main__":
    sys.exit(main())
