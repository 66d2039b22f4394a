"""Prompts of several queries in one row: what several begin with stands there, and is run, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..decoder import Packed


class Forest(NamedTuple):
    """Prompts merged where they begin alike."""

    tokens: list[int]  # in depth-first order
    positions: list[int]
    exits: list[int]  # the index just past each token's subtree
    places: list[list[int]]  # of each prompt, where its tokens stand


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def merged(prompts: Sequence[Sequence[int]]) -> Forest:
    """Prompts as token trees.

    Args:
      prompts: token ids of each.
    """
    found = Forest([], [], [], [[] for _ in prompts])
    path: list[int] = []  # where the tokens of the last prompt stand
    last: Sequence[int] = ()

    def leave(depth: int) -> None:
        for place in path[depth:]:
            found.exits[place] = len(found.tokens)
        del path[depth:]

    for index in sorted(range(len(prompts)), key=lambda i: list(prompts[i])):
        prompt = prompts[index]
        leave(shared_length(last, prompt))
        for depth in range(len(path), len(prompt)):
            path.append(len(found.tokens))
            found.tokens.append(prompt[depth])
            found.positions.append(depth)
            found.exits.append(0)
        found.places[index].extend(path)
        last = prompt
    leave(0)
    return found


def pack(forest: Forest, size: int, rows: int, longest: int) -> Packed:
    """A forest as arrays.

    Args:
      forest: at most `size` tokens and `rows` prompts.
      size: S, tokens of the row.
      rows: n, prompts that the arrays have room for.
      longest: T, tokens of a prompt at most.
    """
    used = len(forest.tokens)
    tokens, positions = np.zeros(size, np.int32), np.zeros(size, np.int32)
    exits = np.arange(1, size + 1, dtype=np.int32)  # padding sees itself alone
    tokens[:used], positions[:used], exits[:used] = forest[:3]
    places = np.zeros((rows, longest), np.int32)
    lengths = np.ones(rows, np.int32)
    for row, mine in enumerate(forest.places):
        places[row, : len(mine)] = mine
        lengths[row] = len(mine)
    return Packed(*map(jnp.asarray, (tokens, positions, exits, places, lengths)))
