"""Names that masking keeps: those that a pattern in the tool's schema reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..records import Tool, pattern_matches, tool_schemas

_ANYTHING = ""  # as a pattern
# What `propertyNames` may say without reading how a name is spelled.
_LISTED = ("enum", "const", "type", "title", "description")


def key_patterns(tools: Iterable[Tool]) -> Mapping[str, Sequence[str]]:
    """The patterns by which schemas judge an object's keys.

    Args:
      tools: the tools, in old names.

    Returns:
      For each tool's name, those of `patternProperties`, and one that matches everything where
      `propertyNames` say more than a list.

    Source: our choice.
    """
    found: dict[str, list[str]] = {}
    for tool in tools:
        known = found.setdefault(tool.name, [])
        for schema in tool_schemas(tool):
            patterns = schema.get("patternProperties")
            known += patterns if isinstance(patterns, Mapping) else ()
            if _reads_names(schema.get("propertyNames")):
                known.append(_ANYTHING)
    return found


def is_seen(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns matches a name, or can't be told not to."""
    return any(pattern_matches(pattern, name) for pattern in patterns)


def _reads_names(schema: Any) -> bool:
    return isinstance(schema, Mapping) and any(word not in _LISTED for word in schema)
