"""Prompts of several queries in one row: what several begin with stands there, and is run, once.

What a row of the cache still holds of an earlier prompt is not run again either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..decoder import Packed


class Forest(NamedTuple):
    """Prompts merged where they begin alike, without the first tokens that all have."""

    start: int  # how many these are
    tokens: list[int]  # in depth-first order
    positions: list[int]
    exits: list[int]  # the index just past each token's subtree
    places: list[list[int]]  # of each prompt, where its tokens stand


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


class Intake(NamedTuple):
    """How prompts are taken in."""

    forest: Forest  # what is run
    size: int  # tokens of the row that it is run in
    source: int  # the row of the cache that has the first tokens, where the forest lacks any


def merged(prompts: Sequence[Sequence[int]], start: int = 0) -> Forest:
    """Prompts as token trees.

    Args:
      prompts: token ids of each.
      start: first tokens to leave out, which all have in common.
    """
    found = Forest(start, [], [], [], [[] for _ in prompts])
    path: list[int] = []  # where the tokens of the last prompt stand
    last: Sequence[int] = ()

    def leave(depth: int) -> None:
        for place in path[depth:]:
            found.exits[place] = len(found.tokens)
        del path[depth:]

    for index in sorted(range(len(prompts)), key=lambda i: list(prompts[i])):
        prompt = prompts[index][start:]
        leave(shared_length(last, prompt))
        for depth in range(len(path), len(prompt)):
            path.append(len(found.tokens))
            found.tokens.append(prompt[depth])
            found.positions.append(start + depth)
            found.exits.append(0)
        found.places[index].extend(path)
        last = prompt
    leave(0)
    return found


def intake(
    prompts: Sequence[Sequence[int]], held: Sequence[Sequence[int]], sizes: Sequence[int]
) -> Intake | None:
    """How prompts are taken in at once, in as short a row as can be; None where none is enough.

    Args:
      prompts: token ids of each, at least one.
      held: what each row of the cache has of earlier prompts.
      sizes: tokens of the rows that there are programs for, rising.
    """
    common = min((shared_length(prompts[0], other) for other in prompts), default=0)
    lengths = [min(common, shared_length(prompts[0], row)) for row in held]
    # Of several the one that has least beside it, and so is the first to be written over.
    source = max(range(len(held)), key=lambda row: (lengths[row], -len(held[row])))
    found: list[Intake] = []
    for start in sorted({0, lengths[source]}):
        forest = merged(prompts, start)
        size = next((size for size in sizes if size >= len(forest.tokens)), None)
        if size is not None:
            found.append(Intake(forest, size, source))
    return min(found, key=lambda one: one.size, default=None)


def pack(how: Intake, rows: int, longest: int) -> Packed:
    """Prompts as arrays.

    Args:
      how: of at most `rows` prompts.
      rows: n, prompts that the arrays have room for.
      longest: T, tokens of a prompt at most.
    """
    forest, size, source = how
    used = len(forest.tokens)
    tokens, positions = np.zeros(size, np.int32), np.zeros(size, np.int32)
    exits = np.arange(1, size + 1, dtype=np.int32)  # padding sees itself alone
    tokens[:used], positions[:used], exits[:used] = forest[1:4]
    places = np.zeros((rows, longest), np.int32)
    lengths = np.ones(rows, np.int32)
    for row, mine in enumerate(forest.places):
        lengths[row] = forest.start + len(mine)
        places[row, forest.start : lengths[row]] = mine
    return Packed(
        *map(jnp.asarray, (tokens, positions, exits, places, lengths)),
        source=jnp.int32(source),
        known=jnp.int32(forest.start),
    )
