"""One training step: on any mesh, in any number of parts, the same numbers."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from toolprm_jax.model.sharding import AXES, batch_sharding, make_mesh, param_shardings
from toolprm_jax.tokens.tree import TreeBatch, pack
from train.data import to_device
from train.step import (
    Trainable,
    TrainState,
    init_state,
    make_eval_step,
    make_evaluation,
    make_objective,
    make_optimizer,
    make_schedule,
    make_train_step,
)

ROW = 48


def one_device() -> Mesh:
    return Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), AXES, axis_types=(AxisType.Auto,) * 3)


def optimizer(peak: float = 1e-2) -> optax.GradientTransformation:
    return make_optimizer(make_schedule(peak, 2, 100, 0.1), 0.01, 1.0, 0.9, 0.95)


def batch_of(make_trees: Any, rows: int) -> TreeBatch:
    packed = pack(make_trees(0, 4 * rows), ROW)
    return TreeBatch._make(column[:rows] for column in packed)


def difference(a: Any, b: Any) -> float:
    """||a - b|| / ||b|| over whole pytrees."""
    a, b = jax.device_get(a), jax.device_get(b)
    return float(optax.tree.norm(jax.tree.map(np.subtract, a, b)) / optax.tree.norm(b))


def steps(
    mesh: Mesh, model: Any, contract: Any, batch: TreeBatch, *, parts: int, name: str, count: int
) -> tuple[TrainState, dict[str, Any]]:
    opt = optimizer()
    step = make_train_step(mesh, Trainable(model), make_objective(name, model, contract), opt)
    state = init_state(mesh, Trainable(model), opt, jax.random.key(0))
    metrics: dict[str, Any] = {}
    for _ in range(count):
        state, metrics = step(state, to_device(batch, batch_sharding(mesh), parts))
    return state, metrics


@pytest.fixture(scope="module")
def one(model: Any, contract: Any, make_trees: Any) -> tuple[TrainState, dict[str, Any]]:
    """Three steps on one device."""
    batch = batch_of(make_trees, 8)
    return steps(one_device(), model, contract, batch, parts=1, name="prm", count=3)


@pytest.mark.parametrize("shape", [(1, 8, 1), (2, 2, 2), (8, 1, 1), (1, 4, 2)])
def test_every_mesh_equals_one_device(
    shape: tuple[int, int, int],
    model: Any,
    contract: Any,
    make_trees: Any,
    one: tuple[TrainState, dict[str, Any]],
) -> None:
    expected_state, expected_metrics = one
    batch = batch_of(make_trees, 8)
    many, metrics = steps(make_mesh(*shape), model, contract, batch, parts=1, name="prm", count=3)
    assert int(many.step) == 3
    assert difference(many.params, expected_state.params) < 1e-5
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    # Parameters and both moments really lie as the table says.
    kernel = many.params["params"]["layers"]["self_attn"]["q_proj"]["kernel"]
    expected = PartitionSpec(None, "fsdp", "tensor")
    assert kernel.sharding.spec == expected
    flat, _ = jax.tree_util.tree_flatten_with_path(many.opt_state)
    moments = [leaf for path, leaf in flat if "q_proj']['kernel" in jax.tree_util.keystr(path)]
    assert [moment.sharding.spec for moment in moments] == [expected] * 2
    local = kernel.addressable_shards[0].data.shape
    assert local == (2, 32 // shape[1], 32 // shape[2])


@pytest.mark.parametrize("shape", [(1, 8, 1), (2, 2, 2), (8, 1, 1), (1, 4, 2)])
def test_activations_are_split_by_rows_and_heads(
    shape: tuple[int, int, int], model: Any, contract: Any, make_trees: Any
) -> None:
    mesh, opt, batch = make_mesh(*shape), optimizer(), batch_of(make_trees, 8)
    seen: dict[str, tuple[int, ...]] = {}

    def look(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out = method(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(out, jax.Array) and out.ndim == 3:
            # The callback comes when the layout is settled, as the program is compiled.
            jax.debug.inspect_array_sharding(
                out,
                callback=lambda s, n=context.module.name, d=out.shape: seen.update(
                    {n: s.shard_shape(d)}
                ),
            )
        return out

    def evaluation(params: Any, rows: TreeBatch) -> Any:
        with nn.intercept_methods(look):
            return make_evaluation("prm", model, contract)(params, rows)

    state = init_state(mesh, Trainable(model), opt, jax.random.key(0))
    evaluate = make_eval_step(mesh, Trainable(model), evaluation, opt)
    assert evaluate(state, to_device(batch, batch_sharding(mesh), 1)).shape == (8, ROW)
    rows, tensor = 8 // (shape[0] * shape[1]), shape[2]
    for name in ("embed_tokens", "norm", "input_layernorm", "o_proj", "down_proj"):
        assert seen[name] == (rows, ROW, 32), name
    for name, width in (("q_proj", 32), ("k_proj", 16), ("v_proj", 16), ("up_proj", 64)):
        assert seen[name] == (rows, ROW, width // tensor), name


def test_a_dimension_that_does_not_divide_stays_whole() -> None:
    mesh = make_mesh(1, 4, 2)
    tree = {"params": {"lm_head": {"kernel": jax.ShapeDtypeStruct((6, 65), jnp.float32)}}}
    (sharding,) = jax.tree.leaves(param_shardings(mesh, tree))
    assert sharding.spec == PartitionSpec(None, None)


def test_a_parameter_without_a_rule_is_an_error() -> None:
    tree = {"params": {"new_layer": {"kernel": jax.ShapeDtypeStruct((8, 8), jnp.float32)}}}
    with pytest.raises(ValueError, match="no sharding rule for params/new_layer/kernel"):
        param_shardings(make_mesh(8, 1, 1), tree)


def test_a_mesh_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs 6 devices, there are 8"):
        make_mesh(3, 2, 1)


@pytest.mark.parametrize("name", ["lm", "prm"])
def test_accumulation_equals_one_batch(
    name: str, model: Any, contract: Any, make_trees: Any
) -> None:
    batch = batch_of(make_trees, 8)
    # Parts of very different weight: a mean of means would differ.
    batch.weights[:2] *= 10
    batch.weights[6:] = 0
    whole, metrics_whole = steps(one_device(), model, contract, batch, parts=1, name=name, count=2)
    parts, metrics_parts = steps(one_device(), model, contract, batch, parts=4, name=name, count=2)
    assert difference(parts.params, whole.params) < 1e-5
    for key, value in metrics_whole.items():
        np.testing.assert_allclose(metrics_parts[key], value, rtol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", ["lm", "prm"])
def test_the_loss_falls_and_evaluation_agrees(
    name: str, model: Any, contract: Any, make_trees: Any
) -> None:
    mesh, opt = one_device(), optimizer(3e-2)
    objective = make_objective(name, model, contract)
    batch = to_device(batch_of(make_trees, 2), batch_sharding(mesh), 1)
    step = make_train_step(mesh, Trainable(model), objective, opt)
    evaluate = make_eval_step(mesh, Trainable(model), objective, opt)
    state = init_state(mesh, Trainable(model), opt, jax.random.key(0))
    losses = []
    for _ in range(60):
        before = evaluate(state, batch)
        state, metrics = step(state, batch)
        np.testing.assert_allclose(before["loss"] / before["weight"], metrics["loss"], rtol=1e-4)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.6 * losses[0]


def test_weight_decay_reaches_matrices_only(model: Any) -> None:
    mesh, opt = one_device(), optimizer()
    state = init_state(mesh, Trainable(model), opt, jax.random.key(0))
    params = jax.tree.map(jnp.ones_like, state.params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    opt_state = opt.init(params)
    _, opt_state = opt.update(zeros, opt_state, params)  # the first learning rate is 0
    updates, _ = opt.update(zeros, opt_state, params)
    flat, _ = jax.tree_util.tree_flatten_with_path(updates)
    for path, update in flat:
        decayed = path[-1].key in ("kernel", "embedding")
        assert bool(jnp.all(update < 0)) == decayed, path
        assert bool(jnp.all(update == 0)) != decayed, path


def test_the_schedule_warms_up_and_ends_low() -> None:
    schedule = make_schedule(1e-2, 10, 100, 0.1)
    assert np.asarray(schedule(0)) == 0.0
    np.testing.assert_allclose(schedule(10), 1e-2, rtol=1e-6)
    np.testing.assert_allclose(schedule(100), 1e-3, rtol=1e-5)
