"""Adapters in training: the base stays as it is, only the adapter is kept, meshes agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from toolprm_jax.model.adapters import (
    ROWS,
    Adapter,
    Lora,
    merge,
    read_adapter,
    save_adapter,
    with_lora,
)
from toolprm_jax.model.decoder import DecoderConfig, init_params
from toolprm_jax.model.files.checkpoint import newest_valid, read_adapter_checkpoint
from toolprm_jax.model.files.hf import load_model, save_model
from toolprm_jax.model.files.loading import load
from toolprm_jax.model.sharding import batch_sharding, make_mesh
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.codec import load_tokenizer
from toolprm_jax.tokens.tree import pack
from train.build import build_start
from train.data import to_device
from train.main import load_config, main
from train.step import (
    Trainable,
    init_state,
    make_objective,
    make_optimizer,
    make_schedule,
    make_train_step,
)

ROOT = Path(__file__).resolve().parents[2]
BASE = DecoderConfig(2048, 16, 32, 2, 2, 1, 8, qkv_bias=False, tie_embeddings=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Any) -> Path:
    path = tmp_path_factory.mktemp("base")
    params = init_params(BASE, jax.random.key(0))
    save_model(path, BASE, params, "float32", small_tokenizer)
    return path


def train(base: Path, workdir: Path, *more: str) -> int:
    settings = {
        "init": base,
        "lora.rank": 2,
        "steps": 4,
        "log_every": 1,
        "eval_every": 4,
        "checkpoint_every": 2,
        "accumulation": 1,
        "optimizer.warmup_steps": 1,
        "model.dtype": "float32",
        "data.rows_per_batch": 8,
        "data.eval_items": 2,
        "data.records_share": 0.0,
    }
    return main(
        [
            f"--config={ROOT / 'configs' / 'smollm2_policy.py'}",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in settings.items()),
            *more,
        ]
    )


def test_only_the_adapter_is_trained_and_kept(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    assert train(base, tmp_path / "w") == 0
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before
    newest = newest_valid(tmp_path / "w" / "checkpoints")
    assert newest is not None
    adapter = read_adapter_checkpoint(newest)
    assert adapter is not None
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(adapter.params)}
    assert len(names) == 14
    assert all("kernel_lora_" in name for name in names)
    moved = [
        leaves["kernel_lora_b"]
        for module in adapter.params["params"]["layers"].values()
        for leaves in module.values()
    ]
    assert all(np.abs(x).max() > 0 for x in moved)

    # The workdir, the folder of all steps and the last step's are the same model.
    config, params = load_model(base)
    merged = merge(params, adapter.params, adapter.lora)
    monkeypatch.chdir(tmp_path)
    for name in ("w", "w/checkpoints", "w/checkpoints/4"):
        loaded = load(name)
        assert loaded.model.config == config
        jax.tree.map(np.testing.assert_array_equal, loaded.params, merged)
    model = tmp_path / "w" / "model"
    exported = read_adapter(model, config)
    assert exported.base == str(base)
    card = (model / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n")
    assert f"on the base `{base}`. It is a policy." in card
    vocabulary = load_tokenizer(base).get_vocab()
    assert load_tokenizer(model).get_vocab() == vocabulary
    for a, b in zip(jax.tree.leaves(exported.params), jax.tree.leaves(adapter.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.01, atol=1e-3)  # bfloat16


def test_layers_below_the_first_stay_those_of_init(base: Path, tmp_path: Path) -> None:
    assert train(base, tmp_path / "w") == 0
    begin = f"--config.init={tmp_path / 'w' / 'model'}"
    assert train(base, tmp_path / "upper", begin, "--config.lora.first_layer=1") == 0
    before, after = (read_adapter(tmp_path / name / "model").params for name in ("w", "upper"))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a[:1], b[:1])
        assert (a[1:] != b[1:]).any()


def test_a_reward_model_goes_on_from_a_policys_adapter(base: Path, tmp_path: Path) -> None:
    assert train(base, tmp_path / "w") == 0
    config = load_config(ROOT / "configs" / "smollm2_prm.py")
    config.init = str(tmp_path / "w" / "model")
    config.lora.rank = 2
    start = build_start(config, make_mesh())
    assert start.base == str(base)
    assert start.params is not None
    policy = read_adapter(tmp_path / "w" / "model")
    layers = start.params["params"]["layers"]
    jax.tree.map(np.testing.assert_array_equal, layers, policy.params["params"]["layers"])
    ids = np.asarray(start.codec.contract.marker_ids)
    embedding = start.frozen["params"]["embed_tokens"]["embedding"]
    np.testing.assert_array_equal(start.params[ROWS], embedding[ids])
    judge = Adapter(str(base), replace(policy.lora, token_ids=tuple(map(int, ids))), start.params)
    save_adapter(tmp_path / "judge", judge)
    config.init, config.objective = str(tmp_path / "judge"), "lm"
    again = build_start(config, make_mesh())
    assert again.params is not None
    assert ROWS not in again.params  # a policy trains none
    config.lora.rank = 3
    with pytest.raises(DataError, match="has rank 2"):
        build_start(config, make_mesh())


@pytest.mark.parametrize("shape", [(1, 8, 1), (2, 2, 2), (8, 1, 1)])
def test_sharded_equals_one_device(shape: Any, model: Any, contract: Any, make_trees: Any) -> None:
    """Whatever the mesh, a step of the adapter is the same, and the base comes back untouched."""
    config = replace(model.config, dtype="float32")
    lora = Lora(4, 8.0, token_ids=contract.marker_ids)
    trainable = Trainable(with_lora(config, lora), lora)
    frozen = init_params(config, jax.random.key(0))
    opt = make_optimizer(make_schedule(1e-2, 1, 10, 0.1), 0.01, 1.0, 0.9, 0.95)
    batch = pack(make_trees(0, 24), 64)
    rows = len(batch.tokens) - len(batch.tokens) % 8
    assert rows >= 8
    batch = batch._make(column[:rows] for column in batch)

    def after(mesh: jax.sharding.Mesh) -> Any:
        objective = make_objective("prm", trainable.model, contract)
        step = make_train_step(mesh, trainable, objective, opt)
        base = jax.tree.map(np.array, frozen)
        state = init_state(mesh, trainable, opt, jax.random.key(1), frozen=base)
        for _ in range(3):
            state, _ = step(state, to_device(batch, batch_sharding(mesh), 1))
        jax.tree.map(np.testing.assert_array_equal, state.frozen, frozen)
        return jax.device_get(state.params)

    one = jax.sharding.Mesh(
        np.array(jax.devices()[:1]).reshape(1, 1, 1),
        ("data", "fsdp", "tensor"),
        axis_types=(jax.sharding.AxisType.Auto,) * 3,
    )
    a, b = after(make_mesh(*shape)), after(one)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-4)
