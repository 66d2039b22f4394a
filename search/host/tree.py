"""One query's trace as the tree of decisions that the picture draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolprm_jax.annotation import label_completion
from toolprm_jax.grammar import Kind
from toolprm_jax.records import spell_calls
from toolprm_jax.tokens import Codec

from ..core import SearchConfig, Status
from .answers import Answer


def search_tree(
    codec: Codec, answer: Answer, config: SearchConfig, prm: str | None, best: int
) -> dict[str, Any]:
    """The tree of decisions of a traced search.

    Args:
      codec: of the policy.
      answer: with a trace.
      config: what the search was run with.
      prm: name of the reward model, for the heading; None where none was asked.
      best: the beam that is the answer.

    Returns:
      What `report.write_search_picture` takes: heading and nodes, each with its text, marker
      probabilities, score (None where it has none), number of walkers, and whether it was kept,
      died, finished, is gold.

    Raises:
      ValueError: the answer has no trace.
    """
    trace, record = answer.trace, answer.record
    if trace is None:
        raise ValueError("the search was not traced: set SearchConfig.trace")
    width = config.num_beams
    nodes: list[dict[str, Any]] = []
    texts: list[bytes] = []  # whole completion at each node
    beams: list[int] = [-1] * width  # node of each beam, -1 at the root or where empty

    def add(decision: int, walker: int) -> int:
        parent = beams[int(trace.parents[decision, walker])]
        steps = trace.steps[decision, walker]
        own = codec.decode([int(token) for token in steps if token >= 0])
        status = int(trace.status[decision, width + walker])
        fired = trace.events[decision, walker] >= 0
        text = (texts[parent] if parent >= 0 else b"") + own
        gold = None
        if record.answers is not None and status != Status.DEAD:
            labelled = label_completion(
                record, text, dress=codec.template.dress, complete=status == Status.FINISHED
            )
            gold = all(step.label for step in labelled.steps)
        score = float(trace.score[decision, width + walker])
        p = np.exp(trace.log_p[decision, walker][fired]).tolist() if prm else []
        nodes.append(
            {
                "index": len(nodes),
                "parent": parent,
                "decision": decision,
                "text": own.decode("utf-8", errors="replace"),
                "kinds": [Kind(kind).name for kind in trace.events[decision, walker][fired]],
                "p": p,
                "score": score if np.isfinite(score) else None,
                "count": 0,
                "kept": bool(trace.rank[decision, width + walker] >= 0),
                "dead": status == Status.DEAD,
                "finished": status == Status.FINISHED,
                "gold": gold if status != Status.DEAD else False,
            }
        )
        texts.append(text)
        return len(nodes) - 1

    for decision in range(answer.cost["decisions"]):
        made: dict[Any, int] = {index: beams[index] for index in range(width)}
        for walker in range(trace.parents.shape[1]):
            status = int(trace.status[decision, width + walker])
            if status == Status.EMPTY:
                continue
            stands_for: Any = int(trace.same_as[decision, width + walker])
            if (
                status == Status.DEAD
            ):  # the dead aren't merged in the search; alike ones are one node
                steps = trace.steps[decision, walker]
                stands_for = (int(trace.parents[decision, walker]), steps.tobytes())
            if stands_for not in made:
                leader = walker if status == Status.DEAD else stands_for - width
                made[stands_for] = add(decision, leader)
            node = made[stands_for]
            if node >= 0:
                nodes[node]["count"] += 1
                nodes[node]["kept"] |= bool(trace.rank[decision, width + walker] >= 0)
        after = [-1] * width
        for candidate, rank in enumerate(trace.rank[decision]):
            if rank < 0:
                continue
            key: Any = candidate
            if candidate >= width and int(trace.status[decision, candidate]) == Status.DEAD:
                steps = trace.steps[decision, candidate - width]
                key = (int(trace.parents[decision, candidate - width]), steps.tobytes())
            after[int(rank)] = made[key]
        beams = after
    gold = "unknown"
    if record.answers is not None:
        gold = spell_calls([call.first() for call in record.answers])
    return {
        "id": record.id,
        "query": record.query,
        "tools": [tool.name for tool in record.tools],
        "gold": gold,
        "method": answer.method,
        "num_beams": width,
        "beam_width": config.beam_width,
        "prm": prm or "none",
        "answer": beams[best],
        "nodes": nodes,
    }
