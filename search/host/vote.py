"""Majority vote over whole completions, by what they call rather than how they spell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from toolprm_jax.records import Call
from toolprm_jax.tokens import Codec

from ..core import Method, SearchOutput, Status
from .answers import calls_of as calls_in


def canonical_calls(calls: Sequence[Call]) -> Hashable:
    """A key that is equal for equal lists of calls.

    The order of calls and of an object's keys doesn't count, `3 == 3.0`, `true != 1`.

    Args:
      calls: a list of calls.
    """
    return frozenset(Counter((call.name, _canonical(call.arguments)) for call in calls).items())


def _canonical(value: Any) -> Hashable:
    if isinstance(value, dict):
        return "object", frozenset((key, _canonical(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_canonical, value))
    return type(value) is bool, value


def majority_vote(
    output: SearchOutput, calls_of: Callable[[Sequence[int]], Sequence[Call]]
) -> SearchOutput:
    """The output with each query's most frequent list of calls as its answer.

    A finished completion has as many votes as samples that were byte for byte the same. Of lists
    with equally many votes the one with the likeliest completion wins. Where none is finished the
    answer stays what it is.

    Args:
      output: of a search that sampled whole completions, on the host.
      calls_of: the calls that a completion's tokens make.

    Returns:
      The output with `best` on the likeliest completion of the winning list, and with `score` the
      share of all samples that agree with a beam: float32[B, N], 0 where it is not finished.

    Source: arXiv:2510.14703, majority voting; the canonical form is our choice.
    """
    best = np.array(output.best)
    score = np.zeros(output.score.shape, np.float32)
    for row in range(len(best)):
        keys: dict[int, Hashable] = {}
        votes: Counter[Hashable] = Counter()
        for rank in np.flatnonzero(output.status[row] == Status.FINISHED):
            tokens = output.tokens[row, rank, : int(output.lengths[row, rank])]
            keys[int(rank)] = key = canonical_calls(calls_of(tokens.tolist()))
            votes[key] += int(output.copies[row, rank])
        for rank, key in keys.items():
            score[row, rank] = votes[key] / output.status.shape[1]
        if keys:
            likelihood = output.log_prob[row]
            best[row] = max(keys, key=lambda rank: (votes[keys[rank]], likelihood[rank]))
    return output._replace(best=best, score=score)


def _by_calls(output: SearchOutput, codec: Codec) -> SearchOutput:
    return majority_vote(output, lambda tokens: calls_in(codec, codec.decode(tokens)))


# What chooses among the completions of a method on the host, after its search.
VOTES: dict[Method, Callable[[SearchOutput, Codec], SearchOutput]] = {"majority_vote": _by_calls}
