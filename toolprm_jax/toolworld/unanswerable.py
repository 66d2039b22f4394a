"""Queries that no tool answers: each keeps its words and gets the tools of another record.

python -m toolprm_jax.toolworld.unanswerable --records FILE --share 0.2 --seed 1 --out FILE
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence

from ..command import Parser, add_format, check_files, command
from ..records import Record, read_records, record_to_json, write_jsonl


def with_unanswerable(records: Sequence[Record], share: float, seed: int) -> Iterator[Record]:
    """Records, each of a share of them followed by a twin that no call answers.

    The twin has the query of its record, the tools of another that shares no tool name with it,
    no answers, and `-none` behind its id. Records whose history holds calls get no twin: their
    queries speak of their own tools.

    Args:
      records: with gold; those without a call get no twin.
      share: fraction of the records, in [0, 1].
      seed: of the choice of records and of their tools.

    Source: our choice, after the data set xlam-irrelevance that arXiv:2510.14703 trains on.
    """
    for record in records:
        yield record
        draws = random.Random(f"{seed}:{record.id}:unanswerable")
        if draws.random() >= share or not record.answers or len(record.messages) > 1:
            continue
        names = {tool.name for tool in record.tools}
        other = next(
            (
                other
                for other in draws.sample(records, min(len(records), 20))
                if names.isdisjoint(tool.name for tool in other.tools)
            ),
            None,
        )
        if other is not None:
            yield record.with_(id=f"{record.id}-none", tools=other.tools, answers=())


def _write(args: argparse.Namespace) -> int:
    check_files({"records": args.records}, {"out": args.out})
    records = list(read_records(args.records, args.format))
    twins = with_unanswerable(records, args.share, args.seed)
    write_jsonl(args.out, (record_to_json(record) for record in twins))
    return 0


def _parser() -> Parser:
    parser = Parser(
        "python -m toolprm_jax.toolworld.unanswerable",
        "Gives a share of the queries a twin with the tools of another record, and no answer.",
    )
    parser.add_argument("--records", required=True, help="records with gold")
    add_format(parser)
    parser.add_argument("--share", type=float, default=0.2, help="share that gets a twin")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="record JSONL to write")
    return parser


main = command(_parser, _write)


if __name__ == "__main__":
    raise SystemExit(main())
