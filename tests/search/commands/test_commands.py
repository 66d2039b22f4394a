"""The search commands: bad input gives one line and exit status 2, good input a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.commands import rollout
from search.commands import search as main
from search.core.walk import Flags
from search.studies import demo
from toolprm_jax.records.jsonl import read_rollouts
from toolprm_jax.records.readers import read_records, record_to_json
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.toolworld.masked import masked_corpus


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    write_jsonl(path, (record_to_json(record) for record in masked_corpus(7, "heldout", 3)))
    return path


def fails(capsys: pytest.CaptureFixture[str], command, *argv: str) -> str:
    """Runs a command that must fail; returns its one line."""
    assert command.main(argv) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    assert "Traceback" not in error
    return error


def test_bad_input_is_one_line(records: Path, tiny_pair: Any, tmp_path: Path, capsys) -> None:
    good = ["--policy", tiny_pair.policy, "--records", str(records), "--out", str(tmp_path / "out")]
    assert "--prm" in fails(capsys, main, *good)
    assert "--method" in fails(capsys, main, *good, "--method", "guess")
    assert "--num-beams" in fails(capsys, main, *good, "--num_beams", "0")
    assert "--temperature" in fails(capsys, main, *good, "--temperature", "hot")
    assert "--top-p" in fails(capsys, main, *good, "--top_p", "0")
    assert "--schema" in fails(capsys, main, *good, "--schema", "maybe")
    goes = ("--prm", tiny_pair.prm, "--probe_width", "1", "--explore", "distinct")
    assert "--probe-width: expected --explore sample" in fails(capsys, main, *good, *goes)
    assert "--format" in fails(capsys, main, *good, "--format", "csv")
    assert "it is a policy" in fails(capsys, main, *good, "--prm", tiny_pair.policy)
    assert "no such model" in fails(capsys, main, *good[2:], "--policy", "nowhere", "--prm", "x")
    missing = str(tmp_path / "missing.jsonl")
    line = fails(capsys, main, "--policy", tiny_pair.policy, "--records", missing, "--out", "x")
    assert "--prm" in line or missing in line
    assert missing in fails(
        capsys, rollout, "--model", tiny_pair.policy, "--records", missing, "--out", "x"
    )
    assert missing in fails(capsys, demo, "--records", missing)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert str(empty) in fails(capsys, demo, "--records", str(empty))
    assert not (tmp_path / "out").exists()


def test_unusable_records_are_named(tmp_path: Path, capsys) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"id": "a", "query": "hello", "tools": []}\nnot json\n')
    assert demo.main(["--records", str(path), "--format", "record"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert "tools" in lines[0]
    assert ":2:" in lines[1]
    assert "no usable record" in lines[2]


def test_a_damaged_model_is_one_line(records: Path, tmp_path: Path, capsys) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    arguments = ["--model", str(model), "--records", str(records), "--out", str(tmp_path / "r")]
    assert "model_type" in fails(capsys, rollout, *arguments)


def test_rollouts_are_written_and_read(records: Path, tiny_pair: Any, tmp_path: Path) -> None:
    out = tmp_path / "rollouts.jsonl"
    options = ["--num", "2", "--max_tokens", "24", "--batch_size", "4", "--max_shapes", "1"]
    argv = ["--model", tiny_pair.policy, "--records", str(records), "--out", str(out), *options]
    assert rollout.main(argv) == 0
    lines = {line.id: line for line in read_rollouts(out)}
    assert set(lines) == {record.id for record in read_records(records)}
    for line in lines.values():
        assert len(line.completions) == 2
        assert line.token_ids is not None
        assert all(len(ids) <= 24 for ids in line.token_ids)


def test_search_writes_answers_and_pictures(
    records: Path, tiny_pair: Any, tmp_path: Path, capsys
) -> None:
    out, pictures = tmp_path / "answers.jsonl", tmp_path / "pictures"
    options = ["--num_beams", "2", "--beam_width", "2", "--max_tokens", "48"]
    options += ["--max_step_tokens", "24", "--pool_size", "128", "--batch_size", "4"]
    options += ["--max_shapes", "1", "--trace", str(pictures), "--explore", "distinct"]
    options += ["--top_p", "0.95", "--schema", "prune"]
    models = ["--policy", tiny_pair.policy, "--prm", tiny_pair.prm]
    assert main.main([*models, "--records", str(records), "--out", str(out), *options]) == 0
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [a["id"] for a in answers] == [record.id for record in read_records(records)]
    assert all(answer["cost"]["decisions"] >= 1 for answer in answers)
    assert len(list(pictures.glob("*.html"))) == 3
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["queries"] == 3


def test_a_warning_names_the_option_that_raises_the_limit(
    records: Path, tiny_pair: Any, tmp_path, capsys
) -> None:
    options = {action.option_strings[0] for action in main.parser()._actions}
    assert set(main.REMEDIES.values()) <= options
    assert {name for name in Flags._fields if name.endswith("overflow")} == set(main.REMEDIES)
    out = ["--out", str(tmp_path / "answers.jsonl"), "--batch_size", "4", "--max_shapes", "1"]
    argv = [
        "--policy",
        tiny_pair.policy,
        "--records",
        str(records),
        "--method",
        "majority_vote",
        *out,
    ]
    assert main.main([*argv, "--max_tokens", "4", "--num_beams", "2", "--beam_width", "1"]) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert any("length_overflow; --max-tokens raises the limit" in line for line in warnings)


def test_answers_do_not_depend_on_the_devices(learnt: Path, tiny_pair: Any, tmp_path: Path) -> None:
    argv = ["--policy", tiny_pair.policy, "--prm", tiny_pair.prm, "--records", str(learnt)]
    argv += ["--num_beams", "2", "--beam_width", "2", "--max_tokens", "64", "--pool_size", "256"]
    found = []
    for more in (["--batch_size", "1"], ["--batch_size", "4"], ["--batch_size", "4", "--tensor=2"]):
        out = tmp_path / "answers.jsonl"
        assert main.main([*argv, "--max_shapes", "1", *more, "--out", str(out)]) == 0
        found.append([json.loads(line) for line in out.read_text().splitlines()])
    assert any(answer["finished"] for answer in found[0])
    for alone, *others in zip(*found, strict=True):
        for other in others:
            assert other["text"] == alone["text"]
            assert other["calls"] == alone["calls"]
            if alone["finished"]:
                assert other["score"] == pytest.approx(alone["score"], rel=1e-4)
