"""Damaged model directories: every file, by flipped bits, cuts, and values of another kind."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import jax

from toolprm_jax.model import (
    Adapter,
    DecoderConfig,
    Lora,
    init_adapter,
    init_params,
    save_adapter,
)
from toolprm_jax.model.files import load, save_model
from toolprm_jax.records import DataError
from toolprm_jax.tokens import make_contract
from toolprm_jax.toolworld.tokenizer import corpus_texts, train_tokenizer

_ODD: list[Any] = [None, -1, 0, 0.5, 10**9, 10**30, 1e300, float("nan"), True, "x", "\ud800", "²"]
_ODD += [[], [1], [{}], {}, {"a": 1}]
_HEAD = 3000  # bytes, where the headers lie


def make_models(folder: Path) -> tuple[Path, Path]:
    """A model's directory, and that of an adapter on it."""
    tokenizer = train_tokenizer(corpus_texts(0, 20))
    config = DecoderConfig(2048, 16, 32, 2, 2, 1, 8)
    params = init_params(config, jax.random.key(0))
    contract = make_contract(tokenizer, config.vocab_size, "compact", "toolprm", "label")
    base, path = folder / "base", folder / "adapter"
    save_model(base, config, params, "float32", tokenizer, contract)
    lora = Lora(2, 4.0, ("q_proj", "v_proj"), contract.marker_ids)
    fresh = init_adapter(config, lora, jax.random.key(1), params)
    save_adapter(path, Adapter(str(base), lora, fresh))
    contract.save(path)
    return base, path


def _damaged(name: str, data: bytes, rng: random.Random) -> bytes:
    how = rng.randrange(4 if name.endswith(".json") else 2)
    place = rng.randrange(min(len(data), _HEAD))
    if how == 0:
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if how == 1:
        return data[: rng.randrange(len(data))]
    value = json.loads(data)
    _change(value, rng)
    return json.dumps(value).encode()


def _change(value: Any, rng: random.Random) -> None:
    """Drops something, at the top or below it, or puts a value of another kind in its place."""
    while True:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        below = value[key]
        if not isinstance(below, dict | list) or not below or rng.random() < 0.4:
            break
        value = below
    if rng.random() < 0.1:
        del value[key]
    else:
        value[key] = rng.choice(_ODD)


def damaged_models(folder: Path, count: int, rng: random.Random) -> Counter[str]:
    """What came of loading models with one damaged file each.

    Args:
      folder: where they are made.
      count: how many.
      rng: chooses files and damage.

    Returns:
      How many were "loaded", how many refused by an error that names the directory ("named");
      anything else by what was raised.
    """
    found: Counter[str] = Counter()
    models = make_models(folder)
    for _ in range(count):
        model = rng.choice(models)
        path = rng.choice(sorted(model.iterdir()))
        whole = path.read_bytes()
        path.write_bytes(_damaged(path.name, whole, rng))
        try:
            load(str(model))
            found["loaded"] += 1
        except (DataError, OSError) as error:
            found["named" if str(model) in str(error) else f"unnamed: {error}"] += 1
        except Exception as error:
            found[f"{path.name}: {type(error).__name__}: {error}"] += 1
        path.write_bytes(whole)
    return found
