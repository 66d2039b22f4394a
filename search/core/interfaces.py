"""What a search is given: a policy, a reward model, how their caches are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

import jax
from jax import Array

from ..grammar import Grammar, Rules
from .config import DYNAMIC, SearchConfig

Cache = Any  # what a model keeps per query: a pytree of arrays
LaneState = Any  # what a model keeps of each lane: a pytree of arrays [R, W, ...]

# Here rather than where it is defined, which commands import for their options without JAX.
jax.tree_util.register_dataclass(
    SearchConfig,
    data_fields=DYNAMIC,
    meta_fields=[each.name for each in fields(SearchConfig) if each.name not in DYNAMIC],
)


class Status(IntEnum):
    """Where a walker or a beam stands; the names of the second row are those of beams."""

    ACTIVE, STOPPED, DEAD, IDLE = range(4)
    LIVE, FINISHED, EMPTY = ACTIVE, STOPPED, IDLE
    HELD = 4  # a walker that may yet set out, see budget.py


class Lanes(NamedTuple):
    """Tokens to run through a model: R rows of W, each row of one query, a query of many rows."""

    queries: Array  # int32[R], the query of each row
    slots: Array  # int32[R, W], P where a lane is idle or is not to be stored
    tokens: Array  # int32[R, W]
    depths: Array  # int32[R, W]
    ancestors: Array  # bool[R, W, P], cached slots that a lane sees
    within: Array  # bool[R, W, R * W], lanes of this pass that a lane sees, itself always
    active: Array  # bool[R, W]
    used: Array  # int32[], no ancestor stands at or behind this slot


class Policy(Protocol):
    """Proposes tokens."""

    def expand(self, params: Any, cache: Cache, lanes: Lanes) -> tuple[Array, LaneState]:
        """Logits float32[R, W, V] after each lane, and what is to be stored of each."""
        ...


class Reward(Protocol):
    """Scores decisions."""

    def judge(
        self, params: Any, cache: Cache, lanes: Lanes, kinds: Array
    ) -> tuple[Array, LaneState]:
        """Log-probabilities of "+" at markers, float32[R, W], and what is to be stored of lanes.

        `kinds` int32[R, W] tells a marker's kind, and is -1 where the lane is a token. A marker's
        own slot is P, its token that of the boundary, its depth one more; nothing sees it.
        """
        ...


class Memory(NamedTuple):
    """How a model's cache is written."""

    # (cache, queries int32[R], slots int32[R, W], own) -> cache; what goes to slot P is lost
    store: Callable[[Cache, Array, Array, LaneState], Cache]
    # (cache, order int32[B, P]) -> cache with the slots `order` at the front
    permute: Callable[[Cache, Array], Cache]


@dataclass(frozen=True)
class Setup:
    """What a search runs with; all of it stays as it is while the search runs.

    Attributes:
      policy: proposes tokens.
      reward: scores decisions; None ranks by the policy's own likelihood.
      memory: how their caches are written.
      grammar: tables of the call grammar over the vocabulary.
      params: of the policy and of the reward model.
      caches: of both, with each prompt but for its last token.
      schema: of the B queries' tools: a `Schema` where `SearchConfig.schema` is "prune",
        `StrictTables` where it is "strict".
    """

    policy: Policy
    reward: Reward | None
    memory: Memory
    grammar: Grammar
    params: tuple[Any, Any]
    caches: tuple[Cache, Cache]
    schema: Rules | None = None
