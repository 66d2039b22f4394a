"""How candidates come about: independent draws, draws without replacement, the likeliest."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_search import Beam, Reference
from toy_search import BASE, reference, toy_params, toy_search

from search.core.config import SearchConfig
from search.core.interfaces import Status
from search.core.sampling import tempered
from search.methods import method_config
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import initial
from toolprm_jax.grammar.types import Kind

Tokens = tuple[int, ...]
PARAMS = toy_params(21)


def plain_filter(logits: np.ndarray, config: SearchConfig) -> np.ndarray:
    """Probabilities after temperature, top_k and top_p, by sorting."""
    scaled = logits.astype(np.float64) / config.temperature
    probs = np.exp(scaled - np.logaddexp.reduce(scaled))
    order = np.argsort(-probs)
    if config.top_k:
        probs[order[config.top_k :]] = 0.0
        probs /= probs.sum()
    before = np.cumsum(probs[order]) - probs[order]
    probs[order[before >= config.top_p]] = 0.0
    return probs / probs.sum()


def outcomes(config: SearchConfig, plain: Reference | None = None) -> dict[Tokens, float]:
    """Every outcome of the first decision with its probability: boundary, death or limit."""
    plain = plain or reference(PARAMS)
    found: dict[Tokens, float] = {}

    def grow(beam: Beam, prob: float) -> None:
        kinds = beam.events[-1] if beam.events else []
        stopped = any(kind in config.stop_kinds for kind in kinds) or beam.state.mode == 0
        if (
            stopped
            or len(beam.tokens) == config.max_step_tokens
            or plain.end_of_text in beam.tokens
        ):
            found[tuple(beam.tokens)] = prob
            return
        probs = plain_filter(plain.logits(beam.tokens), config)
        for token in np.flatnonzero(probs):
            grow(plain.feed(beam, int(token), 0.0), prob * probs[token])

    grow(Beam([], b"", initial(tables("list")), []), 1.0)
    assert abs(sum(found.values()) - 1.0) < 1e-9
    return found


FIRST = replace(
    BASE, num_beams=1, beam_width=2, max_decisions=1, max_step_tokens=3, pool_size=64, trace=True
)
CONFIGS = {
    "plain": replace(FIRST, temperature=1.5),
    "filtered": replace(FIRST, temperature=3.0, top_k=6, top_p=0.8),
}
# Long enough for partial sequences to be dropped again and again.
DEEP = replace(
    FIRST,
    explore="distinct",
    temperature=3.0,
    top_k=2,
    max_step_tokens=6,
    stop_kinds=(int(Kind.TOTAL_FINISH),),
)


@cache
def drawn(config: SearchConfig, count: int) -> list[list[Tokens]]:
    """The candidates of the first decision under many keys."""
    trace = toy_search(PARAMS, jax.random.split(jax.random.key(5), count), config).trace
    assert trace is not None
    steps, status = np.asarray(trace.steps[:, 0]), np.asarray(trace.status[:, 0, 1:])
    return [
        [
            tuple(tokens[tokens >= 0].tolist())
            for tokens, what in zip(row, states, strict=True)
            if what != 3
        ]
        for row, states in zip(steps, status, strict=True)
    ]


def assert_distributed(counts: Counter, expected: dict, total: int) -> None:
    """Chi-squared with rare outcomes in one cell, at five standard deviations."""
    assert set(counts) <= set(expected)
    pairs = [(counts[key], total * prob) for key, prob in expected.items()]
    common = [(seen, mean) for seen, mean in pairs if mean >= 8]
    rest = [(seen, mean) for seen, mean in pairs if mean < 8]
    cells = [*common, tuple(map(sum, zip(*rest, strict=True)))] if rest else common
    cells = [(seen, mean) for seen, mean in cells if mean > 1]
    statistic = sum((seen - mean) ** 2 / mean for seen, mean in cells)
    freedom = len(cells) - 1
    assert freedom >= 3
    assert statistic < freedom + 5 * np.sqrt(2 * freedom) + 5, (statistic, freedom)


@pytest.mark.parametrize("name", CONFIGS)
def test_samples_are_independent_draws_of_decisions(name: str) -> None:
    """Both candidates of a beam jointly, against the product of the exact distribution."""
    config, count = CONFIGS[name], 3000
    exact = outcomes(config)
    rows = drawn(config, count)
    joint = {(a, b): p * q for (a, p), (b, q) in itertools.product(exact.items(), repeat=2)}
    assert_distributed(Counter((a, b) for a, b in rows), joint, count)


def test_distinct_draws_follow_gumbel_top_k() -> None:
    """Sets of two without replacement, against the exact probability of every set."""
    config, count = DEEP, 3000
    exact = outcomes(config)
    rows = drawn(config, count)
    assert all(len(set(row)) == len(row) == 2 for row in rows)
    sets = {
        frozenset((a, b)): p * q / (1 - p) + q * p / (1 - q)
        for (a, p), (b, q) in itertools.combinations(exact.items(), 2)
    }
    assert_distributed(Counter(map(frozenset, rows)), sets, count)


def test_distinct_inclusion_probabilities() -> None:
    """Each outcome's chance to be among three, by enumerating every order of three."""
    config, count = replace(DEEP, beam_width=3), 3000
    exact = outcomes(config)
    chance = dict.fromkeys(exact, 0.0)
    for three in itertools.permutations(exact, 3):
        a, b, c = (exact[outcome] for outcome in three)
        prob = a * b / (1 - a) * c / (1 - a - b)
        for outcome in three:
            chance[outcome] += prob
    seen = Counter(outcome for row in drawn(config, count) for outcome in row)
    for outcome, prob in chance.items():
        spread = np.sqrt(count * prob * (1 - prob)) + 1
        assert abs(seen[outcome] - count * prob) < 4.5 * spread, outcome


def test_distinct_takes_all_there_is() -> None:
    config = replace(DEEP, max_step_tokens=4, beam_width=24)
    exact = outcomes(config)
    assert len(exact) < 24
    for row in drawn(config, 3):
        assert sorted(row) == sorted(exact)


def test_the_likeliest_are_the_best_of_all() -> None:
    """With room for every partial sequence a beam search is exact."""
    config = replace(FIRST, explore="likeliest", beam_width=24, temperature=1.0, top_k=2)
    exact = outcomes(config)
    assert len(exact) <= 24
    (row,) = drawn(config, 1)
    plain = reference(PARAMS)

    def lives(tokens: Tokens) -> bool:
        beam = Beam([], b"", initial(tables("list")), [])
        for token in tokens:
            beam = plain.feed(beam, token, 0.0)
        reached = any(kind in config.stop_kinds for kind in beam.events[-1])
        return beam.state.mode != 0 and reached

    alive = sorted(filter(lives, exact), key=lambda tokens: -exact[tokens])
    assert len(alive) >= 3
    assert list(filter(lives, row)) == alive


def plain_token_beam(plain: Reference, width: int, max_tokens: int) -> list[Beam]:
    """Beam search over tokens; the dead make room for all others."""
    beams = [Beam([], b"", initial(plain.tables), [])]
    while any(beam.status == "live" for beam in beams):
        grown = [beam for beam in beams if beam.status != "live"]
        for beam in beams:
            if beam.status != "live":
                continue
            logits = plain.logits(beam.tokens).astype(np.float64)
            log_probs = logits - np.logaddexp.reduce(logits)
            for token in np.flatnonzero(np.isfinite(log_probs)):
                child = plain.feed(beam, int(token), float(log_probs[token]))
                child.status = "new"
                grown.append(child)
        grown.sort(key=lambda beam: (beam.status == "dead", -beam.log_prob))
        beams = grown[:width]
        for beam in beams:
            if beam.status != "new":
                continue
            whole = Kind.TOTAL_FINISH in beam.events[-1]
            full = len(beam.tokens) >= max_tokens and not whole
            ended = beam.tokens[-1] == plain.end_of_text
            beam.status = "live"
            if beam.state.mode == 0 or full or (ended and not whole):
                beam.status = "dead"
            elif whole:
                beam.status = "finished"
    alive = [beam for beam in beams if beam.status == "finished"]
    merged = {beam.data: beam for beam in sorted(alive, key=lambda beam: beam.log_prob)}
    return sorted(merged.values(), key=lambda beam: -beam.log_prob)


def test_token_beam_equals_a_plain_one() -> None:
    config = method_config("token_beam", replace(BASE, num_beams=3, beam_width=2))
    output = toy_search(PARAMS, jax.random.split(jax.random.key(0), 1), config, guided=False)
    beams = plain_token_beam(reference(PARAMS), 6, BASE.max_tokens)[:3]
    assert beams
    finished = np.flatnonzero(output.status[0] == Status.FINISHED)
    assert len(finished) == len(beams)
    for rank, beam in enumerate(beams):
        length = int(output.lengths[0, rank])
        assert output.tokens[0, rank, :length].tolist() == beam.tokens
        np.testing.assert_allclose(output.log_prob[0, rank], beam.log_prob, rtol=1e-4)


@pytest.mark.parametrize("top_k", [0, 1, 7, 50])
@pytest.mark.parametrize("top_p", [0.05, 0.6, 1.0])
def test_filters_equal_sorting(top_k: int, top_p: float) -> None:
    logits = np.random.default_rng(3).normal(size=(2, 3, 40)).astype(np.float32) * 3
    logits[0, 0, :5] = -np.inf
    config = SearchConfig(temperature=0.7, top_k=top_k, top_p=top_p)
    found = np.asarray(jax.nn.softmax(tempered(jnp.asarray(logits), 0.7, top_k, top_p)))
    for index in np.ndindex(2, 3):
        expected = plain_filter(logits[index], config)
        np.testing.assert_array_equal(found[index] > 0, expected > 0)
        np.testing.assert_allclose(found[index], expected, atol=1e-5)


def test_filters_keep_what_is_as_likely() -> None:
    logits = jnp.asarray([[[1.0, 1.0, 0.0, 1.0]]])
    assert np.isfinite(tempered(logits, 1.0, top_k=1)).tolist() == [[[True, True, False, True]]]
    assert np.isfinite(tempered(logits, 0.0)).tolist() == [[[True, False, False, False]]]
