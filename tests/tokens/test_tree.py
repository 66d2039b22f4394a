"""Token trees against a naive trie of tuples."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.tokens.tree import TokenTree, TreeBatch, TreeBuilder, pack

ROOT = 7
Marker = tuple[int, int, int]  # kind, label, index in the path
Path = tuple[list[int], list[Marker], int | None]  # tokens, markers, unweighted
# Few tokens, so that prefixes are shared; a marker's token may also be a path's.
markers = st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 99))
paths: Any = st.tuples(
    st.lists(st.integers(0, 2), max_size=5).map(lambda tokens: [ROOT, *tokens]),
    st.lists(markers, max_size=4),
    st.none() | st.integers(0, 4),
)
forests: Any = st.lists(paths, min_size=1, max_size=6)


def marker_token(kind: int) -> int:
    return kind % 3


def add(builder: TreeBuilder, path: Path) -> None:
    tokens, marks, unweighted = path
    nodes = builder.add_path(tokens, unweighted)
    for kind, label, index in marks:
        builder.add_marker(nodes[index % len(tokens)], marker_token(kind), kind, label)


def build(forest: list[Path]) -> TokenTree:
    builder = TreeBuilder()
    for path in forest:
        add(builder, path)
    return builder.build()


# A node is the tuple of (token, kind, label) from the root to it.
Node = tuple[tuple[int, int, int], ...]


def naive(forest: list[Path]) -> Counter[Node]:
    """Weight of every node, written without any of the tree code."""
    weights: Counter[Node] = Counter()
    for tokens, marks, unweighted in forest:
        path = [(token, -1, -1) for token in tokens]
        for stop in range(1, len(path) + 1):
            weighted = unweighted is not None and stop > unweighted
            weights[tuple(path[:stop])] += int(weighted)
        for kind, label, index in marks:
            above = path[: index % len(tokens) + 1]
            weights[(*above, (marker_token(kind), kind, label))] += 1
    return weights


def nodes_of(batch: TreeBatch, row: int) -> list[Node]:
    """The node at every index of a row, by walking up `parents`."""
    triples = list(
        zip(
            batch.tokens[row].tolist(),
            batch.kinds[row].tolist(),
            batch.labels[row].tolist(),
            strict=True,
        )
    )
    out: list[Node] = []
    for index, parent in enumerate(batch.parents[row].tolist()):
        assert parent <= index
        out.append((triples[index],) if parent == index else (*out[parent], triples[index]))
    return out


@given(forests)
def test_the_tree_is_the_naive_trie(forest: list[Path]) -> None:
    tree = build(forest)
    batch = pack([tree], len(tree.tokens))
    nodes = nodes_of(batch, 0)
    expected = naive(forest)
    assert len(set(nodes)) == len(nodes)
    assert dict(zip(nodes, batch.weights[0].tolist(), strict=True)) == dict(expected)
    assert batch.positions[0].tolist() == [len(node) - 1 for node in nodes]


@given(forests)
def test_exits_see_exactly_the_ancestors(forest: list[Path]) -> None:
    tree = build(forest)
    batch = pack([tree], len(tree.tokens) + 2)
    nodes = nodes_of(batch, 0)
    size = len(tree.tokens)
    for i in range(size + 2):
        for j in range(size + 2):
            visible = j <= i < batch.exits[0, j]
            ancestor = nodes[i][: len(nodes[j])] == nodes[j] if max(i, j) < size else i == j
            assert visible == ancestor, (i, j)


@given(forests, paths)
def test_new_nodes_is_the_growth(forest: list[Path], path: Path) -> None:
    for known in (forest, []):
        builder = TreeBuilder()
        for other in known:
            add(builder, other)
        tokens, marks, _ = path
        named = [(i % len(tokens), marker_token(k), k, label) for k, label, i in marks]
        promised = builder.new_nodes(tokens, named)
        before = len(builder)
        add(builder, path)
        assert len(builder) - before == promised
        assert builder.new_nodes(tokens, named) == 0


@given(st.lists(forests, min_size=1, max_size=5), st.integers(0, 30))
def test_packing_loses_nothing(groups: list[list[Path]], spare: int) -> None:
    trees = [build(forest) for forest in groups]
    row_length = max(len(tree.tokens) for tree in trees) + spare
    batch = pack(trees, row_length)
    assert all(array.shape == batch.tokens.shape for array in batch)
    assert all(array.dtype == np.int32 for array in batch[:-1])
    assert batch.weights.dtype == np.float32
    found: Counter[Any] = Counter()
    for row in range(len(batch.tokens)):
        nodes = nodes_of(batch, row)
        starts = [i for i, p in enumerate(batch.parents[row].tolist()) if p == i]
        for start, stop in zip(starts, [*starts[1:], row_length], strict=True):
            assert batch.exits[row, start] == stop
            weights = batch.weights[row, start:stop].tolist()
            found[frozenset(zip(nodes[start:stop], weights, strict=True))] += 1
    expected: Counter[Any] = Counter(frozenset(naive(forest).items()) for forest in groups)
    padding = batch.tokens.size - sum(len(tree.tokens) for tree in trees)
    expected[frozenset({(((0, -1, -1),), 0.0)})] += padding
    assert +found == +expected


def test_first_fit_fills_the_gaps_of_earlier_rows() -> None:
    trees = [build([([ROOT] * n, [], None)]) for n in (6, 7, 4, 3)]
    batch = pack(trees, 10)
    assert batch.exits.tolist()[0] == [6] * 6 + [10] * 4
    assert batch.exits.tolist()[1] == [7] * 7 + [10] * 3


def test_a_tree_longer_than_the_row_is_refused() -> None:
    with pytest.raises(ValueError, match="4 tokens is longer than the row of 3"):
        pack([build([([ROOT, 1, 2, 3], [], None)])], 3)


def test_one_tree_has_one_root() -> None:
    builder = TreeBuilder()
    builder.add_path([ROOT, 1])
    with pytest.raises(ValueError, match="same token"):
        builder.add_path([ROOT + 1])
