"""The embedded pair on its real base: what ships loads, fits together and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import blocks_run_by

from search.host.batches import length_bucket
from toolprm_jax.annotation.matching import exact_match
from toolprm_jax.model.adapters import read_adapter
from toolprm_jax.model.files.gguf import smollm2_file
from toolprm_jax.records.types import DataError, Record
from toolprm_jax.tokens.contract import Contract
from toolprm_jax.toolworld.embedded import EMBEDDED
from toolprm_jax.toolworld.masked import masked_corpus

MOST_BYTES = 12_000_000


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_adapter_is_small_and_has_its_contract(name: str) -> None:
    folder: Path = EMBEDDED[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    adapter, contract = read_adapter(folder), Contract.load(folder)
    assert adapter.base == "smollm2"
    is_prm = name == "embedded:prm"
    assert contract.granularity == ("toolprm" if is_prm else None)
    assert adapter.lora.token_ids == (contract.marker_ids if is_prm else ())


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    """The names that README's first program leaves behind."""
    try:
        smollm2_file()
    except DataError as error:
        pytest.skip(str(error))
    (found,) = blocks_run_by("test_the_program_in_the_readme_answers")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(found, "README.md", "exec"), names)
    return names


def test_the_program_in_the_readme_answers(program: dict[str, Any]) -> None:
    answer = program["answer"]
    assert answer.finished or "unfinished" in answer.flags
    assert {call.name for call in answer.calls} <= {"add"}
    for sure in answer.confidence["calls"] if answer.confidence else ():
        assert all(0 < p <= 1 for p in (sure["call"], sure["name"], *sure["arguments"].values()))


def test_the_embedded_pair_answers_held_out_queries(program: dict[str, Any]) -> None:
    """A few of one compiled shape: the tests compile without most optimizations."""
    searcher = program["searcher"]
    by_length: dict[int, list[Record]] = {}
    for record in masked_corpus(1, "heldout", 16):
        length = length_bucket(len(searcher.pair.policy.codec.prompt(record)))
        by_length.setdefault(length, []).append(record)
    records = max(by_length.values(), key=len)[:4]
    answers = list(searcher.many(records, progress=False))
    right = [answer.finished and exact_match(answer.record, answer.calls) for answer in answers]
    assert sum(right) >= 2
    assert all(np.isfinite(answer.score) and answer.cost["prm_tokens"] for answer in answers)
