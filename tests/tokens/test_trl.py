"""TRL's rows of process supervision: there and back, and what does not fit."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from toolprm_jax.annotation.corruption import corruptions, gold_completion
from toolprm_jax.annotation.labels import GRANULARITY, label_completion
from toolprm_jax.annotation.steps_file import steps_json
from toolprm_jax.grammar.types import Dress
from toolprm_jax.records.jsonl import Row
from toolprm_jax.records.readers import record_to_json
from toolprm_jax.records.types import Call, DataError, GoldCall, Record, Tool
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.tokens.prompts import get_template
from toolprm_jax.tokens.trl import from_trl, main, prompt_text, to_trl

GOLDS = (Call("f", {"x": "é", "y": [1]}), Call("f", {}), Call("g", {"z": {"a": None}}))
RECORD = Record(
    "r",
    ({"role": "user", "content": "q"},),
    (Tool("f", "d", {"x": {"type": "str"}}), Tool("g", "", {})),
    tuple(map(GoldCall.exact, GOLDS)),
)
TEMPLATES: dict[Dress, str] = {"list": "hammer", "tool_call": "qwen"}


def row(value: Any) -> Row:
    return Row("rows", 0, 1, None, value)


def texts(dress: Dress) -> list[str]:
    wrong = [made.text for made in corruptions(RECORD, random.Random(1), dress)]
    return [gold_completion(RECORD, dress), *wrong, '[{"name": "f\ud800', "[é", "[] so é"]


@pytest.mark.parametrize("dress", ["list", "tool_call"])
def test_there_and_back_is_the_identity(dress: Dress) -> None:
    for text in texts(dress):
        line = steps_json("r", text, label_completion(RECORD, text, dress=dress))
        made = to_trl(line, RECORD, get_template(TEMPLATES[dress]))
        assert set(made) == {"id", "prompt", "completions", "labels"}
        assert len(made["completions"]) == len(made["labels"]) == len(line["steps"])
        assert "".join(made["completions"]) == text
        assert from_trl(row(json.loads(json.dumps(made))), dress) == line


def test_pieces_end_where_decisions_end() -> None:
    text = '[{"name": "f", "arguments": {"x": "a"}}]'
    line = steps_json("r", text, label_completion(RECORD, text))
    made = to_trl(line, RECORD, get_template("hammer"), "prefix")
    assert made["completions"] == ['[{"name": "f"', ', "arguments": {"x": "a"}', "", "}", "]"]
    assert made["labels"] == [True, False, False, False, False]
    assert made["prompt"].endswith("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n")
    assert made["prompt"].count("<|im_start|>") == 3


def test_coarser_pieces_are_a_coarser_granularity() -> None:
    text = gold_completion(RECORD)
    line = steps_json("r", text, label_completion(RECORD, text))
    kept = {kind.name for kind in GRANULARITY["cprm"]}
    line["steps"] = [step for step in line["steps"] if step["kind"] in kept]
    assert from_trl(row(to_trl(line, RECORD, get_template("hammer")))) == line


def test_other_keys_stay_and_a_row_without_id_has_its_index() -> None:
    made = from_trl(row({"prompt": "p", "completions": ["[]"], "labels": [True], "source": "s"}))
    assert (made["id"], made["source"], made["correct"]) == ("0", "s", True)
    assert "prompt" not in made


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "expected an object"),
        ({"completions": "[]", "labels": [True]}, "completions: expected a list of strings"),
        ({"completions": [], "labels": []}, "labels: expected one for each of 0"),
        ({"completions": ["[]"], "labels": [1]}, "labels: expected a list of true and false"),
        ({"completions": ["[]"], "labels": [True, True]}, "labels: expected one for each of 1"),
        ({"completions": ["[", "]"], "labels": [True, True]}, r"completions\[0\]: expected to end"),
        ({"id": [], "completions": ["[]"], "labels": [True]}, "id: expected"),
    ],
)
def test_rows_that_do_not_fit_say_why(value: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        from_trl(row(value))


def test_the_command_goes_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [steps_json("r", text, label_completion(RECORD, text)) for text in texts("list")]
    write_jsonl(tmp_path / "records.jsonl", [record_to_json(RECORD)])
    write_jsonl(tmp_path / "steps.jsonl", [*lines, {"id": "absent"}])
    given = ["--records", str(tmp_path / "records.jsonl"), "--out", str(tmp_path / "trl.jsonl")]
    assert main(["--to-trl", str(tmp_path / "steps.jsonl"), *given]) == 0
    assert main(["--from-trl", str(tmp_path / "trl.jsonl"), "--out", str(tmp_path / "back")]) == 0
    back = [json.loads(line) for line in (tmp_path / "back").read_text("utf-8").splitlines()]
    assert back == lines
    rejects = (tmp_path / "trl.jsonl.rejects.jsonl").read_text("utf-8")
    assert "expected the id of a record, found 'absent'" in rejects
    assert f"{len(lines)} rows written" in capsys.readouterr().out
    assert main(["--to-trl", str(tmp_path / "steps.jsonl"), "--out", "x"]) == 2
    assert "--records: expected" in capsys.readouterr().err


def test_a_tokenizers_own_template_is_refused() -> None:
    with pytest.raises(DataError, match="chat_list needs a tokenizer"):
        prompt_text(RECORD, get_template("chat_list"))


@pytest.mark.parametrize("name", ["hammer", "qwen", "qwen3", "compact"])
def test_the_opening_ends_the_prompt(name: str) -> None:
    template = get_template(name)
    assert prompt_text(RECORD, template).endswith(f"<|im_start|>assistant\n{template.opening}")


def test_the_prompt_is_the_one_that_is_tokenised(small_codec: Any) -> None:
    ids = small_codec.prompt(RECORD)
    pieces = small_codec.tokenizer.convert_ids_to_tokens(ids)
    assert len(pieces) == len(ids)
    text = small_codec.tokenizer.decode(ids, skip_special_tokens=False)
    assert text == prompt_text(RECORD, small_codec.template)
