"""Labels against the written definition, by brute force, and on real data."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_labels import Pairs, Spelled, naive_labels, spell, whole_call_equal

from toolprm_jax.annotation.corruption import gold_calls, gold_completion
from toolprm_jax.annotation.labels import GRANULARITY, Labelled, label_completion
from toolprm_jax.annotation.matching import call_matches, exact_match, tools_by_name, value_accepted
from toolprm_jax.annotation.steps_file import steps_json
from toolprm_jax.grammar.types import Dress, Kind
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.types import Call, DataError, GoldCall, Record, Tool, spell_calls

SHARED_FILES = (
    "xlam/xlam_function_calling_sample_100.json",
    "bfcl/BFCL_v4_simple_python.json",
    "bfcl/BFCL_v4_multiple.json",
    "bfcl/BFCL_v4_parallel.json",
    "bfcl/BFCL_v4_irrelevance.json",
    "toolalpaca/toolalpaca_114.json",
    "toolalpaca/toolalpaca_114_hammer2.1_prompts.json",
    "seal-tools/seal_tools.jsonl",
    "sgd/sgd_single_turn.jsonl",
)


def record_of(golds: list[GoldCall]) -> Record:
    return Record("r", ({"role": "user", "content": "q"},), (), tuple(golds))


def signs(labelled: Labelled) -> str:
    return "".join("+" if step.label else "-" for step in labelled.steps)


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
    line = steps_json("7", '[{"name": "f", "arguments": {"x": 2', labelled)
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


# --- calls of one name: which gold is meant -----------------------------------------------------


def labels_of(golds: list[GoldCall], *calls: Pairs, **options: Any) -> str:
    text = spell([("f", pairs) for pairs in calls])
    labelled = label_completion(record_of(golds), text, **options)
    # The definition in words, and the last label against the matching of whole lists.
    if not options:
        assert [s.label for s in labelled.steps] == naive_labels([("f", c) for c in calls], golds)
    record = record_of(golds)
    unrepeated = all(len(dict(pairs)) == len(pairs) for pairs in calls)
    if unrepeated:
        spelled = [Call("f", dict(pairs)) for pairs in calls]
        assert labelled.correct == exact_match(record, spelled, options.get("ordered", False))
    return (
        " ".join(signs(labelled)[i : i + 5] for i in range(0, 5 * len(calls), 5))
        + " "
        + signs(labelled)[-1]
    )


NEAR = [GoldCall.exact(Call("f", {"x": 1, "y": 2})), GoldCall.exact(Call("f", {"x": 1, "y": 3}))]
X1Y2, X1Y3 = [("x", 1), ("y", 2)], [("x", 1), ("y", 3)]


@pytest.mark.parametrize("golds", [NEAR, NEAR[::-1]])
def test_golds_that_differ_in_one_argument_are_met_in_either_order(golds: list[GoldCall]) -> None:
    assert labels_of(golds, X1Y2, X1Y3) == "+++++ +++++ +"
    assert labels_of(golds, X1Y3, X1Y2) == "+++++ +++++ +"
    assert labels_of(golds, X1Y3[::-1], X1Y2[::-1]) == "+++++ +++++ +"
    # The same call twice: the second finds its gold used, and the other one's y is 3.
    assert labels_of(golds, X1Y2, X1Y2) == "+++++ ++--- -"
    assert labels_of(golds, X1Y2) == "+++++ -"
    assert labels_of(golds, X1Y2, X1Y3, X1Y2) == "+++++ +++++ ----- -"


@pytest.mark.parametrize("golds", [[F12, F34], [F34, F12]])
def test_one_argument_swapped_between_two_calls(golds: list[GoldCall]) -> None:
    assert labels_of(golds, [("x", 1), ("y", 4)], [("x", 3), ("y", 2)]) == "++--- ++--- -"
    assert labels_of(golds, [("y", 4), ("x", 1)], [("y", 2), ("x", 3)]) == "++--- ++--- -"
    assert labels_of(golds, [("x", 3), ("y", 4)], [("x", 1), ("y", 2)]) == "+++++ +++++ +"


@pytest.mark.parametrize("golds", [NEAR, NEAR[::-1]])
def test_ordered_calls_meet_the_gold_of_their_place(golds: list[GoldCall]) -> None:
    in_order, crossed = (X1Y2, X1Y3), (X1Y3, X1Y2)
    if golds is not NEAR:
        in_order, crossed = crossed, in_order
    assert labels_of(golds, *in_order, ordered=True) == "+++++ +++++ +"
    assert labels_of(golds, *crossed, ordered=True) == "++--- ++--- -"
    assert labels_of(golds, *in_order, X1Y2, ordered=True) == "+++++ +++++ ----- -"


def test_a_chain_of_overlapping_golds_needs_two_exchanges() -> None:
    golds = [GoldCall("f", {"x": values}) for values in ((1, 2), (2, 3), (3, 4))]
    for order in itertools.permutations(golds):
        for calls in itertools.permutations((2, 3, 4)):
            assert labels_of(list(order), *([("x", x)] for x in calls)).endswith("+++ +")
        assert labels_of(list(order), *([("x", x)] for x in (1, 2, 2))).endswith(" -")


def overlapping_pairs(record: Record) -> Iterator[tuple[int, int]]:
    """Pairs of golds that one call may satisfy both of."""
    tools = tools_by_name(record)
    for (i, one), (j, other) in itertools.combinations(enumerate(record.answers or ()), 2):
        shared = shared_call(one, other, tools.get(one.name))
        if shared is not None:
            yield i, j


def shared_call(one: GoldCall, other: GoldCall, tool: Tool | None) -> Call | None:
    """A call that both golds accept, or None."""
    arguments = {}
    for name in one.arguments.keys() | other.arguments.keys():
        both = [
            value
            for value in one.arguments.get(name, ())
            if value_accepted(other, name, value, "bfcl", tool)
        ]
        if both:
            arguments[name] = both[0]
    call = Call(one.name, arguments)
    fits = [
        call_matches(gold, call.name, list(arguments.items()), "bfcl", tool)
        for gold in (one, other)
    ]
    return call if all(fits) else None


def test_bfcl_golds_that_overlap_need_the_matching(shared_data: Path) -> None:
    """Every call that two golds accept, first and last, beside every call that one of them does."""
    pairs = alone = 0
    for name in ("parallel", "multiple", "simple_python"):
        for record in read_records(shared_data / f"bfcl/BFCL_v4_{name}.json"):
            tools = tools_by_name(record)
            for i, j in overlapping_pairs(record):
                pairs += 1
                golds = [(record.answers or ())[at] for at in (i, j)]
                shared = shared_call(golds[0], golds[1], tools.get(golds[0].name))
                assert shared is not None
                for here, there in (golds, golds[::-1]):
                    two = record.with_(answers=(here, there))
                    own = gold_calls(two)[0]
                    only = not call_matches(
                        there, own.name, list(own.arguments.items()), "bfcl", tools.get(own.name)
                    )
                    alone += only
                    for calls in ([shared, own], [own, shared]):
                        labelled = label_completion(two, spell_calls(calls))
                        assert set(signs(labelled)) == {"+"}, (record.id, calls)
                        if only:  # twice the call that one gold alone accepts is too often
                            again = label_completion(two, spell_calls([own, own]))
                            assert not again.correct
    assert pairs >= 14
    assert alone >= 14


# --- real data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SHARED_FILES)
@pytest.mark.parametrize("dress", ["list", "tool_call"])
def test_every_gold_is_right_at_every_granularity(
    shared_data: Path, file: str, dress: Dress
) -> None:
    for record in read_records(shared_data / file):
        text = gold_completion(record, dress)
        labelled = label_completion(record, text, dress=dress)
        assert set(signs(labelled)) == {"+"}, (record.id, text)
        assert labelled.correct
        assert all(step.prefix for step in labelled.steps)
        for kinds in GRANULARITY.values():
            assert any(step.kind in kinds for step in labelled.steps)
