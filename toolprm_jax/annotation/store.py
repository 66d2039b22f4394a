"""Records by id on disk, so that joining rollouts with them takes no memory."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ..records import DataError, Record, json_line, record_from_json, record_to_json

_BATCH = 1000  # records a transaction


class RecordStore:
    """A SQLite table of records in the format `record`, numbered from 0 in the order of adding.

    An id that was added can be asked for at once. Memory is SQLite's page cache, 2 MB. Disk is
    about the size of the records as JSON.

    Args:
      path: the file.
      new: whether to start an empty one; else the file is only read, by any number of processes.

    Raises:
      DataError: names the file, where it is damaged or the disk full; its methods likewise.
    """

    def __init__(self, path: str | os.PathLike[str], *, new: bool = False) -> None:
        if new:
            Path(path).unlink(missing_ok=True)
        mode = "rwc" if new else "ro"
        uri = f"{Path(path).absolute().as_uri()}?mode={mode}"
        self._path = path
        with self._named():
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None)
        if new:
            # A store is built whole or thrown away, so no journal is needed.
            self._first("PRAGMA journal_mode = OFF")
            self._first("PRAGMA synchronous = OFF")
            self._first("CREATE TABLE record (number INTEGER PRIMARY KEY, id TEXT, body TEXT)")
            self._first("CREATE UNIQUE INDEX by_id ON record (id)")

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:  # a full disk, a damaged file
            raise DataError(f"{self._path}: {error}") from None

    def _first(self, statement: str, *values: Any) -> Any:
        """Runs a statement; its first row, or None.

        Raises:
          DataError: names the file, where it is damaged or the disk full.
        """
        with self._named():
            return self._db.execute(statement, values).fetchone()

    def __enter__(self) -> RecordStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def __contains__(self, record_id: object) -> bool:
        return self._first("SELECT 1 FROM record WHERE id = ?", record_id) is not None

    def __len__(self) -> int:
        (last,) = self._first("SELECT MAX(number) FROM record")
        return 0 if last is None else last + 1

    def add(self, records: Iterable[Record]) -> None:
        """Adds records whose ids are new.

        Args:
          records: the records; each is added before the next is asked for.
        """
        self._first("BEGIN")
        for number, record in enumerate(records, start=len(self)):
            body = json_line(record_to_json(record))
            self._first("INSERT INTO record VALUES (?, ?, ?)", number, record.id, body)
            if number % _BATCH == 0:
                self._first("COMMIT")
                self._first("BEGIN")
        self._first("COMMIT")

    def get(self, record_id: str) -> tuple[int, Record] | None:
        """The record of an id and its number, or None."""
        row = self._first("SELECT number, body FROM record WHERE id = ?", record_id)
        return None if row is None else (row[0], record_from_json(json.loads(row[1])))
