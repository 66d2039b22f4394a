"""Training state, optimizer, and the jitted training and evaluation steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolprm_jax.model import (
    Decoder,
    Lora,
    Params,
    Sums,
    abstract_params,
    batch_sharding,
    init_adapter,
    init_params,
    lm_sums,
    means,
    param_shardings,
    prm_sums,
    step_logits,
    with_adapter,
    with_sharded_activations,
)
from toolprm_jax.tokens import Contract, TreeBatch

Objective = Callable[[Params, TreeBatch], Sums]
Metrics = dict[str, Array]


class TrainState(NamedTuple):
    """Everything that a training step changes, and the base that it leaves as it is."""

    step: Array  # int32[], steps taken
    params: Params  # float32 master weights that are trained: of the model, or of its adapter
    opt_state: optax.OptState
    frozen: Params = ()  # the base of an adapter, in the dtype of the computation


class Trainable(NamedTuple):
    """What is trained of a model: all of it, or an adapter beside its frozen base."""

    model: Decoder  # plain, or with the adapter in its forward pass
    lora: Lora | None = None

    def fresh(self, key: Array, frozen: Params) -> Params:
        """Parameters to train from the start; the key is consumed."""
        config = self.model.config
        if self.lora is None:
            return init_params(config, key)
        return init_adapter(config, self.lora, key, frozen)

    def whole(self, params: Params, frozen: Params) -> Params:
        """What the model is applied to."""
        if self.lora is None:
            return params
        return with_adapter(frozen, params, self.lora, self.model.config.dtype)

    def abstract_frozen(self) -> Params:
        """Shapes of the frozen base."""
        config = self.model.config
        if self.lora is None:
            return ()
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, config.dtype), abstract_params(config)
        )


def make_objective(
    name: str, model: Decoder, contract: Contract, sibling_weight: float = 0.0
) -> Objective:
    """The sums that an objective minimises.

    Args:
      name: `lm` (next token, over the edges of the trees) or `prm` (labels at markers).
      model: the decoder.
      contract: holds the ids of the two labels.
      sibling_weight: of a PRM's loss over siblings.

    Raises:
      ValueError: an unknown name.
    """
    if name == "lm":
        return lambda params, batch: lm_sums(model, params, batch)
    if name == "prm":
        return lambda params, batch: prm_sums(
            model, params, batch, contract.label_ids, sibling_weight
        )
    raise ValueError(f"objective: expected lm or prm, got {name!r}")


def make_evaluation(
    name: str, model: Decoder, contract: Contract
) -> Callable[[Params, TreeBatch], Any]:
    """What is kept of a held-out batch: the sums of `lm`, or the step scores `[B, S]` of `prm`."""
    if name == "prm":
        return lambda params, batch: step_logits(model, params, batch, contract.label_ids)
    return make_objective(name, model, contract)


def make_schedule(
    learning_rate: float, warmup_steps: int, steps: int, end_fraction: float
) -> optax.Schedule:
    """Linear warm-up from 0, then a cosine down to `end_fraction` of the peak at `steps`."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(steps, warmup_steps + 1),
        end_value=learning_rate * end_fraction,
    )


_MATRICES = ("kernel", "embedding", "kernel_lora_a", "kernel_lora_b")


def _is_matrix(params: Params) -> Any:
    """True at matrices; stacked biases and scales have two axes but are none."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in _MATRICES, params)


def _upper_layers(first_layer: int) -> optax.GradientTransformation:
    """Zeroes what belongs to the layers below `first_layer`, which are stacked along axis 0."""

    def upper(updates: Any) -> Any:
        layers = jax.tree.map(lambda x: x.at[:first_layer].set(0), updates["params"]["layers"])
        return {**updates, "params": {**updates["params"], "layers": layers}}

    return optax.stateless(lambda updates, params: upper(updates))


def make_optimizer(
    schedule: optax.Schedule,
    weight_decay: float,
    clip_norm: float,
    b1: float,
    b2: float,
    first_layer: int = 0,
) -> optax.GradientTransformation:
    """AdamW after clipping by global norm; weight decay on matrices only.

    Args:
      schedule: learning rate by step.
      weight_decay: decoupled, multiplied by the learning rate.
      clip_norm: greatest global norm of the gradient of the mean loss.
      b1: decay of the first moment.
      b2: decay of the second moment.
      first_layer: the layers below it stay as they are.
    """
    parts = [
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=_is_matrix),
    ]
    if first_layer:
        upper = _upper_layers(first_layer)
        parts = [upper, *parts, upper]  # neither gradient nor weight decay
    return optax.chain(*parts)


def state_shardings(
    mesh: Mesh, trainable: Trainable, optimizer: optax.GradientTransformation
) -> Any:
    """Shardings of a TrainState, and the same state as shapes, without computing anything.

    Returns:
      (TrainState of `jax.ShapeDtypeStruct` with shardings, TrainState of NamedSharding).
    """

    def build(key: Array, frozen: Params) -> TrainState:
        params = trainable.fresh(key, frozen)
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), frozen)

    shapes = jax.eval_shape(build, jax.random.key(0), trainable.abstract_frozen())
    shardings = param_shardings(mesh, shapes)
    abstract = jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )
    return abstract, shardings


def init_state(
    mesh: Mesh,
    trainable: Trainable,
    optimizer: optax.GradientTransformation,
    key: Array,
    params: Params | None = None,
    frozen: Params = (),
) -> TrainState:
    """The state before the first step; every array is made where it will live.

    Args:
      mesh: from `make_mesh`.
      trainable: the decoder, and what of it is trained.
      optimizer: from `make_optimizer`.
      key: consumed for fresh parameters.
      params: parameters to start from instead, donated.
      frozen: parameters of an adapter's base, which become part of the state.
    """
    _, shardings = state_shardings(mesh, trainable, optimizer)

    def start(params: Params) -> tuple[Any, ...]:
        params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
        return jnp.zeros((), jnp.int32), params, optimizer.init(params)

    frozen = jax.device_put(frozen, shardings.frozen)
    layout = tuple(shardings[:3])
    if params is None:
        begin = jax.jit(lambda key, base: start(trainable.fresh(key, base)), out_shardings=layout)
        step, params, opt_state = begin(key, frozen)
    else:
        params = jax.device_put(params, shardings.params)
        begin = jax.jit(start, out_shardings=layout, donate_argnums=0)
        step, params, opt_state = begin(params)
    return TrainState(step, params, opt_state, frozen)


def make_train_step(
    mesh: Mesh,
    trainable: Trainable,
    objective: Objective,
    optimizer: optax.GradientTransformation,
) -> Callable[[TrainState, TreeBatch], tuple[TrainState, Metrics]]:
    """The jitted training step; the state is donated.

    The batch is `[A, B, S]`: A parts of B rows are run one after the other. Gradients and weights
    are summed over the parts and divided once, so accumulation equals one batch of A * B rows
    whatever the weight of each part.

    Returns:
      A function (state, batch) -> (state, metrics): float32 scalars `loss` (nats), `accuracy`,
      `weight`, `grad_norm` (before clipping), `param_norm` (after the step) and, for a PRM,
      `trajectory_accuracy` and `completions`.
    """
    _, shardings = state_shardings(mesh, trainable, optimizer)
    objective = with_sharded_activations(mesh, objective)

    def loss_sum(params: Params, frozen: Params, batch: TreeBatch) -> tuple[Array, Sums]:
        sums = objective(trainable.whole(params, frozen), batch)
        return sums["loss"], sums

    def sums_and_grads(state: TrainState, batch: TreeBatch) -> tuple[Sums, Params]:
        grad = jax.value_and_grad(loss_sum, has_aux=True)
        (_, sums), grads = grad(state.params, state.frozen, batch)
        return sums, grads

    def step(state: TrainState, batch: TreeBatch) -> tuple[TrainState, Metrics]:
        def part(total: tuple[Sums, Params], rows: TreeBatch) -> tuple[tuple[Sums, Params], None]:
            return jax.tree.map(jnp.add, total, sums_and_grads(state, rows)), None

        if batch.tokens.shape[0] == 1:
            sums, grads = sums_and_grads(state, jax.tree.map(lambda x: x[0], batch))
        else:
            first = jax.eval_shape(sums_and_grads, state, jax.tree.map(lambda x: x[0], batch))
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
            (sums, grads), _ = jax.lax.scan(part, zeros, batch)
        sums = {**sums, "weight": jnp.maximum(sums["weight"], 1e-9)}
        grads = jax.tree.map(lambda g: g / sums["weight"], grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        metrics = {
            **means(sums),
            "weight": sums["weight"],
            "grad_norm": optax.tree.norm(grads),
            "param_norm": optax.tree.norm(params),
        }
        if "final_weight" in sums:
            metrics["completions"] = sums["final_weight"]
        return TrainState(state.step + 1, params, opt_state, state.frozen), metrics

    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, NamedSharding(mesh, PartitionSpec())),
        donate_argnums=0,
    )


def make_eval_step(
    mesh: Mesh,
    trainable: Trainable,
    evaluation: Callable[[Params, TreeBatch], Any],
    optimizer: optax.GradientTransformation,
) -> Callable[[TrainState, TreeBatch], Any]:
    """The jitted evaluation step: (state, batch `[1, B, S]`) -> what `evaluation` makes of it."""
    _, shardings = state_shardings(mesh, trainable, optimizer)
    evaluation = with_sharded_activations(mesh, evaluation)
    return jax.jit(
        lambda state, batch: evaluation(
            trainable.whole(state.params, state.frozen), jax.tree.map(lambda x: x[0], batch)
        ),
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=NamedSharding(mesh, PartitionSpec()),
    )
