"""The host side of search: what becomes of a completion."""

from __future__ import annotations

from json import dumps
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.core.config import Execution, SearchConfig
from search.core.output import SearchOutput
from search.core.walk import nothing_yet
from search.decoder import Prompts
from search.grammar.tracker import MAX_EVENTS
from search.host.answers import answer_of
from search.host.batches import make_batches
from search.host.pair import ModelPair
from search.host.runs import run_methods
from search.host.searcher import Searcher
from search.methods import Method
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.matching import exact_match
from toolprm_jax.grammar import runner as grammar
from toolprm_jax.records.types import Record
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.contract import Granularity
from toolprm_jax.toolworld.masked import masked_corpus


def output_of(codec: Codec, text: str) -> SearchOutput:
    """A search of one query and one beam that ended with a text."""
    ids = np.asarray(codec.encode(text), np.int32)
    one = np.zeros((1, 1), np.float32)
    costs, flags = nothing_yet(1)
    events = np.full((len(ids), MAX_EVENTS), -1)
    for kind, end in grammar.run(grammar.tables("list"), text.encode(), eot=False).events:
        at = next(n for n in range(len(ids)) if len(codec.decode(ids[: n + 1].tolist())) >= end)
        events[at, (events[at] >= 0).sum()] = kind
    return SearchOutput(
        tokens=jnp.asarray(ids[None, None]),
        lengths=jnp.asarray([[len(ids)]]),
        log_probs=-0.01 * jnp.arange(len(ids))[None, None],
        events=jnp.asarray(events[None, None]),
        log_p=jnp.log(jnp.linspace(0.9, 0.1, events.size).reshape(1, 1, *events.shape)),
        log_prob=jnp.asarray(one),
        score=jnp.asarray(one),
        status=jnp.asarray(one.astype(np.int32)),
        copies=jnp.asarray(one.astype(np.int32)),
        best=jnp.asarray([0]),
        finished=jnp.asarray([True]),
        decisions=jnp.asarray([3]),
        costs=costs,
        flags=flags,
        trace=None,
    )


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 900), max_size=40),
    batch_size=st.integers(1, 9),
    max_shapes=st.integers(1, 5),
)
def test_every_record_is_in_one_batch(lengths: list[int], batch_size: int, max_shapes: int) -> None:
    prompts = [[7 * i + 1] * length for i, length in enumerate(lengths)]
    codec: Any = SimpleNamespace(prompt=lambda record: prompts[int(record.id)])
    records = [Record(str(i), (), (), None) for i in range(len(lengths))]
    batches = list(make_batches(codec, records, batch_size, max_shapes))
    places = [place for batch in batches for place in batch.indices]
    assert sorted(places) == list(range(len(lengths)))
    assert [len(prompts[place]) for place in places] == sorted(lengths)
    assert len({batch.prompts.tokens.shape[1] for batch in batches}) <= max_shapes
    for batch in batches:
        size = len(batch.prompts.lengths)
        assert len(batch.indices) <= size == len(batch.records) <= batch_size
        for row, record in enumerate(batch.records):
            prompt = prompts[int(record.id)]
            assert int(batch.prompts.lengths[row]) == len(prompt)
            assert np.asarray(batch.prompts.tokens)[row, : len(prompt)].tolist() == prompt
        assert [int(record.id) for record in batch.records][: len(batch.indices)] == [
            *batch.indices
        ]


def test_a_repeated_parameter_is_wrong_in_labels_and_in_answers(small_codec: Codec) -> None:
    record = next(
        r
        for r in masked_corpus(5, "heldout", 50)
        if r.answers and len(r.answers) == 1 and r.answers[0].arguments
    )
    call = record.answers[0].first() if record.answers else None
    assert call is not None
    name, value = next(iter(call.arguments.items()))
    pairs = [(name, value), *call.arguments.items()]
    inner = ", ".join(f"{dumps(k)}: {dumps(v)}" for k, v in pairs)
    texts = {
        False: f'[{{"name": {dumps(call.name)}, "arguments": {{{inner}}}}}]',
        True: f"[{dumps(call.to_json())}]",
    }
    for right, text in texts.items():
        prompts = Prompts(jnp.zeros((1, 4), jnp.int32), jnp.asarray([4]))
        answer = answer_of(
            small_codec, record, "greedy", output_of(small_codec, text), 0, prompts, None
        )
        assert label_completion(record, text).correct == right
        assert (answer.finished and exact_match(record, answer.calls)) == right
        assert ("repeated_parameter" in answer.flags) == (not right)


@pytest.mark.parametrize("number", ["1e999", "[{}, -2e400]"])
def test_a_number_beyond_a_float_is_no_answer(small_codec: Codec, number: str) -> None:
    """It is JSON, and an answers file with Infinity would not be."""
    record = next(masked_corpus(5, "heldout", 1))
    text = f'[{{"name": "f", "arguments": {{"x": {number}}}}}]'
    prompts = Prompts(jnp.zeros((1, 4), jnp.int32), jnp.asarray([4]))
    answer = answer_of(
        small_codec, record, "greedy", output_of(small_codec, text), 0, prompts, None
    )
    assert answer.flags == ("number_overflow", "unfinished")
    assert not answer.beams
    dumps(answer.to_json(), allow_nan=False)


@pytest.mark.parametrize("judge", ["toolprm", "orm", None])
def test_each_argument_has_a_confidence(small_codec: Codec, judge: Granularity | None) -> None:
    record = next(masked_corpus(5, "heldout", 1))
    text = (
        '[{"name": "f", "arguments": {"x": 1, "y": {"z": [2]}}}, {"name": "g", "arguments": {}}, '
        '{"name": "f", "arguments": {"x": "}]"}}]'
    )
    output = output_of(small_codec, text)
    prompts = Prompts(jnp.zeros((1, 4), jnp.int32), jnp.asarray([4]))
    answer = answer_of(small_codec, record, "fine_grained", output, 0, prompts, judge)
    assert answer.confidence is not None
    calls = answer.confidence["calls"]
    assert [list(call["arguments"]) for call in calls] == [["x", "y"], [], ["x"]]
    ends = [end for _, end in grammar.run(grammar.tables("list"), text.encode(), eot=False).events]
    if judge == "toolprm":
        assert answer.confidence["by"] == "prm"
        fired = np.exp(output.log_p[output.events >= 0]).tolist()
        numbers = [[c["name"], *c["arguments"].values()] for c in calls]
        # Behind these come PARAM_FINISH and FUNC_FINISH, at the very end TOTAL_FINISH.
        assert numbers == [pytest.approx(fired[a:b]) for a, b in ((0, 3), (5, 6), (8, 10))]
        lowest = [min(fired[a:b]) for a, b in ((0, 5), (5, 8), (8, 12))]
        assert [call["call"] for call in calls] == pytest.approx(lowest)
        assert len(fired) == len(ends) == 13
        return
    assert answer.confidence["by"] == "policy"
    whole = np.cumsum(output.log_probs[0, 0])
    lengths = [
        len(small_codec.decode(output.tokens[0, 0, : n + 1].tolist()))
        for n in range(int(output.lengths[0, 0]))
    ]
    upto = [float(whole[np.searchsorted(lengths, end)]) for end in ends]
    assert calls[0]["name"] == pytest.approx(np.exp(upto[0]))
    assert calls[0]["arguments"]["y"] == pytest.approx(np.exp(upto[2] - upto[1]))
    assert calls[2]["arguments"]["x"] == pytest.approx(np.exp(upto[9] - upto[8]))
    products = np.diff([0.0, upto[4], upto[7], upto[11]])
    assert [call["call"] for call in calls] == pytest.approx(np.exp(products))


def test_no_method_pays_for_compiling(models: ModelPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still except while XLA compiles."""
    compiled = 0.0

    def listen(event: str, duration_secs: float, **kwargs: Any) -> None:
        nonlocal compiled
        if event == "/jax/core/compile/backend_compile_duration":
            compiled += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    clock = SimpleNamespace(perf_counter=lambda: compiled)
    monkeypatch.setattr("search.host.searcher.time", clock)
    monkeypatch.setattr("search.host.programs.time", clock)
    records = list(masked_corpus(7, "heldout", 3))
    base = SearchConfig(
        num_beams=1,
        beam_width=2,
        max_tokens=8,
        max_step_tokens=8,
        pool_size=64,
        execution=Execution(pass_sizes=1),
    )
    methods: tuple[Method, ...] = ("greedy", "best_of_n")
    try:
        runs = run_methods(
            Searcher(models, base), records, methods, seed=0, batch_size=2, progress=False
        )
    finally:
        jax.monitoring.clear_event_listeners()
    assert compiled > 0
    for run in runs.values():
        assert run.spent.seconds == 0
        assert run.spent.compile_seconds > 0
