"""Real records again and again, each time with other tools and names, or with no right call.

python -m toolprm_jax.toolworld.variations --records FILE [FILE ...] --passes 8 --out FILE
"""

from __future__ import annotations

import argparse
import random
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from annotated_types import Ge, Le

from ..command import Parser, check_files, command, number, whole_number
from ..masking import mask_record
from ..records import DataError, Record, Tool, read_records, record_to_json, write_jsonl

_MOST_FOREIGN = 3  # tools that are added
_LOOKED_AT = 20  # records whose tools are tried


Part = Literal["all", "taught", "unseen"]


def part_of(record: Record) -> Part:
    """The part whose tools answer a record: "all" where both parts are needed.

    A third of all names of tools, and of the records without a call, is "unseen", see
    `spec.Split`; which ones depends on the name alone.
    """
    keys = _needed(record) or {record.id}
    unseen = {zlib.crc32(key.encode()) % 3 == 0 for key in keys}
    if len(unseen) > 1:
        return "all"
    return "unseen" if unseen.pop() else "taught"


def _needed(record: Record) -> frozenset[str]:
    """Names of the tools that a record's calls use."""
    return frozenset(gold.name for gold in record.answers or ())


def _foreign(record: Record, records: Sequence[Record], draws: random.Random) -> list[Tool]:
    """Tools of another record, of which none has the name of one of this record's."""
    names = {tool.name for tool in record.tools}
    for other in draws.sample(records, min(len(records), _LOOKED_AT)):
        if other.tools and names.isdisjoint(tool.name for tool in other.tools):
            return list(other.tools)
    return []


def _with_other_tools(record: Record, records: Sequence[Record], draws: random.Random) -> Record:
    """The record with its own tools, with those alone that it needs, or with more, shuffled."""
    tools = list(record.tools)
    way = draws.choices(("own", "needed", "more"), (4, 3, 3))[0]
    if way == "needed" and record.answers:
        needed = _needed(record)
        tools = [tool for tool in tools if tool.name in needed]
    elif way == "more":
        foreign = _foreign(record, records, draws)
        tools += draws.sample(foreign, min(len(foreign), draws.randint(1, _MOST_FOREIGN)))
    draws.shuffle(tools)
    return record.with_(tools=tuple(tools))


def _unanswerable(record: Record, records: Sequence[Record], draws: random.Random) -> Record | None:
    """The query beside tools that don't answer it: another record's, or those it doesn't need."""
    needed = _needed(record)
    rest = [tool for tool in record.tools if tool.name not in needed]
    tools = rest if rest and draws.random() < 0.4 else _foreign(record, records, draws)
    if not tools:
        return None
    tools = draws.sample(tools, draws.randint(1, len(tools)))
    return record.with_(id=f"{record.id}-none", tools=tuple(tools), answers=())


def variations(
    records: Sequence[Record], passes: int, *, masked: float, unanswerable: float, seed: int
) -> Iterator[Record]:
    """Every record once a pass, and beside some of them a twin that no call answers.

    A pass gives a record its own tools, only those that it needs, or those of another record too;
    in another order; and new names to a share of the records. A twin has the query of its record
    and no answers. Records whose history holds more than a query keep their tools and get no twin:
    they speak of them.

    Args:
      records: with gold.
      passes: how often each comes; `-INDEX` of the pass is put behind its id.
      masked: share of the records, in [0, 1], whose names are masked.
      unanswerable: share of the records with a call, in [0, 1], that have a twin, `-none` behind
        its id.
      seed: of everything that is drawn.

    Raises:
      DataError: a record has no gold.

    Source: our choice; no calls after the data set xlam-irrelevance of arXiv:2510.14703.
    """
    for record in records:
        if record.answers is None:
            raise DataError(f"record {record.id!r}: expected answers, found none")
    for index in range(passes):
        for source in records:
            draws = random.Random(f"{seed}:{index}:{source.id}:variation")
            record = source.with_(id=f"{source.id}-{index}")
            made = [record]
            if len(record.messages) == 1:
                made = [_with_other_tools(record, records, draws)]
                twin = None
                if record.answers and draws.random() < unanswerable:
                    twin = _unanswerable(record, records, draws)
                made += [twin] if twin else []
            for one in made:
                if draws.random() >= masked:
                    yield one
                    continue
                style = "random" if draws.random() < 0.25 else "pseudoword"
                yield mask_record(one, seed, style=style).record


def _write(args: argparse.Namespace) -> int:
    check_files({f"records {path}": path for path in args.records}, {"out": args.out})
    records = [record for path in args.records for record in read_records(path)]
    if args.part != "all":
        every = len(records)
        records = [record for record in records if part_of(record) == args.part]
        print(f"{len(records)} of {every} records are {args.part}", file=sys.stderr)
    made = variations(
        records, args.passes, masked=args.masked, unanswerable=args.unanswerable, seed=args.seed
    )
    write_jsonl(args.out, (record_to_json(record) for record in made))
    return 0


def _parser() -> Parser:
    parser = Parser(
        "python -m toolprm_jax.toolworld.variations",
        "Writes records several times, with other tools and names, some with no right call.",
    )
    share = number(float, Ge(0), Le(1))
    parser.add_argument("--records", nargs="+", required=True, help="records with gold")
    parser.add_argument(
        "--part", choices=get_args(Part), default="all", help="records whose tools are of a part"
    )
    parser.add_argument("--passes", type=whole_number(1), default=1, help="times each record comes")
    parser.add_argument("--masked", type=share, default=0.5, help="share with masked names")
    parser.add_argument("--unanswerable", type=share, default=0.2, help="share with a twin")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="record JSONL to write")
    return parser


main = command(_parser, _write)


if __name__ == "__main__":
    raise SystemExit(main())
