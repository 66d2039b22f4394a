"""The `compact` prompt says what schemas mean; plain ones as the embedded models learnt them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.records.readers import read_records
from toolprm_jax.records.types import Record, Tool
from toolprm_jax.tokens.brief import brief_type
from toolprm_jax.tokens.prompts import get_template

DEFS = {
    "Leg": {
        "type": "object",
        "properties": {"port": {"type": "string"}, "days": {"$ref": "#/$defs/N"}},
    },
    "N": {"type": "integer"},
    "Loop": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Loop"}}},
    "Mode": {"enum": ["sail", "steam"]},
}  # fmt: skip
MEANINGS: list[tuple[Any, str]] = [
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
    ({"anyOf": [{"type": "null"}, {"type": "string"}, {"type": "string"}]}, "string or null"),
    ({"oneOf": [{"const": "a"}, {"const": 2}]}, '"a" or 2'),
    ({"type": ["string", "null"]}, "string or null"),
    ({"type": ["null", "array"], "items": {"type": "integer"}}, "array of integer or null"),
    ({"type": ["integer", "string"]}, "integer or string"),
    ({"type": ["string", "null"], "format": "date"}, "date or null"),
    ({"$ref": "#/$defs/N"}, "integer"),
    ({"$ref": "#/$defs/Mode", "description": "d"}, '"sail"/"steam"'),
    ({"type": "array", "items": {"$ref": "#/$defs/Leg"}},
     "array of object {port string, days integer}"),
    ({"allOf": [{"$ref": "#/$defs/N"}], "default": 3}, "integer"),
    ({"$ref": "#/$defs/Gone"}, "any"),
    ({"const": "metric"}, '"metric"'),
    ({"const": None}, "null"),
    ({"type": "array", "items": [{"type": "number"}, {"type": "string"}]},
     "array of (number, string)"),
    ({"type": "array", "prefixItems": [{"type": "number"}, {"$ref": "#/$defs/N"}]},
     "array of (number, integer)"),
    ({"type": "integer", "enum": None}, "integer"),
    ({"type": "integer", "enum": []}, "integer"),
    ({"type": 3, "format": 4, "items": None, "anyOf": 5}, "any"),
    ({"type": "string[]"}, "string[]"),
    ({}, "any"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "words"), MEANINGS)
def test_what_a_schema_means(schema: Any, words: str) -> None:
    assert brief_type(schema, {"$defs": DEFS}) == words


def test_a_schema_that_holds_itself_ends() -> None:
    words = brief_type({"$ref": "#/$defs/Loop"}, {"$defs": DEFS})
    assert words.startswith("object {next object {next ")
    assert len(words) < 100
    assert brief_type({"$ref": "#/x"}, {"x": {"$ref": "#/x"}}) == "any"


def test_references_that_double_stay_short() -> None:
    two = {"type": "object", "properties": {"a": None, "b": None}}
    defs = {
        f"L{i}": {**two, "properties": {n: {"$ref": f"#/$defs/L{i + 1}"} for n in "ab"}}
        for i in range(40)
    }
    assert len(brief_type({"$ref": "#/$defs/L0"}, {"$defs": defs})) < 500


def plain(schema: Any) -> bool:
    """Whether a schema says all that it means in the words that the models were trained on."""
    if not isinstance(schema, Mapping):
        return True
    return (
        isinstance(schema.get("type", ""), str)
        and not {"$ref", "anyOf", "oneOf", "allOf", "const", "prefixItems"} & schema.keys()
        and isinstance(schema.get("enum", []), list)
        and isinstance(schema.get("items", {}), Mapping)
        and plain(schema.get("items"))
        and all(map(plain, schema.get("properties", {}).values()))
    )


def as_trained(schema: Any) -> str:
    """The words of a plain schema as they were when the embedded models were trained."""
    if not isinstance(schema, Mapping):
        return json.dumps(schema, ensure_ascii=False)
    if "enum" in schema:
        return "/".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    words = str(schema.get("format") or schema.get("type", "any"))
    if "items" in schema:
        words += f" of {as_trained(schema['items'])}"
    if isinstance(schema.get("properties"), Mapping):
        inner = (f"{name} {as_trained(s)}" for name, s in schema["properties"].items())
        words += " {" + ", ".join(inner) + "}"
    return words


def lines_as_trained(tool: Tool) -> str:
    lines = [f'- "{tool.name}": {tool.description}']
    for name, schema in tool.properties.items():
        mark = "" if name in tool.required else "?"
        line = f" `{name}`{mark} {as_trained(schema)}"
        if isinstance(schema, Mapping):
            line += f": {schema.get('description', '')}"
            if "default" in schema:
                line += f" = {json.dumps(schema['default'], ensure_ascii=False)}"
        lines.append(line)
    return "\n ".join(lines)


@pytest.mark.parametrize(
    "name",
    ["bfcl/BFCL_v4_simple_python.json", "bfcl/BFCL_v4_multiple.json", "sgd/sgd_single_turn.jsonl",
     "xlam/xlam_function_calling_sample_100.json", "toolalpaca/toolalpaca_114.json",
     "train/glaive_300.jsonl", "train/xlam_1k.jsonl", "seal-tools/seal_tools.jsonl"],
)  # fmt: skip
def test_prompts_of_plain_schemas_are_byte_for_byte_as_trained(
    shared_data: Path, name: str
) -> None:
    turns = get_template("compact").turns
    checked = 0
    for record in read_records(shared_data / name):
        if all(plain(s) for tool in record.tools for s in tool.properties.values()):
            expected = "\n".join(map(lines_as_trained, record.tools))
            assert turns(record)[0] == ("system", expected)
            checked += 1
    assert checked > 90


def test_prompts_of_the_embedded_corpus_are_byte_for_byte_as_trained() -> None:
    from toolprm_jax.toolworld.corpus import corpus

    for record in corpus(0, "train", 200):
        expected = "\n".join(map(lines_as_trained, record.tools))
        assert get_template("compact").turns(record)[0] == ("system", expected)


def test_a_description_of_null_is_none() -> None:
    tool = Tool("f", "", {"a": {"type": "int", "description": None}})
    record = Record("r", ({"role": "user", "content": "?"},), (tool,), None)
    assert get_template("compact").turns(record)[0][1] == '- "f": \n  `a` int: '
