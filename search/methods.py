"""The search methods, one face for all: the same inputs, the same output."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from toolprm_jax.annotation import GRANULARITY
from toolprm_jax.grammar import Kind
from toolprm_jax.model import Decoder, KeyValues, Params
from toolprm_jax.tokens import Granularity

from .core import GUIDED as GUIDED
from .core import METHODS as METHODS
from .core import (
    Execution,
    Method,
    Ranks,
    SearchConfig,
    SearchOutput,
    Setup,
    Status,
    Walk,
    Walkers,
    beam_search,
    new_pool,
    nothing_yet,
    walk_on,
)
from .decoder import MEMORY, DecoderPolicy, Models, Prompts, new_cache, prefill
from .grammar import Grammar, Rules, StrictTables, initial


def method_config(
    method: Method, base: SearchConfig, granularity: Granularity = "toolprm"
) -> SearchConfig:
    """What a method makes of the same N, M, temperature and limits.

    Args:
      method: `greedy` and `sample` take one completion; `token_beam` is a beam of N x M partial
        completions, ranked by log-probability after every token; `majority_vote` samples N x M
        whole completions, which `vote.majority_vote` counts; `best_of_n` explores N x M whole
        completions and keeps the best; `fine_grained` prunes at every labelled decision.
      base: N, M, exploration, aggregate and limits.
      granularity: of the reward model.

    Source: arXiv:2510.14703, inference scaling methods; that all of them but the first two get
    N x M candidates is our choice.
    """
    kinds = tuple(sorted(int(kind) for kind in GRANULARITY[granularity]))
    total = base.num_beams * base.beam_width
    if method == "fine_grained":
        # Only with all kinds labelled is a decision short; else it may be a whole call or list.
        step = base.max_step_tokens if granularity == "toolprm" else base.max_tokens
        return replace(base, labelled=kinds, stop_kinds=kinds, max_step_tokens=step)
    finish = (int(Kind.TOTAL_FINISH),)
    whole = replace(
        base,
        labelled=kinds if method == "best_of_n" else finish,
        stop_kinds=finish,
        max_decisions=1,
        max_step_tokens=base.max_tokens,
    )
    if method == "best_of_n":
        return replace(whole, num_beams=1, beam_width=total)
    whole = replace(whole, probe_width=0)
    if method == "majority_vote":
        return replace(whole, num_beams=total, beam_width=1, explore="sample")
    if method == "token_beam":
        # Nothing is freed before the end, so there must be room for every partial completion.
        room = max(base.pool_size, 1 + total * base.max_tokens)
        plain = replace(whole, temperature=1.0, top_k=0, top_p=1.0)
        return replace(plain, explore="likeliest", pool_size=room)
    temperature = 0.0 if method == "greedy" else base.temperature
    one = replace(whole, num_beams=1, beam_width=1)
    return replace(one, temperature=temperature, explore="sample")


# Methods that one program serves, see `method_leaves`.
ALIKE: tuple[Method, ...] = ("greedy", "sample", "best_of_n", "fine_grained")


def shared_config(
    method: Method, base: SearchConfig, granularity: Granularity = "toolprm"
) -> tuple[tuple[Method, ...], SearchConfig]:
    """A configuration that serves as many methods as may be beside one, and these.

    Args:
      method: a guided one, whose candidates are independent draws, allows all of `ALIKE`.
      base: N, M, exploration and limits.
      granularity: of the reward model.
    """
    if method not in GUIDED or base.explore != "sample":
        return (method,), method_config(method, base, granularity)
    longest = replace(base, max_step_tokens=base.max_tokens)
    return ALIKE, method_config("fine_grained", longest, granularity)


def method_leaves(
    method: Method, base: SearchConfig, granularity: Granularity = "toolprm"
) -> dict[str, Any]:
    """Leaves by which the configuration of `ALIKE` searches as `method_config` does.

    Args:
      method: of `ALIKE`.
      base: as for `method_config`.
      granularity: likewise.
    """
    own = method_config(method, base, granularity)
    guided = method in GUIDED
    return {
        "temperature": own.temperature,
        "top_p": own.top_p,
        "step_limit": own.max_step_tokens,
        "candidates": base.num_beams * base.beam_width if guided else 1,
        "whole": method != "fine_grained",
        "judged": guided,
    }


@jax.jit
def search(
    models: Models,
    keys: Array,
    prompts: Prompts,
    config: SearchConfig,
    prefilled: tuple[KeyValues | None, KeyValues | None] = (None, None),
    schema: Rules | None = None,
) -> SearchOutput:
    """Searches for the calls that answer a batch of queries; jitted, one compilation per shape.

    Args:
      models: policy and reward model; without the latter beams rank by likelihood.
      keys: key[B], one per query; consumed. A query's result depends on its own key and prompt
        alone, not on the batch.
      prompts: int32[B, T] right-padded tokens and int32[B] lengths.
      config: see `method_config`; its leaves may change without compiling again.
      prefilled: the prompts' keys and values from `prefill`, for the policy and the reward model;
        computed here where None.
      schema: from `make_schema` where `config.schema` is "prune", from `make_strict` where it is
        "strict".

    Returns:
      The N beams of each query with scores, costs and flags; see SearchOutput.

    Source: arXiv:2510.14703, fine-grained beam search.
    """
    decoders = (models.policy.model, models.prm and models.prm.model)
    caches: list[Any] = []
    for model, weights, known in zip(decoders, models.params, prefilled, strict=True):
        if model is None:
            caches.append(None)
            continue
        prompt = known if known is not None else prefill(model, weights, prompts)
        caches.append(new_cache(prompt, prompts.lengths, config.pool_size))
    roots = jnp.take_along_axis(prompts.tokens, prompts.lengths[:, None] - 1, axis=1)[:, 0]
    setup = Setup(
        models.policy,
        models.prm,
        MEMORY,
        models.grammar,
        models.params,
        (caches[0], caches[1]),
        schema,
    )
    return beam_search(setup, keys, roots, config)


class Samples(NamedTuple):
    """Completions sampled independently; the end-of-text token is part of them."""

    tokens: Array  # int32[B, K, T], -1 past the end
    lengths: Array  # int32[B, K]
    status: Array  # int32[B, K], `Status`: STOPPED at the end of the list, or DEAD


@partial(jax.jit, static_argnames=("model", "count", "max_tokens", "max_lanes", "in_step"))
def sample_rollouts(
    model: Decoder,
    params: Params,
    keys: Array,
    prompts: Prompts,
    grammar: Grammar,
    *,
    count: int,
    temperature: Array | float,
    max_tokens: int,
    max_lanes: int = Execution.max_lanes,
    in_step: str = "",
    schema: StrictTables | None = None,
) -> Samples:
    """Samples completions of each prompt, equal prefixes computed once.

    Args:
      model: the policy; static.
      params: its parameters.
      keys: key[B], consumed.
      prompts: B prompts.
      grammar: from `make_grammar`; a completion that breaks it ends there.
      count: K, completions per prompt; static.
      temperature: float32[].
      max_tokens: T, limit of a completion; static.
      max_lanes: see `Execution`; static.
      in_step: likewise.
      schema: from `make_strict`: only tokens are drawn that keep to these tools.
    """
    batch = prompts.tokens.shape[0]
    size = 1 + count * max_tokens
    roots = jnp.take_along_axis(prompts.tokens, prompts.lengths[:, None] - 1, axis=1)[:, 0]
    cache = new_cache(prefill(model, params, prompts), prompts.lengths, size)
    zeros = jnp.zeros((batch, count), jnp.int32)
    config = SearchConfig(
        num_beams=1,
        beam_width=count,
        temperature=temperature,
        stop_kinds=(int(Kind.TOTAL_FINISH),),
        schema="ignore" if schema is None else "strict",
        max_step_tokens=max_tokens,
        max_tokens=max_tokens,
        pool_size=size,
        execution=Execution(patience=1.0, max_lanes=max_lanes, in_step=in_step),
    )
    walkers = Walkers(
        nodes=zeros,
        paths=jnp.broadcast_to(jnp.arange(size) == 0, (batch, count, size)),
        tracker=initial(grammar, (batch, count), schema),
        log_prob=zeros.astype(jnp.float32),
        status=zeros + Status.ACTIVE,
        steps=jnp.full((batch, count, max_tokens), -1, jnp.int32),
        lengths=zeros,
    )
    walk = Walk(
        jnp.zeros(batch, jnp.int32),
        new_pool(roots, size),
        cache,
        walkers,
        zeros,
        Ranks(walkers.log_prob, walkers.log_prob),
        *nothing_yet(batch),
    )
    policy = DecoderPolicy(model)
    setup = Setup(policy, None, MEMORY, grammar, (params, None), (cache, None), schema)
    end = walk_on(setup, keys, walk, config)
    return Samples(end.walkers.steps, end.walkers.lengths, end.walkers.status)
