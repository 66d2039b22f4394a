"""Annotation of files in shards: the same bytes from any workers, after any kill."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.annotation import shards
from toolprm_jax.annotation.annotate import annotate
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.steps_file import steps_json
from toolprm_jax.annotation.store import RecordStore
from toolprm_jax.records import spans
from toolprm_jax.records.jsonl import read_rows
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.spans import row_spans, spans_from
from toolprm_jax.records.types import DataError
from toolprm_jax.records.writing import json_line, sole_writer

ROOT = Path(__file__).resolve().parents[2]
SHARD = 3000  # bytes: some 12 shards


def write_inputs(folder: Path, count: int = 60, padding: int = 0) -> dict[str, str]:
    """Records and shuffled rollouts with every sort of trouble, `padding` bytes longer each."""
    rng = random.Random(0)
    records: list[Any] = []
    rollouts: list[Any] = []
    for i in range(count):
        tools = [{"name": f"f{i % 7}", "description": f"d{i % 7}", "parameters": {"a": {}}}]
        gold = [{"name": f"f{i % 7}", "arguments": {"a": i}}]
        query = "é" * (i % 5 + 1) + "q" * padding
        records.append({"id": f"r{i}", "query": query, "tools": tools, "answers": gold})
        wrong = [{"name": f"f{i % 7}", "arguments": {"a": i + 1}}]
        completions = [json.dumps(gold), json.dumps(wrong), "[]", f"no {'é' * i}"]
        note = {"note": "n" * padding} if padding else {}
        rollouts.append(
            {"id": f"r{i}", "completions": completions, "token_ids": [[1, i]] * 4} | note
        )
    rng.shuffle(rollouts)
    rollouts[3:3] = ["{", "", {"id": "absent", "completions": ["[]", "[]"]}, {"completions": ["x"]}]
    rollouts.append({"id": "r1", "completions": ["[]"]})  # an id may occur again
    records.append({"id": "r0", "query": "again", "tools": records[0]["tools"], "answers": []})
    records.append({"id": "bare", "query": "q", "tools": records[0]["tools"], "answers": []})
    paths = {}
    for name, rows in (("records", records), ("rollouts", rollouts)):
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        paths[name] = str(folder / f"{name}.jsonl")
        Path(paths[name]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return paths


def run(inputs: Mapping[str, str], out: Path, **options: Any) -> tuple[bytes, bytes]:
    annotate(**inputs, out=str(out), **{"workers": 1, "shard_bytes": SHARD, **options})
    assert not Path(f"{out}.parts").exists()
    return out.read_bytes(), Path(f"{out}.rejects.jsonl").read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return run(write_inputs(folder), folder / "steps.jsonl", shard_bytes=1 << 30)


def here(expected: tuple[bytes, bytes], folder: Path) -> tuple[bytes, bytes]:
    """The same, with the rejects naming the files of another folder."""
    steps, rejects = expected
    lines = [json.loads(line) for line in rejects.splitlines()]
    for line in lines:
        line["source"] = str(folder / Path(line["source"]).name)
    return steps, "".join(f"{json_line(line)}\n" for line in lines).encode()


def test_shards_give_what_a_plain_loop_gives(tmp_path: Path, expected: tuple[bytes, bytes]) -> None:
    inputs = write_inputs(tmp_path)
    records = {r.id: r for r in read_records(inputs["records"], rejects=lambda _: None)}
    lines = []
    for row in read_rows(inputs["rollouts"]):
        value = row.value or {}
        if value.get("id") in records:
            for text, ids in itertools.zip_longest(
                value["completions"], value.get("token_ids", [])
            ):
                line = steps_json(value["id"], text, label_completion(records[value["id"]], text))
                lines.append(line if ids is None else {**line, "token_ids": ids})
    steps, rejects = run(inputs, tmp_path / "steps.jsonl")
    assert [json.loads(line) for line in steps.splitlines()] == lines
    assert (steps, rejects) == here(expected, tmp_path)
    reasons = [json.loads(line) for line in rejects.splitlines()]
    assert [(r["line"], r["id"], r["completions"]) for r in reasons] == [
        (61, "r0", 0),
        (4, None, 0),
        (6, "absent", 2),
        (7, "5", 1),  # without an id it gets its index, in whichever shard it lies
    ]


def test_three_workers_give_what_one_gives(tmp_path: Path, expected: tuple[bytes, bytes]) -> None:
    inputs = write_inputs(tmp_path)
    assert run(inputs, tmp_path / "steps.jsonl", workers=3) == here(expected, tmp_path)


def test_an_array_gives_what_lines_give(tmp_path: Path, expected: tuple[bytes, bytes]) -> None:
    inputs = write_inputs(tmp_path)
    for name in ("records", "rollouts"):
        rows = [row.value for row in read_rows(inputs[name]) if row.value is not None]
        Path(inputs[name]).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    assert run(inputs, tmp_path / "steps.jsonl")[0] == expected[0]


# The n-th call of a function kills the process, with its workers still at work.
KILLED = """
import os, signal, sys
from toolprm_jax.annotation import annotate as command, shards
module = {{"shards": shards, "annotate": command}}[{module!r}]
real, calls = getattr(module, {name!r}), []

def dies(*args, **kwargs):
    calls.append(1)
    if len(calls) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

setattr(module, {name!r}, dies)
if __name__ == "__main__":
    command.annotate(*sys.argv[1:4], workers={workers}, shard_bytes={shard})
"""


@pytest.mark.parametrize(
    ("module", "name", "count", "workers"),
    [
        ("shards", "_finish", 1, 1),  # the store is written, and not yet noted
        ("shards", "annotate_row", 17, 1),  # in the middle of a shard
        ("shards", "_finish", 6, 1),  # a shard is written, and not yet noted
        ("shards", "_wait", 3, 2),  # the workers lose their main process
        ("annotate", "join", 2, 1),  # the rejects are in place, the steps are not
    ],
)
def test_a_killed_run_goes_on_where_it_stopped(
    tmp_path: Path,
    expected: tuple[bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    count: int,
    workers: int,
) -> None:
    inputs, out = write_inputs(tmp_path), tmp_path / "steps.jsonl"
    program = KILLED.format(module=module, name=name, count=count, workers=workers, shard=SHARD)
    # The output's end comes when the last process is gone: orphans would hang here.
    died = subprocess.run(
        [sys.executable, "-c", program, inputs["records"], inputs["rollouts"], str(out)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert not out.exists()
    stems = [path.stem for path in Path(f"{out}.parts").glob("*.json")]
    done = {int(stem) for stem in stems if stem.isdigit()}
    again: list[int] = []
    real: Callable[[Any], None] = shards._annotate_shard
    monkeypatch.setattr(shards, "_annotate_shard", lambda s: (again.append(s.number), real(s)))
    assert run(inputs, out) == here(expected, tmp_path)
    if workers == 1:
        assert done == set(range(len(done)))
        assert len(done) >= {("_finish", 1): 0, ("annotate_row", 17): 1}.get((name, count), 4)
    # Of two workers one may have been behind the other.
    assert sorted([*done, *again]) == list(range(len(done) + len(again)))


def stop_before_joining(
    inputs: Mapping[str, str], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is stopped when all its parts are there."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("toolprm_jax.annotation.annotate.join", stop)
        with pytest.raises(KeyboardInterrupt):
            run(inputs, out)


@pytest.mark.parametrize("change", ["options", "records", "rollouts", "damage"])
def test_what_no_longer_holds_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    inputs, out = write_inputs(tmp_path), tmp_path / "steps.jsonl"
    stop_before_joining(inputs, out, monkeypatch)
    options = {}
    if change == "options":
        options["options"] = shards.Options(ordered=True)
    elif change == "damage":
        part = Path(f"{out}.parts") / "00000001.steps.jsonl"
        part.write_bytes(part.read_bytes()[:-9])
    else:
        path = Path(inputs[change])
        was, new = ('"a": 3}', '"a": 9}') if change == "records" else ("[1, 3]", "[1, 9]")
        text = path.read_text(encoding="utf-8")
        assert was in text
        path.write_text(text.replace(was, new), encoding="utf-8")
    again: list[int] = []
    real: Callable[[Any], None] = shards._annotate_shard
    monkeypatch.setattr(shards, "_annotate_shard", lambda s: (again.append(s.number), real(s)))
    got = run(inputs, out, **options)
    assert (len(again) == 1) == (change in ("damage", "rollouts"))
    assert got == run(inputs, tmp_path / "other.jsonl", **options)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    ),
    "cut": lambda data: data[:-7],
    "empty": lambda data: b"",
    "null": lambda data: b"null",
    "deep": lambda data: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
def test_a_damaged_part_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: tuple[bytes, bytes], damage: str
) -> None:
    inputs, out, kept = write_inputs(tmp_path), tmp_path / "steps.jsonl", tmp_path / "kept"
    stop_before_joining(inputs, out, monkeypatch)
    parts = Path(f"{out}.parts")
    parts.rename(kept)
    files = sorted(path.name for path in kept.iterdir())
    # The parts of the store and of two shards.
    assert {"records.sqlite", "records.json", "00000001.json", "00000001.steps.jsonl"} < set(files)
    for name in files[:9] + files[-3:]:
        shutil.copytree(kept, parts)
        path = parts / name
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(DAMAGES[damage](path.read_bytes() or b"0123456789"))
        out.unlink(missing_ok=True)
        assert run(inputs, out) == here(expected, tmp_path), name


def test_places_that_are_taken_are_found_out_before_the_work(tmp_path: Path) -> None:
    inputs, out = write_inputs(tmp_path), tmp_path / "steps.jsonl"
    files = {"stats": str(tmp_path), "picture": str(tmp_path), "tfds_dir": inputs["records"]}
    for name, place in files.items():
        with pytest.raises(DataError, match="expected a place"):
            run(inputs, out, **{name: place})
    assert not Path(f"{out}.parts").exists()


def test_two_runs_to_one_output_do_not_mix(tmp_path: Path) -> None:
    inputs, out = write_inputs(tmp_path), tmp_path / "steps.jsonl"
    with sole_writer(out), pytest.raises(DataError, match=r"steps\.jsonl: another run is writing"):
        run(inputs, out)
    assert not out.exists()


@pytest.mark.parametrize("size", [0, 100, 9000])
def test_a_damaged_store_is_an_error_that_names_it(tmp_path: Path, size: int) -> None:
    inputs, path = write_inputs(tmp_path), tmp_path / "store"
    with RecordStore(path, new=True) as store:
        store.add(read_records(inputs["records"], rejects=lambda _: None))
    data = path.read_bytes()
    path.write_bytes(data[:size] + bytes([255] * (len(data) - size - 1)))

    def read() -> None:
        with RecordStore(path) as store:
            for number in range(60):
                store.get(f"r{number}")

    with pytest.raises(DataError, match="store: "):
        read()


def test_a_line_with_a_hostile_id_rejects_that_line_only(tmp_path: Path) -> None:
    inputs, out = write_inputs(tmp_path), tmp_path / "steps.jsonl"
    steps, _ = run(inputs, out)
    with Path(inputs["rollouts"]).open("a") as file:
        file.write('{"id": "\\ud800", "completions": ["[]"]}\n')
    again, rejects = run(inputs, out)
    assert again == steps
    assert (
        json.loads(rejects.splitlines()[-1])["reason"] == "id: expected Unicode text or an integer"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """In processes of their own: what this one holds, such as interned names, moves its peak.

    Not by `ru_maxrss`, which remembers the process before `exec`.
    """
    program = (
        "import re, sys\n"
        "from toolprm_jax.annotation.annotate import annotate\n"
        "records, rollouts, out = sys.argv[1:]\n"
        "annotate(records, rollouts, out, workers=1, shard_bytes=1 << 19)\n"
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
    )

    def peak(count: int) -> tuple[int, int]:
        """Bytes of the input, and the most that were in memory at once."""
        folder = tmp_path / str(count)
        folder.mkdir()
        inputs = write_inputs(folder, count, padding=60_000)
        command = [sys.executable, "-c", program, *inputs.values(), str(folder / "steps.jsonl")]
        done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
        size = sum(Path(path).stat().st_size for path in inputs.values())
        return size, 1024 * int(done.stdout)

    (few, small), (many, large) = peak(20), peak(320)
    assert many - few > 30e6
    assert large - small < 0.1 * (many - few)


def test_counts_of_shards_add_up(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    counts = [
        annotate(
            inputs["records"], inputs["rollouts"], str(tmp_path / "s"), workers=1, shard_bytes=size
        ).to_json()
        for size in (SHARD, 1 << 30)
    ]
    assert counts[0] == counts[1]
    assert counts[0]["records"] == 61
    assert counts[0]["records_without_rollouts"] == 1
    assert counts[0]["completions"] == 244
    assert counts[0]["rejected"] == 3
    assert counts[0]["trajectories"] == {"+": 60, "-": 181}
    found = Counter()
    for split in counts[0]["splits"].values():
        found.update(split["steps"])
    assert dict(found) == counts[0]["steps"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.sampled_from('a"\\,[]{}é\n'), max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.lists(JSON, min_size=1, max_size=6), st.sampled_from([None, 1]), st.integers(1, 30))
def test_spans_of_an_array_are_its_elements(
    values: list[Any], indent: int | None, chunk: int
) -> None:
    data = b"\xef\xbb\xbf \n" + json.dumps(values, ensure_ascii=False, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "_CHUNK", chunk)
        found = list(row_spans(BytesIO(data), "x"))
        assert [json.loads(span.data) for span in found] == values
        for span in found:
            assert data[span.start.offset :].startswith(span.data)
        cut = len(found) // 2
        rest = list(spans_from(BytesIO(data), "x", found[cut].start, None))
        assert rest == found[cut:]
        part = spans_from(BytesIO(data), "x", found[0].start, found[cut].start.offset)
        assert list(part) == found[:cut]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('[{"a": 1} {"b": 2}, 3]', [True, False]),
        ("[1,, 2]", [False, True, False]),
        ("[1, 2,]", [False, False, True]),
        ("[1, NaN]", [False, True]),
        ("[[1}, 2]", None),  # the bracket that closes nothing swallows the end
    ],
)
def test_an_element_that_is_no_json_is_named(
    tmp_path: Path, text: str, problems: list[bool] | None
) -> None:
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")
    if problems is None:
        problems = [True, False]
    assert [row.problem is not None for row in read_rows(path)] == problems


@pytest.mark.parametrize("text", ["[1] 2", "[1, [2]", '[1, "a]', "[1] []"])
def test_an_array_that_does_not_end_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"r\.json: expected JSON: "):
        list(read_rows(path))


def test_the_store_gives_records_back(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    records = list(read_records(inputs["records"], rejects=lambda _: None))
    with RecordStore(tmp_path / "s", new=True) as store:
        store.add(records)
        assert "r3" in store
        assert "absent" not in store
    with RecordStore(tmp_path / "s") as store:
        assert len(store) == len(records)
        assert [store.get(record.id) for record in records] == list(enumerate(records))
        assert store.get("absent") is None
