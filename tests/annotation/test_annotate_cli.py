"""The commands `toolprm-annotate` and `toolprm-mask`, from arguments to files and exit status."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.annotation.annotate import main as annotate_main
from toolprm_jax.annotation.corruption import gold_completion
from toolprm_jax.masking.mask import chosen
from toolprm_jax.masking.mask import main as mask_main
from toolprm_jax.masking.masked import mask_record, unmask_record
from toolprm_jax.records.readers import read_records

TOOL = {"name": "f", "description": "d", "parameters": {"a": {"type": "int"}}}
CALL = {"name": "f", "arguments": {"a": 1}}
RECORDS = [
    {"id": "one", "query": "q", "tools": [TOOL], "answers": [CALL]},
    {"id": 2, "query": "q", "tools": [TOOL], "answers": [CALL, {**CALL, "arguments": {"a": 2}}]},
    {"id": "none", "query": "q", "tools": [TOOL], "answers": []},
    {"id": "nogold", "query": "q", "tools": [TOOL]},
]
GOLD = json.dumps([CALL])


def write(path: Path, *rows: Any) -> str:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_annotate(
    folder: Path, rollouts: list[Any], *more: str, records: list[Any] | None = None
) -> int:
    return annotate_main(
        [
            *("--records", write(folder / "records.jsonl", *(records or RECORDS))),
            *("--rollouts", write(folder / "rollouts.jsonl", *rollouts)),
            *("--out", str(folder / "steps.jsonl")),
            *("--rejects", str(folder / "rejects.jsonl")),
            *more,
        ]
    )


def test_every_completion_gets_one_line_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rollouts = [
        {"id": 2, "completions": ["no JSON", GOLD]},
        {"id": "absent", "completions": ["[]", "[]", "[]"]},
        {"id": "one", "completions": [GOLD, GOLD + " so", "[]"], "token_ids": [[1], [2, 3], []]},
        "{",
        {"id": "nogold", "completions": ["[]"]},
        {"id": "none", "completions": ["[]", 5]},
        {"id": "none", "completions": ["[]"]},
    ]
    stats_path = tmp_path / "stats.json"
    assert run_annotate(tmp_path, rollouts, "--stats", str(stats_path)) == 0
    lines = read(tmp_path / "steps.jsonl")
    assert [(line["id"], line["completion"], line["correct"]) for line in lines] == [
        ("2", "no JSON", False),
        ("2", GOLD, False),
        ("one", GOLD, True),
        ("one", GOLD + " so", True),
        ("one", "[]", False),
        ("none", "[]", True),
    ]
    assert [line.get("token_ids") for line in lines] == [None, None, [1], [2, 3], [], None]
    assert lines[0]["steps"] == [{"kind": "TOTAL_FINISH", "end": 1, "label": "-", "prefix": "-"}]
    assert lines[0]["error"]
    assert [line["error"] for line in lines[1:]] == [None] * 5
    assert [step["label"] for step in lines[1]["steps"]] == ["+", "+", "+", "+", "-"]

    rejects = read(tmp_path / "rejects.jsonl")
    assert [(reject["line"], reject["completions"]) for reject in rejects] == [
        (2, 3),
        (4, 0),
        (5, 1),
        (6, 2),
    ]
    assert "'absent'" in rejects[0]["reason"]
    assert "expected JSON" in rejects[1]["reason"]
    assert "'nogold' has none" in rejects[2]["reason"]
    assert rejects[3]["reason"] == "completions[1]: expected a string, found int"
    assert json.loads(rejects[0]["raw"]) == rollouts[1]

    (stats,) = read(stats_path)
    kinds: Counter[tuple[str, str]] = Counter(
        (step["kind"], step["label"]) for line in lines for step in line["steps"]
    )
    for kind, labels in stats["kinds"].items():
        assert labels == {label: kinds[kind, label] for label in "+-"}
    assert stats["steps"] == {
        label: sum(n for (_, given), n in kinds.items() if given == label) for label in "+-"
    }
    assert stats["trajectories"] == {"+": 3, "-": 3}
    assert (stats["completions"], stats["labelled"], stats["rejected"]) == (12, 6, 6)
    assert (stats["rejected_rows"], stats["died"], stats["trailing_text"]) == (4, 1, 1)
    assert (stats["records"], stats["records_without_rollouts"]) == (4, 1)
    out = capsys.readouterr().out
    assert "12 completions = 6 labelled" in out
    assert "TOTAL_FINISH" in out


def test_dress_and_order(tmp_path: Path) -> None:
    first, second = (json.dumps({**CALL, "arguments": {"a": a}}) for a in (1, 2))
    rollouts = [{"id": 2, "completions": [f"[{second}, {first}]"]}]
    assert run_annotate(tmp_path, rollouts) == 0
    assert read(tmp_path / "steps.jsonl")[0]["correct"] is True
    assert run_annotate(tmp_path, rollouts, "--ordered") == 0
    assert read(tmp_path / "steps.jsonl")[0]["correct"] is False
    blocks = "".join(f"<tool_call>\n{call}\n</tool_call>\n" for call in (first, second))
    rollouts = [{"id": 2, "completions": ["I call. " + blocks]}]
    assert run_annotate(tmp_path, rollouts, "--dress", "tool_call") == 0
    assert read(tmp_path / "steps.jsonl")[0]["correct"] is True


def test_a_lone_surrogate_is_labelled_and_written(tmp_path: Path) -> None:
    assert run_annotate(tmp_path, [{"id": "one", "completions": ['["\ud800']}]) == 0
    (line,) = read(tmp_path / "steps.jsonl")
    assert line["completion"] == '["\ud800'
    assert line["correct"] is False


def test_bad_records_are_rejected_and_the_others_go_on(tmp_path: Path) -> None:
    records = [RECORDS[0], "{", {"id": "t", "query": "q", "tools": []}, RECORDS[2]]
    rollouts = [{"id": "t", "completions": ["[]"]}, {"id": "none", "completions": ["[]"]}]
    assert run_annotate(tmp_path, rollouts, records=records) == 0
    rejects = read(tmp_path / "rejects.jsonl")
    assert [Path(reject["source"]).name for reject in rejects] == [
        "records.jsonl",
        "records.jsonl",
        "rollouts.jsonl",
    ]
    assert [reject["line"] for reject in rejects] == [2, 3, 1]
    assert "expected JSON" in rejects[0]["reason"]
    assert "tools: expected at least one tool" in rejects[1]["reason"]
    assert len(read(tmp_path / "steps.jsonl")) == 1


def test_nothing_labelled_leaves_the_old_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "steps.jsonl").write_text("old", encoding="utf-8")
    assert run_annotate(tmp_path, [{"id": "absent", "completions": ["[]"]}]) == 1
    assert (tmp_path / "steps.jsonl").read_text(encoding="utf-8") == "old"
    assert len(read(tmp_path / "rejects.jsonl")) == 1
    error = capsys.readouterr().err
    assert error.startswith("toolprm-annotate: error: no completion could be labelled; ")
    assert "rollouts.jsonl:1: id: " in error
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"steps.jsonl", "rejects.jsonl", "records.jsonl", "rollouts.jsonl"}


Command = Callable[[list[str]], int]


def _annotate_with(folder: Path, **flags: str | None) -> tuple[Command, list[str]]:
    given: dict[str, str | None] = {
        "records": write(folder / "good.jsonl", *RECORDS),
        "rollouts": write(folder / "good-rollouts.jsonl", {"id": "one", "completions": [GOLD]}),
        "out": str(folder / "out.jsonl"),
        **flags,
    }
    return annotate_main, [
        part for flag, value in given.items() if value is not None for part in (f"--{flag}", value)
    ]


def _mask_with(folder: Path, **flags: str) -> tuple[Command, list[str]]:
    records = write(folder / "good.jsonl", *RECORDS)
    given = {"records": records, "out": str(folder / "out.jsonl"), **flags}
    return mask_main, [part for flag, value in given.items() for part in (f"--{flag}", value)]


BAD_INPUT: dict[str, tuple[Callable[[Path], tuple[Command, list[str]]], str]] = {
    "missing records": (
        lambda p: _annotate_with(p, records=str(p / "absent.jsonl")),
        "absent.jsonl: no such file",
    ),
    "empty records": (
        lambda p: _annotate_with(p, records=write(p / "empty.jsonl")),
        "empty.jsonl: the file is empty",
    ),
    "directory": (lambda p: _annotate_with(p, records=str(p)), "found a directory"),
    "unknown form": (
        lambda p: _annotate_with(p, records=write(p / "odd.jsonl", {"text": 1})),
        "odd.jsonl:1: expected the keys 'query' and 'tools'",
    ),
    "no objects": (
        lambda p: _annotate_with(p, records=write(p / "odd.jsonl", "one", "two")),
        "found no line that is a JSON object",
    ),
    "unknown format": (lambda p: _annotate_with(p, format="csv"), "invalid choice: 'csv'"),
    "no rollouts": (
        lambda p: _annotate_with(p, rollouts=None),
        '--rollouts: expected a file of JSON lines {"id": record id, "completions": [text, ...]}',
    ),
    "missing rollouts": (
        lambda p: _annotate_with(p, rollouts=str(p / "absent.jsonl")),
        'absent.jsonl: no such file (expected JSON lines {"id"',
    ),
    "empty rollouts": (
        lambda p: _annotate_with(p, rollouts=write(p / "empty.jsonl")),
        "empty.jsonl: the file is empty",
    ),
    "same file": (
        lambda p: _annotate_with(p, out=str(p / "good.jsonl")),
        "--out: expected another file than --records",
    ),
    "out is a directory": (
        lambda p: _annotate_with(p, out=str(p)),
        "expected a place for a file",
    ),
    "out below a file": (
        lambda p: _annotate_with(p, out=str(p / "good.jsonl" / "x")),
        "good.jsonl",
    ),
    "unknown flag": (lambda p: _annotate_with(p, speed="1"), "unrecognized arguments"),
    "mask: missing": (lambda p: _mask_with(p, records="absent"), "absent: no such file"),
    "mask: share": (lambda p: _mask_with(p, share="1.5"), "expected a number from 0 to 1"),
    "mask: share nan": (lambda p: _mask_with(p, share="nan"), "expected a number from 0 to 1"),
    "mask: all rejected": (
        lambda p: _mask_with(p, records=write(p / "bad.jsonl", {"query": "q", "tools": []})),
        "every row was rejected",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    arguments, expected = BAD_INPUT[case]
    command, argv = arguments(tmp_path)
    before = (tmp_path / "good.jsonl").read_bytes()
    assert command(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert expected in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"toolprm-{'mask' if 'mask' in case else 'annotate'}: error: ")
    assert (tmp_path / "good.jsonl").read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("command", [annotate_main, mask_main])
def test_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command(["--help"])
    assert stop.value.code == 0
    assert "--records" in capsys.readouterr().out


def test_mask_writes_records_and_the_way_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**RECORDS[0], "id": f"r{i}"} for i in range(40)]
    command, argv = _mask_with(
        tmp_path, records=write(tmp_path / "many.jsonl", *rows, "{"), share="0.5", seed="3"
    )
    assert command(argv) == 0
    before = list(read_records(tmp_path / "many.jsonl", "record", lambda _: None))
    after = list(read_records(tmp_path / "out.jsonl"))
    maps = {line["id"]: line for line in read(tmp_path / "out.jsonl.map.jsonl")}
    assert [record.id for record in after] == [record.id for record in before]
    assert 10 < len(maps) < 30
    for old, new in zip(before, after, strict=True):
        assert (old.id in maps) == chosen(old.id, 3, 0.5)
        if old.id in maps:
            assert new == mask_record(old, 3).record
            assert unmask_record(maps[old.id], new) == old
        else:
            assert new == old
    assert [line["line"] for line in read(tmp_path / "out.jsonl.rejects.jsonl")] == [41]
    assert f"40 records written to {tmp_path / 'out.jsonl'}, {len(maps)} of them masked" in (
        capsys.readouterr().out
    )


def test_shares_are_nested_and_honest() -> None:
    ids = [str(i) for i in range(2000)]
    half = {i for i in ids if chosen(i, 0, 0.5)}
    assert half < {i for i in ids if chosen(i, 0, 0.7)}
    assert abs(len(half) - 1000) < 120  # over 5 standard deviations of 22
    assert not any(chosen(i, 0, 0.0) for i in ids)
    assert all(chosen(i, 0, 1.0) for i in ids)


@pytest.mark.parametrize(
    "name", ["bfcl/BFCL_v4_parallel.json", "xlam/xlam_function_calling_sample_100.json"]
)
def test_masked_golds_are_right(shared_data: Path, tmp_path: Path, name: str) -> None:
    """Golds of masked records, written by the one command, are all `+` in the other."""
    masked = tmp_path / "masked.jsonl"
    assert mask_main(["--records", str(shared_data / name), "--out", str(masked)]) == 0
    records = list(read_records(masked))
    rollouts = [{"id": r.id, "completions": [gold_completion(r)]} for r in records]
    argv = ["--records", str(masked), "--out", str(tmp_path / "steps.jsonl")]
    argv += ["--rollouts", write(tmp_path / "rollouts.jsonl", *rollouts)]
    assert annotate_main(argv) == 0
    lines = read(tmp_path / "steps.jsonl")
    assert len(lines) == len(records)
    labels = {step["label"] for line in lines for step in line["steps"]}
    assert labels == {"+"}
    assert all(line["correct"] for line in lines)
