"""Readers: every format reads whole, and every bad row is an error or a reject, never a loss."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.records.jsonl import Reject, parse_json, read_rollouts
from toolprm_jax.records.queries import query_record
from toolprm_jax.records.readers import FORMATS, detect_format, read_records, record_to_json
from toolprm_jax.records.types import DataError, GoldCall, Record, Tool
from toolprm_jax.records.writing import json_line, write_jsonl

SHARED = {
    "xlam/xlam_function_calling_sample_100.json": ("xlam", 100),
    "bfcl/BFCL_v4_simple_python.json": ("bfcl", 400),
    "bfcl/BFCL_v4_multiple.json": ("bfcl", 200),
    "bfcl/BFCL_v4_parallel.json": ("bfcl", 200),
    "bfcl/BFCL_v4_irrelevance.json": ("bfcl", 240),
    "toolalpaca/toolalpaca_114.json": ("toolalpaca", 114),
    "toolalpaca/toolalpaca_114_hammer2.1_prompts.json": ("toolalpaca", 114),
    "seal-tools/seal_tools.jsonl": ("record", 1667),
    "sgd/sgd_single_turn.jsonl": ("record", 2670),
}
TOOL = {"name": "f", "description": "d", "parameters": {"a": {"type": "int"}}}
ROW = {"id": "r", "query": "q", "tools": [TOOL], "answers": [{"name": "f", "arguments": {"a": 1}}]}


def write(path: Path, *rows: Any) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHARED)
def test_public_files_read_whole(shared_data: Path, name: str) -> None:
    format, count = SHARED[name]
    assert detect_format(shared_data / name) == format
    records = list(read_records(shared_data / name, format))  # no `rejects`: a bad row raises
    assert len(records) == len({record.id for record in records}) == count
    for record in records:
        assert record.query
        assert record.tools
        assert record.answers is not None
        assert record.equality == ("bfcl" if format == "bfcl" else "json")
        if format != "toolalpaca":  # a few of its golds call tools that the item doesn't list
            assert {gold.name for gold in record.answers} <= {tool.name for tool in record.tools}
        assert all(values for gold in record.answers for values in gold.arguments.values())


@pytest.mark.parametrize("name", SHARED)
def test_public_files_survive_a_round_trip(shared_data: Path, name: str, tmp_path: Path) -> None:
    records = list(read_records(shared_data / name))
    write_jsonl(tmp_path / "r.jsonl", map(record_to_json, records))
    assert list(read_records(tmp_path / "r.jsonl", "record")) == records


def test_public_counts_of_calls_are_those_of_the_raw_files(shared_data: Path) -> None:
    path = shared_data / "xlam/xlam_function_calling_sample_100.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    for row, record in zip(raw, read_records(path), strict=True):
        assert record.id == str(row["id"])
        calls = [gold.first().to_json() for gold in record.answers or ()]
        assert calls == json.loads(row["answers"])
        assert [tool.to_json() for tool in record.tools] == json.loads(row["tools"])


def test_bfcl_empty_string_means_optional(shared_data: Path) -> None:
    by_id = {r.id: r for r in read_records(shared_data / "bfcl/BFCL_v4_multiple.json")}
    assert by_id["multiple_0"].answers == (
        GoldCall(
            "triangle_properties.get",
            {
                "side1": (5,),
                "side2": (4,),
                "side3": (3,),
                "get_area": (True,),
                "get_perimeter": (True,),
                "get_angles": (True,),
            },
            frozenset({"get_area", "get_perimeter", "get_angles"}),
        ),
    )
    answers = by_id["multiple_26"].answers
    assert answers is not None
    (gold,) = answers
    assert gold.arguments["mission"] == ("",)  # nothing but "": kept, and optional
    assert "mission" in gold.optional


def test_bfcl_without_answers(shared_data: Path, tmp_path: Path) -> None:
    irrelevant = read_records(shared_data / "bfcl/BFCL_v4_irrelevance.json")
    assert all(record.answers == () for record in irrelevant)
    row = {
        "id": "s",
        "question": [[{"role": "user", "content": "q"}]],
        "function": [TOOL],
        "more": 1,
    }
    (record,) = read_records(write(tmp_path / "live.json", row))
    assert record.answers is None
    assert record.extra == {"more": 1}
    (tmp_path / "possible_answer").mkdir()
    write(tmp_path / "possible_answer/live.json", {"id": "other", "ground_truth": []})
    with pytest.raises(DataError, match=r"live\.json:1: id: expected an answer for 's'"):
        list(read_records(tmp_path / "live.json"))


def test_bfcl_answers_are_no_records(shared_data: Path) -> None:
    with pytest.raises(DataError, match="name the file of the questions"):
        read_records(shared_data / "bfcl/possible_answer/BFCL_v4_multiple.json")


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    tool = {**TOOL, "returns": {"type": "str"}}
    (record,) = read_records(write(tmp_path / "r.jsonl", {**ROW, "tools": [tool], "split": "dev"}))
    assert record.extra == {"split": "dev"}
    assert record.tools[0].extra == {"returns": {"type": "str"}}
    assert record_to_json(record) == {**ROW, "tools": [tool], "split": "dev"}


def test_ids_are_strings_or_the_row_index(tmp_path: Path) -> None:
    without = {key: value for key, value in ROW.items() if key != "id"}
    path = write(tmp_path / "r.jsonl", {**ROW, "id": 7}, "", without, {**ROW, "id": None})
    assert [record.id for record in read_records(path)] == ["7", "1", "2"]


def test_messages_and_missing_answers(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    row = {"id": 1, "query": messages, "tools": [TOOL]}
    (record,) = read_records(write(tmp_path / "r.jsonl", row))
    assert record.messages == tuple(messages)
    assert record.answers is None
    assert "answers" not in record_to_json(record)


def test_a_schema_without_properties_has_no_parameters(tmp_path: Path) -> None:
    tool = {"name": "f", "parameters": {"type": "object"}}
    (record,) = read_records(write(tmp_path / "r.jsonl", {**ROW, "tools": [tool], "answers": []}))
    assert dict(record.tools[0].properties) == {}
    assert record.tools[0].description == ""


BAD_ROWS = {
    "no JSON": ('{"id": 1,', "expected JSON"),
    "NaN": (json.dumps({**ROW, "x": float("nan")}), "NaN is no JSON number"),
    "infinity": (json.dumps({**ROW, "x": 1}).replace("1}", "1e999}"), "beyond a 64-bit float"),
    "twice": ('{"id": 1, "id": 2}', "the key 'id' occurs twice"),
    "long integer": ('{"id": 1' + "0" * 5000 + "}", "expected JSON"),
    "deep": ("[" * 100_000, "expected an object|nested too deeply"),
    "list": ("[1]", "expected an object, found list"),
    "surrogate": (json.dumps({**ROW, "query": "\ud800"}), "lone surrogate"),
    "id": ({**ROW, "id": 1.5}, "id: expected a string or an integer"),
    "id bool": ({**ROW, "id": True}, "id: expected a string or an integer"),
    "query": ({**ROW, "query": 3}, "query: expected a string or a list of messages"),
    "blank query": ({**ROW, "query": " "}, "query: expected a text"),
    "message": ({**ROW, "query": [{"role": "user"}]}, r"query\[0\].content: expected a string"),
    "no tools": ({**ROW, "tools": []}, "tools: expected at least one tool"),
    "missing tools": ({"id": 1, "query": "q"}, "tools: expected a list, found NoneType"),
    "packed tools": ({**ROW, "tools": "[]"}, "tools: expected a list, found str"),
    "tool": ({**ROW, "tools": [3]}, r"tools\[0\]: expected an object"),
    "tool name": ({**ROW, "tools": [{"name": ""}]}, r"tools\[0\]: expected .* 'name'"),
    "parameters": (
        {**ROW, "tools": [{**TOOL, "parameters": []}]},
        "parameters: expected an object",
    ),
    "required": (
        {
            **ROW,
            "tools": [
                {"name": "f", "parameters": {"type": "object", "properties": {}, "required": True}}
            ],
        },
        "required: expected a list of strings",
    ),
    "answers": ({**ROW, "answers": {}}, "answers: expected a list, found dict"),
    "answer": ({**ROW, "answers": ["f"]}, r"answers\[0\]: expected an object"),
    "arguments": ({**ROW, "answers": [{"name": "f"}]}, r"answers\[0\].arguments: expected"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_rejected_and_the_others_go_on(tmp_path: Path, case: str) -> None:
    bad, reason = BAD_ROWS[case]
    path = write(tmp_path / "r.jsonl", ROW, bad, {**ROW, "id": "last"})
    rejects: list[Reject] = []
    assert [r.id for r in read_records(path, "record", rejects.append)] == ["r", "last"]
    (reject,) = rejects
    assert (reject.source, reject.line) == (str(path), 2)
    assert re.search(reason, reject.reason), reject.reason
    assert reject.raw == (bad if isinstance(bad, str) else json.dumps(bad))
    with pytest.raises(DataError, match=rf"r\.jsonl:2: .*({reason})") as error:
        list(read_records(path, "record"))
    assert "\n" not in str(error.value)


def test_no_utf8_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"id": "\xff"}\n' + json.dumps(ROW).encode() + b"\n")
    rejects: list[Reject] = []
    assert [r.id for r in read_records(path, None, rejects.append)] == ["r"]
    assert rejects[0].reason == "expected UTF-8, found byte 0xff at 8"


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode())
    assert [r.id for r in read_records(path)] == ["r"]


def test_an_array_names_the_index(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", json.dumps([ROW, {**ROW, "id": "b", "tools": []}]))
    with pytest.raises(DataError, match=r"r\.json\[1\]: tools: expected at least one tool"):
        list(read_records(path))


def test_a_repeated_id_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {**ROW, "id": 5}, {**ROW, "id": "5", "query": "other"})
    rejects: list[Reject] = []
    assert [r.query for r in read_records(path, None, rejects.append)] == ["q"]
    assert rejects[0].reason == "id: '5' was used by an earlier row"


def test_xlam_strings_inside(tmp_path: Path) -> None:
    row = {**ROW, "tools": json.dumps([TOOL]), "answers": "[{]"}
    path = write(tmp_path / "x.json", json.dumps([row]))
    with pytest.raises(DataError, match=r"x\.json\[0\]: answers: expected JSON"):
        list(read_records(path))


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]", b"["])
def test_a_file_without_rows_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"r\.jsonl: (the file|expected JSON)"):
        list(read_records(path, "record"))


def test_paths_and_formats(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_records(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="expected a file, found a directory"):
        read_records(tmp_path)
    path = write(tmp_path / "r.jsonl", ROW)
    with pytest.raises(DataError, match=f"unknown format 'csv': expected one of {FORMATS[0]}"):
        read_records(path, "csv")


def test_rollouts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "o.jsonl",
        {"id": 3, "completions": ["a", "b"], "token_ids": [[1, 2], []]},
        {"id": "x", "completions": ["[]"], "engine": "any"},
    )
    assert list(read_rollouts(path)) == [
        ("3", ("a", "b"), ((1, 2), ())),
        ("x", ("[]",), None),
    ]


@pytest.mark.parametrize(
    ("row", "reason", "lost"),
    [
        ({"id": 1}, "completions: expected a list", 0),
        ({"id": 1, "completions": []}, "completions: expected a list", 0),
        ({"id": 1, "completions": ["a", 2]}, r"completions\[1\]: expected a string, found int", 2),
        ({"id": [], "completions": ["a"]}, "id: expected", 1),
        (
            {"id": 1, "completions": ["a"], "token_ids": [[1], [2]]},
            "token_ids: expected 1 lists",
            1,
        ),
        ({"id": 1, "completions": ["a"], "token_ids": [[True]]}, r"token_ids\[0\]: expected", 1),
        ({"id": 1, "completions": ["a"], "token_ids": [[-1]]}, r"token_ids\[0\]: expected", 1),
        ([], "expected an object", 0),
        ("{", "expected JSON", 0),
    ],
)
def test_bad_rollouts(tmp_path: Path, row: Any, reason: str, lost: int) -> None:
    good = {"id": "x", "completions": ["[]"]}
    path = write(tmp_path / "o.jsonl", good, row)
    rejects: list[Reject] = []
    assert [rollouts.id for rollouts in read_rollouts(path, rejects.append)] == ["x"]
    assert [reject.completions for reject in rejects] == [lost]
    with pytest.raises(DataError, match=rf"o\.jsonl:2: {reason}"):
        list(read_rollouts(path))


def test_missing_rollouts_say_what_they_look_like(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='"completions"'):
        list(read_rollouts(tmp_path / "absent.jsonl"))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
)


@given(VALUES)
def test_a_json_line_is_one_line_and_reads_back(value: Any) -> None:
    line = json_line(value)
    assert "\n" not in line
    assert parse_json(line.encode("utf-8").decode("utf-8")) == value


def test_atomic_writing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    assert write_jsonl(path, iter([1, {"k": "é"}])) == 2
    assert path.read_text(encoding="utf-8") == '1\n{"k": "é"}\n'

    def breaks() -> Iterator[str]:
        yield "lost"
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_jsonl(path, breaks())
    assert path.read_text(encoding="utf-8") == '1\n{"k": "é"}\n'
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(DataError, match="expected a place for a file"):
        write_jsonl(tmp_path, [])


def test_a_record_with_one_plain_value_has_no_accepted_list() -> None:
    tool = Tool("f", "", {"a": {}})
    plain = Record("1", ({"role": "user", "content": "q"},), (tool,), (GoldCall("f", {"a": (1,)}),))
    assert "accepted" not in record_to_json(plain)
    several = plain.with_(answers=(GoldCall("f", {"a": (1, 2)}),), equality="bfcl")
    line = record_to_json(several)
    assert line["answers"] == [{"name": "f", "arguments": {"a": 1}}]
    assert line["accepted"] == [{"name": "f", "arguments": {"a": [1, 2]}, "optional": []}]


@pytest.mark.parametrize(("query", "name"), [("half \ud800", "f"), ("whole", "f\ud800")])
def test_a_query_that_is_no_unicode_is_refused(query: str, name: str) -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        query_record(query, [{"name": name, "parameters": {}}])
