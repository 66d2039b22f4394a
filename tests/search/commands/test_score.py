"""toolprm-score: the scores of the search, null for what is no call list, and rejects."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from search.commands import score as score_rollouts
from search.commands import search as main
from toolprm_jax.grammar.types import Kind
from toolprm_jax.model.score import StepScore
from toolprm_jax.records.writing import write_jsonl


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_search_and_its_texts_have_the_same_scores(
    learnt: Path, tiny_pair: Any, tmp_path: Path
) -> None:
    models = ["--prm", tiny_pair.prm, "--records", str(learnt), "--aggregate", "mean"]
    answers, rollouts, out = (tmp_path / f"{name}.jsonl" for name in ("answers", "rollouts", "out"))
    options = ["--num_beams", "2", "--beam_width", "2", "--max_tokens", "64", "--pool_size", "256"]
    options += ["--batch_size", "4", "--max_shapes", "1", "--policy", tiny_pair.policy]
    assert main.main([*models, *options, "--out", str(answers)]) == 0
    finished = [answer for answer in read(answers) if answer["finished"]]
    assert finished
    write_jsonl(rollouts, ({"id": a["id"], "completions": [a["text"]]} for a in finished))
    given = [*models, "--rollouts", str(rollouts), "--out", str(out)]
    assert score_rollouts.main([*given, "--row_length", "512", "--batch_size", "2"]) == 0
    assert (tmp_path / "out.jsonl.rejects.jsonl").read_text() == ""
    for answer, line in zip(finished, read(out), strict=True):
        assert set(line) == {"id", "completion", "steps", "score"}
        assert (line["id"], line["completion"]) == (answer["id"], answer["text"])
        assert line["score"] == pytest.approx(answer["score"], rel=1e-4)
        steps = [StepScore(Kind[step["kind"]], step["end"], step["p"]) for step in line["steps"]]
        assert score_rollouts.score_of(steps, "last") == pytest.approx(steps[-1].p, rel=1e-12)
        lowest = min(step.p for step in steps)
        assert score_rollouts.score_of(steps, "min") == pytest.approx(lowest, rel=1e-12)
        product = math.exp(score_rollouts.score_of(steps, "product") or 0.0)
        assert product == pytest.approx(math.prod(step.p for step in steps))
        assert score_rollouts.score_of(steps[:-1], "min") is None


def test_nothing_is_dropped_in_silence(
    learnt: Path, tiny_pair: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = read(learnt)[0]["id"]
    rollouts, out = tmp_path / "rollouts.jsonl", tmp_path / "scores.jsonl"
    long = '[{"name": "%s", "arguments": {}}]' % ("ab " * 999)
    lines = [
        {"id": "unknown", "completions": ["[]", "[]"]},
        {"id": known, "completions": ["[]", '[{"name": "a', long]},
        {"id": known, "completions": ["[]"], "token_ids": [[0]]},
        {"id": known, "completions": "[]"},
    ]
    write_jsonl(rollouts, lines)
    given = ["--prm", tiny_pair.prm, "--records", str(learnt), "--out", str(out)]
    given += ["--row_length", "512", "--rollouts", str(rollouts)]
    assert score_rollouts.main(given) == 0
    whole, cut = read(out)
    assert whole["completion"] == "[]"
    assert [step["kind"] for step in whole["steps"]] == ["TOTAL_FINISH"]
    assert 0 < whole["score"] < 1
    assert (cut["completion"], cut["steps"], cut["score"]) == ('[{"name": "a', [], None)
    assert cut["error"].startswith("byte 12: expected a string's character")
    rejects = read(tmp_path / "scores.jsonl.rejects.jsonl")
    assert [(r["line"], r["completions"]) for r in rejects] == [(1, 2), (4, 0), (2, 1), (3, 1)]
    reasons = [r["reason"] for r in rejects]
    assert "no record 'unknown'" in reasons[0]
    assert "completions[2]" in reasons[2]
    assert "at most the 512 of a row" in reasons[2]
    assert "do not spell" in reasons[3]
    assert "1 of 2 completions have a score" in capsys.readouterr().out

    out.unlink()
    write_jsonl(rollouts, lines[:1])
    assert score_rollouts.main(given) == 2
    error = capsys.readouterr().err
    assert "no completion can be scored; " in error
    assert f"{rollouts}:1: id: no record 'unknown'" in error
    assert not out.exists()
    (rejected,) = read(tmp_path / "scores.jsonl.rejects.jsonl")
    assert rejected["id"] == "unknown"
    assert score_rollouts.main([*given[:-1], str(out)]) == 2
    assert score_rollouts.main(["--prm", tiny_pair.policy, *given[2:]]) == 2
    assert "it is a policy" in capsys.readouterr().err


def test_calls_in_other_forms_are_respelled_first(
    learnt: Path, tiny_pair: Any, tmp_path: Path
) -> None:
    known = read(learnt)[0]["id"]
    plain = '[{"name": "f", "arguments": {"x": 1}}]'
    forms = [plain, "<tool_call>" + plain[1:-1] + "</tool_call>"]
    write_jsonl(tmp_path / "r.jsonl", [{"id": known, "completions": forms}])
    out = tmp_path / "scores.jsonl"
    given = ["--prm", tiny_pair.prm, "--records", str(learnt), "--out", str(out)]
    assert score_rollouts.main([*given, "--rollouts", str(tmp_path / "r.jsonl")]) == 0
    one, other = read(out)
    assert "read_as" not in one
    assert other["completion"] == forms[1]
    assert other["read_as"] == plain
    assert (one["score"], one["steps"]) == (other["score"], other["steps"])
