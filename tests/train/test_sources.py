"""Records and labelled rollouts from files to items of trees, and a PRM trained on them."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from toolprm_jax.annotation.corruption import corruptions, gold_completion
from toolprm_jax.annotation.dataset import build
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.split import split_of
from toolprm_jax.annotation.steps_file import read_steps, steps_json
from toolprm_jax.annotation.store import RecordStore
from toolprm_jax.grammar.types import Kind
from toolprm_jax.model.decoder import DecoderConfig, init_params
from toolprm_jax.model.files.hf import save_model
from toolprm_jax.records.readers import record_to_json
from toolprm_jax.records.types import DataError, Record
from toolprm_jax.tokens.codec import Codec, load_tokenizer
from toolprm_jax.tokens.contract import Contract, Granularity, make_contract
from toolprm_jax.tokens.tree import TokenTree
from toolprm_jax.toolworld.masked import masked_corpus
from train.main import main
from train.sources import DatasetSource, RecordSource, StepsSource, ToolworldSource

ROOT = Path(__file__).resolve().parents[2]
ROW = 1024
ROWS = 2048  # of the embedding


def codec_of(tokenizer_dir: Path, granularity: Granularity | None) -> Codec:
    tokenizer = load_tokenizer(tokenizer_dir)
    target = None if granularity is None else "label"
    return Codec(tokenizer, make_contract(tokenizer, ROWS, "compact", granularity, target))


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(masked_corpus(0, "train", 6))


@pytest.fixture(scope="module")
def steps(records: list[Record]) -> list[dict[str, Any]]:
    """Lines of a steps file: the gold twice and some corruptions of each record."""
    lines = []
    for record in records:
        texts = [gold_completion(record)] * 2
        texts += [text for _, text, _ in list(corruptions(record, random.Random(0)))[:3]]
        lines += [steps_json(record.id, text, label_completion(record, text)) for text in texts]
    return lines


@pytest.fixture
def files(tmp_path: Path, records: list[Record], steps: list[dict[str, Any]]) -> tuple[Path, Path]:
    for name, lines in (("records", map(record_to_json, records)), ("steps", steps)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path / "records.jsonl", tmp_path / "steps.jsonl"


@pytest.mark.parametrize(
    ("granularity", "kinds"),
    [
        ("toolprm", set(Kind)),
        ("cprm", {Kind.FUNC_FINISH, Kind.TOTAL_FINISH}),
        ("orm", {Kind.TOTAL_FINISH}),
    ],
)
def test_every_step_is_a_weight_at_a_marker(
    granularity: Granularity,
    kinds: set[Kind],
    files: tuple[Path, Path],
    steps: list[dict[str, Any]],
    tokenizer_dir: Path,
) -> None:
    codec = codec_of(tokenizer_dir, granularity)
    source = StepsSource(codec, files[0], "record", files[1], row_length=ROW)
    found: Counter[tuple[int, int]] = Counter()
    for index in range(len(source)):
        for tree in source[index]:
            for kind, label, weight in zip(tree.kinds, tree.labels, tree.weights, strict=True):
                if weight:
                    found[int(kind), int(label)] += round(float(weight))
    expected = Counter(
        (int(Kind[step["kind"]]), int(step["label"] == "+"))
        for line in steps
        for step in line["steps"]
        if Kind[step["kind"]] in kinds
    )
    assert found == expected
    assert source.too_long == set()


def test_the_dataset_gives_the_trees_of_the_files(
    files: tuple[Path, Path],
    records: list[Record],
    steps: list[dict[str, Any]],
    tokenizer_dir: Path,
    tmp_path: Path,
) -> None:
    with RecordStore(tmp_path / "store", new=True) as store:
        store.add(records)
    directory = str(build(files[1], tmp_path / "store", tmp_path / "tfds"))
    codec = codec_of(tokenizer_dir, "toolprm")
    found: list[TokenTree] = []
    splits = {split for record in records if (split := split_of(record)) != "straddling"}
    for split in splits:
        source = DatasetSource(codec, directory, split, row_length=ROW)
        found += [tree for index in range(len(source)) for tree in source[index]]
    there = StepsSource(codec, files[0], None, files[1], row_length=ROW)
    expected = [
        tree
        for split in splits
        for index, record in enumerate(records)
        if split_of(record) == split
        for tree in there[index]
    ]
    for a, b in zip(found, expected, strict=True):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(DataError, match="expected a split 'valid'"):
        DatasetSource(codec, directory, "valid", row_length=ROW)
    with pytest.raises(DataError, match="expected a data set of toolprm-annotate"):
        DatasetSource(codec, str(tmp_path / "nowhere"), "train", row_length=ROW)


def test_what_fits_no_row_is_counted(files: tuple[Path, Path], tokenizer_dir: Path) -> None:
    prm = StepsSource(codec_of(tokenizer_dir, "toolprm"), files[0], None, files[1], row_length=8)
    lm = RecordSource(codec_of(tokenizer_dir, None), files[0], None, row_length=8)
    world = ToolworldSource(
        codec_of(tokenizer_dir, None),
        seed=0,
        split="train",
        groups=4,
        group_size=2,
        row_length=8,
        masked=0.5,
    )
    for source in (prm, lm, world):
        assert [list(source[index]) for index in range(4)] == [[]] * 4
        assert source.too_long == {0, 1, 2, 3}


def test_records_become_weighted_gold(
    files: tuple[Path, Path], records: list[Record], tokenizer_dir: Path
) -> None:
    codec = codec_of(tokenizer_dir, None)
    source = RecordSource(codec, files[0], None, row_length=ROW)
    for index, record in enumerate(records):
        (tree,) = source[index]
        gold = codec.gold(record)
        assert tree.tokens[tree.weights > 0].tolist() == gold
        assert tree.tokens.tolist() == [*codec.prompt(record), *gold]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completion": 3}, "completion: expected a string"),
        ({"steps": None}, "steps: expected a list"),
        ({"steps": [{"kind": "NAME"}]}, r"steps\[0\].kind: expected one of FUNC_NAME"),
        (
            {"steps": [{"kind": "FUNC_NAME", "end": -1}]},
            r"steps\[0\].end: expected a byte offset",
        ),
        (
            {"steps": [{"kind": "FUNC_NAME", "end": 3, "label": True, "prefix": "+"}]},
            r'steps\[0\].label: expected "\+" or "-"',
        ),
        ({"token_ids": ["a"]}, "token_ids: expected a list of token ids"),
        ({"id": [1]}, "id: expected Unicode text or an integer"),
        ({"id": "nobody"}, "id: expected the id of a record, found 'nobody'"),
    ],
)
def test_a_malformed_line_is_named(
    change: dict[str, Any],
    message: str,
    files: tuple[Path, Path],
    steps: list[dict[str, Any]],
    tokenizer_dir: Path,
) -> None:
    lines = [json.dumps(steps[0]), json.dumps({**steps[1], **change})]
    files[1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"steps.jsonl:2: {message}"):
        StepsSource(codec_of(tokenizer_dir, "toolprm"), files[0], None, files[1], row_length=ROW)


def test_steps_are_read_as_they_were_written(
    files: tuple[Path, Path], steps: list[dict[str, Any]]
) -> None:
    for line, (_, record_id, rollout) in zip(steps, read_steps(files[1]), strict=True):
        assert record_id == line["id"]
        assert rollout.completion == line["completion"]
        assert rollout.died == (line["error"] is not None)
        assert [(s.kind.name, s.end, s.label, s.prefix) for s in rollout.steps] == [
            (s["kind"], s["end"], s["label"] == "+", s["prefix"] == "+") for s in line["steps"]
        ]


def test_a_prm_trains_from_a_policy_on_a_steps_file(
    files: tuple[Path, Path], tokenizer_dir: Path, tmp_path: Path
) -> None:
    decoder = DecoderConfig(ROWS, 16, 32, 1, 2, 1, 8)
    codec = codec_of(tokenizer_dir, None)
    params = init_params(decoder, jax.random.key(0))
    save_model(
        tmp_path / "policy", decoder, params, tokenizer=codec.tokenizer, contract=codec.contract
    )
    config = {
        "init": tmp_path / "policy",
        "lora.rank": 2,
        "data.records": files[0],
        "data.steps": files[1],
        "data.heldout_records": files[0],
        "data.heldout_steps": files[1],
        "data.row_length": ROW,
        "data.rows_per_batch": 8,
        "steps": 3,
        "log_every": 1,
        "optimizer.warmup_steps": 1,
    }
    status = main(
        [
            f"--config={ROOT / 'configs' / 'smollm2_prm.py'}",
            "--config.accumulation=1",  # the tests have eight devices
            f"--workdir={tmp_path / 'run'}",
            *(f"--config.{name}={value}" for name, value in config.items()),
        ]
    )
    assert status == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["step"] == 3
    for name in ("trajectory_accuracy", "accuracy_FUNC_NAME", "auc", "ece", "first_error_accuracy"):
        assert 0 <= last[f"eval_{name}"] <= 1
    assert min(last["decisions_per_s"], last["flops_per_s"], last["step_s"]) > 0
    assert last["completions"] > 0
    assert np.isfinite(last["eval_loss"])
    contract = Contract.load(tmp_path / "run" / "model")
    assert (contract.granularity, contract.target) == ("toolprm", "label")
