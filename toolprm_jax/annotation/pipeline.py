"""Annotation on many machines, as an Apache Beam pipeline.

The same function labels every row as in `toolprm-annotate`, and the same lines come out, in any
order. Files may lie where Beam reads and writes: local, `gs://`, `s3://`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam  # pyright: ignore[reportMissingImports]
from apache_beam.io.filesystems import (  # pyright: ignore[reportMissingImports]
    CompressionTypes,
    FileSystems,
)
from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
    PipelineOptions,
)

from ..command import Parser, add_format, distinct_files, run_command
from ..records import (
    DataError,
    Position,
    Reject,
    Span,
    json_line,
    read_records,
    record_from_json,
    record_to_json,
    row_of,
    row_spans,
)
from .annotate import add_labelling_flags, options_of
from .rows import Options, annotate_row
from .statistics import Counts

_Place = tuple[int, int, int | None, bytes]  # a span, in types that Beam has coders for


class Annotate(beam.PTransform):
    """Records and rollouts -> lines of the steps file.

    Expands on a pipeline to a dict of collections of text: `steps`, `rejects`, and `stats`, the
    one object of the statistics file.

    Args:
      records: the records file.
      rollouts: the rollouts file.
      format: format of the records; recognised if None.
      options: how completions are labelled.
    """

    def __init__(
        self, records: str, rollouts: str, format: str | None = None, options: Options | None = None
    ) -> None:
        super().__init__()
        self._records, self._rollouts, self._format = records, rollouts, format
        self._options = options or Options()

    def expand(self, pbegin: Any) -> dict[str, Any]:
        """Builds the graph."""
        records = (
            pbegin
            | "Records file" >> beam.Create([self._records])
            | "Read records"
            >> beam.FlatMap(_read_records, self._format).with_outputs("rejects", main="records")
        )
        rows = (
            pbegin
            | "Rollouts file" >> beam.Create([self._rollouts])
            | "Read rollouts" >> beam.FlatMap(_read_rows)
        )
        labelled = (
            {"records": records["records"], "rows": rows}
            | beam.CoGroupByKey()
            | "Label"
            >> beam.FlatMap(_label, self._rollouts, self._options).with_outputs(
                "rejects", "counts", main="steps"
            )
        )
        rejects = (records["rejects"], labelled["rejects"]) | beam.Flatten()
        unread = records["rejects"] | beam.Map(lambda _: Counts(rows=1).to_state())
        stats = (
            (labelled["counts"], unread)
            | "All counts" >> beam.Flatten()
            | beam.CombineGlobally(_sum)
            | beam.Map(lambda state: json.dumps(Counts.from_state(state).to_json()))
        )
        return {"steps": labelled["steps"], "rejects": rejects, "stats": stats}


def _open(path: str) -> Any:
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _read_records(path: str, format: str | None) -> Iterator[Any]:
    rejected: list[Reject] = []
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / Path(path).name
        answers = local.parent / "possible_answer" / local.name  # of BFCL
        beside = FileSystems.join(FileSystems.split(path)[0], "possible_answer", local.name)
        for source, target in ((path, local), (beside, answers)):
            if source == path or FileSystems.exists(source):
                target.parent.mkdir(exist_ok=True)
                with _open(source) as remote, target.open("wb") as copy:
                    shutil.copyfileobj(remote, copy)
        for record in read_records(local, format, rejected.append):
            yield record.id, json_line(record_to_json(record))
            while rejected:
                yield _rejected(replace(rejected.pop(0), source=path))
    for row in rejected:
        yield _rejected(replace(row, source=path))


def _rejected(row: Reject) -> Any:
    return beam.pvalue.TaggedOutput("rejects", json_line(row.to_json()))


def _read_rows(path: str) -> Iterator[tuple[str, _Place]]:
    with _open(path) as file:
        for span in row_spans(file, path):
            # A row that can't be used has no id; it is rejected whatever record it meets.
            offset, index, line = span.start
            yield row_of(path, span).id or "", (offset, index, line, span.data)


def _label(
    group: tuple[str, dict[str, Iterable[Any]]], source: str, options: Options
) -> Iterator[Any]:
    _, found = group
    bodies = list(found["records"])
    record = record_from_json(json.loads(bodies[0])) if bodies else None
    counts, rejected = Counts(records=len(bodies)), []
    for offset, index, line, data in found["rows"]:
        row = row_of(source, Span(Position(offset, index, line), data))
        yield from annotate_row(row, lambda _: record, options, counts, rejected.append)
    counts.without_rollouts = int(record is not None and not counts.labelled)
    yield from map(_rejected, rejected)
    yield beam.pvalue.TaggedOutput("counts", counts.to_state())


def _sum(states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    total = Counts()
    for state in states:
        total.merge(Counts.from_state(state))
    return total.to_state()


def _parser() -> Parser:
    parser = Parser(
        "toolprm-annotate-beam",
        "As toolprm-annotate, on many machines. Other flags go to Apache Beam (--runner, ...).",
    )
    parser.add_argument("--records", required=True, help="records with their gold answers")
    add_format(parser)
    parser.add_argument("--rollouts", required=True, help="rollouts file")
    parser.add_argument("--out", required=True, help="OUT-00000-of-00008.jsonl, ... are written")
    parser.add_argument("--rejects", help="likewise (default: OUT.rejects)")
    parser.add_argument("--stats", help="JSON file for the counts")
    add_labelling_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `toolprm-annotate-beam`.

    Args:
      argv: the arguments, Beam's among them; those of the process if None.

    Returns:
      The exit status: 0, or 2 for input that can't be used.
    """
    beam_flags: list[str] = []

    def run(args: argparse.Namespace) -> int:
        for name in ("records", "rollouts"):
            if not FileSystems.exists(getattr(args, name)):
                raise DataError(f"{getattr(args, name)}: no such file")
        rejects = args.rejects or f"{args.out}.rejects"
        distinct_files(
            records=args.records,
            rollouts=args.rollouts,
            out=args.out,
            rejects=rejects,
            stats=args.stats,
        )
        with beam.Pipeline(options=PipelineOptions(beam_flags)) as pipeline:
            outputs = pipeline | Annotate(
                args.records, args.rollouts, args.format, options_of(args)
            )
            for name, place in (("steps", args.out), ("rejects", rejects)):
                _ = outputs[name] | f"Write {name}" >> beam.io.WriteToText(place, ".jsonl")
            if args.stats:
                _ = outputs["stats"] | "Write stats" >> beam.io.WriteToText(
                    args.stats, shard_name_template=""
                )
        return 0

    return run_command(_parser(), run, argv, others=beam_flags)


if __name__ == "__main__":
    sys.exit(main())
