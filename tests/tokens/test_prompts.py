"""Prompt templates against the texts that the models were trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from toolprm_jax.annotation.grammar import run, tables
from toolprm_jax.annotation.readers import read_records
from toolprm_jax.annotation.records import DataError, GoldCall, Record, Tool
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.contract import make_contract
from toolprm_jax.tokens.prompts import TEMPLATES, get_template

RECORD = Record(
    id="0",
    messages=({"role": "user", "content": "Wie warm ist es in Köln?"},),
    tools=(
        Tool(
            "temperature",
            "Temperature in a city",
            {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city"},
                    "unit": {"enum": ["c", "f"], "description": "Unit", "default": "c"},
                },
                "required": ["city"],
            },
        ),
        Tool("now", "The time", {}),
    ),
    answers=(GoldCall("temperature", {"city": ("Köln",)}),),
)


def test_the_hammer_template_equals_the_authors_prompts(
    qwen_tokenizer: PreTrainedTokenizerBase, shared_data: Path
) -> None:
    folder = shared_data / "toolalpaca"
    theirs = json.loads((folder / "toolalpaca_114_hammer2.1_prompts.json").read_text())
    records = list(read_records(folder / "toolalpaca_114.json", "toolalpaca"))
    codec = Codec(qwen_tokenizer, make_contract(qwen_tokenizer, 151_936, "hammer"))
    assert len(records) == len(theirs) == 114
    for row, record in zip(theirs, records, strict=True):
        prompt = row["instruction"] + "<|im_start|>assistant\n"
        ids = qwen_tokenizer(prompt, add_special_tokens=False)["input_ids"]
        assert codec.prompt(record) == ids, record.id
        gold = qwen_tokenizer(row["output"] + "<|im_end|>", add_special_tokens=False)
        assert codec.gold(record) == gold["input_ids"], record.id


def test_the_qwen_template_is_that_of_qwen2_5() -> None:
    (role, system), (user, query) = get_template("qwen").turns(RECORD)
    assert (role, user, query) == ("system", "user", RECORD.query)
    head, _, rest = system.partition("<tools>\n")
    tools, _, tail = rest.partition("\n</tools>")
    assert head.startswith("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")
    assert [json.loads(line) for line in tools.splitlines()] == [
        {"type": "function", "function": tool.to_json()} for tool in RECORD.tools
    ]
    assert tail.endswith(
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def test_the_compact_template_says_all_that_a_call_needs() -> None:
    (role, tools), turn = get_template("compact").turns(RECORD)
    assert role == "tools"
    assert turn == ("user", RECORD.query)
    assert tools.splitlines() == [
        "temperature: Temperature in a city",
        "  city string: Name of the city",
        '  unit? "c"/"f": Unit = "c"',
        "now: The time",
    ]


@pytest.mark.parametrize("name", TEMPLATES)
def test_gold_completions_are_accepted_in_the_templates_dress(
    name: str, small_tokenizer: PreTrainedTokenizerBase
) -> None:
    codec = Codec(small_tokenizer, make_contract(small_tokenizer, 2048, name))
    for answers in (RECORD.answers, ()):
        *ids, last = codec.gold(RECORD.with_(answers=answers))
        assert last == codec.contract.end_of_text
        result = run(tables(codec.template.dress), codec.decode(ids), eot=True)
        assert result.died_at is None
        assert not result.trailing
        assert len(result.events) == (4 if answers else 0) + 1


def test_an_unknown_template_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="'llama'; expected one of hammer, qwen, compact"):
        get_template("llama")
