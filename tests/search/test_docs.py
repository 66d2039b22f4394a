"""The programs in docs/search.md run and do what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import search
from search.core.config import Execution, SearchConfig
from search.host.engine import Engine
from search.host.pair import ModelPair
from search.host.searcher import Searcher
from toolprm_jax.toolworld.masked import masked_corpus

DOCS = Path(__file__).resolve().parents[2] / "docs"


def program(word: str) -> str:
    """The one program with a word in it."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "search.md").read_text(), re.DOTALL)
    (found,) = (block for block in blocks if word in block)
    return found


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
    exec(compile(program("Engine"), "docs/search.md", "exec"), {"record": record})
    assert re.fullmatch(r"0 \(.*\)\n", capsys.readouterr().out)


def test_a_users_own_models_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    block = program("class Policy")
    exec(compile(block, "docs/search.md", "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        answer, score = line.rsplit(" ", 1)
        assert re.search(r'"arguments": {"a": [17], "b": 2}}]', answer)
        assert float(score) == pytest.approx(0.905, abs=1e-3)
