"""Where the rows of a JSON-lines file or of a JSON array lie, found in constant memory."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .types import DataError

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
# Up to the next byte that matters outside strings; a quote only where its string ends later.
_BETWEEN = rb'"\[\]{}'
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_INSIDE = re.compile(rb"(?:[^%b]++|%b)*+([%b])" % (_BETWEEN, _STRING, _BETWEEN), re.DOTALL)
_BESIDE = re.compile(rb"(?:[^,%b]++|%b)*+([,%b])" % (_BETWEEN, _STRING, _BETWEEN), re.DOTALL)


class Position(NamedTuple):
    """Where a row starts: byte offset, 0-based index, 1-based line or None in a JSON array."""

    offset: int
    index: int
    line: int | None


class Span(NamedTuple):
    """One row: where it starts, and its bytes."""

    start: Position
    data: bytes


def open_rows(path: str | os.PathLike[str]) -> BinaryIO:
    """A file of rows, open for reading; what gzip has packed is unpacked on the way.

    Args:
      path: the file.

    Returns:
      The seekable file. Reading raises `DataError` where a packed file is damaged.
    """
    with Path(path).open("rb") as file:
        is_packed = file.read(2) == _GZIP
    return io.BufferedReader(_Unpacked(path), _CHUNK) if is_packed else Path(path).open("rb")


class _Unpacked(io.RawIOBase):
    """The content of a gzip file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path, self._file = path, gzip.GzipFile(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{self._path}: expected a whole gzip file: {error}") from None
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def close(self) -> None:
        self._file.close()
        super().close()


def row_spans(file: BinaryIO, source: str) -> Iterator[Span]:
    """The rows of a file, one at a time; blank lines are no rows.

    Args:
      file: a seekable file at its start; UTF-8, a byte-order mark is allowed.
      source: its name, for errors.

    Returns:
      Rows in file order. A file whose first byte (white space aside) is `[` is one JSON array.

    Raises:
      DataError: an array has no end, or something follows it.
    """
    start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
    file.seek(start)
    offset = start
    while chunk := file.read(_CHUNK):
        text = chunk.lstrip()
        if text.startswith(b"["):
            first = offset + len(chunk) - len(text) + 1
            yield from _elements(file, source, Position(first, 0, None), None)
            return
        if text:
            yield from _lines(file, Position(start, 0, 1), None)
            return
        offset += len(chunk)


def spans_from(file: BinaryIO, source: str, start: Position, end: int | None) -> Iterator[Span]:
    """The rows of a part of a file.

    Args:
      file: the file.
      source: its name, for errors.
      start: where the first row starts, as `row_spans` gave it.
      end: offset of the row that the part stops before; None for the rest of the file.

    Returns:
      What `row_spans` gives for these rows.
    """
    if start.line is None:
        return _elements(file, source, start, end)
    return _lines(file, start, end)


def _lines(file: BinaryIO, start: Position, end: int | None) -> Iterator[Span]:
    offset, index, line = start
    assert line is not None
    file.seek(offset)
    for data in file:
        if offset == end:
            return
        if data.strip():
            yield Span(Position(offset, index, line), data)
            index += 1
        offset += len(data)
        line += 1


def _elements(file: BinaryIO, source: str, start: Position, end: int | None) -> Iterator[Span]:
    base, index, _ = start  # file offset of the buffer, index of the next element
    file.seek(base)
    buffer = b""
    first = at = depth = 0  # start of the element and of what is not scanned yet, in the buffer
    while base + first != end:
        match = (_INSIDE if depth else _BESIDE).match(buffer, at)
        if match is None or match[1] == b'"':
            # Twice as much each time, so that one long element is scanned a few times at most.
            more = file.read(max(_CHUNK, len(buffer) - first))
            if not more:
                raise DataError(f"{source}: expected JSON: the array has no end")
            buffer = buffer[first:] + more
            base, first, at = base + first, 0, at - first
            continue
        at = match.end()
        if match[1] in b"[{":
            depth += 1
        elif depth and match[1] in b"]}":
            depth -= 1
        elif match[1] in b",]":
            data = buffer[first : at - 1]
            closes = match[1] == b"]"
            if index or not closes or data.strip():  # `[]` holds no element
                yield Span(Position(base + first, index, None), data)
            first, index = at, index + 1
            if closes:
                _check_rest(file, source, base + at)
                return


def _check_rest(file: BinaryIO, source: str, offset: int) -> None:
    file.seek(offset)
    while chunk := file.read(_CHUNK):
        if chunk.strip():
            raise DataError(f"{source}: expected JSON: more text follows the array")
