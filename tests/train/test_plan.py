"""Planning a training step: what the plan tells is what the arrays take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import optax
import pytest

from toolprm_jax.model.decoder import Decoder, DecoderConfig
from toolprm_jax.model.files.hf_config import config_to_hf
from toolprm_jax.model.sharding import make_mesh
from toolprm_jax.plan import planned_devices, shape_of
from toolprm_jax.records.types import DataError
from train.build import Config
from train.main import load_config, main, override
from train.plan import plan_training
from train.step import Trainable, init_state

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHAPE = DecoderConfig(
    vocab_size=512, hidden_size=32, intermediate_size=64, num_layers=3, num_heads=4,
    num_kv_heads=2, head_dim=8,
)  # fmt: skip


@pytest.fixture
def init(tmp_path: Path) -> str:
    """A model of which only config.json is there."""
    (tmp_path / "config.json").write_text(json.dumps(config_to_hf(SHAPE, "float32", 0)))
    return str(tmp_path)


def shrunk(init: str, name: str = "prm_hammer2p1_3b.py", settings: Any = ()) -> Config:
    config = load_config(CONFIGS / name)
    small = {"init": init, "accumulation": 2, "data.rows_per_batch": 16, "data.row_length": 64}
    for key, value in {**small, **dict(settings)}.items():
        override(config, f"--config.{key}={value}")
    return config


def bytes_here(tree: Any) -> int:
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


def test_the_plan_counts_what_a_device_holds(init: str) -> None:
    mesh = make_mesh(1, 8)
    plan, facts = plan_training(shrunk(init, settings={"mesh.fsdp": 8}), mesh)
    state = init_state(mesh, Trainable(Decoder(SHAPE)), optax.adamw(1e-3), jax.random.key(0))
    assert plan.parts["parameters"] == bytes_here(state.params)
    assert plan.parts["optimizer"] == pytest.approx(bytes_here(state.opt_state), abs=64)
    assert plan.parts["batch"] == 8 * 4 * 16 * 64 // 8
    assert plan.devices == 8
    assert plan.total > sum(plan.parts.values())
    assert facts["parameters"] == f"{sum(x.size for x in jax.tree.leaves(state.params)):,}"
    one, _ = plan_training(shrunk(init), make_mesh(devices=jax.devices()[:1]))
    assert one.parts["parameters"] > 6 * plan.parts["parameters"]
    assert one.temporary > plan.temporary


def test_an_adapter_has_a_base_beside_it(init: str) -> None:
    mesh = make_mesh(devices=jax.devices()[:1])
    plan, _ = plan_training(
        shrunk(init, "smollm2_prm.py", {"lora.rank": 2, "model.dtype": "float32"}), mesh
    )
    whole, _ = plan_training(shrunk(init), mesh)
    assert plan.parts["frozen base"] == whole.parts["parameters"]  # both in float32
    assert plan.parts["parameters"] < 0.5 * plan.parts["frozen base"]


def test_the_command_prints_the_plan(init: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = f"--config={CONFIGS / 'prm_hammer2p1_3b.py'}"
    small = ["mesh.fsdp=8", "accumulation=1", "data.rows_per_batch=8", "data.row_length=64"]
    settings = [f"--config.{each}" for each in (f"init={init}", *small)]
    assert main([config, "--plan", *settings]) == 0
    out = capsys.readouterr().out
    assert "8 x cpu" in out
    assert "total" in out
    assert "data 1, fsdp 8, tensor 1" in out
    for wrong, message in {
        "--config.data.rows_per_batch=9": "data.rows_per_batch: 9 rows don't divide",
        "--config.mesh.fsdp=3": "there are 8",
        "--config.init=shape:gpt": "expected one of qwen2.5-0.5b",
        "--topology=v5e:9x9": "--topology v5e:9x9: ",
    }.items():
        assert main([config, "--plan", *settings, wrong]) == 2
        assert message in capsys.readouterr().err
    assert main([config, *settings]) == 2
    assert "--workdir" in capsys.readouterr().err


def test_shapes_have_names(init: str) -> None:
    assert shape_of(init) == SHAPE
    assert shape_of("shape:qwen2.5-3b", dtype="bfloat16").dtype == "bfloat16"
    with pytest.raises(DataError, match="no such model"):
        shape_of("nowhere")
    assert planned_devices(None) == jax.devices()
