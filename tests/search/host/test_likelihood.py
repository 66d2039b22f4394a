"""How likely completions are, against a plain forward pass and every token tried in turn."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search.core.allowed import Readers, allows
from search.core.config import SearchConfig
from search.grammar.strict_tables import make_strict
from search.grammar.tracker import advance, initial
from search.host.pair import ModelPair
from search.host.searcher import Searcher
from toolprm_jax.model.decoder import Decoder
from toolprm_jax.toolworld.masked import masked_corpus


@pytest.mark.parametrize("schema", ["strict", "ignore"])
def test_both_are_what_a_plain_pass_and_every_token_give(models: ModelPair, schema: Any) -> None:
    record = next(r for r in masked_corpus(5, "heldout", 20) if r.answers)
    searcher = Searcher(models, SearchConfig(schema=schema, grammar="strict"), method="greedy")
    policy, grammar = models.policy, models.grammar
    ids = policy.codec.gold(record)[:-1]  # without the end of text, which no search draws
    found = searcher.likelihood(record, ids)
    assert found.tokens == tuple(ids)

    prompt = policy.codec.prompt(record)
    row = jnp.asarray([[*prompt, *ids]])
    size = row.shape[1]
    hidden: Any = policy.model.apply(
        policy.params, row, jnp.arange(size)[None], jnp.full((1, size), size)
    )
    logits: Any = policy.model.apply(policy.params, hidden, method=Decoder.logits)
    logits = np.asarray(logits[0, len(prompt) - 1 : -1], np.float64)
    logits[:, ~np.asarray(grammar.allowed)] = -np.inf

    rules = make_strict([record]) if schema == "strict" else None
    state = initial(grammar, (1, 1), rules)
    try_all, go_on = jax.jit(allows), jax.jit(advance)
    vocabulary = jnp.arange(logits.shape[1])
    for place, token in enumerate(ids):
        each = jnp.zeros_like(vocabulary)
        spread = Readers(_spread(state, each), each)
        mask = np.asarray(try_all(grammar, rules, spread, vocabulary)) & np.isfinite(logits[place])
        own = logits[place] - np.logaddexp.reduce(logits[place])
        among = own - np.logaddexp.reduce(own[mask])
        np.testing.assert_allclose(found.own[place], own[token], atol=1e-4)
        expected = among[token] if mask[token] else -np.inf
        np.testing.assert_allclose(found.allowed[place], expected, atol=1e-4)
        state = go_on(grammar, state, jnp.asarray([[token]]), rules)[0]
    assert np.all(found.allowed >= found.own - 1e-5)


def _spread(value: Any, each: Any) -> Any:
    """The states of one walker for every token of the vocabulary."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x[0, 0], (*each.shape, *x.shape[2:])), value)


def test_what_strict_decoding_never_draws_has_no_probability(models: ModelPair) -> None:
    record = next(masked_corpus(5, "heldout", 1))
    searcher = Searcher(models, SearchConfig(schema="strict"), method="greedy")
    found = searcher.likelihood(record, '[{"name": "nobody')
    assert np.all(np.isfinite(found.own))
    assert np.isneginf(found.allowed).any()
    assert searcher.likelihood(record, "").own.shape == (0,)
