"""The embedded pair on its real base: what ships loads, fits together and answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search.config import SearchConfig
from search.run import Models, run_methods
from toolprm_jax.annotation.matching import exact_match
from toolprm_jax.annotation.records import DataError
from toolprm_jax.model.adapters import read_adapter
from toolprm_jax.model.gguf import smollm2_file
from toolprm_jax.model.load import EMBEDDED, load
from toolprm_jax.tokens.contract import Contract
from toolprm_jax.toolworld.masked import masked_corpus

MOST_BYTES = 12_000_000
CONFIG = SearchConfig(num_beams=2, beam_width=2, max_tokens=96, max_step_tokens=48, pool_size=256)


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_adapter_is_small_and_has_its_contract(name: str) -> None:
    folder: Path = EMBEDDED[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    adapter, contract = read_adapter(folder), Contract.load(folder)
    assert adapter.base == "smollm2"
    is_prm = name == "embedded:prm"
    assert contract.granularity == ("toolprm" if is_prm else None)
    assert adapter.lora.token_ids == (contract.marker_ids if is_prm else ())


def test_the_pair_answers_held_out_queries() -> None:
    try:
        smollm2_file()
    except DataError as error:
        pytest.skip(str(error))
    models = Models(load("embedded:policy"), load("embedded:prm"))
    records = sorted(
        masked_corpus(31, "heldout", 12), key=lambda r: len(models.policy.codec.prompt(r))
    )[:4]
    runs = run_methods(
        models, records, ["greedy", "fine_grained"], CONFIG, seed=0, batch_size=4, progress=False
    )
    right = {
        method: [a.finished and exact_match(a.record, a.calls) for a in run.answers]
        for method, run in runs.items()
    }
    assert all(len(values) == 4 for values in right.values())
    assert max(map(sum, right.values())) >= 1
    for answer in runs["fine_grained"].answers:
        assert np.isfinite(answer.score)
        assert answer.cost["prm_tokens"] > 0
