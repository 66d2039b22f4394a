"""OpenAI's older and newer forms of a conversation mean what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.masking.masked import mask_record
from toolprm_jax.records.readers import read_records, record_from_json, record_to_json
from toolprm_jax.records.types import DataError, Record

DIM = {
    "name": "dim",
    "description": "Dims a lamp",
    "parameters": {"type": "object", "properties": {"lamp": {"type": "string"}}},
}
ASK = {"role": "user", "content": "Dim the hall"}


def older(lamp: str, **more: Any) -> dict[str, Any]:
    call = {"name": "dim", "arguments": json.dumps({"lamp": lamp})}
    return {"role": "assistant", "content": None, "function_call": call, **more}


def newer(lamp: str, **more: Any) -> dict[str, Any]:
    call = {"id": lamp, "type": "function", "function": {**older(lamp)["function_call"]}}
    return {"role": "assistant", "content": None, "tool_calls": [call], **more}


def item(lamp: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": lamp, **older(lamp)["function_call"]}


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def read(tmp_path: Path, messages: list[Any], **row: Any) -> list[Record]:
    row = {"id": "c", "messages": messages, **(row or {"tools": [DIM]})}
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    records = list(read_records(path, "openai"))
    for record in records:
        assert record_from_json(json.loads(json.dumps(record_to_json(record)))) == record
        assert [tool.name for tool in record.tools] == ["dim"]
    return records


def lamps(record: Record) -> list[str]:
    assert record.answers is not None
    return [gold.first().arguments["lamp"] for gold in record.answers]


@pytest.mark.parametrize("key", ["functions", "tools"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_older_form_of_calls(tmp_path: Path, key: str, packed: bool) -> None:
    messages = [
        ASK,
        older("hall"),
        {"role": "function", "name": "dim", "content": "ok"},
        says("Done."),
    ]
    tools: Any = json.dumps([DIM]) if packed else [DIM]
    first, second = read(tmp_path, messages, **{key: tools, "function_call": "auto"})
    assert lamps(first) == ["hall"]
    assert second.answers == ()
    assert [message["role"] for message in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[1]["calls"] == [{"name": "dim", "arguments": {"lamp": "hall"}}]
    assert second.messages[2]["name"] == "dim"
    assert first.extra == {"function_call": "auto"}


def test_functions_beside_tools_are_added_once(tmp_path: Path) -> None:
    (record,) = read(tmp_path, [ASK, newer("hall")], tools=[DIM], functions=[DIM])
    assert lamps(record) == ["hall"]


def test_a_call_in_both_forms_is_one_and_two_different_are_refused(tmp_path: Path) -> None:
    both = {**older("hall"), **newer("hall"), "function_call": older("hall")["function_call"]}
    (record,) = read(tmp_path, [ASK, both])
    assert lamps(record) == ["hall"]
    both["function_call"] = older("attic")["function_call"]
    with pytest.raises(DataError, match=r"messages\[1\].function_call: expected one of"):
        read(tmp_path, [ASK, both])


@pytest.mark.parametrize(
    ("turn", "gold", "said"),
    [
        ([says("Wait."), newer("hall")], ["hall"], "Wait."),
        ([newer("hall"), newer("attic")], ["hall", "attic"], ""),
        ([newer("hall"), says("Done.")], ["hall"], "Done."),
        ([says("One."), older("hall"), says("Two.")], ["hall"], "One.\nTwo."),
        ([item("hall"), item("attic")], ["hall", "attic"], ""),
        ([says("One."), says("Two.")], [], "One.\nTwo."),
    ],
)
def test_neighbours_are_one_turn(
    tmp_path: Path, turn: list[Any], gold: list[str], said: str
) -> None:
    (record,) = read(tmp_path, [ASK, *turn])
    assert (record.id, lamps(record)) == ("c", gold)
    assert record.extra.get("turn", {}).get("content", "") == said
    first, second = read(tmp_path, [ASK, *turn, ASK, newer("porch")])
    assert (lamps(first), lamps(second)) == (gold, ["porch"])
    assert len(second.messages) == 3


def test_other_keys_of_neighbours_are_kept(tmp_path: Path) -> None:
    turn = [says("a", name="x", audio=1), says("b", name="y", refusal=None)]
    (record,) = read(tmp_path, [ASK, *turn])
    assert record.extra["turn"]["name"] == "x"
    assert record.extra["turn"]["neighbours"] == [{"name": "y"}]


def test_a_neighbour_that_is_not_learnt_from_is_history(tmp_path: Path) -> None:
    (record,) = read(tmp_path, [ASK, says("Hm.", weight=0), newer("hall", weight=1)])
    assert (lamps(record), len(record.messages)) == (["hall"], 2)


@pytest.mark.parametrize("opening", [[], [{"role": "system", "content": "s"}]])
def test_a_greeting_is_history(tmp_path: Path, opening: list[Any]) -> None:
    (record,) = read(tmp_path, [*opening, says("Hello!"), ASK, newer("hall")])
    assert lamps(record) == ["hall"]
    assert [m["role"] for m in record.messages][-2:] == ["assistant", "user"]
    with pytest.raises(DataError, match=r"messages\[0\]: expected a message before the assist"):
        read(tmp_path, [*opening, says("Hello!")])


def test_calls_need_something_that_they_answer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"messages\[0\]: expected a message before .* calls"):
        read(tmp_path, [newer("hall"), ASK, newer("attic")])


def test_a_developer_is_the_system(tmp_path: Path) -> None:
    (record,) = read(tmp_path, [{"role": "developer", "content": "d"}, ASK, newer("hall")])
    assert record.messages[0] == {"role": "system", "content": "d"}


def test_items_of_the_responses_api(tmp_path: Path) -> None:
    text = [{"type": "input_text", "text": "Dim the hall"}]
    messages = [
        {"type": "message", "role": "user", "content": text},
        item("hall"),
        {"type": "function_call_output", "call_id": "hall", "output": "ok"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "!"}]},
    ]
    tool = {"type": "function", **DIM, "strict": True}
    first, second = read(tmp_path, messages, tools=[tool])
    assert (first.query, lamps(first)) == ("Dim the hall", ["hall"])
    assert first.answers is not None
    assert first.answers[0].extra == {"call_id": "hall"}
    assert second.messages[2] == {"role": "tool", "content": "ok", "tool_call_id": "hall"}
    assert second.extra["turn"] == {"content": "!"}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "reasoning", "summary": []}, r"\[1\].type: expected .* found 'reasoning'"),
        ({"type": "web_search_call"}, r"\[1\].type: expected .* found 'web_search_call'"),
        ({"type": "function_call", "name": "dim"}, None),
        ({"type": "function_call", "arguments": "{}"}, r"\[1\]: expected an object with a non-emp"),
        ({"content": "x"}, r"\[1\].role: expected one of system, .* found None"),
        ({"role": "model", "content": "x"}, r"\[1\].role: expected one of .* found 'model'"),
        ({"role": ["user"], "content": "x"}, r"\[1\].role: expected one of"),
        (says("x", weight="0"), r"\[1\].weight: expected 0 or 1, found '0'"),
        (says("x", weight=[]), r"\[1\].weight: expected 0 or 1"),
        (says("x", tool_calls=7), r"\[1\].tool_calls: expected a list"),
        (says("x", function_call="auto"), r"\[1\].function_call: expected an object"),
        ({**newer("hall"), "role": "user"}, r"\[1\]: expected calls of the assistant"),
        (7, r"\[1\]: expected an object"),
    ],
)
def test_what_is_no_message_is_refused_by_name(
    tmp_path: Path, message: Any, reason: str | None
) -> None:
    if reason is None:
        (record,) = read(tmp_path, [ASK, message])
        assert record.answers is not None
        assert record.answers[0].arguments == {}
        return
    with pytest.raises(DataError, match=r"c\.jsonl:1: messages" + reason):
        read(tmp_path, [ASK, message, newer("hall")])


@pytest.mark.parametrize("made", [older("hall"), newer("hall"), newer("hall", content="")])
def test_calls_in_the_history_of_a_record_are_calls(tmp_path: Path, made: dict[str, Any]) -> None:
    path = tmp_path / "r.jsonl"
    query = [ASK, made, {"role": "tool", "content": "ok"}, ASK]
    row = {"id": "r", "query": query, "tools": [DIM], "answers": []}
    path.write_text(json.dumps(row), encoding="utf-8")
    (record,) = read_records(path, "record")
    assert record.messages[1]["calls"][0]["arguments"] == {"lamp": "hall"}
    masked = mask_record(record, 0)
    assert "lamp" not in json.dumps(record_to_json(masked.record)["query"][1])


@pytest.mark.parametrize(
    ("tool", "good"),
    [
        ({"name": "dim", "input_schema": DIM["parameters"]}, True),
        ({"type": "custom", "name": "dim", "input_schema": DIM["parameters"]}, True),
        ({"name": "dim", "inputSchema": DIM["parameters"], "title": "Dim"}, True),
        ({"type": "function", "function": DIM, "name": "dim"}, True),
        ({"type": "function", "function": DIM, "name": "brighten"}, False),
        ({"type": "custom", "name": "dim"}, False),
        ({"type": "function", "function": DIM, "description": "other"}, False),
    ],
)
def test_forms_of_tools(tmp_path: Path, tool: Any, good: bool) -> None:
    if not good:
        with pytest.raises(DataError, match=r"tools\[0\]\.(type|name|description): expected"):
            read(tmp_path, [ASK, newer("hall")], tools=[tool])
        return
    (record,) = read(tmp_path, [ASK, newer("hall")], tools=[tool])
    assert list(record.tools[0].properties) == ["lamp"]
