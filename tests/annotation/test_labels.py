"""Labels against the written definition, by brute force, and on real data."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.annotation.corrupt import corruptions, gold_completion
from toolprm_jax.annotation.grammar import Dress, Kind
from toolprm_jax.annotation.labels import GRANULARITY, Labelled, label_completion
from toolprm_jax.annotation.readers import read_records
from toolprm_jax.annotation.records import Call, DataError, GoldCall, Record

Pairs = list[tuple[str, Any]]
Spelled = tuple[str, Pairs]  # a call as written: name and arguments, repeated ones included


def record_of(golds: list[GoldCall]) -> Record:
    return Record("r", ({"role": "user", "content": "q"},), (), tuple(golds))


def spell(calls: list[Spelled], dress: Dress = "list") -> str:
    written = []
    for name, pairs in calls:
        inner = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs)
        written.append(f'{{"name": "{name}", "arguments": {{{inner}}}}}')
    if dress == "list":
        return "[" + ", ".join(written) + "]"
    return "".join(f"<tool_call>{call}</tool_call>" for call in written)


def signs(labelled: Labelled) -> str:
    return "".join("+" if step.label else "-" for step in labelled.steps)


def whole_call_equal(call: Spelled, gold: GoldCall) -> bool:
    name, pairs = call
    return (
        name == gold.name
        and len(dict(pairs)) == len(pairs)
        and dict(pairs).keys() == gold.arguments.keys()
        and all(value in gold.arguments[key] for key, value in pairs)
    )


def can_be_matched(calls: list[Spelled], golds: list[GoldCall]) -> bool:
    return len(calls) <= len(golds) and any(
        all(whole_call_equal(call, gold) for call, gold in zip(calls, some, strict=True))
        for some in itertools.permutations(golds, len(calls))
    )


def naive_labels(calls: list[Spelled], golds: list[GoldCall]) -> list[bool]:
    """The definition in words: a gold is unused iff the right calls so far can do without it."""
    labels: list[bool] = []
    right: list[Spelled] = []
    for name, pairs in calls:
        possible = [
            gold
            for at, gold in enumerate(golds)
            if gold.name == name and can_be_matched(right, golds[:at] + golds[at + 1 :])
        ]
        fine = [bool(possible)]
        seen: list[str] = []
        for key, value in pairs:
            equal = [g for g in possible if key in g.arguments and value in g.arguments[key]]
            fine.append(key not in seen and bool(equal))
            possible = equal if fine[-1] else possible
            seen.append(key)
        complete = any(set(gold.arguments) <= set(seen) for gold in possible)
        fine.append(all(fine) and complete)
        fine.append(any(whole_call_equal((name, pairs), gold) for gold in possible))
        if fine[-1]:
            right.append((name, pairs))
        labels += fine
    return [*labels, len(calls) == len(golds) and can_be_matched(calls, golds)]


names, params, small = st.sampled_from("fg"), st.sampled_from("xy"), st.integers(1, 3)
overlapping = st.builds(
    lambda name, arguments: GoldCall(name, {k: tuple(v) for k, v in arguments.items()}),
    names,
    st.dictionaries(params, st.lists(small, min_size=1, max_size=2, unique=True)),
)
exact = st.builds(
    lambda name, arguments: GoldCall.exact(Call(name, arguments)),
    names,
    st.dictionaries(params, small),
)
written = st.tuples(names, st.lists(st.tuples(params, small), max_size=3))


def answer_of(gold: GoldCall, rng: random.Random) -> Spelled:
    pairs = [(key, rng.choice(listed)) for key, listed in gold.arguments.items()]
    rng.shuffle(pairs)
    return gold.name, pairs


@st.composite
def cases(draw: Any) -> tuple[list[GoldCall], list[Spelled]]:
    golds = draw(st.lists(draw(st.sampled_from([overlapping, exact])), max_size=4))
    rng = random.Random(draw(st.integers(0, 10**6)))
    calls = [answer_of(gold, rng) for gold in golds]
    rng.shuffle(calls)
    for call in draw(st.lists(written, max_size=2)):
        calls.insert(rng.randint(0, len(calls)), call)
    for _ in range(draw(st.integers(0, 2))):
        if calls:
            calls.pop(rng.randrange(len(calls)))
    return golds, calls


@given(cases(), st.sampled_from(["list", "tool_call"]))
def test_labels_follow_the_definition(case: Any, dress: Dress) -> None:
    golds, calls = case
    labelled = label_completion(record_of(golds), spell(calls, dress), dress=dress)
    expected = naive_labels(calls, golds)
    assert [step.label for step in labelled.steps] == expected
    assert [step.prefix for step in labelled.steps] == [
        all(expected[: at + 1]) for at in range(len(expected))
    ]
    assert labelled.correct == expected[-1] == all(expected)
    assert labelled.error is None
    assert [(c.name, dict(c.arguments)) for c in labelled.calls] == [
        (name, dict(pairs)) for name, pairs in calls
    ]


@given(cases())
def test_ordered_calls_are_held_against_the_gold_of_their_place(case: Any) -> None:
    golds, calls = case
    labelled = label_completion(record_of(golds), spell(calls), ordered=True)
    expected: list[bool] = []
    for at, call in enumerate(calls):
        expected += naive_labels([call], golds[at : at + 1])[:-1]
    right = len(golds) == len(calls) and all(map(whole_call_equal, calls, golds))
    assert [step.label for step in labelled.steps] == [*expected, right]


@given(cases(), st.randoms(use_true_random=False))
def test_order_of_the_golds_changes_nothing(case: Any, rng: random.Random) -> None:
    golds, calls = case
    shuffled = rng.sample(golds, len(golds))
    text = spell(calls)
    assert label_completion(record_of(golds), text) == label_completion(record_of(shuffled), text)


@given(cases(), st.floats(0, 1))
def test_a_prefix_has_the_first_decisions_of_the_whole(case: Any, where: float) -> None:
    golds, calls = case
    text = spell(calls)
    cut = round(where * len(text))
    whole = label_completion(record_of(golds), text)
    part = label_completion(record_of(golds), text[:cut], complete=False)
    assert part.steps == tuple(step for step in whole.steps if step.end <= cut)
    assert part.error is None
    dead = label_completion(record_of(golds), text[:cut])
    if cut < len(text):
        assert dead.steps == (*part.steps, (Kind.TOTAL_FINISH, cut, False, False))
        assert dead.error is not None
        assert not dead.correct


F12 = GoldCall.exact(Call("f", {"x": 1, "y": 2}))
F34 = GoldCall.exact(Call("f", {"x": 3, "y": 4}))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("x", 1), ("y", 2)], "++++++"),
        ([("y", 2), ("x", 1.0)], "++++++"),
        ([("x", 1), ("y", 4)], "++----"),  # x = 1 leaves only the first gold
        ([("y", 4), ("x", 1)], "++----"),
        ([("x", 9), ("y", 4)], "+-+---"),  # a wrong value narrows nothing
        ([("x", 1)], "++---"),
        ([("x", 1), ("x", 1), ("y", 2)], "++-+---"),
        ([("x", True), ("y", 2)], "+-+---"),
        ([("x", 1), ("y", 2), ("z", 0)], "+++----"),
    ],
)
def test_arguments_narrow_the_possible_golds(pairs: Pairs, expected: str) -> None:
    text = spell([("f", pairs), ("f", [("y", 4), ("x", 3)])])
    labelled = label_completion(record_of([F12, F34]), text)
    second = signs(labelled)[len(expected) - 1 : -1]
    assert signs(labelled)[: len(expected) - 1] + signs(labelled)[-1] == expected
    assert second == "+++++"


def test_an_early_call_does_not_block_a_later_one() -> None:
    wide, narrow = GoldCall("f", {"x": (1, 2)}), GoldCall("f", {"x": (1,)})
    for golds in ([wide, narrow], [narrow, wide]):
        text = spell([("f", [("x", 1)]), ("f", [("x", 2)])])
        assert set(signs(label_completion(record_of(golds), text))) == {"+"}


@pytest.mark.parametrize(
    ("text", "end", "error"),
    [
        ("I can't.", 1, "byte 0: expected `[` or a code fence, found 'I'"),
        ("", 0, "byte 0: expected `[` or a code fence, found the end of the text"),
        ("[", 1, "byte 1: expected a call or `]`, found the end of the text"),
        ("[é", 2, "byte 1: expected a call or `]`, found byte 0xc3"),
        ('[{"name": "\ud800', 13, "byte 12: expected a UTF-8 continuation byte, found byte 0xa0"),
    ],
)
def test_a_dead_completion_gets_one_last_minus(text: str, end: int, error: str) -> None:
    labelled = label_completion(record_of([F12]), text)
    assert labelled.steps == ((Kind.TOTAL_FINISH, end, False, False),)
    assert not labelled.correct
    assert (labelled.error or "").startswith(error)


def test_offsets_count_bytes() -> None:
    gold = GoldCall.exact(Call("f", {"ä": "€"}))
    text = '[{"name": "f", "arguments": {"ä": "€"}}]'
    labelled = label_completion(record_of([gold]), text)
    assert labelled.correct
    assert labelled.steps[1].end == len(text.encode()) - 2
    assert labelled == label_completion(record_of([gold]), text.encode())


def test_trailing_text_is_reported_and_not_labelled() -> None:
    labelled = label_completion(record_of([]), "[] That is all.")
    assert labelled.correct
    assert labelled.trailing
    assert labelled.error is None
    assert len(labelled.steps) == 1


def test_steps_file() -> None:
    labelled = label_completion(record_of([F12]), '[{"name": "f", "arguments": {"x": 2')
    line = labelled.to_json("7", '[{"name": "f", "arguments": {"x": 2')
    assert json.loads(json.dumps(line)) == line
    assert line["steps"] == [
        {"kind": "FUNC_NAME", "end": 13, "label": "+", "prefix": "+"},
        {"kind": "TOTAL_FINISH", "end": 35, "label": "-", "prefix": "-"},
    ]
    assert (line["id"], line["correct"]) == ("7", False)
    assert line["error"].startswith("byte 35")


def test_gold_must_be_known() -> None:
    with pytest.raises(DataError, match="record r: answers: expected"):
        label_completion(record_of([]).with_(answers=None), "[]")


def test_granularities() -> None:
    assert GRANULARITY["orm"] < GRANULARITY["cprm"] < GRANULARITY["toolprm"] == set(Kind)


# --- real data -----------------------------------------------------------------------------------

FILES = {
    "xlam/xlam_function_calling_sample_100.json": "xlam",
    "bfcl/BFCL_v4_simple_python.json": "bfcl",
    "bfcl/BFCL_v4_multiple.json": "bfcl",
    "bfcl/BFCL_v4_parallel.json": "bfcl",
    "bfcl/BFCL_v4_irrelevance.json": "bfcl",
    "toolalpaca/toolalpaca_114.json": "toolalpaca",
    "seal-tools/seal_tools.jsonl": "record",
    "sgd/sgd_single_turn.jsonl": "record",
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("dress", ["list", "tool_call"])
def test_every_gold_is_right_and_every_corruption_is_wrong(
    shared_data: Path, file: str, dress: Dress
) -> None:
    made: Counter[str] = Counter()
    for index, record in enumerate(read_records(shared_data / file, FILES[file])):
        gold = gold_completion(record, dress)
        labelled = label_completion(record, gold, dress=dress)
        assert set(signs(labelled)) == {"+"}, (record.id, gold)
        assert labelled.correct
        if index >= 200:  # enough for the corruptions, which are slower
            continue
        right = [(step.kind, step.end) for step in labelled.steps[:-1]]
        for kind, text in corruptions(record, random.Random(record.id), dress):
            made[kind] += 1
            wrong = label_completion(record, text, dress=dress)
            assert not wrong.correct, (record.id, kind, text)
            assert not wrong.steps[-1].label
            first = next(step for step in wrong.steps if not step.prefix)
            same = len(common_bytes(gold.encode(), text.encode()))
            # Everything before the first changed byte is as right as it was in the gold.
            before = [step for step in wrong.steps[:-1] if step.end <= same]
            assert all(step.label for step in before), (record.id, kind, text)
            assert [(s.kind, s.end) for s in before] == [s for s in right if s[1] <= same]
            if kind in FIRST_WRONG:
                assert first.kind in FIRST_WRONG[kind], (record.id, kind, text)
            if kind in ("wrong_name", "wrong_value", "truncated", "no_json"):
                assert first == wrong.steps[len(before)], (record.id, kind, text)
    assert made


def common_bytes(a: bytes, b: bytes) -> bytes:
    return bytes(x for x, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b)))  # noqa: B905


FIRST_WRONG = {
    "wrong_name": {Kind.FUNC_NAME},
    "wrong_value": {Kind.ARG_VALUE},
    "missing_parameter": {Kind.PARAM_FINISH, Kind.ARG_VALUE},
    "extra_parameter": {Kind.ARG_VALUE},
    "repeated_parameter": {Kind.ARG_VALUE},
    "truncated": {Kind.TOTAL_FINISH},
    "no_json": {Kind.TOTAL_FINISH},
    "key_order": {Kind.TOTAL_FINISH},
}


def test_corruptions_depend_only_on_the_generator() -> None:
    record = record_of([F12, F34])
    once = list(corruptions(record, random.Random(3)))
    assert once == list(corruptions(record, random.Random(3)))
    assert len({kind for kind, _ in once}) == len(once) >= 10
