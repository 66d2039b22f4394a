"""`toolprm-annotate`: rollouts of a policy -> decisions labelled `+` or `-`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any, get_args

from rich.console import Console

from ..command import Parser, add_format, check_files, command
from ..grammar import Dress
from ..records import (
    ROLLOUTS_FORM,
    DataError,
    check_folder_place,
    check_place,
    checked_file,
    checked_rollouts,
    read_rows,
    sole_writer,
    write_jsonl,
)
from .rows import Options
from .shards import SHARD_BYTES, annotate_shards, build_store, join, parts_of
from .split import SplitBy
from .statistics import Counts, statistics_table, write_picture


class NothingLabelledError(DataError):
    """No completion could be labelled; what was at --out stays."""


def annotate(
    records: str,
    rollouts: str,
    out: str,
    *,
    format: str | None = None,
    rejects: str | None = None,
    options: Options | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    tfds_dir: str | None = None,
    stats: str | None = None,
    picture: str | None = None,
    found: Callable[[str], None] | None = None,
) -> Counts:
    """Labels every completion of a rollouts file, in order; goes on where a killed run stopped.

    Memory does not grow with the files. What is done lies in `OUT.parts` until everything that was
    asked for is. With several workers the caller's module must be importable
    (`if __name__ == "__main__":`).

    Args:
      records: the records file, with its gold answers.
      rollouts: the rollouts file.
      out: the steps file to write, one line a completion; the same for any number of workers.
      format: format of the records; recognised if None.
      rejects: receives the rows that can't be used; `OUT.rejects.jsonl` if None.
      options: how completions are labelled.
      workers: processes; as many as there are cores for this one if None.
      shard_bytes: how many bytes of rollouts are labelled between two points to restart from.
      tfds_dir: where to build the dataset `toolprm_steps`, if anywhere.
      stats: JSON file for the counts, if any.
      picture: picture of the counts (.png, .svg or .pdf), if any.
      found: receives the format where it was recognised.

    Returns:
      The counts.

    Raises:
      NothingLabelledError: no completion could be labelled.
      DataError: a file can't be read or written, or another run is writing `out`.

    Source: arXiv:2510.14703, data collection.
    """
    rejects, options = rejects or _rejects_of(out), options or Options()
    checked_file(records)
    checked_rollouts(rollouts)
    for path in (out, rejects, stats, picture):
        if path is not None:
            check_place(path)
    if tfds_dir is not None:
        check_folder_place(tfds_dir, replace=True)
        from . import dataset  # imports NumPy, and fails early where its package is missing
    with sole_writer(out):
        parts = parts_of(out)
        try:
            key, rejected = build_store(parts, records, format, found)
            counts, shards = annotate_shards(
                rollouts,
                parts,
                key,
                options,
                workers=workers or len(os.sched_getaffinity(0)),
                shard_bytes=shard_bytes,
            )
        except DataError:
            if not any(parts.glob("*.steps.jsonl")):  # nothing that a restarted run could use
                shutil.rmtree(parts, ignore_errors=True)
            raise
        counts.rows += rejected
        reject_parts = [shard.path("rejects.jsonl") for shard in shards]
        join([parts / "records.rejects.jsonl", *reject_parts], rejects)
        if counts.labelled:
            whole = parts / "steps.jsonl"  # nothing half-done lies beside `out`, even after a kill
            join([shard.path("steps.jsonl") for shard in shards], whole)
            if tfds_dir is not None:
                dataset.build(whole, parts / "records.sqlite", tfds_dir, options.split_by)
            if stats is not None:
                write_jsonl(stats, [counts.to_json()])
            if picture is not None:
                write_picture(picture, counts)
            os.replace(whole, os.path.realpath(out))
        shutil.rmtree(parts)
    if not counts.labelled:
        reason = _first_reason(rejects, rollouts)
        raise NothingLabelledError(f"no completion could be labelled{reason}")
    return counts


_LOOKED_AT = 10_000  # rejected rows, for what is wrong with the rollouts


def _first_reason(rejects: str, rollouts: str) -> str:
    """An error's tail: what is wrong with the first row of the rollouts that was rejected.

    Where none is near the beginning, the first row of all.
    """
    if not os.path.getsize(rejects):
        return ""
    rows: list[Any] = [row.value for row in islice(read_rows(rejects), _LOOKED_AT) if row.value]
    if not rows:
        return ""
    row = next((row for row in rows if row["source"] == str(rollouts)), rows[0])
    where = f":{row['line']}" if row["line"] else ""
    return f"; {row['source']}{where}: {row['reason']}"


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, found {text!r}")
    return int(text)


def _parser() -> Parser:
    parser = Parser(
        "toolprm-annotate",
        "Labels every decision of every completion by exact match with the record's gold calls. "
        "Killed at any time, the same command goes on where it stopped.",
    )
    parser.add_argument("--records", required=True, help="records with their gold answers")
    add_format(parser)
    parser.add_argument("--rollouts", help=f"JSON lines {ROLLOUTS_FORM} (required)")
    parser.add_argument("--out", required=True, help="steps file to write, one line a completion")
    parser.add_argument(
        "--rejects",
        help="rows that can't be used, each with its reason (default: OUT.rejects.jsonl)",
    )
    add_labelling_flags(parser)
    parser.add_argument("--stats", help="JSON file for the counts")
    parser.add_argument("--picture", help="picture of the counts (.png, .svg or .pdf)")
    parser.add_argument("--tfds-dir", help="folder in which to build the dataset toolprm_steps")
    parser.add_argument(
        "--workers", type=_workers, help="processes (default: one for each core of this machine)"
    )
    return parser


def add_labelling_flags(parser: Parser) -> None:
    """Adds the flags that say how completions are labelled."""
    parser.add_argument(
        "--ordered", action="store_true", help="call i must match gold i; else calls are order-free"
    )
    parser.add_argument(
        "--equivalence",
        action="store_true",
        help="values that differ only in ways that the schema calls equal are equal",
    )
    parser.add_argument(
        "--dress",
        choices=get_args(Dress),
        default="list",
        help="completions are a JSON list (Hammer, default), <tool_call> blocks (Qwen) or Llama's",
    )
    parser.add_argument(
        "--split-by",
        choices=get_args(SplitBy),
        default="tools",
        help="what keeps training from testing: the called tools (default), or the query where "
        "there are few tools",
    )


def options_of(args: argparse.Namespace) -> Options:
    """What these flags say."""
    return Options(args.dress, args.ordered, args.equivalence, args.split_by)


def _rejects_of(out: str) -> str:
    return f"{out}.rejects.jsonl"


def _annotate(args: argparse.Namespace) -> int:
    if args.rollouts is None:
        raise DataError(
            f"--rollouts: expected a file of JSON lines {ROLLOUTS_FORM}, as toolprm-rollout "
            "writes it"
        )
    rejects = args.rejects or _rejects_of(args.out)
    check_files(
        {"records": args.records, "rollouts": args.rollouts},
        {"out": args.out, "rejects": rejects, "stats": args.stats, "picture": args.picture},
    )
    if args.picture and not args.picture.endswith((".png", ".svg", ".pdf")):
        raise DataError(f"--picture: expected a .png, .svg or .pdf, found {args.picture}")
    recognised: list[str] = []
    try:
        counts = annotate(
            args.records,
            args.rollouts,
            args.out,
            format=args.format,
            rejects=rejects,
            options=options_of(args),
            workers=args.workers,
            tfds_dir=args.tfds_dir,
            stats=args.stats,
            picture=args.picture,
            found=recognised.append,
        )
    except NothingLabelledError as error:
        print(f"toolprm-annotate: error: {error}, see {rejects}", file=sys.stderr)
        return 1
    _report(counts, args, rejects, recognised)
    return 0


def _report(counts: Counts, args: argparse.Namespace, rejects: str, recognised: list[str]) -> None:
    Console().print(statistics_table(counts))
    lines: list[Any] = [f"{args.records}: format {name}, recognised" for name in recognised]
    lines += [
        f"{counts.completions} completions = {counts.labelled} labelled ({args.out}) + "
        f"{counts.rejected} rejected",
        f"{counts.died} died in the grammar, {counts.trailing} with other text after the answer, "
        f"{counts.without_rollouts} of {counts.records} records without rollouts",
        f"{counts.changed} labels differ "
        + ("without --equivalence" if args.equivalence else "with --equivalence"),
        f"{counts.rows} rows rejected, see {rejects}",
    ]
    print(*lines, sep="\n")


main = command(_parser, _annotate)


if __name__ == "__main__":
    sys.exit(main())
