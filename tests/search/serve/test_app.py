"""What every request is held to: its form, the key, room and time; with an engine that is told."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import CONFIG, Told, ask, serving, told_service

from search.host.answers import Answer, Beam
from toolprm_jax.records.types import Call, Record

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "What is 2 + 3?"}
BODY: dict[str, Any] = {"messages": [USER], "tools": [TOOL, OTHER]}
CHAT = "/v1/chat/completions"


def answer_to(record: Record, *calls: Call, flags: tuple[str, ...] = ()) -> Answer:
    """An answer as the engine gives it."""
    cost = {"policy_tokens": 7, "prm_tokens": 5, "policy_prompt_tokens": 11}
    beams = (Beam(calls, "best", 0.9), Beam((Call("sub", {}),), "second", 0.4))
    confidence = {"by": "prm", "calls": []}
    told = (record, calls, "best", 0.9, "unfinished" not in flags, confidence, "fine_grained", cost)
    return Answer(*told, flags, beams)


class Asked:
    """A request under way in a thread."""

    def __init__(self, *request: Any, **headers: str) -> None:
        def run() -> None:
            self.got = ask(*request, **headers)

        self.got: Any = None
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def result(self) -> tuple[int, Any, Any]:
        """What came back."""
        self._thread.join(60)
        return self.got


@pytest.fixture
def engine() -> Told:
    return Told()


@pytest.fixture
def address(engine: Told) -> Iterator[str]:
    with serving(told_service(engine)) as address:
        yield address


def answered(
    engine: Told, address: str, body: Any, make: Callable[[Record], Answer]
) -> tuple[int, Any, Any, dict[str, Any]]:
    """Asks, answers, and returns what came back and what the engine was asked."""
    number = len(engine.asked)
    asked = Asked(address, CHAT, body)
    engine.wait(lambda: number in engine.asked)
    record, options = engine.asked[number]
    with engine.changed:
        engine.answers[number] = make(record)
    return (*asked.result(), options)


def test_an_answer_in_openais_form(engine: Told, address: str) -> None:
    call = Call("add", {"a": "é", "b": [3]})
    body = {**BODY, "seed": 5, "temperature": 0, "top_p": 0.5, "n": 2, "max_tokens": 90}
    body |= {
        "method": "greedy",
        "max_completion_tokens": 40,
        "logprobs": False,
        "stop": None,
        "user": "u",
    }
    status, _, got, options = answered(engine, address, body, lambda r: answer_to(r, call))
    assert status == 200
    assert options == {
        "seed": 5, "method": "greedy", "temperature": 0.0, "top_p": 0.5, "answers": 2,
        "token_limit": 40, "calls": (0, 1 << 20), "watch": None,
    }  # fmt: skip
    assert (got["object"], got["model"]) == ("chat.completion", "tiny")
    first, second = got["choices"]
    (made,) = first["message"]["tool_calls"]
    assert made["function"]["name"] == "add"
    assert json.loads(made["function"]["arguments"]) == call.arguments
    assert made["id"].startswith("call_")
    assert (first["finish_reason"], first["score"]) == ("tool_calls", 0.9)
    assert first["confidence"]["by"] == "prm"
    assert second["message"]["tool_calls"][0]["function"]["name"] == "sub"
    assert got["usage"] == {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}


@pytest.mark.parametrize(
    ("given", "calls", "names"),
    [
        ({}, (0, 1 << 20), ["add", "sub"]),
        ({"tool_choice": "required"}, (1, 1 << 20), ["add", "sub"]),
        ({"tool_choice": "required", "parallel_tool_calls": False}, (1, 1), ["add", "sub"]),
        ({"parallel_tool_calls": False}, (0, 1), ["add", "sub"]),
        ({"tool_choice": {"type": "function", "function": {"name": "sub"}}}, (1, 1 << 20), ["sub"]),
    ],
)
def test_what_may_be_called(
    engine: Told, address: str, given: dict[str, Any], calls: tuple[int, int], names: list[str]
) -> None:
    found = answered(engine, address, {**BODY, **given}, answer_to)
    assert found[3]["calls"] == calls
    record, _ = engine.asked[0]
    assert [tool.name for tool in record.tools] == names
    assert found[2]["choices"][0]["finish_reason"] == "stop"
    assert "tool_calls" not in found[2]["choices"][0]["message"]


@pytest.mark.parametrize("given", [{"tool_choice": "none"}, {"tools": []}, {"tools": None}])
def test_without_tools_nothing_is_searched_for(
    engine: Told, address: str, given: dict[str, Any]
) -> None:
    status, _, got = ask(address, CHAT, {**BODY, **given})
    assert (status, got["choices"][0]["finish_reason"]) == (200, "stop")
    assert not engine.asked


@pytest.mark.parametrize("flag", ["closed", "unfinished"])
def test_a_limit_is_told(engine: Told, address: str, flag: str) -> None:
    call = Call("add", {})
    got = answered(engine, address, BODY, lambda r: answer_to(r, call, flags=(flag,)))
    assert got[2]["choices"][0]["finish_reason"] == "length"


def test_a_stream_says_what_a_response_says(engine: Told, address: str) -> None:
    body = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
    calls = (Call("add", {"a": 1}), Call("sub", {"b": 2}))
    status, headers, text, _ = answered(engine, address, body, lambda r: answer_to(r, *calls))
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    *lines, last, empty = text.split("\n\n")
    assert (last, empty) == ("data: [DONE]", "")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas[0]["role"] == "assistant"
    made = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [(call["index"], call["function"]["name"]) for call in made] == [(0, "add"), (1, "sub")]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 15
    assert len({chunk["id"] for chunk in chunks}) == 1


TREE = {"nodes": [{"index": 0, "parent": -1, "text": "["}]}


def test_the_tree_comes_as_it_grows(engine: Told, address: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    body = {**BODY, "stream": True, "search_tree": True}
    connection.request("POST", CHAT, json.dumps(body))
    engine.wait(lambda: 0 in engine.asked)
    record, options = engine.asked[0]
    options["watch"](TREE)
    got = connection.getresponse()  # while the search goes on
    first = json.loads(got.readline().removeprefix(b"data: "))
    assert (first["choices"], first["search"]["tree"]) == ([], TREE)
    assert ask(address, "/metrics")[2].count('path="/v1/chat/completions"') == 0
    with engine.changed:
        engine.answers[0] = answer_to(record, Call("add", {}))
    lines = [line for line in got.read().decode().split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.strip().removeprefix("data: ")) for line in lines[:-1]]
    assert chunks[-1]["search"]["tree"] == TREE
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert {chunk["id"] for chunk in chunks} == {first["id"]}
    connection.close()
    assert 'path="/v1/chat/completions",status="200"} 1.0' in ask(address, "/metrics")[2]


def test_the_tree_is_part_of_a_response_where_it_is_asked_for(engine: Told, address: str) -> None:
    def grown(record: Record) -> Answer:
        engine.asked[0][1]["watch"](TREE)
        return answer_to(record)

    got = answered(engine, address, {**BODY, "search_tree": True}, grown)
    assert got[2]["search"]["tree"] == TREE
    assert "tree" not in answered(engine, address, BODY, answer_to)[2]["search"]


def test_one_that_goes_away_while_its_tree_grows_frees_its_row(engine: Told, address: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", CHAT, json.dumps({**BODY, "stream": True, "search_tree": True}))
    engine.wait(lambda: 0 in engine.asked)
    engine.asked[0][1]["watch"](TREE)
    got = connection.getresponse()
    assert b"tree" in got.readline()
    got.close()
    connection.close()
    engine.wait(lambda: engine.cancelled == [0])


@pytest.mark.parametrize("wrong", ["engine", "answer"])
def test_what_goes_wrong_while_a_tree_grows_is_an_event(
    engine: Told, address: str, wrong: str
) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", CHAT, json.dumps({**BODY, "stream": True, "search_tree": True}))
    engine.wait(lambda: 0 in engine.asked)
    engine.asked[0][1]["watch"](TREE)
    got = connection.getresponse()
    got.readline()
    with engine.changed:
        if wrong == "engine":
            engine.failure = RuntimeError("out of memory")
        else:
            engine.answers[0] = "no answer at all"
    assert json.loads(got.read().strip().removeprefix(b"data: "))["error"]["type"] == "server_error"
    connection.close()
    status = "503" if wrong == "engine" else "500"
    assert f'status="{status}"}} 1.0' in ask(address, "/metrics")[2]


def test_a_server_without_trees_says_so(engine: Told) -> None:
    service = told_service(engine, config=replace(CONFIG, trace=False))
    with serving(service) as address:
        status, _, value = ask(address, CHAT, {**BODY, "search_tree": True})
        assert (status, value["error"]["param"]) == (400, "search_tree")
        assert answered(engine, address, {**BODY, "search_tree": None}, answer_to)[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b"[1]", 400, "expected a JSON object"),
        (b'{"messages": NaN}', 400, "NaN"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"x" * ((1 << 20) + 1), 413, "more than 1048576 bytes"),
        ({}, 400, "messages"),
        ({**BODY, "messages": []}, 400, "messages"),
        ({**BODY, "messages": [{"role": "robot", "content": ""}]}, 400, "robot"),
        ({**BODY, "messages": [{"role": "user", "content": 5}]}, 400, "content"),
        ({**BODY, "tools": [{"type": "retrieval"}]}, 400, "tools[0].type"),
        ({**BODY, "tools": [{"function": {"name": ""}}]}, 400, "tools[0]"),
        ({**BODY, "tool_choice": "some"}, 400, "tool_choice"),
        ({**BODY, "tool_choice": {"type": "function", "function": {"name": "x"}}}, 400, "'x'"),
        ({"messages": [USER], "tool_choice": "required"}, 400, "tool_choice"),
        ({**BODY, "n": 3}, 400, "n: expected at most 2"),
        ({**BODY, "n": 0}, 400, "n"),
        ({**BODY, "temperature": 3}, 400, "temperature"),
        ({**BODY, "top_p": 0}, 400, "top_p"),
        ({**BODY, "seed": "1"}, 400, "seed"),
        ({**BODY, "max_tokens": 0}, 400, "max_tokens"),
        ({**BODY, "logprobs": True}, 400, "logprobs is not supported"),
        ({**BODY, "response_format": {"type": "json_object"}}, 400, "response_format is not"),
        ({**BODY, "functions": [{"name": "f"}]}, 400, "functions is not supported"),
        ({**BODY, "stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({**BODY, "temprature": 1}, 400, "temprature"),
        ({**BODY, "method": "nonsense"}, 400, "method"),
        ({**BODY, "method": "sample"}, 400, "expected one of greedy, fine_grained"),
        ({**BODY, "method": "sample", "tool_choice": "none"}, 400, "found 'sample'"),
        ({**BODY, "search_tree": 1}, 400, "search_tree"),
        ({**BODY, "model": "gpt"}, 404, "expected 'tiny'"),
    ],
)
def test_what_is_wrong_is_said(
    engine: Told, address: str, body: Any, status: int, said: str
) -> None:
    got, _, value = ask(address, CHAT, body)
    assert got == status
    assert said in value["error"]["message"]
    assert set(value["error"]) == {"message", "type", "param", "code"}
    assert not engine.asked


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
OPTIONAL = ("tool_choice", "n", "stream", "stop", "max_tokens", "model", "method", "search_tree")
FIELDS = st.sampled_from([*BODY, *OPTIONAL, "x"])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(FIELDS, JSON, min_size=1))
def test_no_body_is_a_servers_error(engine: Told, address: str, changes: dict[str, Any]) -> None:
    engine.answers = {}
    body = {**BODY, "tool_choice": "none", **changes}
    if body["tool_choice"] in (None, "auto"):
        body["tool_choice"] = "none"
    status, _, value = ask(address, CHAT, body)
    assert status in (200, 400, 404)
    if status != 200:
        assert value["error"]["message"]


def test_the_key_is_asked_for() -> None:
    with serving(told_service(Told(), api_key="sécret")) as address:
        for headers in ({}, {"Authorization": "Bearer nothing"}, {"Authorization": "Basic x"}):
            status, _, value = ask(address, CHAT, BODY, **headers)
            assert (status, value["error"]["type"]) == (401, "authentication_error")
        key = "Bearer sécret".encode().decode("latin-1")
        assert ask(address, "/v1/models", Authorization=key)[0] == 200
        assert ask(address, "/health")[0] == 200


def test_a_full_queue_is_told_to_come_again(engine: Told) -> None:
    with serving(told_service(engine, most_waiting=1)) as address:
        asked = [Asked(address, CHAT, BODY) for _ in range(2)]
        engine.wait(lambda: len(engine.asked) == 2)
        status, headers, value = ask(address, CHAT, BODY)
        assert (status, headers["retry-after"]) == (429, "1")
        assert value["error"]["type"] == "rate_limit_error"
        with engine.changed:
            engine.answers = {n: answer_to(r) for n, (r, _) in engine.asked.items()}
        assert [one.result()[0] for one in asked] == [200, 200]


def test_a_client_that_goes_away_frees_its_row(engine: Told, address: str) -> None:
    connection = http.client.HTTPConnection(address)
    connection.request("POST", CHAT, json.dumps(BODY))
    engine.wait(lambda: 0 in engine.asked)
    connection.close()
    engine.wait(lambda: engine.cancelled == [0])
    assert answered(engine, address, BODY, answer_to)[0] == 200


def test_time_is_limited(engine: Told) -> None:
    with serving(told_service(engine, seconds=0.2)) as address:
        status, _, value = ask(address, CHAT, BODY)
        assert (status, value["error"]["message"]) == (504, "not answered within 0.2 s")
        engine.wait(lambda: engine.cancelled == [0])


def test_an_engine_that_fails_is_told(engine: Told, address: str) -> None:
    asked = Asked(address, CHAT, BODY)
    engine.wait(lambda: 0 in engine.asked)
    with engine.changed:
        engine.failure = RuntimeError("out of memory")
    assert asked.result()[0] == 503
    assert ask(address, CHAT, BODY)[0] == 503
    assert ask(address, "/health")[0] == 503


def test_other_paths(engine: Told, address: str) -> None:
    assert ask(address, "/v1/nothing")[0] == 404
    assert ask(address, CHAT)[0] == 405
    status, _, value = ask(address, "/v1/models")
    assert (status, value["data"][0]["id"]) == (200, "tiny")
    assert "<!doctype html>" in ask(address, "/")[2]
    answered(engine, address, BODY, answer_to)
    told = ask(address, "/metrics")[2]
    assert 'toolprm_requests_total{path="/v1/chat/completions",status="200"} 1.0' in told
    assert "toolprm_compilations 1.0" in told
    assert 'toolprm_prompt_tokens{what="asked"} 11.0' in told
