"""Accuracy of a reward model on labelled completions.

python -m train.evaluate --prm embedded:prm --records FILE --steps FILE --name NAME --out FILE
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from toolprm_jax.command import Parser, add_format, check_files, command, whole_number
from toolprm_jax.grammar import Kind
from toolprm_jax.model import step_logits
from toolprm_jax.model.files import LoadedModel, load
from toolprm_jax.records import DataError, atomic_text, read_json
from toolprm_jax.tokens import TreeBatch

from .data import eval_batches
from .metrics import decision_metrics
from .sources import StepsSource, check_fits


def judge(
    prm: LoadedModel, source: StepsSource, *, row_length: int, rows: int = 1
) -> dict[str, float]:
    """Metrics of a reward model over all items of a source; see `decision_metrics`.

    Args:
      prm: the reward model.
      source: labelled completions.
      row_length: S, in tokens.
      rows: B, that run at once.

    Returns:
      The metrics, and `decisions` and `trajectories`, how many they are over.

    Raises:
      DataError: no item fits a row.
    """
    label_ids = prm.codec.contract.label_ids

    @jax.jit
    def scores(params: Any, batch: TreeBatch) -> jax.Array:
        return step_logits(prm.model, params, batch, label_ids)

    check_fits(source, row_length, len(source))
    items = (source[index] for index in tqdm(range(len(source)), unit="item", desc="trees"))
    batches = eval_batches(items, row_length=row_length, rows=rows)
    found = [
        np.asarray(scores(prm.params, batch)) for batch in tqdm(batches, unit="batch", desc="PRM")
    ]
    weights = [(batch.weights, batch.kinds) for batch in batches]
    return {
        **decision_metrics(batches, found),
        "decisions": float(sum(w.sum() for w, _ in weights)),
        "trajectories": float(sum(w[kinds == Kind.TOTAL_FINISH].sum() for w, kinds in weights)),
    }


def parser() -> Parser:
    """The command's arguments."""
    out = Parser("python -m train.evaluate", "Compares a reward model with labelled completions.")
    out.add_argument("--prm", required=True, help="a model")
    out.add_argument("--records", required=True, help="records file")
    add_format(out)
    out.add_argument("--steps", required=True, help="steps file of toolprm-annotate")
    out.add_argument("--row-length", type=whole_number(1), default=1024, help="tokens of a row")
    out.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    out.add_argument("--name", required=True, help="key of these metrics in the output file")
    out.add_argument("--out", required=True, help="JSON file; other keys in it are kept")
    return out


def _evaluate(args: argparse.Namespace) -> int:
    check_files({"records": args.records, "steps": args.steps}, {"out": args.out})
    out = Path(args.out)
    # Before the work, which takes long.
    table = read_json(out) if out.exists() else {}
    if not isinstance(table, dict):
        raise DataError(f"{out}: expected a JSON object of earlier metrics")
    prm = load(args.prm, dtype=args.dtype)
    if prm.codec.contract.granularity is None:
        raise DataError(f"{args.prm}: it is a policy")
    source = StepsSource(
        prm.codec,
        Path(args.records),
        args.format,
        Path(args.steps),
        row_length=args.row_length,
        group_size=8,
    )
    start = time.perf_counter()
    found = judge(prm, source, row_length=args.row_length)
    table[args.name] = {
        "prm": args.prm,
        **found,
        "items_too_long": len(source.too_long),
        "seconds": time.perf_counter() - start,
    }
    with atomic_text(out) as file:
        file.write(json.dumps(table, indent=2, allow_nan=False) + "\n")
    print(json.dumps(table[args.name]))
    return 0


main = command(parser, _evaluate)


if __name__ == "__main__":
    raise SystemExit(main())
