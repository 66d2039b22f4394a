"""The compiled search: no copies of the pool, no compilation for new weights."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from quick_compiling import USUAL_PASSES
from toy_search import GRAMMAR, ROOT, VOCAB

from search.core.config import Execution, SearchConfig
from search.decoder import DecoderPolicy, DecoderReward, Models, Prompts
from search.methods import search
from toolprm_jax.model.decoder import Decoder, DecoderConfig, KeyValues, init_params

LAYERS, BATCH, POOL, HEADS, DIM = 3, 2, 128, 1, 6
MODEL = Decoder(
    DecoderConfig(
        vocab_size=VOCAB,
        hidden_size=12,
        intermediate_size=16,
        num_layers=LAYERS,
        num_heads=2,
        num_kv_heads=HEADS,
        head_dim=DIM,
    )
)
CONFIG = SearchConfig(
    num_beams=2, beam_width=2, max_step_tokens=6, max_tokens=16, pool_size=POOL, max_decisions=4
)
REWARD = DecoderReward(MODEL, (2, 3, 4, 5, 6), (7, 8))
PROMPTS = Prompts(jnp.full((BATCH, 5), ROOT), jnp.asarray([5, 3]))


def models(seed: int) -> Models:
    policy, prm = (init_params(MODEL.config, jax.random.key(seed + i)) for i in range(2))
    return Models(DecoderPolicy(MODEL), REWARD, (policy, prm), GRAMMAR)


def computations(text: str) -> dict[str, str]:
    """The compiled program's computations by name."""
    heads = list(re.finditer(r"^(ENTRY )?%?([\w.\-]+) .*\{$", text, re.MULTILINE))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        ("ENTRY" if head[1] else head[2]): text[head.end() : end]
        for head, end in zip(heads, ends, strict=True)
    }


def pool_copies(lowered: Any) -> Counter[int]:
    """How many copies of a whole pool the program makes, by the number of loops around them."""
    bodies = computations(lowered.compile(USUAL_PASSES).as_text())
    shape = rf"f32\[{LAYERS},{BATCH},{HEADS},{POOL},{DIM}\]\S* (?:copy|copy-start)\("
    copies: Counter[int] = Counter()
    depths: dict[str, int] = {}
    todo = [("ENTRY", 0)]
    while todo:
        name, depth = todo.pop()
        if depths.get(name, -1) >= depth:
            continue
        depths[name] = depth
        for line in bodies[name].splitlines():
            inner = depth + ("body=" in line)
            todo += [
                (callee, inner) for callee in re.findall(r"%([\w.\-]+)", line) if callee in bodies
            ]
    for name, depth in depths.items():
        copies[depth] += len(re.findall(shape, bodies[name]))
    return copies


def test_tokens_cost_no_copy_of_the_pool() -> None:
    """Keys and values are read, appended to and moved in place."""
    keys = jax.random.split(jax.random.key(0), BATCH)
    lowered = search.lower(models(0), keys, PROMPTS, CONFIG)
    copies = pool_copies(lowered)
    assert max(copies) >= 3  # decisions, tokens, chunks of lanes: the loops were found
    assert sum(count for depth, count in copies.items() if depth >= 1) == 0


def test_the_count_sees_copies() -> None:
    """A loop that keeps an old pool beside the new one must copy it."""
    pool = jnp.zeros((LAYERS, BATCH, HEADS, POOL, DIM))

    @jax.jit
    def careless(pool):
        def body(index, pools):
            old, new = pools
            return new, jax.lax.dynamic_update_slice(new, old[..., :1, :], (0, 0, 0, index, 0))

        return jax.lax.fori_loop(0, 5, body, (pool, pool + 1))

    assert pool_copies(careless.lower(pool))[1] >= 1


def test_no_temporary_is_as_large_as_the_prompts_keys_and_values() -> None:
    """They are read layer by layer, where they lie."""
    layers, length = 24, 4096
    model = Decoder(replace(MODEL.config, num_layers=layers))
    weights = init_params(model.config, jax.random.key(0))
    shape = (layers, BATCH, HEADS, length, DIM)
    one = KeyValues(jnp.zeros(shape), jnp.zeros(shape))
    keys = jax.random.split(jax.random.key(0), BATCH)
    prompts = Prompts(jnp.full((BATCH, length), ROOT), jnp.asarray([length, 3]))
    reward = DecoderReward(model, (2, 3, 4, 5, 6), (7, 8))
    deep = Models(DecoderPolicy(model), reward, (weights, weights), GRAMMAR)
    config = replace(CONFIG, execution=Execution(max_lanes=32))
    lowered = search.lower(deep, keys, prompts, config, (one, one))
    compiled = lowered.compile(USUAL_PASSES)
    text, memory = compiled.as_text(), compiled.memory_analysis()
    assert text is not None
    assert memory is not None
    whole = re.escape(f"f32[{','.join(map(str, shape))}]")
    assert re.search(whole, text)
    assert not re.search(rf"{whole}\S* (?:copy|transpose)\(", text)
    assert memory.temp_size_in_bytes < sum(array.nbytes for array in one) / 2


def test_new_weights_prompts_and_temperature_compile_nothing() -> None:
    keys = jax.random.split(jax.random.key(0), BATCH)
    first = search(models(0), keys, PROMPTS, CONFIG)
    program: Any = search
    compiled = program._cache_size()
    other = Prompts(PROMPTS.tokens.at[:, 0].set(1), jnp.asarray([2, 4]))
    config = replace(CONFIG, temperature=0.3, top_p=0.9, beta=0.1)
    second = search(models(7), keys, other, config)
    assert program._cache_size() == compiled
    assert (first.log_prob != second.log_prob).any()
