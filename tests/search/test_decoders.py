"""The jitted search with tiny decoders: exactness, invariance, sharing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search.core.beam import beam_search
from search.core.config import Execution, SearchConfig
from search.core.interfaces import Memory, Setup, Status
from search.core.output import SearchOutput
from search.decoder import (
    MEMORY,
    DecoderPolicy,
    DecoderReward,
    ModelCache,
    Prompts,
    new_cache,
    prefill,
)
from search.host.batches import record_keys
from search.host.pair import ModelPair
from search.host.runs import run_methods
from search.host.searcher import Searcher
from search.methods import GUIDED, Method, method_config, sample_rollouts, search
from toolprm_jax.annotation.labels import GRANULARITY
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import run
from toolprm_jax.grammar.types import Kind
from toolprm_jax.model.decoder import Decoder
from toolprm_jax.model.files.loading import load
from toolprm_jax.toolworld.masked import masked_corpus

BASE = SearchConfig(
    num_beams=2,
    beam_width=3,
    temperature=0.8,
    max_tokens=96,
    max_step_tokens=48,
    pool_size=192,
    execution=Execution(pass_sizes=2),
    trace=True,
)


@pytest.fixture(scope="module")
def queries(models: ModelPair):
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


def guided(models: ModelPair, keys, prompts: Prompts, config: SearchConfig) -> SearchOutput:
    return search(models.models(guided=True), keys, prompts, config)


def rows(prompts: Prompts, row: int) -> Prompts:
    return Prompts(prompts.tokens[row : row + 1], prompts.lengths[row : row + 1])


@pytest.fixture(scope="module")
def found(models: ModelPair, queries) -> SearchOutput:
    keys, prompts = queries
    return jax.device_get(guided(models, keys, prompts, BASE))


LENGTH = 512  # of a plain forward


@pytest.fixture(scope="module")
def plain(models: ModelPair) -> tuple[Any, Any]:
    """Forwards without a cache: the policy's log-probabilities, the PRM's answer at a place."""
    assert models.prm is not None
    policy, prm = models.policy, models.prm
    label_ids = prm.codec.contract.label_ids
    positions, exits = jnp.arange(LENGTH)[None], jnp.full((1, LENGTH), LENGTH)

    @jax.jit
    def policy_log_probs(tokens):
        hidden: Any = policy.model.apply(policy.params, tokens, positions, exits)
        logits: Any = policy.model.apply(policy.params, hidden, method=Decoder.logits)
        allowed = jnp.where(models.grammar.allowed, 0.0, -jnp.inf)
        return jax.nn.log_softmax(logits + allowed[None, None])[0]

    @jax.jit
    def prm_log_p(tokens, at):
        hidden: Any = prm.model.apply(prm.params, tokens, positions, exits)
        pair: Any = prm.model.apply(
            prm.params, hidden[0, at], label_ids, method=Decoder.label_logits
        )
        return jax.nn.log_sigmoid(pair[1] - pair[0])

    return policy_log_probs, prm_log_p


def text_of(prompts: Prompts, row: int, tokens: Sequence[int]) -> tuple[np.ndarray, int]:
    """A prompt and what follows it, padded, and the prompt's length."""
    prompt = np.asarray(prompts.tokens[row, : prompts.lengths[row]])
    text = np.zeros((1, LENGTH), np.int32)
    text[0, : len(prompt) + len(tokens)] = [*prompt, *tokens]
    return text, len(prompt)


def test_the_policy_with_its_cache_equals_a_plain_forward(
    plain, queries, found: SearchOutput
) -> None:
    for row in range(8):
        for rank in range(BASE.num_beams):
            tokens = found.tokens[row, rank, : found.lengths[row, rank]].tolist()
            if not tokens:  # fewer candidates than beams
                continue
            text, prompt = text_of(queries[1], row, tokens)
            after = np.asarray(plain[0](text))[prompt - 1 :]
            total = sum(after[i, token] for i, token in enumerate(tokens))
            np.testing.assert_allclose(found.log_prob[row, rank], total, atol=1e-3)


class WithTokens(NamedTuple):
    """A model's cache, and the token in each slot of the pool."""

    model: ModelCache
    tokens: Any  # int32[B, P]


def store(cache: Any, queries: Any, slots: Any, own: Any) -> Any:
    """As `MEMORY.store`, of both kinds of caches."""
    if not isinstance(cache, WithTokens):
        return MEMORY.store(cache, queries, slots, own)
    tokens = cache.tokens.at[queries[:, None], slots].set(own[1], mode="drop")
    return WithTokens(MEMORY.store(cache.model, queries, slots, own[0]), tokens)


def permute(cache: Any, order: Any) -> Any:
    """As `MEMORY.permute`, of both kinds of caches."""
    if not isinstance(cache, WithTokens):
        return MEMORY.permute(cache, order)
    moved = jnp.take_along_axis(cache.tokens, jnp.minimum(order, order.shape[1] - 1), axis=1)
    return WithTokens(MEMORY.permute(cache.model, order), moved)


@dataclass(frozen=True)
class Spy(DecoderPolicy):
    """A policy that tells what it was asked and what it answered."""

    asked: list[Any] = field(default_factory=list, hash=False)

    def expand(self, params: Any, cache: Any, lanes: Any) -> Any:
        logits, own = super().expand(params, cache.model, lanes)
        jax.debug.callback(self.note, cache.tokens, lanes, logits)
        return logits, (own, lanes.tokens)

    def note(self, tokens: Any, lanes: Any, logits: Any) -> None:
        """Keeps the path to each lane, in order, and the logits after it."""
        tokens, lanes = np.asarray(tokens), jax.tree.map(np.asarray, lanes)
        for at in np.argwhere(lanes.active):
            row, lane = at.tolist()
            query = int(lanes.queries[row])
            above = tokens[query, np.flatnonzero(lanes.ancestors[row, lane])].tolist()
            path = (*above, int(lanes.tokens[row, lane]))
            self.asked.append((query, path[1:], np.asarray(logits)[row, lane]))


def test_all_logits_of_every_token_equal_a_plain_forward(models: ModelPair, plain, queries) -> None:
    """With the rows of all queries packed together, and after prunes."""
    assert models.prm is not None
    keys, prompts = queries
    spy = Spy(models.policy.model)
    few = Prompts(prompts.tokens[:3], prompts.lengths[:3])
    config = replace(BASE, trace=False, max_tokens=48)
    caches = [
        new_cache(prefill(each.model, each.params, few), few.lengths, config.pool_size)
        for each in (models.policy, models.prm)
    ]
    setup = Setup(
        spy,
        DecoderReward.of(models.prm.model, models.prm.codec.contract),
        Memory(store, permute),
        models.grammar,
        (models.policy.params, models.prm.params),
        (WithTokens(caches[0], jnp.zeros((3, config.pool_size), jnp.int32)), caches[1]),
    )
    roots = few.tokens[jnp.arange(3), few.lengths - 1]
    jax.block_until_ready(jax.jit(partial(beam_search, setup, config=config))(keys[:3], roots))
    jax.effects_barrier()
    known: dict[Any, np.ndarray] = {}
    for query, path, logits in sorted(spy.asked, key=lambda asked: -len(asked[1])):
        if (query, path) not in known:
            text, prompt = text_of(prompts, query, path)
            after = np.asarray(plain[0](text))[prompt - 1 :]
            known |= {(query, path[:length]): after[length] for length in range(len(path) + 1)}
        allowed = np.where(np.asarray(models.grammar.allowed), logits, -np.inf)
        allowed = allowed - np.logaddexp.reduce(allowed.astype(np.float64))
        np.testing.assert_allclose(allowed, known[query, path], atol=1e-4)
    assert len({asked[:2] for asked in spy.asked}) == len(spy.asked) >= 60


def test_every_marker_of_every_candidate_equals_a_plain_forward(
    models: ModelPair, plain, queries, found: SearchOutput
) -> None:
    """Each as a separate sample: the tokens up to the decision, and the marker after them."""
    assert models.prm is not None
    marker_ids = models.prm.codec.contract.marker_ids
    trace, known = found.trace, dict[tuple[int, ...], float]()
    assert trace is not None
    for row in range(8):
        beams: dict[int, list[int]] = {0: []}
        for decision in range(int(found.decisions[row])):
            at = (row, decision)
            kept = {}
            for index in range(BASE.num_beams + BASE.num_beams * BASE.beam_width):
                walker = index - BASE.num_beams
                if walker < 0:
                    tokens = beams.get(index, [])
                else:
                    steps = trace.steps[at][walker]
                    tokens = beams[int(trace.parents[at][walker])] + steps[steps >= 0].tolist()
                if trace.rank[at][index] >= 0:
                    kept[int(trace.rank[at][index])] = tokens
                if walker < 0 or trace.status[at][index] not in (Status.LIVE, Status.FINISHED):
                    continue
                for kind, log_p in zip(
                    trace.events[at][walker], trace.log_p[at][walker], strict=True
                ):
                    sample = (row, int(kind), *tokens)
                    if kind < 0:
                        continue
                    if sample not in known:
                        marked = [*tokens, marker_ids[kind]]
                        text, prompt = text_of(queries[1], row, marked)
                        known[sample] = float(plain[1](text, prompt + len(tokens)))
                    np.testing.assert_allclose(log_p, known[sample], atol=1e-4)
            beams = kept
        for rank, tokens in beams.items():  # the output tells the same again
            assert found.tokens[row, rank, : found.lengths[row, rank]].tolist() == tokens
            told = zip(found.events[row, rank], found.log_p[row, rank], strict=True)
            for end, (kinds, answers) in enumerate(told, start=1):
                for kind, log_p in zip(kinds[kinds >= 0], answers[kinds >= 0], strict=True):
                    sample = (row, int(kind), *tokens[:end])
                    np.testing.assert_allclose(log_p, known[sample], atol=1e-4)
    assert len(known) >= 30


def test_greedy_is_a_plain_argmax_loop(models: ModelPair, plain, queries) -> None:
    keys, prompts = queries
    config = method_config("greedy", BASE)
    policy = models.policy
    output = search(models.models(guided=False), keys, prompts, config)
    whole = 0
    for row in range(8):
        tokens = output.tokens[row, 0, : output.lengths[row, 0]].tolist()
        text, prompt = text_of(prompts, row, tokens)
        after = np.asarray(plain[0](text))[prompt - 1 :][: len(tokens)]
        assert tokens == after.argmax(axis=-1).tolist()
        np.testing.assert_allclose(
            output.log_probs[row, 0, : len(tokens)],
            after[np.arange(len(tokens)), tokens],
            atol=1e-4,
        )
        result = run(tables("list"), policy.codec.decode(tokens), eot=False)
        ended = [kind for kind, _ in result.events].count(Kind.TOTAL_FINISH) == 1
        assert ended == bool(output.finished[row])
        whole += ended
    assert whole >= 4


def test_in_bfloat16_the_log_probabilities_are_nearly_the_same(tiny_pair, plain, queries) -> None:
    """Of the completions that the rounded models find, by the exact ones."""
    policy, prm = (load(name, dtype="bfloat16") for name in tiny_pair)
    rounded = ModelPair(policy, prm)
    keys, prompts = queries
    few = Prompts(prompts.tokens[:2], prompts.lengths[:2])
    out = guided(rounded, keys[:2], few, replace(BASE, trace=False))
    for row in range(2):
        best = int(out.best[row])
        tokens = out.tokens[row, best, : out.lengths[row, best]].tolist()
        assert len(tokens) > 1
        text, prompt = text_of(prompts, row, tokens)
        after = np.asarray(plain[0](text))[prompt - 1 :]
        total = sum(after[i, token] for i, token in enumerate(tokens))
        np.testing.assert_allclose(out.log_prob[row, best], total, atol=0.05 * len(tokens))


def test_a_batch_gives_what_its_rows_give_alone(models: ModelPair, queries, found) -> None:
    keys, prompts = queries
    for row in range(8):
        alone = guided(models, keys[row : row + 1], rows(prompts, row), BASE)
        np.testing.assert_array_equal(alone.tokens[0], found.tokens[row])
        np.testing.assert_array_equal(alone.status[0], found.status[row])
        np.testing.assert_allclose(alone.score[0], found.score[row], atol=1e-4)
        assert alone.costs.policy_tokens[0] == found.costs.policy_tokens[row]


def test_padding_changes_nothing(models: ModelPair, queries, found: SearchOutput) -> None:
    keys, prompts = queries
    wider = Prompts(jnp.pad(prompts.tokens, ((0, 0), (0, 37)), constant_values=7), prompts.lengths)
    output = guided(models, keys, wider, BASE)
    np.testing.assert_array_equal(output.tokens, found.tokens)
    np.testing.assert_allclose(output.score, found.score, atol=1e-4)


def test_sharing_saves_tokens(found: SearchOutput) -> None:
    assert (found.costs.policy_tokens <= found.costs.unshared_policy_tokens).all()
    assert found.costs.policy_tokens.sum() < 0.7 * found.costs.unshared_policy_tokens.sum()
    assert (found.costs.prm_tokens <= found.costs.unshared_prm_tokens + 8).all()


def test_one_beam_at_temperature_zero_is_greedy(models: ModelPair, queries) -> None:
    keys, prompts = queries
    narrow = replace(BASE, num_beams=1, beam_width=1, temperature=0.0, max_step_tokens=96)
    fine = guided(models, keys, prompts, method_config("fine_grained", narrow))
    greedy = search(models.models(guided=False), keys, prompts, method_config("greedy", narrow))
    np.testing.assert_array_equal(fine.tokens, greedy.tokens)
    np.testing.assert_array_equal(fine.status, greedy.status)
    assert (np.asarray(greedy.status) == Status.FINISHED).any()


def test_fine_grained_with_an_orm_is_best_of_n(models: ModelPair, queries) -> None:
    keys, prompts = queries
    orm = replace(BASE, labelled=(int(Kind.TOTAL_FINISH),))
    fine = guided(models, keys, prompts, method_config("fine_grained", orm, "orm"))
    best = guided(models, keys, prompts, method_config("best_of_n", orm, "orm"))
    for row in range(8):
        pair = [(output, int(output.best[row])) for output in (fine, best)]
        tokens = [np.asarray(output.tokens[row, rank]) for output, rank in pair]
        np.testing.assert_array_equal(tokens[0], tokens[1])
        scores = [float(output.score[row, rank]) for output, rank in pair]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_rollouts_are_the_walkers_of_a_search(models: ModelPair, queries) -> None:
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
    traced = guided(models, keys, prompts, method_config("best_of_n", wide)).trace
    assert traced is not None
    np.testing.assert_array_equal(rolled.tokens, traced.steps[:, 0])


def test_methods_have_one_face(models: ModelPair) -> None:
    records = list(masked_corpus(6, "heldout", 3))
    base = replace(BASE, num_beams=2, beam_width=2, max_tokens=32, schema="prune")
    methods: tuple[Method, ...] = ("greedy", "token_beam", "majority_vote", "fine_grained")
    runs = run_methods(
        Searcher(models, base),
        records,
        methods,
        seed=0,
        batch_size=2,
        max_shapes=1,
        progress=False,
    )
    assert tuple(runs) == methods
    for method, outcome in runs.items():
        assert [answer.record.id for answer in outcome.answers] == [r.id for r in records]
        assert outcome.spent.compilations == 1
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
