"""Draws in strict mode: the policy's distribution over what is allowed, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest
from strict_runs import BYTES, END, SIZE, record_of
from toy_search import BASE, PIECES, toy_params, toy_search

from search.core.allowed import Readers, allowed_tokens, draw_allowed
from search.core.config import SearchConfig
from search.core.interfaces import Status
from search.grammar.strict_compile import arguments_schema
from search.grammar.strict_tables import make_strict
from search.grammar.tracker import Tracker, advance, initial
from toolprm_jax.records.types import Tool

TOOL = Tool(
    "add",
    "",
    {
        "type": "object",
        "properties": {"x": {"enum": ["ab", "ac", "b"]}, "y": {"type": "integer"}},
        "required": ["x"],
    },
)
TABLES = make_strict([record_of(TOOL)], SIZE)
WALKERS = 1024
STRICT = SearchConfig(schema="strict", temperature=1.0)
CHOICES = {  # what may follow
    b'[{"name": "add", "arguments": {"x": "': b"ab",
    b'[{"name": "add", "arguments": {"x": "a': b"bc",
    b'[{"name": "add", "arguments": {"x": "b", "y": 1': b"0123456789.eE} \n\r\t",  # both are given
}


@jax.jit
def read(tokens: Any) -> Tracker:
    """A tracker [1, 1] that has read int32[T]; -1 pads."""

    def body(tracker: Tracker, token: Any) -> tuple[Tracker, None]:
        new, _ = advance(BYTES, tracker, jnp.maximum(token, 0)[None, None], TABLES)
        return jax.tree.map(lambda a, b: jnp.where(token >= 0, a, b), new, tracker), None

    return jax.lax.scan(body, initial(BYTES, (1, 1), TABLES), tokens)[0]


def after(prefix: bytes) -> Tracker:
    """Trackers [1, WALKERS] that have read a prefix."""
    one = read(jnp.asarray([*prefix, *[-1] * (64 - len(prefix))]))
    return jax.tree.map(lambda array: jnp.broadcast_to(array, (1, WALKERS, *array.shape[2:])), one)


@jax.jit
def drawn(tracker: Tracker, logits: Any, key: Any, config: SearchConfig) -> Any:
    """A token of each walker on one lane, and which tokens are allowed."""
    one = Readers(jax.tree.map(lambda array: array[0, :1], tracker), jnp.zeros(1, jnp.int32))
    each = Readers(tracker, jnp.zeros((1, WALKERS), jnp.int32))
    tokens = draw_allowed(
        BYTES, TABLES, logits[None], one, each, jnp.zeros((1, WALKERS), jnp.int32),
        jnp.ones((1, WALKERS), bool),
        lambda number: jax.random.uniform(jax.random.fold_in(key, number), (1, WALKERS)), config,
    )  # fmt: skip
    return tokens[0], allowed_tokens(BYTES, TABLES, one, jnp.ones(1, bool))[0]


def policy_logits(seed: int) -> np.ndarray:
    """Of a policy that would rather write something else."""
    logits = np.random.default_rng(seed).normal(size=END + 1).astype(np.float32)
    logits[ord("?")] += 3.0
    return logits


@pytest.mark.parametrize("prefix", CHOICES)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_draw_is_the_policys_over_what_is_allowed(prefix: bytes, temperature: float) -> None:
    logits = policy_logits(len(prefix))
    tokens, mask = drawn(
        after(prefix),
        jnp.asarray(logits),
        jax.random.key(1),
        replace(STRICT, temperature=temperature),
    )
    may = np.flatnonzero(mask)
    listed = set(CHOICES[prefix])
    assert set(may.tolist()) - {ord("\\")} <= listed
    assert listed - set(b".eE \n\r\t") <= set(may.tolist())
    weights = np.exp((logits[may] - logits[may].max()) / temperature)
    expected = WALKERS * weights / weights.sum()
    counts = np.bincount(np.asarray(tokens), minlength=END + 1)
    assert counts[may].sum() == WALKERS  # nothing else is drawn
    common = expected >= 5
    chi = float((((counts[may] - expected) ** 2) / expected)[common].sum())
    freedom = max(int(common.sum()) - 1, 1)
    assert chi < freedom + 5 * np.sqrt(2 * freedom)


def test_filters_and_greed_count_among_what_is_allowed() -> None:
    prefix = b'[{"name": "add", "arguments": {"x": "b", "y": 1'
    logits = policy_logits(0)
    for config, count in (
        (replace(STRICT, temperature=0.0), 1),
        (replace(STRICT, top_k=3), 3),
        (replace(STRICT, top_p=1e-6), 1),
    ):
        tokens, mask = drawn(after(prefix), jnp.asarray(logits), jax.random.key(2), config)
        order = np.argsort(-np.where(np.asarray(mask), logits, -np.inf))
        assert set(np.asarray(tokens).tolist()) == set(order[:count].tolist())


def test_no_candidate_of_a_strict_search_breaks_a_schema() -> None:
    number = {"type": "integer"}
    tools = (
        Tool("f", "", {"type": "object", "properties": {"x": number}, "required": ["x"]}),
        Tool("g", "", {"type": "object", "properties": {"x": number, "y": {"enum": [1, 12]}}}),
    )
    record = record_of(*tools)
    config = replace(BASE, schema="strict", temperature=1.5, max_tokens=30, trace=True)
    keys = jax.random.split(jax.random.key(3), 4)
    output = jax.device_get(
        toy_search(toy_params(0), keys, config, schema=make_strict([record] * 4))
    )
    trace, flags = output.trace, output.flags
    for row in range(4):
        limits = flags.pool_overflow | flags.step_overflow | flags.length_overflow
        made = trace.status[row, : output.decisions[row]]
        assert limits[row] or (made != Status.DEAD).all()
    assert output.finished.any()
    by_name = {tool.name: tool for tool in tools}
    for row, rank in zip(*np.nonzero(output.status == Status.FINISHED), strict=True):
        tokens = output.tokens[row, rank, : output.lengths[row, rank]].tolist()
        for call in json.loads(b"".join(PIECES[token] or b"" for token in tokens)):
            schema = arguments_schema(record, by_name[call["name"]])
            jsonschema.Draft202012Validator(schema).validate(call["arguments"])
