"""Where the boxes of a search's tree stand: checks of the trace, wrapping, and places."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CHARS = 27  # characters a line in a box
BOX_W, LINE_H = 214.0, 15.5
_COLUMN_W, _GAP_Y = 262.0, 12.0
_LEFT, _TOP = 86.0, 62.0
# How strongly a node holds to its parent's height: the answer's path is drawn straight.
_PULL = {"path": 1e6, "kept": 10.0, "pruned": 1.0}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Node:
    """One candidate of one decision, placed."""

    raw: Mapping[str, Any]
    style: str  # "path" (of the answer), "kept" or "pruned"
    lines: tuple[str, ...]  # text as drawn
    x: float  # left edge, pixels
    y: float  # middle, pixels
    height: float  # pixels


def visible(text: str) -> str:
    """Text without characters that XML forbids or nobody sees; a line feed becomes its arrow."""

    def stand_in(match: re.Match[str]) -> str:
        code = ord(match.group())
        if code == 0x0A:
            return "\N{RETURN SYMBOL}"
        return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"

    return _CONTROL.sub(stand_in, text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _break(text: str, at_words: bool) -> tuple[str, ...]:
    lines, line = [], ""
    for char in text:
        if sum(map(_width, line + char)) > _CHARS:
            space = line.rfind(" ") + 1
            # A break at a word must not leave a line half empty.
            cut = space if at_words and space > len(line) // 2 else len(line)
            lines.append(line[:cut])
            line = line[cut:]
        line += char
    return (*lines, line)


def wrap(text: str, max_lines: int) -> tuple[str, ...]:
    """Breaks text into lines of at most 27 columns.

    A text that is too long keeps its beginning and its end, since candidates of one decision
    often begin alike.
    """
    shown = visible(text).strip() or "\N{OPEN BOX}"
    budget = max_lines * _CHARS
    if sum(map(_width, shown)) > budget:
        head, tail, used = "", "", 1
        chars = list(shown)
        while chars:
            from_head = len(head) <= len(tail)
            char = chars.pop(0) if from_head else chars.pop()
            used += _width(char)
            if used > budget - max_lines:  # wide characters may leave a column empty a line
                break
            head, tail = (head + char, tail) if from_head else (head, char + tail)
        shown = f"{head}\N{HORIZONTAL ELLIPSIS}{tail}"
    at_words = _break(shown, at_words=True)
    return at_words if len(at_words) <= max_lines else _break(shown, at_words=False)


def spread(
    wanted: Sequence[float], heights: Sequence[float], pulls: Sequence[float]
) -> list[float]:
    """Middles nearest to the wanted ones (weighted least squares) that don't overlap, in order.

    Args:
      wanted: middle of each box, pixels.
      heights: of each box, pixels.
      pulls: weight of each box.

    Returns:
      The middles, by pooling neighbours that would overlap (isotonic regression).
    """
    offsets, total = [], 0.0
    for i, height in enumerate(heights):
        total += (heights[i - 1] + height) / 2 + _GAP_Y if i else 0.0
        offsets.append(total)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, number of boxes
    for target, offset, pull in zip(wanted, offsets, pulls, strict=True):
        blocks.append((target - offset, pull, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean_b, weight_b, count_b), (mean_a, weight_a, count_a) = blocks.pop(), blocks.pop()
            weight = weight_a + weight_b
            mean = (mean_a * weight_a + mean_b * weight_b) / weight
            blocks.append((mean, weight, count_a + count_b))
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def answer_path(trace: Mapping[str, Any]) -> list[int]:
    """Indices of the nodes from the first decision to the answer.

    Raises:
      ValueError: an index occurs twice, a parent is absent or not of an earlier decision, the
        answer is absent, or a node's `p` doesn't have one value per boundary.
    """
    nodes = {node["index"]: node for node in trace["nodes"]}
    if len(nodes) != len(trace["nodes"]):
        raise ValueError("search trace: nodes: expected different indices")
    for index, node in nodes.items():
        parent = node["parent"]
        if parent != -1 and parent not in nodes:
            raise ValueError(f"search trace: node {index}: its parent {parent} is absent")
        if parent != -1 and nodes[parent]["decision"] >= node["decision"]:
            raise ValueError(f"search trace: node {index}: expected an earlier decision as parent")
        if node["p"] and len(node["p"]) != len(node["kinds"]):
            raise ValueError(f"search trace: node {index}: expected one p per boundary")
    if trace["answer"] not in nodes:
        raise ValueError(f"search trace: answer: node {trace['answer']} is absent")
    path, index = [], trace["answer"]
    while index != -1:
        path.append(index)
        index = nodes[index]["parent"]
    return path[::-1]


def _pulled(node: Mapping[str, Any], path: set[int]) -> str:
    return "path" if node["index"] in path else "kept" if node["kept"] else "pruned"


def layout(trace: Mapping[str, Any]) -> list[Node]:
    """Places every node: a column per decision, children beside their parent, no edges crossing."""
    path = set(answer_path(trace))
    columns: dict[int, list[Mapping[str, Any]]] = {}
    for raw in trace["nodes"]:
        columns.setdefault(raw["decision"], []).append(raw)
    middle: dict[int, float] = {-1: 0.0}
    placed: list[Node] = []
    for column, decision in enumerate(sorted(columns)):
        # The best candidate goes on top; a dead one has no score worth comparing.
        raws = sorted(
            columns[decision],
            key=lambda raw: (
                middle[raw["parent"]],
                raw["parent"],
                not raw["kept"],
                math.inf if raw["score"] is None else -raw["score"],
                raw["index"],
            ),
        )
        styles = [_pulled(raw, path) for raw in raws]
        texts = [
            wrap(raw["text"], 2 if style == "pruned" else 4)
            for raw, style in zip(raws, styles, strict=True)
        ]
        heights = [
            34.0 + LINE_H * len(lines) + (33.0 if raw["p"] else 0.0)
            for raw, lines in zip(raws, texts, strict=True)
        ]
        wanted = [middle[raw["parent"]] for raw in raws]
        middles = spread(wanted, heights, [_PULL[style] for style in styles])
        for raw, style, lines, y, height in zip(raws, styles, texts, middles, heights, strict=True):
            middle[raw["index"]] = y
            placed.append(Node(raw, style, lines, _LEFT + column * _COLUMN_W, y, height))
    top = min(node.y - node.height / 2 for node in placed)
    shift = _TOP - min(top, -20.0)
    return [
        Node(node.raw, node.style, node.lines, node.x, node.y + shift, node.height)
        for node in placed
    ]
