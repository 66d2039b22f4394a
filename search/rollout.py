"""toolprm-rollout: samples completions of every record from a policy."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from toolprm_jax.annotation.command import Parser, run_command
from toolprm_jax.annotation.jsonl import json_line
from toolprm_jax.annotation.readers import record_to_json
from toolprm_jax.annotation.records import Record
from toolprm_jax.model.load import LoadedModel
from toolprm_jax.tokens.prompts import TEMPLATES

from .flags import add_devices, add_records, load_spread, read_queries, temperature, whole_number
from .resumable import write_resumable
from .run import make_batches, record_keys
from .sharded import place_models, place_queries, search_mesh, sharded_rollouts
from .tracker import make_grammar


def rollouts(
    policy: LoadedModel,
    records: Sequence[Record],
    *,
    count: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    batch_size: int,
    max_shapes: int,
    skip: int = 0,
    tensor: int = 1,
) -> Iterator[dict[str, Any]]:
    """Lines of a rollouts file, in the order of the records' prompt lengths.

    Args:
      policy: the model that is sampled.
      records: the queries.
      count: completions per record.
      temperature: of the policy; 0 takes the likeliest token.
      max_tokens: limit of a completion, in tokens.
      seed: with the record's id it fixes every draw.
      batch_size: records that run at once.
      max_shapes: how many prompt lengths are compiled at most.
      skip: leaves out so many lines at the start; the others are what they would be.
      tensor: devices that share the model; the records of a batch are spread over the others.

    Yields:
      `{"id", "completions", "token_ids"}`.
    """
    codec = policy.codec
    grammar = make_grammar(codec, policy.model.config.vocab_size)
    mesh = search_mesh(batch_size, tensor)
    (params,) = place_models(mesh, policy.params)
    for batch in make_batches(codec, records, batch_size, max_shapes):
        if skip >= len(batch.indices):
            skip -= len(batch.indices)
            continue
        keys, prompts = place_queries(mesh, record_keys(seed, batch.records), batch.prompts)
        sampled = jax.device_get(
            sharded_rollouts(
                mesh,
                policy.model,
                params,
                keys,
                prompts,
                grammar,
                count=count,
                temperature=temperature,
                max_tokens=max_tokens,
            )
        )
        for row, index in list(enumerate(batch.indices))[skip:]:
            ids = [
                np.asarray(tokens[:length]).tolist()
                for tokens, length in zip(sampled.tokens[row], sampled.lengths[row], strict=True)
            ]
            texts = [codec.decode(tokens).decode("utf-8", errors="replace") for tokens in ids]
            yield {"id": records[index].id, "completions": texts, "token_ids": ids}
        skip = 0


def digest_of(policy: LoadedModel, records: Sequence[Record]) -> str:
    """A hash of weights, text side and queries."""
    digest = hashlib.sha256()
    digest.update(f"{policy.model.config} {policy.codec.contract}".encode())
    for path, leaf in jax.tree.leaves_with_path(policy.params):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        digest.update(np.asarray(leaf).tobytes())
    for record in records:
        digest.update(json_line(record_to_json(record)).encode())
    return digest.hexdigest()


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
    out.add_argument("--num", type=whole_number(1), default=8, help="completions per record")
    out.add_argument("--temperature", type=temperature, default=0.8)
    out.add_argument("--max_tokens", type=whole_number(1), default=192)
    out.add_argument("--batch_size", type=whole_number(1), default=8)
    out.add_argument(
        "--max_shapes", type=whole_number(1), default=4, help="prompt lengths compiled"
    )
    add_devices(out)
    out.add_argument("--seed", type=whole_number(0), default=0)
    out.add_argument("--out", required=True, help="rollouts file to write")
    return out


def _rollout(args: argparse.Namespace) -> int:
    records = read_queries(args.records, args.format, args.limit)
    policy = load_spread(args.model, args, args.template)
    options: dict[str, Any] = {
        "count": args.num,
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "seed": args.seed,
        "batch_size": args.batch_size,
        "max_shapes": args.max_shapes,
        "tensor": args.tensor,
    }

    def lines(skip: int) -> Iterator[dict[str, Any]]:
        rest = rollouts(policy, records, skip=skip, **options)
        yield from tqdm(
            rest, total=len(records), initial=skip, unit="record", mininterval=1.0, disable=None
        )

    key = [digest_of(policy, records), options, jax.__version__, jax.default_backend()]
    write_resumable(args.out, key, lines)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `toolprm-rollout`.

    Args:
      argv: the arguments; those of the process if None.

    Returns:
      The exit status: 0, or 2 for input that can't be used.
    """
    return run_command(parser(), _rollout, argv)


if __name__ == "__main__":
    raise SystemExit(main())
