"""Every config builds a run that takes two steps, its widths shrunk and its data small."""

from __future__ import annotations

import json
import random
from pathlib import Path

import jax
import pytest
from transformers import PreTrainedTokenizerBase

from configs.prm_qwen2p5 import VARIANTS
from toolprm_jax.annotation.corruption import corruptions, gold_completion
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.steps_file import steps_json
from toolprm_jax.model.decoder import DecoderConfig, init_params
from toolprm_jax.model.files.hf import save_model
from toolprm_jax.records.readers import record_to_json
from toolprm_jax.records.types import DataError
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.tokens.contract import Contract
from toolprm_jax.toolworld.masked import masked_corpus
from toolprm_jax.toolworld.tokenizer import EMBEDDING_ROWS
from train.main import load_config, main

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("[a-z]*.py"))
CONFIGS.remove("base.py")
TWINS = [f"prm_hammer2p1_3b.py:{granularity}" for granularity in ("cprm", "orm")]
TWINS.append("prm_qwen2p5.py:1p5b_full_v5p8")


@pytest.fixture(scope="module")
def inputs(
    tmp_path_factory: pytest.TempPathFactory, small_tokenizer: PreTrainedTokenizerBase
) -> dict[str, Path]:
    """A tiny model directory, and a little labelled data."""
    folder = tmp_path_factory.mktemp("inputs")
    decoder = DecoderConfig(EMBEDDING_ROWS, 16, 32, 1, 2, 1, 8)
    params = init_params(decoder, jax.random.key(0))
    save_model(folder / "init", decoder, params, tokenizer=small_tokenizer)
    records = list(masked_corpus(0, "train", 4))
    write_jsonl(str(folder / "records.jsonl"), map(record_to_json, records))
    lines = []
    for record in records:
        wrong = [each.text for each in list(corruptions(record, random.Random(0)))[:2]]
        for text in (gold_completion(record), *wrong):
            lines.append(steps_json(record.id, text, label_completion(record, text)))
    write_jsonl(str(folder / "steps.jsonl"), lines)
    return {name: folder / name for name in ("init", "records.jsonl", "steps.jsonl")}


@pytest.mark.parametrize("name", [*CONFIGS, *TWINS])
def test_a_config_takes_two_steps(name: str, inputs: dict[str, Path], tmp_path: Path) -> None:
    file = ROOT / "configs" / name
    config = load_config(file)
    shrunk = {
        "steps": 2,
        "log_every": 1,
        "optimizer.warmup_steps": 1,
        "accumulation": 1,
        "mesh.fsdp": min(config.mesh.fsdp, 8),
        "data.rows_per_batch": 8,
        "data.row_length": 2048 if config.template == "hammer" else config.data.row_length,
        "data.eval_items": 2,
        "data.epochs": 0,
    }
    shrunk["init"] = inputs["init"]
    if config.lora.rank:
        shrunk["lora.rank"] = 2
    if config.objective == "prm":
        shrunk["data.dataset"] = ""
        for kind in ("", "heldout_"):
            shrunk[f"data.{kind}records"] = inputs["records.jsonl"]
            shrunk[f"data.{kind}steps"] = inputs["steps.jsonl"]
    settings = [f"--config.{key}={value}" for key, value in shrunk.items()]
    assert main([f"--config={file}", f"--workdir={tmp_path / 'w'}", *settings]) == 0
    lines = (tmp_path / "w" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert "eval_loss" in json.loads(lines[-1])
    contract = Contract.load(tmp_path / "w" / "checkpoints" / "2")
    assert contract.granularity == (config.granularity if config.objective == "prm" else None)


def test_every_variant_has_a_row_for_each_device() -> None:
    for variant in VARIANTS:
        config = load_config(ROOT / "configs" / f"prm_qwen2p5.py:{variant}")
        rows, rest = divmod(config.data.rows_per_batch, config.accumulation)
        assert (rows, rest) == (config.mesh.fsdp, 0)
        assert (config.lora.rank > 0) == ("lora" in variant)
    with pytest.raises(DataError, match="expected one of 1p5b_full_v5e16"):
        load_config(ROOT / "configs" / "prm_qwen2p5.py:70b_full_h100")


def test_the_papers_run_has_the_papers_numbers() -> None:
    config = load_config(ROOT / "configs" / "prm_hammer2p1_3b.py")
    assert config.optimizer.learning_rate == 1e-3
    assert config.optimizer.weight_decay == 1e-5
    # Five epochs of 594,434 completions at 1,024 a step; warm-up over 0.008 of the steps.
    assert abs(config.steps * 1024 - 5 * 594_434) < 1024
    assert abs(config.optimizer.warmup_steps / config.steps - 0.008) < 1e-3
    assert load_config(ROOT / "configs" / "prm_hammer2p1_3b.py:orm").granularity == "orm"


def test_configs_go_by_name_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_path = load_config(ROOT / "configs" / "smollm2_prm.py")
    assert load_config("smollm2_prm").to_dict() == by_path.to_dict()
    assert load_config("smollm2_prm:orm").granularity == "orm"
    with pytest.raises(DataError, match="no such config; expected a file or one of prm_hammer"):
        load_config("smollm3")
