"""Invented tools: new in every group; a query shares words with the one that it means."""

import re
from random import Random

import pytest

from toolprm_jax.toolworld.corpus import make_group
from toolprm_jax.toolworld.invented import invent_tool
from toolprm_jax.toolworld.masked import masked_group

SMALL_WORDS = {"a", "an", "the", "of", "for", "in", "and"}


@pytest.fixture(scope="module")
def specs():
    rng = Random(0)
    return [invent_tool(rng, "t") for _ in range(500)]


def test_hardly_a_description_comes_back(specs):
    assert len({spec.description for spec in specs}) > 495


def test_a_query_shares_a_word_with_its_description(specs):
    for spec in specs:
        words = set(spec.description.lower().split()) - SMALL_WORDS
        for phrasing in spec.phrasings:
            said = set(re.findall(r"[a-z]+", phrasing.template.lower()))
            assert words & said, (spec.description, phrasing)


def test_every_kind_of_schema_occurs(specs):
    schemas = [param.schema() for spec in specs for param in spec.params]
    types = {schema["type"] for schema in schemas}
    assert types == {"string", "integer", "number", "boolean", "array"}
    assert {schema.get("format") for schema in schemas} == {None, "date", "time"}
    assert {len(spec.params) for spec in specs} == {0, 1, 2, 3}
    required = [param.required for spec in specs for param in spec.params]
    assert 0.5 < sum(required) / len(required) < 0.7


def test_groups_share_their_tools_and_come_again_from_their_seed():
    for index in range(30):
        group = make_group(1, "invented", index, 6)
        assert group == make_group(1, "invented", index, 6)
        names = {tool.name for tool in group[0].tools}
        assert len(names) == len(group[0].tools)
        for record in group:
            assert record.tools == group[0].tools
            assert record.answers is not None
            assert {gold.name for gold in record.answers} <= names
    assert make_group(1, "invented", 0, 1) != make_group(2, "invented", 0, 1)


def test_masking_takes_them_like_any_other():
    for record in masked_group(0, "invented", 3, 4):
        assert not any(tool.name.startswith("tool") for tool in record.tools)
