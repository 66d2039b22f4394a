"""The demo: every method on one set of queries, a table, results.json, one search as a picture.

python -m search.studies.demo [--records FILE --format FORMAT]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from toolprm_jax.annotation import exact_match
from toolprm_jax.cache import keep_programs
from toolprm_jax.command import Parser, add_format, command, whole_number
from toolprm_jax.records import DataError, Record, check_folder_place, write_jsonl
from toolprm_jax.toolworld import masked_corpus

from ..core import SearchConfig
from ..host import MethodRun, Searcher, flag_counts, load_pair, read_queries, run_methods
from ..methods import Method
from ..report import bootstrap_interval, paired_bootstrap, results_table, write_results

COMPARED: tuple[Method, ...] = ("greedy", "best_of_n", "fine_grained")
# N and M were fixed before any run; of the aggregates none is better on queries of their own, see
# toolprm_jax/toolworld/CHECKPOINTS.md, and "min" ends early.
CONFIG = SearchConfig(
    num_beams=4,
    beam_width=4,
    temperature=0.8,
    aggregate="min",
    max_tokens=160,
    max_step_tokens=48,
    pool_size=1024,
)
QUERIES = 12
SEED = 2024  # of the held-out queries; the training corpus and its checks use others


def parser() -> Parser:
    """The command's arguments."""
    out = Parser("demo", "Compares the search methods with the embedded models.")
    out.add_argument("--records", help="your own queries (default: held-out ones of the corpus)")
    add_format(out)
    out.add_argument("--limit", type=whole_number(1), default=QUERIES, help="queries at most")
    out.add_argument("--policy", default="embedded:policy", help="a model")
    out.add_argument("--prm", default="embedded:prm", help="its reward model")
    out.add_argument("--batch-size", type=whole_number(1), default=4, help="queries at once")
    out.add_argument("--out", default="runs/demo", help="directory for what it writes")
    return out


def result_row(
    method: Method,
    config: SearchConfig,
    correct: np.ndarray,
    cost: Mapping[str, int],
    seconds: float,
    greedy: np.ndarray | None = None,
) -> dict[str, Any]:
    """One line of results.json.

    Args:
      method: the method.
      config: its own.
      correct: bool[Q], which of its answers are right.
      cost: totals over its answers.
      seconds: without compilation.
      greedy: bool[Q], which of greedy's are, for the difference.
    """
    low, high = bootstrap_interval(correct)
    row = {
        "method": method,
        "num_beams": config.num_beams,
        "beam_width": config.beam_width,
        "queries": len(correct),
        "accuracy": float(correct.mean()),
        "ci_low": low,
        "ci_high": high,
        "policy_tokens": cost["policy_tokens"],
        "prm_tokens": cost["prm_tokens"],
        "seconds": seconds,
    }
    if greedy is not None:
        diff, low, high = paired_bootstrap(correct, greedy)
        row |= {"diff": diff, "diff_low": low, "diff_high": high}
    return row


def _pictured(run: MethodRun, correct: np.ndarray, greedy: np.ndarray) -> int:
    """The query that is drawn: preferably right here, wrong by greedy, and of readable size."""
    decisions = np.asarray([answer.cost["decisions"] for answer in run.answers])
    readable = (decisions >= 4) & (decisions <= 8)
    for wanted in (correct & ~greedy & readable, correct & ~greedy, correct & readable):
        if wanted.any():
            return int(np.flatnonzero(wanted)[0])
    return 0


def _demo(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    out = check_folder_place(args.out, replace=True)
    records: list[Record]
    if args.records is None:
        records = list(masked_corpus(SEED, "heldout", args.limit))
        print(f"{len(records)} held-out queries of the embedded corpus, names masked")
    else:
        records = read_queries(args.records, args.format, args.limit)
        print(f"{len(records)} queries of {args.records} (at most {args.limit}; LIMIT= changes it)")
    known = [record for record in records if record.answers is not None]
    if not known:
        raise DataError(f"{args.records}: no record has answers to compare with")
    if len(known) < len(records):
        print(f"{len(records) - len(known)} records without answers left out", file=sys.stderr)
    keep_programs()
    pair = load_pair(args.policy, args.prm)
    searcher = Searcher(pair, replace(CONFIG, trace=True))
    runs = run_methods(searcher, known, COMPARED, seed=0, batch_size=args.batch_size, max_shapes=1)
    correct = {
        method: np.asarray(
            [exact_match(a.record, a.calls) if a.finished else False for a in run.answers]
        )
        for method, run in runs.items()
    }
    rows = []
    for method, run in runs.items():
        cost: Counter[str] = Counter()
        for answer in run.answers:
            cost.update(answer.cost)
        rows.append(
            result_row(
                method,
                run.config,
                correct[method],
                cost,
                run.spent.seconds,
                correct["greedy"] if method == "fine_grained" else None,
            )
        )
    write_results(out / "results.json", rows)
    for run in runs.values():
        write_jsonl(out / f"answers_{run.method}.jsonl", (a.to_json() for a in run.answers))
    fine = runs["fine_grained"]
    drawn = _pictured(fine, correct["fine_grained"], correct["greedy"])
    fine.answers[drawn].tree(out / "search.html")

    Console(width=110).print(results_table(rows))
    for run in runs.values():
        for flag, count in flag_counts(run.answers).items():
            print(f"{run.method}: {count} of {len(run.answers)} answers: {flag}")
    compiled = sum(run.spent.compile_seconds for run in runs.values())
    total = time.perf_counter() - started
    print(f"{total:.0f} s in all, {compiled:.0f} s of it compilation (not in the table)")
    print(f"results: {out / 'results.json'}; one search as a picture: {out / 'search.html'}")
    return 0


main = command(parser, _demo)


if __name__ == "__main__":
    raise SystemExit(main())
