"""What the rows of the caches still hold of prompts: which is read, and which is written over."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .packing import Intake, intake

_STEP = 64  # tokens that the largest row is a multiple of


class Prefixes:
    """The prompts in the rows.

    Attributes:
      sizes: tokens of the packed rows that programs are compiled for.
      asked: tokens of all prompts so far.
      reused: of these, that a row still held.
      run: that were run for the others, padding included.
    """

    def __init__(self, rows: int, longest: int, smallest: int = 128) -> None:
        """Rows that hold nothing.

        Args:
          rows: how many there are.
          longest: tokens of a prompt at most.
          smallest: tokens of a packed row; the others are this times 2, 4, ..., but the largest
            holds little more than the longest prompt.
        """
        self.sizes = [smallest]
        most = -(-longest // _STEP) * _STEP
        while self.sizes[-1] < longest:
            self.sizes.append(min(2 * self.sizes[-1], most))
        self._held: list[Sequence[int]] = [()] * rows
        self._used = [0] * rows  # when each was last written or read
        self._clock = itertools.count(1)
        self.asked = self.reused = self.run = 0

    def next(self, waiting: Sequence[Sequence[int]], most: int) -> tuple[int, Intake]:
        """How many of the prompts that wait come to less together than apart, and how.

        Args:
          waiting: token ids of each, in their order; at least one.
          most: how many there is room for, at least one.
        """
        count, how = 1, self._intake(waiting[:1])
        for prompt in waiting[1:most]:
            alone = self._intake([prompt])
            wider = intake(waiting[: count + 1], self._held, self.sizes)
            if wider is None or wider.size > how.size + alone.size:
                break
            count, how = count + 1, wider
        return count, how

    def _intake(self, prompts: Sequence[Sequence[int]]) -> Intake:
        found = intake(prompts, self._held, self.sizes)
        assert found is not None  # one is never longer than the longest row
        return found

    def place(
        self, how: Intake, prompts: Sequence[Sequence[int]], free: Sequence[int]
    ) -> list[int]:
        """The rows that prompts are written into.

        Empty ones come first, then the row that is read where it has little else, for little is
        lost so, then the one that has not been used for longest.

        Args:
          how: from `next`.
          prompts: that it is about.
          free: rows without a query, at least as many.
        """
        reads = bool(how.forest.start)
        spent = len(self._held[how.source]) - how.forest.start < self.sizes[0]

        def late(row: int) -> tuple[bool, bool, int]:
            again = reads and spent and row == how.source
            return bool(self._held[row]), not again, self._used[row]

        order = sorted(free, key=late)
        rows, now = order[: len(prompts)], next(self._clock)
        for row, prompt in zip(rows, prompts, strict=True):
            self._held[row], self._used[row] = prompt, now
        if reads:
            self._used[how.source] = now
        self.asked += sum(map(len, prompts))
        self.reused += how.forest.start * len(prompts)
        self.run += how.size
        return rows
