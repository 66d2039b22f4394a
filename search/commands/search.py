"""toolprm-search: answers queries by a search method."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolprm_jax.command import Parser, add_fields, add_plan, check_files, command, whole_number
from toolprm_jax.progress import tell
from toolprm_jax.records import (
    DataError,
    check_folder_place,
    checked_file,
    read_rows,
    write_resumable,
)
from toolprm_jax.tokens import TEMPLATES

from .. import host
from ..core import GUIDED, METHODS, Execution, SearchConfig
from .options import MOST_ROWS, MOST_TOKENS, add_devices, add_records, load_searcher

# Fields of `SearchConfig` that are options.
OPTIONS = (
    *("num_beams", "beam_width", "probe_width", "explore", "temperature", "top_k", "top_p"),
    *("schema", "grammar", "aggregate", "beta", "early_stop"),
    *("max_decisions", "max_step_tokens", "max_tokens", "pool_size"),
)
# Which option raises the limit that a flag tells of.
REMEDIES = {
    "pool_overflow": "--pool-size",
    "step_overflow": "--max-step-tokens",
    "length_overflow": "--max-tokens",
    "decision_overflow": "--max-decisions",
}


def parser() -> Parser:
    """The command's arguments."""
    out = Parser("toolprm-search", "Answers queries by search; writes an answers file.")
    out.add_argument("--policy", required=True, help="a model: see README")
    out.add_argument("--template", choices=TEMPLATES, help="of a policy without a contract")
    out.add_argument("--prm", help="its reward model; only for best_of_n and fine_grained")
    add_records(out, required=False)
    out.add_argument(
        "--method",
        choices=METHODS,
        default="fine_grained",
        help="fine_grained prunes to N beams after every decision; best_of_n keeps the best of "
        "N x M whole completions, majority_vote the most frequent; token_beam is a beam of N x M; "
        "greedy and sample take one",
    )
    add_fields(out, SearchConfig, *OPTIONS)
    add_fields(out, Execution, "max_lanes")
    out.add_argument(
        "--batch-size", type=whole_number(1, MOST_ROWS), default=8, help="queries at once"
    )
    out.add_argument(
        "--max-shapes", type=whole_number(1), default=4, help="prompt lengths compiled"
    )
    out.add_argument("--seed", type=whole_number(0), default=0)
    out.add_argument("--out", help="answers file to write")
    out.add_argument("--trace", help="directory for one picture of the search tree per query")
    out.add_argument(
        "--profile", help="directory for a profiler trace of each batch; tells seconds by part"
    )
    add_devices(out)
    add_plan(out, "the search", "a model")
    out.add_argument(
        "--prompt-tokens",
        type=whole_number(1, MOST_TOKENS),
        default=1024,
        help="plan: length of the prompts",
    )
    return out


def _plan(args: argparse.Namespace, base: SearchConfig) -> int:
    """Prints what the search needs."""
    # JAX takes seconds to import, and --help needs none of it.
    from toolprm_jax.plan import print_plan

    from ..methods import method_config
    from .plan import model_facts, plan_search, planned

    devices, policy, prm = planned(args)
    config = method_config(args.method, base)
    try:
        plan = plan_search(
            policy,
            prm,
            config,
            batch_size=args.batch_size,
            prompt_tokens=args.prompt_tokens,
            tensor=args.tensor,
            devices=devices,
        )
    except ValueError as error:
        raise DataError(str(error)) from None
    facts = {
        "search": f"{args.method}, N = {config.num_beams}, M = {config.beam_width}, "
        f"{args.batch_size} queries at once, prompts of {args.prompt_tokens} tokens",
        "mesh": f"data {len(devices) // args.tensor}, tensor {args.tensor}",
    }
    print_plan(plan, {**facts, **model_facts(policy, prm)})
    return 0


def _config(args: argparse.Namespace) -> SearchConfig:
    """The configuration that the arguments spell.

    Raises:
      DataError: two of them don't go together.
    """
    if args.probe_width and args.explore != "sample":
        raise DataError(f"--probe-width: expected --explore sample, found {args.explore}")
    return SearchConfig(
        **{name: getattr(args, name) for name in OPTIONS},
        trace=args.trace is not None,
        execution=Execution(max_lanes=args.max_lanes),
    )


def _search(args: argparse.Namespace) -> int:
    import jax

    guided = args.method in GUIDED
    base = _config(args)
    if not args.plan:
        for name in ("records", "out"):
            if getattr(args, name) is None:
                raise DataError(f"--{name}: expected a file")
        models = {"policy": args.policy, "prm": args.prm if guided else None}
        check_files({**models, "records": args.records}, {"out": args.out})
        checked_file(args.records)
    if guided and args.prm is None:
        raise DataError(f"--prm: expected a reward model for --method {args.method}")
    if args.plan:
        return _plan(args, base)
    if args.prm is not None and not guided:
        tell(f"--method {args.method} asks no reward model: --prm is not read")
    for folder in (args.trace, args.profile):
        if folder is not None:
            check_folder_place(folder, replace=True)
    records = host.read_queries(args.records, args.format, args.limit)
    searcher = load_searcher(args, **vars(base))

    def lines(skip: int) -> Iterator[dict[str, Any]]:
        answers = searcher.many(
            records,
            seed=args.seed,
            batch_size=args.batch_size,
            max_shapes=args.max_shapes,
            trace=args.trace is not None,
            skip=skip,
            profile=args.profile,
        )
        for index, answer in enumerate(answers, start=skip):
            if args.trace:
                answer.tree(Path(args.trace) / f"{index:05d}.html")
            yield answer.to_json()

    pair = (searcher.pair.policy, searcher.pair.prm)
    digests = [host.digest_of(one, records) for one in pair if one]
    settings = [str(searcher.config), args.method, args.seed, args.batch_size, args.max_shapes]
    key = [digests, settings, args.tensor, jax.__version__, jax.default_backend()]
    write_resumable(args.out, key, lines)
    _report(args, searcher)
    return 0


def _report(args: argparse.Namespace, searcher: host.Searcher) -> None:
    """Says what the answers file holds, and what this run spent."""
    answers: list[Any] = [row.value for row in read_rows(args.out)]
    flags = Counter(flag for answer in answers for flag in answer["flags"])
    for flag, count in sorted(flags.items()):
        remedy = f"; {REMEDIES[flag]} raises the limit" if flag in REMEDIES else ""
        print(f"warning: {count} of {len(answers)} answers: {flag}{remedy}", file=sys.stderr)
    spent = searcher.spent
    summary = {
        "method": args.method,
        "queries": len(answers),
        "finished": sum(answer["finished"] for answer in answers),
        "seconds": round(spent.seconds, 3),
        "compile_seconds": round(spent.compile_seconds, 3),
        "compilations": spent.compilations,
    }
    if spent.parts:
        summary["parts"] = {part: round(seconds, 6) for part, seconds in spent.parts.items()}
    print(json.dumps({**summary, "out": args.out}))


main = command(parser, _search)


if __name__ == "__main__":
    raise SystemExit(main())
