"""Corruptions: each says which decision it hits, and the labels turn `-` there and nowhere else."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.annotation.corrupt import completions, main
from toolprm_jax.annotation.corruption import (
    MISTAKES,
    Corruption,
    corruptions,
    gold_calls,
    gold_completion,
)
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.grammar.types import Dress, Kind
from toolprm_jax.records.readers import read_records, record_to_json
from toolprm_jax.records.types import GoldCall, Record, Tool
from toolprm_jax.records.writing import write_jsonl

NAMES = ("f", "g", "ä", "h.i", '"', "j\\k", "\U0001f600", " ")
DRESSES: tuple[Dress, ...] = ("list", "tool_call", "llama")


def random_value(rng: random.Random, depth: int = 2) -> Any:
    match rng.randrange(9 if depth else 7):
        case 0:
            return rng.choice((True, False, None))
        case 1:
            return rng.randint(-(10**12), 10**12)
        case 2:
            return rng.uniform(-1, 1) * 10.0 ** rng.randint(-8, 20)
        case 3 | 4 | 5 | 6:
            return "".join(
                rng.choice('ab "\\\n{}[],:é€\U0001f600\0') for _ in range(rng.randrange(6))
            )
        case 7:
            return [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        case _:
            return {
                rng.choice(NAMES): random_value(rng, depth - 1) for _ in range(rng.randrange(3))
            }


def random_record(rng: random.Random, index: int) -> Record:
    """Few names and few values, so that golds often share all of a call but one argument."""
    pool = [random_value(rng) for _ in range(3)]
    tools = []
    for name in rng.sample(NAMES, rng.randint(1, 4)):
        properties = {p: {"type": "any"} for p in rng.sample(NAMES, rng.randint(0, 4))}
        tools.append(Tool(name, "", {"type": "object", "properties": properties}))
    golds = []
    for _ in range(rng.randint(0, 4)):
        tool = rng.choice(tools)
        accepted, optional = {}, set()
        for name in tool.properties:
            choices = pool if rng.random() < 0.5 else [random_value(rng)]
            accepted[name] = tuple(rng.sample(choices, rng.randint(1, min(2, len(choices)))))
            if rng.random() < 0.1:
                optional.add(name)
        golds.append(GoldCall(tool.name, accepted, frozenset(optional)))
    return Record(str(index), ({"role": "user", "content": "q"},), tuple(tools), tuple(golds))


def assert_hit(record: Record, made: Corruption, dress: Dress) -> None:
    labelled = label_completion(record, made.text, dress=dress)
    where = (record.id, made, record.answers)
    prefixes = [step.prefix for step in labelled.steps]
    assert prefixes == [at < made.hit for at in range(len(prefixes))], where
    assert all(step.label for step in labelled.steps[: made.hit]), where
    assert made.hit < len(prefixes), where
    assert not labelled.steps[made.hit].label, where
    assert not labelled.correct
    assert not labelled.steps[-1].label, where
    if made.kind in HIT_KINDS:
        assert labelled.steps[made.hit].kind is HIT_KINDS[made.kind], where


HIT_KINDS = {
    "wrong_name": Kind.FUNC_NAME,
    "wrong_value": Kind.ARG_VALUE,
    "missing_parameter": Kind.PARAM_FINISH,
    "extra_parameter": Kind.ARG_VALUE,
    "swapped_values": Kind.ARG_VALUE,
    "duplicated_call": Kind.FUNC_NAME,
    "dropped_call": Kind.TOTAL_FINISH,
    "extra_call": Kind.FUNC_NAME,
    "truncated": Kind.TOTAL_FINISH,
    "no_json": Kind.TOTAL_FINISH,
    "key_order": Kind.TOTAL_FINISH,
    "repeated_parameter": Kind.ARG_VALUE,
}


def test_the_prefix_is_minus_exactly_from_the_hit_decision_on() -> None:
    """More than 10,000 cases, at least 100 of every kind of mistake."""
    made: Counter[str] = Counter()
    for index in range(800):
        rng = random.Random(index)
        record = random_record(rng, index)
        for dress in DRESSES:
            right = label_completion(record, gold_completion(record, dress), dress=dress)
            assert right.correct
            assert all(step.prefix for step in right.steps)
            for corruption in corruptions(record, rng, dress):
                assert_hit(record, corruption, dress)
                made[corruption.kind] += 1
    assert made.total() >= 10_000, made
    assert set(made) == set(MISTAKES) == set(HIT_KINDS)
    assert min(made.values()) >= 100, made


def edited_decisions(record: Record, made: Corruption) -> int:
    """Decisions before the first call that differs from the gold's, by the text alone."""
    try:
        written = json.loads(made.text)
    except ValueError:
        return -1
    count = 0
    for gold, call in zip(gold_calls(record), written, strict=False):
        if list(call) != ["name", "arguments"] or call != gold.to_json():
            return count
        count += len(gold.arguments) + 3
    return count


def test_the_hit_lies_in_the_first_call_that_was_edited() -> None:
    """An independent look at the text: no hit lies before its first edited call, nor after it."""
    seen = 0
    for index in range(100):
        rng = random.Random(index)
        record = random_record(rng, index)
        for made in corruptions(record, rng):
            first = edited_decisions(record, made)
            if first < 0 or made.kind in ("repeated_parameter", "dropped_call"):
                continue
            seen += 1
            longest = max((len(gold.arguments) for gold in record.answers or ()), default=0)
            assert first <= made.hit <= first + longest + 3, (made, record.answers)
    assert seen > 300


FILES = (
    "xlam/xlam_function_calling_sample_100.json",
    "bfcl/BFCL_v4_parallel.json",
    "bfcl/BFCL_v4_simple_python.json",
    "bfcl/BFCL_v4_irrelevance.json",
    "toolalpaca/toolalpaca_114.json",
    "seal-tools/seal_tools.jsonl",
    "sgd/sgd_single_turn.jsonl",
)


def few(records: Iterator[Record]) -> list[Record]:
    return [record for at, record in enumerate(records) if at < 60]


@pytest.mark.parametrize("file", FILES)
def test_real_records_are_hit_where_they_say(shared_data: Path, file: str) -> None:
    for record in few(read_records(shared_data / file)):
        for dress in DRESSES:
            for made in corruptions(record, random.Random(record.id), dress):
                assert_hit(record, made, dress)


def test_the_command_writes_rollouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [random_record(random.Random(i), i) for i in range(40)]
    unknown = records[0].with_(id="unknown", answers=None)
    write_jsonl(tmp_path / "records.jsonl", map(record_to_json, [*records, unknown]))
    argv = ["--records", str(tmp_path / "records.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    assert main([*argv, "--num", "5", "--seed", "1"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [record.id for record in records]
    correct = 0
    for record, line in zip(records, lines, strict=True):
        made = completions(record, 1, 5, 0.7)
        assert line["completions"] == [text for _, text in made]
        for kind, text in made:
            assert label_completion(record, text).correct == (kind == "gold")
            correct += kind == "gold"
    assert 110 < correct < 190  # 140 expected, and more where no mistake can be made
    out = capsys.readouterr().out
    assert "format record, recognised" in out
    assert "40 records written" in out
    assert "1 have no gold" in out
    assert main([*argv, "--num", "0"]) == 2
    assert main([*argv, "--gold-share", "2"]) == 2
