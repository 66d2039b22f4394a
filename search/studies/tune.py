"""Which aggregate and which beta choose best among labelled completions of a tuning split.

python -m search.studies.tune --policy MODEL --prm MODEL --records FILE --steps FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from toolprm_jax.annotation import LabelledCompletion, read_steps
from toolprm_jax.command import Parser, add_format, check_files, command
from toolprm_jax.model import Decoder, Params, step_logits
from toolprm_jax.model.files import LoadedModel, load
from toolprm_jax.records import DataError, Record, read_records
from toolprm_jax.tokens import TreeBatch, TreeBuilder, marked_path, pack

from ..core import Aggregate, aggregate
from ..report import write_json

BETAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
_ROW_STEP = 256  # rows are padded to a multiple of it, so that few lengths are compiled


class Candidate(NamedTuple):
    """One completion, as both models see it."""

    correct: bool
    log_p: NDArray[np.float32]  # log-probability of "+" at every marker, in firing order
    log_prob: float  # of the completion, under the policy


@partial(jax.jit, static_argnames=("policy", "prm", "label_ids"))
def _score(
    policy: Decoder,
    prm: Decoder,
    params: tuple[Params, Params],
    batch: TreeBatch,
    label_ids: tuple[int, int],
) -> tuple[Array, Array]:
    """Log-probabilities float32[S]: of "+" at every marker, of every token after its parent."""
    plus = jax.nn.log_sigmoid(step_logits(prm, params[1], batch, label_ids))[0]
    hidden: Any = policy.apply(params[0], batch.tokens, batch.positions, batch.exits)
    logits: Any = policy.apply(params[0], hidden[0][batch.parents[0]], method=Decoder.logits)
    picked = jnp.take_along_axis(logits, batch.tokens[0][:, None], axis=1)[:, 0]
    return plus, picked - jax.nn.logsumexp(logits, axis=-1)


def candidates(
    policy: LoadedModel, prm: LoadedModel, record: Record, rollouts: Sequence[LabelledCompletion]
) -> list[Candidate]:
    """A record's labelled completions with what both models make of them.

    Args:
      policy: the policy.
      prm: the reward model.
      record: the query and its tools.
      rollouts: labelled completions with at least one step each.
    """
    prompt = prm.codec.prompt(record)
    builder = TreeBuilder()
    for rollout in rollouts:
        ids, markers = marked_path(prm.codec, rollout)
        nodes = builder.add_path([*prompt, *ids])
        for index, token, kind, label in markers:
            builder.add_marker(nodes[len(prompt) + index], token, kind, label)
    batch = pack([builder.build()], len(builder) + -len(builder) % _ROW_STEP)
    plus, after = (
        np.asarray(x)
        for x in _score(
            policy.model,
            prm.model,
            (policy.params, prm.params),
            batch,
            prm.codec.contract.label_ids,
        )
    )
    children: dict[tuple[int, int, int], int] = {}
    for node in range(1, len(builder)):
        kind = int(batch.kinds[0, node])
        children[int(batch.parents[0, node]), int(batch.tokens[0, node]), kind] = node
    out = []
    for rollout in rollouts:
        ids, markers = marked_path(prm.codec, rollout)
        path = [0]
        for token in [*prompt[1:], *ids]:
            path.append(children[path[-1], token, -1])
        answers = [
            plus[children[path[len(prompt) + index], token, kind]]
            for index, token, kind, _ in markers
        ]
        log_prob = float(after[path[len(prompt) :]].sum())
        correct = rollout.steps[-1].label and not rollout.died
        out.append(Candidate(correct, np.asarray(answers, np.float32), log_prob))
    return out


def _score_of(candidate: Candidate, how: Aggregate) -> float:
    among = np.ones(len(candidate.log_p), bool)
    return float(aggregate(candidate.log_p, among, how))


def accuracies(groups: Sequence[Sequence[Candidate]]) -> dict[str, Any]:
    """How often the chosen candidate is right, by aggregate and beta.

    Args:
      groups: the candidates of each query.

    Returns:
      `random` (mean over candidates), `likeliest`, `any_right`, and for each aggregate a list of
      accuracies in the order of `BETAS`.
    """

    def chosen(score: Any) -> float:
        best = (max(group, key=lambda c: (score(c), c.log_prob)) for group in groups)
        return float(np.mean([candidate.correct for candidate in best]))

    return {
        "queries": len(groups),
        "random": float(np.mean([np.mean([c.correct for c in group]) for group in groups])),
        "likeliest": chosen(lambda c: c.log_prob),
        "any_right": float(np.mean([any(c.correct for c in group) for group in groups])),
        "betas": list(BETAS),
        **{
            name: [
                chosen(lambda c, n=name, b=beta: _score_of(c, n) + b * c.log_prob) for beta in BETAS
            ]
            for name in get_args(Aggregate)
        },
    }


def parser() -> Parser:
    """The command's arguments."""
    out = Parser(
        "python -m search.studies.tune",
        "Which aggregate and beta choose best among the labelled completions of a tuning split.",
    )
    out.add_argument("--policy", required=True, help="a model")
    out.add_argument("--prm", required=True, help="its reward model")
    out.add_argument("--records", required=True, help="records file of the tuning split")
    add_format(out)
    out.add_argument("--steps", required=True, help="steps file of toolprm-annotate")
    out.add_argument("--out", help="JSON file for the table")
    return out


def _tune(args: argparse.Namespace) -> int:
    check_files({"records": args.records, "steps": args.steps}, {"out": args.out})
    policy, prm = load(args.policy), load(args.prm)
    if prm.codec.contract.granularity is None:
        raise DataError(f"{args.prm}: it is a policy")
    records = {record.id: record for record in read_records(Path(args.records), args.format)}
    grouped: dict[str, list[LabelledCompletion]] = {}
    for where, record_id, rollout in read_steps(Path(args.steps)):
        if record_id not in records:
            raise DataError(f"{where}: id: expected the id of a record, found {record_id!r}")
        grouped.setdefault(record_id, []).append(rollout)
    groups = [
        candidates(policy, prm, records[record_id], rollouts)
        for record_id, rollouts in tqdm(grouped.items(), unit="query")
    ]
    found = accuracies(groups)
    if args.out:
        write_json(args.out, found)
    table = Table(title=f"{len(groups)} queries; right: per cent of the chosen")
    table.add_column("aggregate")
    for beta in BETAS:
        table.add_column(f"beta {beta}", justify="right")
    for name in get_args(Aggregate):
        table.add_row(name, *(f"{100 * value:.1f}" for value in found[name]))
    Console(width=110).print(table)
    print(", ".join(f"{k} {100 * found[k]:.1f}" for k in ("random", "likeliest", "any_right")))
    return 0


main = command(parser, _tune)


if __name__ == "__main__":
    raise SystemExit(main())
