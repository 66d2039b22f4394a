"""The Beam pipeline gives what the local run gives, in any order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.annotation.annotate import main as local_main
from toolprm_jax.records.writing import write_jsonl

pytest.importorskip("apache_beam", reason="Apache Beam, the extra [beam], is not installed")

from toolprm_jax.annotation.pipeline import main


def inputs(folder: Path) -> list[str]:
    tool = {"name": "f", "description": "d", "parameters": {"a": {}}}
    gold = [{"name": "f", "arguments": {"a": 1}}]
    record = {"query": "q", "tools": [tool], "answers": gold}
    records: list[Any] = [{**record, "id": f"r{i}"} for i in range(9)]
    records += [
        {**record, "id": "r1"},
        {"id": "bad"},
        {"id": "open", "query": "q", "tools": [tool]},
    ]
    texts = [json.dumps(gold), "[]", "no \ud800"]
    rollouts: list[Any] = [{"id": f"r{i}", "completions": texts[: i % 4]} for i in range(6)]
    rollouts += [{"completions": texts}, {"id": "open", "completions": texts}, [1]]
    rollouts += [{"id": "r1", "completions": texts, "token_ids": [[1], [2, 3], []]}]
    write_jsonl(folder / "records.jsonl", records)
    write_jsonl(folder / "rollouts.jsonl", rollouts)
    return [f"--{name}={folder / name}.jsonl" for name in ("records", "rollouts")]


def test_it_equals_the_local_run(tmp_path: Path) -> None:
    given = [*inputs(tmp_path), "--ordered"]
    local, remote = tmp_path / "local.jsonl", tmp_path / "beam"
    stats = [tmp_path / "local.json", tmp_path / "beam.json"]
    assert local_main([*given, f"--out={local}", f"--stats={stats[0]}", "--workers=1"]) == 0
    assert main([*given, f"--out={remote}", f"--stats={stats[1]}", "--runner=DirectRunner"]) == 0
    for suffix, pattern in (("", "beam-*"), (".rejects.jsonl", "beam.rejects-*")):
        expected = Path(f"{local}{suffix}").read_text(encoding="utf-8").splitlines()
        found = [
            line
            for path in tmp_path.glob(pattern)
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        assert sorted(found) == sorted(expected)
        assert len(expected) >= 5
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in stats)
    assert first == second


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = inputs(tmp_path)
    assert main([given[0], f"--rollouts={tmp_path / 'absent'}", f"--out={tmp_path / 'o'}"]) == 2
    assert capsys.readouterr().err.endswith("absent: no such file\n")
