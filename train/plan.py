"""toolprm-train --plan: what a training step needs on a device, without weights or data."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from toolprm_jax.model import abstract_params, batch_sharding, make_mesh, num_params
from toolprm_jax.plan import Plan, any_codec, make_plan, planned_devices, print_plan, shape_of
from toolprm_jax.records import DataError
from toolprm_jax.tokens import TreeBatch

from .build import Config, build_steps, check_rows, decoder_of, trainable_of
from .flops import training_flops
from .step import state_shardings


def plan_training(config: Config, mesh: Mesh) -> tuple[Plan, dict[str, str]]:
    """Compiles a config's training step for a mesh, whose devices may be ones that aren't there.

    Args:
      config: its `init` may be "shape:NAME", see `plan.SHAPES`.
      mesh: from `make_mesh`.

    Returns:
      The plan, and facts to print beside it.

    Raises:
      DataError: there is no such shape or model; rows don't divide; the step doesn't fit.
    """
    settings = {"dtype": config.model.dtype, "remat": config.model.remat}
    decoder = shape_of(config.init, **settings) if config.init else decoder_of(config)
    codec = any_codec()
    trainable = trainable_of(config, decoder, codec.contract)
    steps = build_steps(config, mesh, trainable, codec)
    state, _ = state_shardings(mesh, trainable, steps.optimizer)
    data = config.data
    check_rows(config, mesh.shape["data"] * mesh.shape["fsdp"])
    rows = data.rows_per_batch // config.accumulation
    shape = (config.accumulation, rows, data.row_length)
    batch: Any = jax.tree.map(
        lambda dtype: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh)),
        TreeBatch(*[np.int32] * 7, weights=np.float32),  # type: ignore[arg-type]
    )
    step: Any = steps.train
    lowered = step.lower(state, batch)
    parts = {
        "parameters": state.params,
        "optimizer": state.opt_state,
        **({"frozen base": state.frozen} if config.lora.rank else {}),
        "batch": batch,
    }
    plan = make_plan(lowered, parts, mesh.devices.flatten().tolist())
    tokens = data.rows_per_batch * data.row_length
    most = training_flops(
        decoder,
        tokens,
        tokens * (data.row_length + 1) / 2,
        tokens * (2 if config.objective == "prm" else decoder.vocab_size),
    )
    trained = num_params(state.params)
    facts = {
        "parameters": f"{num_params(abstract_params(decoder)):,}, of which {trained:,} are trained"
        if config.lora.rank
        else f"{trained:,}",
        "mesh": ", ".join(f"{name} {size}" for name, size in mesh.shape.items()),
        "batch": f"{data.rows_per_batch} rows of {data.row_length} tokens, "
        f"{config.accumulation} parts one after the other",
        "model FLOPs of a step, at most": f"{most:.3g}",
    }
    return plan, facts


def run_plan(config: Config, topology: str | None) -> None:
    """Prints what a config's training step needs.

    Args:
      config: resolved.
      topology: of a TPU slice, such as "v5e:4x4"; None for the devices that are here.

    Raises:
      DataError: the devices don't divide, or as of `plan_training`.
    """
    axes = config.mesh
    devices = planned_devices(topology)
    try:
        mesh = make_mesh(axes.data, axes.fsdp, axes.tensor, devices)
    except ValueError as error:
        raise DataError(str(error)) from None
    print_plan(*plan_training(config, mesh))
