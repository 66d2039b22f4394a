"""What a schema calls equal, and how many labels that changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.annotation.corruption import gold_completion
from toolprm_jax.annotation.equivalence import schema_equal
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.matching import values_equal
from toolprm_jax.records.types import Call, GoldCall, Record, Tool, spell_calls

DATE, MOMENT = {"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}


@pytest.mark.parametrize(
    ("schema", "gold", "value", "equal"),
    [
        ({"type": "integer"}, 3, "3", True),
        ({"type": "integer"}, "3", 3, True),
        ({"type": "number"}, 2.5, " 2.50 ", True),
        ({"type": "number"}, 1000, "1e3", True),
        ({"type": "int, optional"}, 3, "3", True),
        ({"type": ["integer", "null"]}, 3, "3", True),
        ({"type": "Optional[int]"}, 3, "3", True),
        ({"type": "Union[int, float]"}, 3, "3.0", True),
        ({"type": "string"}, "3", 3, False),
        ({}, 3, "3", False),
        ({"type": "integer"}, 3, "4", False),
        ({"type": "integer"}, 3, "three", False),
        ({"type": "integer"}, 1, True, False),
        ({"type": "integer"}, 1, "0x1", False),
        ({"type": "integer"}, 1, "NaN", False),
        ({"type": "integer"}, 1, "9" * 100_000, False),
        ({"type": "boolean"}, True, "true", False),
        ({"type": "string"}, "New York, NY", "new york ny", True),
        ({"type": "str"}, "it's", 'IT"S', True),
        ({"type": "string"}, "York", "New York", False),
        ({"type": "array", "items": {"type": "integer"}}, [1, 2], ["1", 2.0], True),
        ({"type": "List[int], optional"}, [1], ["1"], True),
        ({"type": "List[List[int]]"}, [[1], []], [["1"], []], True),
        ({"type": "List[Union[int, float]]"}, [1], ["1"], True),
        ({"type": "array"}, [1], ["1"], False),
        ({"type": "List[int]"}, [1, 2], ["1"], False),
        ({"type": "object", "properties": {"a": {"type": "int"}}}, {"a": 1}, {"a": "1"}, True),
        ({"type": "object", "properties": {"a": {"type": "int"}}}, {"a": 1}, {"b": "1"}, False),
        (DATE, "2024-04-01", "April 1, 2024", True),
        (DATE, "2024-04-01", "1st Apr 2024", True),
        (DATE, "2024-04-01", "2024/04/01", True),
        (DATE, "2024-04-01", "20240401", True),
        (DATE, "2024-04-01", "2024-04-02", False),
        (DATE, "2024-04-01", "04/01/2024", False),  # April 1, or January 4
        (DATE, "tomorrow", "Tomorrow", False),
        (MOMENT, "2024-04-01T10:00:00Z", "2024-04-01 10:00:00+00:00", True),
        (MOMENT, "2024-04-01T10:00:00Z", "2024-04-01T12:00:00+02:00", True),
        (MOMENT, "2024-04-01T10:00:00Z", "2024-04-01T10:00:00", False),
        ({"type": "string"}, "2024-04-01", "April 1, 2024", False),
    ],
)
def test_what_the_schema_calls_equal(schema: Any, gold: Any, value: Any, equal: bool) -> None:
    assert schema_equal(gold, value, schema) is equal
    assert schema_equal(value, gold, schema) is equal


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text("13aA. "),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
)
types = st.sampled_from(["integer", "string", "List[int]", "array", "object", "x", None, 7, [7]])
formats = st.sampled_from(["date", "date-time", "email", 3])


@given(values, values, types, formats)
def test_it_is_wider_than_json_equality_and_never_fails(
    a: Any, b: Any, type_: Any, format_: Any
) -> None:
    schema = {"type": type_, "format": format_, "items": type_, "properties": type_}
    equal = schema_equal(a, b, schema)
    assert equal or not values_equal(a, b)
    assert equal == schema_equal(b, a, schema)


TOOL = Tool("f", "", {"n": {"type": "int"}, "s": {"type": "str"}})
RECORD = Record(
    "r",
    ({"role": "user", "content": "q"},),
    (TOOL,),
    (GoldCall.exact(Call("f", {"n": 3, "s": "Oslo"})),),
)


def signs(text: str, **options: Any) -> tuple[str, int]:
    labelled = label_completion(RECORD, text, **options)
    assert labelled.correct == labelled.steps[-1].label
    return "".join("+" if step.label else "-" for step in labelled.steps), labelled.changed


def test_it_is_off_by_default_and_counts_what_it_would_change() -> None:
    text = spell_calls([Call("f", {"n": "3", "s": "oslo"})])
    assert signs(text) == ("+-----", 5)
    assert signs(text, equivalence=True) == ("++++++", 5)
    assert signs(spell_calls([Call("f", {"n": "3", "s": "Rome"})])) == ("+-----", 1)
    assert signs(gold_completion(RECORD), equivalence=True) == ("++++++", 0)
    assert signs("no", equivalence=True) == ("-", 0)
