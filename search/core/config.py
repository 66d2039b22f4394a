"""What a search is compiled for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import jax
from jax import Array

from toolprm_jax.grammar import Kind

Aggregate = Literal["last", "min", "mean", "product"]
Explore = Literal["sample", "distinct", "likeliest"]
SchemaUse = Literal["ignore", "prune"]


_DYNAMIC = ("temperature", "top_p", "beta")


@dataclass(frozen=True)
class SearchConfig:
    """How to search: a pytree whose leaves are temperature, top_p and beta.

    All else is static: a search is compiled for it. It is hashable as long as its leaves are.

    Attributes:
      num_beams: N, beams retained after each decision.
      beam_width: M, candidates explored from each beam at each decision.
      probe_width: candidates explored from each beam at first; of the M - `probe_width` others as
        many as `budget.wake` finds needed. 0 explores all M at once; only for "sample".
      explore: how a beam's candidates come about. "sample": independent draws; "distinct": draws
        without replacement (arXiv:1903.06059); "likeliest": the M likeliest partial sequences
        after each token, which is beam search inside the decision.
      temperature: of the policy; 0 takes the likeliest token.
      top_k: only the k likeliest tokens are drawn, and those as likely as the k-th; 0 for all.
      top_p: only the likeliest tokens are drawn that together have this probability (after
        temperature and top_k), and those as likely as the last of them; 1 for all.
      schema: "prune" rules out candidates that the tools' schemas refuse; "ignore" is the paper's.
      labelled: kinds of decision that the reward model scores.
      stop_kinds: kinds at which a candidate stops to be compared.
      aggregate: how a beam's score comes from those of its decisions.
      beta: weight of the policy's log-probability in a guided beam's score; 0 is the paper's.
      early_stop: whether a query ends once its best beam is finished, where no other can overtake
        it: a score by "min" or "product" and a log-probability only fall. The answer is the same,
        the beams behind it may be unfinished.
      max_decisions: limit of decisions.
      max_step_tokens: limit of one decision, in tokens.
      max_tokens: limit of a completion, in tokens.
      pool_size: P, slots per query, root included.
      lane_width: tokens of a row of the policy; a row is of one query, and reads its keys and
        values once.
      prm_lane_width: tokens of a row of the reward model, which gets many at once.
      max_lanes: most tokens of all queries that a model runs at once.
      pass_sizes: in how many sizes a pass is compiled, each half of the one before; the smallest
        that suffices is run. Fewer compile faster.
      patience: share of the searching queries that must have come to the end of a decision before
        the reward model is asked, while the others wait; 1 keeps all in step. It changes no
        result.
      in_step: the mesh axis whose devices must run the same passes, as they must where each model
        is spread over devices; `sharded_search` sets it.
      trace: whether the output tells every candidate of every decision.
    """

    num_beams: int = 4
    beam_width: int = 4
    probe_width: int = 0
    explore: Explore = "sample"
    temperature: Array | float = 0.8
    top_k: int = 0
    top_p: Array | float = 1.0
    schema: SchemaUse = "ignore"
    labelled: tuple[int, ...] = tuple(Kind)
    stop_kinds: tuple[int, ...] = tuple(Kind)
    aggregate: Aggregate = "min"
    beta: Array | float = 0.0
    early_stop: bool = True
    max_decisions: int = 32
    max_step_tokens: int = 64
    max_tokens: int = 192
    pool_size: int = 1024
    lane_width: int = 4
    prm_lane_width: int = 16
    max_lanes: int = 256
    pass_sizes: int = 4
    patience: float = 0.5
    in_step: str = ""
    trace: bool = False


jax.tree_util.register_dataclass(
    SearchConfig,
    data_fields=_DYNAMIC,
    meta_fields=[field.name for field in fields(SearchConfig) if field.name not in _DYNAMIC],
)
