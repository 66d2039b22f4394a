"""F1 of names and arguments, by hand and against a plain reading of precision and recall."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from search.report.intervals import f1_scores
from toolprm_jax.annotation.corruption import gold_calls
from toolprm_jax.annotation.f1 import F1Counts, f1_counts
from toolprm_jax.records.readers import read_records, record_from_json
from toolprm_jax.records.types import Call, DataError, Record


def record_of(*golds: dict[str, Any]) -> Record:
    tools = [{"name": "f", "description": "", "parameters": {}}]
    return record_from_json({"id": "r", "query": "q", "tools": tools, "answers": list(golds)})


TWO = record_of(
    {"name": "f", "arguments": {"a": 1, "b": "x", "c": ""}},
    {"name": "g", "arguments": {"a": [1, 2]}},
)


@pytest.mark.parametrize(
    ("calls", "counts"),
    [
        ([("f", {"a": 1, "b": "x"}), ("g", {"a": [1, 2]})], (2, 2, 2, 3, 3, 3)),
        ([("f", {"a": "1", "b": "y"})], (1, 1, 2, 1, 2, 3)),  # compared as they print
        ([("f", {"a": 1}), ("f", {"a": 1})], (2, 2, 2, 2, 2, 3)),  # a name may come again
        ([("h", {"a": 1, "b": ""})], (0, 1, 2, 0, 1, 3)),
        ([("f", {"c": ""})], (1, 1, 2, 0, 0, 3)),
        ([], (0, 0, 2, 0, 0, 3)),
        (None, (0, 1, 2, 0, 0, 3)),
    ],
)
def test_counts(calls: Any, counts: tuple[int, ...]) -> None:
    given = None if calls is None else [Call(*call) for call in calls]
    assert f1_counts(TWO, given) == F1Counts(*counts)


def test_of_golds_with_one_name_the_first_that_shares_an_argument_counts() -> None:
    record = record_of(
        {"name": "f", "arguments": {"a": 1, "b": 2}}, {"name": "f", "arguments": {"a": 3, "b": 4}}
    )
    assert f1_counts(record, [Call("f", {"a": 3, "b": 4})]).right_arguments == 2
    assert f1_counts(record, [Call("f", {"a": 1, "b": 4})]).right_arguments == 1


def test_scores_are_harmonic_means_of_precision_and_recall() -> None:
    (names, arguments) = f1_scores(np.asarray([3, 4, 6, 0, 2, 5]))
    precision, recall = 3 / 4, 3 / 6
    assert names == pytest.approx(2 * precision * recall / (precision + recall))
    assert arguments == 0.0
    assert f1_scores(np.zeros((4, 6))).tolist() == [[0.0, 0.0]] * 4


@pytest.mark.parametrize("name", ["toolalpaca/toolalpaca_114.json", "seal-tools/seal_tools.jsonl"])
def test_golds_score_one(shared_data: Any, name: str) -> None:
    records = list(read_records(shared_data / name))
    counts = [f1_counts(record, gold_calls(record)) for record in records]
    names, arguments = f1_scores(np.sum(counts, axis=0))
    assert names == 1.0
    assert arguments > 0.95  # where golds of one name share an argument, the first takes it


def test_gold_must_be_known() -> None:
    with pytest.raises(DataError, match="expected a list of gold calls"):
        f1_counts(TWO.with_(answers=None), [])
