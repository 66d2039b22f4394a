"""Outputs appear whole or not at all, and one run at a time writes them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.records import (
    DataError,
    Reject,
    atomic_folder,
    atomic_text,
    atomic_writer,
    rejects_file,
    sole_writer,
    write_resumable,
)
from toolprm_jax.records import writing as module

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from toolprm_jax.records import atomic_folder, atomic_text, sole_writer
with globals()[sys.argv[1]](sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def _resumable(path: Path) -> AbstractContextManager[Any]:
    write_resumable(path, "key", lambda skip: iter([{"n": 1}][skip:]))
    return sole_writer(path.with_name("other"))


WRITERS: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
    "atomic_text": atomic_text,
    "atomic_folder": atomic_folder,
    "sole_writer": _resumable,
}


@pytest.mark.parametrize("held", WRITERS)
def test_a_second_run_stops_and_a_killed_one_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    out = tmp_path / "out"
    link = tmp_path / "link"  # another name of the same output
    link.symlink_to(out)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    command = [sys.executable, "-c", HOLD, held, str(out)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="link: another run is writing it"):
            WRITERS[held](link).__enter__()
        first.kill()
    assert first.returncode == -signal.SIGKILL
    monkeypatch.undo()
    with WRITERS[held](out):
        pass
    assert sorted(path.suffix for path in tmp_path.iterdir() if path not in (out, link)) in (
        [],
        [".done"],
    )
    assert out.exists()


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from toolprm_jax.records import write_jsonl\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n    write_jsonl(sys.argv[1], ['x' * 100] * 1000)\n"
        "except OSError as error:\n    print(error.filename)\n"
    )
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-c", code, str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == f"{out}\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "model"

    def stop_half_way() -> None:
        with atomic_folder(out) as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".model.tmp").mkdir()  # of a killed run
    (tmp_path / ".model.tmp" / "half").touch()
    out.mkdir()  # an empty one is taken
    with atomic_folder(out) as folder:
        (folder / "whole").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "whole"]
    with pytest.raises(DataError, match="expected a new or empty"), atomic_folder(out):
        pass
    with atomic_folder(out, replace=True) as folder:
        (folder / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "new"]


def test_rejects_are_kept_where_nothing_else_is(tmp_path: Path) -> None:
    rejects, out = tmp_path / "rejects", tmp_path / "out"
    row = Reject("in.jsonl", 3, None, "no id", "{}")

    def fail() -> None:
        with rejects_file(rejects) as reject, atomic_writer(out):
            reject(row)
            raise DataError(f"nothing{reject.why}")

    with pytest.raises(DataError, match=r"nothing; in\.jsonl:3: no id; see"):
        fail()
    assert rejects.read_text().count("no id") == 1
    with pytest.raises(DataError), rejects_file(tmp_path / "none"):
        raise DataError("no such file")
    assert list(tmp_path.iterdir()) == [rejects]


def _numbers(made: list[int]) -> Callable[[int], Iterator[int]]:
    def lines(skip: int) -> Iterator[int]:
        for number in range(skip, 30):
            made.append(number)
            yield number

    return lines


@pytest.mark.parametrize("damage", ["flip", "drop", "swap", "repeat", "cut", "rubbish"])
def test_damaged_lines_of_an_unfinished_output_are_made_again(tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"

    def stopped(skip: int) -> Iterator[int]:
        yield from range(20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_resumable(out, "key", stopped)
    (partial,) = tmp_path.glob("*.partial")
    lines = partial.read_bytes().splitlines(keepends=True)
    if damage == "flip":
        lines[12] = lines[12].replace(b" 12", b" 13")
    elif damage == "drop":
        del lines[12]
    elif damage == "swap":
        lines[12], lines[13] = lines[13], lines[12]
    elif damage == "repeat":
        lines.insert(12, lines[11])
    elif damage == "cut":
        lines[12:] = [lines[12][:5]]
    else:
        lines[12] = b"\xff\x00\n"
    partial.write_bytes(b"".join(lines))
    made: list[int] = []
    write_resumable(out, "key", _numbers(made))
    assert made == list(range(12, 30))
    assert out.read_text() == "".join(f"{number}\n" for number in range(30))
