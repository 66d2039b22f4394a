"""Checkpoints: whole ones restore exactly, damaged and half-written ones are skipped by name."""

from __future__ import annotations

import dataclasses
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from chains import RandomChains
from jax.sharding import AxisType, Mesh

from toolprm_jax.model.files.checkpoint import (
    MANIFEST_FILE,
    CheckpointError,
    newest_valid,
    read_run,
    restore_params,
    verify_manifest,
    write_manifest,
)
from toolprm_jax.model.files.loading import load_weights
from toolprm_jax.model.sharding import AXES, batch_sharding, make_mesh, param_shardings
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.codec import load_tokenizer
from toolprm_jax.tokens.contract import Contract, ContractError
from train.checkpoint import Checkpoints, RunFiles
from train.data import to_device, tree_stream
from train.step import (
    Trainable,
    TrainState,
    init_state,
    make_objective,
    make_optimizer,
    make_schedule,
    make_train_step,
    state_shardings,
)

OPTIMIZER = make_optimizer(make_schedule(1e-2, 2, 100, 0.1), 0.01, 1.0, 0.9, 0.95)


def one_device() -> Mesh:
    return Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), AXES, axis_types=(AxisType.Auto,) * 3)


def stream() -> Any:
    return tree_stream(RandomChains(50, 16, 50, 0), row_length=16, rows=2, seed=0)


@pytest.fixture
def files(model: Any, contract: Contract, tokenizer_dir: Path) -> RunFiles:
    return RunFiles(model.config, {"steps": 9}, contract, load_tokenizer(tokenizer_dir))


@pytest.fixture
def saved(tmp_path: Path, model: Any, files: RunFiles) -> tuple[Path, dict[int, TrainState]]:
    """Checkpoints of steps 1, 2 and 3 (1 is not kept), after as many batches."""
    data, states = stream(), {}
    checkpoints = Checkpoints(tmp_path / "c", files, keep=2)
    for step in (1, 2, 3):
        next(data)
        state = init_state(one_device(), Trainable(model), OPTIMIZER, jax.random.key(step))
        states[step] = state._replace(step=jax.numpy.int32(step))
        checkpoints.save(step, states[step], data)
    checkpoints.close()
    data.close()
    return tmp_path / "c", states


def assert_equal(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def flip_a_bit(folder: Path) -> Path:
    """In the largest array file, where Orbax itself does not notice."""
    files = [path for path in (folder / "params").rglob("*") if path.is_file()]
    victim = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    return victim


@pytest.mark.parametrize("shape", [None, (2, 2, 2)])
def test_restore_is_exact_on_any_mesh(
    saved: tuple[Path, dict[int, TrainState]], model: Any, files: RunFiles, shape: Any
) -> None:
    folder, states = saved
    assert sorted(p.name for p in folder.iterdir()) == ["2", "3"]
    mesh = one_device() if shape is None else make_mesh(*shape)
    abstract, shardings = state_shardings(mesh, Trainable(model), OPTIMIZER)
    data, other = stream(), stream()
    checkpoints = Checkpoints(folder, files, keep=2)
    restored = checkpoints.restore(abstract, data)
    checkpoints.close()
    assert restored is not None
    step, state = restored
    assert step == 3
    assert_equal(state, states[3])
    assert jax.tree.map(lambda x: x.sharding, state.params) == shardings.params
    for _ in range(3):
        next(other)
    assert_equal(next(data).batch, next(other).batch)
    data.close()
    other.close()


def test_only_parameters(saved: tuple[Path, dict[int, TrainState]], model: Any) -> None:
    folder, states = saved
    for path, step in ((folder, 3), (folder / "2", 2)):
        config, params = restore_params(path)
        assert config == model.config
        assert_equal(params, states[step].params)
    assert read_run(folder / "3")["config"] == {"steps": 9}
    mesh = make_mesh(tensor=8)
    weights = load_weights(str(folder), "bfloat16", partial(param_shardings, mesh))
    assert weights.config == dataclasses.replace(model.config, dtype="bfloat16")
    rounded = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), states[3].params)
    assert_equal(weights.params, rounded)
    assert jax.tree.map(lambda x: x.sharding, weights.params) == param_shardings(mesh, rounded)


def test_a_flipped_bit_is_found_and_the_one_before_used(
    saved: tuple[Path, dict[int, TrainState]],
    model: Any,
    files: RunFiles,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, states = saved
    victim = flip_a_bit(folder / "3")
    data = stream()
    checkpoints = Checkpoints(folder, files, keep=2)
    with caplog.at_level(logging.WARNING):
        restored = checkpoints.restore(
            state_shardings(one_device(), Trainable(model), OPTIMIZER)[0], data
        )
    assert restored is not None
    assert restored[0] == 2
    assert_equal(restored[1], states[2])
    assert [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()] == [
        f"checkpoint skipped: {victim}: damaged: its SHA-256 is not the manifest's"
    ]
    # The run goes on and writes that step again.
    next(data)
    checkpoints.save(3, states[3], data)
    checkpoints.close()
    data.close()
    verify_manifest(folder / "3")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        restore_params(folder.parent)


def test_half_written_and_altered_checkpoints_are_not_used(
    saved: tuple[Path, dict[int, TrainState]],
) -> None:
    folder, _ = saved
    (folder / "3" / MANIFEST_FILE).unlink()
    newest = newest_valid(folder)
    assert newest is not None
    assert newest.name == "2"
    with pytest.raises(CheckpointError, match="half-written"):
        verify_manifest(folder / "3")
    (folder / "2" / "stray").write_text("")
    with pytest.raises(CheckpointError, match="not those of its manifest"):
        verify_manifest(folder / "2")
    assert newest_valid(folder) is None


def test_a_run_stopped_at_20_random_steps_ends_like_an_unbroken_one(
    tmp_path: Path,
    model: Any,
    contract: Contract,
    files: RunFiles,
    list_source: Any,
    make_trees: Any,
) -> None:
    mesh, source = one_device(), list_source([[tree] for tree in make_trees(0, 40)])
    step = make_train_step(
        mesh, Trainable(model), make_objective("prm", model, contract), OPTIMIZER
    )
    abstract, _ = state_shardings(mesh, Trainable(model), OPTIMIZER)
    total, every = 48, 4

    def run_to(stop: int, folder: Path) -> TrainState:
        data = tree_stream(source, row_length=48, rows=2, seed=3)
        checkpoints = Checkpoints(folder, files, keep=1)
        restored = checkpoints.restore(abstract, data)
        at, state = restored or (
            0,
            init_state(mesh, Trainable(model), OPTIMIZER, jax.random.key(0)),
        )
        for now in range(at + 1, stop + 1):
            state, _ = step(state, to_device(next(data).batch, batch_sharding(mesh), 1))
            if now % every == 0 and folder.name == "broken":
                checkpoints.save(now, state, data)
        checkpoints.close()
        data.close()
        return state

    stops = sorted(np.random.default_rng(0).choice(np.arange(1, total), 20, replace=False))
    for stop in stops:
        run_to(int(stop), tmp_path / "broken")
    assert_equal(run_to(total, tmp_path / "broken"), run_to(total, tmp_path / "unbroken"))


@pytest.mark.parametrize("name", ["²", "٣", "9" * 40, "4.tmp", "-1"])
def test_folders_that_are_no_steps_are_passed_over(
    saved: tuple[Path, dict[int, TrainState]], name: str
) -> None:
    folder, _ = saved
    (folder / name).mkdir()
    assert newest_valid(folder) == folder / "3"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 100_000, '{"decoder": 1}', '{"decoder": {"hidden_size": 1}}']
)
def test_a_damaged_description_of_a_run_is_an_error_that_names_it(
    saved: tuple[Path, dict[int, TrainState]], text: str
) -> None:
    folder, _ = saved
    path = folder / "3" / "toolprm_run.json"
    run = json.loads(path.read_text())
    for changed in (text, json.dumps({**run, "decoder": {**run["decoder"], "num_heads": 0}})):
        path.write_text(changed)
        write_manifest(folder / "3")  # as if it had been so from the start
        with pytest.raises(DataError, match=r"toolprm_run\.json: "):
            restore_params(folder / "3")


def test_the_best_are_kept_beside_the_newest(tmp_path: Path, model: Any, files: RunFiles) -> None:
    folder, data = tmp_path / "c", stream()
    state = init_state(one_device(), Trainable(model), OPTIMIZER, jax.random.key(0))
    # Step 2 was not measured; a resumed run compares with what the one before left.
    for losses in ({1: 0.5, 2: None, 3: 0.2}, {4: 0.3, 5: 0.4}):
        checkpoints = Checkpoints(folder, files, keep=1, keep_best=2)
        for step, loss in losses.items():
            checkpoints.save(step, state, data, loss)
        checkpoints.close()
    data.close()
    assert sorted(int(path.name) for path in folder.iterdir()) == [3, 4, 5]
    for path in folder.iterdir():
        verify_manifest(path)


def test_another_contract_is_an_error(
    saved: tuple[Path, dict[int, TrainState]], model: Any, files: RunFiles
) -> None:
    other = dataclasses.replace(
        files, contract=dataclasses.replace(files.contract, target="prefix")
    )
    data = stream()
    checkpoints = Checkpoints(saved[0], other, keep=2)
    with pytest.raises(ContractError, match="target is 'label' in one, 'prefix' in the other"):
        checkpoints.restore(state_shardings(one_device(), Trainable(model), OPTIMIZER)[0], data)
    checkpoints.close()
    data.close()


def test_another_decoder_is_an_error_and_another_config_a_warning(
    saved: tuple[Path, dict[int, TrainState]], files: RunFiles, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = saved
    wider = dataclasses.replace(files.decoder, hidden_size=64)
    with pytest.raises(CheckpointError, match="decoder's hidden_size is 32 there and 64 in"):
        dataclasses.replace(files, decoder=wider).check(folder / "3")
    bfloat16 = dataclasses.replace(files.decoder, dtype="bfloat16")
    with caplog.at_level(logging.WARNING):
        dataclasses.replace(files, decoder=bfloat16).check(folder / "3")
        assert caplog.messages == []
        dataclasses.replace(files, config={"steps": 10}).check(folder / "3")
    assert caplog.messages == ["resuming with another steps: 10, was 9"]
