"""Steps in TRL's form for process supervision, `prompt` / `completions` / `labels`, both ways.

python -m toolprm_jax.tokens.trl --to-trl steps.jsonl --records records.jsonl --out trl.jsonl
python -m toolprm_jax.tokens.trl --from-trl trl.jsonl --out steps.jsonl

It lives beside the prompt templates because TRL's rows hold the prompt as text.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..annotation import STEPS_KEYS, Labelled, Step, labelled_from_json, steps_json
from ..command import Parser, add_format, check_files, command
from ..grammar import Dress, Kind, explain, run, tables
from ..records import (
    DataError,
    Record,
    Row,
    atomic_writer,
    beside,
    read_records,
    read_rows,
    rejects_file,
)
from .prompts import TEMPLATES, Template, get_template

_OURS = ("prompt", "completions", "labels")


def prompt_text(record: Record, template: Template) -> str:
    """A record's prompt as text, up to where the completion starts.

    Raises:
      DataError: the template is a tokenizer's own, whose text only that tokenizer makes.
    """
    if template.own_chat:
        raise DataError(f"the template {template.name} needs a tokenizer and can't be written here")
    frame = template.frame
    turns = "".join(
        f"{frame.begun(role, text)}{frame.closing}{frame.after}"
        for role, text in template.turns(record)
    )
    return f"{frame.first}{turns}{frame.begun('assistant', template.opening)}"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def to_trl(
    line: Mapping[str, Any], record: Record, template: Template, target: str = "label"
) -> dict[str, Any]:
    """One line of a steps file as a row for process supervision in TRL's form.

    Args:
      line: the line.
      record: its record.
      template: writes the prompt.
      target: "label" or "prefix", which of a step's two labels is given.

    Returns:
      `{"id", "prompt", "completions", "labels"}`: the completion cut after every decision. Where
      several decisions fall on one byte all but the first are empty strings; the last holds the
      rest of the text. Token ids are left out, for TRL makes its own.

    Raises:
      DataError: the line has no steps, or they don't fit the completion.

    Source: TRL's documentation, dataset formats, "stepwise supervision".
    """
    data, steps = _encode(line["completion"]), line["steps"]
    if not steps:
        raise DataError("steps: expected at least one")
    ends = [step["end"] for step in steps]
    if ends != sorted(ends) or ends[-1] > len(data):
        raise DataError("steps: expected ends in order and inside the completion")
    cuts = [0, *ends[:-1], len(data)]
    return {
        "id": line["id"],
        "prompt": prompt_text(record, template),
        "completions": [
            data[low:high].decode("utf-8", "surrogatepass")
            for low, high in itertools.pairwise(cuts)
        ],
        "labels": [step[target] == "+" for step in steps],
    }


def from_trl(row: Row, dress: Dress = "list") -> dict[str, Any]:
    """A row of TRL's form as one line of a steps file.

    The kind of every step is found again by the call grammar: each piece has to end where a
    decision ends. Fewer pieces than decisions are a coarser granularity.

    Args:
      row: `{"prompt", "completions", "labels"}`; without an `id` its index counts.
      dress: how the completion writes calls.

    Returns:
      The line; other keys of the row are kept, under `foreign` where a steps file has one of that
      name; the prompt is not, for the record makes it.

    Raises:
      DataError: with the field and what was expected.
    """
    if row.problem or not isinstance(row.value, dict):
        raise DataError(row.problem or "expected an object")
    if row.id is None:
        raise DataError("id: expected Unicode text or an integer")
    pieces, labels = row.value.get("completions"), row.value.get("labels")
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
        raise DataError("completions: expected a list of strings")
    if not isinstance(labels, list) or not all(isinstance(label, bool) for label in labels):
        raise DataError("labels: expected a list of true and false")
    if not pieces or len(pieces) != len(labels):
        raise DataError(f"labels: expected one for each of {len(pieces)} completions")
    text = "".join(pieces)
    decisions, error, trailing = _decisions(_encode(text), dress)
    ends = list(itertools.accumulate(len(_encode(piece)) for piece in pieces[:-1]))
    ends.append(decisions[-1][1])  # the last piece holds the rest of the text
    steps: list[Step] = []
    prefix = True
    for end, group in itertools.groupby(zip(ends, labels, strict=True), lambda pair: pair[0]):
        given = [label for _, label in group]
        here = [kind for kind, at in decisions if at == end]
        if len(here) < len(given):
            raise DataError(
                f"completions[{len(steps) + len(here)}]: expected to end with a decision, ends at "
                f"byte {end} of the completion"
            )
        for kind, label in zip(here[-len(given) :], given, strict=True):
            prefix = prefix and label
            steps.append(Step(kind, end, label, prefix))
    others = {k: v for k, v in row.value.items() if k not in (*_OURS, "id")}
    labelled = Labelled(tuple(steps), labels[-1], error, trailing, ())
    return beside(steps_json(row.id, text, labelled), others, STEPS_KEYS)


def _decisions(data: bytes, dress: Dress) -> tuple[list[tuple[Kind, int]], str | None, bool]:
    """All decisions of a completion, its death included, as `label_completion` lists them."""
    result = run(tables(dress), data, eot=True)
    decisions = list(result.events)
    if result.died_at is not None:
        decisions.append((Kind.TOTAL_FINISH, min(result.died_at + 1, len(data))))
    return decisions, explain(tables(dress), result, data), result.trailing


def _steps_line(row: Row, records: Mapping[str, Record]) -> tuple[dict[str, Any], Record]:
    if row.problem or not isinstance(row.value, dict):
        raise DataError(row.problem or "expected an object")
    record = records.get(row.id or "")
    if row.id is None or record is None:
        raise DataError(f"id: expected the id of a record, found {row.id!r}")
    labelled_from_json("", row.value)  # for its checks
    return {**row.value, "id": row.id}, record


def _parser() -> Parser:
    parser = Parser(
        "python -m toolprm_jax.tokens.trl",
        "Converts a steps file to the rows of TRL's PRMTrainer, or such rows to a steps file.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--to-trl", metavar="STEPS", help="steps file to convert")
    which.add_argument("--from-trl", metavar="ROWS", help="JSON lines of TRL's form to convert")
    parser.add_argument("--records", help="the records of the steps (for --to-trl)")
    add_format(parser)
    written = sorted(name for name, template in TEMPLATES.items() if not template.own_chat)
    parser.add_argument("--template", choices=written, default="hammer")
    parser.add_argument("--target", choices=("label", "prefix"), default="label")
    parser.add_argument("--out", required=True, help="file to write")
    return parser


def _convert(args: argparse.Namespace) -> int:
    path, rejects_path = args.to_trl or args.from_trl, f"{args.out}.rejects.jsonl"
    flag = "to-trl" if args.to_trl else "from-trl"
    check_files({flag: path, "records": args.records}, {"out": args.out, "rejects": rejects_path})
    template = get_template(args.template)
    if args.to_trl and not args.records:
        raise DataError("--records: expected the records of the steps")
    counts: Counter[str] = Counter()
    with rejects_file(rejects_path) as reject, atomic_writer(args.out) as write:
        records: dict[str, Record] = {}
        if args.to_trl:
            records = {r.id: r for r in read_records(args.records, args.format, reject)}
        for row in read_rows(path):
            try:
                if args.to_trl:
                    line, record = _steps_line(row, records)
                    write(to_trl(line, record, template, args.target))
                else:
                    write(from_trl(row, template.dress))
                counts["written"] += 1
            except DataError as error:
                row.reject(str(error), reject)
        if not counts["written"]:
            raise DataError(f"{path}: every row was rejected{reject.why}")
    print(f"{counts['written']} rows written to {args.out}")
    print(f"{reject.count} rows rejected, see {rejects_path}")
    return 0


main = command(_parser, _convert)


if __name__ == "__main__":
    sys.exit(main())
