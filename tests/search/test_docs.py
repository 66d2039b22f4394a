"""The programs in README and docs run and do what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documents import blocks_run_by

import search
from search.core.config import Execution, SearchConfig
from search.host.batches import make_batches, record_keys
from search.host.engine import Engine
from search.host.pair import ModelPair
from search.host.searcher import Searcher
from toolprm_jax.grammar.types import Kind
from toolprm_jax.records.readers import record_to_json
from toolprm_jax.records.types import Record
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.toolworld.masked import masked_corpus


def test_queries_join_an_engine(
    models: ModelPair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Searcher, "load", lambda *names: Searcher(models))
    config = SearchConfig(num_beams=1, beam_width=2, execution=Execution(pass_sizes=1))

    def smaller(pair: ModelPair, config_: SearchConfig, **sizes: int) -> Engine:
        assert sizes == {"rows": 8, "longest": 512}
        return Engine(pair, replace(config, schema=config_.schema), rows=1, longest=256)

    monkeypatch.setattr(search, "Engine", smaller)
    record = next(iter(masked_corpus(5, "heldout", 1)))
    (program,) = blocks_run_by("test_queries_join_an_engine")
    exec(compile(program, "docs/search.md", "exec"), {"record": record})
    assert re.fullmatch(r"0 \(.*\)\n", capsys.readouterr().out)


def test_a_users_own_models_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks_run_by("test_a_users_own_models_are_searched")
    exec(compile(program, "docs/search.md", "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        answer, score = line.rsplit(" ", 1)
        assert re.search(r'"arguments": {"a": [17], "b": 2}}]', answer)
        assert float(score) == pytest.approx(0.905, abs=1e-3)


def test_the_lines_in_the_readme_do_what_they_say(
    models: ModelPair, by_length: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = Execution(pass_sizes=1)  # and no schemas: the lines are the same, compiling is faster
    config = SearchConfig(1, 2, max_tokens=24, pool_size=256, execution=short)
    records = by_length[:1]
    (batch,) = make_batches(models.policy.codec, records, 1, 1)
    names = {
        "search": search,
        "searcher": Searcher(models, config),
        "records": records,
        "record": records[0],
        "query": records[0].query,
        "tools": records[0].tools,
        "completions": ["[]", "nonsense"],
        "keys": record_keys(0, records),
        "prompts": batch.prompts,
    }
    (program,) = blocks_run_by("test_the_lines_in_the_readme_do_what_they_say")
    exec(compile(program, "README.md", "exec"), names)
    assert [answer.record for answer in names["answers"]] == records
    assert "<html" in Path("tree.html").read_text()
    assert len(names["scores"]) == 2
    assert names["out"].score.shape == (1, 1)


def test_a_completion_is_scored_decision_by_decision(
    tiny_pair: Any,
    by_length: list[Record],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/prm").symlink_to(tiny_pair.prm)
    write_jsonl("queries.jsonl", map(record_to_json, by_length[:1]))
    (program,) = blocks_run_by("test_a_completion_is_scored_decision_by_decision")
    exec(compile(program, "docs/huggingface.md", "exec"), {})
    kinds = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert kinds == [kind.name for kind in Kind]
