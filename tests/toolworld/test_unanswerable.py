"""Queries that no tool answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolprm_jax.records.readers import read_records, record_to_json
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.toolworld.masked import masked_corpus
from toolprm_jax.toolworld.unanswerable import main, with_unanswerable

RECORDS = list(masked_corpus(3, "train", 40))


def test_twins_have_foreign_tools_and_no_answer() -> None:
    made = list(with_unanswerable(RECORDS, 0.5, seed=1))
    by_id = {record.id: record for record in RECORDS}
    assert [record for record in made if not record.id.endswith("-none")] == RECORDS
    twins = [record for record in made if record.id.endswith("-none")]
    assert 8 <= len(twins) <= 32
    tools = [record.tools for record in RECORDS]
    for twin in twins:
        own = by_id[twin.id.removesuffix("-none")]
        assert own.answers
        assert (twin.messages, twin.answers) == (own.messages, ())
        assert twin.tools in tools
        assert {t.name for t in twin.tools}.isdisjoint(t.name for t in own.tools)


@pytest.mark.parametrize(("share", "some"), [(0.0, False), (1.0, True)])
def test_the_share_is_what_is_asked(share: float, some: bool, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_jsonl(source, map(record_to_json, RECORDS))
    assert main(["--records", str(source), "--share", str(share), "--out", str(out)]) == 0
    answerable = sum(bool(record.answers) for record in RECORDS)
    twins = [
        line for line in out.read_text().splitlines() if json.loads(line)["id"][-5:] == "-none"
    ]
    assert (len(twins) >= 0.8 * answerable) if some else not twins
    assert len(list(read_records(out))) == len(RECORDS) + len(twins)
