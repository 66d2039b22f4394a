"""toolprm-score: a reward model's probability of every decision of completions from any engine."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, get_args

import numpy as np

from toolprm_jax import model
from toolprm_jax.annotation import respelled
from toolprm_jax.command import Parser, check_files, command, whole_number
from toolprm_jax.grammar import Dress, Kind, explain, run, tables
from toolprm_jax.progress import shown
from toolprm_jax.records import (
    DataError,
    Record,
    Rollouts,
    Row,
    atomic_writer,
    read_records,
    read_rollout_rows,
    rejects_file,
)

from .. import core, host
from ..core import Aggregate, SearchConfig
from .options import MOST_ROWS, MOST_TOKENS, add_devices, add_records, load_spread

_SHOWN = 5  # reasons of broken completions that are printed


def score_of(steps: Sequence[model.StepScore], how: Aggregate) -> float | None:
    """The score of a completion, as the search has it; None if it is no whole call list.

    Args:
      steps: its decisions, in firing order.
      how: what becomes of their probabilities.
    """
    if not steps or steps[-1].kind is not Kind.TOTAL_FINISH:
        return None
    log_p = np.asarray([math.log(step.p) if step.p else -math.inf for step in steps])
    return float(core.aggregate(log_p, np.ones(len(steps), bool), how))


def parser() -> Parser:
    """The command's arguments."""
    out = Parser(
        "toolprm-score",
        "Scores the decisions of completions that any engine made; writes a scores file. Calls may "
        "be written in any dress, or as OpenAI's tool_calls. What completions of a query have in "
        "common is read once.",
    )
    out.add_argument("--prm", required=True, help="a reward model: see README")
    add_records(out)
    out.add_argument("--rollouts", required=True, help="rollouts file: the completions")
    out.add_argument("--out", required=True, help="scores file to write")
    out.add_argument(
        "--rejects", help="what can't be scored, with the reason (default: OUT.rejects.jsonl)"
    )
    out.add_argument(
        "--aggregate",
        choices=get_args(Aggregate),
        default=SearchConfig().aggregate,
        help="how a score comes from those of its decisions (default: %(default)s)",
    )
    out.add_argument(
        "--row-length",
        type=whole_number(1, MOST_TOKENS),
        default=2048,
        help="tokens of a row; prompt and completion must fit (default: %(default)s)",
    )
    out.add_argument(
        "--batch-size", type=whole_number(1, MOST_ROWS), default=1, help="rows at once"
    )
    add_devices(out)
    return out


def _score(args: argparse.Namespace) -> int:
    rejects_path = args.rejects or f"{args.out}.rejects.jsonl"
    check_files(
        {"prm": args.prm, "records": args.records, "rollouts": args.rollouts},
        {"out": args.out, "rejects": rejects_path},
    )
    prm = load_spread(args.prm, args)
    mesh = host.search_mesh(args.batch_size, args.tensor)
    dress = prm.codec.template.dress
    scored, broken = 0, Counter[str]()  # why completions have no score
    rows: list[tuple[Row, Rollouts, list[model.Completion]]] = []  # that are being scored
    with rejects_file(rejects_path) as reject, atomic_writer(args.out) as write:
        records = islice(read_records(args.records, args.format, reject), args.limit)
        known = {record.id: record for record in records}

        def items() -> Iterator[tuple[Record, list[model.Completion]]]:
            for row, rollouts in read_rollout_rows(args.rollouts, reject):
                if rollouts.id in known:
                    read = _read(rollouts, dress)
                    rows.append((row, rollouts, read))
                    yield known[rollouts.id], read
                else:
                    reason = f"id: no record {rollouts.id!r} in {args.records}"
                    row.reject(reason, reject, completions=len(rollouts.completions))

        scores = model.score_rollouts(
            prm,
            items(),
            row_length=args.row_length,
            rows=args.batch_size,
            place=lambda batch: host.place_queries(mesh, batch)[0],
        )
        for found in shown(scores, None, "record"):
            row, rollouts, read = rows.pop(0)
            for index, (given, (text, _), steps) in enumerate(
                zip(rollouts.completions, read, found, strict=True)
            ):
                if isinstance(steps, DataError):
                    row.reject(f"completions[{index}]: {steps}", reject, completions=1)
                    continue
                line: dict[str, Any] = {
                    "id": rollouts.id,
                    "completion": given,
                    "steps": [step.to_json() for step in steps],
                    "score": score_of(steps, args.aggregate),
                }
                if text != given:
                    line["read_as"] = text
                if line["score"] is None:
                    line["error"] = _error(text, dress)
                    broken[line["error"]] += 1
                scored += 1
                write(line)
        if not scored:
            raise DataError(f"{args.rollouts}: no completion can be scored{reject.why}")
    whole = scored - broken.total()
    print(f"{whole} of {scored} completions have a score in {args.out}")
    for why, count in broken.most_common(_SHOWN):
        print(f"{count} have none: {why}")
    print(f"{reject.count} rows or completions rejected, see {rejects_path}")
    return 0


def _read(rollouts: Rollouts, dress: Dress) -> list[model.Completion]:
    """The completions as the reward model reads them; ids that spell another text are left out."""
    ids = rollouts.token_ids or ((),) * len(rollouts.completions)
    read = [respelled(text, dress) for text in rollouts.completions]
    return [
        (new, mine if new == text else ())
        for text, new, mine in zip(rollouts.completions, read, ids, strict=True)
    ]


def _error(text: str, dress: Dress) -> str:
    """Why a completion is no whole list of calls."""
    data = text.encode("utf-8", "surrogatepass")
    return explain(tables(dress), run(tables(dress), data, eot=True), data) or "no end of the calls"


main = command(parser, _score)


if __name__ == "__main__":
    raise SystemExit(main())
