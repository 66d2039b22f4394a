"""Small inputs from other projects' bug reports come out right (shared/cases, see its README)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.grammar.schema import value_type, value_types
from toolprm_jax.annotation.annotate import main as annotate_main
from toolprm_jax.annotation.corruption import gold_completion
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.masking.masked import mask_record, unmask_record
from toolprm_jax.records.readers import read_records, record_from_json, record_to_json
from toolprm_jax.records.types import DataError, Record
from toolprm_jax.tokens.prompts import TEMPLATES

WATER_1 = {"name": "water", "arguments": {"bed": 1}}
WATER_2 = {"name": "water", "arguments": {"bed": 2}}
WATER_3 = {"name": "water", "arguments": {"bed": 3}}
GATE = {"name": "gate_status", "arguments": {"gate": "north"}}
DEPOTS = {"name": "list_depots", "arguments": {}}
# By file: the gold of every record, and the parameters of the first tool.
READ: dict[str, tuple[list[list[dict[str, Any]]], list[str]]] = {
    "openai_extra_answers.jsonl": ([[WATER_1]], ["bed"]),
    "openai_extra_answers_list.jsonl": ([[WATER_1]], ["bed"]),
    "openai_extra_query.jsonl": ([[WATER_1]], ["bed"]),
    "openai_extra_equality.jsonl": ([[WATER_1]], ["bed"]),
    "openai_legacy_function_call.jsonl": ([[GATE]], ["gate"]),
    "openai_legacy_call_modern_tools.jsonl": ([[GATE]], ["gate"]),
    "openai_split_text_then_call.jsonl": ([[WATER_1]], ["bed"]),
    "files/openai_consecutive_assistant.jsonl": ([[WATER_1, WATER_2]], ["bed"]),
    "openai_assistant_first_then_call.jsonl": ([[WATER_1]], ["bed"]),
    "files/openai_assistant_first.jsonl": ([[WATER_1]], ["bed"]),
    "openai_responses_items.jsonl": ([[WATER_1]], ["bed"]),
    "openai_properties_null.jsonl": ([[DEPOTS]], []),
    "files/openai_strict_parallel.jsonl": ([[WATER_1, WATER_2]], ["bed"]),
    "record_properties_null.jsonl": ([[DEPOTS]], []),
    "record_required_null.jsonl": ([[DEPOTS]], ["area"]),
    "record_type_upper_no_properties.jsonl": ([[DEPOTS]], []),
    "record_type_list_no_properties.jsonl": ([[DEPOTS]], []),
    "record_top_ref.jsonl": ([[{"name": "open_gate", "arguments": {"gate": "north"}}]], ["gate"]),
    "record_enum_null.jsonl": (
        [[{"name": "paint", "arguments": {"door": n, "colour": c}}] for n, c in
         ((4, "green"), (5, "red"))], ["door", "colour"]),
    "record_plain_two.jsonl": ([[WATER_3], []], ["bed"]),
    "record_ref_properties.jsonl": (
        [[{"name": "plan_route", "arguments":
           {"start": {"lat": 1, "lon": 2}, "goal": {"lat": 3, "lon": 4}}}]], ["start", "goal"]),
    "record_dependent_required.jsonl": (
        [[{"name": "book_berth", "arguments": {"berth": 7}}]],
        ["berth", "card_suffix", "billing_zip"]),
    "record_dependent_schemas.jsonl": (
        [[{"name": "ship", "arguments": {"crate": 4, "abroad": True, "tariff": "77"}}]],
        ["crate", "abroad", "tariff"]),
    "record_property_ordering.jsonl": (
        [[{"name": "water", "arguments": {"bed": 3, "minutes": 10}}]], ["bed", "minutes"]),
    "record_tuple_items.jsonl": (
        [[{"name": "mark", "arguments": {"pair": [{"label": "P"}, 3]}}]], ["pair"]),
    "record_pydantic_optional.jsonl": (
        [[{"name": "schedule_mower", "arguments": {"slots": [{"day": "mon", "minutes": 20}]}}]],
        ["slots", "blade"]),
    "xlam_ts_array_type.jsonl": ([[{"name": "tag", "arguments": {"tags": ["a"]}}]], ["tags"]),
    "files/record_input_schema.jsonl": ([[WATER_3]], ["bed"]),
    "files/record_input_schema_anthropic.jsonl": ([[WATER_3]], ["bed"]),
    "files/javanese_queries_python.json": ([[{"name": "f", "arguments": {"x": 1}}]], ["x"]),
    "files/record_gzip.jsonl.gz": ([[WATER_3]], ["bed"]),
    "bfcl_items/own_simple_python.json": (
        [[{"name": "tag", "arguments": {"shelf": 4, "tags": ["a", 7]}}]], ["shelf", "tags"]),
}  # fmt: skip
REFUSED = {
    "files/record_utf16.jsonl": "expected UTF-8.*UTF-16",
    "files/record_pretty_objects.json": "expected JSON.*another line",
    "files/record_cr_only.jsonl": "expected JSON.*CR alone",
    "files/record_nan.jsonl": "NaN is no JSON number",
}


@pytest.fixture(scope="module")
def cases() -> Path:
    path = Path(__file__).resolve().parents[1].parent / "shared" / "cases"
    if not path.is_dir():
        pytest.skip(f"no cases at {path}")
    return path


def calls_of(record: Record) -> list[dict[str, Any]]:
    return [gold.first().to_json() for gold in record.answers or ()]


@pytest.mark.parametrize("name", READ)
def test_a_case_is_read_as_its_owner_meant_it(cases: Path, name: str) -> None:
    golds, parameters = READ[name]
    records = list(read_records(cases / name))
    assert [calls_of(record) for record in records] == golds
    for record in records:
        tool = record.tools[0]
        assert list(tool.properties) == parameters
        assert {message["role"] for message in record.messages} <= {"system", "user", "assistant"}
        assert record_from_json(json.loads(json.dumps(record_to_json(record)))) == record
        assert label_completion(record, gold_completion(record)).correct
        for template in TEMPLATES.values():
            template.turns(record)
        for call in calls_of(record):  # pruning leaves the gold
            for parameter, value in call["arguments"].items():
                assert value_type(value) & value_types(tool.properties[parameter])[0]


def undescribed(value: Any) -> Any:
    """Without free text."""
    if isinstance(value, dict):
        return {key: undescribed(child) for key, child in value.items() if key != "description"}
    return [undescribed(child) for child in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", READ)
def test_masking_a_case_leaves_no_name(cases: Path, name: str) -> None:
    for record in read_records(cases / name):
        masked = mask_record(record, 0)
        assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record
        text = json.dumps(
            [
                [undescribed(tool.to_json()) for tool in masked.record.tools],
                [calls_of(masked.record), [m.get("calls") for m in masked.record.messages]],
            ]
        )
        old = {tool.name for tool in record.tools}
        for names in masked.map["parameters"].values():
            old |= set(names.values())
        assert not [name for name in old if f'"{name}"' in text or f"/{name}" in text]
        if record.answers:
            completion = masked.completion(gold_completion(record))
            assert label_completion(masked.record, completion).correct


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_that_cannot_be_read_says_why(cases: Path, name: str) -> None:
    with pytest.raises(DataError, match=REFUSED[name]):
        list(read_records(cases / name))


@pytest.mark.parametrize("name", [name for name in READ if name.startswith("openai_extra")])
def test_the_right_call_is_labelled_right(cases: Path, name: str, tmp_path: Path) -> None:
    assert annotated(cases / name, cases / "rolls_one.jsonl", tmp_path) == [True, False]


def test_odd_types_of_items_in_bfcl(cases: Path, tmp_path: Path) -> None:
    folder = cases / "bfcl_items"
    found = annotated(folder / "own_simple_python.json", folder / "rolls.jsonl", tmp_path)
    assert found == [True]
    javanese = cases / "files" / "javanese_queries_python.json"
    assert annotated(javanese, cases / "rolls_bfcl.jsonl", tmp_path) == [True, False]


def annotated(records: Path, rollouts: Path, folder: Path) -> list[bool]:
    out = folder / "steps.jsonl"
    assert not annotate_main(
        ["--records", str(records), "--rollouts", str(rollouts), "--out", str(out)]
    )
    return [json.loads(line)["correct"] for line in out.read_text().splitlines()]


def test_the_compact_prompt_says_what_pydantic_means(cases: Path) -> None:
    (record,) = read_records(cases / "record_pydantic_optional.jsonl")
    text = TEMPLATES["compact"].turns(record)[0][1]
    assert '`slots` array of object {day "mon"/"tue", minutes integer}' in text
    assert "`blade`? integer or null" in text
