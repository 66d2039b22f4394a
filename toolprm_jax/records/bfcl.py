"""Reader of the Berkeley Function-Calling Leaderboard's single-turn categories (v3, v4)."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .fields import MESSAGE_KEYS, beside, list_of, messages_of, row_object, tools_of
from .jsonl import Row, read_rows
from .literals import LANGUAGES, Language, write_literal
from .types import DataError, GoldCall, Record, Tool

_MOST_ALTERNATIVES = 10_000
_NOTES: Mapping[Language, str] = {"java": "Java", "javascript": "JavaScript"}


def bfcl_parser(path: Path) -> Callable[[Row], Record]:
    """The parser of one file's rows; its answers are read at once.

    In the Java and JavaScript categories every argument is a string that holds a literal of that
    language, so parameters become strings, their own schema moves under `literal`, and the
    accepted values are written as literals.

    Args:
      path: the file of the questions. Its name says the language, and whether no call is right
        (`irrelevance`); the answers are in the file of that name in `possible_answer` beside it.

    Returns:
      A function of a row, which raises `DataError` for one that can't be used.

    Raises:
      DataError: the answers can't be read.

    Source: gorilla.cs.berkeley.edu/leaderboard, data of v3 and v4.
    """
    answers = _answers(path)
    parts = _name_parts(path)
    language: Language | None = next((name for name in LANGUAGES if name in parts), None)

    def parse(row: Row) -> Record:
        record = _parse(row, answers, irrelevance="irrelevance" in parts)
        return record if language is None else _as_literals(record, language)

    return parse


def answers_file(path: Path) -> Path:
    """Where the answers to BFCL's questions would lie; either file may be packed by gzip."""
    place = path.parent / "possible_answer"
    names = (path.name, path.name.removesuffix(".gz"), f"{path.name}.gz")
    return next((place / name for name in names if (place / name).exists()), place / path.name)


def _name_parts(path: Path) -> list[str]:
    return re.findall(r"[^\W_]+", path.name)


def _answers(path: Path) -> dict[str, Any] | None:
    """Ground truth by id; None where no answer file exists."""
    answers = answers_file(path)
    if not answers.exists():
        return None
    truth: dict[str, Any] = {}
    for row in read_rows(answers):
        try:
            record_id, value = row_object(row)
        except DataError as error:
            raise DataError(f"{row.where}: {error}") from None
        if record_id in truth:
            raise DataError(f"{row.where}: id: {record_id!r} was used by an earlier row")
        truth[record_id] = value.get("ground_truth")
    return truth


def _parse(row: Row, answers: Mapping[str, Any] | None, *, irrelevance: bool) -> Record:
    record_id, value = row_object(row)
    turns = list_of("question", value.pop("question", None))
    if len(turns) != 1:
        raise DataError(f"question: expected one turn, found {len(turns)}")
    messages = messages_of("question[0]", _without_calls(turns[0]))
    golds = None
    if answers is not None:
        if record_id not in answers:
            raise DataError(f"id: expected an answer for {record_id!r} in possible_answer")
        truth = list_of("possible_answer", answers[record_id])
        golds = tuple(_gold(f"possible_answer[{i}]", gold) for i, gold in enumerate(truth))
    elif irrelevance:
        golds = ()
    functions = value.pop("function", None)
    functions = [functions] if isinstance(functions, dict) else functions
    tools = tools_of("function", functions, may_be_empty=golds == ())
    return Record(record_id, messages, tools, golds, "bfcl", value)


def _without_calls(turn: Any) -> Any:
    """A turn's messages without keys that would be ours: BFCL's hold no calls."""
    if not isinstance(turn, list):
        return turn
    return [_without_calls_of(m) if isinstance(m, dict) else m for m in turn]


def _without_calls_of(message: Mapping[str, Any]) -> dict[str, Any]:
    ours = {k: v for k, v in message.items() if k in ("role", "content")}
    return beside(ours, {k: v for k, v in message.items() if k not in ours}, MESSAGE_KEYS)


def _gold(field: str, value: Any) -> GoldCall:
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


def _as_literals(record: Record, language: Language) -> Record:
    by_name = {tool.name: tool for tool in reversed(record.tools)}
    answers = record.answers
    if answers is not None:
        answers = tuple(_literal_gold(gold, by_name.get(gold.name), language) for gold in answers)
    tools = tuple(_literal_tool(tool, language) for tool in record.tools)
    return record.with_(tools=tools, answers=answers)


def _literal_tool(tool: Tool, language: Language) -> Tool:
    return tool.with_properties(
        {name: _literal_schema(schema, language) for name, schema in tool.own_properties.items()}
    )


def _literal_schema(schema: Any, language: Language) -> dict[str, Any]:
    schema = schema if isinstance(schema, Mapping) else {}
    kept = {k: v for k, v in schema.items() if k not in ("description", "default", "language")}
    note = f"A string that holds a {_NOTES[language]} value of type {schema.get('type')}."
    out = {
        "type": "string",
        "description": f"{schema.get('description', '')} {note}".strip(),
        "literal": {"language": language, **kept},
    }
    if "default" in schema:
        out["default"] = write_literal(schema["default"], schema, language)
    return out


def _literal_gold(gold: GoldCall, tool: Tool | None, language: Language) -> GoldCall:
    accepted = {}
    for name, values in gold.arguments.items():
        schema = tool.properties.get(name) if tool is not None else None
        schema = schema if isinstance(schema, Mapping) else {}
        plain = (value for listed in values for value in _alternatives(listed))
        accepted[name] = tuple(write_literal(value, schema, language) for value in plain)
    return GoldCall(gold.name, accepted, gold.optional, gold.extra)


def _alternatives(listed: Any) -> Iterator[Any]:
    """The plain values that an accepted value stands for: objects list the choices per key."""
    if not isinstance(listed, dict):
        yield listed
        return
    choices = [
        [(key, choice) for choice in (values if isinstance(values, list) else [values])]
        for key, values in listed.items()
    ]
    if not 0 < math.prod(map(len, choices)) <= _MOST_ALTERNATIVES:
        raise DataError(
            f"possible_answer: expected 1 to {_MOST_ALTERNATIVES} values that an object stands for"
        )
    for pairs in itertools.product(*choices):
        yield {key: value for key, value in pairs if value != ""}
