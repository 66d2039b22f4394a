"""Exported directories: what is in them, and that transformers gives the same step scores."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from transformers import AutoTokenizer

import toolprm_jax.model.files.hub as hub
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import run
from toolprm_jax.grammar.types import Kind
from toolprm_jax.model.files.export import main
from toolprm_jax.model.files.hub import CARD_FILE, export_model
from toolprm_jax.model.files.loading import LoadedModel, load, origin_of
from toolprm_jax.model.files.sums import SUMS_FILE
from toolprm_jax.model.score import score_completion
from toolprm_jax.records.types import DataError, Record, Tool
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.contract import CONTRACT_FILE, MARKER_TOKENS, Contract, make_contract
from toolprm_jax.tokens.trl import prompt_text
from toolprm_jax.tokens.vocabulary import token_bytes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def exported(prm: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "prm"
    export_model(path, prm, "float32")
    return path


def test_the_directory_is_whole_and_loads_again(exported: Path, prm: LoadedModel) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "config.json",
        "model.safetensors",
        SUMS_FILE,
        "tokenizer.json",
        "tokenizer_config.json",
        CONTRACT_FILE,
        CARD_FILE,
    }
    again = load(str(exported))
    assert again.codec.contract == prm.codec.contract
    assert again.model == prm.model
    jax.tree.map(np.testing.assert_array_equal, again.params, prm.params)


def test_the_card_says_where_the_model_comes_from(exported: Path, prm: LoadedModel) -> None:
    card = (exported / CARD_FILE).read_text()
    assert "base_model" not in card
    assert "license" not in card
    contract = prm.codec.contract
    assert prompt_text(hub._EXAMPLE, prm.codec.template) in card
    known = hub.model_card(contract, origin_of("embedded:prm"))
    assert '\nbase_model: "HuggingFaceTB/SmolLM2-135M-Instruct"\n' in known
    assert '\nlicense: "apache-2.0"\n' in known
    given = origin_of("embedded:prm", "me/mine", "mit")
    assert (given.base_model, given.license) == ("me/mine", "mit")
    assert "HuggingFaceTB" in given.notice


def test_everyone_may_read_what_is_exported(exported: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in exported.iterdir()} == {0o644}
    settings = json.loads((exported / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"


KILLED = """
import os, signal, sys
from pathlib import Path
from toolprm_jax.model.files import hf, hub, load

def killed(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(*{"weights": (hf, "save_tensors"), "contract": (hf.Contract, "save"),
          "card": (hub, "model_card")}[sys.argv[1]], killed)
hub.export_model(Path(sys.argv[3]), load(sys.argv[2]), "float32")
"""


@pytest.mark.parametrize("at", ["weights", "contract", "card"])
def test_a_killed_export_leaves_nothing_that_the_rerun_refuses(
    exported: Path, tmp_path: Path, prm: LoadedModel, at: str
) -> None:
    out = tmp_path / "model"
    command = [sys.executable, "-c", KILLED, at, str(exported), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not out.exists()
    export_model(out, prm, "float32")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    for path in exported.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_an_output_that_is_in_the_way_is_found_out_before_the_model_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for place in ("file", ""):
        assert main(["--checkpoint", "/nowhere", "--out", str(tmp_path / place)]) == 2
        assert f"{tmp_path / place}: expected a" in capsys.readouterr().err


def test_a_model_that_brings_code_is_refused(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    code = {"auto_map": {"AutoConfig": "own.Own"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **code}))
    with pytest.raises(DataError, match=r"config\.json: auto_map names code"):
        load(str(tmp_path / "m"))


def test_the_markers_are_special_tokens_of_the_tokenizer(exported: Path, prm: LoadedModel) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(exported), local_files_only=True)
    contract = prm.codec.contract
    vocabulary = tokenizer.get_vocab()
    assert tuple(vocabulary[token] for token in MARKER_TOKENS) == contract.marker_ids
    assert [token_bytes(tokenizer)[i] for i in contract.marker_ids] == [None] * 5
    assert tokenizer.decode(contract.marker_ids, skip_special_tokens=True) == ""
    # The tokenizer that was given keeps its own tokens.
    assert MARKER_TOKENS[0] not in prm.codec.tokenizer.get_vocab()
    # A model trained on from here has the same markers.
    assert make_contract(tokenizer, 2048, "compact", "toolprm", "label") == contract


def test_a_text_is_tokenised_as_before(exported: Path, prm: LoadedModel) -> None:
    codec = load(str(exported)).codec
    text = f"a {MARKER_TOKENS[0]} <|im_end|>"
    assert codec.encode(text) == prm.codec.encode(text)


def python_of(card: str, heading: str) -> str:
    section = card.split(f"## {heading}")[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


RECORD = Record(
    id="0",
    messages=({"role": "user", "content": "Köln?"},),
    tools=(Tool("weather", "", {"type": "object", "properties": {"city": {"type": "string"}}}),),
    answers=None,
)
COMPLETIONS = [
    '[{"name": "weather", "arguments": {"city": "Köln", "days": [1, 2]}}, '
    '{"name": "b", "arguments": {}}]',
    "[]",
    '[{"name": "weather", "arguments": {"city": "K',
    '[{"name": "weather", oops',
]


@pytest.mark.parametrize("completion", COMPLETIONS)
def test_transformers_gives_the_same_step_scores_by_the_model_card(
    completion: str, exported: Path, prm: LoadedModel
) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install -e '.[peers]'")
    namespace: dict[str, Any] = {"directory": str(exported)}
    exec(python_of((exported / CARD_FILE).read_text(), "Score a step with transformers"), namespace)
    codec = prm.codec
    prompt, ids = codec.prompt(RECORD), codec.encode_bytes(completion)
    scores = score_completion(load(str(exported)), RECORD, completion)
    events = run(tables("list"), completion.encode(), eot=True).events
    assert [(score.kind, score.end) for score in scores] == events
    for score in scores:
        # The fewest tokens that spell the text up to the boundary.
        count = next(n for n in range(len(ids)) if len(codec.decode(ids[: n + 1])) >= score.end)
        theirs = namespace["p_right"]([*prompt, *ids[: count + 1]], score.kind.name)
        assert score.p == pytest.approx(theirs, abs=1e-5)
    if completion == COMPLETIONS[0]:
        assert len(scores) == 9
        assert np.ptp([score.p for score in scores]) > 0.05


def test_sampled_tokens_are_scored_as_they_are(prm: LoadedModel) -> None:
    completion = '[{"name": "weather", "arguments": {}}]'
    split = [prm.codec.pieces.index(char.encode()) for char in completion]
    assert split != prm.codec.encode(completion)
    sampled = score_completion(prm, RECORD, completion, split)
    canonical = score_completion(prm, RECORD, completion)
    assert [score[:2] for score in sampled] == [score[:2] for score in canonical]
    assert len(sampled) == 4
    assert all(a.p != b.p for a, b in zip(sampled, canonical, strict=True))


def test_granularity_says_which_decisions_are_scored(prm: LoadedModel) -> None:
    contract = replace(prm.codec.contract, granularity="orm")
    orm = prm._replace(codec=Codec(prm.codec.tokenizer, contract))
    (last,) = score_completion(orm, RECORD, COMPLETIONS[0])
    assert last == score_completion(prm, RECORD, COMPLETIONS[0])[-1]
    policy = replace(contract, granularity=None, target=None)
    with pytest.raises(DataError, match="it is a policy"):
        score_completion(orm._replace(codec=Codec(orm.codec.tokenizer, policy)), RECORD, "[]")


def test_the_card_states_the_contract(exported: Path, prm: LoadedModel) -> None:
    card, contract = (exported / CARD_FILE).read_text(), prm.codec.contract
    for kind, token_id in zip(Kind, contract.marker_ids, strict=True):
        assert f"`{kind.name}` {token_id}" in card
    assert ", ".join(map(str, contract.label_ids)) in card
    compile(python_of(card, "Score a step with vLLM"), "card", "exec")


def test_a_policy_has_a_card_of_its_own(prm: LoadedModel, tmp_path: Path) -> None:
    contract = replace(prm.codec.contract, granularity=None, target=None)
    policy = prm._replace(codec=Codec(prm.codec.tokenizer, contract))
    export_model(tmp_path / "policy", policy)
    card = (tmp_path / "policy" / CARD_FILE).read_text()
    assert "policy" in card
    assert "marker" not in card
    assert Contract.load(tmp_path / "policy") == contract
    config = json.loads((tmp_path / "policy" / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16"


def test_the_command_exports_and_refuses_a_full_directory(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--checkpoint",
        str(exported),
        "--out",
        str(tmp_path / "out"),
        "--dtype",
        "float16",
    ]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    assert load(str(tmp_path / "out")).codec.contract == Contract.load(exported)
    assert main(arguments) == 2
    assert "out: expected a new or empty directory" in capsys.readouterr().err
    assert main(["--checkpoint", "nowhere", "--out", str(tmp_path / "x")]) == 2
    assert "nowhere: no such model" in capsys.readouterr().err
