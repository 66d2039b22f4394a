"""Next bytes in strict decoding beside those of llguidance, an engine of another make."""

from __future__ import annotations

import json
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_schemas import TEXTS, instance
from strict_runs import BYTES, SIZE, record_of

from search.grammar.strict_tables import StrictTables, make_strict
from search.grammar.tracker import advance, can_begin, initial
from toolprm_jax.records.types import Tool

llguidance = pytest.importorskip("llguidance")
bitmasks = pytest.importorskip("llguidance.numpy")

PREFIXES, ROWS, LENGTH = 1000, 50, 96
HEAD = b'[{"name":"f","arguments":'


def some_schema(how: random.Random) -> dict[str, Any]:
    """A schema that both support; one key at most, for llguidance keeps the keys' order."""
    kinds: list[dict[str, Any]] = [
        {"type": "integer", "minimum": how.randint(-50, 5), "maximum": how.randint(6, 300)},
        {"type": "string", "minLength": how.randrange(3), "maxLength": how.randint(3, 5)},
        {"enum": [how.choice(TEXTS) for _ in range(3)]},
        {"type": "array", "items": {"type": how.choice(["integer", "boolean", "string"])},
         "minItems": how.randrange(2), "maxItems": 3},
        {"type": "object", "properties": {"ab": {"type": "boolean"}}, "required": ["ab"],
         "additionalProperties": False},
        {"anyOf": [{"type": "integer"}, {"type": "null"},
                   {"type": "array", "items": {"type": "null"}}]},
        {"const": how.choice(["xyz", 12, True, None])},
        {"type": how.choice(["number", "boolean", "null", "string", "integer"])},
    ]  # fmt: skip
    return how.choice(kinds)


def parameters(schema: dict[str, Any]) -> dict[str, Any]:
    out = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    return {**out, "additionalProperties": False}


@jax.jit
def ours(tables: StrictTables, tokens: jax.Array) -> jax.Array:
    """Bytes allowed after int32[B, T], bool[B, 257]; none after what is dead."""

    def body(tracker: Any, column: jax.Array) -> tuple[Any, None]:
        after, _ = advance(BYTES, tracker, jnp.maximum(column, 0), tables)

        def pick(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.where((column >= 0).reshape(column.shape + (1,) * (a.ndim - 1)), a, b)

        return jax.tree.map(pick, after, tracker), None

    count = tokens.shape[0]
    tracker, _ = jax.lax.scan(body, initial(BYTES, (count,), tables), tokens.T)
    return can_begin(BYTES, tables, tracker, jnp.arange(count))


def theirs(tokenizer: Any, schema: dict[str, Any], prefix: bytes) -> set[int]:
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(parameters(schema)))
    matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
    assert not matcher.get_error()
    if not matcher.consume_tokens(list(prefix)):
        return set()
    mask = bitmasks.allocate_token_bitmask(1, tokenizer.vocab_size)
    bitmasks.fill_next_token_bitmask(matcher, mask, 0)
    bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits[:256]).tolist())


def test_allows_what_the_engine_allows_and_more_only_in_spelling() -> None:
    how = random.Random(0)
    cases = []
    while len(cases) < PREFIXES:
        schema = some_schema(how)
        value = {"x": instance(how, schema, {})}
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        cases.append((schema, text[: how.randint(1, len(text) - 1)]))  # what follows is not theirs
    tokenizer = llguidance.LLTokenizer("byte")
    same = 0
    for first in range(0, PREFIXES, ROWS):
        part = cases[first : first + ROWS]
        tokens = np.full((ROWS, LENGTH), -1, np.int32)
        for row, (_, prefix) in enumerate(part):
            tokens[row, : len(HEAD) + len(prefix)] = list(HEAD + prefix)
        tools = [Tool("f", "", parameters(schema)) for schema, _ in part]
        tables = make_strict([record_of(tool) for tool in tools], SIZE)
        allowed = np.asarray(ours(tables, jnp.asarray(tokens)))[:, :256]
        for (schema, prefix), row in zip(part, allowed, strict=True):
            mine, other = set(np.flatnonzero(row).tolist()), theirs(tokenizer, schema, prefix)
            assert other <= mine, (schema, prefix, bytes(other - mine))
            # Spelled here alone: 3.0 and 3e2 of integers, -0, `\/`, `\u` of what is not ASCII, and
            # the control character DEL as itself.
            assert mine - other <= set(b".eE-/\\\x7f"), (schema, prefix, bytes(mine - other))
            same += mine == other
    assert same > 0.8 * PREFIXES
