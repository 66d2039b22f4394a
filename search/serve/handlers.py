"""The requests that ask the engine, and what they are held to: form, size, time."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from toolprm_jax.model import label_probabilities
from toolprm_jax.records import DataError, query_record

from ..host import Answer, Searcher
from .errors import RefusedError
from .metrics import Metrics
from .requests import ChatRequest, ScoreRequest, ShareRequest, query_of
from .responses import chat_completion, new_head, scores
from .streams import Trees, growing_events
from .worker import Worker

MOST_BYTES = 1 << 20  # of a body
Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Service:
    """What the routes serve.

    Attributes:
      worker: has the engine.
      searcher: of the same models and configuration, for scores.
      name: of the model, as clients see it.
      api_key: that clients must send; None for no key.
      seconds: time limit of a request.
    """

    worker: Worker
    searcher: Searcher
    name: str
    api_key: str | None = None
    seconds: float = 120.0


async def chat(service: Service, metrics: Metrics, request: Request) -> Response:
    """`POST /v1/chat/completions`."""
    asked = await _body(request, ChatRequest)
    _check_model(asked.model, service)
    config = service.searcher.base
    query = query_of(
        asked,
        num_beams=config.num_beams,
        strict=config.schema == "strict",
        methods=service.worker.methods,
        trees=config.trace,
    )
    trees, head = Trees(), new_head(service.name)

    async def answered() -> dict[str, Any]:
        answer = None
        if query is not None:
            watch = trees.grown if asked.search_tree else None
            future = service.worker.submit(query, watch)
            answer = await _settled(request, future, service.seconds)
        tokens = _tokens(answer, service)
        found = chat_completion(head, answer, asked.n or 1, tokens, trees.last)
        metrics.count(found["usage"], answer)
        return found

    if not asked.stream:
        return JSONResponse(await answered())
    usage = asked.stream_options is not None and asked.stream_options.include_usage
    answer = asyncio.create_task(answered())
    answer.add_done_callback(lambda task: task.cancelled() or task.exception())  # may go unread
    if await trees.next(answer) is None:
        answer.result()  # what went wrong so far is no event, but a response
    told = growing_events(head, trees, answer, usage, request.state.ended)
    return StreamingResponse(told, media_type="text/event-stream")


async def score(service: Service, request: Request) -> Response:
    """`POST /v1/score`."""
    asked = await _body(request, ScoreRequest)
    _check_model(asked.model, service)
    record = query_record(asked.messages, asked.tools)

    work = partial(service.searcher.score, record, asked.completions)
    found = await _settled(request, service.worker.call(work), service.seconds)
    lines: list[dict[str, Any]] = [
        {"error": str(one)}
        if isinstance(one, DataError)
        else {"steps": [step.to_json() for step in one]}
        for one in found
    ]
    data = [{"index": index, "object": "score", **line} for index, line in enumerate(lines)]
    return JSONResponse({"object": "list", "model": service.name, "data": data})


async def share(service: Service, request: Request) -> Response:
    """`POST /generative_scoring`."""
    asked = await _body(request, ShareRequest)
    _check_model(asked.model, service)
    prm = service.searcher.pair.prm
    if prm is None:
        raise RefusedError(400, "the server has no reward model")
    prompts = asked.prompts(prm.codec.encode)

    labels, among = asked.label_token_ids, asked.apply_softmax
    work = partial(label_probabilities, prm, prompts, labels, among_labels=among)
    found = await _settled(request, service.worker.call(work), service.seconds)
    return JSONResponse(scores(service.name, found[:, 0].tolist(), sum(map(len, prompts))))


def _check_model(model: str | None, service: Service) -> None:
    if model not in (None, service.name):
        raise RefusedError(404, f"model: expected {service.name!r}, found {model!r}", "model")


async def _body(request: Request, kind: type[Body]) -> Body:
    """A body, checked.

    Raises:
      RefusedError: it is too long, no JSON, or not what is expected.
    """
    text = bytearray()
    async for piece in request.stream():
        text += piece
        if len(text) > MOST_BYTES:
            raise RefusedError(413, f"the body has more than {MOST_BYTES} bytes")
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as wrong:
        raise RefusedError(400, f"the body is no JSON: {wrong}") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the body: expected a JSON object")
    try:
        return kind.model_validate(value)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        message = first["msg"].removeprefix("Value error, ")
        raise RefusedError(400, f"{where}: {message}", where) from None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


async def _settled(request: Request, future: Future[Any], seconds: float) -> Any:
    """What the engine's thread makes of a request; given up when its client goes, or time is up.

    Raises:
      RefusedError: after the time limit, or for a client that is gone and won't see it.
    """
    mine = asyncio.wrap_future(future)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({mine, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if mine.done():
            return mine.result()
        if gone.done():
            raise RefusedError(499, "the client is gone")
        raise RefusedError(504, f"not answered within {seconds:g} s")
    finally:
        gone.cancel()
        mine.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _tokens(answer: Answer | None, service: Service) -> int:
    if answer is None:
        return 0
    return len(service.searcher.pair.policy.codec.encode(answer.text))
