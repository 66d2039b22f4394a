"""The stream: complete, in a seeded order, and restorable at any batch."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from chains import chain
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.tree import TreeBatch, pack
from train.data import eval_batches, tree_stream

ROW = 32


def source_of(list_source: Any, lengths: list[int]) -> Any:
    """Item i holds one chain of tokens i + 1 (0 is padding)."""
    return list_source([[chain(np.full(n, i + 1), 1)] for i, n in enumerate(lengths)])


def take(stream: Any, count: int) -> list[TreeBatch]:
    return [next(stream).batch for _ in range(count)]


def equal(a: list[TreeBatch], b: list[TreeBatch]) -> bool:
    return all(
        np.array_equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


@given(st.lists(st.integers(1, ROW), min_size=1, max_size=20), st.integers(1, 4))
def test_one_epoch_holds_every_tree_once(lengths: list[int], rows: int) -> None:
    items = [[chain(np.full(n, i + 1), 1)] for i, n in enumerate(lengths)]

    class Source:
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, index: int) -> Any:
            return items[index]

    stream = tree_stream(Source(), row_length=ROW, rows=rows, seed=0, epochs=1)
    found: Counter[int] = Counter()
    fed = 0
    for element in stream:
        batch = element.batch
        assert batch.tokens.shape == (rows, ROW)
        found.update(batch.tokens[batch.tokens > 0].tolist())
        fed += element.tokens
        # A root is where a token is its own parent; exits never leave the row.
        assert (batch.exits <= ROW).all()
        assert (batch.parents >= 0).all()
    stream.close()
    assert found == Counter({i + 1: n for i, n in enumerate(lengths)})
    assert fed == sum(lengths)


def test_the_state_continues_exactly(list_source: Any) -> None:
    lengths = np.random.default_rng(0).integers(3, 20, size=40).tolist()
    source = source_of(list_source, lengths)

    def stream() -> Any:
        return tree_stream(source, row_length=ROW, rows=2, seed=5)

    first = stream()
    states = []
    batches = []
    for _ in range(25):
        states.append(json.dumps(first.get_state()))  # as a checkpoint keeps it
        batches.append(next(first).batch)
    for index in (0, 1, 2, 3, 7, 20):
        second = stream()
        second.set_state(json.loads(states[index]))
        assert equal(take(second, 5), batches[index : index + 5])
        second.close()
    first.close()


def test_processes_share_the_items(list_source: Any) -> None:
    source = source_of(list_source, [4] * 24)
    seen: list[set[int]] = []
    for process in range(3):
        stream = tree_stream(
            source,
            row_length=ROW,
            rows=1,
            seed=0,
            epochs=1,
            process_index=process,
            process_count=3,
        )
        seen.append({int(t) for f in stream for t in np.unique(f.batch.tokens)} - {0})
        stream.close()
    assert sorted(i for part in seen for i in part) == list(range(1, 25))


def test_epochs_differ_in_order_but_not_between_runs(list_source: Any) -> None:
    source = source_of(list_source, [ROW] * 16)

    def order(seed: int) -> list[int]:
        stream = tree_stream(source, row_length=ROW, rows=1, seed=seed, epochs=2)
        found = [int(f.batch.tokens[0, 0]) for f in stream]
        stream.close()
        return found

    found = order(0)
    assert sorted(found[:16]) == sorted(found[16:]) == list(range(1, 17))
    assert found[:16] != found[16:]
    assert order(0) == found
    assert order(1) != found


def test_a_tree_longer_than_the_row_is_an_error(list_source: Any) -> None:
    stream = tree_stream(source_of(list_source, [ROW + 1]), row_length=ROW, rows=1, seed=0)
    with pytest.raises(DataError, match="a tree of 33 tokens is longer than the row of 32"):
        next(stream)
    stream.close()


def test_an_empty_source_is_an_error(list_source: Any) -> None:
    with pytest.raises(DataError, match="no items"):
        tree_stream(source_of(list_source, []), row_length=ROW, rows=1, seed=0)


def test_evaluation_holds_every_tree_and_pads_without_weight(list_source: Any) -> None:
    items = source_of(list_source, [20, 20, 20, 5]).items
    batches = eval_batches(items, row_length=ROW, rows=2)
    assert [b.tokens.shape for b in batches] == [(2, ROW)] * 2
    packed = pack([tree for item in items for tree in item], ROW)
    assert sum(float(b.weights.sum()) for b in batches) == float(packed.weights.sum()) == 61
    last = TreeBatch._make(column[1] for column in batches[-1])
    assert (last.weights == 0).all()
    assert (last.exits == np.arange(ROW) + 1).all()
