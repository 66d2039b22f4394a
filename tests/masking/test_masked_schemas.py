"""Masking renames every place of a schema that holds a name, and changes no verdict of it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolprm_jax.masking.masked import Masked, mask_record, unmask_record
from toolprm_jax.records.types import GoldCall, Record, Tool

# Long, so that no word of a schema holds one by chance.
NAMES = ["berth_no", "cargo_kg", "pilot_id", "tide_mark", "crane/slot", "hull~type", "buoy id"]
FREE = ("description", "$comment", "title")


def pointer(*steps: str) -> str:
    return "#/" + "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)


def value(how: random.Random, depth: int = 2) -> Any:
    kind = how.randrange(7 if depth else 5)
    if kind == 5:
        return [value(how, depth - 1) for _ in range(how.randrange(3))]
    if kind == 6:
        return {name: value(how, depth - 1) for name in how.sample(NAMES, how.randrange(3))}
    return [None, True, how.randrange(4), "x", 2.5][kind]


def schema(how: random.Random, depth: int = 3) -> dict[str, Any]:
    """A schema of every keyword that holds a name, a subschema or a value."""
    some = how.sample(NAMES, how.randint(1, 3))
    out: dict[str, Any] = {}
    if how.random() < 0.6:
        out["type"] = how.choice(["object", "object", "array", "integer", ["object", "null"]])
    if not depth:
        return out

    def inner() -> dict[str, Any]:
        return schema(how, depth - 1)

    parts = {
        "properties": lambda: {name: inner() for name in some},
        "required": lambda: how.sample(NAMES, 1),
        "additionalProperties": lambda: how.choice([False, inner()]),
        "unevaluatedProperties": lambda: False,
        "dependentRequired": lambda: {some[0]: how.sample(NAMES, 1)},
        "dependentSchemas": lambda: {some[0]: inner()},
        "propertyNames": lambda: how.choice([{"enum": how.sample(NAMES, 4)}, {"const": some[0]}]),
        "propertyOrdering": lambda: some,
        "items": inner,
        "prefixItems": lambda: [inner(), inner()],
        "contains": inner,
        "anyOf": lambda: [inner(), {"required": some}],
        "oneOf": lambda: [inner(), {"required": some[:1]}],
        "allOf": lambda: [inner()],
        "not": lambda: {"required": some},
        "if": lambda: {"required": some[:1]},
        "then": inner,
        "else": inner,
        "const": lambda: value(how),
        "enum": lambda: [value(how) for _ in range(3)],
        "default": lambda: value(how),
        "examples": lambda: [value(how)],
        "discriminator": lambda: {"propertyName": some[0]},
        "$ref": lambda: how.choice(
            [pointer("$defs", "A"), pointer("properties", NAMES[0]), pointer("$defs", NAMES[1]),
             pointer("dependentSchemas", NAMES[2]), pointer("properties", NAMES[4], "items")]
        ),
    }  # fmt: skip
    rare = {"const", "enum", "not", "propertyNames", "$ref", "unevaluatedProperties", "oneOf"}
    for word in how.sample(sorted(parts), how.randint(1, 4)):
        if word not in rare or how.random() < 0.4:
            out[word] = parts[word]()
    return out


def tool_of(how: random.Random) -> Tool:
    parameters = schema(how)
    parameters["type"] = "object"
    properties = parameters.setdefault("properties", {})
    for name in (NAMES[0], NAMES[4]):  # where references lead
        properties.setdefault(name, schema(how, 2))
    if isinstance(properties[NAMES[4]], dict):
        properties[NAMES[4]].setdefault("items", schema(how, 1))
    dependent = parameters.setdefault("dependentSchemas", {})
    dependent.setdefault(NAMES[2], schema(how, 1))
    parameters["$defs"] = {"A": schema(how, 2), NAMES[1]: schema(how, 1)}
    return Tool("dock_ship", "", parameters)


def verdict(tool: Tool, arguments: Mapping[str, Any]) -> bool | None:
    """What jsonschema says; None where references go in circles."""
    try:
        lists = '"items": [' in json.dumps(tool.parameters)  # as draft 7 has it
        draft = jsonschema.Draft7Validator if lists else jsonschema.Draft202012Validator
        return draft(tool.parameters).is_valid(arguments)
    except RecursionError:
        return None


def record_of(tool: Tool, *calls: dict[str, Any]) -> Record:
    golds = tuple(GoldCall(tool.name, {k: (v,) for k, v in call.items()}) for call in calls)
    return Record("r", ({"role": "user", "content": "?"},), (tool,), golds)


def texts(value: Any) -> Iterator[str]:
    """All keys and texts, free text aside."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield key
            if key not in FREE:
                yield from texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from texts(child)
    elif isinstance(value, str):
        yield value


def left(masked: Masked) -> set[str]:
    """The old names that the masked tools still spell, in pointers too."""
    found = set()
    for tool in masked.record.tools:
        for text in texts(tool.to_json()):
            for step in text.replace("~1", "\0").replace("~0", "~").split("/"):
                found |= {step.replace("\0", "/")} & set(NAMES)
    return found


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_schema_and_gold_agree_as_before(seed: int) -> None:
    how = random.Random(seed)
    tool = tool_of(how)
    calls = [{name: value(how) for name in how.sample(NAMES, how.randrange(5))} for _ in range(6)]
    record = record_of(tool, *calls)
    masked = mask_record(record, seed % 7)
    (other,) = masked.record.tools
    assert masked.record.answers is not None
    for call, gold in zip(calls, masked.record.answers, strict=True):
        assert verdict(other, gold.first().arguments) == verdict(tool, call), (tool, call)
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record
    assert not masked.map["kept"]
    # A definition may bear a name that no property has; that is no name of ours.
    renamed = set(masked.map["parameters"][other.name].values())
    assert not ((left(masked) & renamed) - free_keys(tool)), (tool.parameters, other.parameters)


def free_keys(tool: Tool) -> set[str]:
    """Keys that occur in listed values, which are free where no schema names them."""
    found: set[str] = set()

    def walk(value: Any, inside: bool) -> None:
        if isinstance(value, Mapping):
            for key, child in value.items():
                if inside:
                    found.add(key)
                walk(child, inside or key in ("const", "enum", "default", "examples"))
        elif isinstance(value, list):
            for child in value:
                walk(child, inside)

    walk(tool.parameters, False)
    return found


def test_the_generated_calls_are_of_both_sorts() -> None:
    verdicts = []
    for seed in range(300):
        how = random.Random(seed)
        tool = tool_of(how)
        verdicts.append(verdict(tool, {n: value(how) for n in how.sample(NAMES, how.randrange(5))}))
    assert 0.15 < verdicts.count(True) / len(verdicts) < 0.85


AREA = {"type": "object", "properties": {"tide_mark": {"type": "number"}}}
EXACT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pointer to a property": (
        {"properties": {"berth_no": AREA, "pilot_id": {"$ref": "#/properties/berth_no"}}},
        {"pilot_id": {"tide_mark": 1}},
    ),
    "percent-encoded pointer": (
        {"properties": {"buoy id": AREA, "pilot_id": {"$ref": "#/properties/buoy%20id"}}},
        {"pilot_id": {"tide_mark": 1}},
    ),
    "dependentRequired": (
        {
            "properties": {"berth_no": {}, "cargo_kg": {}},
            "dependentRequired": {"berth_no": ["cargo_kg"]},
        },
        {"berth_no": 1, "cargo_kg": 2},
    ),
    "dependentSchemas": (
        {"dependentSchemas": {"berth_no": {"required": ["cargo_kg"]}}},
        {"berth_no": 1, "cargo_kg": 2},
    ),
    "old dependencies": (
        {"dependencies": {"berth_no": ["cargo_kg"], "cargo_kg": AREA}},
        {"berth_no": 1, "cargo_kg": 2, "tide_mark": 3},
    ),
    "required in branches": (
        {"anyOf": [{"required": ["berth_no"]}, {"required": ["cargo_kg"]}]},
        {"cargo_kg": 2},
    ),
    "condition": (
        {
            "if": {"properties": {"berth_no": {"const": 1}}, "required": ["berth_no"]},
            "then": {"required": ["pilot_id"]},
            "else": {"required": ["cargo_kg"]},
        },
        {"berth_no": 1, "pilot_id": 2},
    ),
    "discriminator": (
        {
            "properties": {"berth_no": {"type": "string"}},
            "discriminator": {
                "propertyName": "berth_no",
                "mapping": {"a": "#/properties/berth_no", "b": "#/$defs/B"},
            },
            "$defs": {"B": AREA},
        },
        {"berth_no": "a"},
    ),
    "Gemini's order": (
        {"properties": {"berth_no": {}, "cargo_kg": {}}, "propertyOrdering": ["cargo_kg"]},
        {"berth_no": 1},
    ),
    "an order of another name": (
        {"properties": {"berth_no": {}, "cargo_kg": {}}, "x-order": ["cargo_kg", "berth_no"]},
        {"berth_no": 1},
    ),
    "tuple": (
        {"properties": {"berth_no": {"items": [AREA, {"type": "number"}]}}},
        {"berth_no": [{"tide_mark": 2}, 3]},
    ),
    "constant object behind alternatives": (
        {"properties": {"berth_no": {**AREA, "anyOf": [{"const": {"tide_mark": 1}}]}}},
        {"berth_no": {"tide_mark": 1}},
    ),
    "listed names": (
        {"propertyNames": {"enum": ["berth_no", "cargo_kg"]}},
        {"berth_no": 1},
    ),
    "recursion": (
        {
            "properties": {"berth_no": {}, "cargo_kg": {"$ref": "#"}},
            "additionalProperties": False,
        },
        {"cargo_kg": {"cargo_kg": {"berth_no": 1}}},
    ),
    "anchor": (
        {
            "properties": {"berth_no": {"$ref": "#area"}},
            "$defs": {"B": {**AREA, "$anchor": "area", "additionalProperties": False}},
        },
        {"berth_no": {"tide_mark": 1}},
    ),
    "title that is the name": ({"properties": {"berth_no": {"title": "berth_no"}}}, {}),
}


@pytest.mark.parametrize("case", EXACT)
def test_places_that_hold_a_name(case: str) -> None:
    parameters, call = EXACT[case]
    tool = Tool("dock_ship", "", {"type": "object", **parameters})
    assert verdict(tool, call)
    masked = mask_record(record_of(tool, call, {"hull~type": 1}), 5)
    (other,) = masked.record.tools
    assert masked.record.answers is not None
    right, wrong = (gold.first().arguments for gold in masked.record.answers)
    assert verdict(other, right)
    assert verdict(other, wrong) == verdict(tool, {"hull~type": 1})
    spelled = json.dumps([masked.record.tools[0].to_json(), right])
    assert not re.search("|".join([*NAMES, "buoy%20id"]), spelled)


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "dock_ship"}},
        {"type": "allowed_tools", "tools": [{"type": "function", "name": "dock_ship"}]},
    ],
)
def test_a_request_for_a_tool_is_renamed(choice: dict[str, Any]) -> None:
    record = record_of(Tool("dock_ship", "", {}), {}).with_(
        extra={"tool_choice": choice, "function_call": "auto", "note": {"name": "dock_ship"}}
    )
    masked = mask_record(record, 0)
    assert "dock_ship" not in json.dumps(masked.record.extra["tool_choice"])
    assert masked.record.tools[0].name in json.dumps(masked.record.extra["tool_choice"])
    assert masked.record.extra["note"] == {"name": "dock_ship"}
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "ok", "name": {"$ref": 3}},
        {"role": "assistant", "content": '{"name": ["dock_ship"], "arguments": {}}'},
        {"role": "assistant", "content": "[" * 100_000},
        {"role": "assistant", "content": "[" * 500 + "]" * 500},
        {"role": "assistant", "content": '{"name": "dock_ship", "name": "dock_ship"}'},
        {"role": "assistant", "content": '{"name": "dock_ship", "arguments": 1e999}'},
    ],
)
def test_odd_messages_stay(message: dict[str, Any]) -> None:
    record = record_of(Tool("dock_ship", "", {}))
    record = record.with_(messages=(message, *record.messages))
    assert mask_record(record, 0).record.messages[0] == message


@pytest.mark.parametrize(
    "more",
    [
        {"if": {"properties": {"pilot_id": {"const": "Ann7"}}}, "then": {"required": ["pilot_id"]}},
        {"anyOf": [{"properties": {"pilot_id": {"enum": ["Ann7"]}}}]},
        {"const": {"pilot_id": "Ann7"}},
    ],
)
def test_a_default_that_schemas_may_restrict_is_left(more: dict[str, Any]) -> None:
    pilot = {"type": "string", "default": "Ann7"}
    tool = Tool("dock_ship", "", {"type": "object", "properties": {"pilot_id": pilot}, **more})
    masked = mask_record(record_of(tool, {"pilot_id": "Ann7"}), 0)
    (left_alone,) = masked.map["defaults"]["left"]
    assert left_alone["reason"] == "the schema restricts the values"
    assert masked.record.answers is not None
    assert verdict(masked.record.tools[0], masked.record.answers[0].first().arguments)


def test_a_pointer_in_the_flat_form() -> None:
    tool = Tool("dock_ship", "", {"berth_no": AREA, "pilot_id": {"$ref": "#/berth_no"}})
    record = record_of(tool, {"pilot_id": {"tide_mark": 1}})
    masked = mask_record(record, 0)
    assert not left(masked)
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record
    (other,) = masked.record.tools
    berth, pilot = other.parameters.values()
    assert other.parameters[pilot["$ref"].removeprefix("#/")] == berth


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ({"patternProperties": {"^cargo_": {"type": "integer"}}}, {"cargo_kg"}),
        ({"patternProperties": {"(cargo_)*x|^": {"type": "integer"}}}, {"cargo_kg", "pilot_id"}),
        ({"patternProperties": {"[": {}}}, {"cargo_kg", "pilot_id"}),
        ({"propertyNames": {"pattern": "_"}}, {"cargo_kg", "pilot_id"}),
        ({"properties": {"pilot_id": {"patternProperties": {"^x": AREA}}}}, set()),
    ],
)
def test_names_that_patterns_read_are_kept_and_counted(
    parameters: dict[str, Any], kept: set[str]
) -> None:
    tool = Tool("dock_ship", "", {"type": "object", **parameters, "additionalProperties": False})
    record = record_of(tool, {"cargo_kg": 3, "pilot_id": {"x1": {"tide_mark": 2}}})
    masked = mask_record(record, 0)
    (other,) = masked.record.tools
    assert set(masked.map["kept"].get(other.name, ())) & {"cargo_kg", "pilot_id"} == kept
    assert masked.record.answers is not None
    arguments = masked.record.answers[0].first().arguments
    assert {"cargo_kg", "pilot_id"} & set(arguments) == kept
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record
    if "patternProperties" not in parameters or "[" not in parameters["patternProperties"]:
        call = record.answers[0].first().arguments if record.answers else {}
        assert verdict(other, arguments) == verdict(tool, call)
