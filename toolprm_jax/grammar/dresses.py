"""How completions dress their calls, as one automaton for each dress.

The same tables are run in Python (`runner.py`) and in JAX (the search), so that a boundary in
training data is a boundary in search.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from .automaton import SPACE, Builder, call
from .types import (
    EOT,
    MODE_MASK,
    NUM_BYTES,
    NUM_CONTEXTS,
    Dress,
    Kind,
    Site,
    Tables,
)


class _Ends(NamedTuple):
    """The modes in which the calls are over, and those behind other text."""

    accepting: set[int]
    trailing: set[int]


def _list_body(builder: Builder, prefix: str, after_list: int) -> int:
    """The list of calls after its `[`; returns the mode there."""
    on = builder.on
    list_open = builder.mode(prefix + "list_open", "a call or `]`")
    list_next = builder.mode(prefix + "list_next", "a call")
    after_call = builder.mode(prefix + "after_call", "`,` or `]`")
    call_open = call(builder, prefix, after_call)
    for before in (list_open, list_next):
        on(before, SPACE, before)
        on(before, b"{", call_open)
    on(after_call, SPACE, after_call)
    on(after_call, b",", list_next)
    for before in (list_open, after_call):
        on(before, b"]", after_list, events=(Kind.TOTAL_FINISH,))
    return list_open


def _list(builder: Builder, start: int, done: int) -> _Ends:
    """Hammer's list of calls, in a code fence or not."""
    on = builder.on
    trailing = builder.mode("trailing", "anything", Site.TRAILING)
    after_list = builder.mode("after_list", "the end of the text")
    fence_list = builder.mode("fenced:after_list", "the closing fence")
    close1 = builder.mode("fenced:close.1", "the rest of the closing fence")
    close2 = builder.mode("fenced:close.2", "the rest of the closing fence")
    on(trailing, range(NUM_BYTES), trailing)
    for mode in (after_list, fence_list, close1, close2):
        on(mode, range(NUM_BYTES), trailing)
    for mode in (after_list, fence_list):
        on(mode, SPACE, mode)
        on(mode, [EOT], done)
    on(fence_list, b"`", close1)
    on(close1, b"`", close2)
    on(close2, b"`", after_list)

    on(start, SPACE, start)
    on(start, b"[", _list_body(builder, "", after_list))
    fence = builder.mode("fence_open", "`json` or `[`")
    labelled = builder.mode("fence_labelled", "`[`")
    builder.literal(start, b"```", fence, "fence")
    builder.literal(fence, b"json", labelled, "fence_json")
    fenced_open = _list_body(builder, "fenced:", fence_list)
    for mode in (fence, labelled):
        on(mode, SPACE, labelled)
        on(mode, b"[", fenced_open)
    return _Ends(
        {after_list, fence_list, close1, close2, trailing, done}, {close1, close2, trailing}
    )


_TAG_OPEN, _TAG_CLOSE = b"<tool_call>", b"</tool_call>"
_THINK_OPEN, _THINK_CLOSE = b"<think>", b"</think>"


def _thinking_text(builder: Builder, name: str, body: int, before_call: int) -> dict[bytes, int]:
    """Free text up to a call; a thought in it is skipped whole, whatever tags it quotes."""
    thought = builder.mode(f"{name}.thought", "valid UTF-8 text", builder.sites[body])
    found = builder.text(body, name, {_TAG_OPEN: before_call, _THINK_OPEN: thought})
    thinking = builder.text(thought, f"{name}.thought", {_THINK_CLOSE: body})
    return {**found, **{b"<think>" + read: mode for read, mode in thinking.items()}}


def _block(builder: Builder, prefix: str, between: int) -> int:
    """A call after its `<tool_call>`, up to its `</tool_call>`; returns the first mode."""
    before_call = builder.mode(prefix + "before_call", "`{`, a call", Site.CALL)
    after_call = builder.mode(prefix + "after_call", "`</tool_call>`")
    for mode in (before_call, after_call):
        builder.on(mode, SPACE, mode)
    builder.on(before_call, b"{", call(builder, prefix, after_call))
    builder.literal(after_call, _TAG_CLOSE, between, prefix + "tag_close")
    return before_call


def _tool_call(builder: Builder, start: int, done: int) -> _Ends:
    """Qwen's blocks after free text.

    What follows text after a call is read by modes of its own, `late:`, which know of that text.
    """
    first = len(builder.ids)
    late_done = builder.mode("late:done", "nothing more", Site.TRAILING)
    late = builder.mode("late:prose", "valid UTF-8 text", Site.TRAILING)
    builder.on(late_done, [EOT], late_done)
    late_block = _block(builder, "late:", late)
    late_modes = _thinking_text(builder, "late:prose", late, late_block)
    trailing = set(range(first, len(builder.ids)))

    between = builder.mode("between", "another `<tool_call>` or the end of the text")
    block = _block(builder, "", between)
    ends = [start, *_thinking_text(builder, "start", start, block).values(), between]
    # Behind a call only white space and another block are no text.
    builder.literal(between, _TAG_OPEN, block, "tag_next")
    builder.on(between, SPACE, between)
    spelled = [between, *(builder.ids[f"tag_next.{at}"] for at in range(1, len(_TAG_OPEN)))]
    for at, mode in enumerate(spelled):
        builder.otherwise(mode, late_modes[_TAG_OPEN[:at]])
    for mode in ends:
        builder.on(mode, [EOT], done, events=(Kind.TOTAL_FINISH,))
    for mode in (*late_modes.values(), *spelled[1:]):
        builder.on(mode, [EOT], late_done, events=(Kind.TOTAL_FINISH,))
    return _Ends({done, late_done}, trailing)


def _llama(builder: Builder, start: int, done: int) -> _Ends:
    """Llama 3's calls, with `;` between them; any other text is no call."""
    on = builder.on
    after_call = builder.mode("after_call", "`;` or the end of the text")
    next_call = builder.mode("next_call", "`{`, a call")
    text = builder.mode("prose", "valid UTF-8 text")
    call_open = call(builder, "", after_call, ("parameters", "arguments"))
    builder.text(text, "prose", {})
    # Models that may also write code put this token first.
    builder.literal(start, b"<|python_tag|>", next_call, "python_tag")
    tag = [builder.ids[f"python_tag.{at}"] for at in range(1, len(b"<|python_tag|>"))]
    for mode in (start, next_call, after_call):
        on(mode, SPACE, mode)
    for mode in (start, next_call):
        on(mode, b"{", call_open)
    on(after_call, b";", next_call)
    for mode in (start, *tag):
        builder.otherwise(mode, text)
    for mode in (start, text, *tag, after_call):
        on(mode, [EOT], done, events=(Kind.TOTAL_FINISH,))
    return _Ends({done}, set())


_DRESSES: Mapping[Dress, tuple[str, Callable[[Builder, int, int], _Ends]]] = {
    "list": ("`[` or a code fence", _list),
    "tool_call": ("valid UTF-8 text", _tool_call),
    "llama": ("valid UTF-8 text", _llama),
}


@cache
def tables(dress: Dress = "list") -> Tables:
    """The automaton of one dress, built once.

    Args:
      dress: "list" (Hammer's list of calls, optionally in a code fence), "tool_call" (Qwen's
        `<tool_call>` blocks after free text) or "llama" (Llama 3's objects, with "parameters" for
        "arguments" and `;` between them).

    Returns:
      The tables.

    Raises:
      ValueError: an unknown dress.

    Source: arXiv:2510.14703, section 3 (the five decisions); the byte grammar is our choice.
    """
    if dress not in _DRESSES:
        raise ValueError(f"dress: expected one of {sorted(_DRESSES)}, got {dress!r}")
    expects, build = _DRESSES[dress]
    builder = Builder()
    start = builder.mode("start", expects)
    done = builder.mode("done", "nothing more")
    builder.on(done, [EOT], done)
    ends = build(builder, start, done)
    flat = array("i")
    for context in range(NUM_CONTEXTS):
        for edges in builder.edges:
            flat.extend(_row(edges[context]))
    return Tables(
        transitions=flat,
        names=tuple(builder.ids),
        expects=tuple(builder.expects),
        sites=tuple(builder.sites),
        places=tuple(builder.places),
        start=start,
        dead=0,
        done=done,
        accepting=frozenset(ends.accepting),
        trailing=frozenset(ends.trailing),
        links=_links(builder.edges),
    )


def _row(edges: Mapping[int, int]) -> list[int]:
    row = [0] * NUM_BYTES
    for byte, entry in edges.items():
        row[byte] = entry
    return row


def _links(edges: Sequence[Sequence[Mapping[int, int]]]) -> list[list[list[Any]]]:
    links: list[list[list[Any]]] = [
        [[None] * NUM_BYTES + [mode] for mode in range(len(edges))] for _ in range(NUM_CONTEXTS)
    ]
    for mode, by_context in enumerate(edges):
        for linked, given in zip(links, by_context, strict=True):
            row = linked[mode]
            for byte, entry in given.items():
                if entry <= MODE_MASK:
                    row[byte] = linked[entry]
    return links
