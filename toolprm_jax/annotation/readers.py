"""Readers of function-calling records: record JSONL, xLAM, BFCL, ToolAlpaca (Hammer's form)."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .jsonl import Rejects, Row, checked_file, parse_json, read_rows
from .records import Call, DataError, Equality, GoldCall, Record, Tool

FORMATS = ("record", "xlam", "bfcl", "toolalpaca")

_OBJECT_TYPES = ("object", "dict")


def read_records(
    path: str | os.PathLike[str], format: str | None = None, rejects: Rejects | None = None
) -> Iterator[Record]:
    """Records from a file, one at a time.

    Args:
      path: JSON lines, or a JSON array. BFCL's answers are read from the file of the same name in
        the folder `possible_answer` beside it.
      format: one of `FORMATS`; recognised from the first row if None.
      rejects: receives the rows that can't be used; None makes the first one an error.

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
    if format not in FORMATS:
        raise DataError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    parse = _parser(path, format)
    return _records(rows, parse, rejects)


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
      in full, as `accepted`, and BFCL's equality as `"equality": "bfcl"`.
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
        line["answers"] = [gold.first().to_json() for gold in record.answers]
        if any(gold != GoldCall.exact(gold.first()) for gold in record.answers):
            line["accepted"] = [
                {
                    "name": gold.name,
                    "arguments": {name: list(values) for name, values in gold.arguments.items()},
                    "optional": sorted(gold.optional),
                }
                for gold in record.answers
            ]
    if record.equality != "json":
        line["equality"] = record.equality
    return {**line, **record.extra}


def _records(
    rows: Iterable[Row], parse: Callable[[Row], Record], rejects: Rejects | None
) -> Iterator[Record]:
    seen: set[str] = set()
    for row in rows:
        try:
            record = parse(row)
            if record.id in seen:
                raise DataError(f"id: {record.id!r} was used by an earlier row")
        except DataError as error:
            row.reject(str(error), rejects)
            continue
        seen.add(record.id)
        yield record


def _peek_format(path: Path, rows: Iterable[Row]) -> tuple[str, Iterable[Row]]:
    rows, read = iter(rows), []
    for row in rows:
        read.append(row)
        if isinstance(row.value, dict):
            break
    value = read[-1].value
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected records, found no line that is a JSON object")
    if "question" in value and "function" in value:
        format = "bfcl"
    elif "query" in value and "tools" in value:
        if isinstance(value["tools"], str):
            format = "xlam"
        else:
            format = "record" if read[-1].line or "id" in value else "toolalpaca"
    else:
        keys = ", ".join(map(repr, itertools.islice(value, 5)))
        advice = (
            "; these are BFCL's answers: name the file of the questions"
            if "ground_truth" in value
            else ""
        )
        raise DataError(
            f"{read[-1].where}: expected the keys 'query' and 'tools' (or BFCL's 'question' and "
            f"'function'), found {keys or 'none'}{advice}"
        )
    return format, itertools.chain(read, rows)


def _parser(path: Path, format: str) -> Callable[[Row], Record]:
    if format != "bfcl":
        return lambda row: _parse_row(row, packed=format == "xlam")
    answers = _bfcl_answers(path)
    return lambda row: _parse_bfcl(row, path.name, answers)


def _mapping(row: Row) -> tuple[str, dict[str, Any]]:
    if row.problem:
        raise DataError(row.problem)
    if not isinstance(row.value, dict):
        raise DataError(f"expected an object, found {type(row.value).__name__}")
    if row.id is None:
        raise DataError("id: expected a string or an integer")
    try:
        json.dumps(row.value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError("expected Unicode text, found a lone surrogate") from None
    return row.id, dict(row.value)


def _parse_row(row: Row, *, packed: bool) -> Record:
    """A row of record JSONL or ToolAlpaca; of xLAM if `packed`: JSON strings inside JSON."""
    record_id, value = _mapping(row)
    value.pop("id", None)
    messages = _messages("query", value.pop("query", None))
    tools = _tools("tools", _unpack("tools", value.pop("tools", None), packed))
    answers, accepted = value.pop("answers", None), value.pop("accepted", None)
    equality: Equality = "json"
    if not packed and value.get("equality") in ("json", "bfcl"):
        equality = value.pop("equality")
    golds = None
    if accepted is not None:
        golds = tuple(
            _accepted(f"accepted[{i}]", gold) for i, gold in enumerate(_list("accepted", accepted))
        )
    elif answers is not None:
        calls = _list("answers", _unpack("answers", answers, packed))
        golds = tuple(_exact(f"answers[{i}]", call) for i, call in enumerate(calls))
    return Record(record_id, messages, tools, golds, equality, value)


def _unpack(field: str, value: Any, packed: bool) -> Any:
    if not packed or not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except DataError as error:
        raise DataError(f"{field}: {error}") from None


def _messages(field: str, value: Any) -> tuple[Mapping[str, str], ...]:
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise DataError(f"{field}: expected a string or a list of messages")
    for i, message in enumerate(value):
        if not isinstance(message, dict):
            raise DataError(f"{field}[{i}]: expected an object with 'role' and 'content'")
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                raise DataError(f"{field}[{i}].{key}: expected a string")
    if not value[-1]["content"].strip():
        raise DataError(f"{field}: expected a text, found an empty one")
    return tuple(value)


def _list(field: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{field}: expected a list, found {type(value).__name__}")
    return value


def _name(field: str, value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name:
        raise DataError(f"{field}: expected an object with a non-empty string 'name'")
    return name


def _tools(field: str, value: Any) -> tuple[Tool, ...]:
    tools = tuple(_tool(f"{field}[{i}]", tool) for i, tool in enumerate(_list(field, value)))
    if not tools:
        raise DataError(f"{field}: expected at least one tool, found none")
    return tools


def _tool(field: str, value: Any) -> Tool:
    name = _name(field, value)
    description = value.get("description") or ""
    if not isinstance(description, str):
        raise DataError(f"{field}.description: expected a string")
    parameters = value.get("parameters")
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise DataError(f"{field}.parameters: expected an object")
    if "properties" not in parameters and parameters.get("type") in _OBJECT_TYPES:
        # A schema without properties: else its "type" would be taken for a flat parameter.
        parameters = {**parameters, "properties": {}}
    extra = {k: v for k, v in value.items() if k not in ("name", "description", "parameters")}
    tool = Tool(name, description, parameters, extra)
    if tool.is_json_schema:
        required = parameters.get("required", [])
        if not isinstance(required, list) or not all(isinstance(n, str) for n in required):
            raise DataError(f"{field}.parameters.required: expected a list of strings")
    return tool


def _exact(field: str, value: Any) -> GoldCall:
    name = _name(field, value)
    if not isinstance(value.get("arguments"), dict):
        raise DataError(f"{field}.arguments: expected an object")
    return GoldCall.exact(Call(name, value["arguments"]))


def _accepted(field: str, value: Any) -> GoldCall:
    name = _name(field, value)
    arguments, optional = value.get("arguments"), value.get("optional", [])
    if not isinstance(arguments, dict) or not all(
        isinstance(values, list) and values for values in arguments.values()
    ):
        raise DataError(f"{field}.arguments: expected a list of accepted values per parameter")
    if not isinstance(optional, list) or not all(isinstance(n, str) for n in optional):
        raise DataError(f"{field}.optional: expected a list of strings")
    accepted = {parameter: tuple(values) for parameter, values in arguments.items()}
    return GoldCall(name, accepted, frozenset(optional))


def _bfcl_answers(path: Path) -> dict[str, Any] | None:
    """Ground truth by id; None where no answer file exists."""
    answers = path.parent / "possible_answer" / path.name
    if not answers.exists():
        return None
    truth: dict[str, Any] = {}
    for row in read_rows(answers):
        record_id, value = _at(row)
        if record_id in truth:
            raise DataError(f"{row.where}: id: {record_id!r} was used by an earlier row")
        truth[record_id] = value.get("ground_truth")
    return truth


def _at(row: Row) -> tuple[str, dict[str, Any]]:
    try:
        return _mapping(row)
    except DataError as error:
        raise DataError(f"{row.where}: {error}") from None


def _parse_bfcl(row: Row, file_name: str, answers: Mapping[str, Any] | None) -> Record:
    record_id, value = _mapping(row)
    value.pop("id", None)
    turns = _list("question", value.pop("question", None))
    if len(turns) != 1:
        raise DataError(f"question: expected one turn, found {len(turns)}")
    messages = _messages("question[0]", turns[0])
    functions = value.pop("function", None)
    tools = _tools("function", [functions] if isinstance(functions, dict) else functions)
    golds = None
    if answers is not None:
        if record_id not in answers:
            raise DataError(f"id: expected an answer for {record_id!r} in possible_answer")
        truth = _list("possible_answer", answers[record_id])
        golds = tuple(_bfcl_gold(f"possible_answer[{i}]", gold) for i, gold in enumerate(truth))
    elif "irrelevance" in file_name:
        golds = ()
    return Record(record_id, messages, tools, golds, "bfcl", value)


def _bfcl_gold(field: str, value: Any) -> GoldCall:
    if not isinstance(value, dict) or len(value) != 1:
        raise DataError(f"{field}: expected an object with one function name")
    ((name, arguments),) = value.items()
    if not isinstance(arguments, dict):
        raise DataError(f"{field}.{name}: expected an object")
    accepted: dict[str, tuple[Any, ...]] = {}
    optional = set()
    for parameter, values in arguments.items():
        if not isinstance(values, list) or not values:
            raise DataError(f"{field}.{name}.{parameter}: expected a list of accepted values")
        if "" in values:
            optional.add(parameter)
        given = tuple(v for v in values if v != "")
        accepted[parameter] = given or ("",)
    return GoldCall(name, accepted, frozenset(optional))
