"""What the training data is made of: records and labelled rollouts as items of token trees."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etils import epath

from toolprm_jax.annotation import LabelledCompletion, labelled_from_json, read_steps
from toolprm_jax.records import DataError, read_records, record_from_json
from toolprm_jax.tokens import Codec, Judged, TokenTree, lm_trees, prm_trees
from toolprm_jax.toolworld import Split, takes, training_group


class Source(ABC):
    """Random access to items, each of token trees that fit a row.

    Attributes:
      too_long: indices of the items that were read and hold something that fits no row.
      shortest: tokens of the shortest thing that fitted none; None if all did.
    """

    def __init__(self) -> None:
        self.too_long: set[int] = set()
        self.shortest: int | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def read(self, index: int) -> tuple[Sequence[TokenTree], Sequence[int]]:
        """The trees of one item, and the lengths of what of it fits no row."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What an item is called in messages."""

    def __getitem__(self, index: int) -> Sequence[TokenTree]:
        """The trees of one item."""
        trees, too_long = self.read(index)
        if too_long:
            self.too_long.add(index)
            self.shortest = min([*too_long, self.shortest or too_long[0]])
        return trees


_LOOKED_AT = 10_000  # items, before a row length is called too short for all


def check_fits(source: Source, row_length: int, count: int = _LOOKED_AT) -> None:
    """Checks that there is an item that fits a row.

    Args:
      source: the items; those found too long here are not noted.
      row_length: S, in tokens.
      count: how many items are looked at, at most.

    Raises:
      DataError: none fits; says how long the shortest is.
    """
    fits = any(len(source[index]) for index in range(min(count, len(source))))
    source.too_long.clear()
    if not fits and source.shortest is not None:
        raise DataError(
            f"data.row_length: no item fits a row of {row_length} tokens, "
            f"the shortest takes {source.shortest}"
        )


class ToolworldSource(Source):
    """Groups of queries of the embedded corpus: one tool list, and as many queries as fit.

    Args:
      codec: tokenizer, template and contract of the policy.
      seed: of the corpus.
      split: which tools.
      groups: number of items.
      group_size: the most queries of a group.
      row_length: S, in tokens; the corpus has no end, so a group stops where its row is full.
      masked: share of the groups whose names are masked.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        seed: int,
        split: Split,
        groups: int,
        group_size: int,
        row_length: int,
        masked: float,
    ) -> None:
        super().__init__()
        self._codec, self._masked = codec, masked
        self._seed, self._groups = seed, groups
        self._split: Split = split
        self._group_size, self._row_length = group_size, row_length

    def __len__(self) -> int:
        return self._groups

    def read(self, index: int) -> tuple[Sequence[TokenTree], Sequence[int]]:
        """The first row of a group."""
        records = training_group(self._seed, self._split, index, self._group_size, self._masked)
        trees, too_long = lm_trees(self._codec, records, self._row_length)
        return trees[:1], too_long

    def name(self, index: int) -> str:
        """The group's number."""
        return f"group {index} of the embedded corpus"


class RecordSource(Source):
    """Gold completions of a records file, one record an item.

    Args:
      codec: tokenizer, template and contract of the policy.
      path: the records.
      format: their format; recognised if None.
      row_length: S, in tokens.

    Raises:
      DataError: a record is malformed or has no gold.
    """

    def __init__(
        self,
        codec: Codec,
        path: Path,
        format: str | None,
        *,
        row_length: int,
    ) -> None:
        super().__init__()
        self._codec, self._row_length = codec, row_length
        self._records = list(read_records(path, format))
        for record in self._records:
            if record.answers is None:
                raise DataError(f"{path}: record {record.id!r} has no answers to train on")

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> tuple[Sequence[TokenTree], Sequence[int]]:
        """One record."""
        return lm_trees(self._codec, [self._records[index]], self._row_length)

    def name(self, index: int) -> str:
        """The record's id."""
        return f"record {self._records[index].id!r}"


class MixedSource(Source):
    """Items of two sources, taken in turn.

    Args:
      first: its items are taken in order.
      second: likewise, again from the start where it ends.
      share: of the items that are the second's, above 0 and below 1.
    """

    def __init__(self, first: ToolworldSource, second: RecordSource, share: float) -> None:
        super().__init__()
        self._first, self._second, self._share = first, second, share

    def __len__(self) -> int:
        return int(len(self._first) / (1 - self._share))

    def _place(self, index: int) -> tuple[Source, int]:
        taken = int(index * self._share)
        if takes(index, self._share):
            return self._second, taken % len(self._second)
        return self._first, index - taken

    def read(self, index: int) -> tuple[Sequence[TokenTree], Sequence[int]]:
        """One item of either."""
        source, place = self._place(index)
        return source.read(place)

    def name(self, index: int) -> str:
        """As its source has it."""
        source, place = self._place(index)
        return source.name(place)


class StepsSource(Source):
    """Labelled rollouts of a steps file, all those of the records that share their tools an item.

    Args:
      codec: tokenizer, template and contract of the PRM.
      records: the records file.
      format: its format; recognised if None.
      steps: the steps file.
      row_length: S, in tokens; a larger item becomes several trees that repeat the prompt.
      group_size: the most records of an item; those that share tools must follow each other.

    Raises:
      DataError: a line is malformed or names no record.
    """

    def __init__(
        self,
        codec: Codec,
        records: Path,
        format: str | None,
        steps: Path,
        *,
        row_length: int,
        group_size: int = 1,
    ) -> None:
        super().__init__()
        self._codec, self._row_length = codec, row_length
        by_id = {record.id: record for record in read_records(records, format)}
        grouped: dict[str, list[LabelledCompletion]] = {}
        for where, record_id, rollout in read_steps(steps):
            if record_id not in by_id:
                raise DataError(f"{where}: id: expected the id of a record, found {record_id!r}")
            grouped.setdefault(record_id, []).append(rollout)
        self._items: list[list[Judged]] = []
        for record in by_id.values():
            if record.id not in grouped:
                continue
            item = (record, grouped[record.id])
            last = self._items[-1] if self._items else []
            if last and len(last) < group_size and last[0][0].tools == record.tools:
                last.append(item)
            else:
                self._items.append([item])

    def __len__(self) -> int:
        return len(self._items)

    def read(self, index: int) -> tuple[Sequence[TokenTree], Sequence[int]]:
        """The rollouts of one item."""
        return prm_trees(self._codec, self._items[index], self._row_length)

    def name(self, index: int) -> str:
        """The first record's id."""
        return f"record {self._items[index][0][0].id!r}"


class DatasetSource(Source):
    """Labelled rollouts of a data set of `toolprm-annotate --tfds-dir`, from ArrayRecord.

    Examples are read when they are asked for, so memory does not grow with the data.

    Args:
      codec: tokenizer, template and contract of the PRM.
      directory: of one version, such as `DIR/toolprm_steps/1.0.0`.
      split: "train" or "test".
      row_length: S, in tokens; a larger example becomes several trees that repeat its prompt.

    Raises:
      DataError: no data set is there, or it has no such split.
    """

    def __init__(self, codec: Codec, directory: str, split: str, *, row_length: int) -> None:
        super().__init__()
        if not (epath.Path(directory) / "dataset_info.json").exists():
            raise DataError(f"{directory}: expected a data set of toolprm-annotate")
        # TFDS takes seconds to import.
        import tensorflow_datasets as tfds

        try:
            builder: Any = tfds.builder_from_directory(directory)
            splits = builder.info.splits
            found = builder.as_data_source(split=split) if split in splits else None
        except Exception as error:  # TFDS checks little of what it reads
            raise DataError(f"{directory}: not a whole data set: {error}") from None
        if found is None:
            raise DataError(f"{directory}: expected a split {split!r}, found none")
        self._examples: Any = found
        super().__init__()
        self._codec, self._row_length = codec, row_length
        self._directory, self._split = directory, split

    def __len__(self) -> int:
        return len(self._examples)

    def _judged(self, index: int) -> Judged:
        from toolprm_jax.annotation import steps_lines

        where = f"{self._directory}: {self._split}[{index}]"
        try:
            example = self._examples[index]
            record = record_from_json(json.loads(example["record"]))
            rollouts = [labelled_from_json(where, line) for line in steps_lines(example)]
        except Exception as error:  # of TFDS and of ArrayRecord, where a file is damaged
            raise DataError(f"{where}: damaged: {error}") from None
        return record, rollouts

    def read(self, index: int) -> tuple[Sequence[TokenTree], Sequence[int]]:
        """The rollouts of one example."""
        return prm_trees(self._codec, [self._judged(index)], self._row_length)

    def name(self, index: int) -> str:
        """The record's id."""
        return f"record {self._judged(index)[0].id!r}"
