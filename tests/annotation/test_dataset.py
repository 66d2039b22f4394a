"""The TFDS dataset: what goes in comes out, the splits share no gold tool, no TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grain.python as grain
import pytest
import tensorflow_datasets as tfds

from toolprm_jax.annotation import dataset
from toolprm_jax.annotation.annotate import main
from toolprm_jax.annotation.dataset import ToolprmSteps, steps_lines
from toolprm_jax.annotation.split import split_of
from toolprm_jax.masking.masked import mask_record
from toolprm_jax.records.readers import read_records, record_from_json
from toolprm_jax.records.types import Call, GoldCall, Record, Tool
from toolprm_jax.records.writing import write_jsonl


def tool(name: str, description: str = "", **parameters: Any) -> Tool:
    return Tool(name, description, parameters)


def record(name: str, tools: list[Tool], *called: str, query: str = "q") -> Record:
    golds = tuple(GoldCall.exact(Call(each, {})) for each in called)
    return Record(name, ({"role": "user", "content": query},), tuple(tools), golds)


TOOLS = [
    tool(f"t{i}", f"does {i}", a={"type": "int", "description": f"the {i}"}) for i in range(40)
]
SIDES = {t.name: split_of(record("x", [t], t.name)) for t in TOOLS}


def test_about_a_tenth_of_the_tools_test() -> None:
    many = [split_of(record("x", [tool("t", str(i))], "t")) for i in range(4000)]
    assert abs(many.count("test") - 400) < 100  # over 5 standard deviations of 19
    assert "straddling" not in many
    assert set(SIDES.values()) == {"train", "test"}


def test_only_the_gold_tools_decide() -> None:
    train = [t for t in TOOLS if SIDES[t.name] == "train"]
    test = [t for t in TOOLS if SIDES[t.name] == "test"]
    assert split_of(record("x", [*train, *test], train[0].name, train[1].name)) == "train"
    assert split_of(record("x", [*train, *test], test[0].name, test[0].name)) == "test"
    assert split_of(record("x", TOOLS, train[0].name, test[0].name)) == "straddling"
    by_query = [record("x", TOOLS, train[0].name, query=f"q{i}") for i in range(300)]
    sides = [split_of(each, "query") for each in by_query]
    assert 10 < sides.count("test") < 60
    assert sides.count("train") == 300 - sides.count("test")
    none = [split_of(record(f"r{i}", TOOLS, query=f"q{i}")) for i in range(100)]
    assert set(none) == {"train", "test"}
    assert split_of(record("other id", TOOLS[:1], query="q3")) == none[3]


def test_masking_leaves_the_split(shared_data: Path) -> None:
    for name in ("xlam/xlam_function_calling_sample_100.json", "bfcl/BFCL_v4_parallel.json"):
        for each in read_records(shared_data / name):
            assert split_of(mask_record(each, 1).record) == split_of(each)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Any]]:
    """A dataset of several shards, and the lines of its steps file."""
    monkeypatch.setattr(dataset, "SHARD_EXAMPLES", 4)
    rows, rollouts = [], []
    for i, each in enumerate(TOOLS):
        golds = [{"name": each.name, "arguments": {"a": i}}]
        if i % 10 == 9:  # calls of several tools, some of them of both splits
            other = next(t for t in TOOLS if SIDES[t.name] == ("test" if i % 20 == 9 else "train"))
            golds.append({"name": other.name, "arguments": {"a": 1}})
        tools = [t.to_json() for t in TOOLS]
        rows.append({"id": f"r{i}", "query": "é?", "tools": tools, "answers": golds, "more": [i]})
        texts = [json.dumps(golds), "[]", "no \ud800", '[{"name": "é"'][: i % 4 + 1]
        rollout: dict[str, Any] = {"id": f"r{i}", "completions": texts}
        if i % 3:
            rollout["token_ids"] = [[n, i] for n in range(len(texts))]
        rollouts.append(rollout)
    write_jsonl(tmp_path / "records.jsonl", rows)
    write_jsonl(tmp_path / "rollouts.jsonl", rollouts)
    argv = [f"--{name}={tmp_path / name}.jsonl" for name in ("records", "rollouts")]
    argv += [f"--out={tmp_path / 'steps.jsonl'}", f"--tfds-dir={tmp_path / 'tfds'}"]
    assert main([*argv, "--workers=1"]) == 0
    assert main([*argv, "--workers=1"]) == 0  # a second time replaces the first
    lines = (tmp_path / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    return tmp_path, [json.loads(line) for line in lines]


def test_what_went_in_comes_out(built: tuple[Path, list[Any]]) -> None:
    folder, lines = built
    records = {r.id: r for r in read_records(folder / "records.jsonl")}
    splits = {name: split_of(each) for name, each in records.items()}
    assert set(splits.values()) == {"train", "test", "straddling"}
    builder: Any = tfds.builder_from_directory(folder / "tfds" / "toolprm_steps" / "1.0.0")
    assert len(list(Path(builder.data_dir).glob("*train.array_record*"))) > 4
    for split in ("train", "test"):
        source = builder.as_data_source(split=split)
        examples = [source[i] for i in range(len(source))]
        assert [line for example in examples for line in steps_lines(example)] == [
            line for line in lines if splits[line["id"]] == split
        ]
        for example in examples:
            value = json.loads(example["record"])
            assert record_from_json(value) == records[example["id"].decode()]
    metadata = builder.info.metadata
    dropped = [name for name, split in splits.items() if split == "straddling"]
    assert metadata["dropped_straddling_examples"] == len(dropped)
    assert metadata["dropped_straddling_trajectories"] == sum(x["id"] in dropped for x in lines)
    assert "2510.14703" in builder.info.citation


def test_grain_reads_it(built: tuple[Path, list[Any]]) -> None:
    folder, lines = built
    builder: Any = tfds.builder_from_directory(folder / "tfds" / "toolprm_steps" / "1.0.0")
    source = builder.as_data_source(split="train")
    read = list(grain.MapDataset.source(source).shuffle(seed=1).map(steps_lines))
    order = [group[0]["id"] for group in read]
    assert sorted(order, key=lambda name: int(name[1:])) != order
    known = {line["id"]: [x for x in lines if x["id"] == line["id"]] for line in lines}
    assert read == [known[name] for name in order]
    assert len(read) == len(source)


def test_it_is_built_from_a_manual_folder_and_without_tensorflow(tmp_path: Path) -> None:
    rows = [{"id": t.name, "query": "q", "tools": [t.to_json()], "answers": []} for t in TOOLS[:9]]
    write_jsonl(tmp_path / "records.jsonl", rows)
    write_jsonl(tmp_path / "r.jsonl", ({"id": r["id"], "completions": ["[]"]} for r in rows))
    argv = ["--records", tmp_path / "records.jsonl", "--rollouts", tmp_path / "r.jsonl"]
    assert main([*map(str, argv), "--out", str(tmp_path / "steps.jsonl"), "--workers", "1"]) == 0
    program = (
        "import sys; from toolprm_jax.annotation import dataset\n"
        "import tensorflow_datasets as tfds\n"
        "folder = sys.argv[1]\n"
        "builder = dataset.ToolprmSteps(data_dir=folder)\n"
        "config = tfds.download.DownloadConfig(manual_dir=folder)\n"
        "builder.download_and_prepare(download_config=config)\n"
        "print(sum(len(builder.as_data_source(split=s)) for s in builder.info.splits))\n"
        "print({'tensorflow', 'jax', 'torch'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["9", "set()"]


def test_no_other_file_format(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected array_record, found parquet"):
        ToolprmSteps(data_dir=str(tmp_path), file_format="parquet")
