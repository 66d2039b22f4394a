"""JSON lines that take long to make, written as they come, so that a killed run can go on."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .writing import atomic_text, check_place, json_line, naming, sole_writer


def write_resumable(
    out: str | os.PathLike[str], key: Any, lines: Callable[[int], Iterator[Any]]
) -> None:
    """Writes lines; a run with the key of a killed one goes on after its last whole line.

    What is written so far lies beside `out` in `OUT.HASH.partial`, where HASH is the key's, each
    line behind a hash of it and of those before; what doesn't match its hash is made again. That
    of another key is removed. `OUT.HASH.done` then holds the SHA-256 of `out`; as long as both are
    there, a run with this key has nothing to do.

    Args:
      out: the file.
      key: JSON value of all that the lines depend on.
      lines: gives the lines, but for the first so many; they must not differ from run to run.

    Raises:
      DataError: if `out` names something that is no regular file, or another run is writing it.
    """
    target = check_place(out)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    partial = target.with_name(f"{target.name}.{digest}.partial")
    done_file = target.with_name(f"{target.name}.{digest}.done")
    with sole_writer(out), naming(out):
        if target.exists() and _noted(done_file) == _sha256(target):
            return
        for kind, kept in (("done", None), ("partial", partial)):
            for other in target.parent.glob(f"{glob.escape(target.name)}.{'?' * 16}.{kind}"):
                if other != kept:
                    other.unlink()
        with partial.open("a+b") as file:
            done, end, last = _whole_lines(partial)
            file.truncate(end)
            for value in lines(done):
                line = json_line(value).encode()
                last = _chained(last, line)
                file.write(b"%s %s\n" % (last, line))
                file.flush()
        _unwrap(partial, out)
        done_file.write_text(_sha256(target))
        partial.unlink()


def _noted(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chained(before: bytes, line: bytes) -> bytes:
    return hashlib.sha256(before + line).hexdigest()[:16].encode()


def _whole_lines(path: Path) -> tuple[int, int, bytes]:
    """How many lines match their hashes, the offset behind them, and the last one's hash."""
    count, end, last = 0, 0, b""
    with path.open("rb") as file:
        for text in file:
            noted, _, line = text.partition(b" ")
            if not text.endswith(b"\n") or noted != _chained(last, line[:-1]):
                break
            count, end, last = count + 1, end + len(text), noted
    return count, end, last


def _unwrap(partial: Path, out: str | os.PathLike[str]) -> None:
    """Writes the lines without their hashes."""
    with partial.open(encoding="utf-8", newline="\n") as lines, atomic_text(out) as file:
        for line in lines:
            file.write(line.partition(" ")[2])
