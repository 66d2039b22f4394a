"""The embedded pair on its real base: what ships loads, fits together and answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.host.answers import calls_of
from toolprm_jax.annotation.matching import exact_match
from toolprm_jax.model.adapters import read_adapter
from toolprm_jax.model.files.gguf import smollm2_file
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.contract import Contract
from toolprm_jax.toolworld.embedded import EMBEDDED

MOST_BYTES = 12_000_000
README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_adapter_is_small_and_has_its_contract(name: str) -> None:
    folder: Path = EMBEDDED[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    adapter, contract = read_adapter(folder), Contract.load(folder)
    assert adapter.base == "smollm2"
    is_prm = name == "embedded:prm"
    assert contract.granularity == ("toolprm" if is_prm else None)
    assert adapter.lora.token_ids == (contract.marker_ids if is_prm else ())


def test_the_program_in_the_readme_answers_held_out_queries(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        smollm2_file()
    except DataError as error:
        pytest.skip(str(error))
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, "README.md", "exec"), names)
    out, batch, codec = names["out"], names["batch"], names["policy"].codec
    assert len(capsys.readouterr().out.splitlines()) == 8
    right = 0
    for row, best in enumerate(out.best.tolist()):
        text = codec.decode(out.tokens[row, best, : out.lengths[row, best]].tolist())
        right += exact_match(batch.records[row], calls_of(codec, text))
    assert right >= 3
    assert np.isfinite(out.score[np.arange(8), out.best]).all()
    assert (out.costs.prm_tokens > 0).all()
