"""docs/annotation.md, from records to a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from documents import blocks_run_by, commands, main_of

from toolprm_jax.records.readers import record_to_json
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.toolworld.masked import masked_corpus


def test_the_page_on_annotation_makes_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl("records.jsonl", map(record_to_json, masked_corpus(0, "train", 10)))
    *shell, program = blocks_run_by("test_the_page_on_annotation_makes_a_data_set")
    for text in shell:
        for name, *arguments in commands(text):
            assert main_of(name)(arguments) == 0
    names: dict[str, Any] = {}
    exec(compile(program, "docs/annotation.md", "exec"), names)
    steps = [line for lines in names["lines"] for line in lines]
    assert steps
    assert Path("stats.json").exists()
    assert Path("statistics.png").exists()
