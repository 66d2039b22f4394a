"""Majority vote: what counts as the same answer, who wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from toy_search import BASE, PIECES, toy_params, toy_search

from search.core.interfaces import Status
from search.core.output import SearchOutput
from search.host.vote import canonical_calls, majority_vote
from search.methods import method_config
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import parse_calls
from toolprm_jax.records.types import Call


def call(name: str, **arguments: Any) -> Call:
    return Call(name, arguments)


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ([call("f", a=1, b=2)], [call("f", b=2, a=1)], True),
        ([call("f", a=3)], [call("f", a=3.0)], True),
        ([call("f", a=1)], [call("f", a=True)], False),
        ([call("f", a=[1])], [call("f", a=[True])], False),
        ([call("f", a=0)], [call("f", a="0")], False),
        ([call("f", a={"x": 1, "y": [2]})], [call("f", a={"y": [2.0], "x": 1})], True),
        ([call("f", a=[1, 2])], [call("f", a=[2, 1])], False),
        ([call("f"), call("g")], [call("g"), call("f")], True),
        ([call("f"), call("f")], [call("f")], False),
        ([], [call("f")], False),
        ([], [], True),
    ],
)
def test_what_is_the_same_answer(first: list[Call], second: list[Call], equal: bool) -> None:
    assert (canonical_calls(first) == canonical_calls(second)) == equal


def output(status: list[int], copies: list[int], log_prob: list[float]) -> SearchOutput:
    """One query; the tokens of beam n are [n]."""
    size = len(status)
    fields: dict[str, Any] = dict.fromkeys(SearchOutput._fields)
    fields |= {
        "tokens": np.arange(size)[None, :, None],
        "lengths": np.ones((1, size), int),
        "log_prob": np.asarray([log_prob]),
        "score": np.asarray([log_prob]),
        "status": np.asarray([status]),
        "copies": np.asarray([copies]),
        "best": np.zeros(1, int),
        "finished": np.asarray([True]),
    }
    return SearchOutput(**fields)


ANSWERS = [[call("f", a=1)], [call("f", a=2)], [call("f", a=2.0)], [call("g")], [call("g")]]


def voted(*beams: tuple[int, int, float]) -> tuple[int, list[float]]:
    result = majority_vote(output(*map(list, zip(*beams, strict=True))), lambda t: ANSWERS[t[0]])
    return int(result.best[0]), result.score[0].tolist()


def test_equal_answers_add_up() -> None:
    done, dead = Status.FINISHED, Status.DEAD
    best, score = voted((done, 1, -1.0), (done, 1, -3.0), (done, 1, -2.0), (dead, 1, -0.5))
    assert best == 2  # the likelier spelling of the answer with two votes
    assert score == [0.25, 0.5, 0.5, 0.0]


def test_copies_are_votes() -> None:
    assert voted((Status.FINISHED, 1, -1.0), (Status.FINISHED, 3, -9.0))[0] == 1


def test_the_likelier_wins_a_tie() -> None:
    assert voted((Status.FINISHED, 2, -5.0), (Status.FINISHED, 2, -4.0))[0] == 1


def test_without_a_whole_completion_the_answer_stays() -> None:
    assert voted((Status.DEAD, 1, -1.0), (Status.DEAD, 1, -2.0)) == (0, [0.0, 0.0])


def test_votes_are_those_of_independent_samples() -> None:
    """Merging equal bytes loses no vote: the counts are those of all samples."""
    config = replace(method_config("majority_vote", BASE), trace=True)
    found = toy_search(toy_params(3), jax.random.split(jax.random.key(2), 6), config, guided=False)
    trace, grammar = found.trace, tables("list")
    assert trace is not None
    found = jax.device_get(found)
    samples = config.num_beams

    def calls_of(tokens: Sequence[int]) -> list[Call]:
        text = b"".join(PIECES[token] or b"" for token in tokens if token >= 0)
        parsed = parse_calls(grammar, text)
        return [Call(partial.name, dict(partial.pairs)) for partial in parsed]

    result = majority_vote(found, calls_of)
    decided = 0
    for row in range(6):
        whole = np.flatnonzero(trace.status[row, 0, samples:] == Status.FINISHED)
        steps = np.asarray(trace.steps[row, 0])[whole]
        counts = Counter(canonical_calls(calls_of(tokens.tolist())) for tokens in steps)
        best = int(result.best[row])
        winner = canonical_calls(calls_of(result.tokens[row, best].tolist()))
        if counts:
            assert counts[winner] == max(counts.values())
            assert result.score[row, best] == np.float32(counts[winner] / samples)
            decided += max(counts.values()) > 1
    assert decided >= 3
