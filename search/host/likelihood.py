"""How likely a policy finds a completion: among all tokens, and among those of strict decoding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from toolprm_jax.model import Decoder, Params
from toolprm_jax.records import Record

from ..core import Readers, allowed_tokens
from ..grammar import Grammar, Rules, Tracker, advance, initial
from .batches import length_bucket
from .pair import ModelPair

_STEP = 32  # completions are padded to a multiple of it, so that few lengths are compiled


class Likelihood(NamedTuple):
    """Log-probabilities of a completion's T tokens, untempered."""

    tokens: tuple[int, ...]
    own: NDArray[np.float32]  # [T], the policy's, as searches report them
    allowed: NDArray[np.float32]  # [T], renormalised over the allowed tokens; -inf for the others


def _states(grammar: Grammar, rules: Rules | None, tokens: Array) -> Tracker:
    """Where a completion stands before each of its tokens int32[T]: a Tracker `[T]`."""

    def step(state: Tracker, token: Array) -> tuple[Tracker, Tracker]:
        return advance(grammar, state, token.reshape(1, 1), rules)[0], state

    _, before = jax.lax.scan(step, initial(grammar, (1, 1), rules), tokens)
    return jax.tree.map(lambda array: array[:, 0, 0], before)


@partial(jax.jit, static_argnames="model")
def _log_probs(
    model: Decoder,
    params: Params,
    grammar: Grammar,
    rules: Rules | None,
    row: Array,
    places: Array,
    length: Array,
) -> tuple[Array, Array]:
    """Both log-probabilities float32[T] of the tokens that follow the places int32[T] of a row."""
    size, tokens = row.shape[0], row[places + 1]
    hidden: Any = model.apply(params, row[None], jnp.arange(size)[None], jnp.full((1, size), size))
    logits: Any = model.apply(params, hidden[0][places], method=Decoder.logits)
    logits = jnp.where(grammar.allowed, logits.astype(jnp.float32), -jnp.inf)
    readers = Readers(_states(grammar, rules, tokens), jnp.zeros_like(tokens))
    mask = allowed_tokens(grammar, rules, readers, jnp.arange(len(tokens)) < length)
    picked = jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
    fits = jnp.take_along_axis(mask, tokens[:, None], axis=1)[:, 0]
    among = jax.nn.logsumexp(jnp.where(mask, logits, -jnp.inf), axis=1)
    own = picked - jax.nn.logsumexp(logits, axis=1)
    return own, jnp.where(fits, picked - among, -jnp.inf)


def likelihood(
    pair: ModelPair, rules: Rules | None, record: Record, tokens: Sequence[int]
) -> Likelihood:
    """Log-probabilities of a completion's tokens.

    Args:
      pair: its policy is asked.
      rules: of the record, from `make_strict`; None keeps to the call grammar alone.
      record: the query.
      tokens: T ids, at most up to the one that closes the answer, where a search ends.
    """
    policy = pair.policy
    prompt, count = policy.codec.prompt(record), len(tokens)
    padded = -(-max(count, 1) // _STEP) * _STEP
    row = np.zeros(length_bucket(len(prompt) + padded), np.int32)
    row[: len(prompt)] = prompt
    row[len(prompt) : len(prompt) + count] = tokens
    own, allowed = _log_probs(
        policy.model,
        policy.params,
        pair.grammar,
        rules,
        jnp.asarray(row),
        jnp.arange(padded) + len(prompt) - 1,
        jnp.int32(count),
    )
    return Likelihood(tuple(tokens), np.asarray(own)[:count], np.asarray(allowed)[:count])
