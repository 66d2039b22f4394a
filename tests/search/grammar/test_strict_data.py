"""Strict decoding on real records and on JSON Schema's own tests."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from standard_schemas import keeps
from strict_runs import SIZE, call_text, died_at, feed, fits, record_of
from transformers import PreTrainedTokenizerBase

import toolprm_jax
from search.grammar.strict_compile import compile_tools
from search.grammar.strict_tables import make_strict, rounded
from search.grammar.tracker import grammar_from_pieces
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.types import Record, Tool, spell_calls
from toolprm_jax.tokens.codec import load_tokenizer
from toolprm_jax.tokens.vocabulary import token_bytes

jsonschema = pytest.importorskip("jsonschema")

DATA = [
    ("bfcl/BFCL_v4_simple_python.json", "bfcl", 400),
    ("bfcl/BFCL_v4_multiple.json", "bfcl", 200),
    ("bfcl/BFCL_v4_parallel.json", "bfcl", 200),
    ("xlam/xlam_function_calling_sample_100.json", "xlam", 100),
    ("toolalpaca/toolalpaca_114.json", "toolalpaca", 114),
    ("train/glaive_300.jsonl", "record", 349),
    ("seal-tools/seal_tools.jsonl", "record", 300),
    ("sgd/sgd_single_turn.jsonl", "record", 200),
]


def golds(folder: Path) -> list[tuple[Record, bytes, bool]]:
    """The first records of every data set, their gold calls, and whether these fit."""
    out = []
    for name, format, count in DATA:
        for record in list(read_records(folder / name, format))[:count]:  # type: ignore[arg-type]
            if record.answers:
                calls = [gold.first() for gold in record.answers]
                text = spell_calls(calls).encode()
                if len(text) <= 512:
                    out.append((record, text, keeps(record, calls)))
    return out


def test_golds_that_fit_are_reached_byte_by_byte_and_others_are_not(shared_data: Path) -> None:
    found = golds(shared_data)
    size = rounded([compile_tools(record).size for record, _, _ in found])
    died = feed([record for record, _, _ in found], [text for _, text, _ in found], size, rows=128)
    for (_, text, fitting), at in zip(found, died, strict=True):
        assert (at < 0) == fitting, (text, at)
    share = np.mean([fitting for _, _, fitting in found])
    assert len(found) > 1_500
    assert 0.93 < share < 1.0


def token_ids(
    tokenizer: PreTrainedTokenizerBase, text: bytes, rng: np.random.Generator
) -> list[int]:
    """A tokenisation: the canonical one, or one of pieces of the text."""
    cuts = [0, len(text)]
    if rng.random() < 0.5:
        letters = text.decode()
        cuts = sorted({0, len(letters), *rng.integers(0, len(letters), 6).tolist()})
        parts = [letters[a:b] for a, b in itertools.pairwise(cuts)]
    else:
        parts = [text.decode()]
    ids: list[int] = []
    for part in parts:
        ids += tokenizer(part, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return ids


@pytest.fixture(params=["qwen2", "smollm2"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    if request.param == "qwen2":
        return request.getfixturevalue("qwen_tokenizer")
    return load_tokenizer(Path(toolprm_jax.__file__).parent / "toolworld" / "smollm2")


def test_golds_are_reached_token_by_token(
    shared_data: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    pieces = token_bytes(tokenizer)
    grammar = grammar_from_pieces([*pieces, None], len(pieces) + 1, [len(pieces)], "list")
    fitting = [(record, text) for record, text, fits_it in golds(shared_data) if fits_it][::5]
    size = rounded([compile_tools(record).size for record, _ in fitting])
    rng = np.random.default_rng(0)
    rows, length = 64, 256
    for first in range(0, len(fitting) - rows, rows):
        some = fitting[first : first + rows]
        tokens = np.full((rows, length), -1, np.int32)
        for row, (_, text) in enumerate(some):
            ids = token_ids(tokenizer, text, rng)[:length]
            tokens[row, : len(ids)] = ids
        tables = make_strict([record for record, _ in some], size)
        assert died_at(grammar, tables, jnp.asarray(tokens)).tolist() == [-1] * rows


# Files of the suite whose keyword is enforced. Of `allOf` and `oneOf` it is the form alone: several
# of their cases are about `multipleOf`, bounds of fractions, or more than one part that fits.
ENFORCED = (
    "additionalItems", "boolean_schema", "const", "items", "prefixItems", "maxItems", "minItems",
    "maxLength", "minLength", "properties", "required", "type", "dependentRequired",
    "infinite-loop-detection", "anyOf", "enum",
)  # fmt: skip


@pytest.mark.parametrize(("draft", "share"), [("draft2020-12", 0.6), ("draft7", 0.7)])
def test_json_schemas_own_tests(shared_data: Path, draft: str, share: float) -> None:
    """No valid instance is refused; most of the invalid ones are."""
    records, texts, cases = [], [], []
    for path in sorted((shared_data / "conformance/json_schema_suite" / draft).glob("*.json")):
        for group in json.loads(path.read_text()):
            schema = group["schema"]
            if isinstance(schema, dict):
                schema = {"$schema": f"http://json-schema.org/{draft}/schema#", **schema}
                schema["$schema"] = "draft-07" if draft == "draft7" else schema["$schema"]
            tool = Tool("f", "", {"type": "object", "properties": {"x": schema}})
            for case in group["tests"]:
                value = json.dumps(case["data"], ensure_ascii=False)
                records.append(record_of(tool))
                texts.append(call_text("f", f'{{"x": {value}}}'))
                cases.append((path.stem, group["description"], case))
    # Few are as deep, or are read in as many ways, as the second size holds.
    died: dict[int, int] = {}
    for deep, size in ((False, SIZE), (True, SIZE._replace(levels=33, ways=8))):
        mine = [place for place, record in enumerate(records) if fits(record) != deep]
        assert all(fits(records[place], size) for place in mine)
        found = feed([records[place] for place in mine], [texts[place] for place in mine], size)
        died.update(zip(mine, found, strict=True))
    refused: Counter[str] = Counter()
    invalid: Counter[str] = Counter()
    for place, (stem, group, case) in enumerate(cases):
        at = died[place]
        if case["valid"]:
            assert at < 0, (stem, group, case)
        elif not (stem == "enum" and "empty" in group):  # our choice: an empty enum lists nothing
            invalid[stem] += 1
            refused[stem] += at >= 0
    assert sum(refused.values()) > share * sum(invalid.values())
    of_enforced = sum(refused[stem] for stem in ENFORCED) / sum(invalid[stem] for stem in ENFORCED)
    assert of_enforced > 0.95
    assert SIZE.ways > 1
