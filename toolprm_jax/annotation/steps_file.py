"""The steps file: how its lines are written, and read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..grammar import Kind
from ..records import DataError, json_line, read_rows
from .labels import Labelled, Step


class LabelledCompletion(NamedTuple):
    """A completion with its labels: its text and, where the policy sampled them, its token ids."""

    completion: str
    steps: tuple[Step, ...]
    token_ids: tuple[int, ...] | None = None
    died: bool = False


def step_to_json(step: Step) -> dict[str, Any]:
    """A decision as a steps file states it."""
    return {
        "kind": Kind(step.kind).name,
        "end": step.end,
        "label": "+" if step.label else "-",
        "prefix": "+" if step.prefix else "-",
    }


# The keys of a line, and where foreign keys of the same name stand.
STEPS_KEYS = ("id", "completion", "token_ids", "steps", "correct", "error", "trailing", "foreign")


def steps_json(record_id: str, completion: str, labelled: Labelled) -> dict[str, Any]:
    """One line of a steps file.

    Args:
      record_id: of the record.
      completion: what was labelled.
      labelled: its labels.
    """
    return {
        "id": record_id,
        "completion": completion,
        "steps": [step_to_json(step) for step in labelled.steps],
        "correct": labelled.correct,
        "error": labelled.error,
        "trailing": labelled.trailing,
    }


_STEPS = [
    [
        [
            f'{{"kind": "{kind.name}", "end": %d, "label": "{label}", "prefix": "{prefix}"}}'
            for prefix in "-+"
        ]
        for label in "-+"
    ]
    for kind in Kind
]
_BOOL = ("false", "true")


def steps_line(record_id: str, completion: str, labelled: Labelled) -> str:
    """The text of `steps_json`, without its end, in a third of the time."""
    steps = ", ".join(
        [_STEPS[kind][label][prefix] % end for kind, end, label, prefix in labelled.steps]
    )
    error = "null" if labelled.error is None else json_line(labelled.error)
    return (
        f'{{"id": {json_line(record_id)}, "completion": {json_line(completion)}, '
        f'"steps": [{steps}], "correct": {_BOOL[labelled.correct]}, "error": {error}, '
        f'"trailing": {_BOOL[labelled.trailing]}}}'
    )


def read_steps(path: Path) -> Iterator[tuple[str, str, LabelledCompletion]]:
    """Labelled completions of a steps file.

    Yields:
      (file and line, record id, completion), in file order.

    Raises:
      DataError: a line is malformed; names file, line and field.
    """
    for row in read_rows(path):
        value: Any = row.value
        if row.problem or not isinstance(value, dict):
            raise DataError(f"{row.where}: {row.problem or 'expected an object'}")
        if "id" not in value or row.id is None:
            raise DataError(f"{row.where}: id: expected Unicode text or an integer")
        yield row.where, row.id, labelled_from_json(row.where, value)


def labelled_from_json(where: str, value: Mapping[str, Any]) -> LabelledCompletion:
    """The labelled completion in one line of a steps file.

    Raises:
      DataError: a field is malformed; the message starts with `where`, if any.
    """
    at = f"{where}: " if where else ""
    completion, ids = value.get("completion"), value.get("token_ids")
    if not isinstance(completion, str):
        raise DataError(f"{at}completion: expected a string")
    if ids is not None and not (
        isinstance(ids, list) and ids and all(type(i) is int and i >= 0 for i in ids)
    ):
        raise DataError(f"{at}token_ids: expected a list of token ids")
    steps = value.get("steps")
    if not isinstance(steps, list):
        raise DataError(f"{at}steps: expected a list")
    return LabelledCompletion(
        completion=completion,
        steps=tuple(_read_step(f"{at}steps[{i}]", step) for i, step in enumerate(steps)),
        token_ids=None if ids is None else tuple(ids),
        died=value.get("error") is not None,
    )


def _read_step(where: str, value: Any) -> Step:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object")
    if not isinstance(value.get("kind"), str) or value["kind"] not in Kind.__members__:
        raise DataError(f"{where}.kind: expected one of {', '.join(Kind.__members__)}")
    if type(value.get("end")) is not int or value["end"] < 0:
        raise DataError(f"{where}.end: expected a byte offset")
    for name in ("label", "prefix"):
        if value.get(name) not in ("+", "-"):
            raise DataError(f'{where}.{name}: expected "+" or "-"')
    return Step(Kind[value["kind"]], value["end"], value["label"] == "+", value["prefix"] == "+")
