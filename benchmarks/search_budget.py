"""Fixed against adaptive numbers of candidates: one JSON line on standard output.

    python benchmarks/search_budget.py [--quick]

The embedded pair answers held-out queries of the embedded corpus by fine-grained search with N = 4,
once for each M, and in two goes: `probe_width` candidates of a beam first, up to M as
`search.core.budget.wake` finds them needed. Each of `rows` tells how many answers are right and
what they cost, so that budgets can be compared at equal tokens.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

import jax
import numpy as np

from search.core import SearchConfig
from search.host import ModelPair, Searcher, run_methods
from toolprm_jax.annotation import exact_match
from toolprm_jax.model.files import load
from toolprm_jax.toolworld import masked_corpus

BASE = SearchConfig(num_beams=4, beam_width=4, beta=0.1)
FIXED = (1, 2, 4, 8)
ADAPTIVE = ((1, 4), (1, 8), (2, 8))  # probe_width, M


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few queries and budgets")
    args = parser.parse_args()
    count = 8 if args.quick else 96
    budgets = [(0, m) for m in FIXED] + list(ADAPTIVE)
    if args.quick:
        budgets = [(0, 4), (1, 4)]
    models = ModelPair(load("embedded:policy"), load("embedded:prm"))
    records = list(masked_corpus(91, "heldout", count))
    rows = []
    for probe, width in budgets:
        config = replace(BASE, probe_width=probe, beam_width=width)
        run = run_methods(
            Searcher(models, config), records, ["fine_grained"], seed=0, batch_size=min(count, 24)
        )["fine_grained"]
        right = [a.finished and exact_match(a.record, a.calls) for a in run.answers]
        cost = {
            name: round(float(np.mean([answer.cost[name] for answer in run.answers])), 1)
            for name in ("policy_tokens", "prm_tokens", "unshared_policy_tokens")
        }
        rows.append(
            {
                "probe_width": probe,
                "beam_width": width,
                "right": round(float(np.mean(right)), 4),
                **cost,
                "seconds": round(run.spent.seconds, 1),
            }
        )
        print(rows[-1], file=sys.stderr)
    print(
        json.dumps(
            {
                "benchmark": "search_budget",
                "queries": count,
                "rows": rows,
                "device": jax.devices()[0].device_kind,
            }
        )
    )


if __name__ == "__main__":
    main()
