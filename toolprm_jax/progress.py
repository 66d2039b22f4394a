"""The bar that long work shows on standard error."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

_SECONDS = 1.0  # between two pictures of the bar on a terminal
_LINE_SECONDS = 10.0  # elsewhere, where each is a line of its own


def tell(text: str) -> None:
    """Says on a terminal what takes a while."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


class Progress:
    """A bar with rate and time left; compiling counts for neither.

    Args:
      total: how many there are.
      unit: of what.
      done: how many were done before.
      show: False for no bar.
    """

    def __init__(self, total: int | None, unit: str, *, done: int = 0, show: bool = True) -> None:
        shown = sys.stderr.isatty()
        self._bar: Any = tqdm(
            total=total,
            unit=unit,
            initial=done,
            disable=not show,
            mininterval=_SECONDS if shown else _LINE_SECONDS,
            smoothing=0.0,  # the mean rate: what is left is like what was done
        )

    def __enter__(self) -> Progress:
        """The bar itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the bar."""
        self._bar.close()

    def update(self, count: int = 1) -> None:
        """Counts what is done."""
        self._bar.update(count)

    def say(self, text: str) -> None:
        """Says behind the bar what is being done."""
        self._bar.set_postfix_str(text)

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Says so while the body runs, and leaves its time out of rate and time left."""
        if self._bar.disable:
            tell("compiling, once for this length of prompt")
            yield
            return
        before, start, over = self._bar.postfix or "", time.time(), threading.Event()
        self._bar.set_postfix_str("compiling")

        def tick() -> None:
            while not over.wait(self._bar.mininterval):
                self._bar.set_postfix_str(f"compiling, {time.time() - start:.0f} s")

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
        finally:
            over.set()
            ticker.join()
            self._bar.start_t += time.time() - start
            self._bar.set_postfix_str(before)


def shown(items: Iterable[T], total: int | None, unit: str, *, done: int = 0) -> Iterator[T]:
    """Items, counted by a bar as they are taken.

    Args:
      items: any number.
      total: how many there are with those done before, if known.
      unit: of what.
      done: how many were done before.
    """
    with Progress(total, unit, done=done) as bar:
        for item in items:
            yield item
            bar.update()
