"""`toolprm-rollout` from a model directory, killed and restarted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from strict_runs import feed

import search.host.sampled as rollouts
from search.commands import rollout
from search.grammar.strict_compile import compile_tools
from search.grammar.strict_tables import rounded
from toolprm_jax.command import INTERRUPTED
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import parse_calls, run
from toolprm_jax.model.decoder import DecoderConfig, init_params
from toolprm_jax.model.files.hf import save_model
from toolprm_jax.records.jsonl import read_rollouts
from toolprm_jax.records.readers import read_records, record_to_json
from toolprm_jax.records.resumable import write_resumable
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.toolworld.masked import masked_corpus

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def argv(tmp_path: Path, small_codec: Codec) -> list[str]:
    """A command over seven records and a random model in Hugging Face layout."""
    config = DecoderConfig(
        vocab_size=2048,
        hidden_size=8,
        intermediate_size=8,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=8,
    )
    params = init_params(config, jax.random.key(0))
    tokenizer, contract = small_codec.tokenizer, small_codec.contract
    save_model(tmp_path / "model", config, params, "float32", tokenizer, contract)
    records = masked_corpus(7, "heldout", 7)
    write_jsonl(tmp_path / "records.jsonl", (record_to_json(record) for record in records))
    given = ["--model", str(tmp_path / "model"), "--records", str(tmp_path / "records.jsonl")]
    given += ["--num", "2", "--max_tokens", "5", "--batch_size", "2", "--max_shapes", "1"]
    return [*given, "--out", str(tmp_path / "rollouts.jsonl")]


def test_strict_samples_keep_to_the_tools(
    argv: list[str], tmp_path: Path, small_codec: Codec
) -> None:
    """Of a random model, whose tokens make no sense; what ran against the limit is closed."""
    assert rollout.main([*argv, "--schema", "strict", "--max-tokens", "12"]) == 0
    records = list(read_records(tmp_path / "records.jsonl", "record"))
    by_id = {record.id: record for record in records}
    size = rounded([compile_tools(record).size for record in records])
    lines = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    found = [
        (by_id[line["id"]], small_codec.decode(ids), place in line.get("closed", ()))
        for line in lines
        for place, ids in enumerate(line["token_ids"])
    ]
    assert len(found) == 14
    assert len({text for _, text, _ in found}) > 3
    assert any(closed for _, _, closed in found)
    died = feed([record for record, _, _ in found], [text for _, text, _ in found], size, rows=16)
    assert died == [-1] * len(found)
    for record, text, _ in found:
        assert run(tables("list"), text, eot=True).accepted
        called = {call.name for call in parse_calls(tables("list"), text, eot=True)}
        assert called <= {tool.name for tool in record.tools}
    assert [small_codec.decode(ids).decode() for line in lines for ids in line["token_ids"]] == [
        text for line in lines for text in line["completions"]
    ]


def test_a_stopped_run_goes_on(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rollouts.jsonl"
    real, batches = rollouts.sharded_rollouts, []

    def sampled(*given: Any, **options: Any) -> Any:
        batches.append(1)
        if len(batches) == stop_at:
            raise KeyboardInterrupt
        return real(*given, **options)

    monkeypatch.setattr(rollouts, "sharded_rollouts", sampled)
    stop_at = 0
    assert rollout.main(argv) == 0
    expected = out.read_bytes()
    assert len(batches) == 4
    found = list(read_rollouts(out))
    assert len(found) == 7
    assert all(len(each.completions) == 2 and each.token_ids is not None for each in found)

    out.unlink()
    batches.clear()
    stop_at = 3
    assert rollout.main(argv) == INTERRUPTED
    assert not out.exists()
    (partial,) = tmp_path.glob("*.partial")
    whole = partial.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 4
    # Killed within a batch, and within a line: three lines and a half are left.
    partial.write_bytes(b"".join(lines[:3]) + lines[3][:9])
    batches.clear()
    stop_at = 0
    assert rollout.main(argv) == 0
    assert len(batches) == 3
    assert out.read_bytes() == expected
    assert not list(tmp_path.glob("*.partial"))

    # What was made with another seed is of no use.
    partial.write_bytes(whole)
    batches.clear()
    assert rollout.main([*argv, "--seed", "1"]) == 0
    assert len(batches) == 4
    assert out.read_bytes() != expected
    assert not list(tmp_path.glob("*.partial"))


KILLED = """
import os, signal, sys
from toolprm_jax.records.resumable import write_resumable

def lines(skip):
    for number in range(skip, 100):
        if number == 42:
            os.kill(os.getpid(), signal.SIGKILL)
        yield {"number": number}

write_resumable(sys.argv[1], "key", lines)
"""


def test_no_line_that_was_made_is_lost_or_made_twice(tmp_path: Path) -> None:
    out = tmp_path / "new" / "lines.jsonl"
    died = subprocess.run([sys.executable, "-c", KILLED, str(out)], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    made: list[int] = []

    def lines(skip: int) -> Iterator[dict[str, int]]:
        for number in range(skip, 100):
            made.append(number)
            yield {"number": number}

    write_resumable(out, "key", lines)
    assert made == list(range(42, 100))
    assert out.read_text() == "".join(f'{{"number": {number}}}\n' for number in range(100))
    (mark,) = [path for path in out.parent.iterdir() if path != out]
    assert mark.suffix == ".done"
    # What is done is not made again, unless someone has changed it.
    made.clear()
    write_resumable(out, "key", lines)
    assert made == []
    out.write_text("mine\n")
    write_resumable(out, "key", lines)
    assert made == list(range(100))
