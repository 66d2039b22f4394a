"""The demo's table over whole test sets, resumable: the numbers in the README.

python -m search.studies.compare --runs runs/compare [--data FOLDER] [--out results/compare.json]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from toolprm_jax.annotation import exact_match
from toolprm_jax.cache import keep_programs
from toolprm_jax.command import Parser, check_files, command, whole_number
from toolprm_jax.progress import Progress
from toolprm_jax.records import DataError, Record, read_records, read_rows, write_resumable
from toolprm_jax.toolworld import masked_corpus

from ..host import Searcher, digest_of, load_pair
from ..report import results_table, write_results
from .demo import COMPARED, CONFIG, SEED, result_row

QUERIES = 500  # of the corpus
# Name -> file below --data.
DATA_SETS = {
    "bfcl_simple": "bfcl/BFCL_v4_simple_python.json",
    "toolalpaca": "toolalpaca/toolalpaca_114.json",
}


class Part(NamedTuple):
    """One data set of the comparison."""

    name: str
    records: list[Record]
    max_shapes: int  # prompt lengths that are compiled


def parts(data: str | None, limit: int) -> list[Part]:
    """The data sets: held-out queries of the corpus, and real ones where their folder is given.

    Raises:
      DataError: a file is missing.
    """
    out = [Part("toolworld", list(masked_corpus(SEED, "heldout", min(limit, QUERIES))), 2)]
    if data is not None:
        for name, file in DATA_SETS.items():
            records = list(read_records(Path(data) / file))[:limit]
            out.append(Part(name, records, 3))
    return out


def parser() -> Parser:
    """The command's arguments."""
    out = Parser(
        "python -m search.studies.compare",
        "Compares the search methods over whole test sets. Killed at any time, the same command "
        "goes on where it stopped.",
    )
    out.add_argument("--data", help="folder with bfcl/ and toolalpaca/; without it the corpus only")
    out.add_argument("--limit", type=whole_number(1), default=QUERIES, help="queries a set at most")
    out.add_argument("--policy", default="embedded:policy", help="a model")
    out.add_argument("--prm", default="embedded:prm", help="its reward model")
    out.add_argument("--batch-size", type=whole_number(1), default=24)
    out.add_argument("--runs", default="runs/compare", help="directory for what is done so far")
    out.add_argument("--out", default="results/compare.json", help="table to write")
    return out


def _lines(
    searcher: Searcher, part: Part, batch_size: int, bar: Progress, skip: int
) -> Iterator[dict[str, Any]]:
    """One line a batch: what every method answered, whether it is right, what it cost."""
    for found in searcher.batches(
        part.records,
        {method: searcher.config_of(method) for method in COMPARED},
        seed=0,
        batch_size=batch_size,
        max_shapes=part.max_shapes,
        skip=skip,
        bar=bar,
    ):
        indices = next(iter(found.values())).indices
        yield {
            "records": [part.records[index].id for index in indices],
            "methods": {
                method: {
                    "seconds": mine.spent.seconds,
                    "answers": [answer.to_json() for answer in mine.answers],
                    "correct": [
                        answer.finished and exact_match(answer.record, answer.calls)
                        for answer in mine.answers
                    ],
                }
                for method, mine in found.items()
            },
        }


def table_rows(searcher: Searcher, part: Part, path: Path) -> list[dict[str, Any]]:
    """Rows of the table from the lines of a data set that is done."""
    totals: dict[str, Counter[str]] = {method: Counter() for method in COMPARED}
    seconds: Counter[str] = Counter()
    correct: dict[str, list[bool]] = {method: [] for method in COMPARED}
    for row in read_rows(path):
        line: Any = row.value
        for method, found in line["methods"].items():
            seconds[method] += found["seconds"]
            correct[method] += found["correct"]
            for answer in found["answers"]:
                totals[method].update(answer["cost"])
    verdicts = {method: np.asarray(values) for method, values in correct.items()}
    return [
        {
            "dataset": part.name,
            **result_row(
                method,
                searcher.config_of(method),
                verdicts[method],
                verdicts["greedy"],
                totals[method],
                seconds[method],
            ),
        }
        for method in COMPARED
    ]


def _compare(args: argparse.Namespace) -> int:
    files: dict[str, str | None] = {}
    if args.data is not None:
        files = {f"data {name}": str(Path(args.data) / file) for name, file in DATA_SETS.items()}
    check_files(files, {"out": args.out})
    keep_programs()
    searcher = Searcher(load_pair(args.policy, args.prm), CONFIG)
    pair = searcher.pair
    root = Path(args.runs)
    rows: list[dict[str, Any]] = []
    for part in parts(args.data, args.limit):
        if any(record.answers is None for record in part.records):
            raise DataError(f"{part.name}: a record has no answers to compare with")
        path = root / f"{part.name}.jsonl"
        key = [
            *(digest_of(loaded, part.records) for loaded in (pair.policy, pair.prm) if loaded),
            *(str(CONFIG), args.batch_size, COMPARED, jax.__version__, jax.default_backend()),
        ]
        print(part.name, file=sys.stderr)
        with Progress(len(part.records) * len(COMPARED), "answer") as bar:

            def lines(skip: int, part: Part = part, bar: Progress = bar) -> Iterator[Any]:
                bar.update(min(skip * args.batch_size, len(part.records)) * len(COMPARED))
                return _lines(searcher, part, args.batch_size, bar, skip)

            write_resumable(path, key, lines)
        rows += table_rows(searcher, part, path)
        write_results(args.out, rows)
    for part in dict.fromkeys(row["dataset"] for row in rows):
        print(part)
        Console(width=110).print(results_table([r for r in rows if r["dataset"] == part]))
    print(f"results: {args.out}")
    return 0


main = command(parser, _compare)


if __name__ == "__main__":
    raise SystemExit(main())
