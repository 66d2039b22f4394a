"""The jitted search core on a toy model, against a plain search over Python lists."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_search import Reference

from search.beam import DEAD, FINISHED, LIVE, SearchConfig, SearchOutput, beam_search
from search.explore import sample_token
from search.pool import Lanes, Pool
from search.tracker import grammar_from_pieces
from toolprm_jax.annotation.grammar import Kind, tables

PIECES: list[bytes | None] = [
    b"[]", b'[{"name": "', b"f", b"g", b'", "arguments": {', b'"x": ', b"1", b"2", b", ", b"}",
    b"}}", b"}}]", b', {"name": "', b"]", b" ", None, b'"y": ', b"[",
]  # fmt: skip
END = 15
ROOT = 14  # any token can end the prompt
AFTER = {
    ROOT: [0, 1], 1: [2, 3], 2: [2, 4], 3: [4], 4: [5, 9, 10, 16], 5: [6, 7], 6: [7, 8, 9, 10, 11],
    7: [6, 8, 10, 11], 8: [5, 16], 9: [9, 13, 12], 10: [12, 13], 11: [15], 12: [2, 3], 13: [15],
    16: [6, 7], 17: [13],
}  # fmt: skip
VOCAB, PHASES = len(PIECES), 7
GRAMMAR = grammar_from_pieces(PIECES, VOCAB, END, "list")


class ToyPolicy:
    """Logits that depend on the last token and the depth."""

    def expand(self, params, cache, pool: Pool, lanes: Lanes):
        return params["logits"][lanes.tokens, lanes.depths % PHASES], cache


class ToyReward:
    """Log-probabilities that depend on the token with the boundary, the kind and the depth."""

    def absorb(self, params, cache, pool: Pool, lanes: Lanes):
        return cache

    def judge(self, params, cache, pool: Pool, lanes: Lanes, kinds):
        return params["judge"][lanes.tokens, kinds, lanes.depths % PHASES]


def toy_params(seed: int):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(VOCAB, PHASES, VOCAB))
    for token, following in AFTER.items():
        logits[token][:, following] += 5.0
    judge = np.log(rng.uniform(0.05, 1.0, size=(VOCAB, len(Kind), PHASES)))
    return {
        "logits": jnp.asarray(logits, jnp.float32),
        "judge": jnp.asarray(judge, jnp.float32),
    }


@partial(jax.jit, static_argnames="config")
def toy_search(params, keys, config: SearchConfig) -> SearchOutput:
    return beam_search(
        ToyPolicy(),
        ToyReward(),
        lambda cache, order: cache,
        GRAMMAR,
        (params, params),
        keys,
        jnp.full(keys.shape, ROOT),
        (None, None),
        config,
    )


def reference(params) -> Reference:
    logits, judge = np.asarray(params["logits"]), np.asarray(params["judge"])
    banned = np.where(np.asarray(GRAMMAR.allowed), 0.0, -np.inf)

    def next_logits(tokens: list[int]) -> np.ndarray:
        return logits[tokens[-1] if tokens else ROOT, len(tokens) % PHASES] + banned

    def judged(tokens: list[int], kind: Kind) -> float:
        return float(judge[tokens[-1], kind, (len(tokens) + 1) % PHASES])

    return Reference(next_logits, judged, PIECES, END, tables("list"))


BASE = SearchConfig(
    num_beams=3,
    beam_width=3,
    temperature=1.0,
    max_decisions=10,
    max_step_tokens=6,
    max_tokens=24,
    pool_size=128,
    lane_width=2,
    prm_width=3,
)
WHOLE = (int(Kind.TOTAL_FINISH),)
CONFIGS = {
    "all kinds": BASE,
    "one beam": replace(BASE, num_beams=1, beam_width=4, aggregate="product"),
    "coarse": replace(
        BASE,
        labelled=(int(Kind.FUNC_FINISH), int(Kind.TOTAL_FINISH)),
        stop_kinds=(int(Kind.FUNC_FINISH), int(Kind.TOTAL_FINISH)),
        max_step_tokens=16,
        aggregate="mean",
    ),
    "best of n": replace(
        BASE, num_beams=1, beam_width=6, stop_kinds=WHOLE, max_step_tokens=24, aggregate="last"
    ),
    "greedy": replace(BASE, num_beams=1, beam_width=1, temperature=0.0),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_plain_search(name: str) -> None:
    config = CONFIGS[name]
    params = toy_params(1)
    keys = jax.random.split(jax.random.key(7), 6)
    output = toy_search(params, keys, config)
    plain = reference(params)
    words = {LIVE: "live", FINISHED: "finished", DEAD: "dead"}
    seen = set()
    for row in range(len(keys)):
        beams, sampled = plain.search(keys[row], config)
        assert sampled == output.costs.unshared_policy_tokens[row]
        assert output.costs.policy_tokens[row] <= sampled
        for rank, beam in enumerate(beams):
            length = int(output.lengths[row, rank])
            assert output.tokens[row, rank, :length].tolist() == beam.tokens
            assert words[int(output.status[row, rank])] == beam.status
            np.testing.assert_allclose(output.log_prob[row, rank], beam.log_prob, rtol=1e-4)
            if beam.status != "dead":
                np.testing.assert_allclose(output.score[row, rank], beam.score, rtol=1e-5)
            seen.add(beam.status)
        best = int(output.best[row])
        finished = [rank for rank, beam in enumerate(beams) if beam.status == "finished"]
        assert best == (finished[0] if finished else 0)
    assert "finished" in seen


def test_a_batch_equals_its_rows_alone() -> None:
    params = toy_params(2)
    keys = jax.random.split(jax.random.key(3), 4)
    together = toy_search(params, keys, BASE)
    for row in range(4):
        alone = toy_search(params, keys[row : row + 1], BASE)
        for whole, part in zip(
            jax.tree.leaves(together._replace(trace=None)),
            jax.tree.leaves(alone._replace(trace=None)),
            strict=True,
        ):
            np.testing.assert_array_equal(whole[row], part[0])


def test_jit_equals_eager() -> None:
    params = toy_params(4)
    keys = jax.random.split(jax.random.key(5), 1)
    small = replace(BASE, num_beams=2, beam_width=2, max_decisions=3, pool_size=64)
    jitted = toy_search(params, keys, small)
    with jax.disable_jit():
        eager = toy_search(params, keys, small)
    for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_full_pool_is_flagged() -> None:
    params = toy_params(6)
    keys = jax.random.split(jax.random.key(8), 3)
    output = toy_search(params, keys, replace(BASE, pool_size=8))
    assert output.flags.pool_overflow.any()
    assert (output.costs.pool_high_water <= 8).all()
    roomy = toy_search(params, keys, BASE)
    assert not roomy.flags.pool_overflow.any()


def test_the_trace_tells_what_happened() -> None:
    params = toy_params(9)
    keys = jax.random.split(jax.random.key(10), 3)
    output = toy_search(params, keys, replace(BASE, trace=True))
    plain = toy_search(params, keys, BASE)
    np.testing.assert_array_equal(output.tokens, plain.tokens)
    trace = output.trace
    assert trace is not None
    width = BASE.num_beams
    for row in range(3):
        beams: list[list[int]] = [[] for _ in range(width)]
        for decision in range(int(output.decisions[row])):
            after: list[list[int]] = [[] for _ in range(width)]
            for candidate, rank in enumerate(trace.rank[row, decision].tolist()):
                if rank < 0:
                    continue
                if candidate < width:
                    after[rank] = beams[candidate]
                    continue
                walker = candidate - width
                steps = trace.steps[row, decision, walker]
                start = beams[int(trace.parents[row, decision, walker])]
                after[rank] = start + [t for t in steps.tolist() if t >= 0]
            beams = after
        for rank in range(width):
            length = int(output.lengths[row, rank])
            assert beams[rank] == output.tokens[row, rank, :length].tolist()


def test_samples_follow_the_distribution() -> None:
    """Chi-squared over many uniforms; tokens without probability are never drawn."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 2, 37)).astype(np.float32)
    logits[0, 0, [0, 5, 36]] = -np.inf
    count = 20_000
    uniform = jnp.asarray((np.arange(count) + 0.5) / count, jnp.float32)[None]
    for lane in range(2):
        lanes = jnp.full((1, count), lane)
        drawn = np.asarray(sample_token(jnp.asarray(logits), uniform, lanes, 0.7))[0]
        scaled = logits[0, lane] / 0.7
        probs = np.exp(scaled - np.logaddexp.reduce(scaled))
        counts = np.bincount(drawn, minlength=37)
        # Evenly spaced uniforms meet every expected count within rounding at its two ends.
        assert np.abs(counts - count * probs).max() <= 2
        assert (counts[probs == 0] == 0).all()


def test_the_largest_uniform_stays_in_the_support() -> None:
    logits = jnp.full((1, 1, 50), -jnp.inf).at[0, 0, 3].set(0.0).at[0, 0, 20].set(-20.0)
    almost_one = jnp.full((1, 1), np.nextafter(np.float32(1), np.float32(0)))
    drawn = sample_token(logits, almost_one, jnp.zeros((1, 1), jnp.int32), 1.0)
    assert int(drawn[0, 0]) in (3, 20)
