"""Step scores of one completion, outside of a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from ..annotation.grammar import Kind, run, tables
from ..annotation.labels import GRANULARITY, Step
from ..annotation.records import DataError, Record
from ..tokens.examples import Rollout, marked_path
from ..tokens.tree import TreeBatch, TreeBuilder, pack
from .decoder import Decoder, Params
from .load import LoadedModel
from .prm import step_logits

_ROW_STEP = 256  # rows are padded to a multiple of it, so that few lengths are compiled


class StepScore(NamedTuple):
    """What a reward model makes of one decision."""

    kind: Kind
    end: int  # byte offset just past the decision's boundary
    p: float  # probability that it is right


@partial(jax.jit, static_argnames=("model", "label_ids"))
def _probabilities(
    model: Decoder, params: Params, batch: TreeBatch, label_ids: tuple[int, int]
) -> Array:
    return jax.nn.sigmoid(step_logits(model, params, batch, label_ids))


def score_completion(
    prm: LoadedModel, record: Record, completion: str, token_ids: Sequence[int] = ()
) -> list[StepScore]:
    """Scores every decision of a completion that the reward model was trained on.

    Args:
      prm: a reward model.
      record: the query and its tools.
      completion: what a policy answered.
      token_ids: as the policy sampled them; the text is tokenised where they are not given.

    Returns:
      The scores in firing order.

    Raises:
      DataError: the model is a policy, or `token_ids` spell another text.
    """
    contract = prm.codec.contract
    if contract.granularity is None:
        raise DataError("the model has no granularity in its contract: it is a policy")
    codec = prm.codec
    found = run(tables(codec.template.dress), completion.encode("utf-8", "surrogatepass"), eot=True)
    labelled = GRANULARITY[contract.granularity]
    # The label is not known; any will do.
    steps = tuple(Step(kind, end, True, True) for kind, end in found.events if kind in labelled)
    died = found.died_at is not None
    ids, markers = marked_path(codec, Rollout(completion, steps, tuple(token_ids) or None, died))
    prompt = codec.prompt(record)
    builder = TreeBuilder()
    nodes = builder.add_path([*prompt, *ids])
    for index, token, kind, label in markers:
        builder.add_marker(nodes[len(prompt) + index], token, kind, label)
    batch = pack([builder.build()], len(builder) + -len(builder) % _ROW_STEP)
    scores = np.asarray(_probabilities(prm.model, prm.params, batch, contract.label_ids))[0]
    by_place = {
        (int(batch.positions[0, node]), int(batch.kinds[0, node])): float(scores[node])
        for node in np.flatnonzero(batch.kinds[0] >= 0)
    }
    # A marker lies one below the token that closes its decision.
    return [
        StepScore(step.kind, step.end, by_place[len(prompt) + index + 1, kind])
        for step, (index, _, kind, _) in zip(steps, markers, strict=True)
    ]
