"""The jitted search with tiny decoders: exactness, invariance, sharing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search.beam import DEAD, FINISHED, SearchConfig, SearchOutput
from search.methods import (
    GUIDED,
    Method,
    fine_grained_search,
    method_config,
    sample_rollouts,
)
from search.models import DecoderPolicy, DecoderReward, Prompts
from search.run import Models, record_keys, run_methods
from toolprm_jax.annotation.grammar import Kind, run, tables
from toolprm_jax.annotation.labels import GRANULARITY
from toolprm_jax.model.decoder import Decoder
from toolprm_jax.toolworld.masked import masked_corpus

BASE = SearchConfig(
    num_beams=2, beam_width=3, temperature=0.8, max_tokens=96, max_step_tokens=48, pool_size=256
)


@pytest.fixture(scope="module")
def queries(models: Models):
    """Eight short held-out queries: keys and right-padded prompts."""
    records = sorted(
        masked_corpus(5, "heldout", 24), key=lambda r: len(models.policy.codec.prompt(r))
    )
    records = records[:8]
    ids = [models.policy.codec.prompt(record) for record in records]
    return record_keys(0, records), padded(ids, max(map(len, ids)))


def padded(ids: list[list[int]], length: int) -> Prompts:
    tokens = np.zeros((len(ids), length), np.int32)
    for row, prompt in enumerate(ids):
        tokens[row, : len(prompt)] = prompt
    return Prompts(jnp.asarray(tokens), jnp.asarray([len(prompt) for prompt in ids], jnp.int32))


def search(models: Models, keys, prompts: Prompts, config: SearchConfig) -> SearchOutput:
    assert models.prm is not None
    return fine_grained_search(
        DecoderPolicy(models.policy.model),
        DecoderReward.of(models.prm.model, models.prm.codec.contract),
        (models.policy.params, models.prm.params),
        keys,
        prompts,
        models.grammar,
        config,
    )


def rows(prompts: Prompts, row: int) -> Prompts:
    return Prompts(prompts.tokens[row : row + 1], prompts.lengths[row : row + 1])


@pytest.fixture(scope="module")
def found(models: Models, queries) -> SearchOutput:
    keys, prompts = queries
    return jax.device_get(search(models, keys, prompts, BASE))


def test_cached_equals_a_plain_forward(models: Models, queries, found: SearchOutput) -> None:
    """Policy and PRM along every returned beam, against a forward over the whole text."""
    assert models.prm is not None
    policy, prm, prompts = models.policy, models.prm, queries[1]
    contract = prm.codec.contract
    grammar = tables(prm.codec.template.dress)
    length = 512

    @jax.jit
    def policy_log_probs(tokens, exits):
        positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
        hidden: Any = policy.model.apply(policy.params, tokens, positions, exits)
        logits: Any = policy.model.apply(policy.params, hidden, method=Decoder.logits)
        allowed = jnp.where(models.grammar.allowed, 0.0, -jnp.inf)
        return jax.nn.log_softmax(logits + allowed[None, None])

    @jax.jit
    def prm_log_p(tokens, exits):
        positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
        hidden: Any = prm.model.apply(prm.params, tokens, positions, exits)
        pair: Any = prm.model.apply(
            prm.params, hidden, contract.label_ids, method=Decoder.label_logits
        )
        return jax.nn.log_sigmoid(pair[..., 1] - pair[..., 0])

    checked = 0
    for row in range(prompts.tokens.shape[0]):
        prompt = np.asarray(prompts.tokens[row, : prompts.lengths[row]])
        for rank in range(BASE.num_beams):
            status = found.status[row, rank]
            size = int(found.lengths[row, rank])
            if not size:
                continue
            completion = found.tokens[row, rank, :size]
            text = np.zeros((1, length), np.int32)
            text[0, : len(prompt) + size] = [*prompt, *completion]
            causal = jnp.full((1, length), length)
            after = np.asarray(policy_log_probs(text, causal))[0, len(prompt) - 1 :]
            total = sum(after[i, token] for i, token in enumerate(completion))
            np.testing.assert_allclose(found.log_prob[row, rank], total, atol=1e-3)
            if status == DEAD:
                continue
            # Every marker as a separate sample: the prefix and the marker after it.
            ends = np.cumsum([len(prm.codec.pieces[i] or b"") for i in completion])
            data = prm.codec.decode(completion.tolist())
            lowest = 0.0
            for kind, end in run(grammar, data, eot=False).events:
                upto = len(prompt) + int(np.searchsorted(ends, end)) + 1
                sample = text.copy()
                sample[0, upto] = contract.marker_ids[kind]
                lowest = min(lowest, float(prm_log_p(sample, causal)[0, upto]))
            np.testing.assert_allclose(found.score[row, rank], np.exp(lowest), atol=1e-4)
            checked += 1
    assert checked >= 6


def test_a_batch_gives_what_its_rows_give_alone(models: Models, queries, found) -> None:
    """The toy search is exact here; with a decoder a draw may fall within float32 rounding of the
    border between two tokens, so one row may differ."""
    keys, prompts = queries
    equal = 0
    for row in range(8):
        alone = search(models, keys[row : row + 1], rows(prompts, row), BASE)
        if np.array_equal(alone.tokens[0], found.tokens[row]):
            np.testing.assert_array_equal(alone.status[0], found.status[row])
            np.testing.assert_allclose(alone.score[0], found.score[row], atol=1e-4)
            assert alone.costs.policy_tokens[0] == found.costs.policy_tokens[row]
            equal += 1
    assert equal >= 7


def test_padding_changes_nothing(models: Models, queries, found: SearchOutput) -> None:
    keys, prompts = queries
    wider = Prompts(jnp.pad(prompts.tokens, ((0, 0), (0, 37)), constant_values=7), prompts.lengths)
    output = search(models, keys, wider, BASE)
    np.testing.assert_array_equal(output.tokens, found.tokens)
    np.testing.assert_allclose(output.score, found.score, atol=1e-4)


def test_sharing_saves_tokens(found: SearchOutput) -> None:
    assert (found.costs.policy_tokens <= found.costs.unshared_policy_tokens).all()
    assert found.costs.policy_tokens.sum() < 0.7 * found.costs.unshared_policy_tokens.sum()
    assert (found.costs.prm_tokens <= found.costs.unshared_prm_tokens + 8).all()


def test_one_beam_at_temperature_zero_is_greedy(models: Models, queries) -> None:
    keys, prompts = queries
    narrow = replace(BASE, num_beams=1, beam_width=1, temperature=0.0, max_step_tokens=96)
    fine = search(models, keys, prompts, method_config("fine_grained", narrow))
    greedy = fine_grained_search(
        DecoderPolicy(models.policy.model),
        None,
        (models.policy.params, None),
        keys,
        prompts,
        models.grammar,
        method_config("greedy", narrow),
    )
    np.testing.assert_array_equal(fine.tokens, greedy.tokens)
    np.testing.assert_array_equal(fine.status, greedy.status)
    assert (np.asarray(greedy.status) == FINISHED).any()


def test_fine_grained_with_an_orm_is_best_of_n(models: Models, queries) -> None:
    keys, prompts = queries
    orm = replace(BASE, labelled=(int(Kind.TOTAL_FINISH),))
    fine = search(models, keys, prompts, method_config("fine_grained", orm, "orm"))
    best = search(models, keys, prompts, method_config("best_of_n", orm, "orm"))
    for row in range(8):
        pair = [(output, int(output.best[row])) for output in (fine, best)]
        tokens = [np.asarray(output.tokens[row, rank]) for output, rank in pair]
        np.testing.assert_array_equal(tokens[0], tokens[1])
        scores = [float(output.score[row, rank]) for output, rank in pair]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_rollouts_are_the_walkers_of_a_search(models: Models, queries) -> None:
    """Sampling K rollouts draws what best-of-n with n = K draws."""
    keys, prompts = queries
    count = 4
    rolled = sample_rollouts(
        models.policy.model,
        models.policy.params,
        jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys),
        prompts,
        models.grammar,
        count=count,
        temperature=0.8,
        max_tokens=96,
    )
    wide = replace(BASE, num_beams=1, beam_width=count, trace=True, max_decisions=1)
    traced = search(models, keys, prompts, method_config("best_of_n", wide)).trace
    assert traced is not None
    np.testing.assert_array_equal(rolled.tokens, traced.steps[:, 0])


def test_methods_have_one_face(models: Models) -> None:
    records = list(masked_corpus(6, "heldout", 3))
    base = replace(BASE, num_beams=2, beam_width=2, max_tokens=32, schema="prune")
    methods: tuple[Method, ...] = ("greedy", "token_beam", "majority_vote", "fine_grained")
    runs = run_methods(models, records, methods, base, seed=0, batch_size=2, progress=False)
    assert tuple(runs) == methods
    for method, outcome in runs.items():
        assert [answer.record.id for answer in outcome.answers] == [r.id for r in records]
        assert outcome.compilations == 1
        for answer in outcome.answers:
            line = answer.to_json()
            assert line["method"] == method
            assert line["finished"] or "unfinished" in line["flags"]
            assert line["cost"]["policy_tokens"] > 0
            assert line["cost"]["policy_prompt_tokens"] > 0
            assert (line["cost"]["prm_prompt_tokens"] > 0) == (method in GUIDED)
    for answer in runs["majority_vote"].answers:
        assert answer.score in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_granularities_are_nested() -> None:
    assert GRANULARITY["orm"] < GRANULARITY["cprm"] < GRANULARITY["toolprm"]
