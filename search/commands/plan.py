"""toolprm-search --plan: what a search needs on a device, without weights and without running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from toolprm_jax.model import Decoder, DecoderConfig, abstract_params, make_mesh, param_shardings
from toolprm_jax.plan import Plan, any_codec, make_plan

from ..core import SearchConfig
from ..decoder import DecoderPolicy, DecoderReward, Models, Prompts
from ..grammar import grammar_from_pieces
from ..host import sharded_search


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

    def laid_out(make: Callable[[], Any], sharding: NamedSharding) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            jax.eval_shape(make),
        )

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
    contract = codec.contract
    params = (weights(policy), weights(prm))
    rows = policy.vocab_size
    grammar = grammar_from_pieces(codec.pieces[:rows], rows, contract.ends, codec.template.dress)
    lengths = jnp.ones(batch_size, jnp.int32)
    lowered = sharded_search.lower(
        mesh,
        Models(
            DecoderPolicy(Decoder(policy)),
            None if prm is None else DecoderReward.of(Decoder(prm), contract),
            params,
            laid_out(lambda: grammar, whole),
        ),
        laid_out(lambda: jax.random.split(jax.random.key(0), batch_size), along),
        laid_out(
            lambda: Prompts(jnp.zeros((batch_size, prompt_tokens), jnp.int32), lengths), along
        ),
        laid_out(lambda: config, whole),
    )
    parts = {"policy": params[0], **({} if prm is None else {"reward model": params[1]})}
    return make_plan(lowered, parts, devices)
