"""Searches over many devices: queries along one axis of the mesh, the models along another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolprm_jax.model import Decoder, KeyValues, Params, make_mesh, param_shardings
from toolprm_jax.records import DataError

from ..core import Execution, SearchConfig, SearchOutput
from ..decoder import Models, Prompts, prefill
from ..grammar import Grammar, Rules, StrictTables
from ..methods import Samples, sample_rollouts, search

_WHOLE = PartitionSpec()
_QUERIES = PartitionSpec("data")
_PREFILLED = PartitionSpec(None, "data")


def search_mesh(batch_size: int, tensor: int = 1) -> Mesh:
    """A mesh of as many devices here as batches of a size keep busy.

    Args:
      batch_size: B, which the devices along data divide.
      tensor: devices that share a model.

    Raises:
      DataError: there are fewer devices than `tensor`.
    """
    devices = jax.local_devices()
    if tensor > len(devices):
        raise DataError(f"tensor: expected at most the {len(devices)} devices here, found {tensor}")
    data = math.gcd(batch_size, len(devices) // tensor)
    return make_mesh(data, tensor=tensor, devices=devices[: data * tensor])


def place_models(mesh: Mesh, *params: Params | None) -> tuple[Any, ...]:
    """Parameters where the functions below read them: spread along the tensor axis.

    Args:
      mesh: with fsdp=1.
      *params: of models; None stays None.
    """
    return tuple(jax.device_put(tree, param_shardings(mesh, tree)) for tree in params)


def place_queries(mesh: Mesh, *arrays: Any) -> tuple[Any, ...]:
    """Queries where the functions below read them: spread along the data axis.

    Args:
      mesh: with fsdp=1.
      *arrays: pytrees of arrays `[B, ...]`; None stays None.
    """
    return tuple(jax.device_put(tree, NamedSharding(mesh, _QUERIES)) for tree in arrays)


def _over_queries(mesh: Mesh, function: Callable[..., Any], inputs: Any, outputs: Any) -> Any:
    """A function of queries that each device along data runs for its own.

    Raises:
      ValueError: the mesh has an fsdp axis: it gathers parameters, which pays only in training.
    """
    if mesh.shape["fsdp"] != 1:
        raise ValueError(f"mesh: expected fsdp=1 for a search, found {dict(mesh.shape)}")
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=inputs,
        out_specs=outputs,
        axis_names={"data"},
        check_vma=False,
    )


def _in_step(mesh: Mesh) -> str:
    """`Execution.in_step` on a mesh."""
    return "data" if mesh.shape["tensor"] > 1 else ""


@partial(jax.jit, static_argnames=("mesh", "model"))
def sharded_prefill(mesh: Mesh, model: Decoder, params: Params, prompts: Prompts) -> KeyValues:
    """Keys and values of prompts, for `sharded_search`.

    Args:
      mesh: static, as all searches on it take it.
      model: policy or PRM; static.
      params: from `place_models`.
      prompts: from `place_queries`.
    """
    mapped = _over_queries(mesh, partial(prefill, model), (_WHOLE, _QUERIES), _PREFILLED)
    return mapped(params, prompts)


@partial(jax.jit, static_argnames="mesh")
def sharded_search(
    mesh: Mesh,
    models: Models,
    keys: Array,
    prompts: Prompts,
    config: SearchConfig,
    prefilled: tuple[KeyValues | None, KeyValues | None] = (None, None),
    schema: Rules | None = None,
) -> SearchOutput:
    """`search.search` on a mesh; a query's result is the same on any.

    With a data axis alone each device goes at its own pace: no collective joins them. Along a
    tensor axis the models are spread, and then all devices run the same passes.

    Args:
      mesh: static; the queries must divide along its data axis, and fsdp must be 1.
      models: with parameters from `place_models`.
      keys: from `place_queries`.
      prompts: from `place_queries`.
      config: its leaves may change without compiling again.
      prefilled: from `sharded_prefill`; computed here where None.
      schema: from `place_queries`.
    """
    inputs = (_WHOLE, _QUERIES, _QUERIES, _WHOLE, _PREFILLED, _QUERIES)
    config = replace(config, execution=replace(config.execution, in_step=_in_step(mesh)))
    mapped = _over_queries(mesh, search, inputs, _QUERIES)
    return mapped(models, keys, prompts, config, prefilled, schema)


@partial(jax.jit, static_argnames=("mesh", "model", "count", "max_tokens", "max_lanes"))
def sharded_rollouts(
    mesh: Mesh,
    model: Decoder,
    params: Params,
    keys: Array,
    prompts: Prompts,
    grammar: Grammar,
    *,
    count: int,
    temperature: Array | float,
    max_tokens: int,
    max_lanes: int = Execution.max_lanes,
    schema: StrictTables | None = None,
) -> Samples:
    """`sample_rollouts` on a mesh; a query's completions are the same on any.

    Args:
      mesh: static; as for `sharded_search`.
      model: as in `sample_rollouts`, like all that follows.
      params: from `place_models`.
      keys: from `place_queries`.
      prompts: from `place_queries`.
      grammar: from `make_grammar`.
      count: K, completions per prompt; static.
      temperature: float32[].
      max_tokens: T, limit of a completion; static.
      max_lanes: of a device; static.
      schema: from `place_queries`.
    """
    fixed = {"count": count, "max_tokens": max_tokens, "max_lanes": max_lanes}
    fixed |= {"in_step": _in_step(mesh)}

    def sample(temperature: Array, schema: StrictTables | None, *arrays: Any) -> Samples:
        return sample_rollouts(model, *arrays, temperature=temperature, schema=schema, **fixed)

    inputs = (_WHOLE, _QUERIES, _WHOLE, _QUERIES, _QUERIES, _WHOLE)
    mapped = _over_queries(mesh, sample, inputs, _QUERIES)
    return mapped(temperature, schema, params, keys, prompts, grammar)
