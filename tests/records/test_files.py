"""Files as users have them: packed ones are read, others say what is wrong with them."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.annotation.annotate import main as annotate_main
from toolprm_jax.records.jsonl import Reject, read_rollouts, read_rows
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.spans import open_rows, row_spans, spans_from
from toolprm_jax.records.types import DataError

TOOL = {"name": "ring", "description": "", "parameters": {"bell": {"type": "int"}}}


def row(number: int, **more: Any) -> dict[str, Any]:
    call = {"name": "ring", "arguments": {"bell": number}}
    return {"id": str(number), "query": "Ring", "tools": [TOOL], "answers": [call], **more}


ROWS = [row(1), row(2)]
LINES = "\n".join(map(json.dumps, ROWS))
PRETTY = "\n".join(json.dumps(one, indent=2) for one in ROWS)


@pytest.mark.parametrize("text", [LINES, json.dumps(ROWS), "\ufeff" + LINES])
@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.jsonl"])  # told by content, not by name
def test_what_gzip_packed_is_read(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()))
    assert [record.id for record in read_records(path)] == ["1", "2"]


def test_packed_rows_lie_where_unpacked_ones_do(tmp_path: Path) -> None:
    how = random.Random(0)
    rows = [row(i, note="x" * how.randrange(50_000)) for i in range(60)]
    text = "".join(json.dumps(one) + "\n" for one in rows).encode()
    plain, packed = tmp_path / "r.jsonl", tmp_path / "r.jsonl.gz"
    plain.write_bytes(text)
    packed.write_bytes(
        gzip.compress(text[: len(text) // 2]) + gzip.compress(text[len(text) // 2 :])
    )
    with open_rows(plain) as one, open_rows(packed) as other:
        spans = list(row_spans(one, "r"))
        assert list(row_spans(other, "r")) == spans
        for at in (40, 3, 59):
            start = spans[at].start
            assert list(spans_from(other, "r", start, None)) == spans[at:]


def test_bfcl_with_packed_answers_or_questions(tmp_path: Path) -> None:
    question = {"id": "a", "question": [[{"role": "user", "content": "q"}]], "function": [TOOL]}
    truth = {"id": "a", "ground_truth": [{"ring": {"bell": [3]}}]}
    (tmp_path / "possible_answer").mkdir()
    for packed in (".gz", ""):
        answers = tmp_path / "possible_answer" / f"simple.json{packed}"
        answers.write_bytes(gzip.compress(json.dumps(truth).encode()))
        for name in ("simple.json", "simple.json.gz"):
            path = tmp_path / name
            path.write_bytes(gzip.compress(json.dumps(question).encode()))
            (record,) = read_records(path)
            assert record.answers is not None
            assert record.answers[0].arguments == {"bell": (3,)}
        answers.unlink()


def test_packed_rollouts_are_annotated_alike(tmp_path: Path) -> None:
    rollouts = [{"id": "1", "completions": ["[]", '[{"name": "ring"']}, {"id": "2", "completions": [
        json.dumps(ROWS[1]["answers"])]}]  # fmt: skip
    steps = []
    for pack in (bytes, gzip.compress):
        folder = tmp_path / pack.__name__
        folder.mkdir()
        (folder / "r").write_bytes(pack(LINES.encode()))
        (folder / "o").write_bytes(pack("\n".join(map(json.dumps, rollouts)).encode()))
        out = folder / "steps.jsonl"
        assert not annotate_main(
            ["--records", str(folder / "r"), "--rollouts", str(folder / "o"), "--out", str(out)]
        )
        steps.append(out.read_text())
    assert steps[0] == steps[1]
    assert len(steps[0].splitlines()) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "no stream"])
def test_a_damaged_packed_file_says_so(tmp_path: Path, damage: str) -> None:
    data = bytearray(gzip.compress("\n".join(json.dumps(row(i)) for i in range(99)).encode()))
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "flipped":
        data[len(data) // 2] ^= 255
    else:
        data[2:] = b"no gzip at all"
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"r\.jsonl\.gz.*: expected") as error:
        list(read_records(path))
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"r\.jsonl\.gz.*: expected"):
        list(read_rollouts(path))


WRONG: dict[str, tuple[bytes, str]] = {
    "UTF-16": (LINES.encode("utf-16"), r"r\.jsonl:1: expected UTF-8, found byte 0xf[ef] .*UTF-16"),
    "UTF-16 big-endian": (
        b"\xfe\xff" + LINES.encode("utf-16-be"),
        r"r\.jsonl:1: expected UTF-8, found byte 0xfe .*UTF-16",
    ),
    "UTF-16 without mark": (LINES.encode("utf-16-le"), r"r\.jsonl:1: expected JSON.*UTF-16"),
    "UTF-32": (LINES.encode("utf-32"), r"r\.jsonl:1: expected UTF-8.*UTF-16"),
    "pretty": (PRETTY.encode(), r"r\.jsonl:1: expected JSON.* the object end on another line"),
    "CR only": (LINES.replace("\n", "\r").encode(), r"r\.jsonl:1: expected JSON.* CR alone"),
    "NaN": (json.dumps(row(1, x=float("nan"))).encode(), r"r\.jsonl:1: .*NaN is no JSON number"),
    "numbers": (b"1\n2\n", r"r\.jsonl:1: expected an object, found int"),
    "Latin-1": ('{"query": "Köln"}'.encode("latin-1"), r"r\.jsonl:1: expected UTF-8, found byte"),
    "no JSON": (b"id,query\n1,q\n", r"r\.jsonl:1: expected JSON"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("packed", [False, True])
def test_the_first_row_says_its_own_problem(tmp_path: Path, case: str, packed: bool) -> None:
    data, reason = WRONG[case]
    path = tmp_path / "r.jsonl"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=reason) as error:
        list(read_records(path))
    assert len(str(error.value).splitlines()) == 1
    rejects: list[Reject] = []
    assert list(read_records(path, "record", rejects.append)) == []
    assert len(rejects) == len(list(read_rows(path)))
    assert all(reject.reason for reject in rejects)


def test_windows_line_ends_are_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(LINES.replace("\n", "\r\n").encode())
    assert [record.id for record in read_records(path)] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        ("javanese_queries_python.json", False),
        ("BFCL_v4_simple_java.json", True),
        ("java.json", True),
        ("BFCL_v3_javascript.json", True),
        ("live-java-2.jsonl", True),
        ("javascripts.json", False),
        ("myjava.json", False),
    ],
)
def test_languages_are_whole_parts_of_a_files_name(
    tmp_path: Path, name: str, literal: bool
) -> None:
    question = {"id": "a", "question": [[{"role": "user", "content": "q"}]], "function": [TOOL]}
    (tmp_path / name).write_text(json.dumps(question))
    (record,) = read_records(tmp_path / name)
    assert ("literal" in record.tools[0].properties["bell"]) == literal


@pytest.mark.parametrize(
    ("name", "known"),
    [("BFCL_v4_irrelevance.json", True), ("BFCL_v4_live_irrelevance.json", True),
     ("irrelevances.json", False), ("nonirrelevance.json", False)],
)  # fmt: skip
def test_irrelevance_is_a_whole_part_of_a_files_name(
    tmp_path: Path, name: str, known: bool
) -> None:
    question = {"id": "a", "question": [[{"role": "user", "content": "q"}]], "function": [TOOL]}
    (tmp_path / name).write_text(json.dumps(question))
    (record,) = read_records(tmp_path / name)
    assert record.answers == (() if known else None)
