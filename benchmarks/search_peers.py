"""Fine-grained search against two searches on transformers: one JSON line on standard output.

    python benchmarks/search_peers.py [--quick]     (needs torch: pip install -e ".[peers]")

The embedded pair, float32, answers the same held-out queries (benchmarks/held_out.py) three ways:
ours, all queries at once, by the mean; text-level search, where `generate` continues every beam M
times from its text and the reward model reads every distinct text whole; and a search with a
key-value cache per candidate (benchmarks/torch_search.py). The peers take one query at a time, for
the caches of eight would not fit into memory, and are measured on the one of middling length. All
make the first decisions of a query only; the peers' first has M candidates where ours has N x M.
Prompts are read within the time, compilation is not.

The scores of our beams and of the cached search's are compared with those of the same texts read
whole.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from held_out import held_out
from torch_search import CachedSearch, TextSearch, Width, torch_model

from search.core import SearchConfig
from search.host import ModelPair, make_batches, record_keys
from search.methods import method_config, search
from toolprm_jax.model.files import load

DECISIONS = 6
# Queries at once, N, M. The caches of 4 x 64 candidates don't fit into memory.
GRID = ((8, 4, 16), (8, 4, 4), (8, 1, 16), (8, 1, 64), (1, 4, 16))
QUICK_DECISIONS = 1
QUICK_GRID = ((1, 4, 16),)
TOLERANCE = 1e-3


def ours(
    models: ModelPair, queries: int, width: Width
) -> tuple[Callable[[], Any], list[list[int]]]:
    """Our search, compiled, and its prompts."""
    policy, prm = models.policy, models.prm
    assert prm is not None
    base = SearchConfig(
        num_beams=width.num_beams,
        beam_width=width.beam_width,
        temperature=width.temperature,
        max_step_tokens=width.max_step_tokens,
        max_decisions=width.max_decisions,
        pool_size=2048,
    )
    batch = next(make_batches(policy.codec, held_out(policy.codec, queries), queries, 1))
    keys = record_keys(0, batch.records)
    config = method_config("fine_grained", base)
    inputs = (models.models(guided=True), keys, batch.prompts, config)
    program = search.lower(*inputs).compile()
    tokens, lengths = np.asarray(batch.prompts.tokens), np.asarray(batch.prompts.lengths)
    prompts = [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]
    return lambda: jax.device_get(program(*inputs)), prompts


def beams_of(out: Any) -> Iterable[tuple[list[int], float]]:
    """Tokens and score of each beam of our first query."""
    for beam, score in enumerate(out.score[0].tolist()):
        if np.isfinite(score):
            yield out.tokens[0, beam, : out.lengths[0, beam]].tolist(), score


def check(text: TextSearch, prompt: list[int], beams: Iterable[tuple[list[int], float]]) -> None:
    """Compares the scores of beams with those of whole texts.

    Raises:
      AssertionError: one differs.
    """
    for ids, score in beams:
        reached = text.start
        for token in ids:
            reached = text.follow(reached, token)
            reached = text.judge(prompt, [reached])[0] if reached.kinds else reached
        assert abs(reached.score - score) < TOLERANCE, (ids, reached.score, score)


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one query, one decision")
    args = parser.parse_args()
    torch.manual_seed(0)
    models = ModelPair(load("embedded:policy"), load("embedded:prm"))
    assert models.prm is not None
    peers = torch_model(models.policy), torch_model(models.prm)
    rows = []
    for queries, num_beams, beam_width in QUICK_GRID if args.quick else GRID:
        decisions = QUICK_DECISIONS if args.quick else DECISIONS
        width = Width(num_beams, beam_width, 0.8, 64, decisions)
        run, prompts = ours(models, queries, width)
        text, cached = TextSearch(models, peers, width), CachedSearch(models, peers, width)
        prompt = prompts[queries // 2]  # of middling length
        run()  # the first run of a program takes its memory
        batch_seconds, out = timed(run)
        cached_seconds, found = timed(partial(cached.run, prompt))
        text_seconds, _ = timed(partial(text.run, prompt))
        check(text, prompts[0], beams_of(out))
        check(text, prompt, ((list(p.ids), p.score) for p in found))
        seconds = {
            "ours": batch_seconds / queries,
            "cached": cached_seconds,
            "text": text_seconds,
        }
        row: dict[str, Any] = {"queries_at_once": queries, "N": num_beams, "M": beam_width}
        row |= {f"{name}_seconds_per_query": round(value, 3) for name, value in seconds.items()}
        row["speedup_vs_text"] = round(seconds["text"] / seconds["ours"], 1)
        row["speedup_vs_cached"] = round(seconds["cached"] / seconds["ours"], 2)
        rows.append(row)
        print(row, file=sys.stderr)
    print(
        json.dumps(
            {
                "benchmark": "search_peers",
                "speedup_vs_text": rows[0]["speedup_vs_text"],
                "speedup_vs_cached": rows[0]["speedup_vs_cached"],
                "decisions": QUICK_DECISIONS if args.quick else DECISIONS,
                "rows": rows,
                "quick": args.quick,
                "device": jax.devices()[0].device_kind,
            }
        )
    )


if __name__ == "__main__":
    main()
