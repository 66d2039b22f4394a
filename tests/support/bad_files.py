"""Files that can't be used, each with what is wrong with it; and a few that can."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

TOOL = {
    "name": "ring",
    "description": "Rings",
    "parameters": {"type": "object", "properties": {"bell": {"type": "integer"}}},
}


def _row(number: int, **more: Any) -> dict[str, Any]:
    calls = [{"name": "ring", "arguments": {"bell": number}}]
    return {"id": str(number), "query": "Ring", "tools": [TOOL], "answers": calls, **more}


def _lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _without(key: str) -> bytes:
    return _lines({name: value for name, value in _row(1).items() if name != key})


def _calls(*calls: Any) -> bytes:
    return _lines(_row(1, answers=list(calls)))


def _chat(*messages: Any) -> bytes:
    return _lines({"messages": list(messages), "tools": [TOOL]})


_ASKED = {"role": "user", "content": "q"}
_CALLED = {"tool_calls": [{"function": {"name": "ring", "arguments": "{"}}]}
_LINES = _lines(_row(1), _row(2))
_TEXT = _LINES.decode()
GOOD = {
    "good.jsonl": _LINES,
    "rolls.jsonl": _lines(*({"id": i, "completions": ["[]"]} for i in "12")),
    "answers.jsonl": _lines({"id": "1", "calls": []}),
    "tools.json": json.dumps([TOOL]).encode(),
    "file": b"x",
}
# Records: what is in the file, and what is said of it.
RECORDS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", ": the file is empty"),
    "blank": (b"\n \n\n", ": the file holds no rows"),
    "utf16": (_TEXT.encode("utf-16"), ":1: expected UTF-8, found byte 0xff at 0 (is the file in U"),
    "utf16le": (_TEXT.encode("utf-16-le"), ":1: expected JSON: Expecting property name enclosed i"),
    "utf32": (_TEXT.encode("utf-32"), ":1: expected UTF-8, found byte 0xff at 0"),
    "latin1": ('{"query": "Köln"}'.encode("latin-1"), ":1: expected UTF-8, found byte 0xf6 at 12"),
    "cr_only": (_LINES.replace(b"\n", b"\r"), "(do the file's lines end with CR alone?)"),
    "pretty": (json.dumps(_row(1), indent=2).encode()[:-1], "(does the object end on another line"),
    "nan": (_lines(_row(1, x=float("nan"))), ":1: expected JSON: NaN is no JSON number"),
    "infinity": (_lines(_row(1, x=float("inf"))), ":1: expected JSON: Infinity is no JSON number"),
    "beyond": (b'{"id": 1e999}\n', ":1: expected JSON: 1e999 is beyond a 64-bit float"),
    "digits": (b'{"id": ' + b"9" * 5000 + b"}\n", ":1: expected JSON: Exceeds the limit"),
    "deep": (b'{"id":' + b"[" * 100_000, ":1: expected JSON: nested too deeply"),
    "csv": (b"id,query\n1,q\n", ":1: expected JSON: Expecting value at column 1"),
    "html": (b"<!doctype html><p>404</p>\n", " (is the file a page of HTML or XML?)"),
    "python": (b"{'id': '1'}\n", ":1: expected JSON: Expecting property name enclosed in double q"),
    "comma": (b'{"id": "1",}\n', ":1: expected JSON: "),
    "numbers": (b"1\n2\n", ":1: expected an object, found int"),
    "lists": (b"[1]\n[2]\n", ": expected JSON: more text follows the array"),
    "cut": (_LINES[:60], ":1: expected JSON: Unterminated string"),
    "cut_gzip": (gzip.compress(_LINES * 9)[:-20], ": expected a whole gzip file: "),
    "no_gzip": (b"\x1f\x8bno gzip", ": expected a whole gzip file: "),
    "parquet": (b"PAR1\0\0\0PAR1", " (is the file Parquet?)"),
    "zip": (b"PK\3\4" + b"\0" * 40, " (is the file a ZIP archive?)"),
    "packed_twice": (gzip.compress(gzip.compress(_LINES)), " (is the file packed twice?)"),
    "git_lfs": (b"version https://git-lfs.github.com/spec/v1\n", " (is the file a pointer of Git"),
    "key_twice": (b'{"id": "1", "id": "2"}\n', ":1: expected JSON: the key 'id' occurs twice"),
    "surrogate": (_lines({**_row(1), "id": "\ud800"}), ":1: id: expected a string or an integer"),
    "id_list": (_lines(_row(1, id=[1])), ":1: id: expected a string or an integer"),
    "id_true": (_lines(_row(1, id=True)), ":1: id: expected a string or an integer"),
    "no_query": (_without("query"), ":1: expected the keys 'query' and 'tools'"),
    "query_number": (_lines(_row(1, query=3)), ":1: query: expected a string or a list of message"),
    "query_empty": (_lines(_row(1, query="")), ":1: query: expected a text, found an empty one"),
    "query_role": (_lines(_row(1, query=[{"content": "x"}])), ":1: query[0].role: expected a stri"),
    "no_tools": (_without("tools"), ":1: expected the keys 'query' and 'tools'"),
    "tools_number": (_lines(_row(1, tools=3)), ":1: tools: expected a list, found int"),
    "tools_text": (_lines(_row(1, tools="[{")), ":1: tools: expected JSON: "),
    "tool_name": (_lines(_row(1, tools=[{"name": 3}])), ":1: tools[0]: expected an object with a "),
    "parameters": (
        _lines(_row(1, tools=[{"name": "ring", "parameters": [1]}])),
        ":1: tools[0].parameters: expected an object",
    ),
    "answers_number": (_lines(_row(1, answers=3)), ":1: answers: expected a list, found int"),
    "call_name": (_calls({"arguments": {}}), ":1: answers[0]: expected an object with a non-empty"),
    "call_list": (_calls({"name": "ring", "arguments": [1]}), ":1: answers[0].arguments: expected"),
    "equality": (_lines(_row(1, equality="vague")), ":1: equality: expected 'json' or 'bfcl', fou"),
    "no_answers": (_without("answers"), ": expected a record with gold answers, found none"),
    "chat_json": (
        _chat(_ASKED, {"role": "assistant", "content": "", **_CALLED}),
        ":1: messages[1].tool_calls[0].function.arguments: expected JSON: ",
    ),
    "chat_role": (_chat({"role": "king", "content": "q"}), ":1: messages[0].role: expected one of"),
}
# Rollouts, none of which can be labelled.
ROLLOUTS: dict[str, tuple[bytes, str]] = {
    "r_utf16": (GOOD["rolls.jsonl"].decode().encode("utf-16"), ":1: expected UTF-8, found byte 0x"),
    "r_text": (_lines({"id": "1", "completions": "[]"}), ":1: completions: expected a list"),
    "r_none": (_lines({"id": "1"}), ":1: completions: expected a list"),
    "r_other": (_lines({"id": "x", "completions": ["[]"]}), ":1: id: expected"),
    "r_ids": (
        _lines({"id": "1", "completions": ["[]"], "token_ids": [[1], [2]]}),
        ":1: token_ids: expected",
    ),
    "r_big": (
        _lines({"id": "1", "completions": ["[]"], "token_ids": [[2**40]]}),
        ":1: token_ids[0]: expected a list of non-negative integers",
    ),
    "r_number": (_lines({"id": "1", "completions": [3]}), ":1: completions[0]: expected a string"),
}
# Answers, none of which can be counted.
ANSWERS: dict[str, tuple[bytes, str]] = {
    "a_calls": (_lines({"id": "1", "calls": 3}), ":1: calls: expected a list of calls"),
    "a_none": (_lines({"id": "1"}), ":1: calls: expected a list of calls"),
}
# config.json of model directories.
MODELS: dict[str, tuple[str, str]] = {
    "no_object": ("[1]", "/config.json: expected a JSON object"),
    "no_json": ("{", "/config.json: expected JSON: "),
    "deep_json": ("[" * 100_000, "/config.json: expected JSON: nested too deeply"),
    "bert": ('{"model_type": "bert"}', "/config.json: model_type is 'bert', expected one of qwen2"),
    "code": ('{"model_type": "llama", "auto_map": {"AutoModel": "m.M"}}', "/config.json: auto_map"),
    "huge": ('{"model_type": "qwen2", "num_hidden_layers": 1000000000}', "/config.json: "),
}


def write_bad_files(folder: Path) -> None:
    """Writes them all, beside a folder and a link to itself."""
    for name, data in GOOD.items():
        (folder / name).write_bytes(data)
    for name, (data, _) in (RECORDS | ROLLOUTS | ANSWERS).items():
        (folder / name).write_bytes(data)
    for name, (text, _) in MODELS.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "exits.py").write_text("raise SystemExit(0)\n")
    (folder / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 60)
    (folder / "other.gguf").write_bytes(b"no gguf")
