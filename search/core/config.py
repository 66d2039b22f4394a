"""What a search is compiled for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Le

from toolprm_jax.grammar import Kind

Aggregate = Literal["last", "min", "mean", "product"]
Explore = Literal["sample", "distinct", "likeliest"]
SchemaUse = Literal["ignore", "prune", "strict"]
GrammarUse = Literal["free", "strict"]
Method = Literal["greedy", "sample", "token_beam", "majority_vote", "best_of_n", "fine_grained"]
METHODS: tuple[Method, ...] = get_args(Method)
GUIDED: tuple[Method, ...] = ("best_of_n", "fine_grained")  # those that ask a reward model
Scalar = Any  # a number, or an array of one; named so that options are read without importing JAX
# The leaves of a `SearchConfig`.
DYNAMIC = (
    *("temperature", "top_p", "beta", "answers", "token_limit"),
    *("step_limit", "candidates", "whole", "judged"),
)


# XLA ends the process where the size of an array overflows, so sizes are bounded before it.
_WIDEST = 1 << 10
MOST_TOKENS = 1 << 20


@dataclass(frozen=True)
class Execution:
    """How a search runs: none of it changes a result.

    Attributes:
      lane_width: tokens of a row of the policy; a row is of one query, and reads its keys and
        values once.
      prm_lane_width: tokens of a row of the reward model, which gets many at once.
      max_lanes: tokens of all queries that a model runs at once; more take more memory.
      pass_sizes: in how many sizes a pass is compiled, each half of the one before; the smallest
        that suffices is run. Fewer compile faster.
      patience: share of the searching queries that must have come to the end of a decision before
        the reward model is asked, while the others wait; 1 keeps all in step.
      in_step: the mesh axis whose devices must run the same passes, as they must where each model
        is spread over devices; `sharded_search` sets it.
    """

    lane_width: Annotated[int, Ge(1)] = 4
    prm_lane_width: Annotated[int, Ge(1)] = 16
    max_lanes: Annotated[int, Ge(1)] = 256
    pass_sizes: Annotated[int, Ge(1)] = 4
    patience: Annotated[float, Ge(0), Le(1)] = 0.5
    in_step: str = ""


@dataclass(frozen=True)
class SearchConfig:
    """How to search: a pytree whose leaves are the fields named in `DYNAMIC`.

    All else is static: a search is compiled for it. It is hashable as long as its leaves are. On
    one device all of them but beta may differ by query, float32[B], int32[B] or bool[B]; so one
    program serves methods that differ in them alone.

    Attributes:
      num_beams: N, beams kept after each decision.
      beam_width: M, candidates explored from each beam at each decision.
      probe_width: candidates explored from each beam at first; of the M - `probe_width` others as
        many as these show to be needed. 0 explores all M at once; only for "sample".
      explore: how a beam's candidates come about. "sample": independent draws; "distinct": draws
        without replacement (arXiv:1903.06059); "likeliest": the M likeliest partial sequences
        after each token, which is beam search inside the decision.
      temperature: of the policy; 0 takes the likeliest token.
      top_k: only the k likeliest tokens are drawn, and those as likely as the k-th; 0 for all.
      top_p: only the likeliest tokens are drawn that together have this probability (after
        temperature and top_k), and those as likely as the last of them; 1 for all.
      schema: "strict" draws only tokens after which the tools' schemas can still accept; "prune"
        rules out candidates that they refuse; "ignore" is the paper's.
      grammar: "strict" draws only tokens that keep to the call grammar, whatever the schemas say;
        "free" is the paper's.
      aggregate: how a beam's score comes from those of its decisions.
      beta: weight of the policy's log-probability in a guided beam's score; 0 is the paper's.
      early_stop: whether a query ends once its best beams are finished, where no other can overtake
        them: a score by "min" or "product" and a log-probability only fall. The answers are the
        same, the beams behind them may be unfinished.
      answers: how many beams must be finished for that.
      token_limit: limit of a completion, in tokens, below max_tokens.
      step_limit: limit of one decision, in tokens, below max_step_tokens.
      candidates: how many set out at a decision, below N x M.
      whole: whether candidates are compared as whole completions alone, whatever stop_kinds says.
      judged: whether the reward model is asked; else beams rank by likelihood, as without one.
      max_decisions: limit of decisions.
      max_step_tokens: limit of one decision, in tokens.
      max_tokens: limit of a completion, in tokens.
      pool_size: P, tokens that all candidates of a query may hold at once, root included.
      labelled: kinds of decision that the reward model scores; the method sets it.
      stop_kinds: kinds at which a candidate stops to be compared; the method sets it.
      trace: whether the output tells every candidate of every decision.
      execution: how it runs.
    """

    num_beams: Annotated[int, Ge(1), Le(_WIDEST)] = 4
    beam_width: Annotated[int, Ge(1), Le(_WIDEST)] = 4
    probe_width: Annotated[int, Ge(0), Le(_WIDEST)] = 0
    explore: Explore = "sample"
    temperature: Annotated[Scalar, Ge(0)] = 0.8
    top_k: Annotated[int, Ge(0)] = 0
    top_p: Annotated[Scalar, Gt(0), Le(1)] = 1.0
    schema: SchemaUse = "ignore"
    grammar: GrammarUse = "free"
    aggregate: Aggregate = "min"
    beta: Scalar = 0.0
    early_stop: bool = True
    answers: Scalar = 1
    token_limit: Scalar = MOST_TOKENS
    step_limit: Scalar = MOST_TOKENS
    candidates: Scalar = MOST_TOKENS
    whole: Scalar = False
    judged: Scalar = True
    max_decisions: Annotated[int, Ge(1), Le(MOST_TOKENS)] = 32
    max_step_tokens: Annotated[int, Ge(1), Le(MOST_TOKENS)] = 64
    max_tokens: Annotated[int, Ge(1), Le(MOST_TOKENS)] = 192
    pool_size: Annotated[int, Ge(64), Le(MOST_TOKENS)] = 1024
    labelled: tuple[int, ...] = tuple(Kind)
    stop_kinds: tuple[int, ...] = tuple(Kind)
    trace: bool = False
    execution: Execution = field(default_factory=Execution)
