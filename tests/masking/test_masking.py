"""Masking: invertible, consistent, deterministic, and nothing of the old names is left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.masking.masked import Style, mask_record, unmask_calls, unmask_record
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.types import Call, GoldCall, Record, Tool

STYLES: tuple[Style, ...] = ("random", "pseudoword")
# Few letters, so that names of tools, parameters, nested properties and words often coincide.
NAMES = st.text("ab", min_size=1, max_size=2)


def _user(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    kinds = ["string", "integer"] + (["array", "object", "free", "any"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "array":
        return {"type": "array", "items": draw(schemas(depth - 1))}
    if kind == "any":
        return {"anyOf": [{"type": "null"}, draw(schemas(depth - 1))]}
    if kind == "object":
        properties = draw(st.dictionaries(NAMES, schemas(depth - 1), max_size=2))
        return {"type": "object", "properties": properties, "required": sorted(properties)}
    if kind == "free":
        return {"type": "object"}
    schema = {"type": kind}
    if draw(st.booleans()):
        schema["default"] = draw(values(schema))
    return schema


@st.composite
def values(draw: st.DrawFn, schema: Mapping[str, Any]) -> Any:
    if "anyOf" in schema:
        return draw(values(schema["anyOf"][1]))
    match schema["type"]:
        case "string":
            return draw(st.sampled_from(["x", "Paris", "12", "a b", ""]))
        case "integer":
            return draw(st.sampled_from([0, 7, 12]))
        case "array":
            return draw(st.lists(values(schema["items"]), max_size=2))
        case _ if "properties" in schema:
            return {name: draw(values(child)) for name, child in schema["properties"].items()}
        case _:
            return draw(st.dictionaries(NAMES, st.integers(0, 3), max_size=2))


@st.composite
def records(draw: st.DrawFn) -> Record:
    tools = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        properties = draw(st.dictionaries(NAMES, schemas(), max_size=3))
        parameters = properties
        if draw(st.booleans()):
            parameters = {
                "type": "object",
                "properties": properties,
                "required": sorted(properties),
            }
        tools.append(Tool(name, "describes " + name, parameters))
    golds = []
    for tool in draw(st.lists(st.sampled_from(tools), max_size=3)):
        arguments = {
            name: tuple(draw(st.lists(values(schema), min_size=1, max_size=2)))
            for name, schema in tool.properties.items()
        }
        optional = draw(st.sets(st.sampled_from(sorted(arguments)))) if arguments else set()
        golds.append(GoldCall(tool.name, arguments, frozenset(optional)))
    query = draw(st.sampled_from(["q", "the 12 of Paris", "12 and 12", "a ab paris", "7, x"]))
    return Record(draw(st.text("xyz", max_size=2)), _user(query), tuple(tools), tuple(golds))


def conforms(value: Any, schema: Mapping[str, Any]) -> bool:
    """An independent check of a value against the schemas that `schemas` draws."""
    if "anyOf" in schema:
        return any(conforms(value, child) for child in schema["anyOf"])
    match schema["type"]:
        case "null":
            return value is None
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int)
        case "array":
            return isinstance(value, list) and all(conforms(v, schema["items"]) for v in value)
        case _ if "properties" in schema:
            return (
                isinstance(value, dict)
                and set(schema["required"]) == set(value) == set(schema["properties"])
                and all(conforms(v, schema["properties"][k]) for k, v in value.items())
            )
        case _:
            return isinstance(value, dict)


def schema_names(schema: Any) -> Iterator[str]:
    """An independent walk: every property name and every required name below a schema."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("properties"), Mapping):
            yield from schema["properties"]
        if isinstance(schema.get("required"), list):
            yield from schema["required"]
        for child in schema.values():
            yield from schema_names(child)
            if isinstance(child, Mapping):
                for grandchild in child.values():
                    yield from schema_names(grandchild)
    elif isinstance(schema, list):
        for child in schema:
            yield from schema_names(child)


@given(records(), st.integers(0, 3), st.sampled_from(STYLES))
def test_masking_is_invertible(record: Record, seed: int, style: Style) -> None:
    masked = mask_record(record, seed, style=style)
    back = json.loads(json.dumps(masked.map))  # as it comes from a file
    assert unmask_record(back, masked.record) == record
    calls = [gold.first() for gold in masked.record.answers or ()]
    assert unmask_calls(back, calls) == tuple(gold.first() for gold in record.answers or ())


@given(records(), st.sampled_from(STYLES))
def test_no_old_name_is_left_and_no_new_one_collides(record: Record, style: Style) -> None:
    masked = mask_record(record, 0, style=style)
    new = list(masked.map["tools"])
    for names in masked.map["parameters"].values():
        new += names
    assert len(new) == len(set(new))
    old = {tool.name for tool in record.tools}
    for tool in record.tools:
        old |= set(tool.properties) | set(schema_names(tool.parameters))
    assert not old & set(new)
    for tool in masked.record.tools:
        names = set(masked.map["parameters"][tool.name])
        assert set(tool.properties) <= names
        assert set(schema_names(tool.parameters)) <= names
    for gold in masked.record.answers or ():
        names = set(masked.map["parameters"][gold.name])
        assert set(gold.arguments) | gold.optional <= names
    assert sorted(tool.description for tool in masked.record.tools) == sorted(
        tool.description for tool in record.tools
    )


@given(records(), st.sampled_from(STYLES))
def test_masked_answers_still_fit_the_masked_schemas(record: Record, style: Style) -> None:
    masked = mask_record(record, 0, style=style).record
    by_name = {tool.name: tool for tool in masked.tools}
    for gold in masked.answers or ():
        properties = by_name[gold.name].properties
        assert set(gold.arguments) == set(properties)
        for name, accepted in gold.arguments.items():
            assert all(conforms(value, properties[name]) for value in accepted)


@given(records(), st.sampled_from(STYLES))
def test_a_default_equals_the_gold_before_iff_after(record: Record, style: Style) -> None:
    masked = mask_record(record, 0, style=style)

    def equal(r: Record) -> int:
        properties = {tool.name: tool.properties for tool in r.tools}
        return sum(
            value == properties[gold.name][name]["default"]
            for gold in r.answers or ()
            for name, accepted in gold.arguments.items()
            for value in accepted
            if "default" in properties[gold.name][name]
        )

    assert equal(record) == equal(masked.record)
    for change in masked.map["defaults"]["changed"]:
        (tool,) = (tool for tool in masked.record.tools if tool.name == change["tool"])
        assert str(tool.properties[change["parameter"]]["default"]) == change["new"]
        assert change["new"] != change["old"]


@given(st.lists(records(), max_size=3), st.randoms(use_true_random=False))
def test_masking_depends_on_seed_and_id_alone(batch: list[Record], order: Any) -> None:
    one = [mask_record(record, 5) for record in batch]
    indices = list(range(len(batch)))
    order.shuffle(indices)
    for index in indices:
        assert mask_record(batch[index], 5) == one[index]


def _simple(**changes: Any) -> Record:
    tools = (Tool("news", "finds news", {"page": {"type": "int"}}), Tool("map", "a map", {}))
    return Record("1", _user("q"), tools, (GoldCall("news", {"page": (3,)}),)).with_(**changes)


def test_seed_key_and_style_matter() -> None:
    record = _simple()
    names = {
        tuple(sorted(mask_record(record, seed, style=style, key=key).map["tools"]))
        for seed in (0, 1)
        for style in STYLES
        for key in (None, "other")
    }
    assert len(names) == 8
    assert mask_record(record, 0, key="1") == mask_record(record, 0)


def test_shapes_of_names() -> None:
    properties = {f"p{i}": {"type": "int"} for i in range(300)}
    record = _simple(tools=tuple(Tool(f"t{i}", "", properties) for i in range(5)), answers=())
    masked = mask_record(record, 0)
    for tool in masked.record.tools:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]{4,14}", tool.name)
        for name in tool.properties:
            assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{3,9}", name)
    syllables = "[bdfgklmnprstvz][aeiou]"
    masked = mask_record(record, 0, style="pseudoword")
    for tool in masked.record.tools:
        assert re.fullmatch(f"({syllables}){{2,3}}", tool.name)
        for name in tool.properties:
            assert re.fullmatch(f"({syllables}){{2,4}}", name)


def test_words_grow_when_the_short_ones_run_out() -> None:
    properties = {f"p{i}": {} for i in range(5000)}  # more than there are words of two syllables
    record = _simple(tools=(Tool("t", "", properties),), answers=())
    masked = mask_record(record, 0, style="pseudoword")
    assert len(masked.record.tools[0].properties) == 5000


def test_new_words_differ_from_all_that_the_record_holds() -> None:
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = {a + b for a in syllables for b in syllables}
    half = sorted(words)[::2]
    record = _simple(
        messages=_user(" ".join(half[:1000])),
        tools=(Tool("t", "", {word: {} for word in half[1000:]}),),
        answers=(GoldCall("t", {half[1000]: ({"free": dict.fromkeys(half[:9], 1)},)}),),
    )
    masked = mask_record(record, 0, style="pseudoword")
    (tool,) = masked.record.tools
    assert not set(half) & {tool.name, *tool.properties}


def test_tools_are_shuffled() -> None:
    record = _simple(tools=tuple(Tool(f"t{i}", str(i), {}) for i in range(6)), answers=None)
    orders = set()
    for seed in range(20):
        masked = mask_record(record, seed)
        order = [int(tool.description) for tool in masked.record.tools]
        assert order == masked.map["order"]
        assert sorted(order) == list(range(6))
        assert masked.record.answers is None
        orders.add(tuple(order))
    assert len(orders) > 15


def test_nested_names_references_and_bfcl_lists() -> None:
    schema = {
        "type": "object",
        "properties": {
            "range": {"type": "dict", "properties": {"low": {"type": "int"}}},
            "tree": {"$ref": "#/$defs/node"},
        },
        "required": ["range"],
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}, "low": {"type": "int"}},
            }
        },
    }
    gold = GoldCall(
        "f",
        {
            "range": ({"low": [1, 2]},),
            # BFCL lists the accepted values of an inner property, here objects.
            "tree": ({"next": [{"next": {"low": 1}}], "free": 1},),
        },
        frozenset({"tree"}),
    )
    record = _simple(tools=(Tool("f", "", schema),), answers=(gold,))
    masked = mask_record(record, 0)
    assert masked.record.answers is not None
    (tool,), (after,) = masked.record.tools, masked.record.answers
    new = {old: new for new, old in masked.map["parameters"][tool.name].items()}
    assert set(new) == {"range", "tree", "low", "next"}
    assert tool.parameters["required"] == [new["range"]]
    assert set(tool.parameters["$defs"]["node"]["properties"]) == {new["next"], new["low"]}
    assert after.arguments[new["range"]] == ({new["low"]: [1, 2]},)
    expected = {new["next"]: [{new["next"]: {new["low"]: 1}}], "free": 1}
    assert after.arguments[new["tree"]] == (expected,)
    assert after.optional == {new["tree"]}


def test_a_gold_that_the_tools_do_not_list_is_masked_too() -> None:
    record = _simple(answers=(GoldCall("ghost", {"x": (1,)}), GoldCall("news", {"odd": (2,)})))
    masked = mask_record(record, 0)
    text = json.dumps([gold.first().to_json() for gold in masked.record.answers or ()])
    assert not any(name in text for name in ('"ghost"', '"x"', '"odd"', '"news"'))
    assert unmask_record(masked.map, masked.record) == record


def test_history_with_calls_is_renamed_and_the_user_is_not() -> None:
    call = '[{"name": "news", "arguments": {"page": 3}}]'
    block = f"Let me see\n<tool_call>\n{call[1:-1]}\n</tool_call>"
    messages = (
        {"role": "user", "content": "news, page 3"},
        {"role": "assistant", "content": call},
        {"role": "tool", "content": '[{"name": "news", "results": {"page": 3}}]'},
        {"role": "assistant", "content": block},
        {"role": "assistant", "content": "the news"},
        {"role": "user", "content": call},
    )
    record = _simple(messages=messages)
    masked = mask_record(record, 0)
    tool, page = next(
        (name, next(iter(masked.map["parameters"][name])))
        for name, old in masked.map["tools"].items()
        if old == "news"
    )
    after = [message["content"] for message in masked.record.messages]
    renamed = {"name": tool, "arguments": {page: 3}}
    assert json.loads(after[1]) == [renamed]
    assert json.loads(after[2]) == [{"name": tool, "results": {"page": 3}}]
    assert json.loads(after[3].split("<tool_call>")[1].split("</tool_call>")[0]) == renamed
    assert after[3].startswith("Let me see\n<tool_call>")
    assert [after[0], after[4], after[5]] == [messages[i]["content"] for i in (0, 4, 5)]
    assert unmask_record(masked.map, masked.record) == record


def _with_default(
    query: str, default: Any, *golds: Any, schema: dict[str, Any] | None = None, **other: Any
) -> Record:
    tool = Tool("f", "", {"p": {"type": "any", "default": default, **(schema or {})}, "o": {}})
    answers = tuple(
        GoldCall("f", {"p": (gold,), **{k: (v,) for k, v in other.items()}}) for gold in golds
    )
    return Record("1", _user(query), (tool,), answers)


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        (_with_default("get page 12 now", "12", 12), r"get page [1-9]\d now"),
        (_with_default("get page 12.", 12, 12), r"get page [1-9]\d\."),
        (_with_default("in 2.5 km", 2.5, 2.5), r"in \d\.\d km"),
        (_with_default("price in USD?", "USD", "USD"), r"price in [AEIOU][^AEIOU][^AEIOU]\?"),
        (_with_default("no page named", 1, 1), "no page named"),
        (_with_default("page 12", 12, 12, 13), r"page [1-9]\d"),
    ],
)
def test_defaults_that_are_changed(record: Record, shape: str) -> None:
    for seed in range(10):
        masked = mask_record(record, seed)
        (change,) = masked.map["defaults"]["changed"]
        assert masked.map["defaults"]["left"] == []
        assert re.fullmatch(shape, masked.record.query)
        (tool,) = masked.record.tools
        default = tool.properties[change["parameter"]]["default"]
        assert str(default) == change["new"] != change["old"]
        if change["old"] in record.query:
            assert masked.record.query == record.query.replace(change["old"], change["new"])
        before, after = (
            [g.first().arguments[k] for g in r.answers or ()]
            for r, k in ((record, "p"), (masked.record, change["parameter"]))
        )
        assert type(after[0]) is type(before[0])
        assert str(after[0]) == change["new"]
        assert after[1:] == before[1:]  # another value than the default stays
        calls = [Call(tool.name, {change["parameter"]: after[0]})]
        assert unmask_calls(masked.map, calls) == (Call("f", {"p": before[0]}),)


def test_a_new_default_is_no_other_gold_value() -> None:
    record = _with_default("q", 1, *range(1, 9))
    for seed in range(20):
        (change,) = mask_record(record, seed).map["defaults"]["changed"]
        assert change["new"] in ("0", "9")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (_with_default("12 of 12", 12, 12), "more than once"),
        (_with_default("top-12", 12, 12), "another form"),
        (_with_default("price in usd", "USD", "USD"), "another form"),
        (_with_default("q", True, True), "neither a number nor a string"),
        (_with_default("q", [1], [1]), "neither a number nor a string"),
        (_with_default("q", None, None), "neither a number nor a string"),
        (_with_default("q", "", ""), "nothing in the value"),
        (_with_default("q", "true", "true"), "nothing in the value"),
        (_with_default("q", 1e-7, 1e-7), "exponent"),
        (_with_default("q", 1.0, 1), "differently"),
        (_with_default("q", 1, 1, "1", schema={"enum": [1, 2]}), "restricts"),
        (_with_default("q", 1, 1, schema={"description": "Defaults to '1'."}), "description"),
        (_with_default("about 12", 12, 12, o=12), "another argument"),
    ],
)
def test_defaults_that_are_left_and_counted(record: Record, reason: str) -> None:
    masked = mask_record(record, 0)
    assert masked.map["defaults"]["changed"] == []
    (left,) = masked.map["defaults"]["left"]
    assert reason in left["reason"]
    assert masked.map["parameters"][left["tool"]][left["parameter"]] == "p"
    assert masked.record.query == record.query


def test_a_default_beside_other_accepted_values_is_left() -> None:
    tool = Tool("f", "", {"p": {"default": 1}})
    for gold in (GoldCall("f", {"p": (1, 2)}), GoldCall("f", {"p": (1,)}, frozenset({"p"}))):
        masked = mask_record(Record("1", _user("q"), (tool,), (gold,)), 0)
        assert [left["reason"] for left in masked.map["defaults"]["left"]] == [
            "other values are accepted too"
        ]


def test_a_default_that_no_gold_equals_is_no_matter() -> None:
    masked = mask_record(_with_default("q", 1, 2), 0)
    assert masked.map["defaults"] == {"changed": [], "left": []}
    (tool,) = masked.record.tools
    assert [s.get("default") for s in tool.properties.values()] == [1, None]


@pytest.mark.parametrize(
    "name",
    [
        "xlam/xlam_function_calling_sample_100.json",
        "bfcl/BFCL_v4_simple_python.json",
        "bfcl/BFCL_v4_multiple.json",
        "bfcl/BFCL_v4_parallel.json",
        "bfcl/BFCL_v4_irrelevance.json",
        "toolalpaca/toolalpaca_114.json",
        "toolalpaca/toolalpaca_114_hammer2.1_prompts.json",
        "seal-tools/seal_tools.jsonl",
        "sgd/sgd_single_turn.jsonl",
    ],
)
def test_public_records_go_there_and_back(shared_data: Path, name: str) -> None:
    for at, record in enumerate(read_records(shared_data / name)):
        masked = mask_record(record, 0, style=STYLES[at % 2])
        assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record
