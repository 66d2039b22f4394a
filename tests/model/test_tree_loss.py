"""Loss and gradients of token trees equal those of separate samples."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
import pytest

from toolprm_jax.model.decoder import Decoder, DecoderConfig
from toolprm_jax.model.objectives import lm_sums, means, prm_sums
from toolprm_jax.tokens.tree import TreeBatch, TreeBuilder, pack

LABEL_IDS = (1, 2)
MARKERS = (40, 41, 42, 43, 44)
MODEL = Decoder(
    DecoderConfig(
        vocab_size=48,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
    )
)
Rollouts = list[tuple[list[int], list[tuple[int, int, int]]]]


def random_records(seed: int) -> list[tuple[list[int], Rollouts]]:
    """(prompt, rollouts); a rollout is its tokens and (index, kind, label) decisions."""
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(3):
        prompt = rng.integers(3, 40, size=rng.integers(2, 9)).tolist()
        rollouts: Rollouts = []
        for _ in range(6):
            tokens = rng.integers(3, 5, size=rng.integers(1, 7)).tolist()
            # A token may close several decisions, as the end of a call does.
            steps = [
                (index, int(rng.integers(5)), int(rng.integers(2)))
                for index in range(len(tokens))
                for _ in range(rng.integers(3))
            ]
            rollouts.append((tokens, steps))
        records.append((prompt, [*rollouts, rollouts[0]]))  # a duplicate merges
    return records


def as_trees(records: list[tuple[list[int], Rollouts]], row_length: int) -> TreeBatch:
    trees = []
    for prompt, rollouts in records:
        builder = TreeBuilder()
        for tokens, steps in rollouts:
            nodes = builder.add_path([*prompt, *tokens])
            for index, kind, label in steps:
                builder.add_marker(nodes[len(prompt) + index], MARKERS[kind], kind, label)
        trees.append(builder.build())
    return pack(trees, row_length)


def as_samples(records: list[tuple[list[int], Rollouts]]) -> TreeBatch:
    """One causal row per decision, written without any of the tree code."""
    samples = [
        ([*prompt, *tokens[: index + 1], MARKERS[kind]], kind, label)
        for prompt, rollouts in records
        for tokens, steps in rollouts
        for index, kind, label in steps
    ]
    shape = (len(samples), max(len(tokens) for tokens, _, _ in samples))
    index = np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape)
    tokens = np.zeros(shape, np.int32)
    kinds, labels = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    weights = np.zeros(shape, np.float32)
    for row, (sample, kind, label) in enumerate(samples):
        tokens[row, : len(sample)] = sample
        last = len(sample) - 1
        kinds[row, last], labels[row, last], weights[row, last] = kind, label, 1.0
    return TreeBatch(
        tokens=tokens,
        positions=index,
        exits=np.full(shape, shape[1], np.int32),
        parents=np.maximum(index - 1, 0),
        kinds=kinds,
        labels=labels,
        starts=index,
        weights=weights,
    )


def params_of(seed: int) -> Any:
    tokens = np.zeros((1, 1), np.int32)
    return MODEL.init(jax.random.key(seed), tokens, method=lambda m, t: m.logits(m(t, t, t + 1)))


def relative(a: Any, b: Any) -> float:
    return float(optax.tree.norm(jax.tree.map(lambda x, y: x - y, a, b)) / optax.tree.norm(b))


@pytest.mark.parametrize("seed", range(3))
def test_prm_trees_equal_separate_samples(seed: int) -> None:
    records = random_records(seed)
    params = params_of(seed)

    def value_and_grad(batch: TreeBatch) -> Any:
        def loss(params: Any) -> Any:
            out = means(prm_sums(MODEL, params, batch, LABEL_IDS))
            return out["loss"], out

        return jax.value_and_grad(loss, has_aux=True)(params)

    trees, samples = as_trees(records, row_length=100), as_samples(records)
    assert trees.weights.sum() == samples.weights.sum()
    assert trees.tokens.size < samples.tokens.size
    (_, tree_means), tree_grads = value_and_grad(trees)
    (_, sample_means), sample_grads = value_and_grad(samples)
    for name, value in sample_means.items():
        np.testing.assert_allclose(tree_means[name], value, rtol=1e-5, err_msg=name)
    assert relative(tree_grads, sample_grads) < 1e-5


@pytest.mark.parametrize("seed", range(2))
def test_lm_trees_equal_separate_sequences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prompt = rng.integers(3, 40, size=5).tolist()
    paths = [[*prompt, *rng.integers(3, 5, size=6).tolist()] for _ in range(4)]
    builder = TreeBuilder()
    for path in paths:
        builder.add_path(path, unweighted=len(prompt))
    tree = pack([builder.build()], 40)
    params = params_of(seed)

    def tree_loss(params: Any) -> Any:
        return means(lm_sums(MODEL, params, tree))["loss"]

    def sequence_loss(params: Any) -> Any:
        tokens = np.asarray(paths, np.int32)
        index = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)
        hidden = MODEL.apply(params, tokens, index, np.full_like(tokens, tokens.shape[1]))
        logits: Any = MODEL.apply(params, hidden, method=Decoder.logits)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], tokens[:, 1:])
        return losses[:, len(prompt) - 1 :].mean()

    a, grads_a = jax.value_and_grad(tree_loss)(params)
    b, grads_b = jax.value_and_grad(sequence_loss)(params)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    assert relative(grads_a, grads_b) < 1e-5
