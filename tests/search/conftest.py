"""A tiny policy that writes calls, and a tiny reward model, made in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
import pytest

from search.host import engine as engines
from search.host import searcher as searchers
from search.host.pair import ModelPair
from toolprm_jax.model.decoder import Decoder, DecoderConfig, init_params
from toolprm_jax.model.files.hf import save_model
from toolprm_jax.model.files.loading import load
from toolprm_jax.model.objectives import lm_sums
from toolprm_jax.records.readers import record_to_json
from toolprm_jax.records.types import Record
from toolprm_jax.records.writing import write_jsonl
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.examples import lm_trees
from toolprm_jax.tokens.tree import pack
from toolprm_jax.toolworld.masked import masked_corpus

CONFIG = DecoderConfig(
    vocab_size=2048,
    hidden_size=64,
    intermediate_size=128,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
)
STEPS = 32  # enough to learn the golds' form, and some of them by heart
ROW = 512


class Pair(NamedTuple):
    """Directories of the two models."""

    policy: str
    prm: str


def _by_length(codec: Codec) -> list[Record]:
    """Queries, shortest prompts first; the policy has seen the first eight."""
    return sorted(masked_corpus(5, "heldout", 24), key=lambda r: len(codec.prompt(r)))


def _learnt(codec: Codec) -> list[Record]:
    """What the policy has seen."""
    return _by_length(codec)[:8]


@pytest.fixture(scope="module")
def unclosed() -> Iterator[None]:
    """Answers as they were drawn: what ran against a limit takes long to close."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (engines, searchers):
            patch.setattr(module, "shortest_closing", lambda *given: None)
        yield


@pytest.fixture(scope="session")
def by_length(models: ModelPair) -> list[Record]:
    """Queries, shortest prompts first."""
    return _by_length(models.policy.codec)


@pytest.fixture
def learnt(small_codec: Codec, tmp_path: Path) -> Path:
    """A records file of four queries that the policy has seen."""
    path = tmp_path / "learnt.jsonl"
    write_jsonl(path, map(record_to_json, _learnt(small_codec)[:4]))
    return path


@pytest.fixture(scope="session")
def tiny_pair(small_codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The policy has seen eight queries; the PRM is random."""
    contract = replace(small_codec.contract, granularity=None, target=None)
    codec = Codec(small_codec.tokenizer, contract)
    records = _learnt(codec)
    trees = [tree for record in records for tree in lm_trees(codec, [record], ROW)[0]]
    batch = pack(trees, ROW)
    model = Decoder(CONFIG)
    params = init_params(CONFIG, jax.random.key(0))
    optimizer = optax.adamw(1e-2)

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            sums = lm_sums(model, params, batch)
            return sums["loss"] / sums["weight"]

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(STEPS):
        params, state = step(params, state)
    root: Path = tmp_path_factory.mktemp("tiny")
    save_model(root / "policy", CONFIG, params, "float32", codec.tokenizer, contract)
    other = init_params(replace(CONFIG, num_layers=1), jax.random.key(1))
    judge = replace(CONFIG, num_layers=1)
    save_model(root / "prm", judge, other, "float32", codec.tokenizer, small_codec.contract)
    return Pair(str(root / "policy"), str(root / "prm"))


@pytest.fixture(scope="session")
def models(tiny_pair: Pair) -> ModelPair:
    return ModelPair(load(tiny_pair.policy), load(tiny_pair.prm))
