"""The demo: every method on one set of queries, a table, results.json, one search as a picture.

python -m search.studies.demo [--records FILE --format FORMAT]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from toolprm_jax.annotation import exact_match
from toolprm_jax.cache import keep_programs
from toolprm_jax.command import Parser, add_format, command, whole_number
from toolprm_jax.records import DataError, Record, check_folder_place, write_jsonl
from toolprm_jax.toolworld import masked_corpus

from ..core import Execution, Method, SearchConfig
from ..host import Answer, MethodRun, Searcher, flag_counts, load_pair, read_queries, run_methods
from ..report import bootstrap_interval, paired_bootstrap, results_table, write_results

COMPARED: tuple[Method, ...] = ("greedy", "best_of_n", "fine_grained")
# N and M were fixed before any run; of the aggregates none is better on queries of their own, see
# toolprm_jax/toolworld/CHECKPOINTS.md, and "min" ends early.
CONFIG = SearchConfig(
    num_beams=4,
    beam_width=4,
    temperature=0.8,
    aggregate="min",
    max_tokens=96,
    max_step_tokens=48,
    pool_size=1024,
)
QUERIES = 8
MOST_CALLS = 1  # in a gold answer: long ones take most of the time
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


def _runs(args: argparse.Namespace, records: Sequence[Record]) -> dict[str, MethodRun]:
    """Every method in the paper's setting, greedy first, and the last once more strictly."""
    pair = load_pair(args.policy, args.prm)
    # One size of a pass instead of four: what is saved in compiling is more than what it costs.
    config = replace(CONFIG, trace=True, execution=Execution(pass_sizes=1, max_lanes=32))
    options: dict[str, Any] = {"seed": 0, "batch_size": args.batch_size, "max_shapes": 1}
    runs = run_methods(Searcher(pair, config), records, COMPARED, **options)
    strict = Searcher(pair, replace(config, schema="strict"))
    (last,) = run_methods(strict, records, COMPARED[-1:], **options).values()
    return {**runs, f"{last.method}_strict": last}


def verdicts(answers: Sequence[Answer]) -> np.ndarray:
    """Which answers are right, bool[Q]; one that is not finished never is."""
    return np.asarray([a.finished and exact_match(a.record, a.calls) for a in answers])


def _row(run: MethodRun, correct: np.ndarray, greedy: np.ndarray) -> dict[str, Any]:
    """The run's line of results.json."""
    cost: Counter[str] = Counter()
    for answer in run.answers:
        cost.update(answer.cost)
    against = greedy if run.method == "fine_grained" else None
    row = result_row(run.method, run.config, correct, cost, run.spent.seconds, against)
    return {**row, "schema": run.config.schema}


def _heldout(count: int) -> list[Record]:
    """The first held-out records of the corpus that need at most `MOST_CALLS` calls."""
    corpus = masked_corpus(SEED, "heldout", sys.maxsize)
    short = (record for record in corpus if len(record.answers or ()) <= MOST_CALLS)
    return list(itertools.islice(short, count))


def _demo(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    out = check_folder_place(args.out, replace=True)
    records: list[Record]
    if args.records is None:
        records = _heldout(args.limit)
        what = f"names masked, at most {MOST_CALLS} call each"
        print(f"{len(records)} held-out queries of the embedded corpus, {what}")
    else:
        records = read_queries(args.records, args.format, args.limit)
        print(f"{len(records)} queries of {args.records} (at most {args.limit}; LIMIT= changes it)")
    known = [record for record in records if record.answers is not None]
    if not known:
        raise DataError(f"{args.records}: no record has answers to compare with")
    if len(known) < len(records):
        print(f"{len(records) - len(known)} records without answers left out", file=sys.stderr)
    keep_programs()
    runs = _runs(args, known)
    correct = {name: verdicts(run.answers) for name, run in runs.items()}
    rows = [_row(run, correct[name], correct["greedy"]) for name, run in runs.items()]
    write_results(out / "results.json", rows)
    for name, run in runs.items():
        write_jsonl(out / f"answers_{name}.jsonl", (a.to_json() for a in run.answers))
    fine = runs["fine_grained"]
    drawn = _pictured(fine, correct["fine_grained"], correct["greedy"])
    fine.answers[drawn].tree(out / "search.html")

    Console(width=120).print(results_table(rows))
    for name, run in runs.items():
        for flag, count in flag_counts(run.answers).items():
            print(f"{name}: {count} of {len(run.answers)} answers: {flag}")
    compiled = sum(run.spent.compile_seconds for run in runs.values())
    total = time.perf_counter() - started
    print(f"{total:.0f} s in all, {compiled:.0f} s of it compilation (not in the table)")
    print(f"results: {out / 'results.json'}; one search as a picture: {out / 'search.html'}")
    return 0


main = command(parser, _demo)


if __name__ == "__main__":
    raise SystemExit(main())
