"""A query from a program, rather than from a file, as a record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .fields import check_nesting, check_unicode, messages_of, tools_of
from .openai import bare_functions, plain_message
from .parameters import is_list
from .types import DataError, Record, Tool


def query_record(
    query: str | Sequence[Mapping[str, Any]], tools: Sequence[Tool | Mapping[str, Any]]
) -> Record:
    """The record of a query whose gold is not known.

    Args:
      query: a text, or messages as in OpenAI's API.
      tools: `Tool`s, or their JSON, bare or as in OpenAI's API.

    Returns:
      The record; its id is a hash of query and tools.

    Raises:
      DataError: with the field and what was expected.
    """
    if not is_list(tools):
        raise DataError(f"tools: expected a list, found {type(tools).__name__}")
    given = [tool.to_json() if isinstance(tool, Tool) else tool for tool in tools]
    check_nesting([given, query])
    found = tools_of("tools", bare_functions(given))
    if is_list(query):
        query = [plain_message(f"query[{i}]", message) for i, message in enumerate(query)]
    messages = messages_of("query", query)
    whole = [list(messages), [tool.to_json() for tool in found]]
    check_unicode(whole)
    name = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
    return Record(name, messages, found, None)
