"""How many queries a method answered right, with intervals; the command `toolprm-evaluate`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolprm_jax.annotation import F1Counts, exact_match, f1_counts
from toolprm_jax.command import Parser, add_format, check_files, command, printable
from toolprm_jax.records import (
    Call,
    DataError,
    Record,
    Rejects,
    Row,
    read_records,
    read_rows,
)

from ..report import bootstrap_interval, f1_intervals, write_json

_SHOWN = 5  # problems that the terminal lists; the output file lists all

# "exact" keeps to the rules of BFCL's AST checker where the gold is BFCL's, and "bfcl" asks for
# such golds; "f1" is told beside it.
METRICS = ("exact", "bfcl", "f1")


@dataclass(frozen=True)
class GivenAnswer:
    """One line of an answers file."""

    id: str
    calls: tuple[Call, ...]
    finished: bool
    method: str


@dataclass(frozen=True)
class Problem:
    """Something in the input that doesn't count as an answer, and why."""

    kind: str  # "bad record", "bad answer", "unknown", "duplicate", "no gold", "missing"
    id: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """The verdict on every record that has gold calls, in record order."""

    ids: tuple[str, ...]
    correct: np.ndarray  # bool [Q]
    problems: tuple[Problem, ...]
    unfinished: int  # answers that the search itself flagged as unfinished
    counts: np.ndarray  # int [Q, 6], `F1Counts` of each


def _answer_problem(row: Row) -> str | None:
    if row.problem:
        return row.problem
    if not isinstance(row.value, dict):
        return 'expected an object {"id", "calls": [{"name", "arguments"}, ...]}'
    if row.id is None:
        return "id: expected Unicode text or an integer"
    calls = row.value.get("calls")
    if not isinstance(calls, list):
        return "calls: expected a list of calls"
    for k, call in enumerate(calls):
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return f"calls[{k}].name: expected a string"
        if not isinstance(call.get("arguments"), dict):
            return f"calls[{k}].arguments: expected an object"
    if not isinstance(row.value.get("finished", True), bool):
        return "finished: expected true or false"
    return None


def read_answers(path: str | Path, rejects: Rejects | None = None) -> list[GivenAnswer]:
    """Reads an answers file.

    Args:
      path: JSON lines, `{"id", "calls", ...}`; rows without an id get their 0-based index.
      rejects: receives the rows that can't be used; None makes the first one an error.

    Returns:
      The answers in file order; an id may occur again.

    Raises:
      DataError: the file can't be read or holds no rows; a bad row if `rejects` is None.
    """
    answers: list[GivenAnswer] = []
    for row in read_rows(path):
        problem = _answer_problem(row)
        if problem:
            row.reject(problem, rejects)
            continue
        answers.append(
            GivenAnswer(
                id=str(row.id),
                calls=tuple(Call(call["name"], call["arguments"]) for call in row.value["calls"]),
                finished=row.value.get("finished", True),
                method=str(row.value.get("method", "")),
            )
        )
    return answers


def evaluate(records: Sequence[Record], answers: Sequence[GivenAnswer]) -> Evaluation:
    """Compares answers with the gold calls; a record without an answer counts as wrong.

    Args:
      records: those without gold are reported and not counted.
      answers: in any order; of several with one id the first counts.

    Returns:
      The verdict per record that has gold, and every problem found.

    Raises:
      DataError: no record has gold calls, or no answer belongs to one that has.
    """
    problems: list[Problem] = []
    known = {record.id for record in records}
    by_id: dict[str, GivenAnswer] = {}
    for answer in answers:
        if answer.id not in known:
            problems.append(Problem("unknown", answer.id, f"no record has the id {answer.id}"))
        elif answer.id in by_id:
            problems.append(
                Problem("duplicate", answer.id, f"{answer.id} is answered before; the first counts")
            )
        else:
            by_id[answer.id] = answer
    ids: list[str] = []
    correct: list[bool] = []
    counts: list[F1Counts] = []
    for record in records:
        answer = by_id.get(record.id)
        if record.answers is None:
            problems.append(Problem("no gold", record.id, f"{record.id} has no gold calls"))
            continue
        if answer is None:
            problems.append(Problem("missing", record.id, f"{record.id} isn't answered: wrong"))
        ids.append(record.id)
        # Without calls, an unfinished answer would be right where no call is.
        calls = answer.calls if answer is not None and answer.finished else None
        correct.append(calls is not None and exact_match(record, calls))
        counts.append(f1_counts(record, calls))
    if not ids:
        raise DataError("no record has gold calls to compare with")
    if not by_id.keys() & set(ids):
        raise DataError("no answer has the id of a record with gold calls")
    return Evaluation(
        ids=tuple(ids),
        correct=np.array(correct, dtype=np.bool_),
        problems=tuple(problems),
        unfinished=sum(not by_id[id_].finished for id_ in ids if id_ in by_id),
        counts=np.array(counts, dtype=np.int64),
    )


def _f1(counts: np.ndarray) -> dict[str, float]:
    """F1 of names and of arguments over all queries, with intervals."""
    return {
        f"f1_{of}{end}": value
        for of, values in f1_intervals(counts).items()
        for end, value in zip(("", "_low", "_high"), values, strict=True)
    }


def summary(evaluation: Evaluation, metric: str, methods: Sequence[str]) -> dict[str, Any]:
    """The evaluation as the output file states it."""
    low, high = bootstrap_interval(evaluation.correct)
    problems: dict[str, list[dict[str, str]]] = {}
    for problem in evaluation.problems:
        problems.setdefault(problem.kind, []).append({"id": problem.id, "reason": problem.reason})
    return {
        "metric": metric,
        "methods": list(methods),
        "queries": len(evaluation.ids),
        "correct": int(evaluation.correct.sum()),
        "accuracy": float(evaluation.correct.mean()),
        "ci_low": low,
        "ci_high": high,
        **(_f1(evaluation.counts) if metric == "f1" else {}),
        "unfinished": evaluation.unfinished,
        "problems": problems,
        "per_query": dict(zip(evaluation.ids, evaluation.correct.tolist(), strict=True)),
    }


def _foreign(records: Sequence[Record], answers: Sequence[GivenAnswer]) -> int:
    """Answers that call none but functions which their records don't list."""
    listed = {record.id: {tool.name for tool in record.tools} for record in records}
    named = [({call.name for call in a.calls}, listed.get(a.id)) for a in answers]
    return sum(bool(called) and known is not None and not called & known for called, known in named)


def _evaluate(args: argparse.Namespace) -> int:
    check_files({"answers": args.answers, "records": args.records}, {"out": args.out})
    rejected: list[Problem] = []

    def reject_as(kind: str) -> Rejects:
        return lambda row: rejected.append(
            Problem(kind, row.id or "", f"{row.source}:{row.line or row.id}: {row.reason}")
        )

    records = list(read_records(args.records, args.format, reject_as("bad record")))
    others = sum(record.equality != "bfcl" for record in records)
    if args.metric == "bfcl" and others:
        raise DataError(f"--metric=bfcl: expected BFCL's records, found {others} others")
    answers = read_answers(args.answers, reject_as("bad answer"))
    if args.answered:
        ids = {answer.id for answer in answers}
        records = [record for record in records if record.id in ids]
    try:
        found = evaluate(records, answers)
    except DataError as error:
        # What is wrong with the answers says more here than a bad record.
        worst = min(rejected, key=lambda problem: problem.kind != "bad answer", default=None)
        raise DataError(f"{error}; {worst.reason}" if worst else str(error)) from None
    problems = (*rejected, *found.problems)
    methods = sorted({answer.method for answer in answers if answer.method})
    result = summary(replace(found, problems=problems), args.metric, methods)
    if args.out:
        write_json(args.out, result)
    print(
        f"{'exact' if args.metric == 'f1' else args.metric}: {result['correct']} of "
        f"{result['queries']} right, "
        f"accuracy {result['accuracy']:.4f} "
        f"(95 % interval {result['ci_low']:.4f} to {result['ci_high']:.4f})"
    )
    for of in ("names", "arguments") if args.metric == "f1" else ():
        value, low, high = (result[f"f1_{of}{end}"] for end in ("", "_low", "_high"))
        print(f"F1 of {of}: {value:.4f} (95 % interval {low:.4f} to {high:.4f})")
    if strange := _foreign(records, answers):
        print(f"{strange} answers call functions that their records don't list: other records?")
    if found.unfinished:
        print(f"unfinished answers: {found.unfinished}")
    missing = sum(problem.kind == "missing" for problem in found.problems)
    if missing:
        print(f"{missing} records without an answer count as wrong; --answered leaves them out")
    for kind, rows in result["problems"].items():
        print(f"{kind}: {len(rows)}", file=sys.stderr)
        for row in rows[:_SHOWN]:
            print(f"  {printable(row['reason'])}", file=sys.stderr)
        if len(rows) > _SHOWN:
            more = f"; all are in {args.out}" if args.out else ""
            print(f"  ... and {len(rows) - _SHOWN} more{more}", file=sys.stderr)
    return 0


def parser() -> Parser:
    """The command's arguments."""
    out = Parser(
        "toolprm-evaluate",
        "Compares answers with the gold calls and prints the accuracy with its interval. A record "
        "without an answer counts as wrong.",
    )
    out.add_argument("--answers", required=True, help="answers file, JSON lines")
    out.add_argument("--records", required=True, help="records file, with gold calls")
    add_format(out)
    out.add_argument(
        "--metric", default="exact", choices=METRICS, help="f1: that of names and arguments too"
    )
    out.add_argument(
        "--answered",
        action="store_true",
        help="leave out records without an answer, as after toolprm-search --limit",
    )
    out.add_argument("--out", help="write the result and the verdict per query here, as JSON")
    return out


main = command(parser, _evaluate)

if __name__ == "__main__":
    raise SystemExit(main())
