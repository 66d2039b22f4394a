"""Sequences of tokens to a trie, and the trie to fixed-shape arrays in depth-first order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..records import DataError

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]


class TokenTree(NamedTuple):
    """One tree in depth-first order; everything is relative, so trees pack by concatenation.

    `weights` is the loss weight of each token: of predicting `labels` at a PRM's marker, or of
    predicting the token itself from its parent under the `lm` objective.
    """

    tokens: IntArray  # [S]
    positions: IntArray  # [S] depth below the root
    sizes: IntArray  # [S] number of tokens in the subtree, itself included
    parent_offsets: IntArray  # [S] index minus the parent's index; 0 at a root
    kinds: IntArray  # [S] decision kind of a marker, -1 elsewhere
    labels: IntArray  # [S] 1 for "+", 0 for "-", -1 where there is no label
    start_offsets: IntArray  # [S] index minus that of the token a marker's decision follows, or 0
    weights: FloatArray  # [S]


class TreeBatch(NamedTuple):
    """Packed rows of token trees, as a training step takes them."""

    tokens: IntArray  # [B, S]
    positions: IntArray  # [B, S] depth below the tree's root
    exits: IntArray  # [B, S] index just past the subtree
    parents: IntArray  # [B, S] index of the parent; its own index at a root
    kinds: IntArray  # [B, S] decision kind of a marker, -1 elsewhere
    labels: IntArray  # [B, S] 1 for "+", 0 for "-", -1 where there is no label
    starts: IntArray  # [B, S] index of the token that a marker's decision follows; else its own
    weights: FloatArray  # [B, S]


class TreeBuilder:
    """Grows one trie of tokens; equal prefixes are stored once, leaves never share with paths."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._kinds: list[int] = []
        self._labels: list[int] = []
        self._starts: list[int] = []
        self._weights: list[float] = []
        self._children: list[dict[tuple[int, int, int], int]] = []

    def __len__(self) -> int:
        return len(self._tokens)

    def _child(self, parent: int, token: int, kind: int, label: int) -> int:
        key = (token, kind, label)
        if parent < 0:
            # One root: prompts of one tree start with the same token.
            if self._tokens:
                if self._tokens[0] != token:
                    raise ValueError("all sequences of one tree must start with the same token")
                return 0
        else:
            child = self._children[parent].get(key)
            if child is not None:
                return child
        node = len(self._tokens)
        self._tokens.append(token)
        self._parents.append(parent)
        self._kinds.append(kind)
        self._labels.append(label)
        self._starts.append(node)
        self._weights.append(0.0)
        self._children.append({})
        if parent >= 0:
            self._children[parent][key] = node
        return node

    def add_path(self, tokens: Sequence[int], unweighted: int | None = None) -> list[int]:
        """Adds a sequence from the root on.

        Args:
          tokens: token ids, at least one.
          unweighted: how many leading tokens get no loss weight; all where None.

        Returns:
          The node of each token.
        """
        nodes: list[int] = []
        node = -1
        for index, token in enumerate(tokens):
            node = self._child(node, token, -1, -1)
            if unweighted is not None and index >= unweighted:
                self._weights[node] += 1.0
            nodes.append(node)
        return nodes

    def add_marker(
        self, node: int, token: int, kind: int, label: int, start: int | None = None
    ) -> int:
        """Hangs a labelled marker leaf on `node`; identical leaves merge, their weights add up.

        Args:
          node: of the token that closes the decision.
          token: the marker.
          kind: of the decision.
          label: 1 for "+", 0 for "-".
          start: node of the token that the decision follows; leaves with one start are siblings,
            those without one have none.

        Returns:
          The leaf's node.
        """
        leaf = self._child(node, token, kind, label)
        self._weights[leaf] += 1.0
        self._starts[leaf] = leaf if start is None else start
        return leaf

    def new_nodes(self, tokens: Sequence[int], markers: Iterable[tuple[int, int, int, int]]) -> int:
        """How many nodes a path with `(index, token, kind, label)` markers would add."""
        nodes: list[int] = []
        node = 0 if self._tokens else -1
        for index, token in enumerate(tokens):
            if index or node < 0:
                node = self._children[node].get((token, -1, -1), -1) if node >= 0 else -1
            if node < 0:
                break
            nodes.append(node)
        added = len(tokens) - len(nodes)
        for index, token, kind, label in set(markers):
            known = index < len(nodes) and (token, kind, label) in self._children[nodes[index]]
            added += not known
        return added

    def _order(self) -> list[int]:
        """The nodes, depth first."""
        order: list[int] = []
        stack = [0] if self._tokens else []
        while stack:
            node = stack.pop()
            order.append(node)
            stack.extend(reversed(self._children[node].values()))
        return order

    def places(self) -> IntArray:
        """Where `build` puts each node: int32[S]."""
        return _inverse(self._order())

    def build(self) -> TokenTree:
        """The tree as arrays in depth-first order."""
        size = len(self._tokens)
        order = self._order()
        index_of = _inverse(order)
        depths, sizes = [0] * size, [1] * size
        for node in order[1:]:
            depths[node] = depths[self._parents[node]] + 1
        for node in reversed(order[1:]):
            sizes[self._parents[node]] += sizes[node]
        parents = np.asarray([self._parents[node] for node in order], np.int32)
        starts = index_of[[self._starts[node] for node in order]]
        parent_index = np.where(parents < 0, np.arange(size), index_of[np.maximum(parents, 0)])

        def column(values: Sequence[float], dtype: type) -> np.ndarray:
            return np.asarray(values)[order].astype(dtype)

        return TokenTree(
            tokens=column(self._tokens, np.int32),
            positions=column(depths, np.int32),
            sizes=column(sizes, np.int32),
            parent_offsets=(np.arange(size) - parent_index).astype(np.int32),
            kinds=column(self._kinds, np.int32),
            labels=column(self._labels, np.int32),
            start_offsets=(np.arange(size) - starts).astype(np.int32),
            weights=column(self._weights, np.float32),
        )


def _inverse(order: Sequence[int]) -> IntArray:
    """Where each number of a permutation stands in it."""
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places


def to_batch(rows: TokenTree) -> TreeBatch:
    """Rows of concatenated, zero-padded trees (`[B, S]` each) to a batch with absolute indices.

    Padding becomes one-token trees of weight 0, so every token sees at least itself.
    """
    index = np.arange(rows.tokens.shape[-1], dtype=np.int32)
    padding = rows.sizes == 0
    return TreeBatch(
        tokens=rows.tokens,
        positions=rows.positions,
        exits=index + np.maximum(rows.sizes, 1),
        parents=index - rows.parent_offsets,
        kinds=np.where(padding, -1, rows.kinds).astype(np.int32),
        labels=np.where(padding, -1, rows.labels).astype(np.int32),
        starts=index - rows.start_offsets,
        weights=rows.weights,
    )


def empty_rows(rows: int, row_length: int) -> TreeBatch:
    """Rows `[B, S]` that hold nothing but padding."""
    zeros = np.zeros((rows, row_length), np.int32)
    return to_batch(TokenTree(*[zeros] * 7, weights=zeros.astype(np.float32)))


def pack(trees: Iterable[TokenTree], row_length: int) -> TreeBatch:
    """Packs trees into as few rows as first-fit needs.

    Args:
      trees: each at most `row_length` tokens long.
      row_length: S, in tokens.

    Returns:
      A TreeBatch `[B, S]`.

    Raises:
      ValueError: a tree is longer than the row.
      DataError: there are no trees.
    """
    rows: list[list[TokenTree]] = []
    used: list[int] = []
    for tree in trees:
        length = len(tree.tokens)
        if length > row_length:
            raise ValueError(f"a tree of {length} tokens is longer than the row of {row_length}")
        row = next((i for i, fill in enumerate(used) if fill + length <= row_length), len(rows))
        if row == len(rows):
            rows.append([])
            used.append(0)
        rows[row].append(tree)
        used[row] += length

    def fill_row(parts: list[TokenTree]) -> TokenTree:
        columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        return TokenTree(*(np.pad(c, (0, row_length - len(c))) for c in columns))

    if not rows:
        raise DataError("there are no token trees to pack")
    filled = [fill_row(parts) for parts in rows]
    return to_batch(TokenTree(*(np.stack(column) for column in zip(*filled, strict=True))))


def in_batches(packed: TreeBatch, rows: int) -> list[TreeBatch]:
    """Packed rows `[R, S]` in batches `[B, S]`; the last one is filled up with empty rows."""
    filler = empty_rows(rows, packed.tokens.shape[-1])
    batches = []
    for start in range(0, len(packed.tokens), rows):
        columns = [column[start : start + rows] for column in packed]
        batches.append(
            TreeBatch._make(
                np.concatenate([column, fill[len(column) :]])
                for column, fill in zip(columns, filler, strict=True)
            )
        )
    return batches
