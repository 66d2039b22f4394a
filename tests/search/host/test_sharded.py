"""The search on a mesh of fake devices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_search import own_results

from search.core.config import Execution, SearchConfig
from search.core.output import SearchOutput
from search.decoder import Prompts
from search.host.batches import make_batches, record_keys
from search.host.pair import ModelPair
from search.host.sharded import (
    place_models,
    place_queries,
    search_mesh,
    sharded_rollouts,
    sharded_search,
)
from search.methods import sample_rollouts, search
from toolprm_jax.model.sharding import make_mesh
from toolprm_jax.records.types import DataError
from toolprm_jax.toolworld.masked import masked_corpus

CONFIG = SearchConfig(
    num_beams=2,
    beam_width=2,
    max_step_tokens=24,
    max_tokens=48,
    pool_size=128,
    execution=Execution(pass_sizes=2),
)


@pytest.fixture(scope="module")
def alone(models: ModelPair) -> tuple[Any, SearchOutput]:
    """Parameters, keys and prompts, and what one device makes of them."""
    assert models.prm is not None
    params = (models.policy.params, models.prm.params)
    records = list(masked_corpus(5, "heldout", 24))
    batch = next(make_batches(models.policy.codec, records, 8, 3))
    inputs = (params, record_keys(0, batch.records), batch.prompts)
    return inputs, search(models.models(guided=True), *inputs[1:], CONFIG)


@pytest.mark.parametrize("tensor", [1, 4])
def test_a_mesh_finds_what_one_device_finds(
    models: ModelPair, alone: tuple[Any, SearchOutput], tensor: int
) -> None:
    inputs, one = alone
    mesh = make_mesh(tensor=tensor)
    params: Any = place_models(mesh, *inputs[0])
    keys, prompts = place_queries(mesh, *inputs[1:])
    assert keys.addressable_shards[0].data.shape == (tensor,)
    kernel = params[0]["params"]["layers"]["mlp"]["up_proj"]["kernel"]
    assert kernel.addressable_shards[0].data.shape[-1] == kernel.shape[-1] // tensor
    many = sharded_search(mesh, models.models(True, params), keys, prompts, CONFIG)
    np.testing.assert_array_equal(one.tokens, many.tokens)
    np.testing.assert_array_equal(one.status, many.status)
    np.testing.assert_allclose(one.score, many.score, rtol=1e-4)
    own = [own_results(output).costs for output in (one, many)]
    for a, b in zip(*map(jax.tree.leaves, own), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(set(many.decisions.tolist())) > 1


@pytest.mark.parametrize("tensor", [1, 4])
def test_a_mesh_samples_what_one_device_samples(
    models: ModelPair, alone: tuple[Any, SearchOutput], tensor: int
) -> None:
    (params, _), keys, prompts = alone[0]
    options: Any = {"count": 3, "temperature": 0.8, "max_tokens": 24}
    model, grammar = models.policy.model, models.grammar
    one = sample_rollouts(model, params, keys, prompts, grammar, **options)
    mesh = make_mesh(tensor=tensor)
    laid_out = (*place_models(mesh, params), *place_queries(mesh, keys, prompts))
    many = sharded_rollouts(mesh, model, *laid_out, grammar, **options, max_lanes=16)
    jax.tree.map(np.testing.assert_array_equal, one, many)
    assert len(set(one.lengths.ravel().tolist())) > 1


def test_a_batch_takes_the_devices_that_it_divides_among() -> None:
    shapes = {
        (batch_size, tensor): tuple(search_mesh(batch_size, tensor).shape.values())
        for batch_size, tensor in ((8, 1), (4, 1), (12, 1), (5, 1), (8, 4), (1, 2), (6, 3))
    }
    assert shapes == {
        (8, 1): (8, 1, 1),
        (4, 1): (4, 1, 1),
        (12, 1): (4, 1, 1),
        (5, 1): (1, 1, 1),
        (8, 4): (2, 1, 4),
        (1, 2): (1, 1, 2),
        (6, 3): (2, 1, 3),
    }
    with pytest.raises(DataError, match="at most the 8 devices here, found 9"):
        search_mesh(8, 9)


def test_a_mesh_that_gathers_parameters_is_refused(models: ModelPair) -> None:
    prompts = Prompts(jnp.zeros((4, 2), jnp.int32), jnp.ones(4, jnp.int32))
    keys = jax.random.split(jax.random.key(0), 4)
    mesh = make_mesh(4, fsdp=2)
    with pytest.raises(ValueError, match="expected fsdp=1"):
        sharded_search(mesh, models.models(True, (None, None)), keys, prompts, CONFIG)
