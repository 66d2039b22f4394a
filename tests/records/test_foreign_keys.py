"""Keys that a file's owner added never replace the record's own, whatever they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.annotation.store import RecordStore
from toolprm_jax.masking.mask import main as mask_main
from toolprm_jax.masking.masked import mask_record, unmask_record
from toolprm_jax.records.readers import (
    detect_format,
    read_records,
    record_from_json,
    record_to_json,
)
from toolprm_jax.records.types import DataError, Record, Tool

SCHEMA = {"type": "object", "properties": {"bay": {"type": "integer"}}, "required": ["bay"]}
TOOL = {"name": "moor", "description": "Moors a boat", "parameters": SCHEMA}
CALL = {"name": "moor", "arguments": {"bay": 2}}
MODERN = {"id": "k", "type": "function", "function": {"name": "moor", "arguments": '{"bay": 2}'}}
USER = {"role": "user", "content": "Moor in bay 2"}
HAMMER = (
    f"[BEGIN OF AVAILABLE TOOLS]\n{json.dumps([TOOL])}\n[END OF AVAILABLE TOOLS]\n"
    "[BEGIN OF QUERY]\nMoor in bay 2\n[END OF QUERY]"
)
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "record": ("record", {"id": "r", "query": "Moor in bay 2", "tools": [TOOL], "answers": [CALL]}),
    "xlam": (
        "xlam",
        {
            "id": "r",
            "query": "Moor in bay 2",
            "tools": json.dumps([TOOL]),
            "answers": json.dumps([CALL]),
        },
    ),
    "bfcl": ("bfcl", {"id": "r", "question": [[USER]], "function": [TOOL]}),
    "toolalpaca": ("toolalpaca", {"query": "Moor in bay 2", "tools": [TOOL], "answers": [CALL]}),
    "hammer": ("toolalpaca", {"instruction": HAMMER, "output": json.dumps([CALL])}),
    "openai": (
        "openai",
        {
            "id": "r",
            "messages": [USER, {"role": "assistant", "content": "Aye.", "tool_calls": [MODERN]}],
            "tools": [{"type": "function", "function": TOOL}],
        },
    ),
}
NAMES = (
    "query", "tools", "answers", "accepted", "equality", "foreign", "turn", "question", "function",
    "messages", "instruction", "output", "ground_truth", "completions", "token_ids", "calls",
    "optional", "arguments", "parameters", "literal", "gold", "steps", "source",
)  # fmt: skip
# Keys of the format itself are no foreign ones.
OWN = {"record": ("accepted", "equality")}
VALUES = st.sampled_from(
    [None, False, 7, "", "bfcl", "Hello there", [], ["Bay 2 is taken."], {}, {"answers": []},
     [{"name": "sink", "arguments": {}}], {"foreign": 1}, [[USER]], [TOOL], [USER]]
)  # fmt: skip


def write(path: Path, row: dict[str, Any], *, array: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row] if array else row), encoding="utf-8")
    return path


def read(folder: Path, case: str, row: dict[str, Any]) -> Record:
    format, _ = ROWS[case]
    if format == "bfcl":
        truth = {"id": "r", "ground_truth": [{"moor": {"bay": [2]}}]}
        write(folder / "possible_answer" / "rows.json", truth, array=False)
    path = write(folder / "rows.json", row, array=format == "toolalpaca")
    (record,) = read_records(path, format)
    return record


@given(case=st.sampled_from(sorted(ROWS)), names=st.sets(st.sampled_from(NAMES)), data=st.data())
def test_foreign_keys_are_kept_and_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, case: str, names: set[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("foreign")
    row = ROWS[case][1]
    names -= {*row, *OWN.get(case, ())}
    added = {name: data.draw(VALUES) for name in sorted(names)}
    if case == "record" and isinstance(added.get("foreign"), dict):
        del added["foreign"]  # ours, where it holds names of ours
    plain, extended = read(folder, case, row), read(folder, case, {**row, **added})
    assert extended.with_(extra=plain.extra) == plain
    turn: dict[str, Any] = {"turn": {"content": "Aye."}} if case == "openai" else {}
    if "turn" in added and turn:
        turn["turn"]["foreign"] = {"turn": added.pop("turn")}
    assert extended.extra == {**added, **turn}
    assert record_from_json(json.loads(json.dumps(record_to_json(extended)))) == extended
    with RecordStore(folder / "store", new=True) as store:
        store.add([extended])
        assert store.get(extended.id) == (0, extended)
    masked = mask_record(extended, 0)
    assert masked.record.with_(extra={}) == mask_record(plain, 0).record.with_(extra={})
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == extended


@pytest.mark.parametrize("case", sorted(ROWS))
@pytest.mark.parametrize("name", NAMES)
def test_the_command_writes_the_record_and_not_the_foreign_key(
    tmp_path: Path, case: str, name: str
) -> None:
    format, row = ROWS[case]
    if name in row or name in OWN.get(case, ()):
        return
    path = write(tmp_path / "rows.json", {**row, name: []}, array=format == "toolalpaca")
    out = tmp_path / "masked.jsonl"
    assert not mask_main(["--records", str(path), "--format", format, "--share", "0",
                          "--out", str(out)])  # fmt: skip
    (record,) = read_records(out)
    assert record.with_(extra={}) == read(tmp_path, case, row).with_(
        extra={}, answers=record.answers
    )
    assert (record.answers is None) == (format == "bfcl")


@pytest.mark.parametrize("case", sorted(ROWS))
@pytest.mark.parametrize("name", ["query", "answers", "accepted", "equality", "turn", "question"])
def test_a_foreign_key_does_not_change_the_guess(tmp_path: Path, case: str, name: str) -> None:
    format, row = ROWS[case]
    if name in row or name in OWN.get(case, ()):
        return
    path = write(tmp_path / "rows.json", {**row, name: "Hello"}, array=format == "toolalpaca")
    assert detect_format(path) == format


def test_a_row_of_two_forms_is_not_guessed(tmp_path: Path) -> None:
    row = {**ROWS["record"][1], "messages": [USER]}
    with pytest.raises(DataError, match="has the form of openai and of record: say which"):
        detect_format(write(tmp_path / "rows.json", row, array=False))


def test_keys_inside_calls_and_messages_do_not_shadow(tmp_path: Path) -> None:
    call = {**MODERN, "name": "sink", "arguments": {"all": True}, "foreign": 3}
    messages = [
        {**USER, "calls": [{"name": "sink", "arguments": {}}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "done", "calls": 5},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    row = {**ROWS["openai"][1], "messages": messages}
    path = write(tmp_path / "rows.json", row, array=False)
    for record in read_records(path, "openai"):
        assert "calls" not in record.messages[0]
        assert record.answers is not None
        (gold,) = record.answers
        assert gold.first().to_json() == CALL
        assert gold.extra == {"id": "k", "name": "sink", "arguments": {"all": True}, "foreign": 3}
        again = record_from_json(json.loads(json.dumps(record_to_json(record))))
        assert again == record
    assert [c["name"] for c in record.messages[1]["calls"]] == ["moor"]


def test_what_a_tool_holds_beside_never_shows_instead() -> None:
    tool = Tool("moor", "d", SCHEMA, {"name": "sink", "strict": True, "parameters": {}})
    assert list(tool.to_json().items()) == [*TOOL_ITEMS, ("strict", True)]


TOOL_ITEMS = [("name", "moor"), ("description", "d"), ("parameters", SCHEMA)]


def test_a_wrong_equality_is_no_extra_key(tmp_path: Path) -> None:
    row = {**ROWS["record"][1], "equality": "strict"}
    with pytest.raises(DataError, match="equality: expected 'json' or 'bfcl', found 'strict'"):
        list(read_records(write(tmp_path / "rows.jsonl", row, array=False), "record"))
