"""No search command writes over what it reads, and a bad --out is found out before the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from search.commands import ask, evaluate, rollout, score
from search.commands import search as search_command
from search.studies import compare, tune
from train import evaluate as train_evaluate

Main = Callable[[Sequence[str]], int]
# Command, the flags of files that it reads, the flag of what it writes, and other flags.
COMMANDS: dict[str, tuple[Main, tuple[str, ...], str, tuple[str, ...]]] = {
    "rollout": (rollout.main, ("records", "model"), "out", ()),
    "search": (search_command.main, ("records", "policy", "prm"), "out", ()),
    "score": (score.main, ("records", "rollouts", "prm"), "out", ()),
    "evaluate": (evaluate.main, ("records", "answers"), "out", ()),
    "ask": (ask.main, ("tools",), "tree", ("what?",)),
    "tune": (tune.main, ("records", "steps"), "out", ("--policy=p", "--prm=p")),
    "train.evaluate": (train_evaluate.main, ("records", "steps"), "out", ("--prm=p", "--name=n")),
}
CASES = [(name, flag) for name, (_, flags, _, _) in COMMANDS.items() for flag in flags]


@pytest.mark.parametrize(("name", "flag"), CASES)
def test_the_input_is_never_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, flag: str
) -> None:
    main, inputs, out, more = COMMANDS[name]
    for each in inputs:
        (tmp_path / each).write_text(f"{each}\n")
    (tmp_path / "link").symlink_to(flag)
    argv = [*more, *(f"--{each}={tmp_path / each}" for each in inputs)]
    for spelling in (flag, "link", f"../{tmp_path.name}/{flag}"):
        assert main([*argv, f"--{out}={tmp_path / spelling}"]) == 2
        assert f"--{out}: expected another file than --{flag}" in capsys.readouterr().err
    assert all((tmp_path / each).read_text() == f"{each}\n" for each in inputs)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_directory_as_output_is_found_out_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    main, inputs, out, more = COMMANDS[name]
    # None of the inputs is there: reading one would be another error.
    argv = [*more, *(f"--{each}={tmp_path / each}" for each in inputs)]
    assert main([*argv, f"--{out}={tmp_path}"]) == 2
    assert f"--{out}: {tmp_path}: expected a place for a file" in capsys.readouterr().err


def test_compare_does_not_write_over_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / compare.DATA_SETS["toolalpaca"].file
    path.parent.mkdir()
    path.write_text("mine\n")
    argv = [f"--data={tmp_path}", f"--out={path}", f"--runs={tmp_path}", "--sets=toolalpaca"]
    assert compare.main(argv) == 2
    assert "--out: expected another file than --data toolalpaca" in capsys.readouterr().err
    assert path.read_text() == "mine\n"


def test_ids_with_control_characters_are_escaped_where_they_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = '{"id": "%s", "query": "q", "tools": [], "answers": []}\n'
    (tmp_path / "records").write_text(row % "a" + row % "b\\u001b[2J\\n")
    (tmp_path / "answers").write_text(
        '{"id": "a", "calls": []}\n{"id": "\\u001b]0;x", "calls": []}\n'
    )
    argv = [f"--{name}={tmp_path / name}" for name in ("records", "answers")]
    assert evaluate.main(argv) == 0
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "\\x1b]0;x" in printed.err
    assert "b\\x1b[2J\\n" in printed.err


def test_a_hostile_id_costs_its_own_row_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "records").write_text('{"id": "a", "query": "q", "tools": [], "answers": []}\n')
    lines = ('{"id": "\\ud800", "calls": []}', '{"id": "a", "calls": [], "method": "\\ud800"}')
    (tmp_path / "answers").write_text("\n".join(lines) + "\n")
    argv = [f"--{name}={tmp_path / name}" for name in ("records", "answers", "out")]
    assert evaluate.main(argv) == 0
    assert "exact: 1 of 1 right" in capsys.readouterr().out
    assert "id: expected Unicode text or an integer" in (tmp_path / "out").read_text()


def test_where_every_row_is_rejected_the_first_reason_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "records").write_text('{"id": [1], "query": "q", "tools": []}\n')
    (tmp_path / "answers").write_text('{"id": "a", "calls": []}\n')
    argv = [f"--{name}={tmp_path / name}" for name in ("records", "answers")]
    assert evaluate.main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "records:1: id: expected" in error
