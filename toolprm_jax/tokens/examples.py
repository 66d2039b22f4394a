"""Records to the token trees that training reads."""

from __future__ import annotations

from collections.abc import Sequence

from ..annotation import GRANULARITY, LabelledCompletion
from ..grammar import Kind
from ..records import DataError, Record
from .codec import Codec
from .tree import TokenTree, TreeBuilder
from .vocabulary import ends_to_tokens

Marker = tuple[int, int, int, int]  # index in the sequence, token, kind, label


Judged = tuple[Record, Sequence[LabelledCompletion]]  # a record and its labelled completions


def lm_trees(
    codec: Codec, records: Sequence[Record], row_length: int
) -> tuple[list[TokenTree], list[int]]:
    """Prompts and gold completions as trees that fit a row; only the completions carry loss.

    Records that share their tools share that part of the prompt.

    Args:
      codec: tokenizer, template and contract.
      records: with known answers.
      row_length: S, in tokens; a new tree starts where the next record would not fit.

    Returns:
      The trees, and of the records that do not fit a row even alone how long they are, in tokens.

    Source: our choice.
    """
    trees: list[TokenTree] = []
    builder = TreeBuilder()
    too_long: list[int] = []
    for record in records:
        prompt = codec.prompt(record)
        path = [*prompt, *codec.gold(record)]
        if len(path) > row_length:
            too_long.append(len(path))
            continue
        if len(builder) + builder.new_nodes(path, ()) > row_length:
            trees.append(builder.build())
            builder = TreeBuilder()
        builder.add_path(path, unweighted=len(prompt))
    if len(builder):
        trees.append(builder.build())
    return trees, too_long


def marked_path(codec: Codec, rollout: LabelledCompletion) -> tuple[list[int], list[Marker]]:
    """A rollout's token ids, up to its last marker, and its markers by token index.

    The index is -1 for a marker on the prompt's last token (an empty completion). Where engines
    wrote U+FFFD for broken UTF-8, `token_ids` do not spell the text that was labelled, so the text
    is tokenised instead.

    Raises:
      DataError: `token_ids` spell another text or are none, or a step ends past the completion.
    """
    contract = codec.contract
    assert contract.granularity is not None
    assert contract.target is not None
    data = rollout.completion.encode("utf-8", "surrogatepass")
    ids = list(rollout.token_ids or ())
    unknown = [i for i in ids if not 0 <= i < len(codec.pieces)]
    if unknown:
        raise DataError(f"token_ids: {unknown[0]} is no token of the tokenizer")
    if not ids or codec.decode(ids) != data:
        if ids and "\ufffd" not in rollout.completion:
            raise DataError(f"token_ids: they do not spell the completion {rollout.completion!r}")
        ids = codec.encode_bytes(rollout.completion)
    if any(step.end > len(data) for step in rollout.steps):
        raise DataError(f"steps: one ends past the {len(data)} bytes of {rollout.completion!r}")
    lengths = [len(codec.pieces[i] or b"") if i < len(codec.pieces) else 0 for i in ids]
    steps = [s for s in rollout.steps if s.kind in GRANULARITY[contract.granularity]]
    indices = ends_to_tokens(lengths, [step.end for step in steps])
    if codec.template.dress != "list" and not rollout.died and steps:
        # The list closes with the end of the text, a token without bytes.
        ended = [at for at, token in enumerate(ids) if token in contract.ends]
        if not ended:
            ids.append(contract.end_of_text)
        if steps[-1].kind is Kind.TOTAL_FINISH:
            indices[-1] = ended[0] if ended else len(ids) - 1
    markers = [
        (index, contract.marker_ids[step.kind], int(step.kind), int(getattr(step, contract.target)))
        for index, step in zip(indices, steps, strict=True)
    ]
    last = max((marker[0] for marker in markers), default=-1)
    return ids[: last + 1], markers


def prm_trees(
    codec: Codec, items: Sequence[Judged], row_length: int
) -> tuple[list[TokenTree], list[int]]:
    """Records with their labelled rollouts as trees that fit a row.

    Records that share their tools share that part of the prompt. What is larger than the row
    becomes several trees that repeat the prompt.

    Args:
      codec: tokenizer, template and contract of the PRM.
      items: records and their labelled completions.
      row_length: S, in tokens.

    Returns:
      The trees, and of the rollouts that do not fit a row even alone how long they are, in tokens.

    Source: our choice; equal in loss and gradient to one sample per decision.
    """
    trees: list[TokenTree] = []
    builder = TreeBuilder()
    too_long: list[int] = []
    for record, rollouts in items:
        prompt = codec.prompt(record)
        for rollout in rollouts:
            ids, marks = marked_path(codec, rollout)
            path = [*prompt, *ids]
            markers = [(len(prompt) + at, token, kind, label) for at, token, kind, label in marks]
            length = len(path) + len(set(markers))
            if length > row_length:
                too_long.append(length)
                continue
            if len(builder) + builder.new_nodes(path, markers) > row_length:
                trees.append(builder.build())
                builder = TreeBuilder()
            nodes = builder.add_path(path)
            ends = sorted({len(prompt) - 1, *(marker[0] for marker in markers)})
            starts = dict(zip(ends[1:], ends, strict=False)) | {ends[0]: ends[0]}
            for index, token, kind, label in markers:
                builder.add_marker(nodes[index], token, kind, label, nodes[starts[index]])
    if len(builder):
        trees.append(builder.build())
    return trees, too_long
