"""Sequences as trees without branches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolprm_jax.tokens.tree import TokenTree


def chain(tokens: np.ndarray, unweighted: int) -> TokenTree:
    """One sequence; the first `unweighted` tokens carry no loss."""
    length = len(tokens)
    index = np.arange(length, dtype=np.int32)
    none = np.full(length, -1, np.int32)
    return TokenTree(
        tokens=tokens.astype(np.int32),
        positions=index,
        sizes=length - index,
        parent_offsets=(index > 0).astype(np.int32),
        kinds=none,
        labels=none,
        start_offsets=np.zeros(length, np.int32),
        weights=(index >= unweighted).astype(np.float32),
    )


class RandomChains:
    """Items of one random sequence each."""

    def __init__(self, items: int, length: int, num_tokens: int, seed: int) -> None:
        self._items, self._length = items, length
        self._num_tokens, self._seed = num_tokens, seed

    def __len__(self) -> int:
        return self._items

    def __getitem__(self, index: int) -> Sequence[TokenTree]:
        rng = np.random.default_rng((self._seed, index))
        return [chain(rng.integers(self._num_tokens, size=self._length), 1)]
