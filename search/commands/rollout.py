"""toolprm-rollout: samples completions of every record from a policy."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from annotated_types import Ge

from toolprm_jax.command import Parser, add_fields, check_files, command, number, whole_number
from toolprm_jax.progress import shown
from toolprm_jax.records import write_resumable
from toolprm_jax.tokens import TEMPLATES

from .. import host
from ..core import Execution
from .options import MOST_ROWS, MOST_TOKENS, add_devices, add_records, load_spread


def parser() -> Parser:
    """The command's arguments."""
    out = Parser(
        "toolprm-rollout",
        "Samples completions of every record; writes a rollouts file. Killed at any time, the same "
        "command goes on where it stopped.",
    )
    out.add_argument("--model", required=True, help="the policy: see README")
    out.add_argument("--template", choices=TEMPLATES, help="of a policy without a contract")
    add_records(out)
    out.add_argument(
        "--num", type=whole_number(1, MOST_ROWS), default=8, help="completions per record"
    )
    out.add_argument("--temperature", type=number(float, Ge(0)), default=0.8)
    out.add_argument("--max-tokens", type=whole_number(1, MOST_TOKENS), default=192)
    out.add_argument("--batch-size", type=whole_number(1, MOST_ROWS), default=8)
    out.add_argument(
        "--max-shapes", type=whole_number(1), default=4, help="prompt lengths compiled"
    )
    out.add_argument(
        "--schema",
        choices=("ignore", "strict"),
        default="ignore",
        help="strict: draw only tokens after which the tools' schemas can still accept",
    )
    add_fields(out, Execution, "max_lanes")
    add_devices(out)
    out.add_argument("--seed", type=whole_number(0), default=0)
    out.add_argument("--out", required=True, help="rollouts file to write")
    return out


def _rollout(args: argparse.Namespace) -> int:
    check_files({"model": args.model, "records": args.records}, {"out": args.out})
    import jax  # not for --help

    records = host.read_queries(args.records, args.format, args.limit)
    policy = load_spread(args.model, args, args.template)
    options: dict[str, Any] = {
        "count": args.num,
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "seed": args.seed,
        "batch_size": args.batch_size,
        "max_shapes": args.max_shapes,
        "tensor": args.tensor,
        "schema": args.schema,
    }

    def lines(skip: int) -> Iterator[dict[str, Any]]:
        rest = host.rollouts(policy, records, skip=skip, max_lanes=args.max_lanes, **options)
        return shown(rest, len(records), "record", done=skip)

    key = [host.digest_of(policy, records), options, jax.__version__, jax.default_backend()]
    write_resumable(args.out, key, lines)
    print(f"completions of {len(records)} records, shortest prompts first, are in {args.out}")
    return 0


main = command(parser, _rollout)


if __name__ == "__main__":
    raise SystemExit(main())
