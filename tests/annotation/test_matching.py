"""Equality of values, calls and lists of calls."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.annotation.matching import (
    call_matches,
    exact_match,
    match_calls,
    missing_parameters,
    value_accepted,
    values_equal,
)
from toolprm_jax.grammar.runner import PartialCall
from toolprm_jax.records.types import Call, DataError, GoldCall, Record, Tool

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 2.5])
    | st.text("ab"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
)


def canonical(value: Any) -> str:
    """A text that two JSON values share iff they are equal."""

    def whole(item: Any) -> Any:
        if isinstance(item, float) and item.is_integer():
            return int(item)
        if isinstance(item, list):
            return [whole(each) for each in item]
        if isinstance(item, dict):
            return {key: whole(each) for key, each in item.items()}
        return item

    return json.dumps(whole(value), sort_keys=True)


@given(values, values)
def test_values_equal_is_equality_of_canonical_forms(a: Any, b: Any) -> None:
    assert values_equal(a, b) == (canonical(a) == canonical(b))
    assert values_equal(a, a)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (3, 3.0, True),
        (True, 1, False),
        (0, False, False),
        (None, 0, False),
        ("1", 1, False),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True),
        ({"a": None}, {}, False),
        (2**53 + 1, float(2**53), False),
        (float("nan"), float("nan"), False),
        ("A", "a", False),
    ],
)
def test_values_equal_by_hand(a: Any, b: Any, equal: bool) -> None:
    assert values_equal(a, b) is equal
    assert values_equal(b, a) is equal


def tool_with(**properties: Any) -> Tool:
    return Tool("f", "", {"type": "dict", "properties": properties, "required": list(properties)})


STRING, INTEGER, FLOAT = {"type": "string"}, {"type": "integer"}, {"type": "float"}
FLOATS = {"type": "array", "items": FLOAT}
STRINGS = {"type": "array", "items": STRING}
OBJECT = {"type": "dict"}
OBJECTS = {"type": "array", "items": OBJECT}


@pytest.mark.parametrize(
    ("schema", "gold", "value", "accepted"),
    [
        (STRING, ["San Diego, CA"], "san diego ca", True),
        (STRING, ["it's"], 'IT"S', True),
        (STRING, ["a-b_c/d.e*f^g"], "ABCDEFG", True),
        (STRING, ["a"], "a!", False),
        (STRING, ["5"], 5, False),
        (INTEGER, [10], 10, True),
        (INTEGER, [10], 10.0, False),
        (INTEGER, [1], True, False),
        (FLOAT, [10], 10, True),
        (FLOAT, [10.0], 10, True),
        (FLOAT, [1.0], True, False),
        (FLOAT, [0.5, 5], 5.0, True),
        ({"type": "boolean"}, [True], True, True),
        ({"type": "boolean"}, [True], 1, False),
        (INTEGER, ["n"], "n", True),
        (INTEGER, ["n"], "N", False),  # a variable's name counts literally
        (STRINGS, [["New York", "Rome"]], ["new-york", "ROME"], True),
        (STRINGS, [["New York", "Rome"]], ["Rome", "New York"], False),
        (STRINGS, [["a"], ["b"]], ["B"], True),
        (FLOATS, [[1.0, 2.5]], [1.0, 2.5], True),
        (FLOATS, [[1.0, 2.5]], [1, 2.5], False),
        (FLOATS, [[3, 4]], [3, 4], True),
        (OBJECT, [{"min": [300], "max": [400, ""]}], {"min": 300}, True),
        (OBJECT, [{"min": [300], "max": [400, ""]}], {"max": 400}, False),
        (OBJECT, [{"min": [300], "max": [400]}], {"min": 300, "max": 400, "x": 1}, False),
        (OBJECT, [{"city": ["Rome", "Roma"]}], {"city": "ROMA"}, True),
        (OBJECT, [{"city": ["Rome"]}], "Rome", False),
        (OBJECTS, [[{"k": ["a"]}, {"k": ["b"]}]], [{"k": "A"}, {"k": "b"}], True),
        (OBJECTS, [[{"k": ["a"]}, {"k": ["b"]}]], [{"k": "a"}], False),
    ],
)
def test_bfcl_values(schema: Any, gold: list[Any], value: Any, accepted: bool) -> None:
    call = GoldCall("f", {"x": tuple(gold)})
    assert value_accepted(call, "x", value, "bfcl", tool_with(x=schema)) is accepted
    assert not value_accepted(call, "y", value, "bfcl", tool_with(x=schema))


def test_bfcl_optional_parameters() -> None:
    gold = GoldCall("f", {"x": (1,), "u": ("m",)}, frozenset({"u"}))
    tool = Tool("f", "", {"type": "dict", "properties": {"x": INTEGER, "u": STRING}})
    assert call_matches(gold, "f", [("x", 1)], "bfcl", tool)
    assert call_matches(gold, "f", [("u", ""), ("x", 1)], "bfcl", tool)
    assert not call_matches(gold, "f", [("u", "n"), ("x", 1)], "bfcl", tool)
    assert not call_matches(gold, "f", [("u", "m")], "bfcl", tool)
    # What the schema requires can't be left out, whatever the gold says.
    assert missing_parameters(gold, ["x"], "bfcl", tool_with(x=INTEGER, u=STRING)) == {"u"}


def test_a_call_needs_its_name_all_parameters_and_no_repetition() -> None:
    gold = GoldCall.exact(Call("f", {"x": 1, "y": 2}))
    assert call_matches(gold, "f", [("y", 2), ("x", 1.0)], "json")
    assert not call_matches(gold, "g", [("y", 2), ("x", 1)], "json")
    assert not call_matches(gold, "f", [("x", 1)], "json")
    assert not call_matches(gold, "f", [("x", 1), ("y", 2), ("z", 3)], "json")
    assert not call_matches(gold, "f", [("x", 1), ("x", 1), ("y", 2)], "json")


small_golds = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True).map(
        lambda listed: GoldCall("f", {"x": tuple(listed)})
    ),
    max_size=4,
)
small_calls = st.lists(st.integers(0, 3).map(lambda x: Call("f", {"x": x})), max_size=4)


@given(small_golds, small_calls)
def test_lists_match_iff_some_permutation_matches(golds: Any, calls: Any) -> None:
    def matches(order: Any) -> bool:
        return all(call.arguments["x"] in golds[g].arguments["x"] for call, g in zip(calls, order))  # noqa: B905

    same_length = len(golds) == len(calls)
    some = same_length and any(map(matches, itertools.permutations(range(len(golds)))))
    assert match_calls(golds, calls, "json") == some
    in_order = same_length and matches(range(len(golds)))
    assert match_calls(golds, calls, "json", ordered=True) == in_order
    partial = [PartialCall(c.name, list(c.arguments.items()), True, True) for c in calls]
    assert match_calls(golds, partial, "json") == some


def test_exact_match_of_records() -> None:
    call = Call("f", {"x": 1})
    record = Record("r", ({"role": "user", "content": "q"},), (), (GoldCall.exact(call),))
    assert exact_match(record, [call])
    assert not exact_match(record, [])
    assert exact_match(record.with_(answers=()), [])
    with pytest.raises(DataError, match="record r: answers"):
        exact_match(record.with_(answers=None), [])
