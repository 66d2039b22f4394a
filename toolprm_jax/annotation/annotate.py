"""`toolprm-annotate`: rollouts of a policy -> decisions labelled `+` or `-`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from .command import Parser, distinct_files, run_command
from .grammar import Dress, Kind
from .jsonl import (
    ROLLOUTS_FORM,
    Reject,
    Rejects,
    Rollouts,
    Row,
    atomic_writer,
    read_rollout_rows,
    write_jsonl,
)
from .labels import Labelled, label_completion
from .readers import FORMATS, read_records
from .records import DataError, Record


@dataclass
class Counts:
    """What went in and what came out; `completions` = `labelled` + `rejected`.

    `rejected` counts completions and `rows` the rejected rows of either file, for a row that is
    no JSON holds an unknown number of completions; `steps` counts (kind, label).
    """

    records: int = 0
    completions: int = 0
    labelled: int = 0
    rejected: int = 0
    rows: int = 0
    correct: int = 0
    died: int = 0
    trailing: int = 0
    without_rollouts: int = 0
    steps: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def add(self, labelled: Labelled) -> None:
        """Counts one labelled completion."""
        self.labelled += 1
        self.correct += labelled.correct
        self.died += labelled.error is not None
        self.trailing += labelled.trailing
        self.steps.update((step.kind.name, step.label) for step in labelled.steps)

    def by_label(self, label: bool) -> int:
        """Number of decisions with a label."""
        return sum(count for (_, given), count in self.steps.items() if given == label)

    def to_json(self) -> dict[str, Any]:
        """The object of the statistics file."""
        return {
            "records": self.records,
            "records_without_rollouts": self.without_rollouts,
            "completions": self.completions,
            "labelled": self.labelled,
            "rejected": self.rejected,
            "rejected_rows": self.rows,
            "died": self.died,
            "trailing_text": self.trailing,
            "trajectories": {"+": self.correct, "-": self.labelled - self.correct},
            "steps": {"+": self.by_label(True), "-": self.by_label(False)},
            "kinds": {
                kind.name: {"+": self.steps[kind.name, True], "-": self.steps[kind.name, False]}
                for kind in Kind
            },
        }


class _NothingLabelledError(DataError):
    """No completion could be labelled; what was at --out stays."""


def annotate(
    records: Mapping[str, Record],
    rollouts: Iterable[tuple[Row, Rollouts]],
    write: Callable[[Any], None],
    rejects: Rejects,
    *,
    dress: Dress = "list",
    ordered: bool = False,
) -> Counts:
    """Labels every completion of every rollout, in order.

    Args:
      records: records by id.
      rollouts: rollouts, each with the row it was read from.
      write: receives one line of the steps file for each completion.
      rejects: receives the rows whose record is unknown or has no gold.
      dress: how the completions write calls, "list" or "tool_call".
      ordered: whether call i must match gold i.

    Returns:
      The counts.

    Source: arXiv:2510.14703, data collection.
    """
    counts = Counts(records=len(records))
    seen: set[str] = set()
    for row, (record_id, completions, token_ids) in rollouts:
        counts.completions += len(completions)
        record = records.get(record_id)
        reason = None
        if record is None:
            reason = f"id: expected the id of a record, found {record_id!r}"
        elif record.answers is None:
            reason = f"id: expected a record with answers, {record_id!r} has none"
        if record is None or reason:
            counts.rejected += len(completions)
            row.reject(str(reason), rejects, completions=len(completions))
            continue
        seen.add(record_id)
        for index, completion in enumerate(completions):
            labelled = label_completion(record, completion, dress=dress, ordered=ordered)
            counts.add(labelled)
            line = labelled.to_json(record_id, completion)
            if token_ids is not None:
                line["token_ids"] = list(token_ids[index])
            write(line)
    counts.without_rollouts = len(records) - len(seen)
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `toolprm-annotate`.

    Args:
      argv: the arguments; those of the process if None.

    Returns:
      The exit status: 0, 1 if nothing could be labelled, 2 for input that can't be used.
    """
    return run_command(_parser(), _annotate, argv)


def _parser() -> Parser:
    parser = Parser(
        "toolprm-annotate",
        "Labels every decision of every completion by exact match with the record's gold calls.",
    )
    parser.add_argument("--records", required=True, help="records with their gold answers")
    parser.add_argument(
        "--format", choices=FORMATS, help="format of the records; recognised if not given"
    )
    parser.add_argument("--rollouts", help=f"JSON lines {ROLLOUTS_FORM} (required)")
    parser.add_argument("--out", required=True, help="steps file to write, one line a completion")
    parser.add_argument(
        "--rejects",
        help="rows that can't be used, each with its reason (default: OUT.rejects.jsonl)",
    )
    parser.add_argument(
        "--ordered", action="store_true", help="call i must match gold i; else calls are order-free"
    )
    parser.add_argument(
        "--dress",
        choices=("list", "tool_call"),
        default="list",
        help="completions are a JSON list (Hammer, default) or <tool_call> blocks (Qwen)",
    )
    parser.add_argument("--stats", help="JSON file for the counts")
    return parser


def _annotate(args: argparse.Namespace) -> int:
    if args.rollouts is None:
        raise DataError(
            f"--rollouts: expected a file of JSON lines {ROLLOUTS_FORM}, as toolprm-rollout "
            "writes it"
        )
    rejects_path = args.rejects or f"{args.out}.rejects.jsonl"
    distinct_files(
        records=args.records,
        rollouts=args.rollouts,
        out=args.out,
        rejects=rejects_path,
        stats=args.stats,
    )
    rejected: Counter[str] = Counter()
    status = 0
    with atomic_writer(rejects_path) as write_reject:

        def reject(row: Reject) -> None:
            rejected["rows"] += 1
            write_reject(row.to_json())

        def reject_unread(row: Reject) -> None:
            rejected["unread"] += row.completions
            reject(row)

        records = {r.id: r for r in read_records(args.records, args.format, reject)}
        rollouts = tqdm(
            read_rollout_rows(args.rollouts, reject_unread), unit=" rollouts", disable=None
        )
        try:
            with atomic_writer(args.out) as write:
                counts = annotate(
                    records, rollouts, write, reject, dress=args.dress, ordered=args.ordered
                )
                if not counts.labelled:
                    raise _NothingLabelledError("no completion could be labelled")
        except _NothingLabelledError as error:
            print(f"toolprm-annotate: error: {error}, see {rejects_path}", file=sys.stderr)
            status = 1
    if status:
        return status
    counts.rows = rejected["rows"]
    # A row of the wrong form never reaches `annotate`, yet its completions came in.
    counts.completions += rejected["unread"]
    counts.rejected += rejected["unread"]
    if args.stats:
        write_jsonl(args.stats, [counts.to_json()])
    _report(counts, args.out, rejects_path)
    return 0


def _report(counts: Counts, out: str, rejects_path: str) -> None:
    table = Table("decision", "+", "-", "total")
    for column in table.columns[1:]:
        column.justify = "right"
    kinds = counts.to_json()["kinds"]
    rows = [(name, given["+"], given["-"]) for name, given in kinds.items()]
    rows.append(("all steps", counts.by_label(True), counts.by_label(False)))
    rows.append(("trajectories", counts.correct, counts.labelled - counts.correct))
    for name, plus, minus in rows:
        table.add_row(name, f"{plus:,}", f"{minus:,}", f"{plus + minus:,}")
    Console().print(table)
    print(
        f"{counts.completions} completions = {counts.labelled} labelled ({out}) + "
        f"{counts.rejected} rejected"
    )
    print(
        f"{counts.died} died in the grammar, {counts.trailing} with other text after the answer, "
        f"{counts.without_rollouts} of {counts.records} records without rollouts"
    )
    print(f"{counts.rows} rows rejected, see {rejects_path}")


if __name__ == "__main__":
    sys.exit(main())
