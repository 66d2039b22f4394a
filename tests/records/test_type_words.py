"""Types as people write them, in any case, mean one JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.records.type_words import plain_schema_words, read_type_words

S, I, N = {"type": "string"}, {"type": "integer"}, {"type": "number"}  # noqa: E741
ARRAY, OBJECT = {"type": "array"}, {"type": "object"}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


WORDS: dict[str, Any] = {
    "str": S, "String": S, "STRING": S, "int": I, "Integer": I, "long": I, "float": N, "double": N,
    "bool": {"type": "boolean"}, "None": {"type": "null"}, "tuple": ARRAY, "Set": ARRAY,
    "dict": OBJECT, "HashMap": OBJECT, "any": {}, "Any": {}, "date": {}, "a city": {}, "": {},
    "bytes": {}, "byte": I,
    "string[]": array(S), "String[]": array(S), "string [ ]": array(S), "any[]": ARRAY,
    "int[][]": array(array(I)), "(string | number)[]": array({"type": ["string", "number"]}),
    "Array<string>": array(S), "Record<string, number>": {**OBJECT, "additionalProperties": N},
    "List[int]": array(I), "list[List[float]]": array(array(N)), "typing.List[str]": array(S),
    "List[Dict[str, Any]]": array(OBJECT), "Dict[str, List[int]]": {
        **OBJECT, "additionalProperties": array(I)},
    "Tuple[int, str]": {**ARRAY, "prefixItems": [I, S]}, "Tuple[float, ...]": array(N),
    "Set[str]": array(S), "Union[int, str]": {"type": ["integer", "string"]},
    "int | None": {"type": ["integer", "null"]}, "str or int": {"type": ["string", "integer"]},
    "Union[List[int], str]": {"anyOf": [array(I), S]}, "Union[int, Callable]": {},
    "Callable": {}, "Callable[[int], str]": {}, "List[Callable[[int], float]]": ARRAY,
    "Literal['a', 'b']": {"enum": ["a", "b"]}, "list of strings": array(S),
    "array of array of int": array(array(I)), "int, default 5": I, "int, required": I,
    "int, float": {"type": ["integer", "number"]}, "List[": {}, "]": {}, "np.ndarray": {},
}  # fmt: skip
OPTIONAL = ["{}, optional", "{} (Optional)", "{}, Optional.", "optional {}", "Optional[{}]",
            "OPTIONAL[{}]", "{} optional", "{}, optional, default 3", "{} [optional]"]  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_what_type_words_mean(words: str) -> None:
    assert read_type_words(words) == (WORDS[words], False)


@pytest.mark.parametrize("form", OPTIONAL)
@pytest.mark.parametrize(("inner", "schema"), [("str", S), ("List[int]", array(I)), ("any", {})])
def test_forms_of_optional(form: str, inner: str, schema: dict[str, Any]) -> None:
    found, optional = read_type_words(form.format(inner))
    assert optional
    if schema == S:
        assert found == {"type": ["string", "null"]}
    else:
        assert found == ({"anyOf": [schema, {"type": "null"}]} if schema else {})


@given(st.text("listr[]<>(),|?. \"'optional", max_size=40) | st.text(max_size=20))
def test_any_text_is_read(text: str) -> None:
    schema, optional = read_type_words(text)
    assert isinstance(schema, dict)
    assert isinstance(optional, bool)


@pytest.mark.parametrize("text", ["List[" * 100_000, "(" * 900, "a" * 10**6, "?" * 900, "[]" * 400])
def test_hostile_text_is_no_type(text: str) -> None:
    assert isinstance(read_type_words(text).schema, dict)


def test_what_a_schema_says_itself_comes_first() -> None:
    given = {"type": "List[int]", "items": S, "description": "d"}
    assert plain_schema_words(given) == {"type": "array", "items": S, "description": "d"}
    assert plain_schema_words({"type": ["String", "NULL"]}) == {"type": ["string", "null"]}
    assert plain_schema_words({"type": 7, "enum": [1]}) == {"enum": [1]}
    assert plain_schema_words({"type": []}) == {}
