"""Draws among the allowed tokens: exactly the policy renormalised, in every way of exploring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_search import BASE, END, GRAMMAR, PIECES, VOCAB, reference, toy_params, toy_search

from search.core.allowed import REPEATS, Readers, allowed_tokens, draw_allowed
from search.core.config import SearchConfig
from search.core.interfaces import Status
from search.grammar.strict_tables import make_strict
from search.grammar.tracker import advance, initial
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import advance as run_on
from toolprm_jax.grammar.runner import initial as begin
from toolprm_jax.records.types import Record, Tool

TOOLS = (
    Tool(
        "f", "", {"x": {"type": "int", "required": True}, "y": {"type": "int", "required": False}}
    ),
    Tool("fg", "", {"y": {"type": "int", "required": True}}),
)
RECORD = Record("r", ({"role": "user", "content": "?"},), TOOLS, None)
RULES = make_strict([RECORD])
MOST = 24  # tokens of a completion


def pieces_of(tokens: list[int]) -> bytes:
    return b"".join(PIECES[token] or b"" for token in tokens)


# Of every prefix, the tokens that the device allows after it; asked for one by one.
_KNOWN: dict[tuple[int, ...], np.ndarray] = {}


@jax.jit
def _allowed_after(tokens: jax.Array) -> jax.Array:
    """bool[V] after int32[MOST] tokens, -1 past the end, each of the V read by itself."""

    def read(at: jax.Array, tracker: Any) -> Any:
        after, _ = advance(GRAMMAR, tracker, jnp.maximum(tokens[at], 0)[None, None], RULES)
        return jax.tree.map(lambda a, b: jnp.where(tokens[at] >= 0, a, b), after, tracker)

    tracker = jax.lax.fori_loop(0, MOST, read, initial(GRAMMAR, (1, 1), RULES))
    wide = jax.tree.map(
        lambda a: jnp.broadcast_to(a[:, 0][:, None], (1, VOCAB, *a.shape[2:])), tracker
    )
    after, _ = advance(GRAMMAR, wide, jnp.arange(VOCAB)[None], RULES)
    return ~after.dead[0]


def allowed_after(tokens: list[int]) -> np.ndarray:
    key = tuple(tokens)
    if key not in _KNOWN:
        padded = np.full(MOST, -1, np.int32)
        padded[: len(tokens)] = tokens
        _KNOWN[key] = np.asarray(_allowed_after(jnp.asarray(padded)))
    return _KNOWN[key]


PREFIXES = [[], [1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 5, 6], [1, 2, 4, 5, 6, 8], [1, 2, 3, 4]]


_ADVANCE, _mask = jax.jit(advance), jax.jit(allowed_tokens)


def reader_of(tokens: list[int], shape: tuple[int, ...]) -> Readers:
    tracker = initial(GRAMMAR, (1, 1), RULES)
    for token in tokens:
        tracker, _ = _ADVANCE(GRAMMAR, tracker, jnp.full((1, 1), token), RULES)
    assert not tracker.dead.any()

    def wide(array: jax.Array) -> jax.Array:
        return jnp.broadcast_to(array[0, 0], (*shape, *array.shape[2:]))

    return Readers(jax.tree.map(wide, tracker), jnp.zeros(shape, jnp.int32))


@pytest.mark.parametrize("prefix", PREFIXES, ids=lambda p: pieces_of(p).decode() or "start")
def test_every_token_is_read(prefix: list[int]) -> None:
    """The mask, with its short cuts, is that of tokens read one by one; and not all of them."""
    mask = _mask(GRAMMAR, RULES, reader_of(prefix, (2,)), jnp.asarray([True, False]))
    np.testing.assert_array_equal(mask[0], allowed_after(prefix))
    assert 0 < mask[0].sum() < VOCAB
    assert not mask[1].any()


WALKERS = 20_000


@jax.jit
def _draw(
    logits: jax.Array, lanes: Readers, walkers: Readers, lane: jax.Array, config: SearchConfig
) -> jax.Array:
    def uniform(number: jax.Array) -> jax.Array:
        return jax.random.uniform(jax.random.fold_in(jax.random.key(7), number), lane.shape)

    everyone = jnp.ones(lane.shape, bool)
    return draw_allowed(GRAMMAR, RULES, logits, lanes, walkers, lane, everyone, uniform, config)


@pytest.mark.parametrize("prefix", PREFIXES[::2], ids=lambda p: pieces_of(p).decode() or "start")
@pytest.mark.parametrize(
    "options",
    [{"temperature": 1.0}, {"temperature": 0.7, "top_k": 3}, {"temperature": 1.3, "top_p": 0.6}],
    ids=["plain", "top_k", "top_p"],
)
def test_draws_are_the_policy_renormalised(prefix: list[int], options: dict[str, Any]) -> None:
    """Chi-squared; one lane's allowed tokens are likely, another's hardly."""
    config = SearchConfig(**options)
    rng = np.random.default_rng(len(prefix))
    allowed = allowed_after(prefix)
    logits = rng.normal(size=(2, VOCAB))
    logits[1] -= 4.0 * allowed
    lane = jnp.asarray(np.arange(WALKERS) % 2)

    drawn = _draw(
        jnp.asarray(logits, jnp.float32), reader_of(prefix, (2,)), reader_of(prefix, (WALKERS,)),
        lane, config,
    )  # fmt: skip
    for row in range(2):
        probs = expected(np.where(allowed, logits[row], -np.inf), config)
        counts = np.bincount(np.asarray(drawn)[row::2], minlength=VOCAB)
        assert not counts[probs == 0].any()
        likely = probs > 0
        number = WALKERS / 2
        statistic = (((counts - number * probs) ** 2)[likely] / (number * probs[likely])).sum()
        freedom = likely.sum() - 1
        # Five standard deviations above the mean of a chi-squared variable.
        assert statistic <= freedom + 5 * np.sqrt(2 * freedom) + 1e-9


def expected(logits: np.ndarray, config: SearchConfig) -> np.ndarray:
    """Probabilities after temperature, top_k and top_p, by sorting."""
    warm = logits / float(config.temperature)
    order = np.argsort(-warm)
    if config.top_k:
        warm[order[config.top_k :]] = -np.inf
    probs = np.exp(warm - warm.max())
    probs /= probs.sum()
    before = np.cumsum(probs[order]) - probs[order]
    probs[order[before >= float(config.top_p)]] = 0.0
    return probs / probs.sum()


def test_rare_tokens_take_a_reading_of_all() -> None:
    """Where the draws run out, the one allowed token is found all the same."""
    prefix = [1, 2, 4]  # what follows must be x, y or white space
    logits = jnp.where(jnp.asarray(allowed_after(prefix)), -30.0, 0.0)[None]
    assert (~allowed_after(prefix)).sum() > REPEATS
    config = SearchConfig(temperature=0.0)
    lanes, walkers = reader_of(prefix, (1,)), reader_of(prefix, (3,))
    tokens = _draw(logits, lanes, walkers, jnp.zeros(3, jnp.int32), config)
    assert allowed_after(prefix)[np.asarray(tokens)].all()


def fits(text: bytes) -> bool:
    """Whether the plain runner of the grammar reads a text."""
    state, _ = run_on(tables("list"), begin(tables("list")), text)
    return state.mode != 0


def test_greedy_takes_the_likeliest_allowed_token() -> None:
    config = replace(
        BASE, schema="strict", temperature=0.0, num_beams=1, beam_width=1, max_decisions=1,
        stop_kinds=(4,), labelled=(4,), max_step_tokens=MOST,
    )  # fmt: skip
    for seed in range(6):
        params = toy_params(seed)
        output = toy_search(
            params, jax.random.split(jax.random.key(0), 1), config, RULES, guided=False
        )
        tokens: list[int] = []
        plain = reference(params).logits
        while len(tokens) < int(output.lengths[0, 0]):
            logits = np.where(allowed_after(tokens), plain(tokens), -np.inf)
            tokens.append(int(np.argmax(logits)))
        assert output.tokens[0, 0, : len(tokens)].tolist() == tokens


@pytest.mark.parametrize(
    ("explore", "temperature", "seed"),
    [("sample", 1.0, 1), ("distinct", 1.0, 2), ("likeliest", 1.0, 3)],
)
def test_no_walker_dies_but_of_a_limit(explore: Any, temperature: float, seed: int) -> None:
    config = replace(
        BASE, schema="strict", explore=explore, temperature=temperature, trace=True,
        max_step_tokens=12, pool_size=256,
    )  # fmt: skip
    params, batch = toy_params(seed), 4
    keys = jax.random.split(jax.random.key(seed), batch)
    output = jax.device_get(toy_search(params, keys, config, make_strict([RECORD] * batch)))
    limits = output.flags.step_overflow | output.flags.length_overflow | output.flags.pool_overflow
    dead = (output.trace.status == Status.DEAD).any(axis=(1, 2))
    assert not (dead & ~limits).any()
    plain = reference(params).logits
    kept = (output.status == Status.LIVE) | (output.status == Status.FINISHED)
    assert kept.any(axis=1).all()
    for row, beam in np.argwhere(kept):
        tokens = [token for token in output.tokens[row, beam].tolist() if token >= 0]
        own = 0.0
        for at, token in enumerate(tokens):
            assert allowed_after(tokens[:at])[token]
            logits = plain(tokens[:at])
            own += logits[token] - np.log(np.exp(logits).sum())
        # Log-probabilities are the policy's own, those of refused tokens in the sum.
        assert own == pytest.approx(float(output.log_prob[row, beam]), abs=1e-3)


def test_the_grammar_alone() -> None:
    """Without schemas any name is drawn, and what is drawn is JSON."""
    config = replace(BASE, grammar="strict", trace=True)
    keys = jax.random.split(jax.random.key(1), 16)
    output = jax.device_get(toy_search(toy_params(5), keys, config))
    limits = output.flags.step_overflow | output.flags.length_overflow
    dead = (output.trace.status == Status.DEAD).any(axis=(1, 2))
    assert not (dead & ~limits).any()
    texts = [
        pieces_of([t for t in ids if t >= 0 and t != END]) for ids in output.tokens[:, 0].tolist()
    ]
    assert all(map(fits, texts))
    free = jax.device_get(toy_search(toy_params(5), keys, replace(config, grammar="free")))
    assert (free.trace.status == Status.DEAD).sum() > (output.trace.status == Status.DEAD).sum()


def test_strict_needs_its_tables() -> None:
    with pytest.raises(ValueError, match="make_strict"):
        toy_search(
            toy_params(0), jax.random.split(jax.random.key(0), 1), replace(BASE, schema="strict")
        )
