"""Type words mean in strict decoding and in pruning what they mean everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from strict_runs import call_text, feed, record_of

from search.grammar.schema import (
    ANYTHING,
    ARRAY,
    INTEGER,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    value_types,
)
from search.grammar.strict_words import common_step
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.types import Tool, spell_calls

WORDS: list[tuple[Any, int, list[str], list[str]]] = [
    ("string[]", ARRAY, ["[]", '["a"]'], ["[1]", '"a"']),
    ("Optional[str]", STRING | NULL, ['"a"', "null"], ["1"]),
    ("str (Optional)", STRING | NULL, ['"a"', "null"], ["[]"]),
    ("List[Dict[str, Any]]", ARRAY, ['[{"k": [1]}]'], ["[1]", "{}"]),
    ("list[list[int]]", ARRAY, ["[[1], []]"], ["[1]", '[["a"]]']),
    ("Union[int, List[str]]", INTEGER | ARRAY, ["1", '["a"]'], ['"a"', "[1]"]),
    ("Tuple[int, str]", ARRAY, ['[1, "a"]'], ['["a"', "{}"]),
    ("Dict[str, int]", OBJECT, ['{"k": 1}'], ['{"k": "v"']),
    ("Callable[[int], str]", ANYTHING, ["1", "null", '"f"'], []),
    ("FLOAT", NUMBER, ["1.5", "2"], ['"a"']),
    ("int | str", INTEGER | STRING, ["1", '"a"'], ["null", "[]"]),
    (["String", "NULL"], STRING | NULL, ['"a"', "null"], ["1"]),
    ("Literal['a', 'b']", STRING, ['"b"'], ['"c"', "1"]),
]


@pytest.mark.parametrize(("words", "bits", "good", "bad"), WORDS)
def test_what_pruning_reads(words: Any, bits: int, good: list[str], bad: list[str]) -> None:
    del good, bad
    assert value_types({"type": words})[0] == bits


def test_what_strict_decoding_draws() -> None:
    records, texts, fits = [], [], []
    for words, _, good, bad in WORDS:
        for form in ({"x": {"type": words, "required": True}}, {"type": "OBJECT", "properties": {
            "x": {"type": words}}, "required": ["x"]}):  # fmt: skip
            for value in (*good, *bad):
                records.append(record_of(Tool("f", "", form)))
                texts.append(call_text("f", f'{{"x": {value}}}'))
                fits.append(value in good)
    died = feed(records, texts)
    for text, at, fitting in zip(texts, died, fits, strict=True):
        assert (at < 0) == fitting, text


SCHEMAS: list[tuple[dict[str, Any], str]] = [
    ({"type": "object", "properties": None}, "{}"),
    ({"type": "OBJECT"}, "{}"),
    ({"type": ["object", "null"]}, "{}"),
    ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"x": {}}}}},
     '{"x": 1}'),
    ({"anyOf": [{"properties": {"x": {"type": "STRING"}}}]}, '{"x": "a"}'),
    ({"type": "object", "properties": {"x": {}}, "dependentSchemas": {"x": {"properties": {
        "y": {"type": "integer"}}, "required": ["y"]}}}, '{"x": 1, "y": 2}'),
    ({"properties": {"x": {"type": "integer", "enum": None}}}, '{"x": 1}'),
]  # fmt: skip


def test_odd_schemas_leave_their_golds() -> None:
    records = [record_of(Tool("f", "", schema)) for schema, _ in SCHEMAS]
    texts = [call_text("f", arguments) for _, arguments in SCHEMAS]
    assert feed(records, texts) == [-1] * len(texts)


def test_the_golds_of_the_cases_can_be_drawn() -> None:
    cases = Path(__file__).resolve().parents[3].parent / "shared" / "cases"
    if not cases.is_dir():
        pytest.skip(f"no cases at {cases}")
    names = [*cases.glob("record_*.jsonl"), *cases.glob("openai_*.jsonl"), *cases.glob("xlam_*")]
    records = [record for name in sorted(names) for record in read_records(name)]
    texts = [
        spell_calls([gold.first() for gold in record.answers or ()]).encode() for record in records
    ]
    assert len(records) > 20
    assert feed(records, texts) == [-1] * len(texts)


@pytest.mark.parametrize(
    ("factors", "step"),
    [
        ([], 0),
        ([3], 3),
        ([2.0, 3], 6),
        ([2.5], 0),
        ([0.5], 0),
        ([-2], 0),
        ([True], 0),
        ([65], 1),
        ([10**400], 1),
        ([10**400, 2.0], 1),
        ([float("inf")], 0),
    ],
)
def test_the_step_of_multiples(factors: list[Any], step: int) -> None:
    assert common_step([{"multipleOf": factor} for factor in factors]) == step
