"""Each format as its owners publish it: recognised, and every field kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.annotation.corruption import gold_completion
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.masking.masked import mask_record, unmask_record
from toolprm_jax.records.fields import MAX_NESTING
from toolprm_jax.records.jsonl import Reject
from toolprm_jax.records.readers import (
    detect_format,
    read_records,
    record_from_json,
    record_to_json,
)
from toolprm_jax.records.types import Call, DataError, Record, spell_calls

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "d", "parameters": PARAMETERS, "strict": True}
TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Weather in Köln?"}], "name": "u"},
    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": '{"degrees": 3}'},
    {"role": "assistant", "content": "3 degrees."},
]
CALL = {"name": "weather", "arguments": {"city": "Köln"}, "id": "call_1"}


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def conversation(**changes: Any) -> dict[str, Any]:
    tools = [{"type": "function", "function": FUNCTION}]
    return {"id": "c", "messages": MESSAGES, "tools": tools, **changes}


def read_one(path: Path, row: Any) -> list[Record]:
    records = list(read_records(write(path, row)))
    for record in records:
        assert record_from_json(json.loads(json.dumps(record_to_json(record)))) == record
        masked = mask_record(record, 3)
        assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record
    return records


# --- OpenAI --------------------------------------------------------------------------------------


def test_a_conversation_is_one_record_for_each_assistant_turn(tmp_path: Path) -> None:
    row = conversation(parallel_tool_calls=False)
    assert detect_format(write(tmp_path / "c.jsonl", row)) == "openai"
    first, second = read_one(tmp_path / "c.jsonl", row)
    assert (first.id, second.id) == ("c/0", "c/1")
    assert [dict(message) for message in first.messages] == [
        MESSAGES[0],
        {"role": "user", "content": "Weather in Köln?", "name": "u"},
    ]
    assert record_to_json(first)["answers"] == [CALL]
    assert first.extra == {"parallel_tool_calls": False}
    (tool,) = first.tools
    assert (tool.name, tool.parameters, tool.extra) == ("weather", PARAMETERS, {"strict": True})
    assert second.answers == ()
    assert [dict(message) for message in second.messages[2:]] == [
        {"role": "assistant", "content": "", "calls": [CALL]},
        MESSAGES[3],
    ]
    assert second.extra["turn"] == {"content": "3 degrees."}


def test_a_turn_without_weight_is_history_only(tmp_path: Path) -> None:
    quiet = [*MESSAGES[:2], {**MESSAGES[2], "weight": 0}, *MESSAGES[3:]]
    (record,) = read_one(tmp_path / "c.jsonl", conversation(messages=quiet))
    assert (record.id, record.answers, len(record.messages)) == ("c", (), 4)


def test_a_conversation_that_ends_with_the_user_has_no_known_gold(tmp_path: Path) -> None:
    (record,) = read_one(tmp_path / "c.jsonl", conversation(messages=MESSAGES[:2]))
    assert record.answers is None


def test_forms_that_users_have(tmp_path: Path) -> None:
    loose = {"id": 1, "function": {"name": "weather", "arguments": {"city": "Köln"}}}
    empty = {"id": 2, "function": {"name": "now", "arguments": ""}}
    messages = [MESSAGES[1], {"role": "assistant", "tool_calls": [loose, empty]}]
    bare = conversation(messages=messages, tools=json.dumps([FUNCTION, {"name": "now"}]))
    (record,) = read_one(tmp_path / "c.jsonl", bare)
    assert record_to_json(record)["answers"] == [
        {"name": "weather", "arguments": {"city": "Köln"}, "id": 1},
        {"name": "now", "arguments": {}, "id": 2},
    ]
    assert label_completion(record, gold_completion(record)).correct


def test_history_is_masked_with_its_calls(tmp_path: Path) -> None:
    _, record = read_one(tmp_path / "c.jsonl", conversation())
    masked = mask_record(record, 0)
    (tool,) = masked.record.tools
    (call,) = masked.record.messages[2]["calls"]
    (parameter,) = tool.properties
    assert call == {"name": tool.name, "arguments": {parameter: "Köln"}, "id": "call_1"}
    assert "weather" not in json.dumps(record_to_json(masked.record)["query"][1:])


BAD = {
    "tools[0].type: expected 'function'": conversation(tools=[{"type": "web_search"}]),
    "tools: expected at least one tool": conversation(tools=[]),
    "messages[1].content[0]: expected a part of type 'text'": conversation(
        messages=[MESSAGES[0], {"role": "user", "content": [{"type": "image_url"}]}, MESSAGES[2]]
    ),
    "messages[2].tool_calls[0].function.arguments: expected JSON": conversation(
        messages=[
            *MESSAGES[:2],
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "weather", "arguments": "{"}}],
            },
        ]
    ),
    "messages[0]: expected a message before the assistant's": conversation(messages=[MESSAGES[4]]),
    "messages: expected a list": conversation(messages=None),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_conversation_says_why_and_is_kept(tmp_path: Path, reason: str) -> None:
    path = write(tmp_path / "c.jsonl", conversation(id="good"), BAD[reason])
    rejects: list[Reject] = []
    assert [record.id for record in read_records(path, None, rejects.append)] == [
        "good/0",
        "good/1",
    ]
    (reject,) = rejects
    assert reject.reason.startswith(reason)
    assert json.loads(reject.raw) == BAD[reason]


# --- xLAM ----------------------------------------------------------------------------------------

XLAM_TOOL = {
    "name": "f",
    "description": "d",
    "parameters": {"a": {"type": "str, optional", "default": ""}, "b": {"type": "List[int]"}},
}


@pytest.mark.parametrize("answers", ["", "[]"])
def test_xlam_irrelevance(tmp_path: Path, answers: str) -> None:
    row = {"id": 3, "query": "q", "tools": json.dumps([XLAM_TOOL]), "answers": answers}
    assert detect_format(write(tmp_path / "x.jsonl", row)) == "xlam"
    (record,) = read_one(tmp_path / "x.jsonl", row)
    assert record.answers == ()
    assert record.tools[0].required == {"b"}
    assert label_completion(record, "[]").correct
    # Upstream, some rows of the irrelevance set have no tools at all.
    (bare,) = read_one(tmp_path / "x.jsonl", {**row, "tools": "[]"})
    assert bare.tools == ()


# --- BFCL ----------------------------------------------------------------------------------------


def bfcl_file(folder: Path, name: str, types: dict[str, Any], truth: dict[str, Any]) -> Path:
    function = {
        "name": "f",
        "description": "d",
        "parameters": {"type": "dict", "properties": types, "required": sorted(types)},
    }
    question = [[{"role": "user", "content": "q"}]]
    write(folder / "possible_answer" / name, {"id": "j", "ground_truth": [{"f": truth}]})
    return write(folder / name, {"id": "j", "question": question, "function": [function]})


def right(record: Record, **arguments: str) -> bool:
    return label_completion(record, spell_calls([Call("f", arguments)])).correct


def test_java_golds_are_strings_of_literals(tmp_path: Path) -> None:
    path = bfcl_file(
        tmp_path,
        "BFCL_v4_simple_java.json",
        {
            "list": {"type": "ArrayList", "items": {"type": "String"}, "description": "l"},
            "size": {"type": "long", "description": "s"},
            "map": {"type": "HashMap"},
            "who": {"type": "String"},
        },
        {
            "list": [["a", "b"]],
            "size": [5],
            "map": [{"k": ["v", "w"]}],
            "who": ["the user"],
        },
    )
    (record,) = read_records(path)
    assert record.equality == "bfcl"
    assert record_from_json(record_to_json(record)) == record
    (tool,) = record.tools
    assert {schema["type"] for schema in tool.properties.values()} == {"string"}
    assert "ArrayList" in tool.properties["list"]["description"]
    assert label_completion(record, gold_completion(record)).correct
    good = {
        "list": 'new ArrayList<String>() {{ add("A"); add("b"); }}',
        "size": "5L",
        "map": 'new HashMap<String, String>() {{ put("k", "w"); }}',
        "who": "The User",
    }
    assert right(record, **good)
    assert not right(record, **{**good, "size": "5"})
    assert not right(record, **{**good, "list": 'new ArrayList<>(Arrays.asList("b", "a"))'})
    assert not right(record, **{**good, "map": 'new HashMap<>() {{ put("k", "x"); }}'})
    masked = mask_record(record, 0)
    assert label_completion(masked.record, gold_completion(masked.record)).correct
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record


def test_javascript_is_not_taken_for_java(tmp_path: Path) -> None:
    path = bfcl_file(
        tmp_path,
        "BFCL_v3_javascript.json",
        {"list": {"type": "array", "items": {"type": "integer"}}, "callback": {"type": "any"}},
        {"list": [[1, 2]], "callback": ["onDone"]},
    )
    (record,) = read_records(path)
    assert record.tools[0].properties["list"]["literal"]["language"] == "javascript"
    assert label_completion(record, gold_completion(record)).correct
    assert right(record, list="new Array(1,2)", callback="onDone")
    assert not right(record, list="[1, '2']", callback="onDone")
    long = "[" * 10_000  # hostile values are wrong, and no more
    assert not right(record, list=long, callback=long)


def test_bfcl_keeps_other_keys_and_names_multi_turn(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "q"}]] * 2
    row = {"id": "m", "question": turns, "function": [FUNCTION]}
    with pytest.raises(DataError, match=r"m\.json:1: question: expected one turn, found 2"):
        list(read_records(write(tmp_path / "m.json", row)))
    with pytest.raises(DataError, match="multi-turn categories need its simulated services"):
        detect_format(write(tmp_path / "n.json", {"question": turns, "involved_classes": []}))


# --- Hammer --------------------------------------------------------------------------------------


def test_hammers_prompts_hold_the_same_records(shared_data: Path) -> None:
    folder = shared_data / "toolalpaca"
    plain = list(read_records(folder / "toolalpaca_114.json"))
    prompts = list(read_records(folder / "toolalpaca_114_hammer2.1_prompts.json"))
    assert len(plain) == len(prompts) == 114
    for one, other in zip(plain, prompts, strict=True):
        assert (one.messages, one.answers) == (other.messages, other.answers)
        assert [tool.to_json() for tool in one.tools] == [tool.to_json() for tool in other.tools]


def test_a_prompt_without_tools_is_no_record(tmp_path: Path) -> None:
    row = {"instruction": "Hello", "input": "", "output": "[]"}
    with pytest.raises(DataError, match=r"instruction: expected \[BEGIN OF AVAILABLE TOOLS\]"):
        list(read_records(write(tmp_path / "h.jsonl", row)))


# --- any format ----------------------------------------------------------------------------------


def test_the_guess_is_told_and_what_is_unknown_is_described(tmp_path: Path) -> None:
    found: list[str] = []
    list(read_records(write(tmp_path / "c.jsonl", conversation()), found=found.append))
    assert found == ["openai"]
    list(read_records(tmp_path / "c.jsonl", "openai", found=found.append))
    assert found == ["openai"]
    rows = {"prompt": "p", "completions": [], "labels": []}
    with pytest.raises(DataError, match=r"found 'prompt', 'completions', 'labels'; .* TRL's steps"):
        detect_format(write(tmp_path / "t.jsonl", rows))


@pytest.mark.parametrize("depth", [MAX_NESTING - 5, MAX_NESTING + 5, 900])
def test_what_is_nested_too_deeply_is_rejected(tmp_path: Path, depth: int) -> None:
    deep: Any = 1
    for _ in range(depth):
        deep = [deep]
    call = {"name": "weather", "arguments": {"city": deep}}
    row = {"id": "r", "query": "q", "tools": [FUNCTION], "answers": [call]}
    packed = {**row, "id": "x", "tools": json.dumps([FUNCTION]), "answers": json.dumps([call])}
    for format_, given in (("record", row), ("xlam", packed)):
        rejects: list[Reject] = []
        path = write(tmp_path / "r.jsonl", given)
        records = list(read_records(path, format_, rejects.append))
        assert len(records) == (depth < MAX_NESTING)
        assert len(records) + len(rejects) == 1
        for record in records:
            mask_record(record, 0)
        for reject in rejects:
            assert f"at most {MAX_NESTING} deep" in reject.reason


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        (PARAMETERS, ["city"]),
        ({"properties": {"city": {}}, "required": ["city"]}, ["city"]),
        ({"type": ["object", "null"], "properties": {"city": {}}}, ["city"]),
        ({"type": "dict"}, []),
        ({"properties": {"type": "dict", "description": "d"}}, ["properties"]),
        ({"properties": {"type": "dict"}, "type": {"type": "str"}}, ["properties", "type"]),
        ({}, []),
    ],
)
def test_which_form_the_parameters_have(
    tmp_path: Path, parameters: dict[str, Any], names: list[str]
) -> None:
    tool = {"name": "f", "description": "", "parameters": parameters}
    row = {"id": "r", "query": "q", "tools": [tool], "answers": []}
    (record,) = read_one(tmp_path / "r.jsonl", row)
    assert list(record.tools[0].properties) == names
