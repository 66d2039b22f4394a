"""Tiny models, random trees and a tiny tokenizer for the tests of the training room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from toolprm_jax.model.decoder import Decoder, DecoderConfig
from toolprm_jax.tokens.contract import Contract
from toolprm_jax.tokens.tree import TokenTree, TreeBuilder
from toolprm_jax.toolworld.tokenizer import corpus_texts, train_tokenizer

VOCAB = 64
CONTRACT = Contract(
    template="compact",
    vocabulary="0" * 64,
    end_of_text=0,
    marker_ids=(56, 57, 58, 59, 60),
    label_ids=(1, 2),
    granularity="toolprm",
    target="label",
)


@pytest.fixture(scope="session")
def model() -> Decoder:
    # All dimensions divide by 8, so that every mesh of 8 devices splits them.
    return Decoder(
        DecoderConfig(
            vocab_size=VOCAB,
            hidden_size=32,
            intermediate_size=64,
            num_layers=2,
            num_heads=4,
            num_kv_heads=2,
            head_dim=8,
        )
    )


@pytest.fixture(scope="session")
def contract() -> Contract:
    return CONTRACT


@pytest.fixture(scope="session")
def make_trees() -> Callable[[int, int], list[TokenTree]]:
    """Random tries of rollouts below a prompt, with markers and weighted tokens."""

    def make(seed: int, count: int) -> list[TokenTree]:
        rng = np.random.default_rng(seed)
        trees = []
        for _ in range(count):
            builder = TreeBuilder()
            prompt = rng.integers(3, 50, size=rng.integers(2, 6)).tolist()
            for _ in range(3):
                # Few different tokens, so that rollouts share prefixes.
                path = [*prompt, *rng.integers(3, 6, size=rng.integers(1, 6)).tolist()]
                nodes = builder.add_path(path, unweighted=len(prompt))
                for index in range(len(prompt), len(path)):
                    kind = int(rng.integers(5))
                    # As in data, a decision has one label, whichever rollout makes it.
                    label, start = (sum(path[: index + 1]) + kind) % 2, nodes[index - 1]
                    builder.add_marker(nodes[index], CONTRACT.marker_ids[kind], kind, label, start)
            trees.append(builder.build())
        return trees

    return make


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(corpus_texts(0, 20)).save_pretrained(str(path))
    return path


class ListSource:
    """Trees from a list, one an item."""

    def __init__(self, items: list[list[TokenTree]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list[TokenTree]:
        return self.items[index]


@pytest.fixture(scope="session")
def list_source() -> type[ListSource]:
    return ListSource
