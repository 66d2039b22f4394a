"""Queries a second at the shapes of larger models, by batch: one JSON line on standard output.

    python benchmarks/shapes.py [--quick] [--dtype float32|bfloat16] [--shapes NAME ...]

Policy and reward model have random weights; the vocabulary is the embedded one's. The policy leans
to the gold calls of held-out queries: a token of theirs has about 0.98, so that most candidates of
a decision agree. Fine-grained search, N = M = 4, without schemas; prompts of some 400 tokens are
run too, compiling is not timed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from held_out import held_out
from jax import Array
from roofline import fastest

from search.core import Lanes, SearchConfig, SearchOutput, Setup, beam_search
from search.decoder import MEMORY, DecoderPolicy, DecoderReward, Prompts, new_cache, prefill
from search.grammar import Grammar, make_grammar
from search.host import dtype_for, make_batches, record_keys
from search.methods import method_config
from toolprm_jax.model import Decoder, init_params
from toolprm_jax.model.files import load
from toolprm_jax.plan import shape_of
from toolprm_jax.records import Record, spell_calls
from toolprm_jax.tokens import Codec

SHAPES = ("shape:qwen2.5-0.5b", "shape:qwen2.5-1.5b")
BATCHES, TURNS = (1, 8, 64), 3
CONFIG = method_config("fine_grained", SearchConfig(num_beams=4, beam_width=4, max_tokens=128))


@dataclass(frozen=True)
class Leaning:
    """A decoder's policy that leans to a script."""

    decoder: DecoderPolicy

    def expand(self, params: Any, cache: Any, lanes: Lanes) -> tuple[Array, Any]:
        """Logits of lanes; `params` are the decoder's and the script, int32[B, T]."""
        weights, script = params
        logits, own = self.decoder.expand(weights, cache, lanes)
        at = jnp.minimum(lanes.depths, script.shape[1] - 1)
        wanted = jax.nn.one_hot(script[lanes.queries[:, None], at], logits.shape[-1])
        # With random weights and tied embeddings a token's own logit stands far above all others.
        within_one = logits / jnp.abs(logits).max(axis=-1, keepdims=True)
        return within_one + (log(logits.shape[-1]) + 4.0) * wanted, own


def gold(codec: Codec, records: Sequence[Record]) -> Array:
    """int32[B, T]: the tokens of each record's gold calls, then ends of text."""
    rows = [
        codec.encode(spell_calls([one.first() for one in record.answers or ()]))
        for record in records
    ]
    script = np.full((len(rows), max(map(len, rows)) + 1), codec.contract.end_of_text, np.int32)
    for row, tokens in zip(script, rows, strict=True):
        row[: len(tokens)] = tokens
    return jnp.asarray(script)


@partial(jax.jit, static_argnames=("policy", "prm"))
def answer(
    policy: Leaning, prm: DecoderReward, params: Any, grammar: Grammar, keys: Array,
    prompts: Prompts, config: SearchConfig,
) -> SearchOutput:  # fmt: skip
    """Prompts and search, as `search.search` without a script."""
    (weights, _), judged = params
    first, second = (
        new_cache(prefill(model, own, prompts), prompts.lengths, config.pool_size)
        for model, own in ((policy.decoder.model, weights), (prm.model, judged))
    )
    roots = jnp.take_along_axis(prompts.tokens, prompts.lengths[:, None] - 1, axis=1)[:, 0]
    setup = Setup(policy, prm, MEMORY, grammar, params, (first, second))
    return beam_search(setup, keys, roots, config)


def rows_of(
    name: str, dtype: str, vocabulary: int, codec: Codec, records: list[Record],
    batches: tuple[int, ...], turns: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """What each batch takes with one shape."""
    shape = shape_of(name, dtype=dtype, vocab_size=vocabulary)
    decoder = Decoder(shape)
    grammar = make_grammar(codec, shape.vocab_size)
    weights, judged = (
        jax.tree.map(lambda x: x.astype(dtype), init_params(shape, jax.random.key(seed)))
        for seed in (0, 1)
    )
    policy, prm = Leaning(DecoderPolicy(decoder)), DecoderReward.of(decoder, codec.contract)
    out = []
    for batch in batches:
        some = next(make_batches(codec, records[:batch], batch, 1))
        params = ((weights, gold(codec, some.records)), judged)
        inputs = (policy, prm, params, grammar, record_keys(0, some.records), some.prompts, CONFIG)
        found = answer(*inputs)
        seconds = fastest({0: lambda inputs=inputs: answer(*inputs)}, turns)[0]
        out.append(
            {"shape": name, "batch": batch, "queries_per_s": round(batch / seconds, 2),
             "seconds": round(seconds, 3),
             "prompt_tokens": round(float(jnp.mean(some.prompts.lengths)), 1),
             "policy_tokens": round(float(jnp.mean(found.costs.policy_tokens)), 1),
             "prm_tokens": round(float(jnp.mean(found.costs.prm_tokens)), 1),
             "policy_passes": int(jnp.max(found.costs.policy_passes)),
             "finished": round(float(jnp.mean(found.finished)), 3)}
        )  # fmt: skip
        print(out[-1], file=sys.stderr, flush=True)
    return out


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the embedded shape, one query")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of weights and caches (default: float32 on a CPU, else bfloat16)",
    )
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="as toolprm-search --plan")
    args = parser.parse_args()
    dtype = dtype_for(args.dtype, jax.devices())
    batches = BATCHES[:1] if args.quick else BATCHES
    names = ("embedded:prm",) if args.quick else args.shapes
    loaded, turns = load("embedded:prm"), 1 if args.quick else TURNS
    codec, vocabulary = loaded.codec, loaded.model.config.vocab_size
    records = held_out(codec, batches[-1], 400)
    rows = [
        row
        for name in names
        for row in rows_of(name, dtype, vocabulary, codec, records, batches, turns)
    ]
    each = {b: [row["queries_per_s"] for row in rows if row["batch"] == b] for b in batches}
    gain = min(many / one for one, many in zip(each[batches[0]], each[batches[-1]], strict=True))
    print(
        json.dumps(
            {
                "benchmark": "shapes",
                "largest_batch_over_1": round(gain, 2),
                "dtype": dtype,
                "rows": rows,
                "quick": args.quick,
                "device": jax.devices()[0].device_kind,
            }
        )
    )


if __name__ == "__main__":
    main()
