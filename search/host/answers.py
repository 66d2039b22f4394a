"""What a search found, as answers: calls, confidence, cost, flags."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from toolprm_jax.grammar import PartialCall, parse_calls, tables
from toolprm_jax.records import Call, Record
from toolprm_jax.tokens import Codec, Granularity

from ..core import Method, SearchOutput, Status, Trace
from ..decoder import Prompts
from ..report import write_search_picture
from .confidence import By, confidence

# What ends a completion that ran against a limit, if anything may.
Closing = Callable[[bytes], bytes | None] | None


class Beam(NamedTuple):
    """A whole completion that a search kept to its end."""

    calls: tuple[Call, ...]
    text: str
    score: float


@dataclass
class Answer:
    """What one method made of one query."""

    record: Record
    calls: tuple[Call, ...]
    text: str
    score: float
    finished: bool
    confidence: dict[str, Any] | None  # see `confidence`; of an answer that ended by itself
    method: Method
    cost: dict[str, int]
    flags: tuple[str, ...]
    beams: tuple[Beam, ...] = ()  # best first; after an early stop those behind may be missing
    trace: Trace | None = None  # of this query alone
    drawing: dict[str, Any] | None = None  # the tree of a traced search, see `search_tree`

    def tree(self, path: str | Path) -> None:
        """Draws the search as an HTML page that needs nothing else.

        Raises:
          ValueError: the search was not traced.
        """
        if self.drawing is None:
            raise ValueError("the search was not traced: ask with trace=True")
        write_search_picture(path, self.drawing)

    def to_json(self) -> dict[str, Any]:
        """A line of an answers file."""
        return {
            "id": self.record.id,
            "calls": [call.to_json() for call in self.calls],
            "text": self.text,
            "score": self.score if np.isfinite(self.score) else None,
            "finished": self.finished,
            "confidence": self.confidence,
            "method": self.method,
            "flags": list(self.flags),
            "cost": self.cost,
        }


def calls_of(codec: Codec, text: bytes) -> tuple[Call, ...]:
    """The whole calls that a completion makes; of a repeated parameter the last value counts."""
    return tuple(_called(call) for call in _parsed(codec, text))


def _called(call: PartialCall) -> Call:
    return Call(call.name, dict(call.pairs))


def _parsed(codec: Codec, text: bytes) -> list[PartialCall]:
    found = parse_calls(tables(codec.template.dress), text, eot=True)
    return [call for call in found if call.closed]


def _fault(calls: list[PartialCall]) -> str | None:
    """Why calls can't be an answer: a parameter comes twice, or a number is beyond a float."""
    for call in calls:
        names = [name for name, _ in call.pairs]
        if len(set(names)) < len(names):
            return "repeated_parameter"
        try:
            json.dumps(call.pairs, allow_nan=False)
        except ValueError:  # 1e999 is JSON, and nothing that Python or JSON can hand on
            return "number_overflow"
    return None


def _beams(codec: Codec, output: SearchOutput, row: int) -> tuple[Beam, ...]:
    """The beams of a row that are whole and without fault."""
    found = []
    for rank in np.flatnonzero(output.status[row] == Status.FINISHED):
        tokens = output.tokens[row, rank, : int(output.lengths[row, rank])]
        text = codec.decode(tokens.tolist())
        calls = _parsed(codec, text)
        if _fault(calls) is None:
            told, score = text.decode("utf-8", errors="replace"), float(output.score[row, rank])
            found.append(Beam(tuple(map(_called, calls)), told, score))
    return tuple(found)


def answer_of(
    codec: Codec,
    record: Record,
    method: Method,
    output: SearchOutput,
    row: int,
    prompts: Prompts,
    judge: Granularity | None,
    close: Closing = None,
) -> Answer:
    """The answer in one row of a search's output.

    Args:
      codec: of the policy.
      record: the query.
      method: what was searched by.
      output: of B queries.
      row: which of them.
      prompts: of the B queries.
      judge: how fine the reward model judged; None without one.
      close: what ends a completion that ran against a limit, if anything may.
    """
    best = int(output.best[row])
    length = int(output.lengths[row, best])
    text = codec.decode(output.tokens[row, best, :length].tolist())
    prompt = int(prompts.lengths[row])
    cost = {name: int(values[row]) for name, values in output.costs._asdict().items()}
    cost |= {
        "policy_prompt_tokens": prompt,
        "prm_prompt_tokens": prompt if judge else 0,
        "decisions": int(output.decisions[row]),
    }
    flags = [name for name, values in output.flags._asdict().items() if values[row]]
    finished = bool(output.finished[row])
    ending = None if finished or close is None else close(text)
    if ending is not None:
        finished, text = True, text + ending
        flags.append("closed")
    calls = _parsed(codec, text) if finished else []
    if fault := _fault(calls):
        finished, calls = False, []
        flags.append(fault)
    events, log_p, log_probs = (
        np.asarray(array[row, best, :length])
        for array in (output.events, output.log_p, output.log_probs)
    )
    judged = finished and not ending
    by: By = "prm" if judge == "toolprm" else "policy"  # else it judged no argument alone
    return Answer(
        record=record,
        calls=tuple(map(_called, calls)),
        confidence=confidence(calls, events, log_p, log_probs, by) if judged else None,
        text=text.decode("utf-8", errors="replace"),
        score=float(output.score[row, best]),
        finished=finished,
        method=method,
        cost=cost,
        flags=tuple(flags if finished else [*flags, "unfinished"]),
        beams=_beams(codec, output, row),
        trace=jax.tree.map(lambda array: np.array(array[row]), output.trace),
    )


def flag_counts(answers: Sequence[Answer]) -> Mapping[str, int]:
    """How many answers carry each flag."""
    names = sorted({flag for answer in answers for flag in answer.flags})
    return {name: sum(name in answer.flags for answer in answers) for name in names}
