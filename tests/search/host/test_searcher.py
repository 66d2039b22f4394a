"""The searcher: one query, many, whatever the batch, and nothing compiled twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from search.core.config import Execution, SearchConfig
from search.host.batches import length_bucket, make_batches, size_bucket
from search.host.pair import ModelPair
from search.host.searcher import Searcher
from toolprm_jax.model.score import score_completion
from toolprm_jax.records.types import DataError, Record, Tool
from toolprm_jax.toolworld.masked import masked_corpus

CONFIG = SearchConfig(
    num_beams=2,
    beam_width=2,
    max_tokens=32,
    max_step_tokens=24,
    pool_size=128,
    max_decisions=8,
    execution=Execution(pass_sizes=1),
)
ADD = Tool("add", "Add two numbers", {"type": "object", "properties": {"a": {"type": "number"}}})


@pytest.fixture
def compilations() -> Iterator[list[float]]:
    """The seconds of every program that XLA compiles."""
    seen: list[float] = []

    def listen(event: str, duration_secs: float, **kwargs: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.clear_event_listeners()


@pytest.fixture(scope="module")
def searcher(models: ModelPair) -> Searcher:
    return Searcher(models, CONFIG)


@pytest.fixture(scope="module")
def records(models: ModelPair) -> list[Record]:
    found = sorted(
        masked_corpus(5, "heldout", 24), key=lambda r: len(models.policy.codec.prompt(r))
    )
    return found[5:0:-1]  # the longest first


def test_a_query_of_a_known_bucket_compiles_nothing(
    searcher: Searcher, compilations: list[float]
) -> None:
    first = searcher("What is 2 + 3?", tools=[ADD])
    assert compilations
    before = len(compilations)
    second = searcher("What is twelve times eleven, please?", tools=[ADD], seed=7)
    assert len(compilations) == before
    assert first.record.id != second.record.id
    for answer in (first, second):
        assert answer.finished or "unfinished" in answer.flags
        assert answer.cost["policy_tokens"] > 0


def test_a_query_may_be_messages_openai_tools_or_a_record(searcher: Searcher) -> None:
    plain = searcher("What is 2 + 3?", tools=[ADD])
    openai = {"type": "function", "function": ADD.to_json()}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is 2 + 3?"}]}]
    for other in (searcher(messages, tools=[openai]), searcher(plain.record)):
        assert other.record.messages == plain.record.messages
        assert other.to_json() == plain.to_json()
    with pytest.raises(DataError, match=r"tools\[0\]"):
        searcher("What is 2 + 3?", tools=[{"description": "nothing"}])
    with pytest.raises(DataError, match="at least one tool"):
        searcher("What is 2 + 3?", tools=[])


def test_many_answers_come_in_order_and_whatever_the_batch(
    searcher: Searcher, records: list[Record]
) -> None:
    alone = [searcher(record) for record in records]
    for batch_size, skip in ((4, 0), (2, 3)):
        found = searcher.many(records, batch_size=batch_size, skip=skip, progress=False)
        for one, other in zip(alone[skip:], found, strict=True):
            assert other.record is one.record
            assert other.text == one.text
            assert other.score == pytest.approx(one.score, abs=1e-4)


def test_a_batch_is_no_larger_than_what_there_is(models: ModelPair, records: list[Record]) -> None:
    for count, batch_size, size in ((1, 8, 1), (2, 8, 2), (3, 8, 4), (5, 4, 4)):
        batches = list(make_batches(models.policy.codec, records[:count], batch_size, 1))
        assert {len(batch.records) for batch in batches} == {size}
        assert sorted(i for batch in batches for i in batch.indices) == list(range(count))
    assert [size_bucket(n, 24) for n in (1, 2, 3, 5, 17, 100)] == [1, 2, 4, 8, 24, 24]


def test_lengths_have_two_buckets_an_octave() -> None:
    sizes = sorted({length_bucket(length) for length in range(1, 1025)})
    assert sizes == [128, 192, 256, 384, 512, 768, 1024]
    assert all(length <= length_bucket(length) for length in range(1, 5000))


def test_a_traced_answer_draws_its_tree(searcher: Searcher, tmp_path: Path) -> None:
    plain = searcher("What is 2 + 3?", tools=[ADD])
    with pytest.raises(ValueError, match="trace=True"):
        plain.tree(tmp_path / "tree.html")
    traced = searcher("What is 2 + 3?", tools=[ADD], trace=True)
    assert traced.text == plain.text
    traced.tree(tmp_path / "tree.html")
    assert "<svg" in (tmp_path / "tree.html").read_text(encoding="utf-8")


def test_scores_are_those_of_each_completion_alone(
    searcher: Searcher, models: ModelPair, records: list[Record]
) -> None:
    assert models.prm is not None
    texts = ["[]", '[{"name": "f", "arguments": {"x": 1}}]', "[{"]
    found = searcher.score(records[0], texts)
    for text, steps in zip(texts, found, strict=True):
        alone = score_completion(models.prm, records[0], text)
        assert isinstance(steps, list)
        assert [(s.kind, s.end) for s in steps] == [(s.kind, s.end) for s in alone]
        np.testing.assert_allclose([s.p for s in steps], [s.p for s in alone], atol=1e-5)


def test_what_can_not_be_asked_is_refused(models: ModelPair, records: list[Record]) -> None:
    policy = ModelPair(models.policy)
    with pytest.raises(DataError, match="needs a PRM"):
        Searcher(policy)
    with pytest.raises(DataError, match="method: expected one of"):
        Searcher(models, method="beam")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="a searcher with a PRM"):
        Searcher(policy, method="greedy").score(records[0], ["[]"])
    most = models.policy.model.config.max_positions
    words = " ".join(["word"] * most)
    with pytest.raises(DataError, match=rf"the model has {most} positions"):
        Searcher(policy, method="greedy")(words, tools=[ADD])
