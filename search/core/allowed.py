"""Draws among the tokens that strict decoding allows, as the policy has them, renormalised.

A token is drawn from all and then read, byte by byte. One that is refused is taken out and the draw
repeated, which leaves the distribution over the allowed ones as it is; after a few of these, and
where the order of all tokens is asked for, every token of the vocabulary is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..grammar import Grammar, Rules, Tracker, advance, can_begin, is_free_text, leads_on
from .config import SearchConfig
from .interfaces import Setup
from .lanes import together
from .sampling import of_lanes, sample_token, tempered

REPEATS = 4  # draws before every token is read
# Tokens that are read at once: on a CPU the fewest that keep it busy, elsewhere many, for there a
# byte takes as long for all.
_PIECE, _WIDE_PIECE = 2048, 32768
_Carry = tuple[Array, Array, Array, Array, Array, Array]


class Readers(NamedTuple):
    """Who reads tokens: trackers of any shape, and the query of each."""

    tracker: Tracker  # [...]
    queries: Array  # int32[...]


def is_strict(config: SearchConfig) -> bool:
    """Whether only tokens are drawn that keep to the grammar, and to the tools if these count."""
    return config.schema == "strict" or config.grammar == "strict"


def allows(grammar: Grammar, rules: Rules | None, readers: Readers, tokens: Array) -> Array:
    """Whether tokens int32[...] may come next, bool[...]."""
    after, _ = advance(grammar, readers.tracker, tokens, rules, readers.queries)
    return leads_on(grammar, after)


def allowed_tokens(
    grammar: Grammar, rules: Rules | None, readers: Readers, needed: Array, in_step: str = ""
) -> Array:
    """Every token that may come next.

    Args:
      grammar: with V tokens.
      rules: of the queries; None for the grammar alone.
      readers: [N].
      needed: bool[N], which of them ask; the others get junk.
      in_step: see `Execution`.

    Returns:
      bool[N, V].
    """
    vocabulary = grammar.ends.shape[0]
    begins = can_begin(grammar, rules, readers.tracker, readers.queries)  # [N, 257]
    first = jnp.where(grammar.ends, 256, grammar.token_bytes[:, 0]).astype(jnp.int32)
    possible = begins[:, first] & grammar.allowed[None] & needed[:, None]
    # In a string most tokens are nothing but its characters.
    free = is_free_text(grammar, rules, readers.tracker, readers.queries)[:, None]
    known = possible & free & grammar.plain[None]
    asked = jnp.nonzero(
        (possible & ~known).reshape(-1), size=possible.size, fill_value=possible.size
    )[0]
    total = together(jnp.sum(possible & ~known), in_step)
    piece = min(_PIECE if jax.default_backend() == "cpu" else _WIDE_PIECE, possible.size)

    def read(state: tuple[Array, Array]) -> tuple[Array, Array]:
        start, mask = state
        places = jax.lax.dynamic_slice(asked, (start,), (piece,))
        real = places < possible.size
        places = jnp.where(real, places, 0)
        lane, token = places // vocabulary, (places % vocabulary).astype(jnp.int32)
        some = jax.tree.map(lambda array: array[lane], readers)
        fits = allows(grammar, rules, some, token) & real
        at = jnp.where(fits, places, possible.size)
        return start + piece, mask.at[at].set(True, mode="drop")

    # The last piece may begin early and read some again.
    begin = (jnp.int32(0), known.reshape(-1))
    _, mask = jax.lax.while_loop(lambda state: state[0] < total, read, begin)
    return mask.reshape(possible.shape)


def _refused(
    grammar: Grammar, rules: Rules | None, lanes: Readers, when: Array, needed: Array, in_step: str
) -> Array:
    """Every token that may not come after the lanes that ask, bool[N, V]; none unless `when`."""

    def read(needed: Array) -> Array:
        allowed = allowed_tokens(grammar, rules, lanes, needed, in_step)
        return needed[:, None] & ~allowed

    def nothing(needed: Array) -> Array:
        return jnp.zeros((*needed.shape, grammar.ends.shape[0]), bool)

    return jax.lax.cond(when, read, nothing, needed)


def draw_allowed(
    grammar: Grammar,
    rules: Rules | None,
    logits: Array,
    lanes: Readers,
    walkers: Readers,
    lane: Array,
    served: Array,
    uniform: Callable[[Array], Array],
    config: SearchConfig,
) -> Array:
    """Draws a token for every walker from its lane's distribution over the allowed tokens.

    Args:
      grammar: with V tokens.
      rules: of the queries; None for the grammar alone.
      logits: float32[N, V] under the policy; -inf where a token is never sampled.
      lanes: [N].
      walkers: [...]; those of one lane stand where it stands.
      lane: int32[...], of each walker.
      served: bool[...], walkers that draw; the others get junk.
      uniform: numbers float32[...] in [0, 1) of the draw's number, int32[].
      config: temperature and filters, which count among the allowed tokens.

    Returns:
      int32[...].
    """
    in_step = config.execution.in_step
    asking = jnp.zeros(logits.shape[0], bool).at[lane].max(served)

    # What is likeliest together can only be told of the allowed tokens.
    filtered = jnp.asarray(config.top_p).reshape(-1) < 1.0
    filtered = jnp.broadcast_to(filtered | (config.top_k > 0), asking.shape)

    def draw(state: _Carry) -> _Carry:
        number, _, unsure, refused, tokens, settled = state
        # Lanes with a filter read every token before their first draw, those that are still unsure
        # before their last: in one place, for each makes the program a good deal larger. Lanes
        # without a filter draw as they do beside their like.
        reads = (number == 0) | (number == REPEATS)
        reads &= together(jnp.int32(jnp.any(unsure)), in_step) > 0
        refused |= _refused(grammar, rules, lanes, reads, unsure, in_step)
        remaining = jnp.where(refused, -jnp.inf, logits)
        drawn_from = tempered(remaining, config.temperature, config.top_k, config.top_p)
        drawn = sample_token(
            drawn_from[None], uniform(number).reshape(1, -1), lane.reshape(1, -1)
        ).reshape(lane.shape)
        tokens = jnp.where(settled, tokens, drawn)
        fits = allows(grammar, rules, walkers, tokens)
        wrong = ~settled & ~fits
        refused = refused.at[jnp.where(wrong, lane, logits.shape[0]), tokens].set(True, mode="drop")
        unsure = jnp.zeros_like(asking).at[lane].max(wrong)
        settled |= fits
        left = together(jnp.int32(~jnp.all(settled)), in_step)
        return number + 1, left, unsure, refused, tokens, settled

    left = together(jnp.int32(jnp.any(served)), in_step)
    nothing = jnp.zeros(logits.shape, bool)
    tokens = jnp.zeros(lane.shape, jnp.int32)
    start = (jnp.int32(0), left, asking & filtered, nothing, tokens, ~served)
    end = jax.lax.while_loop(lambda state: (state[0] <= REPEATS) & (state[1] > 0), draw, start)
    return end[4]


def read_all(setup: Setup, stands: Readers, active: Array, in_step: str) -> Array:
    """Tokens that may come after lanes [R, W], bool[R, W, V]."""
    flat = jax.tree.map(lambda array: array.reshape(-1, *array.shape[active.ndim :]), stands)
    mask = allowed_tokens(setup.grammar, setup.schema, flat, active.reshape(-1), in_step)
    return mask.reshape(*active.shape, -1)


def draw_independent(
    setup: Setup,
    walkers: Tracker,
    keys: Array,
    logits: Array,
    stands: Readers,
    lane: Array,
    served: Array,
    config: SearchConfig,
) -> Array:
    """One token for every walker from the logits float32[L, V] of its lane, int32[B, W]."""

    def uniform(number: Array | int) -> Array:
        """Numbers of the first draw, or of one that repeats it; float32[B, W]."""

        def of(key: Array) -> Array:
            again = jax.random.fold_in(key, number)
            return jax.random.uniform(jax.lax.select(jnp.asarray(number) > 0, again, key))

        return jax.vmap(jax.vmap(of))(keys)

    config = of_lanes(config, stands.queries.reshape(-1))
    if is_strict(config):
        flat = jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), stands)
        rows = jnp.broadcast_to(jnp.arange(lane.shape[0])[:, None], lane.shape)
        each = Readers(walkers, rows)
        return draw_allowed(
            setup.grammar, setup.schema, logits, flat, each, lane, served, uniform, config
        )
    likely = tempered(logits, config.temperature, config.top_k, config.top_p)
    numbers = jax.vmap(jax.vmap(jax.random.uniform))(keys)
    drawn = sample_token(likely[None], numbers.reshape(1, -1), lane.reshape(1, -1))
    return drawn.reshape(lane.shape)
