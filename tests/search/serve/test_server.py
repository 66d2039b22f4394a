"""A server with an engine of tiny models, as OpenAI's own client sees it."""

from __future__ import annotations

import ctypes
import gc
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import openai
import pytest
from documents import blocks_run_by
from servers import ask, serving

from search.core.config import Execution, SearchConfig
from search.host.answers import Answer
from search.host.engine import Engine
from search.host.pair import ModelPair
from search.host.searcher import Searcher
from search.serve.handlers import Service
from search.serve.worker import Worker
from toolprm_jax.grammar.types import Kind
from toolprm_jax.records.queries import query_record
from toolprm_jax.records.types import Record, Tool

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unclosed")]
CONFIG = SearchConfig(
    num_beams=2,
    beam_width=2,
    schema="strict",
    max_tokens=48,
    max_step_tokens=32,
    pool_size=256,
    max_decisions=8,
    trace=True,
    execution=Execution(pass_sizes=1),
)


@pytest.fixture(scope="module")
def records(by_length: list[Record]) -> list[Record]:
    return by_length[:6]


@pytest.fixture(scope="module")
def engine(models: ModelPair) -> Engine:
    return Engine(models, CONFIG, rows=3, longest=512, rounds=2)


@pytest.fixture(scope="module")
def address(models: ModelPair, engine: Engine) -> Iterator[str]:
    service = Service(Worker(engine, 64), Searcher(models, CONFIG), "tiny", "key")
    with serving(service) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://{address}/v1", api_key="key", max_retries=0) as client:
        yield client


def body_of(record: Record, **options: Any) -> dict[str, Any]:
    tools = [{"type": "function", "function": tool.to_json()} for tool in record.tools]
    return {"model": "tiny", "messages": list(record.messages), "tools": tools, **options}


@pytest.fixture(scope="module")
def wanted(models: ModelPair, records: list[Record]) -> list[Answer]:
    """What a searcher answers."""
    # The same queries as the server makes of their bodies, for their ids give the seeds.
    asked = [query_record(list(r.messages), body_of(r)["tools"]) for r in records]
    searcher = Searcher(models, CONFIG)
    return list(searcher.many(asked, batch_size=1, max_shapes=1, progress=False))


def same(choice: Any, answer: Answer) -> None:
    made = [
        (call.function.name, json.loads(call.function.arguments))
        for call in choice.message.tool_calls or ()
    ]
    assert made == [(call.name, call.arguments) for call in answer.calls]
    assert choice.finish_reason == (
        "length" if not answer.finished else "tool_calls" if answer.calls else "stop"
    )


def test_openais_client_gets_the_searchers_answers(
    client: openai.OpenAI, records: list[Record], wanted: list[Answer]
) -> None:
    assert any(answer.calls for answer in wanted)
    for record, answer in zip(records, wanted, strict=True):
        got = client.chat.completions.create(**body_of(record))
        same(got.choices[0], answer)
        assert got.usage is not None
        assert got.usage.prompt_tokens == answer.cost["policy_prompt_tokens"]
        sure = got.choices[0].model_dump()["confidence"]
        assert (sure is None) == (answer.confidence is None)
        for one, other in zip(
            (sure or {"calls": []})["calls"],
            (answer.confidence or {"calls": []})["calls"],
            strict=True,
        ):
            assert one["arguments"] == pytest.approx(other["arguments"], rel=1e-3)


def test_a_stream_gathers_to_the_same(
    client: openai.OpenAI, records: list[Record], wanted: list[Answer]
) -> None:
    place = next(i for i, answer in enumerate(wanted) if answer.calls)
    with client.chat.completions.stream(**body_of(records[place])) as stream:
        same(stream.get_final_completion().choices[0], wanted[place])


def test_the_client_in_the_documents_is_answered(address: str, records: list[Record]) -> None:
    body = body_of(records[0])
    (program,) = blocks_run_by("test_the_client_in_the_documents_is_answered")
    for ours, there in (("127.0.0.1:8000", address), ('"none"', '"key"'), ("toolprm", "tiny")):
        program = program.replace(ours, there)
    names: dict[str, Any] = {"messages": body["messages"], "tools": body["tools"]}
    exec(compile(program, "docs/serve.md", "exec"), names)
    names["client"].close()
    assert names["got"].choices[0].model_dump().keys() >= {"confidence", "score"}


def test_calls_are_as_many_as_may_be(client: openai.OpenAI, records: list[Record]) -> None:
    only = Tool("stop", "Stop everything", {"type": "object", "properties": {}})
    record = Record("r", records[0].messages, (only,), None)
    got = client.chat.completions.create(
        **body_of(record, tool_choice="required", parallel_tool_calls=False)
    )
    if got.choices[0].finish_reason != "length":
        made: list[Any] = [*(got.choices[0].message.tool_calls or ())]
        assert [call.function.name for call in made] == ["stop"]
    none = client.chat.completions.create(**body_of(record, tool_choice="none"))
    assert not none.choices[0].message.tool_calls


def test_choices_are_the_best_beams(client: openai.OpenAI, records: list[Record]) -> None:
    for record in records:
        choices = client.chat.completions.create(**body_of(record, n=2)).choices
        scores = [choice.model_dump()["score"] for choice in choices]
        assert scores == sorted(scores, reverse=True)
        assert len(choices) <= 2


def test_errors_are_the_clients_own(client: openai.OpenAI, records: list[Record]) -> None:
    with pytest.raises(openai.BadRequestError, match="logprobs is not supported"):
        client.chat.completions.create(**body_of(records[0], logprobs=True))
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**body_of(records[0]), "model": "other"})
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    long = [{"role": "user", "content": "word " * 700}]
    with pytest.raises(openai.BadRequestError, match=r"the prompt has \d+ tokens, the engine"):
        client.chat.completions.create(**{**body_of(records[0]), "messages": long})
    assert [model.id for model in client.models.list()] == ["tiny"]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "half \ud800 a pair"}]},
        {"messages": [{"role": "user", "content": "\x00\x1b[31m"}]},
        {"messages": [{"role": "tool", "content": "5"}]},
        {"tools": [{"name": "f", "parameters": {"type": "object", "properties": {"a": 5}}}]},
        {"tools": [{"name": "f\ud800", "parameters": {"type": "object"}}]},
        {"tools": [{"name": "f", "parameters": {"properties": {"a": {"$ref": "#/x/y"}}}}]},
        {"tools": [{"name": "f", "parameters": {"properties": {"a": {"enum": []}}}}] * 2},
    ],
)
def test_odd_requests_harm_nobody(
    address: str, client: openai.OpenAI, records: list[Record], wanted: list[Answer], change: Any
) -> None:
    key = {"Authorization": "Bearer key"}
    status, _, _ = ask(address, "/v1/chat/completions", {**body_of(records[0]), **change}, **key)
    assert status in (200, 400)
    same(client.chat.completions.create(**body_of(records[0])).choices[0], wanted[0])


def test_scores_are_the_searchers(
    models: ModelPair, address: str, records: list[Record], wanted: list[Answer]
) -> None:
    place = next(i for i, answer in enumerate(wanted) if answer.calls)
    body = body_of(records[place])
    texts = [wanted[place].text, "nonsense"]
    status, _, got = ask(
        address, "/v1/score", {**body, "completions": texts}, Authorization="Bearer key"
    )
    assert status == 200
    found = Searcher(models, CONFIG).score(wanted[place].record, texts)
    for line, scores in zip(got["data"], found, strict=True):
        assert isinstance(scores, list)
        assert [step["p"] for step in line["steps"]] == pytest.approx([one.p for one in scores])
    assert len(got["data"][0]["steps"]) > len(got["data"][1]["steps"])


def test_a_label_is_as_likely_as_the_reward_model_says(
    models: ModelPair, address: str, wanted: list[Answer]
) -> None:
    """The prompt, the completion and the marker: P(+) against P(-), as `score` has it."""
    assert models.prm is not None
    codec, answer = models.prm.codec, next(answer for answer in wanted if answer.calls)
    (steps,) = Searcher(models, CONFIG).score(answer.record, [answer.text])
    assert isinstance(steps, list)
    minus, plus = codec.contract.label_ids
    marker = codec.contract.marker_ids[Kind.TOTAL_FINISH]
    body: dict[str, Any] = {"query": codec.prompt(answer.record)}
    body["label_token_ids"] = [plus, minus]
    body["items"] = [[*codec.encode(answer.text), marker]]
    key = {"Authorization": "Bearer key"}
    status, _, got = ask(address, "/generative_scoring", body, **key)
    assert status == 200
    assert got["data"][0]["score"] == pytest.approx(steps[-1].p, rel=1e-3)
    for wrong in (
        {"items": ["text"]},
        {"query": "\ud800", "items": ["a"]},
        {"label_token_ids": [1 << 20]},
        {"label_token_ids": []},
    ):
        assert ask(address, "/generative_scoring", {**body, **wrong}, **key)[0] == 400


class Kept(NamedTuple):
    """What a process keeps: objects that the collector knows, arrays, and bytes in memory."""

    objects: int
    arrays: int
    resident: int


def kept() -> Kept:
    """Without what only waits to be collected, or to be given back to the system."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    sizes = len(gc.get_objects()), len(jax.live_arrays()), pages * os.sysconf("SC_PAGE_SIZE")
    return Kept(*sizes)


def test_many_clients_get_what_each_gets_alone(
    client: openai.OpenAI, engine: Engine, records: list[Record], wanted: list[Answer]
) -> None:
    """Nothing is lost or mixed up, nothing is compiled, and memory does not grow."""

    def one(number: int) -> None:
        place = number % len(records)
        got = client.chat.completions.create(**body_of(records[place]))
        same(got.choices[0], wanted[place])

    one(0)  # which is answered once the server is warm
    compiled = engine.programs.compilations
    after = []
    with ThreadPoolExecutor(64) as pool:
        # The allocator's own use grows until all threads have theirs; what leaks grows for ever.
        for _ in range(12):
            list(pool.map(one, range(100)))
            after.append(kept())
            if len(after) > 4 and after[-1].resident - after[-2].resident < 4 << 20:
                break
    requests = 100 * (len(after) - 2)
    assert after[-1].objects - after[1].objects < requests  # fewer than one each
    assert after[-1].arrays <= after[1].arrays
    assert after[-1].resident - after[-2].resident < 4 << 20
    assert engine.programs.compilations == compiled
    assert engine.load == (0, 0)
    assert engine.prefixes.reused > 0


def test_the_tree_of_a_search_grows(
    client: openai.OpenAI, records: list[Record], wanted: list[Answer]
) -> None:
    place = next(i for i, answer in enumerate(wanted) if answer.calls)
    asked = body_of(records[place], stream=True, extra_body={"search_tree": True})
    trees = []
    for chunk in client.chat.completions.create(**asked):
        search: Any = (chunk.model_extra or {}).get("search")
        if search:
            trees.append(search["tree"])
    sizes = [len(tree["nodes"]) for tree in trees]
    assert sizes == sorted(sizes)
    assert 1 < len(set(sizes)) <= wanted[place].cost["decisions"]
    assert any(node["finished"] for node in trees[-1]["nodes"])
