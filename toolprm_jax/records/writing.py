"""Files that appear whole or not at all, written by one run at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from .jsonl import Reject
from .types import DataError

_PATIENCE_S = 2.0  # the workers of a killed run hold their files for a moment longer
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_ENCODER = json.JSONEncoder(ensure_ascii=False)  # `json.dumps` would make one each time


def json_line(value: Any) -> str:
    """A value as one line of JSON.

    Args:
      value: a JSON value.

    Returns:
      The text, without a line end; escaped to ASCII only where it holds lone surrogates.
    """
    text = _ENCODER.encode(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def check_place(path: str | os.PathLike[str]) -> Path:
    """The file that a path names, links followed.

    Raises:
      DataError: if it is there and no regular file, or no file can be made there.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise DataError(f"{path}: expected a place for a file, found something else")
    folder = next(parent for parent in target.parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise DataError(f"{path}: expected a place for a file, but {folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{path}: expected a place for a file, but {folder} can't be written to")
    return target


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Gives errors of the system that name no file (no space left) the name of one.

    Args:
      path: the file that is written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _OF_WRITING and error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def _sole(path: Path, out: str | os.PathLike[str]) -> Iterator[int]:
    """Opens a file that one process may hold at a time; the hold ends with the process."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            held = _held(descriptor)
            # The run that held it until now may have moved or removed it.
            if held and _is_at(descriptor, path):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if not held and time.monotonic() > deadline:
            raise DataError(f"{out}: another run is writing it")
        time.sleep(0.02)


def _held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def sole_writer(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps other runs from writing an output for as long as this process lives.

    Args:
      path: the file or folder; `.NAME.lock` lies beside it meanwhile.

    Raises:
      DataError: another run is writing it.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    with _sole(lock, path):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Writes a UTF-8 text file that appears whole, or not at all.

    Args:
      path: the file; its folder is made, an older file is replaced at the end.

    Returns:
      A context manager whose value is the open file.

    Raises:
      DataError: if `path` names something that is no regular file, or another run is writing it.
    """
    target = check_place(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # One name for all runs: what a killed one left is written over.
    temporary = target.with_name(f".{target.name}.tmp")
    with _sole(temporary, path) as descriptor:
        try:
            with naming(path):
                os.ftruncate(descriptor, 0)
                options: Any = {"encoding": "utf-8", "newline": "\n", "closefd": False}
                with open(descriptor, "w", **options) as file:
                    yield file
                os.replace(temporary, target)
        except BaseException:
            # Not after the move: the name may be another run's by then.
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[Callable[[Any], None]]:
    """Writes JSON lines to a file that appears whole, or not at all.

    Args:
      path: the file, see `atomic_text`.

    Returns:
      A context manager whose value writes one JSON value a line.
    """
    with atomic_text(path) as file:
        yield lambda value: print(json_line(value), file=file)


def write_jsonl(path: str | os.PathLike[str], values: Iterable[Any]) -> int:
    """Writes values as JSON lines, atomically.

    Args:
      path: the file.
      values: JSON values.

    Returns:
      How many lines were written.
    """
    count = 0
    with atomic_writer(path) as write:
        for value in values:
            write(value)
            count += 1
    return count


class RejectsFile:
    """What can't be used, on its way to a rejects file.

    Attributes:
      count: how many rows or completions came.
      why: an error's tail, where the first one lies, why it came and where all are; "" before.
    """

    def __init__(self, path: str | os.PathLike[str], write: Callable[[Any], None]) -> None:
        self._path, self._write = os.fspath(path), write
        self.count, self.why = 0, ""

    def __call__(self, rejected: Reject) -> None:
        """Writes one line."""
        if not self.count:
            where = f":{rejected.line}" if rejected.line else ""
            self.why = f"; {rejected.source}{where}: {rejected.reason}; see {self._path}"
        self.count += 1
        self._write(rejected.to_json())


@contextlib.contextmanager
def rejects_file(path: str | os.PathLike[str]) -> Iterator[RejectsFile]:
    """A file of rejected rows; it is kept where a `DataError` follows from them.

    Args:
      path: the file, see `atomic_text`.

    Returns:
      A context manager whose value takes the rows.
    """
    problem = None
    with atomic_writer(path) as write:
        rejects = RejectsFile(path, write)
        try:
            yield rejects
        except DataError as error:
            if not rejects.count:
                raise
            problem = error
    if problem is not None:
        raise problem


def check_folder_place(path: str | os.PathLike[str], *, replace: bool = False) -> Path:
    """The folder that a path names, links followed.

    Args:
      path: the folder.
      replace: whether it may have something in it.

    Raises:
      DataError: it is a file, or has something in it.
    """
    target = Path(os.path.realpath(path))
    if os.path.lexists(target) and not target.is_dir():
        raise DataError(f"{path}: expected a place for a directory, found a file")
    if not replace and target.is_dir() and any(target.iterdir()):
        raise DataError(f"{path}: expected a new or empty directory")
    return target


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Fills a folder that appears whole, or not at all.

    Args:
      path: where it is to lie.
      replace: whether what lies there is replaced; else it must be empty or absent.

    Returns:
      A context manager whose value is the folder to fill.

    Raises:
      DataError: something lies there, or another run is writing it.
    """
    target = check_folder_place(path, replace=replace)
    beside = target.with_name(f".{target.name}.tmp")
    with sole_writer(path), naming(path):
        shutil.rmtree(beside, ignore_errors=True)  # what a killed run left
        try:
            beside.mkdir()
            yield beside
            if replace and target.is_dir():
                shutil.rmtree(target)
            os.replace(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
