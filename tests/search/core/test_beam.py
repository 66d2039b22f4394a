"""The jitted search core on a toy model, against a plain search over Python lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_search import Beam
from toy_search import BASE, own_results, reference, toy_params, toy_search

from search.core.config import Aggregate
from search.core.interfaces import Status
from search.core.sampling import sample_token, tempered
from toolprm_jax.grammar.runner import initial
from toolprm_jax.grammar.types import Kind

WHOLE = (int(Kind.TOTAL_FINISH),)
BATCH = 32  # of all tests, so that they share programs
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
    "two goes": replace(BASE, beam_width=6, probe_width=2),
    "best of n in two goes": replace(
        BASE, num_beams=1, beam_width=9, probe_width=3, stop_kinds=WHOLE, max_step_tokens=24
    ),
    "greedy": replace(BASE, num_beams=1, beam_width=1, temperature=0.0),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_plain_search(name: str) -> None:
    config = CONFIGS[name]
    params = toy_params(1)
    keys = jax.random.split(jax.random.key(7), BATCH)
    output = toy_search(params, keys, config)
    plain = reference(params)
    words = {Status.LIVE: "live", Status.FINISHED: "finished", Status.DEAD: "dead"}
    seen = set()
    for row in range(6):
        beams, sampled = plain.search(keys[row], config)
        assert sampled == output.costs.unshared_policy_tokens[row]
        assert output.costs.policy_tokens[row] <= sampled
        # Each token of a decision takes a pass at least, each pass runs some lanes.
        assert max(output.lengths[row]) <= output.costs.policy_passes[row]
        for rank, beam in enumerate(beams):
            length = int(output.lengths[row, rank])
            assert output.tokens[row, rank, :length].tolist() == beam.tokens
            assert words[Status(int(output.status[row, rank]))] == beam.status
            np.testing.assert_allclose(output.log_prob[row, rank], beam.log_prob, rtol=1e-4)
            if beam.status != "dead":
                np.testing.assert_allclose(output.score[row, rank], beam.score, rtol=1e-5)
            seen.add(beam.status)
        best = int(output.best[row])
        finished = [rank for rank, beam in enumerate(beams) if beam.status == "finished"]
        assert best == (finished[0] if finished else 0)
    assert "finished" in seen


@pytest.mark.parametrize("probe_width", [0, 1])
def test_a_batch_equals_its_rows_alone(probe_width: int) -> None:
    params = toy_params(2)
    keys = jax.random.split(jax.random.key(3), BATCH)
    config = replace(BASE, probe_width=probe_width)
    together = toy_search(params, keys, config)
    for row in range(4):
        alone = toy_search(params, keys[row : row + 1], config)
        for whole, part in zip(
            jax.tree.leaves(own_results(together)),
            jax.tree.leaves(own_results(alone)),
            strict=True,
        ):
            np.testing.assert_array_equal(whole[row], part[0])


def test_all_candidates_at_first_is_one_go() -> None:
    params = toy_params(2)
    keys = jax.random.split(jax.random.key(3), BATCH)
    # Few live beams share the walkers, so that a beam may have more than M.
    whole = replace(BASE, beam_width=4)
    fixed = toy_search(params, keys, whole)
    most = toy_search(params, keys, replace(whole, probe_width=12))
    for a, b in zip(jax.tree.leaves(fixed), jax.tree.leaves(most), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_sure_decision_takes_no_second_go() -> None:
    params = toy_params(2)
    sure = {"logits": params["logits"] * 100.0, "judge": params["judge"] * 0.0}
    keys = jax.random.split(jax.random.key(3), BATCH)
    config = replace(BASE, beam_width=6, probe_width=1)
    one = toy_search(sure, keys, replace(config, beam_width=1, probe_width=0, num_beams=1))
    found = toy_search(sure, keys, config)
    np.testing.assert_array_equal(found.costs.policy_tokens, one.costs.policy_tokens)
    doubtful = toy_search({**sure, "judge": params["judge"] * 0.0 - 50.0}, keys, config)
    unshared = doubtful.costs.unshared_policy_tokens
    assert (unshared > 3 * found.costs.unshared_policy_tokens).all()


def test_two_goes_need_independent_draws() -> None:
    keys = jax.random.split(jax.random.key(3), 1)
    with pytest.raises(ValueError, match='explore: expected "sample" for probe_width'):
        toy_search(toy_params(2), keys, replace(BASE, probe_width=1, explore="likeliest"))


def test_jit_equals_eager() -> None:
    params = toy_params(4)
    keys = jax.random.split(jax.random.key(5), 1)
    small = replace(BASE, num_beams=2, beam_width=2, max_decisions=3, pool_size=64)
    jitted = toy_search(params, keys, small)
    with jax.disable_jit():
        eager = toy_search(params, keys, small)
    for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_temperature_top_p_and_beta_act_without_compiling() -> None:
    search: Any = toy_search
    inputs = (toy_params(6), jax.random.split(jax.random.key(8), BATCH))
    first = search(*inputs, BASE)
    compiled = search._cache_size()
    for change in ({"temperature": 0.0}, {"temperature": 2.0}, {"top_p": 0.4}, {"beta": 2.0}):
        other = search(*inputs, replace(BASE, **change))
        assert (first.score != other.score).any(), change
    assert search._cache_size() == compiled


@pytest.mark.parametrize("beta", [0.0, 0.3, -0.3])
@pytest.mark.parametrize("aggregate", ["min", "mean"])
def test_an_early_stop_keeps_the_answer(aggregate: Aggregate, beta: float) -> None:
    params = toy_params(6)
    keys = jax.random.split(jax.random.key(8), BATCH)
    config = replace(BASE, aggregate=aggregate, beta=beta)
    early = toy_search(params, keys, config)
    late = toy_search(params, keys, replace(config, early_stop=False))
    rows = np.arange(BATCH)
    assert early.finished.any()
    for name in ("tokens", "score", "log_prob"):
        first, second = getattr(early, name), getattr(late, name)
        np.testing.assert_array_equal(first[rows, early.best], second[rows, late.best], name)
    saved = late.costs.policy_tokens - early.costs.policy_tokens
    falls = aggregate == "min" and beta >= 0
    assert (saved >= 0).all()
    assert (saved > 0).any() == falls


def test_limits_are_flagged() -> None:
    params = toy_params(6)
    keys = jax.random.split(jax.random.key(8), BATCH)
    full = toy_search(params, keys, replace(BASE, pool_size=16))
    assert full.flags.pool_overflow.any()
    assert (full.costs.pool_high_water <= 16).all()
    short = replace(BASE, max_step_tokens=3, max_tokens=5, max_decisions=2)
    output = toy_search(params, keys, short)
    assert not output.flags.pool_overflow.any()
    assert 0 < output.flags.step_overflow.sum() < BATCH
    assert 0 < output.flags.length_overflow.sum() < BATCH
    left = (output.status == Status.LIVE).any(axis=1) & (output.status[:, 0] != Status.FINISHED)
    np.testing.assert_array_equal(output.flags.decision_overflow, left)
    assert left.any()
    assert (output.lengths <= 5).all()


def test_the_trace_tells_what_happened() -> None:
    params = toy_params(9)
    keys = jax.random.split(jax.random.key(10), BATCH)
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
        drawn = np.asarray(sample_token(tempered(jnp.asarray(logits), 0.7), uniform, lanes))[0]
        scaled = logits[0, lane] / 0.7
        probs = np.exp(scaled - np.logaddexp.reduce(scaled))
        counts = np.bincount(drawn, minlength=37)
        # Evenly spaced uniforms meet every expected count within rounding at its two ends.
        assert np.abs(counts - count * probs).max() <= 2
        assert (counts[probs == 0] == 0).all()


def test_the_largest_uniform_stays_in_the_support() -> None:
    logits = jnp.full((1, 1, 50), -jnp.inf).at[0, 0, 3].set(0.0).at[0, 0, 20].set(-20.0)
    almost_one = jnp.full((1, 1), np.nextafter(np.float32(1), np.float32(0)))
    drawn = sample_token(logits, almost_one, jnp.zeros((1, 1), jnp.int32))
    assert int(drawn[0, 0]) in (3, 20)


def test_with_room_for_all_the_search_is_exhaustive() -> None:
    """Every completion that exists is found, scored as brute force scores it."""
    config = replace(
        BASE, num_beams=24, beam_width=12, explore="likeliest", top_k=2, max_tokens=7, pool_size=512
    )
    params = toy_params(16)
    plain = reference(params)
    complete: dict[bytes, Beam] = {}
    dropped = 0

    def grow(beam: Beam) -> None:
        nonlocal dropped
        if beam.events and Kind.TOTAL_FINISH in beam.events[-1] and beam.state.mode:
            beam.score = plain.score(beam, config)
            other = complete.get(beam.data)
            if other is None or beam.log_prob > other.log_prob:
                complete[beam.data] = beam
        elif beam.state.mode and len(beam.tokens) < config.max_tokens:
            logits = plain.logits(beam.tokens)
            log_probs = logits - np.logaddexp.reduce(logits)
            for token in np.argsort(-logits)[: config.top_k]:
                grow(plain.feed(beam, int(token), float(log_probs[token])))
        else:
            dropped += 1

    grow(Beam([], b"", initial(plain.tables), []))
    expected = sorted(complete.values(), key=lambda beam: (-beam.score, -beam.log_prob))
    assert dropped > len(expected) >= 4
    output = toy_search(params, jax.random.split(jax.random.key(1), 1), config)
    found = np.flatnonzero(output.status[0] == Status.FINISHED)
    assert len(found) == len(expected) < config.num_beams
    for rank, beam in zip(found, expected, strict=True):
        length = int(output.lengths[0, rank])
        assert output.tokens[0, rank, :length].tolist() == beam.tokens
        np.testing.assert_allclose(output.score[0, rank], beam.score, rtol=1e-5)
