"""The engine: whoever shares a search, and whenever they joined, an answer is what it is alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from search.core.config import Execution, SearchConfig
from search.decoder import empty_cache, join_cache
from search.grammar.strict_tables import ENGINE_SIZE
from search.host import engine as engines
from search.host.answers import Answer
from search.host.engine import Engine
from search.host.packing import Intake, intake, merged, pack
from search.host.pair import ModelPair
from search.host.prefixes import Prefixes
from search.host.searcher import Searcher
from search.methods import ALIKE
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
    packed = pack(Intake(forest, 64, 0), 8, 8)
    exits, index = np.asarray(packed.exits), np.arange(64)
    sees = (index[None] <= index[:, None]) & (index[:, None] < exits[None])
    for row, prompt in enumerate(given):
        places = np.asarray(packed.places)[row, : len(prompt)]
        assert np.asarray(packed.tokens)[places].tolist() == prompt
        assert np.asarray(packed.positions)[places].tolist() == list(range(len(prompt)))
        for depth, place in enumerate(places):
            assert np.flatnonzero(sees[place]).tolist() == places[: depth + 1].tolist()
    assert np.asarray(packed.lengths)[: len(given)].tolist() == [len(p) for p in given]


@given(prompts.filter(bool), st.lists(st.lists(st.integers(0, 2), max_size=8), min_size=1))
def test_what_a_row_still_holds_is_not_run_again(
    given: list[list[int]], held: list[list[int]]
) -> None:
    sizes = (2, 4, 8, 64)
    found = intake(given, held, sizes)
    assert found is not None
    forest, size, source = found
    before = held[source][: forest.start]
    for prompt, places in zip(given, forest.places, strict=True):
        assert before + [forest.tokens[place] for place in places] == prompt
    if forest.start:
        assert size < next(size for size in sizes if size >= len(merged(given).tokens))
    packed = pack(found, 8, 8)
    assert np.asarray(packed.lengths)[: len(given)].tolist() == [len(p) for p in given]
    for row, prompt in enumerate(given):
        places = np.asarray(packed.places)[row, forest.start : len(prompt)]
        assert np.asarray(packed.positions)[places].tolist() == [*range(forest.start, len(prompt))]
    assert intake(given, held, ()) is None


@given(st.integers(1, 5000))
def test_the_largest_row_holds_the_longest_prompt_and_little_more(longest: int) -> None:
    sizes = Prefixes(1, longest).sizes
    assert sizes == sorted(set(sizes))
    assert longest <= sizes[-1] < max(longest + 64, 129)
    assert all(later <= 2 * one for one, later in pairwise(sizes))


def test_a_row_that_is_read_counts_as_used() -> None:
    rows = Prefixes(3, 16, 1)

    def taken_in(prompt: list[int], free: list[int]) -> int:
        _, how = rows.next([prompt], len(free))
        return rows.place(how, [prompt], free)[0]

    assert [taken_in([number] * 8, [number]) for number in range(3)] == [0, 1, 2]
    assert taken_in([0] * 7 + [5], [1]) == 1  # reads row 0
    assert taken_in([7] * 8, [0, 2]) == 2
    assert (rows.asked, rows.reused) == (40, 7)


def test_conversations_that_take_turns_keep_their_rows() -> None:
    """Two that begin with the same tools; each turn is run once."""
    rows, tools = Prefixes(8, 1024), [0] * 300
    told = {who: [*tools, *[who] * 90] for who in (1, 2)}
    for turn in range(5):
        for who, prompt in told.items():
            _, how = rows.next([prompt], 8)
            rows.place(how, [prompt], range(8))
            assert len(how.forest.tokens) == (90 if turn or who == 2 else 390)
            told[who] = [*prompt, *[who] * 90]
    # Single queries about those tools take the other rows, and leave these two alone.
    for query in range(3, 30):
        prompt = [*tools, *[query] * 20]
        _, how = rows.next([prompt], 8)
        rows.place(how, [prompt], range(8))
    assert all(rows.next([told[who]], 8)[1].forest.start == 300 + 5 * 90 for who in told)


@given(st.lists(st.tuples(st.lists(prompts.filter(bool), max_size=2), st.integers(1, 3))))
def test_rows_are_read_and_written_over_in_their_order(
    rounds: list[tuple[list[list[list[int]]], int]],
) -> None:
    """Whatever is asked when: nothing is lost, and the row that goes is the least recently used."""
    rows, held, used = Prefixes(4, 16, 1), [[] for _ in range(4)], [0] * 4
    for now, (batches, room) in enumerate(rounds, start=1):
        for waiting in batches:
            free = sorted(range(4), key=lambda row: (row * now) % 5)[:room]
            count, how = rows.next(waiting, room)
            assert 1 <= count <= min(room, len(waiting))
            start = how.forest.start
            assert all(prompt[:start] == held[how.source][:start] for prompt in waiting[:count])
            before = list(used)
            places = rows.place(how, waiting[:count], free)
            assert len(set(places)) == count
            assert set(places) <= set(free)
            spared = [row for row in free if row not in places]
            # Nothing but what was read is in a row that is taken out of turn.
            spent = start and len(held[how.source]) == start
            written = [row for row in places if not (spent and row == how.source)]
            assert all(before[a] <= before[b] for a in written for b in spared)
            assert not any(held[row] for row in places if not all(map(held.__getitem__, spared)))
            stamp = max(used) + 1
            for row, prompt in zip(places, waiting[:count], strict=True):
                held[row], used[row] = prompt, stamp
            if start:
                used[how.source] = stamp


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
    assert engine.prefixes.run >= 128


def test_tools_that_a_row_still_holds_are_not_read_again(
    engine: Engine, records: list[Record], models: ModelPair
) -> None:
    """Queries after one another about the same tools; the answers are those of a searcher."""
    texts = ("first", "the second", "a third one", "first", "and a fourth")
    tools = records[0].tools + records[1].tools + records[2].tools
    asked = [Record(t, ({"role": "user", "content": t},), tools, None) for t in texts]
    searcher = Searcher(models, CONFIG)
    wanted = list(searcher.many(asked, batch_size=1, max_shapes=1, progress=False))
    lengths = [len(engine.pair.policy.codec.prompt(record)) for record in asked]
    assert min(lengths) > 128
    begin = engine.prefixes.reused, engine.prefixes.run
    for record, answer in zip(asked, wanted, strict=True):
        ((_, mine),) = engine.run([record])
        same(mine, answer)
    assert engine.prefixes.reused - begin[0] > sum(lengths[1:]) / 2
    assert engine.prefixes.run - begin[1] < sum(lengths)
    # Together too, beside one of other tools, and whatever a neighbour overwrites meanwhile.
    mixed = [*asked, *records[3:5], *asked[::-1]]
    for place, answer in engine.run(mixed):
        if place < len(asked):
            same(answer, wanted[place])
        elif place > len(asked) + 1:
            same(answer, wanted[len(mixed) - 1 - place])


def test_a_known_beginning_gives_the_keys_of_the_whole(models: ModelPair) -> None:
    """One prompt into row 1, then two that begin alike: into row 1 itself, and into row 0."""
    loaded, longest = models.policy, 64
    draw = np.random.default_rng(0).integers(3, 2000, (2, 40)).tolist()
    first = draw[0]
    others = [first[:24] + draw[1][:10], first[:24] + draw[1][3:8]]
    assert [len(other) for other in others] == [34, 29]

    def put(cache: Any, prompts: list[list[int]], held: list[list[int]], rows: list[int]) -> Any:
        how = intake(prompts, held, (16, 64))
        assert how is not None
        assert how.forest.start == (24 if any(held) else 0)
        packed, order = pack(how, 3, longest), jnp.asarray(rows + [0] * (3 - len(rows)))
        return join_cache(
            loaded.model, loaded.params, cache, packed, order, jnp.int32(len(prompts))
        )

    empty = empty_cache(loaded.model, 3, longest, 64)
    found = put(put(empty, [first], [[], [], []], [1]), others, [[], first, []], [1, 0])
    whole = put(empty, others, [[], [], []], [1, 0])
    np.testing.assert_array_equal(found.prompt_lengths, whole.prompt_lengths)
    for row, prompt in zip((1, 0), others, strict=True):
        for one, other in zip(found.prompt, whole.prompt, strict=True):
            mine, wanted = (array[:, row, :, : len(prompt)] for array in (one, other))
            np.testing.assert_allclose(mine, wanted, rtol=2e-4, atol=2e-5)


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


LOOSE = replace(CONFIG, schema="ignore", trace=True)


@pytest.fixture(scope="module")
def loose(models: ModelPair) -> Engine:
    out = Engine(models, LOOSE, rows=3, longest=512, rounds=4)
    out.warm_up()
    return out


def test_a_tree_is_told_as_it_grows(
    models: ModelPair, loose: Engine, records: list[Record]
) -> None:
    """After every decision, up to the tree that a searcher draws; answers stay what they are."""
    (wanted,) = Searcher(models, LOOSE).many([records[1]], trace=True, progress=False)
    told: list[dict[str, Any]] = []
    number, other = loose.submit(records[1], watch=told.append), loose.submit(records[4])
    found: dict[int, Answer] = {}
    while sum(loose.load):
        found |= loose.step()
    same(found[number], wanted)
    assert wanted.drawing is not None
    heading = ("query", "tools", "method", "num_beams", "gold")
    assert [told[-1][key] for key in heading] == [wanted.drawing[key] for key in heading]
    texts = [[node["text"] for node in tree["nodes"]] for tree in told]
    assert texts[-1] == [node["text"] for node in wanted.drawing["nodes"]]
    assert all(len(one) < len(two) for one, two in pairwise(texts))
    assert len(told) == wanted.cost["decisions"]
    (beside,) = Searcher(models, LOOSE).many([records[4]], progress=False)
    same(found[other], beside)
    with pytest.raises(DataError, match="expected an engine whose configuration has a trace"):
        Engine(models, CONFIG, rows=1, longest=256).submit(records[1], watch=told.append)


@pytest.mark.parametrize("schema", ["ignore", "strict"])
def test_one_program_serves_the_methods_beside_one_another(
    models: ModelPair, engine: Engine, loose: Engine, records: list[Record], schema: str
) -> None:
    shared = {"ignore": loose, "strict": engine}[schema]
    base = {"ignore": replace(LOOSE, trace=False), "strict": CONFIG}[schema]
    compiled = shared.programs.compilations
    assert shared.methods == ALIKE
    chosen = [records[place] for place in (1, 4, 2)]
    asked = [(record, {"method": method}) for record in chosen for method in ALIKE]
    wanted = {
        method: list(Searcher(models, base, method=method).many(chosen, progress=False))
        for method in ALIKE
    }
    for (record, options), mine in zip(asked, answered(shared, asked), strict=True):
        other = wanted[options["method"]][chosen.index(record)]
        assert (mine.method, mine.text, mine.flags) == (other.method, other.text, other.flags)
        assert (mine.calls, mine.finished) == (other.calls, other.finished)
        np.testing.assert_allclose(mine.score, other.score, rtol=1e-4)
        for cost in ("policy_tokens", "prm_tokens", "unshared_policy_tokens", "decisions"):
            assert mine.cost[cost] == other.cost[cost], (cost, options)
        for one, two in zip(*(sure(answer) for answer in (mine, other)), strict=True):
            assert one == pytest.approx(two, rel=1e-3)
    warm = answered(shared, [(records[4], {"method": "greedy", "temperature": 2.0, "seed": 1})])[0]
    assert warm.text == wanted["greedy"][1].text
    assert shared.programs.compilations == compiled
    with pytest.raises(DataError, match="found 'token_beam'"):
        shared.submit(records[0], method="token_beam")
    alone = Engine(models, CONFIG, method="greedy", rows=1, longest=256)
    with pytest.raises(DataError, match="expected one of greedy; found 'sample'"):
        alone.submit(records[0], method="sample")


def sure(answer: Answer) -> list[float]:
    """How sure an answer is of each argument."""
    calls = (answer.confidence or {"calls": []})["calls"]
    return [p for call in calls for p in call["arguments"].values()]


def test_a_tree_of_greedy_decoding_has_no_probabilities(
    loose: Engine, records: list[Record], tmp_path: Path
) -> None:
    told: list[dict[str, Any]] = []
    query: dict[str, Any] = {"method": "greedy", "watch": told.append}
    greedy, plain = answered(loose, [(records[1], query), (records[1], {})])
    assert [node["p"] for node in told[-1]["nodes"]] == [[]] * len(told[-1]["nodes"])
    assert greedy.drawing == told[-1]
    assert plain.drawing is not None  # of one that nobody watched
    assert any(node["p"] for node in plain.drawing["nodes"])
    plain.tree(tmp_path / "tree.html")
    assert "<svg" in (tmp_path / "tree.html").read_text()


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
    engine: Engine, loose: Engine, records: list[Record], alone: list[Answer]
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
