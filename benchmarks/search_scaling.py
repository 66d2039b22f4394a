"""What exploring more costs: one JSON line on standard output.

    python benchmarks/search_scaling.py [--quick]

The embedded policy and reward model answer held-out queries (benchmarks/held_out.py) by
fine-grained search, with one of M, N, queries at once and length of the prompt growing and the
others fixed. Compilation is not timed, prefill is. The longest prompts are made of tokens of no
meaning.

Without sharing, every candidate of a decision is a query of its own: its prompt runs through the
policy and, with its text and its marker, through the reward model. Without sharing of tokens each
is a query of its own too, but reads the one prompt's keys and values. All sides make the first
decision of one query with N x M candidates.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from held_out import PROMPT_TOKENS, held_out

from search.core import SearchConfig
from search.decoder import Prompts, prefill
from search.host import ModelPair, make_batches, record_keys
from search.methods import method_config, search
from toolprm_jax.grammar import Kind
from toolprm_jax.model import step_logits
from toolprm_jax.model.files import load
from toolprm_jax.tokens import TreeBatch, TreeBuilder, pack

BASE = SearchConfig(num_beams=4, beam_width=16, beta=0.1, pool_size=2048)
SHORT_PROMPT = 250  # tokens
ROW_STEP = 64  # tokens that the rows of candidates without sharing are padded to


prefill_prompts = jax.jit(prefill, static_argnames="model")


class Sample(NamedTuple):
    """What one configuration took."""

    seconds: float
    policy_tokens: float  # a query, after the prompt
    prm_tokens: float


class Bench:
    """The models, and queries in batches of any size and prompt length."""

    def __init__(self) -> None:
        self.models = ModelPair(load("embedded:policy"), load("embedded:prm"))

    def inputs(self, queries: int, prompt_tokens: int) -> tuple[jax.Array, Prompts]:
        """Keys and prompts of about so many tokens, at least those of the query's own tools."""
        codec = self.models.policy.codec
        records = held_out(codec, queries, min(prompt_tokens, PROMPT_TOKENS))
        batch = next(make_batches(codec, records, queries, 1))
        keys, prompts = record_keys(0, batch.records), batch.prompts
        if prompt_tokens <= PROMPT_TOKENS:
            return keys, prompts
        rows = []
        filler = codec.encode(" and so on") * prompt_tokens
        for row, length in zip(np.asarray(prompts.tokens), prompts.lengths.tolist(), strict=True):
            more = max(prompt_tokens - length, 0)
            rows.append([int(row[0]), *filler[:more], *row[1:length].tolist()][:prompt_tokens])
        return keys, Prompts(jnp.asarray(rows), jnp.full(queries, prompt_tokens))

    def search(
        self, config: SearchConfig, keys: jax.Array, prompts: Prompts
    ) -> Callable[[], Sample]:
        """A compiled search."""
        inputs = (self.models.models(guided=True), keys, prompts, config)
        program = search.lower(*inputs).compile()

        def run() -> Sample:
            start = time.perf_counter()
            out = jax.block_until_ready(program(*inputs))
            seconds = time.perf_counter() - start
            if any(flag.any() for flag in (out.flags.pool_overflow, out.flags.length_overflow)):
                print(f"warning: M = {config.beam_width} overflowed", file=sys.stderr)
            tokens = (out.costs.policy_tokens, out.costs.prm_tokens)
            return Sample(seconds, *(float(jnp.mean(each)) for each in tokens))

        return run

    def without_token_sharing(
        self, config: SearchConfig, keys: jax.Array, prompts: Prompts
    ) -> Callable[[], Sample]:
        """The first decision of one query, each candidate on copies of the prompt's cache."""
        policy, prm = self.models.policy, self.models.prm
        assert prm is not None
        apart, keys, many = _apart(config, keys, prompts)
        count = len(keys)
        one = jax.tree.map(lambda x: x[:1], prompts)

        def caches() -> Any:
            known = [prefill_prompts(m.model, m.params, one) for m in (policy, prm)]
            return jax.tree.map(lambda x: jnp.repeat(x, count, axis=1), tuple(known))

        inputs = (self.models.models(guided=True), keys, many, apart)
        program = search.lower(*inputs, caches()).compile()

        def run() -> Sample:
            start = time.perf_counter()
            out = jax.block_until_ready(program(*inputs, caches()))
            tokens = (out.costs.policy_tokens, out.costs.prm_tokens)
            return Sample(time.perf_counter() - start, *(float(jnp.sum(each)) for each in tokens))

        return run

    def without_sharing(
        self, config: SearchConfig, keys: jax.Array, prompts: Prompts
    ) -> Callable[[], Sample]:
        """The first decision of one query, each candidate a query of its own."""
        prm = self.models.prm
        assert prm is not None
        apart, keys, many = _apart(config, keys, prompts)
        count = len(keys)
        inputs = (self.models.models(guided=False), keys, many, apart)
        decode = search.lower(*inputs).compile()
        prompt = prompts.tokens[0, : int(prompts.lengths[0])].tolist()
        contract = prm.codec.contract

        def rows(tokens: Any, lengths: Any, size: int) -> TreeBatch:
            trees = []
            for row, length in zip(
                np.asarray(tokens)[:, 0], np.asarray(lengths)[:, 0], strict=True
            ):
                builder = TreeBuilder()
                path = [*prompt, *row[:length].tolist()]
                nodes = builder.add_path(path)
                marker = contract.marker_ids[Kind.FUNC_NAME]
                builder.add_marker(nodes[-1], marker, Kind.FUNC_NAME, 1)
                trees.append(builder.build())
            return jax.tree.map(
                lambda *parts: np.concatenate(parts), *(pack([tree], size) for tree in trees)
            )

        size = -(-(len(prompt) + config.max_step_tokens + 1) // ROW_STEP) * ROW_STEP

        @jax.jit
        def judge(params: Any, batch: TreeBatch) -> jax.Array:
            return step_logits(prm.model, params, batch, contract.label_ids)

        nothing = np.zeros((count, 1, 1), np.int32)
        judged = judge.lower(prm.params, rows(nothing, nothing[..., 0] + 1, size)).compile()

        def run() -> Sample:
            start = time.perf_counter()
            out = decode(*inputs)
            batch = rows(out.tokens, out.lengths, size)
            jax.block_until_ready(judged(prm.params, batch))
            new = float(jnp.sum(out.lengths)) + count * len(prompt)
            return Sample(time.perf_counter() - start, new, new + count)

        return run


def _apart(
    config: SearchConfig, keys: jax.Array, prompts: Prompts
) -> tuple[SearchConfig, jax.Array, Prompts]:
    """The first query's N x M candidates as so many queries."""
    count = config.num_beams * config.beam_width
    many = jax.tree.map(lambda x: jnp.repeat(x[:1], count, axis=0), prompts)
    apart = replace(config, num_beams=1, beam_width=1, max_decisions=1)
    return apart, jax.random.split(keys[0], count), many


def in_turn(runs: dict[Any, Callable[[], Sample]], name: str) -> dict[Any, Sample]:
    """What each took."""
    out = {key: run() for key, run in runs.items()}
    for key, sample in out.items():
        print(
            f"{name} {key}: {sample.seconds:.2f} s, {sample.policy_tokens:.0f} policy and "
            f"{sample.prm_tokens:.0f} PRM tokens a query",
            file=sys.stderr,
        )
    return out


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes")
    args = parser.parse_args()
    bench, queries = Bench(), (2 if args.quick else 4)
    length = SHORT_PROMPT if args.quick else PROMPT_TOKENS
    fine = method_config("fine_grained", BASE)
    here = bench.inputs(queries, length)

    widths = (1, 16) if args.quick else (1, 4, 16, 64)
    by_width = in_turn({m: bench.search(replace(fine, beam_width=m), *here) for m in widths}, "M")
    first = replace(fine, max_decisions=1)
    one = bench.inputs(1, length)
    sharing = in_turn(
        {
            "all": bench.search(first, *one),
            "prompts": bench.without_token_sharing(first, *one),
            "nothing": bench.without_sharing(first, *one),
        },
        "sharing",
    )
    result: dict[str, Any] = {
        "tokens_m16_over_m1": by_width[16].policy_tokens / by_width[1].policy_tokens,
        "time_m16_over_m1": by_width[16].seconds / by_width[1].seconds,
        "no_sharing_over_ours": sharing["nothing"].seconds / sharing["all"].seconds,
        "no_token_sharing_over_ours": sharing["prompts"].seconds / sharing["all"].seconds,
    }
    if not args.quick:
        result["tokens_m64_over_m1"] = by_width[64].policy_tokens / by_width[1].policy_tokens
        result["time_m64_over_m1"] = by_width[64].seconds / by_width[1].seconds
        beams = (1, 4, 16)
        by_beams = in_turn(
            {n: bench.search(replace(fine, num_beams=n, beam_width=4), *here) for n in beams},
            "N",
        )
        result["time_n16_over_n1"] = by_beams[16].seconds / by_beams[1].seconds
        narrow = replace(fine, beam_width=4)
        batches = (1, 8, 32)
        by_batch = in_turn(
            {b: bench.search(narrow, *bench.inputs(b, length)) for b in batches}, "batch"
        )
        result["time_per_query_b32_over_b1"] = by_batch[32].seconds / 32 / by_batch[1].seconds
        lengths = (SHORT_PROMPT, 1000, 4000)
        by_prompt = in_turn(
            {t: bench.search(narrow, *bench.inputs(1, t)) for t in lengths}, "prompt"
        )
        result["time_prompt4000_over_250"] = (
            by_prompt[4000].seconds / by_prompt[SHORT_PROMPT].seconds
        )
    print(
        json.dumps(
            {
                "benchmark": "search_scaling",
                **{key: round(value, 2) for key, value in result.items()},
                "queries": queries,
                "quick": args.quick,
                "device": jax.devices()[0].device_kind,
            }
        )
    )


if __name__ == "__main__":
    main()
