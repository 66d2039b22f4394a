"""A toy policy and reward model for the search core, and one jitted search over them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from plain_search import Reference

from search.core.beam import beam_search
from search.core.config import Execution, SearchConfig
from search.core.interfaces import Lanes, Memory, Setup
from search.core.output import SearchOutput
from search.grammar.schema import Schema
from search.grammar.tracker import grammar_from_pieces
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.types import Kind

PIECES: list[bytes | None] = [
    b"[]", b'[{"name": "', b"f", b"g", b'", "arguments": {', b'"x": ', b"1", b"2", b", ", b"}",
    b"}}", b"}}]", b', {"name": "', b"]", b" ", None, b'"y": ', b"[",
]  # fmt: skip
END = 15
ROOT = 14  # any token can end the prompt
AFTER = {
    ROOT: [0, 1], 1: [2, 3], 2: [2, 4], 3: [4], 4: [5, 9, 10, 16], 5: [6, 7], 6: [7, 8, 9, 10, 11],
    7: [6, 8, 10, 11], 8: [5, 16], 9: [9, 13, 12], 10: [12, 13], 11: [15], 12: [2, 3], 13: [15],
    16: [6, 7], 17: [13],
}  # fmt: skip
VOCAB, PHASES = len(PIECES), 7
GRAMMAR = grammar_from_pieces(PIECES, VOCAB, [END], "list")


class ToyPolicy:
    """Logits that depend on the last token and the depth."""

    def expand(self, params, cache, lanes: Lanes):
        return params["logits"][lanes.tokens, lanes.depths % PHASES], ()


class ToyReward:
    """Log-probabilities that depend on the token with the boundary, the kind and the depth."""

    def judge(self, params, cache, lanes: Lanes, kinds):
        return params["judge"][lanes.tokens, kinds, lanes.depths % PHASES], ()


def toy_params(seed: int):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(VOCAB, PHASES, VOCAB))
    for token, following in AFTER.items():
        logits[token][:, following] += 5.0
    judge = np.log(rng.uniform(0.05, 1.0, size=(VOCAB, len(Kind), PHASES)))
    return {
        "logits": jnp.asarray(logits, jnp.float32),
        "judge": jnp.asarray(judge, jnp.float32),
    }


@partial(jax.jit, static_argnames="guided")
def toy_search(
    params, keys, config: SearchConfig, schema: Schema | None = None, guided: bool = True
) -> SearchOutput:
    setup = Setup(
        ToyPolicy(),
        ToyReward() if guided else None,
        Memory(lambda cache, queries, slots, own: cache, lambda cache, order: cache),
        GRAMMAR,
        (params, params),
        (None, None),
        schema,
    )
    return beam_search(setup, keys, jnp.full(keys.shape, ROOT), config)


def own_results(output: SearchOutput) -> SearchOutput:
    """What depends on a query alone: without the passes that serve a whole batch."""
    costs: Any = output.costs
    return output._replace(costs=costs._replace(policy_passes=None, prm_passes=None))


def reference(params) -> Reference:
    logits, judge = np.asarray(params["logits"]), np.asarray(params["judge"])
    banned = np.where(np.asarray(GRAMMAR.allowed), 0.0, -np.inf)

    def next_logits(tokens: list[int]) -> np.ndarray:
        return logits[tokens[-1] if tokens else ROOT, len(tokens) % PHASES] + banned

    def judged(tokens: list[int], kind: Kind) -> float:
        return float(judge[tokens[-1], kind, (len(tokens) + 1) % PHASES])

    return Reference(next_logits, judged, PIECES, END, tables("list"))


BASE = SearchConfig(
    num_beams=3,
    beam_width=3,
    temperature=1.0,
    max_decisions=10,
    max_step_tokens=6,
    max_tokens=24,
    pool_size=128,
    execution=Execution(lane_width=2, prm_lane_width=3, max_lanes=6, pass_sizes=2),
)
