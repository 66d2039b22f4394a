"""A decode step of the search over what the machine allows: one JSON line on standard output.

    python benchmarks/roofline.py [--quick] [--dtype float32|bfloat16] [--shapes NAME ...]

A step runs the lanes of all queries through a policy of random weights below prompts of 700 tokens
and returns their logits: one pass of the search, in its own code. Its bound is the larger of FLOPs
over the fastest matrix product and bytes over the fastest copy, both measured here, in turn with
the steps. Bytes are the weights and the prompts' keys and values, each once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from search.core import SearchConfig, make_lanes
from search.decoder import DecoderPolicy, Prompts, new_cache, prefill
from toolprm_jax.model import Decoder, abstract_params
from toolprm_jax.plan import shape_of
from train.flops import forward_flops

PROMPT, TURNS = 700, 5
LOADS = ((1, 4), (8, 4), (8, 16))  # queries, lanes of each
SHAPES = ("embedded:policy", "shape:qwen2.5-0.5b")


def fastest(runs: dict[Any, Callable[[], Any]], turns: int) -> dict[Any, float]:
    """Seconds of the fastest of several turns, in each of which everything runs once."""
    best = dict.fromkeys(runs, float("inf"))
    for turn in range(turns + 1):
        for key, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            if turn:  # the first warms up
                best[key] = min(best[key], time.perf_counter() - start)
    return best


def peaks(dtype: str) -> dict[str, tuple[Callable[[], Any], float]]:
    """A matrix product with its FLOPs, and a copy in place with its bytes."""
    side, length = 4096, 1 << 27
    square = jnp.ones((side, side), dtype)
    multiply, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1, donate_argnums=0)
    flat = [jnp.ones(length, "float32")]

    def copied() -> Any:
        flat[0] = copy(flat[0])  # new memory would cost more than the copy
        return flat[0]

    return {
        "matmul": (lambda: multiply(square, square), 2.0 * side**3),
        "copy": (copied, 2.0 * flat[0].nbytes),
    }


class Steps:
    """Decode steps of one shape."""

    def __init__(self, name: str, dtype: str) -> None:
        self.config = shape_of(name, dtype=dtype)
        self.model = Decoder(self.config)
        shapes = abstract_params(self.config)
        keys = iter(jax.random.split(jax.random.key(0), len(jax.tree.leaves(shapes))))
        self.params: Any = jax.tree.map(
            lambda x: jax.random.normal(next(keys), x.shape, dtype) * x.shape[-1] ** -0.5, shapes
        )

    def step(self, queries: int, lanes_each: int) -> tuple[Callable[[], Any], float, float]:
        """A compiled step, its FLOPs and its bytes."""
        tokens = jax.random.randint(jax.random.key(1), (queries, PROMPT), 1, 1000)
        prompts = Prompts(tokens, jnp.full(queries, PROMPT))
        known = jax.jit(lambda params: prefill(self.model, params, prompts))(self.params)
        pool_size = SearchConfig().pool_size
        cache = new_cache(known, prompts.lengths, pool_size)
        places = jnp.arange(queries * lanes_each).reshape(queries, lanes_each)
        lanes = make_lanes(
            queries,
            jnp.arange(queries),
            1 + places % lanes_each,
            tokens[:, :lanes_each],
            jnp.ones_like(places),
            jnp.broadcast_to(jnp.arange(pool_size) == 0, (*places.shape, pool_size)),
            places >= 0,
        )

        @jax.jit
        def decode(params: Any, cache: Any, lanes: Any) -> Any:
            logits, own = DecoderPolicy(self.model).expand(params, cache, lanes)
            return jnp.argmax(logits, axis=-1), own

        count = queries * lanes_each
        logits = count * self.config.vocab_size
        flops = forward_flops(self.config, count, count * (PROMPT + 1), logits)
        weights = sum(leaf.nbytes for leaf in jax.tree.leaves(self.params))
        bytes_ = weights + sum(leaf.nbytes for leaf in known)
        return lambda: decode(self.params, cache, lanes), flops, bytes_


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the smallest shape, one turn")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="as toolprm-search --plan")
    args = parser.parse_args()
    rows = []
    for name in args.shapes[:1] if args.quick else args.shapes:
        steps = Steps(name, args.dtype)
        limits = peaks(args.dtype)
        runs: dict[Any, Any] = {key: run for key, (run, _) in limits.items()}
        loads = {load: steps.step(*load) for load in LOADS}
        runs |= {load: run for load, (run, _, _) in loads.items()}
        seconds = fastest(runs, 1 if args.quick else TURNS)
        flops_per_s, bytes_per_s = (limits[key][1] / seconds[key] for key in ("matmul", "copy"))
        for load, (_, flops, bytes_) in loads.items():
            bound = max(flops / flops_per_s, bytes_ / bytes_per_s)
            row = {
                "shape": name,
                "queries": load[0],
                "lanes": load[0] * load[1],
                "seconds": round(seconds[load], 4),
                "bound_seconds": round(bound, 4),
                "bound_by": "FLOPs" if bound > bytes_ / bytes_per_s else "bytes",
                "over_bound": round(seconds[load] / bound, 2),
                "peak_gflops_per_s": round(flops_per_s / 1e9),
                "copy_gb_per_s": round(bytes_per_s / 1e9, 1),
            }
            rows.append(row)
            print(row, file=sys.stderr)
    print(
        json.dumps(
            {
                "benchmark": "roofline",
                "decode_over_bound": max(row["over_bound"] for row in rows),
                "dtype": args.dtype,
                "rows": rows,
                "quick": args.quick,
                "device": jax.devices()[0].device_kind,
            }
        )
    )


if __name__ == "__main__":
    main()
