"""--plan: what a search or a server needs on a device, without weights and without running."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from toolprm_jax.model import (
    Decoder,
    DecoderConfig,
    abstract_params,
    make_mesh,
    num_params,
    param_shardings,
)
from toolprm_jax.plan import Plan, any_codec, make_plan, planned_devices, shape_of

from ..core import GUIDED, SearchConfig
from ..decoder import DecoderPolicy, DecoderReward, Models, Prompts
from ..grammar import ENGINE_SIZE, grammar_from_pieces
from ..host import (
    Prefixes,
    dtype_for,
    empty_rows,
    go_on,
    join,
    nobody_joins,
    nobodys_rules,
    sharded_search,
)


class Planned(NamedTuple):
    """What --policy, --prm, --method, --dtype and --topology name."""

    devices: Sequence[Any]
    policy: DecoderConfig
    prm: DecoderConfig | None


def planned(args: argparse.Namespace) -> Planned:
    """What a command is to plan.

    Args:
      args: of the command.

    Raises:
      DataError: there is no such model, shape or slice.
    """
    devices = planned_devices(args.topology)
    dtype = dtype_for(args.dtype, devices)
    policy = shape_of(args.policy, dtype=dtype)
    prm = shape_of(args.prm, dtype=dtype) if args.method in GUIDED else None
    return Planned(devices, policy, prm)


def model_facts(policy: DecoderConfig, prm: DecoderConfig | None) -> dict[str, str]:
    """What a plan says of its models."""
    shapes = {"policy": policy, "reward model": prm}
    return {
        name: f"{num_params(abstract_params(shape)):,} parameters, {shape.dtype}"
        for name, shape in shapes.items()
        if shape is not None
    }


def _laid_out(make: Callable[..., Any], sharding: NamedSharding, *inputs: Any) -> Any:
    """The arrays that a function makes, as shapes that lie on devices."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(make, *inputs),
    )


def _models(mesh: Mesh, policy: DecoderConfig, prm: DecoderConfig | None) -> Models:
    """Models without weights, on a mesh."""

    def weights(shape: DecoderConfig | None) -> Any:
        if shape is None:
            return None
        abstract = abstract_params(shape)
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, shape.dtype, sharding=sharding),
            abstract,
            param_shardings(mesh, abstract),
        )

    codec = any_codec()
    contract, rows = codec.contract, policy.vocab_size
    grammar = grammar_from_pieces(codec.pieces[:rows], rows, contract.ends, codec.template.dress)
    return Models(
        DecoderPolicy(Decoder(policy)),
        None if prm is None else DecoderReward.of(Decoder(prm), contract),
        (weights(policy), weights(prm)),
        _laid_out(lambda: grammar, NamedSharding(mesh, PartitionSpec())),
    )


def _parts(models: Models) -> dict[str, Any]:
    policy, prm = models.params
    return {"policy": policy, **({} if prm is None else {"reward model": prm})}


def plan_search(
    policy: DecoderConfig,
    prm: DecoderConfig | None,
    config: SearchConfig,
    *,
    batch_size: int,
    prompt_tokens: int,
    tensor: int,
    devices: Sequence[Any],
) -> Plan:
    """Compiles `sharded_search` for devices, which may be ones that aren't there.

    Args:
      policy: shape of the policy; weights are in its dtype.
      prm: shape of the reward model; None plans a method that asks none.
      config: from `method_config`.
      batch_size: B, a multiple of the devices along data.
      prompt_tokens: T, to which prompts are padded.
      tensor: devices that share a model.
      devices: from `planned_devices`.

    Raises:
      ValueError: the devices don't divide.
      DataError: the compiler says that the search doesn't fit.
    """
    mesh = make_mesh(tensor=tensor, devices=devices)
    if batch_size % mesh.shape["data"]:
        raise ValueError(
            f"batch_size: expected a multiple of the {mesh.shape['data']} devices along data, "
            f"found {batch_size}"
        )
    along, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))
    models = _models(mesh, policy, prm)
    lengths = jnp.ones(batch_size, jnp.int32)
    lowered = sharded_search.lower(
        mesh,
        models,
        _laid_out(lambda: jax.random.split(jax.random.key(0), batch_size), along),
        _laid_out(
            lambda: Prompts(jnp.zeros((batch_size, prompt_tokens), jnp.int32), lengths), along
        ),
        _laid_out(lambda: config, whole),
    )
    return make_plan(lowered, _parts(models), devices)


def plan_engine(
    policy: DecoderConfig,
    prm: DecoderConfig | None,
    config: SearchConfig,
    *,
    rows: int,
    longest: int,
    devices: Sequence[Any],
) -> Plan:
    """Compiles the engine's largest programs for one device, which may be one that isn't there.

    These are the search, and the taking in of as many prompt tokens as a packed row holds.

    Args:
      policy: shape of the policy; weights are in its dtype.
      prm: shape of the reward model; None plans a method that asks none.
      config: from `shared_config`.
      rows: queries at once.
      longest: tokens of a prompt, at most.
      devices: from `planned_devices`; the first is planned for.

    Raises:
      DataError: the compiler says that it doesn't fit.
    """
    mesh = make_mesh(devices=devices[:1])
    models, whole = _models(mesh, policy, prm), NamedSharding(mesh, PartitionSpec())
    rules = nobodys_rules(config, ENGINE_SIZE, rows)
    like = jnp.zeros((rows, longest), jnp.int32)
    held = _laid_out(lambda models: empty_rows(models, config, rules, like), whole, models)
    rounds, leaves = (_laid_out(lambda one=one: one, whole) for one in (jnp.int32(1), config))
    most = Prefixes(rows, longest).sizes[-1]
    joining = _laid_out(lambda: nobody_joins(rules, rows, longest, most), whole)
    parts = {**_parts(models), "rows": held}
    plans = [
        make_plan(lowered, parts, devices[:1])
        for lowered in (
            go_on.lower(models, held, rounds, leaves),
            join.lower(models, held, joining, leaves),
        )
    ]
    return max(plans, key=lambda plan: plan.total)
