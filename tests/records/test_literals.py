"""Java and JavaScript literals of BFCL: what they stand for, and hostile ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.records.literals import (
    LANGUAGES,
    MAX_NESTING,
    Language,
    literal_value,
    write_literal,
)

NUMBERS = {"type": "ArrayList", "items": {"type": "integer"}}
ARRAY, MAP, OBJECT = {"type": "array"}, {"type": "HashMap"}, {"type": "dict"}


@pytest.mark.parametrize(
    ("language", "schema", "text", "value"),
    [
        ("java", {"type": "integer"}, " -7 ", -7),
        ("java", {"type": "integer"}, "7.0", "7.0"),
        ("java", {"type": "long"}, "7L", 7),
        ("java", {"type": "long"}, "7", "7"),
        ("java", {"type": "float"}, "2.5f", 2.5),
        ("java", {"type": "double"}, "1e3", 1000.0),
        ("java", {"type": "double"}, "2.5f", "2.5f"),
        ("java", {"type": "boolean"}, "true", True),
        ("java", {"type": "boolean"}, "True", "True"),
        ("java", {"type": "String"}, '"a"', '"a"'),
        ("java", {"type": "any"}, "x.y()", "x.y()"),
        ("java", NUMBERS, "new ArrayList<Integer>(Arrays.asList(1, 2))", [1, 2]),
        ("java", NUMBERS, "new ArrayList<>(List.of( 1,2 ) )", [1, 2]),
        ("java", NUMBERS, "new ArrayList<>() {{ add(1); add(2); }}", [1, 2]),
        ("java", NUMBERS, "new ArrayList<>()", []),
        ("java", NUMBERS, "new ArrayList<>(10)", "new ArrayList<>(10)"),
        ("java", NUMBERS, "numbers", "numbers"),
        ("java", {"type": "Array", "items": {"type": "String"}}, 'new String[]{"a,", "}"}',
         ["a,", "}"]),
        ("java", MAP, 'new HashMap<String, Object>() {{ put("k;", 1); put("l", x); }}',
         {"k;": 1, "l": "x"}),
        ("java", MAP, 'new HashMap<>() {{ put("k", new ArrayList<>(Arrays.asList(1L, "b"))); }}',
         {"k": [1, "b"]}),
        ("java", {"type": "ArrayList"},
         'new ArrayList<>(Arrays.asList(new HashMap<String, Object>() {{ put("k", 1); }}))',
         [{"k": 1}]),
        ("java", MAP, "new HashMap<>()", {}),
        ("java", MAP, "new HashMap<>() { }", {}),
        ("java", MAP, 'new HashMap<>() {{ remove("k"); }}', 'new HashMap<>() {{ remove("k"); }}'),
        ("javascript", {"type": "Bigint"}, "12n", 12),
        ("javascript", {"type": "String"}, "'a'", "a"),
        ("javascript", {"type": "String"}, "a", "a"),
        ("javascript", ARRAY, "[1, 'a, b', [true, null], f(1, 2)]",
         [1, "a, b", [True, None], "f(1, 2)"]),
        ("javascript", ARRAY, "new Array(1, 2)", [1, 2]),
        ("javascript", ARRAY, "[", "["),
        ("javascript", ARRAY, "[]", []),
        ("javascript", OBJECT, "{a: 1, \"b\": {c: '}:'}}", {"a": 1, "b": {"c": "}:"}}),
        ("javascript", OBJECT, "{a}", "{a}"),
    ],
)  # fmt: skip
def test_literals(language: Language, schema: Any, text: str, value: Any) -> None:
    found = literal_value(text, schema, language)
    assert found == value
    assert type(found) is type(value)


plain = st.text("ab ,;:(){}[]", min_size=1)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner | plain, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(values, max_size=3) | st.dictionaries(plain, values, max_size=3))
def test_what_is_written_is_read(value: Any) -> None:
    for language in LANGUAGES:
        types = ("ArrayList", "HashMap") if language == "java" else ("array", "dict")
        schema = {"type": types[isinstance(value, dict)]}
        written = write_literal(value, schema, language)
        assert literal_value(written, schema, language) == value


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


def test_what_is_nested_too_deeply_stays_text() -> None:
    assert literal_value("[" * MAX_NESTING + "1" + "]" * MAX_NESTING, ARRAY, "javascript") == (
        nested(MAX_NESTING)
    )
    text = "[" * 50_000 + "]" * 50_000
    found = literal_value(text, ARRAY, "javascript")
    for _ in range(MAX_NESTING):
        (found,) = found
    assert found == text[MAX_NESTING:-MAX_NESTING]


@given(st.text("{}[]()<>\"'\\,;:ab1 ") | st.text(st.characters(exclude_categories=())))
def test_no_text_raises(text: str) -> None:
    for language in LANGUAGES:
        for type_ in ("ArrayList", "Array", "HashMap", "array", "dict", "Bigint", "double"):
            for whole in (text, f"[{text}]", f"{{{text}}}", f"new ArrayList<{text}"):
                literal_value(whole, {"type": type_}, language)


SHAPES: dict[str, Callable[[int], str]] = {
    "open lists": lambda n: "new ArrayList<>(Arrays.asList(" * n,
    "open quotes": lambda n: "[" + '"\\"' * n + "]",
    "open calls": lambda n: "new ArrayList<>() {{ " + "add(" * n + "}}",
    "angles": lambda n: "new ArrayList<" + "> " * n,
    "nested": lambda n: "[" * n + "]" * n,
    "elements": lambda n: "[" + "1," * n + "]",
    "maps": lambda n: 'new HashMap<>() {{ put("a", ' * n + "); }}" * n,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_grows_no_faster_than_the_text(shape: str) -> None:
    def lines(n: int) -> int:
        count = 0

        def tracer(frame: Any, event: str, argument: Any) -> Any:
            nonlocal count
            count += event == "line"
            return tracer

        before = sys.gettrace()
        sys.settrace(tracer)
        try:
            for language in LANGUAGES:
                for type_ in ("ArrayList", "HashMap", "array", "dict"):
                    literal_value(SHAPES[shape](n), {"type": type_}, language)
        finally:
            sys.settrace(before)
        return count

    assert lines(512) <= 4.3 * lines(128) + 50
