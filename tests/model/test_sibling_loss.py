"""The loss over right and wrong siblings, against a plain loop over prefixes."""

from __future__ import annotations

import math
import random
from collections import Counter

import jax.numpy as jnp
import numpy as np

from toolprm_jax.annotation import (
    LabelledCompletion,
    corruptions,
    gold_completion,
    label_completion,
)
from toolprm_jax.model.objectives import sibling_sums
from toolprm_jax.records import Record
from toolprm_jax.tokens import Codec, load_tokenizer, make_contract, marked_path, pack, prm_trees
from toolprm_jax.toolworld import TOKENIZER, masked_corpus

_TOKENIZER = load_tokenizer(TOKENIZER)
CODEC = Codec(
    _TOKENIZER,
    make_contract(_TOKENIZER, 49_152, "compact", granularity="toolprm", target="label"),
)
Leaf = tuple[tuple[int, ...], int, int]  # path up to the marker, kind, label


def judged(record: Record, seed: int) -> list[LabelledCompletion]:
    texts = [c.text for c in corruptions(record, random.Random(seed))]
    made = []
    for text in [gold_completion(record), *texts, texts[0], gold_completion(record)]:
        found = label_completion(record, text)
        made.append(LabelledCompletion(text, found.steps, died=found.error is not None))
    return made


def logit_of(leaf: Leaf) -> float:
    return random.Random(repr(leaf)).gauss(0.0, 2.0)


def leaves_by_prefix(
    record: Record, rollouts: list[LabelledCompletion]
) -> dict[tuple[int, ...], Counter[Leaf]]:
    """Every labelled decision of the rollouts below what the policy had written before it."""
    out: dict[tuple[int, ...], Counter[Leaf]] = {}
    for rollout in rollouts:
        ids, markers = marked_path(CODEC, rollout)
        path = (*CODEC.prompt(record), *ids)
        base = len(path) - len(ids)
        for at, _, kind, label in markers:
            before = max([m[0] for m in markers if m[0] < at], default=-1)
            leaf = (path[: base + at + 1], kind, label)
            out.setdefault(path[: base + before + 1], Counter())[leaf] += 1
    return out


def test_siblings_are_the_decisions_that_follow_one_prefix() -> None:
    records = list(masked_corpus(5, "train", 6))
    items = [(record, judged(record, index)) for index, record in enumerate(records)]
    loss = weight = hits = 0.0
    for record, rollouts in items:
        for leaves in leaves_by_prefix(record, rollouts).values():
            right = [logit_of(leaf) for leaf in leaves if leaf[2] == 1]
            for leaf, count in leaves.items():
                if leaf[2] == 0 and right:
                    gaps = [r - logit_of(leaf) for r in right]
                    loss += count * sum(math.log1p(math.exp(-g)) for g in gaps) / len(gaps)
                    hits += count * sum(g > 0 for g in gaps) / len(gaps)
                    weight += count
    trees = [tree for item in items for tree in prm_trees(CODEC, [item], 4096)[0]]
    batch = pack(trees, 4096)
    logits = np.zeros(batch.tokens.shape, np.float32)
    for row, index in zip(*np.nonzero(batch.weights), strict=True):
        path, node = [], int(batch.parents[row, index])
        while not path or batch.parents[row, node] != node:
            node = node if not path else int(batch.parents[row, node])
            path.append(int(batch.tokens[row, node]))
        leaf = (tuple(reversed(path)), int(batch.kinds[row, index]), int(batch.labels[row, index]))
        logits[row, index] = logit_of(leaf)
    found = sibling_sums(jnp.asarray(logits), batch)
    assert weight > 20
    np.testing.assert_allclose(found["sibling_loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(found["sibling_weight"], weight, rtol=1e-6)
    np.testing.assert_allclose(found["sibling_hits"], hits, rtol=1e-5)


def test_markers_without_a_start_have_no_siblings() -> None:
    batch = pack(
        prm_trees(CODEC, [(r := next(masked_corpus(5, "train", 1)), judged(r, 0))], 4096)[0], 4096
    )
    own = np.broadcast_to(np.arange(batch.tokens.shape[1], dtype=np.int32), batch.tokens.shape)
    found = sibling_sums(jnp.zeros(batch.tokens.shape), batch._replace(starts=own))
    assert float(found["sibling_weight"]) == 0.0
    assert float(found["sibling_loss"]) == 0.0
