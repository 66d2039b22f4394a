"""Records again, with other tools and names, and with no right call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolprm_jax.annotation import exact_match
from toolprm_jax.annotation.corruption import gold_calls
from toolprm_jax.records import DataError
from toolprm_jax.records.readers import read_records, record_to_json
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.toolworld.masked import masked_corpus
from toolprm_jax.toolworld.variations import main, part_of, variations

RECORDS = list(masked_corpus(3, "train", 40))


def test_every_pass_has_every_record_and_its_gold_stays_right() -> None:
    made = list(variations(RECORDS, 3, masked=0.5, unanswerable=0.5, seed=1))
    assert len({record.id for record in made}) == len(made)
    by_id = {record.id: record for record in made}
    kept = 0
    for index in range(3):
        for record in RECORDS:
            one = by_id[f"{record.id}-{index}"]
            assert one.query == record.query
            assert exact_match(one, gold_calls(one))
            names = {tool.name for tool in one.tools}
            assert {gold.name for gold in one.answers or ()} <= names
            kept += one.answers == record.answers
    assert 0.3 < kept / (3 * len(RECORDS)) < 0.7


def test_tools_are_left_out_and_added() -> None:
    made = list(variations(RECORDS, 4, masked=0.0, unanswerable=0.0, seed=1))
    assert len(made) == 4 * len(RECORDS)
    more = fewer = 0
    for index, record in enumerate(made):
        own = {tool.name for tool in RECORDS[index % len(RECORDS)].tools}
        names = {tool.name for tool in record.tools}
        assert len(names) == len(record.tools)
        more += bool(names - own)
        fewer += bool(own - names)
        assert not (names - own and own - names)
    assert more > 0.15 * len(made)
    assert fewer > 0.1 * len(made)


def test_twins_have_no_tool_that_is_needed() -> None:
    made = list(variations(RECORDS, 1, masked=0.0, unanswerable=1.0, seed=1))
    by_id = {record.id: record for record in RECORDS}
    twins = [record for record in made if record.id.endswith("-none")]
    assert len(twins) >= 0.8 * sum(bool(record.answers) for record in RECORDS)
    for twin in twins:
        own = by_id[twin.id.removesuffix("-0-none")]
        assert own.answers
        assert (twin.messages, twin.answers) == (own.messages, ())
        assert twin.tools
        needed = {gold.name for gold in own.answers}
        assert needed.isdisjoint(tool.name for tool in twin.tools)


def test_a_history_keeps_its_tools() -> None:
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}]
    record = RECORDS[0].with_(messages=(*turns, *RECORDS[0].messages))
    others = [record, *RECORDS[1:]]
    made = list(variations(others, 6, masked=0.0, unanswerable=1.0, seed=1))
    mine = [one for one in made if one.id.startswith(f"{record.id}-")]
    assert len(mine) == 6
    assert all(one.tools == record.tools for one in mine)


def test_a_record_without_gold_is_refused() -> None:
    with pytest.raises(DataError, match="expected answers"):
        list(variations([RECORDS[0].with_(answers=None)], 1, masked=0, unanswerable=0, seed=0))


def test_the_command_writes_what_it_is_asked_for(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_jsonl(source, map(record_to_json, RECORDS))
    command = ["--records", str(source), "--passes", "2", "--out", str(out)]
    assert main([*command, "--unanswerable", "0", "--seed", "4"]) == 0
    written = list(read_records(out))
    assert written == list(variations(RECORDS, 2, masked=0.5, unanswerable=0.0, seed=4))
    ids = [json.loads(line)["id"] for line in out.read_text().splitlines()]
    assert ids == [f"{record.id}-{index}" for index in range(2) for record in RECORDS]


def test_the_parts_share_no_tool_that_is_needed(tmp_path: Path) -> None:
    source, every = tmp_path / "in.jsonl", []
    write_jsonl(source, map(record_to_json, RECORDS))
    needed: dict[str, set[str]] = {}
    for part in ("taught", "unseen"):
        out = tmp_path / f"{part}.jsonl"
        command = ["--records", str(source), "--out", str(out), "--part", part]
        assert main([*command, "--unanswerable", "0", "--masked", "0"]) == 0
        found = list(read_records(out))
        every += found
        needed[part] = {gold.name for record in found for gold in record.answers or ()}
        assert found
    assert needed["taught"].isdisjoint(needed["unseen"])
    both = [record for record in RECORDS if part_of(record) == "all"]
    assert len(every) + len(both) == len(RECORDS)
