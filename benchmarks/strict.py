"""What strict decoding costs a decode step: one JSON line on standard output.

    python benchmarks/strict.py [--quick]

A decoder of the embedded policy's shape with random weights runs over every token; on top of its
logits a script says what is drawn, the gold calls of held-out queries, and at a share of the tokens
one that no JSON has, which strict decoding must refuse and replace. So both ways draw the same
texts, and differ in what reading and redrawing cost. The first row's tokens are never refused; a
trained policy's are rarely. The largest vocabulary is the embedded one with made-up tokens added.

`strict_over_ignore` is the largest ratio of the seconds of a step; `mask_ms` what reading every
token of the vocabulary costs instead, for one lane before a name and before a value, and
`engine_mask_ms` what a mask of the host engine llguidance costs, for one walker.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from held_out import held_out
from jax import Array

from search.core import (
    Execution,
    Lanes,
    Readers,
    SearchConfig,
    Setup,
    allowed_tokens,
    beam_search,
)
from search.decoder import MEMORY, DecoderPolicy, Prompts, new_cache, prefill
from search.grammar import (
    Grammar,
    Rules,
    advance,
    compile_tools,
    grammar_from_pieces,
    initial,
    make_strict,
)
from search.methods import method_config
from toolprm_jax.model import Decoder, DecoderConfig, abstract_params
from toolprm_jax.model.files import load
from toolprm_jax.records import Record, spell_calls
from toolprm_jax.tokens import Codec

LARGE = 151_936
PROMPT, TOKENS = 256, 24
PREFILL = jax.jit(prefill, static_argnames="model")
CONFIG = method_config("sample", SearchConfig(max_tokens=TOKENS, temperature=1.0, pool_size=64))
# Nearly all lanes draw at every step: smaller passes than the largest are for stragglers.
QUICK = replace(CONFIG, execution=Execution(pass_sizes=1))
# Compiling takes most of a short run's time. What the models multiply is as fast without.
QUICK_COMPILING = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_disable_hlo_passes": "while-loop-invariant-code-motion,simplify-while-loops,"
    "while-loop-constant-sinking",
}


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Scripted:
    """A decoder whose draws follow a script."""

    decoder: DecoderPolicy

    def expand(self, params: Any, cache: Any, lanes: Lanes) -> tuple[Array, Any]:
        """Logits of lanes; `params` are the decoder's, the script and what is tried before it."""
        weights, script, first = params
        logits, own = self.decoder.expand(weights, cache, lanes)
        at = jnp.minimum(lanes.depths, script.shape[1] - 1)
        ids = jnp.arange(logits.shape[-1])[None, None]
        queries = lanes.queries[:, None]
        for tokens, weight in ((script, 1e4), (first, 2e4)):
            logits += weight * (ids == tokens[queries, at][..., None])
        return logits, own


def scripts(
    codec: Codec, records: list[Record], refused: float, wrong: int
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of each record's gold calls, and those tried before them, -1 for none."""
    script = np.full((len(records), TOKENS + 1), codec.contract.end_of_text, np.int32)
    for row, record in enumerate(records):
        text = spell_calls([gold.first() for gold in record.answers or ()])
        ids = codec.tokenizer(text, add_special_tokens=False)["input_ids"][:TOKENS]
        script[row, : len(ids)] = ids
    tries = np.random.default_rng(0).random(script.shape) < refused
    return script, np.where(tries, wrong, -1).astype(np.int32)


def run(
    policy: Scripted, params: Any, grammar: Grammar, keys: Array, prompts: Prompts, prompt: Any,
    rules: Rules | None, config: SearchConfig,
) -> Any:  # fmt: skip
    """One search without a reward model."""
    cache = new_cache(prompt, prompts.lengths, config.pool_size)
    setup = Setup(policy, None, MEMORY, grammar, (params, None), (cache, None), rules)
    return beam_search(setup, keys, prompts.tokens[:, -1], config)


def step_seconds(
    grammar: Grammar, decoder: Decoder, weights: Any, codec: Codec, records: list[Record],
    refused: float, quick: bool,
) -> dict[str, float]:  # fmt: skip
    """Seconds of a decode step of so many lanes as there are records, by the use of schemas."""
    lanes = len(records)
    wrong = int(np.flatnonzero((np.asarray(grammar.token_lengths) == 1)
                               & (np.asarray(grammar.token_bytes)[:, 0] == 1))[0])  # fmt: skip
    script, first = map(jnp.asarray, scripts(codec, records, refused, wrong))
    tokens = jnp.ones((lanes, PROMPT), jnp.int32)
    prompts = Prompts(tokens, jnp.full(lanes, PROMPT, jnp.int32))
    prompt = PREFILL(decoder, weights, prompts)
    policy, keys = Scripted(DecoderPolicy(decoder)), jax.random.split(jax.random.key(0), lanes)
    nothing = jnp.full_like(first, -1)
    ignore = QUICK if quick else CONFIG
    strict = replace(ignore, schema="strict")
    options = QUICK_COMPILING if quick else None
    search = jax.jit(run, static_argnames="policy", compiler_options=options)
    uses = {
        "ignore": ((weights, script, nothing), None, ignore),
        "strict": ((weights, script, first), make_strict(records), strict),
    }  # fmt: skip
    best: dict[str, float] = {}
    texts = {}
    for _ in range(3 if quick else 4):  # the first compiles
        for use, (params, rules, config) in uses.items():
            start = time.perf_counter()
            out = jax.block_until_ready(
                search(policy, params, grammar, keys, prompts, prompt, rules, config)
            )
            spent = (time.perf_counter() - start) / int(out.costs.policy_passes.max())
            best[use] = min(best.get(use, spent), spent)
            texts[use] = np.asarray(out.tokens)
    if not np.array_equal(texts["ignore"], texts["strict"]):
        raise RuntimeError("strict decoding drew other tokens than the script")
    return best


def random_weights(config: DecoderConfig) -> Any:
    """Weights of a shape, drawn on the host: compiling the usual draws takes ten seconds."""
    rng = np.random.default_rng(0)

    def of(leaf: jax.ShapeDtypeStruct) -> Array:
        return jnp.asarray(0.02 * rng.standard_normal(leaf.shape, np.float32), leaf.dtype)

    return jax.tree.map(of, abstract_params(config))


def mask_ms(grammar: Grammar, record: Record) -> dict[str, float]:
    """Milliseconds to read every token of the vocabulary, for one lane."""
    rules = make_strict([record])
    name, tool = record.tools[0].name, record.tools[0]
    head = f'[{{"name": "{name}", "arguments": {{"{next(iter(tool.properties))}": '
    read = jax.jit(partial(allowed_tokens, grammar, rules))
    out = {}
    for place, text in (("before a name", '[{"name": "'), ("before a value", head)):
        tracker = initial(grammar, (1,), rules)
        pieces = np.asarray(grammar.token_bytes)
        for byte in text.encode():
            one = np.flatnonzero((pieces[:, 0] == byte) & (np.asarray(grammar.token_lengths) == 1))
            tracker, _ = advance(grammar, tracker, jnp.full(1, int(one[0])), rules)
        readers = Readers(tracker, jnp.zeros(1, jnp.int32))
        jax.block_until_ready(read(readers, jnp.ones(1, bool)))
        start = time.perf_counter()
        jax.block_until_ready(read(readers, jnp.ones(1, bool)))
        out[place] = round(1000 * (time.perf_counter() - start), 3)
    return out


def compile_ms(records: list[Record]) -> float:
    """Milliseconds of one core to compile a query's tools, the median."""
    spent = []
    for record in records:
        start = time.process_time()
        compile_tools(record)
        spent.append(time.process_time() - start)
    return round(1000 * float(np.median(spent)), 3)


def engine_mask_ms(codec: Codec, records: list[Record]) -> float | None:
    """Milliseconds of llguidance, on the host, for one walker's mask; the median over gold calls.

    None where it is not installed (the extra `peers`).
    """
    if find_spec("llguidance") is None:
        return None
    llguidance = import_module("llguidance")
    bitmasks = import_module("llguidance.numpy")
    tokenizer = import_module("llguidance.hf").from_tokenizer(codec.tokenizer)
    mask = bitmasks.allocate_token_bitmask(1, tokenizer.vocab_size)
    spent = []
    for record in records:
        shapes = [
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": tool.parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for tool in record.tools
        ]
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            json.dumps({"type": "array", "items": {"anyOf": shapes}})
        )
        matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
        for token in codec.encode(spell_calls([gold.first() for gold in record.answers or ()])):
            start = time.perf_counter()
            bitmasks.fill_next_token_bitmask(matcher, mask, 0)
            spent.append(time.perf_counter() - start)
            if not matcher.consume_token(token):
                break
    return round(1000 * float(np.median(spent)), 4)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="under a minute: one size, few layers, compiled without optimising",
    )
    quick = parser.parse_args().quick
    loaded = load("embedded:policy")
    codec, shape = loaded.codec, loaded.model.config
    records = held_out(codec, 8 if quick else 128, 400)
    rows: list[dict[str, Any]] = []
    layers = 10 if quick else shape.num_layers
    vocabularies = [shape.vocab_size] if quick else [shape.vocab_size, LARGE]
    for vocabulary in vocabularies:
        pieces = list(codec.pieces)
        pieces += [None] * (shape.vocab_size - len(pieces))
        words = [piece for piece in pieces if piece and piece.isalpha()]
        made = (a + b for a in words for b in reversed(words))
        pieces += [next(made) for _ in range(vocabulary - len(pieces))]
        grammar = grammar_from_pieces(pieces, vocabulary, codec.contract.ends, "list")
        config = replace(shape, vocab_size=vocabulary, num_layers=layers)
        decoder, weights = Decoder(config), random_weights(config)
        for lanes in (4,) if quick else (4, 32, 128):
            for refused in (0.1,) if quick else (0.0, 0.1):
                some = (records * lanes)[:lanes]
                found = step_seconds(grammar, decoder, weights, codec, some, refused, quick)
                ratio = found["strict"] / found["ignore"]
                rows.append(
                    {"vocabulary": vocabulary, "lanes": lanes, "refused": refused,
                     "ignore_ms": round(1000 * found["ignore"], 3),
                     "strict_ms": round(1000 * found["strict"], 3), "ratio": round(ratio, 3)}
                )  # fmt: skip
                note(str(rows[-1]))
        if not quick:
            rows[-1]["mask_ms"] = mask_ms(grammar, records[0])
    print(
        json.dumps(
            {
                "strict_over_ignore": max(row["ratio"] for row in rows),
                "compile_ms": compile_ms(records),
                "engine_mask_ms": engine_mask_ms(codec, records),
                "layers": layers,
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
