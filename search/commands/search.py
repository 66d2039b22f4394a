"""toolprm-search: answers queries by a search method."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from toolprm_jax.command import Parser, add_fields, run_command, whole_number
from toolprm_jax.model import abstract_params, num_params
from toolprm_jax.plan import add_plan, planned_devices, print_plan, shape_of
from toolprm_jax.records import DataError, write_jsonl
from toolprm_jax.tokens import TEMPLATES

from ..core import Execution, SearchConfig
from ..host import Models, flag_counts, read_queries, run_methods
from ..methods import GUIDED, METHODS, method_config
from ..report import search_tree, write_search_picture
from .options import add_devices, add_records, dtype_for, load_spread
from .plan import plan_search

# Fields of `SearchConfig` that are options.
OPTIONS = (
    *("num_beams", "beam_width", "probe_width", "explore", "temperature", "top_k", "top_p"),
    *("schema", "aggregate", "beta", "early_stop"),
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
    out.add_argument("--batch-size", type=whole_number(1), default=8, help="queries at once")
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
        "--prompt-tokens", type=whole_number(1), default=1024, help="plan: length of the prompts"
    )
    return out


def _plan(args: argparse.Namespace, base: SearchConfig) -> int:
    """Prints what the search needs."""
    devices = planned_devices(args.topology)
    dtype = dtype_for(args.dtype, devices)
    policy = shape_of(args.policy, dtype=dtype)
    prm = shape_of(args.prm, dtype=dtype) if args.method in GUIDED else None
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
    for name, shape in {"policy": policy, "reward model": prm}.items():
        if shape is not None:
            facts[name] = f"{num_params(abstract_params(shape)):,} parameters, {shape.dtype}"
    print_plan(plan, facts)
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
    guided = args.method in GUIDED
    if guided and args.prm is None:
        raise DataError(f"--prm: expected a reward model for --method {args.method}")
    base = _config(args)
    if args.plan:
        return _plan(args, base)
    for name in ("records", "out"):
        if getattr(args, name) is None:
            raise DataError(f"--{name}: expected a file")
    records = read_queries(args.records, args.format, args.limit)
    policy = load_spread(args.policy, args, args.template)
    models = Models(policy, load_spread(args.prm, args) if guided else None)
    run = run_methods(
        models,
        records,
        [args.method],
        base,
        seed=args.seed,
        batch_size=args.batch_size,
        max_shapes=args.max_shapes,
        profile=args.profile,
        tensor=args.tensor,
    )[args.method]
    write_jsonl(args.out, (answer.to_json() for answer in run.answers))
    if args.trace:
        for index, answer in enumerate(run.answers):
            tree = search_tree(models.policy.codec, answer, run.config, args.prm or "none")
            write_search_picture(Path(args.trace) / f"{index:05d}.html", tree)
    for flag, count in flag_counts(run.answers).items():
        remedy = f"; {REMEDIES[flag]} raises the limit" if flag in REMEDIES else ""
        print(f"warning: {count} of {len(run.answers)} answers: {flag}{remedy}", file=sys.stderr)
    print(
        json.dumps(
            {
                "method": args.method,
                "queries": len(run.answers),
                "finished": sum(answer.finished for answer in run.answers),
                "seconds": round(run.seconds, 3),
                "compile_seconds": round(run.compile_seconds, 3),
                "compilations": run.compilations,
                **({"parts": {k: round(v, 6) for k, v in run.parts.items()}} if run.parts else {}),
            }
        )
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `toolprm-search`.

    Args:
      argv: the arguments; those of the process if None.

    Returns:
      The exit status: 0, or 2 for input that can't be used.
    """
    return run_command(parser(), _search, argv)


if __name__ == "__main__":
    raise SystemExit(main())
