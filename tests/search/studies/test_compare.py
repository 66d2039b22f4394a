"""The comparison over whole sets, stopped and gone on with; the choice of aggregate and beta."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.core.config import Execution, SearchConfig
from search.core.judge import aggregate
from search.host.pair import ModelPair
from search.host.runs import run_methods
from search.host.searcher import Searcher
from search.report.tables import RESULT_KEYS
from search.studies import compare, tune
from search.studies.tune import BETAS, Candidate, accuracies, candidates
from toolprm_jax.annotation.corruption import gold_completion
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.steps_file import labelled_from_json, steps_json
from toolprm_jax.command import INTERRUPTED
from toolprm_jax.model.score import score_completion
from toolprm_jax.records.readers import record_to_json
from toolprm_jax.records.types import DataError
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.toolworld.masked import masked_corpus

TINY = SearchConfig(
    num_beams=2,
    beam_width=2,
    max_tokens=48,
    max_step_tokens=24,
    pool_size=128,
    execution=Execution(pass_sizes=1),
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two small data sets."""
    monkeypatch.setattr(compare, "LONG", TINY)
    monkeypatch.setattr(
        compare,
        "DATA_SETS",
        {
            "one": compare.Source("a/one.jsonl"),
            "two": compare.Source("two.jsonl", first=3, metric="f1"),
        },
    )
    (tmp_path / "data" / "a").mkdir(parents=True)
    records = list(masked_corpus(5, "heldout", 5))
    for source in compare.DATA_SETS.values():
        write_jsonl(tmp_path / "data" / source.file, map(record_to_json, records))
    return tmp_path / "data"


def test_a_stopped_comparison_goes_on(
    tiny_pair: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "compare.json"
    argv = ["--policy", tiny_pair.policy, "--judges", f"tiny={tiny_pair.prm}", "--data", str(data)]
    argv += ["--methods", "fine_grained", "greedy", "--limit", "4", "--batch-size", "2"]
    argv += ["--sizes", "2x2", "--out", str(out)]
    real, seen = Searcher.batches, list[int]()
    stop_at = 2

    def stopping(*args: Any, **options: Any) -> Any:
        for found in real(*args, **options):
            (mine,) = found.values()
            seen.append(len(mine.indices))
            if len(seen) == stop_at:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Searcher, "batches", stopping)
    assert compare.main([*argv, "--runs", str(tmp_path / "runs")]) == INTERRUPTED
    assert not out.exists()
    stop_at, before = 0, len(seen)
    assert compare.main([*argv, "--runs", str(tmp_path / "runs")]) == 0
    batches = [path.read_text().splitlines() for path in (tmp_path / "runs").rglob("*.jsonl")]
    assert len(batches) == 2
    assert len(seen) - before == sum(map(len, batches)) - 1  # one was done
    rows = json.loads(out.read_text())
    again = len(seen)
    assert compare.main([*argv, "--runs", str(tmp_path / "runs")]) == 0
    assert json.loads(out.read_text()) == rows
    assert len(seen) == again

    f1 = [row for row in rows if row["metric"].startswith("f1")]
    assert [(row["dataset"], row["metric"]) for row in f1] == [
        ("two", f"f1_{of}") for _ in range(2) for of in ("names", "arguments")
    ]
    assert all(row["ci_low"] <= row["accuracy"] <= row["ci_high"] <= 1 for row in f1)
    rows = [row for row in rows if row not in f1]
    assert [(row["dataset"], row["method"], row["judge"]) for row in rows] == [
        (name, *which)
        for name in ("toolworld", "one", "two")
        for which in (("greedy", "none"), ("fine_grained", "tiny"))
    ]
    assert all(set(RESULT_KEYS) <= row.keys() for row in rows)
    assert [row["queries"] for row in rows] == [4, 4, 4, 4, 2, 2]
    assert all("diff" not in row for row in rows[::2])
    assert all(row["diff_low"] <= row["diff"] <= row["diff_high"] for row in rows[1::2])


def test_rows_of_other_settings_are_kept(tiny_pair: Any, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "compare.json"
    argv = ["--policy", tiny_pair.policy, "--judges", f"tiny={tiny_pair.prm}", "--data", str(data)]
    argv += ["--limit", "2", "--runs", str(tmp_path / "runs"), "--out", str(out), "--sets", "one"]
    assert compare.main([*argv, "--methods", "greedy"]) == 0
    (greedy,) = json.loads(out.read_text())
    assert compare.main([*argv, "--methods", "greedy", "--schemas", "strict"]) == 0
    rows = json.loads(out.read_text())
    assert rows[0] == greedy
    assert [row["schema"] for row in rows] == ["ignore", "strict"]
    out.write_text("{}")
    assert compare.main([*argv, "--methods", "greedy"]) == 2


def test_settings_are_greedy_first_and_ask_a_judge_only_where_one_is_asked() -> None:
    argv = ["--methods", "best_of_n", "greedy", "sample", "--sizes", "4x4", "2x8"]
    args = compare.parser().parse_args([*argv, "--schemas", "ignore", "strict"])
    names = [setting.name for setting in compare.settings(args, ["a", "b"])]
    per_schema = ["greedy-none-4x4", "best_of_n-a-4x4", "best_of_n-a-2x8", "sample-none-4x4"]
    per_schema += ["sample-none-2x8", "best_of_n-b-4x4", "best_of_n-b-2x8"]
    assert names == [f"{n}-{schema}" for schema in ("ignore", "strict") for n in per_schema]
    for wrong in ("4", "0x4", "4x", "x"):
        with pytest.raises(DataError):
            compare.parser().parse_args(["--sizes", wrong])
    for wrong in ("orm", "none=x", "=x", "a="):
        with pytest.raises(DataError):
            compare.parser().parse_args(["--judges", wrong])


def test_a_candidate_is_scored_as_it_is_alone(models: ModelPair) -> None:
    assert models.prm is not None
    record = next(r for r in masked_corpus(5, "heldout", 20) if r.answers)
    texts = [gold_completion(record), "[]", gold_completion(record)[:-1]]
    lines = [steps_json(record.id, text, label_completion(record, text)) for text in texts]
    rollouts = [labelled_from_json("line", line) for line in lines]
    together = candidates(models.policy, models.prm, record, rollouts)
    assert [c.correct for c in together] == [True, False, False]
    for rollout, found in zip(rollouts, together, strict=True):
        (alone,) = candidates(models.policy, models.prm, record, [rollout])
        np.testing.assert_allclose(found.log_p, alone.log_p, atol=1e-4)
        np.testing.assert_allclose(found.log_prob, alone.log_prob, atol=1e-3)
        if not rollout.died:
            steps = score_completion(models.prm, record, rollout.completion)
            np.testing.assert_allclose(np.exp(found.log_p), [s.p for s in steps], atol=1e-4)


def test_the_table_counts_who_is_chosen() -> None:
    sure = np.log(np.asarray([0.9, 0.8], np.float32))
    unsure = np.log(np.asarray([0.99, 0.5], np.float32))
    right_by_prm = [Candidate(True, sure, -9.0), Candidate(False, unsure, -8.5)]
    right_by_policy = [Candidate(False, sure, -9.0), Candidate(True, unsure, -1.0)]
    found = accuracies([right_by_prm, right_by_policy])
    assert found["likeliest"] == found["random"] == 0.5
    assert found["any_right"] == 1.0
    assert found["min"][BETAS.index(0.0)] == 0.5
    assert found["min"][BETAS.index(0.1)] == 1.0
    assert found["min"][BETAS.index(2.0)] == 0.5
    every = np.ones(2, bool)
    assert aggregate(unsure, every, "last") == pytest.approx(0.5)
    assert aggregate(unsure, every, "mean") == pytest.approx(0.745)
    assert aggregate(unsure, every, "product") == pytest.approx(np.log(0.495))


def test_a_tuning_run_writes_its_table(tiny_pair: Any, tmp_path: Path, capsys) -> None:
    records = list(masked_corpus(5, "heldout", 3))
    write_jsonl(tmp_path / "records.jsonl", map(record_to_json, records))
    lines = []
    for record in records:
        for text in (gold_completion(record), "[]"):
            lines.append(steps_json(record.id, text, label_completion(record, text)))
    write_jsonl(tmp_path / "steps.jsonl", lines)
    argv = ["--policy", tiny_pair.policy, "--prm", tiny_pair.prm]
    argv += ["--records", str(tmp_path / "records.jsonl"), "--steps", str(tmp_path / "steps.jsonl")]
    assert tune.main([*argv, "--out", str(tmp_path / "t.json")]) == 0
    assert json.loads((tmp_path / "t.json").read_text())["queries"] == 3
    assert "aggregate" in capsys.readouterr().out
    assert tune.main([*argv, "--prm", tiny_pair.policy]) == 2
    assert "it is a policy" in capsys.readouterr().err


def test_beta_adds_the_policys_likelihood(models: ModelPair) -> None:

    records = list(masked_corpus(5, "heldout", 4))
    plain = replace(TINY, aggregate="product", num_beams=1, beam_width=1, temperature=0.0)
    first, second = (
        run_methods(
            Searcher(models, replace(plain, beta=beta)), records, ["best_of_n"], seed=0,
            batch_size=4, progress=False,
        )["best_of_n"]
        for beta in (0.0, 0.5)
    )  # fmt: skip
    for a, b in zip(first.answers, second.answers, strict=True):
        assert a.text == b.text
        if a.finished:
            assert b.score < a.score
