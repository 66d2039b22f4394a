"""JSON lines that take long to make, written as they come, so that a killed run can go on."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .jsonl import check_place, json_line


def write_resumable(
    out: str | os.PathLike[str], key: Any, lines: Callable[[int], Iterator[Any]]
) -> None:
    """Writes lines; a run with the key of a killed one goes on after its last whole line.

    What is written so far lies beside `out` in `OUT.HASH.partial`, where HASH is the key's, and is
    moved to `out` at the end. That of another key is removed. `OUT.HASH.done` then holds the
    SHA-256 of `out`; as long as both are there, a run with this key has nothing to do.

    Args:
      out: the file.
      key: JSON value of all that the lines depend on.
      lines: gives the lines, but for the first so many; they must not differ from run to run.

    Raises:
      DataError: if `out` names something that is no regular file.
    """
    target = check_place(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    partial = target.with_name(f"{target.name}.{digest}.partial")
    done_file = target.with_name(f"{target.name}.{digest}.done")
    if target.exists() and done_file.exists() and done_file.read_text() == _sha256(target):
        return
    for other in target.parent.glob(f"{glob.escape(target.name)}.{'?' * 16}.done"):
        other.unlink()
    for other in target.parent.glob(f"{glob.escape(target.name)}.{'?' * 16}.partial"):
        if other != partial:
            other.unlink()
    with partial.open("a+b") as file:
        done, end = _whole_lines(partial)
        file.truncate(end)
        for value in lines(done):
            file.write(f"{json_line(value)}\n".encode())
            file.flush()
    done_file.write_text(_sha256(partial))
    os.replace(partial, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _whole_lines(path: Path) -> tuple[int, int]:
    """How many lines a file holds that have an end, and the offset behind them."""
    count = end = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                count, end = count + 1, end + len(line)
    return count, end
