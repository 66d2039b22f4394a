"""Programs compiled ahead of time, so that compiling is counted and timed apart."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

Compiling = Callable[[], contextlib.AbstractContextManager[None]]


class Programs:
    """Compiled programs by key.

    Attributes:
      compilations: how many programs were compiled so far.
    """

    def __init__(self) -> None:
        self._programs: dict[Any, Any] = {}
        self.compilations = 0

    def get(
        self, key: Any, lower: Callable[[], Any], compiling: Compiling = contextlib.nullcontext
    ) -> tuple[Any, float]:
        """The program of a key, and the seconds that compiling it took just now.

        Args:
          key: hashable; equal keys have equal programs.
          lower: lowers it, as in `jax.jit(...).lower(...)`.
          compiling: entered while it is compiled.
        """
        if key in self._programs:
            return self._programs[key], 0.0
        with compiling():
            start = time.perf_counter()
            self._programs[key] = lower().compile()
            self.compilations += 1
            return self._programs[key], time.perf_counter() - start
