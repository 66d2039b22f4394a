"""Queries that join and leave against closed batches: one JSON line on standard output.

    python benchmarks/engine.py [--quick] [--schema ignore|strict] [--rows 8]

The embedded pair answers held-out queries of the corpus and, where it lies beside the project, of
Seal-Tools and BFCL's category simple, by fine-grained search with N = M = 4. One side is `Searcher`
in closed batches, the other `Engine` with as many rows; what compiling takes is left out.
`offline_speedup` is the closed batches' time over the engine's, `batch32_over_batch1` the engine's
time for a query with 32 rows over that with one, `over_flops_bound` its time over that of all
tokens' FLOPs at the fastest matrix product here, and `padding` tokens that prefill ran over those
of the prompts, which shared beginnings may bring below 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
from held_out import held_out
from roofline import fastest, peaks

from search import Engine, ModelPair, SearchConfig, Searcher
from search.host import make_batches
from toolprm_jax import Record, read_records
from toolprm_jax.model import num_params
from toolprm_jax.model.files import load

BFCL = Path(__file__).resolve().parents[2] / "shared/data/bfcl/BFCL_v4_simple_python.json"
SHAPES = 3  # prompt lengths that the closed batches compile
CONFIG = SearchConfig(num_beams=4, beam_width=4, max_tokens=192, max_step_tokens=48)


class Side(NamedTuple):
    """What one side took."""

    seconds: float
    tokens: int  # of both models, prompts included


def queries(pair: ModelPair, count: int) -> list[Record]:
    """Queries of several kinds in turn."""
    bfcl: list[Record] = []
    if BFCL.is_file():
        bfcl = list(islice(read_records(BFCL), count // 3))
    mixed = held_out(pair.policy.codec, count - len(bfcl), 0)
    return [record for two in zip(bfcl, mixed, strict=False) for record in two] + mixed[len(bfcl) :]


def closed(searcher: Searcher, records: Sequence[Record], rows: int) -> Side:
    """In closed batches, by a searcher that has compiled nothing yet."""
    start = time.perf_counter()
    answers = list(searcher.many(records, batch_size=rows, max_shapes=SHAPES, progress=False))
    seconds = time.perf_counter() - start - searcher.spent.compile_seconds
    return Side(seconds, sum(map(_tokens, answers)))


def joined(engine: Engine, records: Sequence[Record]) -> Side:
    """As they come."""
    start = time.perf_counter()
    answers = [answer for _, answer in engine.run(records)]
    return Side(time.perf_counter() - start, sum(map(_tokens, answers)))


def _tokens(answer: Any) -> int:
    keys = ("policy_tokens", "prm_tokens", "policy_prompt_tokens", "prm_prompt_tokens")
    return sum(answer.cost[key] for key in keys)


def _warm(pair: ModelPair, config: SearchConfig, rows: int, longest: int) -> Engine:
    engine = Engine(pair, config, rows=rows, longest=longest)
    engine.warm_up()
    return engine


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few queries, short answers")
    parser.add_argument("--schema", choices=("ignore", "strict"), default="ignore")
    parser.add_argument("--rows", type=int, default=8, help="queries at once, on either side")
    args = parser.parse_args()
    config = replace(CONFIG, schema=args.schema)
    if args.quick:
        config = replace(config, max_decisions=3)
    pair = ModelPair(load("embedded:policy"), load("embedded:prm"))
    codec = pair.policy.codec
    records = queries(pair, 12 if args.quick else 48)
    longest = max(len(codec.prompt(record)) for record in records)
    engine = _warm(pair, config, args.rows, longest)
    compiled = engine.programs.compilations
    note("the engine is warm")
    after = joined(engine, records)
    note(f"as they come: {after.seconds:.1f} s")
    before = closed(Searcher(pair, config), records, args.rows)
    note(f"in closed batches: {before.seconds:.1f} s")
    multiply, flops = peaks("float32")["matmul"]
    peak = flops / fastest({"matmul": multiply}, 3)["matmul"]
    bound = 2 * num_params(pair.policy.params) * after.tokens / peak
    batches = make_batches(codec, records, args.rows, SHAPES)
    padded = sum(batch.prompts.tokens.size for batch in batches)
    prompts = sum(len(codec.prompt(record)) for record in records)
    found: dict[str, Any] = {
        "schema": args.schema,
        "queries": len(records),
        "rows": args.rows,
        "offline_speedup": round(before.seconds / after.seconds, 3),
        "closed_s_per_query": round(before.seconds / len(records), 3),
        "engine_s_per_query": round(after.seconds / len(records), 3),
        "over_flops_bound": round(after.seconds / bound, 2),
        "padding_before": round(padded / prompts, 3),
        "padding_after": round(engine.prefixes.run / engine.prefixes.asked, 3),
        "compilations_after_warmup": engine.programs.compilations - compiled,
        "batch32_over_batch1": None,
    }
    if not args.quick:
        one = joined(_warm(pair, config, 1, longest), records[:8]).seconds / 8
        many = joined(_warm(pair, config, 32, longest), records).seconds / len(records)
        found["batch32_over_batch1"] = round(many / one, 3)
    print(json.dumps({**found, "device": jax.devices()[0].device_kind}))


if __name__ == "__main__":
    main()
