"""Token trees to a checkpointable stream of packed batches (grain)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import grain
import grain.experimental
import jax
import numpy as np

from toolprm_jax.records import DataError
from toolprm_jax.tokens import TokenTree, TreeBatch, in_batches, pack, to_batch

_ENDLESS = 10**12  # items; grain needs a finite length


class TreeSource(Protocol):
    """Random access to items of zero or more token trees; an item depends on its index alone."""

    def __len__(self) -> int:
        """Number of items."""
        ...

    def __getitem__(self, index: int) -> Sequence[TokenTree]:
        """The trees of one item, each at most one row long."""
        ...


class CountedBatch(NamedTuple):
    """What the stream yields: a batch, and what is in it."""

    batch: TreeBatch  # [B, S]
    tokens: int  # that are no padding
    visible: int  # pairs of them of which the first sees the second, itself included
    targets: int  # tokens with loss weight


class _Trees(grain.experimental.FlatMapTransform):
    """Items to their trees, as the dicts that grain packs."""

    max_fan_out = 1 << 20  # not used by iterators

    def __init__(self, row_length: int) -> None:
        self._row_length = row_length

    def flat_map(self, element: Sequence[TokenTree]) -> list[dict[str, np.ndarray]]:
        for tree in element:
            if len(tree.tokens) > self._row_length:
                raise DataError(
                    f"a tree of {len(tree.tokens)} tokens is longer than the row of "
                    f"{self._row_length}"
                )
        return [tree._asdict() for tree in element]


def _counted(packed: dict[str, np.ndarray], rows: int) -> CountedBatch:
    """Packed rows (fewer than `rows` at the end of the data) to a batch."""
    tree = TokenTree._make(packed[name] for name in TokenTree._fields)
    missing = rows - len(tree.tokens)
    tree = TokenTree._make(np.pad(column, ((0, missing), (0, 0))) for column in tree)
    real = tree.sizes > 0
    return CountedBatch(
        to_batch(tree),
        tokens=int(np.count_nonzero(real)),
        visible=int(np.sum(tree.positions + 1, where=real, dtype=np.int64)),
        targets=int(np.count_nonzero(tree.weights)),
    )


def tree_stream(
    source: TreeSource,
    *,
    row_length: int,
    rows: int,
    seed: int,
    epochs: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator[CountedBatch]:
    """Shuffled, repeated, packed (first fit) and batched trees.

    Each process reads every `process_count`-th item. `get_state` and `set_state` continue exactly
    where the iterator was, also through Orbax.

    Args:
      source: the items.
      row_length: S, in tokens.
      rows: B, rows per batch of this process.
      seed: of the order; each epoch has its own.
      epochs: how often the source is read; 0 for as often as it is asked for.
      process_index: which process this is.
      process_count: how many there are.

    Raises:
      DataError: the source is empty.
    """
    if not len(source):
        raise DataError("the training data has no items")
    items = grain.MapDataset.source(source).seed(seed).shuffle()
    items = items.repeat(epochs or max(1, _ENDLESS // len(source)))
    items = items[process_index::process_count]
    trees = grain.experimental.FlatMapIterDataset(
        items.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=16)),
        _Trees(row_length),
    )
    packed = grain.experimental.FirstFitPackIterDataset(
        trees,
        length_struct=dict.fromkeys(TokenTree._fields, row_length),
        num_packing_bins=rows,
        shuffle_bins=False,
    )
    batches = packed.batch(rows, drop_remainder=False).map(lambda x: _counted(x, rows))
    return iter(grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=2))


def eval_batches(
    items: Iterable[Sequence[TokenTree]], *, row_length: int, rows: int
) -> list[TreeBatch]:
    """All trees of some items in batches `[B, S]`; the last one is filled up with empty rows."""
    return in_batches(pack((tree for item in items for tree in item), row_length), rows)


def to_device(batch: TreeBatch, sharding: jax.sharding.NamedSharding, parts: int) -> TreeBatch:
    """Rows of this process `[A * B, S]` to global arrays `[A, B, S]` under `sharding`."""

    def put(column: np.ndarray) -> jax.Array:
        split = column.reshape(parts, -1, column.shape[-1])
        return jax.make_array_from_process_local_data(sharding, split)

    return TreeBatch._make(put(column) for column in batch)


def same_to_device(batch: TreeBatch, sharding: jax.sharding.NamedSharding) -> TreeBatch:
    """Rows that every process has `[B, S]` to global arrays `[1, B, S]` under `sharding`."""

    def put(column: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(
            (1, *column.shape), sharding, lambda index: column[None][index]
        )

    return TreeBatch._make(put(column) for column in batch)
