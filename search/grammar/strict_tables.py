"""The tools of queries as arrays for strict decoding, of a few bucketed sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from toolprm_jax.grammar import MAX_DEPTH
from toolprm_jax.records import DataError, Record

from .strict_compile import MOST_WAYS, StrictSize, compile_tools
from .strict_nodes import KINDS, NEVER, TOO_DEEP


class StrictTables(NamedTuple):
    """Tools of B queries."""

    alternatives: Array  # int32[B, A, 4]: automaton, least and most characters, shape
    choices: Array  # int32[B, nodes * 7, 2]: first alternative of a node's type, their number
    heights: Array  # int32[B, nodes], containers that a value opens at least; past 32 none fits
    shapes: Array  # int32[B, S, 9]: see the columns above
    masks: Array  # uint32[B, S, 3, words]: bits of keys: all, required, those that open containers
    children: Array  # int32[B, C], nodes of keys and of first items
    base: Array  # int32[B, states]
    edges: Array  # int32[B, slots, 2]: the state that an edge leaves, the one it leads to
    reach: Array  # uint32[B, states, words]: keys that may yet be spelled
    names: Array  # int32[B], automaton of the tools' names; 0 where none can be called
    tools: Array  # int32[B, T], nodes of the arguments
    frames: Array  # bool[B, levels], its width is how many containers are told apart
    ways: Array  # bool[B, ways], its width is how many readings are followed at once
    calls: Array  # int32[B, 2], the fewest and the most in a list


# A search compiles once for each of these: few, so that queries of all kinds share programs.
_SIZES = (
    StrictSize(
        alternatives=128, nodes=64, shapes=16, children=64, states=1024, slots=1024, words=1,
        tools=16,
    ),
    StrictSize(
        alternatives=512, nodes=512, shapes=128, children=512, states=8192, slots=8192, words=2,
        tools=64,
    ),
    StrictSize(
        alternatives=4096, nodes=2048, shapes=1024, children=4096, states=1 << 16, slots=1 << 16,
        words=8, tools=512,
    ),
)  # fmt: skip
_LEVELS = (4, MAX_DEPTH + 1)
_WAYS = (1, 4, MOST_WAYS)
LARGEST_SIZE = _SIZES[-1]._replace(levels=_LEVELS[-1], ways=_WAYS[-1])
# What an engine has room for in each row: unions, and objects as deep as the grammar goes.
ENGINE_SIZE = _SIZES[0]._replace(levels=_LEVELS[-1], ways=_WAYS[1])


CallCounts = tuple[int, int]
ANY_CALLS: CallCounts = (0, 1 << 20)


def fits(size: StrictSize, into: StrictSize) -> bool:
    """Whether tools of a size have room in arrays of another."""
    return all(a <= b for a, b in zip(size, into, strict=True))


def rounded(sizes: Sequence[StrictSize]) -> StrictSize:
    """The smallest of the compiled sizes that holds all of some; the largest if none does."""
    *counts, levels, ways = (max(some) for some in zip(*sizes, strict=True))
    fitting = (size for size in _SIZES if all(a <= b for a, b in zip(counts, size, strict=False)))
    return next(fitting, _SIZES[-1])._replace(
        levels=next((n for n in _LEVELS if levels <= n), _LEVELS[-1]),
        ways=next((n for n in _WAYS if ways <= n), _WAYS[-1]),
    )


def check_size(record: Record, size: StrictSize) -> None:
    """Raises where a query's tools can't be decoded strictly.

    Raises:
      DataError: they are past the largest size.
    """
    for field, count, most in zip(StrictSize._fields, size, LARGEST_SIZE, strict=True):
        if count > most:
            text = f"record {record.id}: tools: expected at most {most} {field} for strict decoding"
            raise DataError(f"{text}, found {count}; use --schema prune")


def strict_size(records: Sequence[Record]) -> StrictSize:
    """Sizes that hold every record's tools.

    Args:
      records: all that will be searched for.

    Raises:
      DataError: a record's tools are past the largest size.
    """
    sizes = [StrictSize()]
    for record in records:
        sizes.append(compile_tools(record).size)
        check_size(record, sizes[-1])
    return rounded(sizes)


def _bits(masks: Sequence[int], words: int) -> np.ndarray:
    """Python's integers as uint32[n, words]."""
    return np.asarray(
        [[mask >> 32 * word & 0xFFFFFFFF for word in range(words)] for mask in masks], np.uint32
    ).reshape(len(masks), words)


def make_strict(
    records: Sequence[Record], size: StrictSize | None = None, calls: CallCounts = ANY_CALLS
) -> StrictTables:
    """The tools of a batch of records.

    Args:
      records: B records.
      size: from `strict_size` of all records of the run; the batch's own if None.
      calls: the fewest and the most that an answer may have; at least one needs a tool that can be
        called.

    Raises:
      DataError: a record's tools are past the largest size.
    """
    found = [compile_tools(record) for record in records]
    for record, one in zip(records, found, strict=True):
        check_size(record, one.size)
    size = size or rounded([one.size for one in found])
    batch, words = len(records), size.words
    alternatives = np.zeros((batch, size.alternatives, 4), np.int32)
    choices = np.zeros((batch, size.nodes * KINDS, 2), np.int32)
    heights = np.full((batch, size.nodes), TOO_DEEP, np.int32)
    shapes = np.zeros((batch, size.shapes, 9), np.int32)
    masks = np.zeros((batch, size.shapes, 3, words), np.uint32)
    children = np.full((batch, size.children), NEVER, np.int32)
    base = np.zeros((batch, size.states), np.int32)
    edges = np.full((batch, size.slots, 2), -1, np.int32)
    reach = np.zeros((batch, size.states, words), np.uint32)
    tools = np.full((batch, size.tools), NEVER, np.int32)
    for row, one in enumerate(found):
        alternatives[row, : len(one.alternatives)] = one.alternatives
        choices[row, : len(one.choices)] = one.choices
        heights[row, : len(one.heights)] = one.heights
        shapes[row, : len(one.shapes)] = one.shapes
        for column in range(3):
            mask = _bits([some[column] for some in one.masks], words)
            masks[row, : len(one.masks), column] = mask
        children[row, : len(one.children)] = one.children
        base[row, : len(one.packed.base)] = one.packed.base
        edges[row, : len(one.packed.edges)] = one.packed.edges
        # Of the tools' names only their automaton is needed: there may be more than bits.
        keys = [state for state in one.reach if one.reach[state].bit_length() <= 32 * words]
        reach[row, keys] = _bits([one.reach[state] for state in keys], words)
        tools[row, : len(one.tools)] = one.tools
    names = np.asarray([one.names for one in found], np.int32)
    arrays = (alternatives, choices, heights, shapes, masks, children, base, edges, reach, names)
    frames, ways = np.zeros((batch, size.levels), bool), np.zeros((batch, size.ways), bool)
    counts = np.tile(np.asarray(calls, np.int32), (batch, 1))
    return StrictTables(*jax.device_put((*arrays, tools, frames, ways, counts)))
