"""The search over many devices: queries along one axis of the mesh, the models along another."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolprm_jax.model.decoder import Params
from toolprm_jax.model.sharding import param_shardings

from .config import SearchConfig
from .methods import fine_grained_search
from .models import DecoderPolicy, DecoderReward, Prompts
from .output import SearchOutput
from .schema import Schema
from .tracker import Grammar

_QUERIES = PartitionSpec("data")


def place(mesh: Mesh, params: tuple[Params, Params], *queries: Any) -> tuple[Any, ...]:
    """Arrays where `sharded_search` reads them.

    Args:
      mesh: from `make_mesh`, with fsdp=1.
      params: of the policy and of the PRM (or None): spread along the tensor axis.
      *queries: pytrees of arrays `[B, ...]`: spread along the data axis.

    Returns:
      `(params, *queries)`.
    """
    laid_out = tuple(jax.device_put(tree, param_shardings(mesh, tree)) for tree in params)
    spread = NamedSharding(mesh, _QUERIES)
    return laid_out, *(jax.device_put(arrays, spread) for arrays in queries)


@partial(jax.jit, static_argnames=("mesh", "policy", "prm"))
def sharded_search(
    mesh: Mesh,
    policy: DecoderPolicy,
    prm: DecoderReward | None,
    params: tuple[Params, Params],
    keys: Array,
    prompts: Prompts,
    grammar: Grammar,
    config: SearchConfig,
    schema: Schema | None = None,
) -> SearchOutput:
    """`fine_grained_search` on a mesh; a query's result is the same on any.

    With a data axis alone each device goes at its own pace: no collective joins them. Along a
    tensor axis the models are spread, and then all devices run the same passes.

    Args:
      mesh: static; the queries must divide along its data axis, and fsdp must be 1.
      policy: as in `fine_grained_search`, like all that follows.
      prm: likewise.
      params: from `place`.
      keys: from `place`.
      prompts: from `place`.
      grammar: from `make_grammar`.
      config: its leaves may change without compiling again.
      schema: from `place`.

    Raises:
      ValueError: the mesh has an fsdp axis: it gathers parameters, which pays only in training.
    """
    if mesh.shape["fsdp"] != 1:
        raise ValueError(f"mesh: expected fsdp=1 for a search, found {dict(mesh.shape)}")
    config = replace(config, in_step="data" if mesh.shape["tensor"] > 1 else "")

    def search(
        params: Any, keys: Array, prompts: Prompts, grammar: Grammar, config: Any, schema: Any
    ) -> Any:
        return fine_grained_search(
            policy, prm, params, keys, prompts, grammar, config, schema=schema
        )

    whole = PartitionSpec()
    mapped = jax.shard_map(
        search,
        mesh=mesh,
        in_specs=(whole, _QUERIES, _QUERIES, whole, whole, _QUERIES),
        out_specs=_QUERIES,
        axis_names={"data"},
        check_vma=False,
    )
    return mapped(params, keys, prompts, grammar, config, schema)
