"""Labelled completions from a steps file of `toolprm-annotate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..annotation import Step
from ..grammar import Kind
from ..records import DataError, read_rows
from .examples import Rollout


def read_steps(path: Path) -> Iterator[tuple[str, str, Rollout]]:
    """Labelled completions of a steps file.

    Yields:
      (file and line, record id, rollout), in file order.

    Raises:
      DataError: a line is malformed; names file, line and field.
    """
    for row in read_rows(path):
        value: Any = row.value
        if row.problem or not isinstance(value, dict):
            raise DataError(f"{row.where}: {row.problem or 'expected an object'}")
        if "id" not in value or row.id is None:
            raise DataError(f"{row.where}: id: expected a string or an integer")
        yield row.where, row.id, rollout_from_json(row.where, value)


def rollout_from_json(where: str, value: Mapping[str, Any]) -> Rollout:
    """The labelled completion in one line of a steps file.

    Raises:
      DataError: a field is malformed; the message starts with `where`.
    """
    completion, ids = value.get("completion"), value.get("token_ids")
    if not isinstance(completion, str):
        raise DataError(f"{where}: completion: expected a string")
    if ids is not None and not (
        isinstance(ids, list) and ids and all(type(i) is int and i >= 0 for i in ids)
    ):
        raise DataError(f"{where}: token_ids: expected a list of token ids")
    steps = value.get("steps")
    if not isinstance(steps, list):
        raise DataError(f"{where}: steps: expected a list")
    return Rollout(
        completion=completion,
        steps=tuple(_step(f"{where}: steps[{i}]", step) for i, step in enumerate(steps)),
        token_ids=None if ids is None else tuple(ids),
        died=value.get("error") is not None,
    )


def _step(where: str, value: Any) -> Step:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object")
    if value.get("kind") not in Kind.__members__:
        raise DataError(f"{where}.kind: expected one of {', '.join(Kind.__members__)}")
    if type(value.get("end")) is not int or value["end"] < 0:
        raise DataError(f"{where}.end: expected a byte offset")
    for name in ("label", "prefix"):
        if value.get(name) not in ("+", "-"):
            raise DataError(f'{where}.{name}: expected "+" or "-"')
    return Step(Kind[value["kind"]], value["end"], value["label"] == "+", value["prefix"] == "+")
