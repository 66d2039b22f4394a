"""Scores of many completions, as trees in rows, against each alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolprm_jax.model.files.loading import LoadedModel
from toolprm_jax.model.score import Completion, score_completion, score_rollouts
from toolprm_jax.records.types import DataError, Record, Tool
from toolprm_jax.tokens.codec import Codec

WEATHER = Tool("weather", "Finds the weather", {"type": "object", "properties": {}})
TEXTS = (
    '[{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}]',
    '[{"name": "weather", "arguments": {"city": "Oslo"}}]',
    '[{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "time", "arguments": {}}]',
    "[]",
    "",
    '[{"name": "weather", oops',
)


def record(query: str) -> Record:
    return Record("1", ({"role": "user", "content": query},), (WEATHER,), ())


@pytest.mark.parametrize(("row_length", "rows"), [(160, 1), (160, 3), (512, 2)])
@settings(max_examples=8)
@given(
    items=st.lists(
        st.tuples(st.sampled_from(("Rain?", "Snow in Oslo?")), st.lists(st.sampled_from(TEXTS))),
        min_size=1,
        max_size=5,
    )
)
def test_many_score_as_each_alone(
    prm: LoadedModel, row_length: int, rows: int, items: list[tuple[str, list[str]]]
) -> None:
    given = [(record(query), [(text, ()) for text in texts]) for query, texts in items]
    found = list(score_rollouts(prm, given, row_length=row_length, rows=rows))
    assert len(found) == len(items)
    for (query, texts), scored in zip(items, found, strict=True):
        assert len(scored) == len(texts)
        for text, steps in zip(texts, scored, strict=True):
            assert not isinstance(steps, DataError)
            alone = score_completion(prm, record(query), text)
            assert [step[:2] for step in steps] == [step[:2] for step in alone]
            np.testing.assert_allclose([s.p for s in steps], [s.p for s in alone], atol=1e-5)


def test_what_cannot_be_scored_says_why(prm: LoadedModel) -> None:
    completions: list[Completion] = [(TEXTS[0], ()), ("[]", ()), ("[]", prm.codec.encode("{}"))]
    prompt = len(prm.codec.prompt(record("Rain?")))
    ((long, fine, other),) = score_rollouts(
        prm, [(record("Rain?"), completions)], row_length=prompt + 12, rows=1
    )
    assert isinstance(long, DataError)
    assert f"expected at most the {prompt + 12} of a row" in str(long)
    assert fine == score_completion(prm, record("Rain?"), "[]")
    assert isinstance(other, DataError)
    assert "do not spell" in str(other)
    contract = replace(prm.codec.contract, granularity=None, target=None)
    policy = prm._replace(codec=Codec(prm.codec.tokenizer, contract))
    with pytest.raises(DataError, match="it is a policy"):
        next(score_rollouts(policy, [], row_length=64, rows=1))
