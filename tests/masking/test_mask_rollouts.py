"""Rollouts made for the original records, masked alike: the same labels, and the way back."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from toolprm_jax.annotation.corruption import corruptions, gold_completion
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import parse_calls
from toolprm_jax.grammar.types import Dress
from toolprm_jax.masking.mask import chosen, main
from toolprm_jax.masking.masked import Masked, mask_record, unmask_calls
from toolprm_jax.records.readers import read_records, record_to_json
from toolprm_jax.records.types import Call, GoldCall, Record, Tool, spell_calls
from toolprm_jax.records.writing import write_jsonl

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "default": "Oslo"},
        "where": {"type": "object", "properties": {"low": {"type": "number"}}},
    },
}
RECORD = Record(
    "r",
    ({"role": "user", "content": "Weather in Oslo"},),
    (Tool("weather", "d", SCHEMA), Tool("now", "", {})),
    (GoldCall.exact(Call("weather", {"city": "Oslo", "where": {"low": 1}})),),
)
DRESSES: tuple[Dress, ...] = ("list", "tool_call", "llama")


def assert_same_labels(record: Record, masked: Masked, text: str, dress: Dress) -> None:
    before = label_completion(record, text, dress=dress)
    new = masked.completion(text, dress)
    after = label_completion(masked.record, new, dress=dress)
    where = (record.id, text, new)
    assert [s[:1] + s[2:] for s in before.steps] == [s[:1] + s[2:] for s in after.steps], where
    assert before.trailing == after.trailing
    assert (before.error is None) == (after.error is None)
    if not any(name in text for name in masked.map["tools"]):  # those can't keep their names
        assert unmask_calls(masked.map, after.calls) == before.calls, where


def texts(record: Record, dress: Dress) -> list[str]:
    made = corruptions(record, random.Random(record.id), dress)
    return [gold_completion(record, dress), *(each.text for each in made)]


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("seed", range(5))
def test_labels_stay(dress: Dress, seed: int) -> None:
    masked = mask_record(RECORD, seed)
    assert masked.map["defaults"]["changed"]
    other = masked.map["defaults"]["changed"][0]["new"]
    names = [*masked.map["tools"], "weather", "absent"]
    wrong = [Call(name, {"city": value}) for name in names for value in (other, "Oslo", 3)]
    for text in [*texts(RECORD, dress), *(spell_calls([call], dress) for call in wrong)]:
        assert_same_labels(RECORD, masked, text, dress)


def test_all_but_names_and_the_default_stays_byte_for_byte() -> None:
    masked = mask_record(RECORD, 0)
    names = {old: new for new, old in masked.map["tools"].items()}
    inner = {old: new for new, old in masked.map["parameters"][names["weather"]].items()}
    (change,) = masked.map["defaults"]["changed"]
    inside = '"where" : {"low":1.50},"city":"%s", "x":[ 1 ]'
    text = '```json\n[ {"name":"weather" , "arguments": {' + inside + "}}] so"
    new = (
        text.replace("weather", names["weather"])
        .replace('"where" : {"low":1.50}', f'"{inner["where"]}" : {{"{inner["low"]}": 1.5}}')
        .replace("city", inner["city"])
    )
    assert masked.completion(text % "Oslo") == new % change["new"]
    assert masked.completion(text % change["new"]) == new % "Oslo"
    assert masked.completion("I can't say.") == "I can't say."
    assert masked.completion('[{"name": "\ud800') == '[{"name": "\ud800'


@pytest.mark.parametrize(
    "file",
    ["xlam/xlam_function_calling_sample_100.json", "bfcl/BFCL_v4_parallel.json"],
)
def test_real_rollouts_keep_their_labels(shared_data: Path, file: str) -> None:
    for record in list(read_records(shared_data / file))[:60]:
        masked = mask_record(record, 0)
        for dress in DRESSES:
            for text in texts(record, dress):
                assert_same_labels(record, masked, text, dress)


def test_the_command_masks_rollouts_with_their_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [RECORD.with_(id=str(index)) for index in range(20)]
    write_jsonl(tmp_path / "records.jsonl", map(record_to_json, records))
    rollouts = [
        {"id": record.id, "completions": texts(record, "list")[:2], "token_ids": [[1], []], "k": 1}
        for record in records
    ]
    write_jsonl(tmp_path / "rollouts.jsonl", [*rollouts, {"id": "absent", "completions": ["[]"]}])
    out = tmp_path / "masked.jsonl"
    argv = ["--records", str(tmp_path / "records.jsonl"), "--out", str(out), "--share", "1/2"]
    assert main([*argv, "--rollouts", str(tmp_path / "rollouts.jsonl")]) == 0
    written = tmp_path / "masked.jsonl.rollouts.jsonl"
    lines = [json.loads(line) for line in written.read_text("utf-8").splitlines()]
    masked = [chosen(record.id, 0, 0.5) for record in records]
    assert 4 < sum(masked) < 16
    for record, line, given, is_masked in zip(records, lines, rollouts, masked, strict=True):
        if not is_masked:
            assert line == given
            continue
        renamed = mask_record(record, 0)
        completions = [renamed.completion(text) for text in given["completions"]]
        assert line == {"id": record.id, "completions": completions, "k": 1}
        assert parse_calls(tables(), completions[0].encode())[0].name in renamed.map["tools"]
    rejects = (tmp_path / "masked.jsonl.rejects.jsonl").read_text("utf-8")
    assert "expected the id of a record, found 'absent'" in rejects
    told = capsys.readouterr().out
    assert f"40 completions written to {written}, {2 * sum(masked)} of them masked" in told
    assert f"the token ids of {2 * sum(masked)} were dropped" in told
    assert main([*argv, "--rollouts-out", "x"]) == 2
