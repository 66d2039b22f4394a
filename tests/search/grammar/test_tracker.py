"""The grammar's JAX runner against the Python one, token by token."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from search.grammar.tracker import (
    MAX_EVENTS,
    Grammar,
    Tracker,
    advance,
    grammar_from_pieces,
    initial,
    make_grammar,
)
from toolprm_jax.annotation.corruption import corruptions, gold_completion
from toolprm_jax.grammar import runner as python
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import run
from toolprm_jax.grammar.types import MAX_DEPTH, Dress, Kind
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.types import Record
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.contract import make_contract

TEMPLATES: dict[Dress, str] = {"list": "hammer", "tool_call": "qwen", "llama": "llama3"}
DRESSES = list(TEMPLATES)
DATA = [
    ("xlam/xlam_function_calling_sample_100.json", "xlam"),
    ("bfcl/BFCL_v4_simple_python.json", "bfcl"),
    ("bfcl/BFCL_v4_multiple.json", "bfcl"),
    ("bfcl/BFCL_v4_parallel.json", "bfcl"),
    ("bfcl/BFCL_v4_irrelevance.json", "bfcl"),
    ("toolalpaca/toolalpaca_114.json", "toolalpaca"),
    ("seal-tools/seal_tools.jsonl", "record"),
    ("sgd/sgd_single_turn.jsonl", "record"),
]
LANES, CHUNK = 2048, 32  # completions and tokens per call of the scanned runner


class Trace(NamedTuple):
    """States after every token of every completion, and the decisions that each token fired."""

    mode: NDArray[np.int32]  # [T, lanes]
    depth: NDArray[np.int32]  # [T, lanes]
    stack: NDArray[np.uint32]  # [T, lanes]
    events: NDArray[np.int8]  # [T, lanes, MAX_EVENTS]


@jax.jit
def scan_chunk(grammar: Grammar, tracker: Tracker, tokens_TxN: jax.Array) -> Any:
    def step(tracker: Tracker, tokens: jax.Array) -> tuple[Tracker, Any]:
        tracker, events = advance(grammar, tracker, tokens)
        return tracker, (tracker.mode, tracker.depth, tracker.stack, events.astype(jnp.int8))

    return jax.lax.scan(step, tracker, tokens_TxN)


def trace(grammar: Grammar, sequences: list[list[int]], lanes: int = LANES) -> Trace:
    """Runs completions side by side; what follows the end of a completion means nothing."""
    length = max(map(len, sequences))
    padded = np.zeros((-(-length // CHUNK) * CHUNK, lanes), np.int32)
    for lane, ids in enumerate(sequences):
        padded[: len(ids), lane] = ids
    tracker, parts = initial(grammar, (lanes,)), []
    for start in range(0, len(padded), CHUNK):
        tracker, part = scan_chunk(grammar, tracker, jnp.asarray(padded[start : start + CHUNK]))
        parts.append(part)
    return Trace(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def expected_events(
    dress: Dress, pieces: list[bytes | None], ids: list[int], end: int
) -> tuple[NDArray[np.int8], int, python.State]:
    """Decisions by token, the index of the token that dies (or -1), and the last state."""
    data = b"".join(pieces[i] or b"" for i in ids if i != end)
    result = run(tables(dress), data, eot=ids[-1] == end)
    owner = [at for at, i in enumerate(ids) if i != end for _ in pieces[i] or b""]
    owner.append(len(ids) - 1)  # the end of the text is a token of its own
    events = np.full((len(ids), MAX_EVENTS), -1, np.int8)
    counts = [0] * len(ids)
    closing = dress != "list"
    for kind, at in result.events:
        last = closing and kind is Kind.TOTAL_FINISH
        token = len(ids) - 1 if last else owner[at - 1]
        events[token, counts[token]] = kind
        counts[token] += 1
    died = -1 if result.died_at is None else owner[result.died_at]
    return events, died, result.state


def check(
    dress: Dress, grammar: Grammar, pieces: list[bytes | None], sequences: list[list[int]], end: int
) -> int:
    """Compares one batch; returns how many completions died."""
    found = trace(grammar, sequences)
    dead = 0
    for lane, ids in enumerate(sequences):
        events, died, state = expected_events(dress, pieces, ids, end)
        size = len(ids)
        np.testing.assert_array_equal(found.events[:size, lane], events, str(ids))
        modes = found.mode[:size, lane]
        if died >= 0:
            dead += 1
            assert modes[:died].all(), ids
            assert not modes[died:].any(), ids
        else:
            assert modes.all(), ids
            last = [found.mode, found.depth, found.stack]
            assert tuple(int(column[size - 1, lane]) for column in last) == state, ids
    return dead


@cache
def shared_completions(folder: Path, dress: Dress) -> tuple[str, ...]:
    """The gold and corrupted completions of every record of the public data, each text once."""

    def texts(record: Record) -> Iterator[str]:
        yield gold_completion(record, dress)
        for corruption in corruptions(record, random.Random(record.id), dress):
            yield corruption.text

    found = (
        text
        for name, format in DATA
        for record in read_records(folder / name, format)
        for text in texts(record)
    )
    return tuple(sorted(dict.fromkeys(found), key=len))


@pytest.mark.parametrize("dress", DRESSES)
def test_every_completion_of_the_public_data_fires_the_same_decisions(
    dress: Dress, shared_data: Path, qwen_tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer = qwen_tokenizer
    rows = len(tokenizer) + len(Kind)
    codec = Codec(tokenizer, make_contract(tokenizer, rows, TEMPLATES[dress]))
    grammar = make_grammar(codec, rows)
    end = codec.contract.end_of_text
    texts = list(shared_completions(shared_data, dress))
    assert len(texts) > 20_000
    ids: Any = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    died = 0
    for start in range(0, len(ids), LANES):
        sequences = [[*tokens, end] for tokens in ids[start : start + LANES]]
        died += check(dress, grammar, codec.pieces, sequences, end)
    assert 1_000 < died < len(texts) / 2


# A vocabulary of fragments, so that random tokens often make sense; every byte is a token too.
FRAGMENTS = [
    b'[{"name": "', b'"name"', b'": "', b'", "arguments": {', b'"arguments"', b'"}}', b'"}}]',
    b'{"name":"f","arguments":{', b'"x": ', b'"y":', b", ", b'": ', b"true", b"null", b"1.5e",
    b"[[", b"]]", b'{"a":', b"}", b"}}", b"]", b"```json\n", b"\n```", b'\\u00e9"',
    b"\\ud83d", b"\\ude00",
    b"<tool_call>\n", b"\n</tool_call>", b"<tool", b"\xc3", b"\xe6\x97\xa5", b'\\"', b"-0", b"\n",
]  # fmt: skip
PIECES: list[bytes | None] = [*FRAGMENTS, *(bytes([byte]) for byte in range(256))]
END = len(PIECES)
ROWS = END + 3  # the end of text, and two ids without bytes
GRAMMARS = {dress: grammar_from_pieces(PIECES, ROWS, [END], dress) for dress in DRESSES}


def byte_tokens(data: bytes) -> list[int]:
    return [len(FRAGMENTS) + byte for byte in data]


def random_cut(data: bytes, rng: random.Random) -> list[int]:
    """A random tokenisation of some bytes."""
    ids: list[int] = []
    at = 0
    while at < len(data):
        fits = [i for i, piece in enumerate(PIECES) if piece and data.startswith(piece, at)]
        ids.append(rng.choice(fits))
        at += len(PIECES[ids[-1]] or b"")
    return ids


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(out) + 1)
        edit = rng.randrange(3)
        junk = bytes([rng.choice(b'{}[]",:\\ \n0-te\xff\xc3\x80')])
        out[at : at + (edit > 0)] = b"" if edit == 1 else junk
    return bytes(out)


SEEDS = {
    "list": [
        b'[{"name": "f", "arguments": {"x": 1.5e3, "y": [[true], {"a": null}]}}]',
        '```json\n[{"name":"f","arguments":{"x": "\\ud83d\\ude00 日\\"é"}}, '
        '{"name": "g", "arguments": {}}]\n```'.encode(),
        b"[]\n",
        b'[{"name": "f", "arguments": {"x": -0, "x": {"a":{"a":[]}}}}]',
    ],
    "tool_call": [
        b'<tool_call>\n{"name": "f", "arguments": {"x": [[1]]}}\n</tool_call>',
        b'I call <tool f.\n<tool_call>\n{"name":"f","arguments":{}}\n</tool_call>\n'
        b'<tool_call>{"name": "g", "arguments": {"y": "\\u00e9"}}</tool_call>',
        b"no tool fits",
        b'<think>a <tool_call>?</think><tool_call>{"name":"f","arguments":{}}</tool_call> and '
        b'<tool_call>{"name":"g","arguments":{}}</tool_call> done',
    ],
    "llama": [
        b'{"name": "f", "parameters": {"x": 1.5e3, "y": [[true], {"a": null}]}}',
        b'<|python_tag|>{"name":"f","arguments":{}} ; {"name":"g","parameters":{"y":"\\u00e9"}}',
        b"no tool fits",
    ],
}


@pytest.mark.parametrize("dress", DRESSES)
def test_garbage_dies_at_the_same_token(dress: Dress) -> None:
    rng = random.Random(0)
    sequences = []
    for index in range(LANES):
        data = mutated(rng.choice(SEEDS[dress]), rng)
        ids = random_cut(data, rng)
        if index % 4 == 0:  # no JSON at all
            ids = [rng.randrange(END) for _ in range(rng.randrange(1, 40))]
        # One in three is a prefix, without its end of text.
        sequences.append([*ids, END] if index % 3 or not ids else ids)
    died = check(dress, GRAMMARS[dress], PIECES, sequences, END)
    assert LANES / 5 < died < LANES * 0.9


def feed(grammar: Grammar, ids: list[int]) -> tuple[Tracker, list[list[Kind]]]:
    """One completion through `advance`, token by token."""
    tracker = initial(grammar, ())
    fired = []
    for token in ids:
        tracker, events = ADVANCE(grammar, tracker, jnp.int32(token))
        fired.append([Kind(int(event)) for event in events if event >= 0])
    return tracker, fired


ADVANCE = jax.jit(advance)
OPENING = b'[{"name": "'


@given(st.text("abc", max_size=12), st.text("abc", max_size=12), st.integers(0, 99))
def test_the_digest_is_of_the_bytes_alone(first: str, second: str, seed: int) -> None:
    rng = random.Random(seed)
    grammar = GRAMMARS["list"]
    states = []
    for text in (first, second, first):
        data = OPENING + text.encode()
        ids = random_cut(data, rng) if seed % 2 else byte_tokens(data)
        tracker, _ = feed(grammar, ids)
        assert not tracker.dead
        assert int(tracker.length) == len(data)
        states.append(tuple(tracker.digest.tolist()))
        seed += 1
    assert states[0] == states[2]
    assert (states[0] == states[1]) == (first == second)


def test_digests_of_many_texts_differ() -> None:
    names = [f"{a}{b}{c}" for a in "ab01" for b in "abcdefghij" for c in range(50)][:LANES]
    sequences = [byte_tokens(OPENING + name.encode()) for name in names]
    length = max(map(len, sequences))
    padded = np.zeros((length, len(names)), np.int32)
    digests = np.zeros((len(names), 2), np.uint32)
    for lane, ids in enumerate(sequences):
        padded[: len(ids), lane] = ids
    tracker = initial(GRAMMARS["list"], (len(names),))
    for at in range(length):
        tracker, _ = ADVANCE(GRAMMARS["list"], tracker, jnp.asarray(padded[at]))
        done = np.asarray([len(ids) == at + 1 for ids in sequences], bool)
        digests[done] = np.asarray(tracker.digest)[done]
    assert len({tuple(digest) for digest in digests.tolist()}) == len(names)


CALL = b'{"name":"a","arguments":{}}'


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"[" + CALL + b"," + CALL + b"]", 7),
        (b"[" + CALL + b"," + CALL + b',{"name":"c","arguments":{}', 8),
        (b"[" + CALL + b"," + CALL + b"," + CALL, 9),
        (b"[" + b",".join([CALL] * 4) + b"]", 13),
    ],
)
def test_a_token_with_too_many_decisions_is_refused(text: bytes, events: int) -> None:
    expected = run(tables("list"), text, eot=False).events
    assert len(expected) == events
    grammar = grammar_from_pieces([text], 3, [1], "list")
    tracker, (fired,) = feed(grammar, [0])
    assert bool(tracker.dead) == (events > MAX_EVENTS)
    assert fired == [kind for kind, _ in expected][:MAX_EVENTS]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_is_bounded_as_in_python(opening: bytes) -> None:
    head = b'[{"name":"f","arguments":{"x":'
    for depth in (MAX_DEPTH, MAX_DEPTH + 1):
        data = head + opening * depth
        state, _ = python.advance(tables("list"), python.initial(tables("list")), data)
        tracker, _ = feed(GRAMMARS["list"], byte_tokens(data))
        assert bool(tracker.dead) == (state.mode == 0) == (depth > MAX_DEPTH)
        if depth == MAX_DEPTH:
            assert (int(tracker.depth), int(tracker.stack)) == (state.depth, state.stack)
            # Every level closes again, in the right order.
            closing = b"]" if opening == b"[" else b"}"
            tail = (b"" if opening == b"[" else b"1") + closing * depth + b"}}]"
            tracker, fired = feed(GRAMMARS["list"], byte_tokens(data + tail))
            assert fired[-1] == [Kind.TOTAL_FINISH]
            assert not tracker.dead


def test_mixed_containers_close_in_their_order() -> None:
    half = MAX_DEPTH // 2
    opening = b'[{"name":"f","arguments":{"x":' + b'[{"a":' * half + b"1"
    tracker, fired = feed(GRAMMARS["list"], byte_tokens(opening + b"}]" * half + b"}}]"))
    assert fired[-1] == [Kind.TOTAL_FINISH]
    assert not tracker.dead
    wrong, _ = feed(GRAMMARS["list"], byte_tokens(opening + b"}" + b"}"))
    assert wrong.dead


@pytest.mark.parametrize("token", [END + 1, END + 2])
def test_tokens_without_bytes_are_refused_and_never_allowed(token: int) -> None:
    grammar = GRAMMARS["list"]
    assert np.flatnonzero(~np.asarray(grammar.allowed)).tolist() == [END + 1, END + 2]
    tracker, fired = feed(grammar, [*byte_tokens(OPENING), token])
    assert tracker.dead
    assert fired[-1] == []


def test_dead_stays_dead_and_silent() -> None:
    before, _ = feed(GRAMMARS["list"], byte_tokens(b"x"))
    after, fired = feed(GRAMMARS["list"], byte_tokens(b"x") + random_cut(b"[]", random.Random(0)))
    assert before.dead
    assert after.dead
    assert not any(fired)
    assert int(before.length) == int(after.length)


def test_the_end_of_text_closes_the_answer_once() -> None:
    tracker, fired = feed(GRAMMARS["tool_call"], [*byte_tokens(b"no"), END])
    assert fired == [[], [], [Kind.TOTAL_FINISH]]
    assert not tracker.dead
    again, fired = feed(GRAMMARS["tool_call"], [*byte_tokens(b"no"), END, END])
    assert not again.dead  # it ends as often as one likes, but is judged once
    assert fired[-1] == []
    more, _ = feed(GRAMMARS["tool_call"], [*byte_tokens(b"no"), END, *byte_tokens(b"x")])
    assert more.dead
    early, _ = feed(GRAMMARS["list"], [*byte_tokens(b"["), END])
    assert early.dead


def test_every_end_closes_the_answer_and_may_be_sampled() -> None:
    grammar = grammar_from_pieces([*PIECES, None, None], ROWS + 2, [END, ROWS + 1], "tool_call")
    for end in (END, ROWS + 1):
        tracker, fired = feed(grammar, [*byte_tokens(b"no"), end])
        assert fired == [[], [], [Kind.TOTAL_FINISH]]
        assert not tracker.dead
    allowed = np.asarray(grammar.allowed)
    assert allowed[[END, ROWS + 1]].all()
    assert not allowed[ROWS]


def test_shapes_do_not_matter() -> None:
    rng = random.Random(1)
    texts = [mutated(rng.choice(SEEDS["list"]), rng) for _ in range(6)]
    sequences = [random_cut(text, rng)[:12] for text in texts]
    sequences = [ids + [END] * (12 - len(ids)) for ids in sequences]
    grid = initial(GRAMMARS["list"], (2, 3))
    flat = initial(GRAMMARS["list"], (6,))
    for column in zip(*sequences, strict=True):
        tokens = jnp.asarray(column, jnp.int32)
        grid, grid_events = ADVANCE(GRAMMARS["list"], grid, tokens.reshape(2, 3))
        flat, flat_events = ADVANCE(GRAMMARS["list"], flat, tokens)
        np.testing.assert_array_equal(grid_events.reshape(6, -1), flat_events)
    for a, b in zip(jax.tree.leaves(grid), jax.tree.leaves(flat), strict=True):
        np.testing.assert_array_equal(a.reshape(b.shape), b)
    alone = [feed(GRAMMARS["list"], ids)[0] for ids in sequences]
    assert flat.mode.tolist() == [int(tracker.mode) for tracker in alone]
    assert flat.digest.tolist() == [tracker.digest.tolist() for tracker in alone]
