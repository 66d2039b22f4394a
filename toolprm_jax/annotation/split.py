"""Which records train and which test: by a hash of the called tools, or of the query."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from ..records import Record, Tool

Split = Literal["train", "test", "straddling"]
SplitBy = Literal["tools", "query"]
SPLITS: tuple[Split, ...] = ("train", "test", "straddling")

_TEST_TENTHS = 1  # of 10; the paper's test set holds 10.0 % of its trajectories


def split_of(record: Record, by: SplitBy = "tools") -> Split:
    """The split of a record.

    By tools, no tool that a gold of one split calls is called in the other. A tool is known by what
    function masking leaves of it: its description and the descriptions and types of its parameters;
    where nothing is described, by its name. Tools that the gold does not call may occur in both
    splits. A record whose gold is "no call" goes by its query. By query, where there are too few
    tools for two splits, the same tools are called in both.

    Args:
      record: the record.
      by: "tools" or "query".

    Returns:
      "train" or "test", or "straddling" where its gold calls tools of both.

    Source: our choice; the paper does not say how its test set was split off.
    """
    by_name = {tool.name: tool for tool in reversed(record.tools)}
    called = {gold.name for gold in record.answers or ()}
    if called and by == "tools":
        keys = {_identity(by_name[name]) if name in by_name else name for name in called}
    else:
        keys = {record.query}
    sides: set[Split] = {_side(key) for key in keys}
    return sides.pop() if len(sides) == 1 else "straddling"


def _side(key: str) -> Split:
    digest = hashlib.sha256(f"toolprm_steps/{key}".encode()).digest()
    return "test" if int.from_bytes(digest[:8]) % 10 < _TEST_TENTHS else "train"


def _identity(tool: Tool) -> str:
    described = sorted(_described(schema) for schema in tool.properties.values())
    if not tool.description and not any(text for text, _ in described):
        return tool.name
    return json.dumps([tool.description, described])


def _described(schema: Any) -> tuple[str, str]:
    if not isinstance(schema, Mapping):
        return "", ""
    return str(schema.get("description") or ""), str(schema.get("type"))
