"""The commands that the harness breaks, with small inputs that it makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

COMPLETIONS = 9


@dataclass(frozen=True)
class Case:
    """One command.

    Attributes:
      name: of the case.
      module: what `python -m` runs.
      argv: its arguments; `{inputs}` and `{out}` stand for folders.
      reads: files of `{inputs}`, or folders of files, that it reads.
      compare: what an output says, by its path; None for what isn't compared.
    """

    name: str
    module: str
    argv: tuple[str, ...]
    reads: tuple[str, ...]
    compare: Callable[[Path], Any] = Path.read_bytes


def light_inputs(folder: Path, count: int) -> None:
    """Records and rollouts."""
    from toolprm_jax.annotation import corrupt
    from toolprm_jax.records import record_to_json, write_jsonl
    from toolprm_jax.toolworld.masked import masked_corpus

    records = masked_corpus(3, "train", count)
    write_jsonl(folder / "records.jsonl", map(record_to_json, records))
    argv = ("--records", str(folder / "records.jsonl"), "--num", str(COMPLETIONS))
    assert corrupt.main([*argv, "--out", str(folder / "rollouts.jsonl")]) == 0
    (folder / "rollouts.jsonl.rejects.jsonl").unlink()


def heavy_inputs(folder: Path, count: int) -> None:
    """A tiny policy, its reward model, a tokenizer, and few records with labelled completions."""
    import jax

    from toolprm_jax.annotation.annotate import annotate
    from toolprm_jax.model import DecoderConfig, init_params
    from toolprm_jax.model.files import save_model
    from toolprm_jax.tokens import make_contract
    from toolprm_jax.toolworld.tokenizer import corpus_texts, train_tokenizer

    light_inputs(folder, count)
    for name in ("records", "rollouts"):
        lines = (folder / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (folder / f"few_{name}.jsonl").write_text("".join(lines[:6]))
    steps = folder / "few_steps.jsonl"
    annotate(
        str(folder / "few_records.jsonl"), str(folder / "few_rollouts.jsonl"), str(steps), workers=1
    )
    tokenizer = train_tokenizer(corpus_texts(0, 50))
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    config = DecoderConfig(2048, 32, 64, 2, 2, 1, 16)
    for name, granularity in (("policy", None), ("prm", "toolprm")):
        contract = make_contract(tokenizer, config.vocab_size, "compact", granularity)  # type: ignore[arg-type]
        contract = replace(contract, target="label" if granularity else None)
        params = init_params(config, jax.random.key(len(name)))
        save_model(folder / name, config, params, "float32", tokenizer, contract)


def _metrics(path: Path) -> Any:
    """An output of a training run, without what depends on the clock and on paths."""
    if path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{k: v for k, v in line.items() if not k.endswith("_s")} for line in lines]
    return path.read_bytes() if path.parent.name == "model" else None


def _untimed(path: Path) -> Any:
    """Rows of a comparison, without what depends on the clock."""

    def without(value: Any) -> Any:
        if isinstance(value, list):
            return [without(each) for each in value]
        if isinstance(value, dict):
            return {k: without(v) for k, v in value.items() if k != "seconds"}
        return value

    if path.suffix not in (".json", ".jsonl"):
        return True  # a lock, or something left over
    text = path.read_text()
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    return without([json.loads(line) for line in lines])


_FILES = ("--records", "{inputs}/records.jsonl")
_FEW = ("--records", "{inputs}/few_records.jsonl")
_BOTH = (*_FILES, "--rollouts", "{inputs}/rollouts.jsonl")
_TEXTS = ("records.jsonl", "rollouts.jsonl")

LIGHT = (
    Case(
        "annotate",
        "toolprm_jax.annotation.annotate",
        (*_BOTH, "--out", "{out}/steps.jsonl", "--stats", "{out}/stats.json", "--workers", "2"),
        _TEXTS,
    ),
    Case("mask", "toolprm_jax.masking.mask", (*_BOTH, "--out", "{out}/masked.jsonl"), _TEXTS),
    Case(
        "corrupt",
        "toolprm_jax.annotation.corrupt",
        (*_FILES, "--num", "40", "--out", "{out}/rollouts.jsonl"),
        ("records.jsonl",),
    ),
)
_SMALL = ("--max-tokens", "48", "--max-shapes", "1", "--batch-size", "2")
HEAVY = (
    Case(
        "rollout",
        "search.commands.rollout",
        ("--model", "{inputs}/policy", *_FEW, "--num", "3", *_SMALL, "--out", "{out}/r.jsonl"),
        ("policy", "few_records.jsonl"),
    ),
    Case(
        "search",
        "search.commands.search",
        (
            *("--policy", "{inputs}/policy", "--prm", "{inputs}/prm", *_FEW, *_SMALL),
            *("--num-beams", "2", "--beam-width", "2", "--pool-size", "256"),
            *("--out", "{out}/answers.jsonl"),
        ),
        ("policy", "prm", "few_records.jsonl"),
    ),
    Case(
        "score",
        "search.commands.score",
        (
            *("--prm", "{inputs}/prm", *_FEW, "--rollouts", "{inputs}/few_rollouts.jsonl"),
            *("--out", "{out}/scores.jsonl"),
        ),
        ("prm", "few_records.jsonl", "few_rollouts.jsonl"),
    ),
    Case(
        "export",
        "toolprm_jax.model.files.export",
        ("--checkpoint", "{inputs}/prm", "--out", "{out}/model"),
        ("prm",),
    ),
    Case(
        "train",
        "train.main",
        (
            *("--config", "tests/support/tiny_policy.py", "--workdir", "{out}"),
            *("--config.tokenizer={inputs}/tokenizer", "--config.accumulation=1"),
            *("--config.steps=12", "--config.eval_every=0"),
        ),
        ("tokenizer",),
        _metrics,
    ),
    Case(
        "compare",
        "search.studies.compare",
        (
            *("--policy", "{inputs}/policy", "--judges", "toolprm={inputs}/prm"),
            *("--methods", "greedy", "best_of_n", "--sizes", "2x2", "--limit", "4"),
            *("--batch-size", "2", "--runs", "{out}/runs", "--out", "{out}/table.json"),
        ),
        ("policy", "prm"),
        _untimed,
    ),
)
CASES = {case.name: case for case in (*LIGHT, *HEAVY)}
