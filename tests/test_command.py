"""What the console commands share: which files they take, and how errors are told."""

from __future__ import annotations

import configparser
import errno
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toolprm_jax.annotation import beam_command, corrupt
from toolprm_jax.command import Parser, check_files, printable, run_command, whole_number
from toolprm_jax.records import DataError


def _symlink(folder: Path) -> str:
    (folder / "link.jsonl").symlink_to("records.jsonl")
    return "link.jsonl"


def _hard_link(folder: Path) -> str:
    os.link(folder / "records.jsonl", folder / "hard.jsonl")
    return "hard.jsonl"


def _round_about(folder: Path) -> str:
    (folder / "d").mkdir()
    return "d/../records.jsonl"


SPELLINGS: list[Callable[[Path], str]] = [
    lambda folder: "records.jsonl",
    lambda folder: "./records.jsonl",
    lambda folder: str(folder / "records.jsonl"),
    _symlink,
    _hard_link,
    _round_about,
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_the_input_is_taken_for_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: Callable[[Path], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "records.jsonl").write_text("mine\n")
    out = spelling(tmp_path)
    with pytest.raises(DataError, match="--out: expected another file than --records"):
        check_files({"records": "records.jsonl"}, {"out": out})
    assert corrupt.main(["--records", "records.jsonl", "--out", out]) == 2
    assert (tmp_path / "records.jsonl").read_text() == "mine\n"


def test_outputs_that_are_not_there_yet_are_compared_too(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "new")
    outputs = {"out": str(tmp_path / "new"), "rejects": str(tmp_path / "link")}
    with pytest.raises(DataError, match="--rejects: expected another file than --out"):
        check_files({}, outputs)
    same = str(tmp_path / "model")  # which may be read twice
    check_files({"policy": same, "prm": same}, {"out": str(tmp_path / "new"), "rejects": None})


def test_a_place_where_no_file_can_be_made_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--out: .* expected a place for a file"):
        check_files({}, {"out": str(tmp_path)})
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"--out: .*file is no folder"):
        check_files({}, {"out": str(tmp_path / "file" / "out")})


def test_text_from_data_is_printed_without_control_characters() -> None:
    assert printable("a\x1b[2Jb\nc\ud800\u202e é") == "a\\x1b[2Jb\\nc\\ud800\\u202e é"


class JaxRuntimeError(RuntimeError):
    """Stands in for JAX's, which commands know by its name."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("id: \x1b]0;x\x07\n"), "error: id: \\x1b]0;x\\x07"),
        (OSError(errno.ENOSPC, "No space left", "out"), "error: out: No space left"),
        (MemoryError(), "error: not enough memory"),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: x"), "error: the device: RESOURCE_EXHAUSTED: x"),
    ],
)
def test_errors_are_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(_: object) -> int:
        raise error

    assert run_command(Parser("x", ""), body, []) == 2
    assert capsys.readouterr().err == f"x: {line}\n"


@pytest.mark.parametrize("text", ["0", "1e3", "x", "9" * 30, "9" * 6000, "-1", str(2**63)])
def test_integers_are_bounded(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser("x", "")
    parser.add_argument("--limit", type=whole_number(1))
    assert run_command(parser, lambda args: 0, ["--limit", text]) == 2
    assert "--limit: expected an integer >= 1" in capsys.readouterr().err


def test_annotation_on_beam_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "toolprm_jax.annotation.pipeline", raising=False)
    assert beam_command.main(["--help"]) == 0
    assert "pip install 'toolprm-jax[beam]'" in capsys.readouterr().out
    assert beam_command.main([]) == 2
    assert capsys.readouterr().err.strip().endswith("pip install 'toolprm-jax[beam]'")


def _console_commands() -> dict[str, str]:
    """Every console command: its name and the module whose `main` it is."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).resolve().parents[1] / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    pairs = [line.split(" = ") for line in lines if line]
    return {name: place.removesuffix(":main") for name, place in pairs}


# Runs every command's --help in turn, and says after each what it has loaded that is slow to load.
_HELP = """
import contextlib, importlib, io, sys

for name, module in {commands!r}.items():
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        importlib.import_module(module).main(["--help"])
    assert out.getvalue().startswith("usage: " + name), name
    print(name, *sorted({{"jax", "flax", "orbax", "transformers"}} & set(sys.modules)))
"""


def test_help_is_quick() -> None:
    commands = _console_commands()
    if importlib.util.find_spec("apache_beam") is None:
        del commands["toolprm-annotate-beam"]
    done = subprocess.run(
        [sys.executable, "-c", _HELP.format(commands=commands)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split("\n")[:-1]) == (0, [*commands]), done.stderr
