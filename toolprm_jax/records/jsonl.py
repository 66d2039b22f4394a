"""JSON rows from files, with a place for every row that can't be used."""

from __future__ import annotations

import codecs
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .spans import Span, open_rows, row_spans
from .types import DataError

_MOST_TOKENS = 2**31  # ids are stored in 32 bits
ROLLOUTS_FORM = '{"id": record id, "completions": [text, ...]}'


@dataclass(frozen=True)
class Reject:
    """A row (or a completion of it) that can't be used, and why.

    `line` is 1-based, and None in a JSON array; `completions` says how many completions went
    with it.
    """

    source: str
    line: int | None
    id: str | None
    reason: str
    raw: str
    completions: int = 0

    def to_json(self) -> dict[str, Any]:
        """The line of the rejects file."""
        return {
            "source": self.source,
            "line": self.line,
            "id": self.id,
            "reason": self.reason,
            "completions": self.completions,
            "raw": self.raw,
        }


Rejects = Callable[[Reject], None]


@dataclass(frozen=True)
class Row:
    """One row of a file: its value, or the `problem` that kept it from being parsed."""

    source: str
    index: int
    line: int | None
    raw: str | None
    value: Any
    problem: str | None = None

    @property
    def where(self) -> str:
        """File and line, or file and index in a JSON array."""
        return f"{self.source}:{self.line}" if self.line else f"{self.source}[{self.index}]"

    @property
    def id(self) -> str | None:
        """The row's id if it is an integer or Unicode text, its 0-based index if it has none."""
        if not isinstance(self.value, dict):
            return None
        given = self.value.get("id")
        if given is None:
            return str(self.index)
        if isinstance(given, str):
            # A lone surrogate can't be written, compared on disk or printed.
            return None if any("\ud800" <= char <= "\udfff" for char in given) else given
        return str(given) if isinstance(given, int) and not isinstance(given, bool) else None

    def reject(self, reason: str, rejects: Rejects | None, *, completions: int = 0) -> None:
        """Hands the row to `rejects`.

        Args:
          reason: field and what was expected.
          rejects: receives the row; None makes it an error.
          completions: how many completions are lost with it.

        Raises:
          DataError: if `rejects` is None.
        """
        if rejects is None:
            raise DataError(f"{self.where}: {reason}")
        raw = self.raw if self.raw is not None else json.dumps(self.value, ensure_ascii=False)
        rejects(Reject(self.source, self.line, self.id, reason, raw, completions))


class Rollouts(NamedTuple):
    """The completions that a policy sampled for one record."""

    id: str
    completions: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...] | None


def parse_json(text: str) -> Any:
    """Strict JSON: no NaN, no number beyond float64, no key twice in one object.

    Args:
      text: the JSON text.

    Returns:
      The value.

    Raises:
      DataError: with what was expected, and where.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise DataError(f"expected JSON: {error.msg.removesuffix(' at')} at {where}") from None
    except RecursionError:
        raise DataError("expected JSON: nested too deeply") from None
    except DataError:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise DataError(f"expected JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"expected JSON: the key {repeated!r} occurs twice in one object")
    return value


def _constant(text: str) -> NoReturn:
    raise DataError(f"expected JSON: {text} is no JSON number")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise DataError(f"expected JSON: {text} is beyond a 64-bit float")
    return value


def read_json(path: Path) -> Any:
    """The value of a JSON file, read as strictly as rows are.

    Args:
      path: the file.

    Returns:
      The value.

    Raises:
      DataError: names the file, where it is missing or no JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected UTF-8") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def checked_file(path: str | os.PathLike[str], hint: str = "") -> Path:
    """The path of a file that can be read.

    Args:
      path: the path.
      hint: appended to the error where there is no such file.

    Returns:
      The path.

    Raises:
      DataError: if it is missing, no regular file, or empty.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: expected a file, found a directory{hint}")
    if not path.exists():
        raise DataError(f"{path}: no such file{hint}")
    if not path.is_file():  # a pipe can't be read twice
        raise DataError(f"{path}: expected a regular file{hint}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty{hint}")
    return path


def read_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """The rows of a JSON-lines file or of a JSON array, one at a time.

    Args:
      path: the file; UTF-8, packed by gzip or not; a byte-order mark and blank lines are allowed.

    Returns:
      Rows in file order; one that is no JSON comes with its `problem`.

    Raises:
      DataError: if the file can't be read, holds no rows, or is an array without an end.
    """
    path = checked_file(path)
    source, empty = str(path), True
    with open_rows(path) as file:
        for span in row_spans(file, source):
            yield row_of(source, span)
            empty = False
    if empty:
        raise DataError(f"{path}: the file holds no rows")


def row_of(source: str, span: Span) -> Row:
    """The row that lies at a place of a file.

    Args:
      source: the file's name.
      span: the row's place and bytes.

    Returns:
      The row.
    """
    _, index, line = span.start
    value, problem = None, None
    try:
        value = parse_json(span.data.decode("utf-8").strip())
    except UnicodeDecodeError as error:
        problem = f"expected UTF-8, found byte {span.data[error.start]:#04x} at {error.start}"
        problem += _hint(span.data)
    except DataError as error:
        problem = f"{error}{_hint(span.data)}"
    raw = None
    if line is not None or problem:
        raw = span.data.decode("utf-8", "backslashreplace").strip()
    return Row(source, index, line, raw, value, problem)


_MAGIC = {
    b"PAR1": "Parquet",
    b"PK": "a ZIP archive",
    b"\x1f\x8b": "packed twice",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"version https://git-lfs": "a pointer of Git LFS, not the data",
    b"<": "a page of HTML or XML",
}


def _hint(data: bytes) -> str:
    """What is likely wrong with the file of a row that is no JSON."""
    text = data.strip()
    for start, what in _MAGIC.items():
        if data.startswith(start):
            return f" (is the file {what}?)"
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in data:
        return " (is the file in UTF-16?)"
    if b"\r" in text:
        return " (do the file's lines end with CR alone?)"
    if text.startswith(b"{") and not text.endswith(b"}"):
        return " (does the object end on another line?)"
    return ""


def read_rollout_rows(
    path: str | os.PathLike[str], rejects: Rejects | None = None
) -> Iterator[tuple[Row, Rollouts]]:
    """As `read_rollouts`, each with the row it was read from.

    Args:
      path: the rollouts file.
      rejects: receives the rows that can't be used; None makes the first one an error.

    Returns:
      Pairs of row and rollouts, in file order.

    Raises:
      DataError: if the file can't be read, or for a bad row if `rejects` is None.
    """
    for row in read_rows(checked_rollouts(path)):
        rollouts = rollouts_of(row, rejects)
        if rollouts is not None:
            yield row, rollouts


def checked_rollouts(path: str | os.PathLike[str]) -> Path:
    """The path of a rollouts file that can be read; raises as `checked_file` does."""
    return checked_file(
        path, f" (expected JSON lines {ROLLOUTS_FORM}, as toolprm-rollout writes them)"
    )


def rollouts_of(row: Row, rejects: Rejects | None) -> Rollouts | None:
    """What a row of a rollouts file says.

    Args:
      row: the row.
      rejects: receives the row if it can't be used; None makes that an error.

    Returns:
      Its rollouts, or None where it was rejected.

    Raises:
      DataError: if the row can't be used and `rejects` is None.
    """
    problem = row.problem or _rollouts_problem(row)
    if problem:
        given = row.value.get("completions") if isinstance(row.value, dict) else None
        row.reject(problem, rejects, completions=len(given) if isinstance(given, list) else 0)
        return None
    token_ids = row.value.get("token_ids")
    return Rollouts(
        str(row.id),
        tuple(row.value["completions"]),
        None if token_ids is None else tuple(tuple(ids) for ids in token_ids),
    )


def _rollouts_problem(row: Row) -> str | None:
    if not isinstance(row.value, dict):
        return f"expected an object {ROLLOUTS_FORM}"
    if row.id is None:
        return "id: expected Unicode text or an integer"
    completions = row.value.get("completions")
    if not isinstance(completions, list) or not completions:
        return "completions: expected a list of at least one string"
    for i, completion in enumerate(completions):
        if not isinstance(completion, str):
            return f"completions[{i}]: expected a string, found {type(completion).__name__}"
    token_ids = row.value.get("token_ids")
    if token_ids is None:
        return None
    if not isinstance(token_ids, list) or len(token_ids) != len(completions):
        return f"token_ids: expected {len(completions)} lists, one for each completion"
    for i, ids in enumerate(token_ids):
        if not isinstance(ids, list) or not all(
            type(token) is int and 0 <= token < _MOST_TOKENS for token in ids
        ):
            return f"token_ids[{i}]: expected a list of non-negative integers, as tokens have"
    return None


def read_rollouts(
    path: str | os.PathLike[str], rejects: Rejects | None = None
) -> Iterator[Rollouts]:
    """Rollouts from JSON lines, one row at a time.

    Args:
      path: the file; each row is `{"id", "completions": [str], "token_ids"?: [[int]]}`.
      rejects: receives the rows that can't be used; None makes the first one an error.

    Returns:
      (id, completions, token_ids or None) in file order; an id may occur again.

    Raises:
      DataError: if the file can't be read, or for a bad row if `rejects` is None.
    """
    for _, rollouts in read_rollout_rows(path, rejects):
        yield rollouts
