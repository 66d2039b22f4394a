"""A schema's own keywords are never parameters, and a parameter never a keyword."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.masking.masked import mask_record, unmask_record
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.types import DataError, Record, Tool

KNOT = {"type": "string", "description": "Which knot"}
TIE = {"type": "object", "properties": {"knot": KNOT}, "required": ["knot"]}
SCHEMAS: dict[str, tuple[dict[str, Any], list[str], set[str]]] = {
    "null properties": ({"type": "object", "properties": None, "required": None}, [], set()),
    "nothing but null": ({"properties": None}, [], set()),
    "absent properties": ({"type": "object", "additionalProperties": False}, [], set()),
    "no type": ({"additionalProperties": False, "required": []}, [], set()),
    "dialect": ({"$schema": "https://json-schema.org/draft/2020-12/schema"}, [], set()),
    "dialect and properties": ({"$schema": "x", "properties": {"knot": KNOT}}, ["knot"], set()),
    "upper case": ({"type": "OBJECT"}, [], set()),
    "upper case, filled": ({**TIE, "type": "OBJECT"}, ["knot"], {"knot"}),
    "type list": ({"type": ["object", "null"]}, [], set()),
    "type null": ({"type": None, "properties": {"knot": KNOT}}, ["knot"], set()),
    "title only": ({"title": "TieArguments", "description": "none"}, [], set()),
    "reference": ({"$ref": "#/$defs/T", "$defs": {"T": TIE}}, ["knot"], {"knot"}),
    "old reference": ({"$ref": "#/definitions/T", "definitions": {"T": TIE}}, ["knot"], {"knot"}),
    "chain of references": (
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": TIE}},
        ["knot"],
        {"knot"},
    ),
    "reference to itself": ({"$ref": "#", "properties": {"knot": KNOT}}, ["knot"], set()),
    "reference to nothing": ({"$ref": "#/$defs/Gone"}, [], set()),
    "anchor": ({"$ref": "#t", "$defs": {"T": {**TIE, "$anchor": "t"}}}, ["knot"], {"knot"}),
    "all of": (
        {"allOf": [TIE, {"properties": {"turns": {"type": "integer"}}, "required": ["turns"]}]},
        ["knot", "turns"],
        {"knot", "turns"},
    ),
    "any of": (
        {"anyOf": [TIE, {**TIE, "properties": {"knot": KNOT, "turns": {}}}]},
        ["knot", "turns"],
        {"knot"},
    ),
    "one of": (
        {"oneOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}}]},
        ["a", "b"],
        set(),
    ),
    "if and then": (
        {**TIE, "if": {"required": ["knot"]}, "then": {"properties": {"turns": {}}}},
        ["knot", "turns"],
        {"knot"},
    ),
    "dependent": (
        {**TIE, "dependentSchemas": {"knot": {"properties": {"turns": {}}}}},
        ["knot", "turns"],
        {"knot"},
    ),
    "flat": ({"knot": KNOT, "turns": {"type": "int, optional"}}, ["knot", "turns"], {"knot"}),
    "flat, typed": ({"type": KNOT, "title": KNOT}, ["type", "title"], {"type", "title"}),
    "flat, Optional": ({"turns": {"type": "Optional[int]"}}, ["turns"], set()),
    "flat, (Optional)": ({"turns": {"type": "int (Optional)"}}, ["turns"], set()),
    "flat, OData": ({"$filter": KNOT, "$top": KNOT}, ["$filter", "$top"], {"$filter", "$top"}),
    "flat, named like keywords": (
        {"properties": {"type": "dict"}, "items": {"type": "list"}, "format": KNOT},
        ["properties", "items", "format"],
        {"properties", "items", "format"},
    ),
    "flat, with a list of the required": (
        {"knot": {"type": "str", "default": "x"}, "turns": {"type": "int"}, "required": ["knot"]},
        ["knot", "turns"],
        {"knot", "turns"},
    ),
    "flat, with the type of an object": ({"type": "object", "knot": KNOT}, ["knot"], {"knot"}),
    "object with other values": ({"type": "object", "additionalProperties": KNOT}, [], set()),
    "object with a keyword of its owner": ({"type": "object", "x-ui": KNOT}, [], set()),
    "empty": ({}, [], set()),
}


def read(tmp_path: Path, tool: dict[str, Any]) -> Record:
    row = {"id": "r", "query": "Tie a bowline", "tools": [tool], "answers": []}
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    (record,) = read_records(path, "record")
    return record


@pytest.mark.parametrize("case", SCHEMAS)
def test_the_parameters_of_a_tool(tmp_path: Path, case: str) -> None:
    parameters, names, required = SCHEMAS[case]
    record = read(tmp_path, {"name": "tie", "description": "", "parameters": parameters})
    (tool,) = record.tools
    assert tool.parameters == parameters  # as its owner wrote them
    assert list(tool.properties) == names
    assert tool.required == required
    masked = mask_record(record, 1)
    (other,) = masked.record.tools
    renamed = masked.map["parameters"][other.name]
    assert [renamed[name] for name in other.properties] == names
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record


@pytest.mark.parametrize("key", ["inputSchema", "input_schema"])
@pytest.mark.parametrize("more", [{}, {"parameters": None}, {"annotations": {"title": "Tie"}}])
def test_schemas_under_other_names(tmp_path: Path, key: str, more: dict[str, Any]) -> None:
    (tool,) = read(tmp_path, {"name": "tie", key: TIE, **more}).tools
    assert (tool.parameters, tool.required) == (TIE, {"knot"})
    assert key not in tool.to_json()
    with pytest.raises(DataError, match=rf"tools\[0\]\.{key}: expected an object"):
        read(tmp_path, {"name": "tie", key: []})


def test_other_schemas_keep_the_parameters_in_their_place() -> None:
    for parameters in (TIE, {"knot": KNOT}, {"type": "object"}, {"properties": None}):
        tool = Tool("tie", "", parameters)
        assert tool.with_properties({"knot": KNOT, "other": {}}) == tool
        if tool.properties:
            assert tool.with_properties({"knot": {}}).properties == {"knot": {}}


def test_where_alternatives_differ_either_may_hold() -> None:
    one, other = ({"properties": {"n": {"type": name}}} for name in ("integer", "string"))
    tool = Tool("f", "", {"anyOf": [one, other, one]})
    assert tool.properties == {"n": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}
