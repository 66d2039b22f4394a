"""Step scores of completions that any engine made, outside of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from ..annotation import GRANULARITY, LabelledCompletion, Step
from ..grammar import Kind, run, tables
from ..records import DataError, Record
from ..tokens import (
    Codec,
    Marker,
    TokenTree,
    TreeBatch,
    TreeBuilder,
    in_batches,
    marked_path,
    pack,
)
from .decoder import Decoder, Params
from .files.loading import LoadedModel
from .objectives import step_logits

_ROW_STEP = 256  # a lone completion's row is padded to a multiple of it: few lengths are compiled
_RECORDS = 32  # whose completions share rows

Completion = tuple[str, Sequence[int]]  # text, and token ids as a policy sampled them, or ()


class StepScore(NamedTuple):
    """What a reward model makes of one decision."""

    kind: Kind
    end: int  # byte offset just past the decision's boundary
    p: float  # probability that it is right

    def to_json(self) -> dict[str, Any]:
        """As scores are written."""
        return {"kind": self.kind.name, "end": self.end, "p": self.p}


class _Path(NamedTuple):
    """A prompt with a completion, its decisions, and the markers of these."""

    steps: tuple[Step, ...]
    tokens: list[int]
    markers: list[Marker]

    def __len__(self) -> int:
        return len(self.tokens) + len(set(self.markers))


class _Forest:
    """Grows trees that each fit a row, and knows where the markers of every path are."""

    def __init__(self, row_length: int) -> None:
        self.trees: list[TokenTree] = []
        self.places: list[tuple[int, list[int]]] = []  # tree and indices in it, path by path
        self._row_length = row_length
        self._builder = TreeBuilder()
        self._leaves: list[list[int]] = []

    def add(self, path: _Path) -> None:
        """Adds a path that fits a row."""
        new = self._builder.new_nodes(path.tokens, path.markers)
        if len(self._builder) + new > self._row_length:
            self.close()
        nodes = self._builder.add_path(path.tokens)
        self._leaves.append(
            [self._builder.add_marker(nodes[at], *marker) for at, *marker in path.markers]
        )

    def close(self) -> None:
        """Ends the tree that grows."""
        places = self._builder.places().tolist()
        here = len(self.trees)
        self.places += [(here, [places[leaf] for leaf in leaves]) for leaves in self._leaves]
        self.trees.append(self._builder.build())
        self._builder, self._leaves = TreeBuilder(), []


@partial(jax.jit, static_argnames=("model", "label_ids"))
def _probabilities(
    model: Decoder, params: Params, batch: TreeBatch, label_ids: tuple[int, int]
) -> Array:
    return jax.nn.sigmoid(step_logits(model, params, batch, label_ids))


def _judged(codec: Codec) -> frozenset[Kind]:
    """The kinds of decision that a reward model scores.

    Raises:
      DataError: the model is a policy.
    """
    granularity = codec.contract.granularity
    if granularity is None:
        raise DataError("the model has no granularity in its contract: it is a policy")
    return GRANULARITY[granularity]


def _path(codec: Codec, kinds: frozenset[Kind], record: Record, completion: Completion) -> _Path:
    """What the reward model reads of a completion.

    Raises:
      DataError: the token ids spell another text.
    """
    text, ids = completion
    found = run(tables(codec.template.dress), text.encode("utf-8", "surrogatepass"), eot=True)
    # The label is not known; any will do.
    steps = tuple(Step(kind, end, True, True) for kind, end in found.events if kind in kinds)
    rollout = LabelledCompletion(text, steps, tuple(ids) or None, found.died_at is not None)
    tokens, markers = marked_path(codec, rollout)
    prompt = codec.prompt(record)
    markers = [(len(prompt) + at, token, kind, label) for at, token, kind, label in markers]
    return _Path(steps, [*prompt, *tokens], markers)


def _score(
    prm: LoadedModel,
    paths: Sequence[_Path],
    row_length: int,
    rows: int,
    place: Callable[[TreeBatch], TreeBatch],
) -> list[list[StepScore]]:
    """Scores paths that each fit a row, `rows` rows at once."""
    forest = _Forest(row_length)
    for path in paths:
        forest.add(path)
    forest.close()
    packed = [pack([tree], row_length) for tree in forest.trees]
    whole = TreeBatch(*(np.concatenate(column) for column in zip(*packed, strict=True)))
    label_ids = prm.codec.contract.label_ids
    scores: list[np.ndarray] = []  # row by row, which is tree by tree
    for batch in in_batches(whole, rows):
        scores += [*np.asarray(_probabilities(prm.model, prm.params, place(batch), label_ids))]
    return [
        [
            StepScore(step.kind, step.end, float(scores[tree][index]))
            for step, index in zip(path.steps, indices, strict=True)
        ]
        for path, (tree, indices) in zip(paths, forest.places, strict=True)
    ]


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
    path = _path(prm.codec, _judged(prm.codec), record, (completion, token_ids))
    return _score(prm, [path], len(path) + -len(path) % _ROW_STEP, 1, lambda batch: batch)[0]


def score_rollouts(
    prm: LoadedModel,
    items: Iterable[tuple[Record, Sequence[Completion]]],
    *,
    row_length: int,
    rows: int,
    place: Callable[[TreeBatch], TreeBatch] = lambda batch: batch,
) -> Iterator[list[list[StepScore] | DataError]]:
    """Scores many completions as trees: what they have in common is read once.

    Args:
      prm: a reward model.
      items: records, and completions of each.
      row_length: S, tokens of a row.
      rows: B, rows that run at once.
      place: puts a batch `[B, S]` where the model is.

    Yields:
      For each item and each of its completions the scores in firing order, or why there are none:
      it is longer than a row, or its token ids spell another text.

    Raises:
      DataError: the model is a policy.
    """
    kinds = _judged(prm.codec)

    def path_of(record: Record, completion: Completion) -> _Path | DataError:
        try:
            path = _path(prm.codec, kinds, record, completion)
        except DataError as error:
            return error
        if len(path) > row_length:
            return DataError(f"{len(path)} tokens, expected at most the {row_length} of a row")
        return path

    waiting = iter(items)
    while group := list(islice(waiting, _RECORDS)):
        found = [[path_of(record, one) for one in completions] for record, completions in group]
        paths = [path for mine in found for path in mine if isinstance(path, _Path)]
        scores = iter(_score(prm, paths, row_length, rows, place) if paths else ())
        for mine in found:
            yield [one if isinstance(one, DataError) else next(scores) for one in mine]
