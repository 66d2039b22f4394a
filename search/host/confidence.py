"""How sure an answer is of each call and each argument."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from toolprm_jax.grammar import Kind, PartialCall

By = Literal["prm", "policy"]


def _decisions(
    events: NDArray[Any], log_p: NDArray[Any], log_probs: NDArray[Any], by: By
) -> Iterator[tuple[int, float]]:
    """Kind and log-probability of each decision, in firing order."""
    spelled = 0.0
    for fired, judged, log_prob in zip(events, log_p, log_probs, strict=True):
        spelled += float(log_prob)
        for kind, plus in zip(fired[fired >= 0], judged[fired >= 0], strict=True):
            if by == "prm":
                yield int(kind), float(plus)
            else:  # what several decisions share a token with counts once
                yield int(kind), spelled
                spelled = 0.0


def confidence(
    calls: Sequence[PartialCall],
    events: NDArray[Any],
    log_p: NDArray[Any],
    log_probs: NDArray[Any],
    by: By,
) -> dict[str, Any]:
    """How sure an answer is of its calls.

    Args:
      calls: those that the completion spells.
      events: int32[T, E], boundaries in each of its tokens, -1 for none.
      log_p: float32[T, E], log-probability of "+" at each.
      log_probs: float32[T], of the tokens under the policy, untempered.
      by: whose probabilities. "prm": of "+" at each decision, a call's is the smallest of its own;
        "policy": of the tokens of each decision, a call's is their product.

    Returns:
      `{"by", "calls": [{"call", "name", "arguments": {parameter: p}}]}`, probabilities.

    Source: our choice.
    """
    found: list[dict[str, Any]] = []
    logs: list[float] = []
    pairs = iter(())
    for kind, log in _decisions(events, log_p, log_probs, by):
        if kind == Kind.FUNC_NAME:
            pairs = iter(calls[len(found)].pairs)
            found.append({"call": 1.0, "name": math.exp(log), "arguments": {}})
            logs = []
        if kind == Kind.ARG_VALUE:
            found[-1]["arguments"][next(pairs)[0]] = math.exp(log)
        if kind != Kind.TOTAL_FINISH:
            logs.append(log)
            found[-1]["call"] = math.exp(min(logs) if by == "prm" else sum(logs))
    return {"by": by, "calls": found}
