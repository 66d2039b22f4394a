"""The embedded corpus: shares, schemas, copied values, splits, determinism."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import date
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolprm_jax.toolworld import spec as spec_module
from toolprm_jax.toolworld import values
from toolprm_jax.toolworld.corpus import corpus, main, make_group, make_record, record_json, tools

SPLITS = ("train", "heldout")
COUNT = 1500
JSON_TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
}
STOP_WORDS = (
    "a an the of in on at to for with from by and or is are it that this my me i you your what "
    "which how when where whether want need get give have be as into between so tell show s two"
)


@pytest.fixture(scope="module", params=SPLITS)
def records(request):
    return list(corpus(11, request.param, COUNT))


def fits(value, schema):
    """An independent check of the part of JSON Schema that the corpus uses."""
    if not isinstance(value, JSON_TYPES[schema["type"]]):
        return False
    if isinstance(value, bool) != (schema["type"] == "boolean"):
        return False
    if schema["type"] == "array":
        return all(fits(item, schema["items"]) for item in value)
    if "enum" in schema and value not in schema["enum"]:
        return False
    if schema.get("format") == "date":
        return date.fromisoformat(value).isoformat() == value
    if schema.get("format") == "time":
        return re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value) is not None
    return True


def content_words(text):
    """Stems of the words that mean something; slots and values are left out."""
    stop = STOP_WORDS.split()
    words = re.findall(r"[a-z]+", re.sub(r"\{\w*\}", " ", text.lower()))
    return {word[:4] for word in words if word not in stop}


def calls(records):
    for record in records:
        shown = {tool.name: tool for tool in record.tools}
        for gold in record.answers:
            yield record, shown[gold.name], gold.first()


def test_there_are_enough_tools_domains_and_types():
    everything = tools("train") + tools("heldout")
    assert len(everything) >= 110
    assert len({spec.domain for spec in everything}) >= 15
    for split in SPLITS:
        schemas = [s for spec in tools(split) for s in spec.tool.properties.values()]
        assert {schema["type"] for schema in schemas} == set(JSON_TYPES)
        assert {schema.get("format") for schema in schemas} >= {"date", "time"}
        assert any("enum" in schema for schema in schemas)
        assert {s["items"]["type"] for s in schemas if s["type"] == "array"} == {
            "string",
            "integer",
        } or split == "heldout"
    assert any("default" in s for spec in everything for s in spec.tool.properties.values())
    assert any(not spec.params for spec in everything)


def test_no_tool_is_in_both_splits_and_two_domains_are_held_out_whole():
    train, heldout = tools("train"), tools("heldout")
    names = [spec.name for spec in train + heldout]
    assert len(set(names)) == len(names)
    descriptions = [spec.description for spec in train + heldout]
    assert len(set(descriptions)) == len(descriptions)
    whole = {spec.domain for spec in heldout} - {spec.domain for spec in train}
    assert whole == {"museums", "garden"}
    assert 0.2 < len(heldout) / len(names) < 0.3


def test_the_training_tools_have_two_parts():
    taught, unseen = tools("taught"), tools("unseen")
    assert {*taught, *unseen} == {*tools("train")}
    assert {*taught}.isdisjoint(unseen)
    assert len(taught) in (2 * len(unseen), 2 * len(unseen) - 1, 2 * len(unseen) - 2)
    shown = {tool.name for record in corpus(11, "unseen", 50) for tool in record.tools}
    assert shown <= {spec.name for spec in unseen}


@pytest.mark.parametrize("split", SPLITS)
def test_descriptions_are_short_and_share_a_word_with_every_phrasing(split):
    for spec in tools(split):
        assert 3 <= len(spec.description.split()) <= 9, spec.name
        assert 0 <= len(spec.params) <= 4, spec.name
        assert 3 <= len(spec.phrasings) <= 5, spec.name
        for param in spec.params:
            assert 2 <= len(param.description.split()) <= 6, (spec.name, param.name)
        known = content_words(spec.description)
        for phrasing in spec.phrasings:
            assert known & content_words(phrasing.template), (spec.name, phrasing.template)


def test_held_out_tools_use_no_spoken_enum_that_training_never_shows():
    rng = Random(0)
    trained = {
        tuple(param.kind.schema["enum"])
        for spec in tools("train")
        for param in spec.params
        if "enum" in param.kind.schema
    }
    for spec in tools("heldout"):
        for param in spec.params:
            if "enum" not in param.kind.schema or tuple(param.kind.schema["enum"]) in trained:
                continue
            drawn = [param.kind.sample(rng) for _ in range(50)]
            assert all(value == text for value, text in drawn), (spec.name, param.name)


def test_every_gold_fits_its_schema(records):
    for record, tool, call in calls(records):
        assert list(call.arguments) == [p for p in tool.properties if p in call.arguments]
        assert tool.required <= set(call.arguments) <= set(tool.properties), record.id
        for name, value in call.arguments.items():
            assert fits(value, tool.properties[name]), (record.id, name, value)


def test_no_gold_equals_its_default(records):
    seen = 0
    for record, tool, call in calls(records):
        for name, value in call.arguments.items():
            if "default" in tool.properties[name]:
                seen += 1
                assert value != tool.properties[name]["default"], record.id
    assert seen


def test_free_strings_and_large_numbers_are_copied_from_the_query(records):
    for record, tool, call in calls(records):
        for name, value in call.arguments.items():
            schema = tool.properties[name]
            items = value if isinstance(value, list) else [value]
            for item in items:
                free = isinstance(item, str) and not {"enum", "format"} & set(schema)
                large = (
                    type(item) in (int, float)
                    and item not in range(13)
                    and item
                    not in (
                        30,
                        60,
                        90,
                    )
                )
                if free or large:
                    assert str(item) in record.query, (record.id, name, item)


def test_most_values_are_copied_but_not_all(records):
    copied = total = 0
    for record, _, call in calls(records):
        for value in call.arguments.values():
            items = value if isinstance(value, list) else [value]
            total += 1
            copied += all(
                type(item) is not bool
                and re.search(rf"(?<!\w){re.escape(str(item))}(?!\w)", record.query)
                for item in items
            )
    assert 0.65 < copied / total < 0.9


def test_shares_of_calls_and_tools_are_as_intended(records):
    counts = Counter(len(record.answers) for record in records)
    share = {number: counts[number] / len(records) for number in range(4)}
    assert set(counts) == {0, 1, 2, 3}
    assert abs(share[0] - 0.10) < 0.03
    assert abs(share[1] - 0.63) < 0.05
    assert abs(share[2] - 0.18) < 0.05
    assert abs(share[3] - 0.09) < 0.05
    assert {len(record.tools) for record in records} == {2, 3, 4}
    repeats = sum(
        len({gold.name for gold in record.answers}) < len(record.answers) for record in records
    )
    assert repeats / (counts[2] + counts[3]) > 0.3


def test_calls_of_a_record_differ_and_its_tools_are_of_its_split(records):
    split = records[0].id.split("-")[0]
    names = {spec.name for spec in tools(split)}
    for record in records:
        assert len({tool.name for tool in record.tools}) == len(record.tools)
        assert {tool.name for tool in record.tools} <= names
        told = [json.dumps(gold.first().to_json()) for gold in record.answers]
        assert len(set(told)) == len(told), record.id


def test_queries_read_as_text(records):
    for record in records:
        assert not re.search(r"[{}]|  | [,.;?]|[.,?;]{2}|^\s|\s$", record.query), record.query
        assert record.query[0].isupper()
        words = len(record.query.split())
        assert 2 <= words <= 30 * max(1, len(record.answers)), record.query
    assert any(not record.query.isascii() for record in records)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    split=st.sampled_from(SPLITS),
    index=st.integers(0, 10**9),
    size=st.integers(1, 8),
)
def test_a_group_shares_its_tools_and_extends_its_prefix(seed, split, index, size):
    group = make_group(seed, split, index, size)
    assert group == make_group(seed, split, index, size)
    assert group[0] == make_record(seed, split, index)
    assert make_group(seed, split, index, size + 1)[:size] == group
    assert all(record.tools is group[0].tools for record in group)
    assert [record.id for record in group] == [f"{split}-{seed}-{index}-{k}" for k in range(size)]


def test_records_depend_on_seed_split_and_index():
    queries = {
        make_record(seed, split, index).query
        for seed in range(5)
        for split in SPLITS
        for index in range(20)
    }
    assert len(queries) > 190


def test_an_unknown_split_is_refused():
    expected = "split: expected one of train, heldout, taught, unseen, got 'test'"
    with pytest.raises(ValueError, match=expected):
        make_group(0, cast(Any, "test"), 0, 1)


def test_a_phrasing_without_a_required_slot_is_refused():
    city = spec_module.required("city", "city to see", values.CITY)
    with pytest.raises(ValueError, match="see_city: slots"):
        spec_module.tool("see_city", "See a city", city, say=("See a city",))
    with pytest.raises(ValueError, match="see_city: slots"):
        spec_module.tool("see_city", "See a city", city, say=("See {city} on {date}",))


SPOKEN_TIMES = {
    "noon": "12:00",
    "7 am": "07:00",
    "9 pm": "21:00",
    "half past six in the evening": "18:30",
    "quarter to nine in the morning": "08:45",
    "quarter to one in the afternoon": "12:45",
    "quarter past twelve in the afternoon": "12:15",
    "ten o'clock in the evening": "22:00",
}
SPOKEN_DATES = {
    "the 5th of March 2024": "2024-03-05",
    "the 21st of July 2026": "2026-07-21",
    "the 12th of May 2023": "2023-05-12",
    "December 2, 2025": "2025-12-02",
}


@pytest.mark.parametrize(
    ("kind", "expected"), [(values.TIME, SPOKEN_TIMES), (values.DATE, SPOKEN_DATES)]
)
def test_spoken_values_mean_what_they_say(kind, expected):
    rng = Random(3)
    said = {text: value for value, text in (kind.sample(rng) for _ in range(60000))}
    assert {text: said[text] for text in expected} == expected


def test_a_text_always_means_one_value():
    rng = Random(5)
    kinds = [values.TIME, values.DATE, values.MINUTES, values.count(2, 40), values.SORT]
    for kind in kinds:
        meaning = {}
        for _ in range(5000):
            value, text = kind.sample(rng)
            assert meaning.setdefault(text, value) == value


def test_the_command_writes_record_lines(tmp_path):
    out = tmp_path / "records.jsonl"
    main(["--split", "heldout", "--seed", "7", "--count", "25", "--out", str(out)])
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines == [record_json(record) for record in corpus(7, "heldout", 25)]
    assert set(lines[0]) == {"id", "query", "tools", "answers"}
    assert set(lines[0]["tools"][0]) == {"name", "description", "parameters"}


def test_the_command_refuses_a_missing_folder(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--split", "train", "--count", "1", "--out", str(tmp_path / "no" / "x.jsonl")])
    assert "--out: no folder" in capsys.readouterr().err


def test_the_corpus_needs_the_standard_library_only_and_no_hash_seed():
    program = (
        "import sys; from toolprm_jax.toolworld.corpus import make_record as m;"
        "assert not {'jax', 'numpy', 'flax'} & set(sys.modules);"
        "print([m(1, 'train', i).query for i in range(5)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(p for p in sys.path if p)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
