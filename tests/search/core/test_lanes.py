"""Packing tokens of many queries into passes; moving a cache's slots; walking out of step."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_search import BASE, own_results, toy_params, toy_search

from search.core.config import Execution
from search.core.lanes import Lanes, Memory, Rows, in_passes, make_lanes
from search.core.pool import compact
from search.decoder import ModelCache, new_cache, permute_cache, store_lanes
from toolprm_jax.model.decoder import KeyValues

LONGEST = 7


@partial(jax.jit, static_argnames=("lane_width", "max_lanes"))
def visits(counts: Any, lane_width: int, max_lanes: int) -> Any:
    """When each entry of the lists was run, and what its slot then held."""
    batch = counts.shape[0]

    def run(rows: Rows, cache: Any, carry: Any) -> Any:
        times, turn = carry
        shape = rows.places.shape
        nothing = jnp.zeros((*shape, LONGEST), bool)
        lanes = make_lanes(
            batch, rows.queries, rows.places, rows.places, rows.places, nothing, rows.active
        )
        places = jnp.where(rows.active, rows.places, LONGEST)
        times = times.at[rows.queries[:, None], places].add(turn, mode="drop")
        own = rows.queries[:, None] * 100 + rows.places
        return lanes, own, (times, turn + 1)

    def store(cache: Any, queries: Any, slots: Any, own: Any) -> Any:
        return cache.at[queries[:, None], slots].add(own, mode="drop")

    memory = Memory(store, lambda cache, order: cache)
    empty = jnp.zeros((batch, LONGEST), jnp.int32)
    width = min(lane_width, LONGEST)
    carry = (empty, jnp.int32(1))
    config = Execution(max_lanes=max_lanes)
    return in_passes(run, memory, counts, LONGEST, width, config, empty, carry)


@pytest.mark.parametrize(("lane_width", "max_lanes"), [(2, 4), (3, 1000), (9, 9), (4, 1)])
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, LONGEST), min_size=5, max_size=5))
def test_every_entry_is_run_and_stored_once(
    lane_width: int, max_lanes: int, lengths: list[int]
) -> None:
    stored, (times, turns), passes = visits(jnp.asarray(lengths, jnp.int32), lane_width, max_lanes)
    width = min(lane_width, LONGEST)
    total = sum(-(-length // width) for length in lengths)
    # The largest pass is used until less is left; what is left takes at most one pass more.
    most = min(5 * -(-LONGEST // width), max(max_lanes // width, 1))
    assert int(turns) - 1 == passes == -(-total // most)
    order = []
    for query, length in enumerate(lengths):
        assert (np.asarray(times[query, :length]) > 0).all()
        assert (np.asarray(times[query, length:]) == 0).all()
        assert stored[query].tolist() == [
            query * 100 + place if place < length else 0 for place in range(LONGEST)
        ]
        order += times[query, :length].tolist()
    assert order == sorted(order)


def test_a_lane_sees_its_path_and_no_other_query() -> None:
    """What is cached and what runs beside it make up the path, without what follows the lane."""
    rng = np.random.default_rng(0)
    batch, size, rows, width = 3, 24, 6, 2
    parents = np.asarray(
        [[-1, *(int(rng.integers(0, i)) for i in range(1, size))] for _ in range(batch)]
    )
    paths = np.zeros((batch, size, size), bool)
    for query in range(batch):
        for slot in range(size):
            above = slot
            while above >= 0:
                paths[query, slot, above] = True
                above = parents[query, above]
    queries = np.asarray([0, 0, 1, 1, 1, 2], np.int64)
    chosen = {q: sorted(rng.choice(np.arange(1, size), 8, replace=False)) for q in range(batch)}
    slots = np.asarray(
        [[chosen[q].pop(0) for _ in range(width)] for q in queries.tolist()], np.int64
    )
    active = np.ones((rows, width), bool)
    active[3, 1] = False
    slots[5, 1] = size  # a leaf below slot 20, itself not stored
    tips = np.where(slots == size, 20, slots)
    lanes: Lanes = jax.device_get(
        make_lanes(
            batch,
            jnp.asarray(queries),
            jnp.asarray(slots),
            jnp.zeros((rows, width), jnp.int32),
            jnp.zeros((rows, width), jnp.int32),
            jnp.asarray(paths[queries[:, None], tips]),
            jnp.asarray(active),
        )
    )
    flat = [(int(queries[r]), int(slots[r, w])) for r in range(rows) for w in range(width)]
    beside = {place for place, on in zip(flat, active.reshape(-1), strict=True) if on}
    for row, lane in np.ndindex(rows, width):
        own = flat[row * width + lane]
        others = [f for f, sees in zip(flat, lanes.within[row, lane], strict=True) if sees]
        assert own in others
        seen = {(own[0], int(slot)) for slot in np.flatnonzero(lanes.ancestors[row, lane])}
        if not active[row, lane]:
            assert others == [own]
            assert not seen
            continue
        assert not seen & beside
        path = np.flatnonzero(paths[own[0], tips[row, lane]])
        assert seen | set(others) == {(own[0], int(slot)) for slot in path} | {own}
    assert lanes.used == np.flatnonzero(lanes.ancestors.any(axis=(0, 1))).max() + 1


def a_cache(batch: int, size: int) -> ModelCache:
    prompt = KeyValues(*[jnp.zeros((2, batch, 1, 4, 3))] * 2)
    cache = new_cache(prompt, jnp.full(batch, 4), size)
    numbers = jnp.arange(cache.pool.keys.size, dtype=jnp.float32).reshape(cache.pool.keys.shape)
    return cache._replace(pool=KeyValues(numbers, -numbers))


@pytest.mark.parametrize("size", [40, 128, 200])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_prune_moves_slots_to_the_front(size: int, data: Any) -> None:
    """Some queries keep a few slots, some all of them, some none."""
    seed = data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    kept = rng.random((3, size)) < data.draw(st.sampled_from([0.05, 0.5, 1.0]))
    kept[0] = data.draw(st.booleans())
    order, counts = compact(jnp.asarray(kept))
    before = a_cache(3, size)
    after = jax.jit(permute_cache)(before, order)
    for old, new in zip(before.pool, after.pool, strict=True):
        for row in range(3):
            count = int(counts[row])
            expected = np.asarray(old)[:, row][:, :, np.flatnonzero(kept[row])]
            np.testing.assert_array_equal(np.asarray(new)[:, row, :, :count], expected)


def test_lanes_are_stored_where_they_belong() -> None:
    before = a_cache(3, 70)
    queries, slots = jnp.asarray([2, 0, 2]), jnp.asarray([[5, 69], [0, 70], [6, 70]])
    own = KeyValues(*(jnp.full((3, 2, 2, 1, 3), value) for value in (0.5, 0.25)))
    after = store_lanes(before, queries, slots, own)
    for old, new, value in zip(before.pool, after.pool, (0.5, 0.25), strict=True):
        expected = np.array(old)
        for row, slot in ((2, 5), (2, 69), (0, 0), (2, 6)):
            expected[:, row, :, slot] = value
        np.testing.assert_array_equal(np.asarray(new)[..., :70, :], expected[..., :70, :])


@pytest.mark.parametrize("explore", ["sample", "distinct"])
def test_patience_changes_no_result(explore: Any) -> None:
    params = toy_params(11)
    keys = jax.random.split(jax.random.key(12), 6)
    config = replace(BASE, trace=True, explore=explore)
    in_step = own_results(
        toy_search(params, keys, replace(config, execution=replace(config.execution, patience=1.0)))
    )
    assert len(set(in_step.decisions.tolist())) > 1
    for patience in (0.0, 0.5):
        out = own_results(
            toy_search(
                params,
                keys,
                replace(config, execution=replace(config.execution, patience=patience)),
            )
        )
        for a, b in zip(jax.tree.leaves(in_step), jax.tree.leaves(out), strict=True):
            np.testing.assert_array_equal(a, b)
