"""Server-sent events: an answer, and before it the tree of its search as it grows."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from .errors import told
from .responses import chunks, error, growing


class Trees:
    """The trees of a search, handed over from the engine's thread.

    Attributes:
      last: the newest, None before the first decision.
    """

    def __init__(self) -> None:
        """Of a search that is yet to begin; in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self.last: dict[str, Any] | None = None

    def grown(self, tree: dict[str, Any]) -> None:
        """Takes a newer tree, in the engine's thread."""
        self.last = tree
        with contextlib.suppress(RuntimeError):  # the server has stopped
            self._loop.call_soon_threadsafe(self._changed.set)

    async def next(self, answer: asyncio.Task[dict[str, Any]]) -> dict[str, Any] | None:
        """Waits for a newer tree; None once there is the answer."""
        change = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({answer, change}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            change.cancel()
        self._changed.clear()
        return None if answer.done() else self.last


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def events(response: dict[str, Any], usage: bool) -> AsyncIterator[str]:
    """The events of a response."""
    for chunk in chunks(response, usage):
        yield _event(chunk)
    yield "data: [DONE]\n\n"


async def growing_events(
    head: dict[str, Any],
    trees: Trees,
    answer: asyncio.Task[dict[str, Any]],
    usage: bool,
    ended: Callable[[int], None],
) -> AsyncIterator[str]:
    """The events of a search that is watched: its trees, then the answer.

    What goes wrong is an event too, for the status is sent by then.

    Args:
      head: from `new_head`.
      trees: of the search.
      answer: the response, when it is there.
      usage: whether a chunk brings the usage.
      ended: told what the status would have been.
    """
    tree, status = trees.last, 499  # where the client goes
    try:
        while tree is not None:
            yield _event(growing(head, tree, usage))
            tree = await trees.next(answer)
        async for event in events(answer.result(), usage):
            yield event
        status = 200
    except Exception as wrong:
        refusal = told(wrong)
        status = refusal.status
        yield _event(error(*refusal[:3]))
    finally:
        ended(status)
        answer.cancel()
