"""The engine: whoever shares a search, and whenever they joined, an answer is what it is alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from search.core.config import Execution, SearchConfig
from search.grammar.strict_tables import ENGINE_SIZE
from search.host import engine as engines
from search.host.answers import Answer
from search.host.engine import Engine
from search.host.packing import merged, pack
from search.host.pair import ModelPair
from search.host.searcher import Searcher
from toolprm_jax.records.types import DataError, Record

CONFIG = SearchConfig(
    num_beams=2,
    beam_width=2,
    schema="strict",
    max_tokens=24,
    max_step_tokens=16,
    pool_size=128,
    max_decisions=6,
    execution=Execution(pass_sizes=1),
)

pytestmark = pytest.mark.usefixtures("unclosed")
prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=6)


@given(prompts)
def test_a_forest_holds_each_beginning_once(given: list[list[int]]) -> None:
    forest = merged(given)
    beginnings = {tuple(p[: n + 1]) for p in given for n in range(len(p))}
    assert len(forest.tokens) == len(beginnings)
    packed = pack(forest, 64, 8, 8)
    exits, index = np.asarray(packed.exits), np.arange(64)
    sees = (index[None] <= index[:, None]) & (index[:, None] < exits[None])
    for row, prompt in enumerate(given):
        places = np.asarray(packed.places)[row, : len(prompt)]
        assert np.asarray(packed.tokens)[places].tolist() == prompt
        assert np.asarray(packed.positions)[places].tolist() == list(range(len(prompt)))
        for depth, place in enumerate(places):
            assert np.flatnonzero(sees[place]).tolist() == places[: depth + 1].tolist()
    assert np.asarray(packed.lengths)[: len(given)].tolist() == [len(p) for p in given]


@pytest.fixture(scope="module")
def records(by_length: list[Record]) -> list[Record]:
    return [by_length[i] for i in (9, 0, 4, 2, 7, 5, 1)]


@pytest.fixture(scope="module")
def alone(models: ModelPair, records: list[Record]) -> list[Answer]:
    """What each is answered by a searcher, one at a time."""
    searcher = Searcher(models, CONFIG)
    return list(searcher.many(records, batch_size=1, max_shapes=1, progress=False))


@pytest.fixture(scope="module")
def engine(models: ModelPair) -> Engine:
    out = Engine(models, CONFIG, rows=3, longest=512, rounds=2)
    out.warm_up()
    return out


def same(one: Answer, other: Answer) -> None:
    assert one.text == other.text
    assert (one.finished, one.flags, one.calls) == (other.finished, other.flags, other.calls)
    np.testing.assert_allclose(one.score, other.score, rtol=1e-4)
    assert [beam.text for beam in one.beams] == [beam.text for beam in other.beams]


def answered(engine: Engine, queries: list[tuple[Record, dict[str, Any]]]) -> list[Answer]:
    numbers = [engine.submit(record, **options) for record, options in queries]
    found: dict[int, Answer] = {}
    while sum(engine.load):
        found |= engine.step()
    return [found[number] for number in numbers]


def test_an_answer_does_not_depend_on_the_others(
    engine: Engine, records: list[Record], alone: list[Answer]
) -> None:
    compiled = engine.programs.compilations
    found = dict(engine.run(records))
    assert sorted(found) == list(range(len(records)))
    for place, answer in found.items():
        same(answer, alone[place])
    # The other way round, each joining as soon as there is room, or one after another.
    for place, answer in engine.run(records[::-1]):
        same(answer, alone[len(records) - 1 - place])
    for place in (2, 0):
        (mine,) = engine.run(records[place : place + 1])
        same(mine[1], alone[place])
    assert engine.programs.compilations == compiled
    assert engine.load == (0, 0)
    assert engine.run_tokens >= 128


def test_one_that_goes_away_leaves_its_row_to_others(
    engine: Engine, records: list[Record], alone: list[Answer]
) -> None:
    numbers = [engine.submit(record) for record in records[:5]]
    assert engine.load == (0, 5)
    found = engine.step()
    assert sum(engine.load) == 5 - len(found)
    gone = [number for number in numbers if number not in found][::2]
    assert all(engine.cancel(number) for number in gone)
    assert not engine.cancel(gone[0])
    while sum(engine.load):
        found |= engine.step()
    assert sorted([*found, *gone]) == numbers
    for number, answer in found.items():
        same(answer, alone[numbers.index(number)])


def test_a_seed_is_the_querys_own(engine: Engine, records: list[Record]) -> None:
    seeds = [(records[2], {"seed": seed, "temperature": 5.0}) for seed in (0, 1, 0)]
    first, second, third = answered(engine, seeds)
    same(first, third)
    assert first.cost != second.cost


def test_a_method_that_votes_has_its_vote_counted(
    engine: Engine, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(output: Any, codec: Any) -> Any:
        return output._replace(score=np.full_like(output.score, 7.0))

    monkeypatch.setitem(engines.VOTES, "fine_grained", last)
    assert answered(engine, [(records[1], {})])[0].score == 7.0


def test_temperature_and_top_p_are_the_querys_own(engine: Engine, records: list[Record]) -> None:
    """Beside others as alone; zero takes the likeliest, whatever the seed."""
    wanted = [{"temperature": 0.0}, {"temperature": 5.0, "top_p": 0.7}, {"temperature": 5.0}]
    together = answered(engine, [(records[4], each) for each in wanted])
    alone = [answered(engine, [(records[4], each)])[0] for each in wanted]
    for one, other in zip(together, alone, strict=True):
        same(one, other)
    assert len({str(one.cost) for one in together}) == 3
    again = [(records[4], {"temperature": 0.0, "seed": seed}) for seed in (1, 2)]
    for other in answered(engine, again):
        same(together[0], other)


def test_limits_and_the_number_of_answers_are_the_querys_own(
    engine: Engine, records: list[Record], alone: list[Answer]
) -> None:
    wanted: list[dict[str, Any]] = [{"token_limit": 5}, {}, {"answers": 2}]
    short, plain, both = answered(engine, [(records[4], each) for each in wanted])
    same(plain, alone[4])
    assert len(engine.pair.policy.codec.encode(short.text)) <= 5
    assert "length_overflow" in short.flags
    assert (both.text, both.score) == (plain.text, pytest.approx(plain.score))
    assert both.cost["decisions"] >= plain.cost["decisions"]
    # One that goes away doesn't end a neighbour that wants more whole beams.
    for steps in range(4):
        number, gone = engine.submit(records[4], answers=2), engine.submit(records[2])
        found: dict[int, Answer] = {}
        for _ in range(steps):
            found |= engine.step()
        engine.cancel(gone)
        for _ in range(50):
            found |= engine.step()
        same(found[number], both)
    loose = Engine(engine.pair, replace(CONFIG, schema="ignore"), rows=1, longest=256)
    with pytest.raises(DataError, match="expected schema strict"):
        loose.submit(records[1], calls=(1, 1))


def test_what_has_no_room_is_refused_with_the_numbers(
    models: ModelPair, engine: Engine, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Record("long", ({"role": "user", "content": "word " * 700},), (), None)
    with pytest.raises(DataError, match=r"the prompt has \d+ tokens, the engine takes 512"):
        engine.submit(long)
    tight = Engine(models, CONFIG, rows=1, longest=256, tools_size=ENGINE_SIZE._replace(shapes=1))
    with pytest.raises(DataError, match="more than the engine takes"):
        tight.submit(replace(records[1], id="r"))
    with pytest.raises(DataError, match="expected schema ignore or strict"):
        Engine(models, replace(CONFIG, schema="prune"))
    monkeypatch.setattr(engines, "_memory", lambda: 1_000)
    with pytest.raises(DataError, match="8 rows of 512 tokens take"):
        Engine(models, CONFIG)
