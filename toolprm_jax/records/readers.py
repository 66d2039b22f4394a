"""Readers of function-calling records: record JSONL, xLAM, BFCL, ToolAlpaca (Hammer), OpenAI."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .bfcl import bfcl_parser
from .fields import (
    ACCEPTED_KEYS,
    CALL_KEYS,
    RECORD_KEYS,
    accepted_gold,
    beside,
    exact_gold,
    kept_beside,
    list_of,
    messages_of,
    row_object,
    tools_of,
    unpack,
)
from .jsonl import Rejects, Row, checked_file, read_rows
from .openai import parse_conversation, plain_message
from .types import DataError, Equality, GoldCall, Record

FORMATS = ("record", "xlam", "bfcl", "toolalpaca", "openai")

# A row gives one record, or one for each assistant turn of an OpenAI conversation.
_Parser = Callable[[Row], Sequence[Record]]


def read_records(
    path: str | os.PathLike[str],
    format: str | None = None,
    rejects: Rejects | None = None,
    found: Callable[[str], None] | None = None,
    known: Container[str] | None = None,
) -> Iterator[Record]:
    """Records from a file, one at a time.

    Args:
      path: JSON lines, or a JSON array. BFCL's answers are read from the file of the same name in
        the folder `possible_answer` beside it.
      format: one of `FORMATS`; recognised from the first row if None.
      rejects: receives the rows that can't be used; None makes the first one an error.
      found: receives the format where it was recognised.
      known: holds the ids of the records yielded so far, where the caller keeps them anyway; None
        keeps them here, some 100 bytes a record.

    Returns:
      Records in file order. Rows without an id get their 0-based index; of several rows with one
      id all but the first are rejected.

    Raises:
      DataError: if the file can't be read or its format is unknown; for a bad row if `rejects` is
        None.
    """
    path = checked_file(path)
    rows: Iterable[Row] = read_rows(path)
    if format is None:
        format, rows = _peek_format(path, rows)
        if found is not None:
            found(format)
    if format not in FORMATS:
        raise DataError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    return _records(rows, _parser(path, format), rejects, known)


def detect_format(path: str | os.PathLike[str]) -> str:
    """The format of a records file, from its first row that is a JSON object.

    Args:
      path: the file.

    Returns:
      One of `FORMATS`.

    Raises:
      DataError: if the file can't be read, or the row has the form of none of them.
    """
    return _peek_format(Path(path), read_rows(path))[0]


def record_to_json(record: Record) -> dict[str, Any]:
    """A record as one line of record JSONL; `read_records` takes it back.

    Args:
      record: the record.

    Returns:
      `{"id", "query", "tools", "answers", ...}`; golds that accept several values are also given
      in full, as `accepted`, and BFCL's equality as `"equality": "bfcl"`. Foreign keys that bear a
      name of ours stand under `foreign`.
    """
    single = len(record.messages) == 1 and dict(record.messages[0]) == {
        "role": "user",
        "content": record.query,
    }
    line: dict[str, Any] = {
        "id": record.id,
        "query": record.query if single else [dict(message) for message in record.messages],
        "tools": [tool.to_json() for tool in record.tools],
    }
    if record.answers is not None:
        line["answers"] = [
            beside(gold.first().to_json(), gold.extra, CALL_KEYS) for gold in record.answers
        ]
        if not all(gold.is_exact for gold in record.answers):
            line["accepted"] = [
                beside(
                    {
                        "name": gold.name,
                        "arguments": {name: list(some) for name, some in gold.arguments.items()},
                        "optional": sorted(gold.optional),
                    },
                    gold.extra,
                    ACCEPTED_KEYS,
                )
                for gold in record.answers
            ]
    if record.equality != "json":
        line["equality"] = record.equality
    return beside(line, record.extra, RECORD_KEYS)


def record_from_json(value: Mapping[str, Any]) -> Record:
    """The inverse of `record_to_json`.

    Raises:
      DataError: with the field and what was expected.
    """
    return _parse_record(Row("", 0, None, None, value))


def _records(
    rows: Iterable[Row], parse: _Parser, rejects: Rejects | None, known: Container[str] | None
) -> Iterator[Record]:
    seen: set[str] = set()
    known = seen if known is None else known
    for row in rows:
        try:
            records = parse(row)
            for record in records:
                if record.id in known:
                    raise DataError(f"id: {record.id!r} was used by an earlier row")
        except DataError as error:
            row.reject(str(error), rejects)
            continue
        if known is seen:
            seen.update(record.id for record in records)
        yield from records


def _peek_format(path: Path, rows: Iterable[Row]) -> tuple[str, Iterable[Row]]:
    rows, read = iter(rows), []
    for row in rows:
        read.append(row)
        if isinstance(row.value, dict):
            break
    row = read[-1]
    if not isinstance(row.value, dict):
        row = read[0]
        found = row.problem or f"expected an object, found {type(row.value).__name__}"
        raise DataError(f"{row.where}: {found}; found no line that is a JSON object")
    formats = _forms(row.value, in_array=row.line is None)
    if len(formats) > 1:
        raise DataError(
            f"{row.where}: has the form of {' and of '.join(formats)}: say which with --format"
        )
    if not formats:
        keys = ", ".join(map(repr, itertools.islice(row.value, 5)))
        raise DataError(
            f"{row.where}: expected the keys 'query' and 'tools' (or BFCL's 'question' and "
            f"'function', OpenAI's 'messages' and 'tools', or Hammer's 'instruction' and "
            f"'output'), found {keys or 'none'}{_advice(row.value)}"
        )
    return formats[0], itertools.chain(read, rows)


def _forms(value: dict[str, Any], *, in_array: bool) -> list[str]:
    """The formats whose form a row has; a key alone, which may be foreign, decides nothing."""
    forms = []
    if isinstance(value.get("question"), list) and "function" in value:
        forms.append("bfcl")
    messages = value.get("messages")
    if isinstance(messages, list | str) and messages and not isinstance(messages[0], list):
        forms.append("openai")
    if "query" in value and "tools" in value and (not forms or _has_own_tools(value)):
        if isinstance(value["tools"], str):
            forms.append("xlam")
        # `accepted` is a key of ours; it may be a foreign one where the answers stand beside it.
        elif in_array and "id" not in value and ("accepted" not in value or "answers" in value):
            forms.append("toolalpaca")
        else:
            forms.append("record")
    if not forms and "question" in value and "function" in value:
        forms.append("bfcl")  # whatever is wrong with it, the reader says
    if not forms and "messages" in value:
        forms.append("openai")
    if _is_hammer(value) and "output" in value and not forms:
        forms.append("toolalpaca")
    return forms


def _has_own_tools(value: dict[str, Any]) -> bool:
    """Whether a row with another format's keys is one of ours, too: its tools bear names."""
    tools = value["tools"]
    if isinstance(tools, str):
        answers = value.get("answers")
        return isinstance(answers, str) and answers.strip()[:1] in ("[", "")
    named = isinstance(tools, list) and all(isinstance(t, dict) and "name" in t for t in tools)
    return bool(tools) and named and isinstance(value["query"], str | list)


def _is_hammer(value: dict[str, Any]) -> bool:
    prompt = value.get("instruction")
    marked = isinstance(prompt, str) and _TOOLS.search(prompt) is not None
    return marked or ("instruction" in value and not ("query" in value and "tools" in value))


def _advice(value: dict[str, Any]) -> str:
    if "ground_truth" in value:
        return "; these are BFCL's answers: name the file of the questions"
    if "involved_classes" in value:
        return "; BFCL's multi-turn categories need its simulated services and are not read"
    if "prompt" in value and "completions" in value:
        return "; these are TRL's steps: see python -m toolprm_jax.tokens.trl --help"
    return ""


def _parser(path: Path, format: str) -> _Parser:
    if format == "openai":
        return parse_conversation
    if format == "bfcl":
        parse_bfcl = bfcl_parser(path)
        return lambda row: [parse_bfcl(row)]
    if format == "xlam":
        return lambda row: [_parse_row(row, packed=True)]
    if format == "toolalpaca":
        return lambda row: [_parse_toolalpaca(row)]
    return lambda row: [_parse_record(row)]


def _parse_record(row: Row) -> Record:
    """A row of record JSONL."""
    record_id, value = row_object(row)
    equality: Equality = value.get("equality") or "json"
    if equality not in ("json", "bfcl"):
        raise DataError(f"equality: expected 'json' or 'bfcl', found {equality!r}")
    golds = _exact_golds("answers", value.get("answers"))
    if value.get("accepted") is not None:
        accepted = list_of("accepted", value["accepted"])
        golds = tuple(accepted_gold(f"accepted[{i}]", gold) for i, gold in enumerate(accepted))
    return Record(
        record_id,
        messages_of("query", _with_calls(value.get("query"))),
        tools_of("tools", value.get("tools"), may_be_empty=golds == ()),
        golds,
        equality,
        kept_beside(value, RECORD_KEYS),
    )


def _parse_row(row: Row, *, packed: bool) -> Record:
    """A row of ToolAlpaca; of xLAM if `packed`: JSON strings inside JSON."""
    record_id, value = row_object(row)
    tools, answers = value.pop("tools", None), value.pop("answers", None)
    if packed:
        tools = unpack("tools", tools)
        # The irrelevance set may leave the string of no answers empty.
        answers = [] if answers == "" else unpack("answers", answers)
    golds = _exact_golds("answers", answers)
    messages = messages_of("query", _with_calls(value.pop("query", None)))
    listed = tools_of("tools", tools, may_be_empty=golds == ())
    return Record(record_id, messages, listed, golds, extra=value)


def _with_calls(query: Any) -> Any:
    """Messages of a query, those that hold their calls as OpenAI's API has them in our form."""
    if not isinstance(query, list):
        return query
    return [
        plain_message(f"query[{i}]", message)
        if isinstance(message, dict)
        and "calls" not in message
        and (message.get("tool_calls") or message.get("function_call"))
        else message
        for i, message in enumerate(query)
    ]


def _exact_golds(field: str, answers: Any) -> tuple[GoldCall, ...] | None:
    if answers is None:
        return None
    return tuple(exact_gold(f"{field}[{i}]", c) for i, c in enumerate(list_of(field, answers)))


_TOOLS = re.compile(r"\[BEGIN OF AVAILABLE TOOLS\]\n(.*?)\n\[END OF AVAILABLE TOOLS\]", re.DOTALL)
_QUERY = re.compile(r"\[BEGIN OF QUERY\]\n(.*?)\n\[END OF QUERY\]", re.DOTALL)
_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
_FENCE = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)


def _parse_toolalpaca(row: Row) -> Record:
    """A row of ToolAlpaca as Hammer evaluates it: plain, or as the text of Hammer's prompt."""
    if not isinstance(row.value, dict) or not _is_hammer(row.value):
        return _parse_row(row, packed=False)
    record_id, value = row_object(row)
    prompt, output = value.pop("instruction"), value.pop("output", None)
    for name, text in (("instruction", prompt), ("output", output)):
        if not isinstance(text, str):
            raise DataError(f"{name}: expected a string, found {type(text).__name__}")
    tools = _TOOLS.search(prompt)
    if tools is None:
        raise DataError("instruction: expected [BEGIN OF AVAILABLE TOOLS] and the tools as JSON")
    query = _QUERY.search(prompt)
    turns = _TURN.findall(prompt[tools.end() :])
    if query:
        messages = messages_of("instruction", query[1])
    else:
        messages = messages_of(
            "instruction", [{"role": role, "content": text} for role, text in turns]
        )
    if value.get("input") == "":
        del value["input"]
    fenced = _FENCE.fullmatch(output)
    answers = unpack("output", fenced[1] if fenced else output)
    golds = _exact_golds("output", list_of("output", answers))
    listed = tools_of("instruction", unpack("instruction", tools[1]), may_be_empty=not golds)
    return Record(record_id, messages, listed, golds, extra=value)
