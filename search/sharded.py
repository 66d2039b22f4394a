"""The search over many devices: each searches for its own queries."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolprm_jax.model.decoder import Params

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
      mesh: from `make_mesh`, with a data axis alone.
      params: of the policy and of the PRM (or None): on every device.
      *queries: pytrees of arrays `[B, ...]`: spread over the devices.

    Returns:
      `(params, *queries)`.
    """
    whole, spread = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), _QUERIES))
    return jax.device_put(params, whole), *(jax.device_put(arrays, spread) for arrays in queries)


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

    Each device goes at its own pace: no collective joins them.

    Args:
      mesh: static; the queries must divide along its data axis, and the others must be 1.
      policy: as in `fine_grained_search`, like all that follows.
      prm: likewise.
      params: from `place`.
      keys: from `place`.
      prompts: from `place`.
      grammar: from `make_grammar`.
      config: its leaves may change without compiling again.
      schema: from `place`.

    Raises:
      ValueError: the mesh has another axis than data.
    """
    if mesh.size != mesh.shape["data"]:
        raise ValueError(f"mesh: expected a data axis alone for a search, found {mesh.shape}")

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
        check_vma=False,
    )
    return mapped(params, keys, prompts, grammar, config, schema)
