"""The routes, and what every request is held to: size, key, room, time."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from toolprm_jax.model import label_probabilities
from toolprm_jax.records import DataError, query_record

from ..host import Answer, Searcher
from .metrics import Metrics
from .requests import ChatRequest, ScoreRequest, ShareRequest, query_of
from .responses import chat_completion, chunks, error, scores
from .worker import BusyError, StoppedError, Worker

_log = logging.getLogger(__name__)
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


class RefusedError(Exception):
    """A request that gets an error."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param


def make_app(service: Service) -> Starlette:
    """The application of a service; its engine starts and stops with it."""
    metrics = Metrics(service.worker)

    async def models(request: Request) -> Response:
        model = {"id": service.name, "object": "model", "created": 0, "owned_by": "toolprm-jax"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(request: Request) -> Response:
        failed = service.worker.failure is not None
        return JSONResponse({"status": "failed" if failed else "ok"}, 503 if failed else 200)

    async def told(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def page(request: Request) -> Response:
        return HTMLResponse(files("search.serve").joinpath("page.html").read_text("utf-8"))

    async def chat(request: Request) -> Response:
        asked = await _body(request, ChatRequest)
        _check_model(asked.model, service)
        config = service.searcher.base
        query = query_of(asked, num_beams=config.num_beams, strict=config.schema == "strict")
        answer = None
        if query is not None:
            answer = await _settled(request, service.worker.submit(query), service.seconds)
        response = chat_completion(service.name, answer, asked.n or 1, _tokens(answer, service))
        metrics.count(response["usage"], answer)
        if not asked.stream:
            return JSONResponse(response)
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        return StreamingResponse(_events(response, usage), media_type="text/event-stream")

    async def score(request: Request) -> Response:
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

    async def share(request: Request) -> Response:
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

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(service.worker.start)
        yield
        await asyncio.to_thread(service.worker.stop)

    guarded = _guard(service, metrics)
    return Starlette(
        routes=[
            Route("/", page),
            Route("/health", health),
            Route("/metrics", told),
            Route("/v1/models", guarded(models)),
            Route("/v1/chat/completions", guarded(chat), methods=["POST"]),
            Route("/v1/score", guarded(score), methods=["POST"]),
            Route("/generative_scoring", guarded(share), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )


Handler = Callable[[Request], Awaitable[Response]]


def _guard(service: Service, metrics: Metrics) -> Callable[[Handler], Handler]:
    """Wraps handlers: the key is checked, errors get OpenAI's form, all is timed."""

    def wrap(handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            start = time.perf_counter()
            try:
                _check_key(request, service.api_key)
                response = await handler(request)
            except RefusedError as refused:
                response = _refusal(refused.status, refused.message, refused.param)
            except DataError as wrong:
                response = _refusal(400, str(wrong), str(wrong).partition(":")[0].split("[")[0])
            except BusyError as busy:
                response = _refusal(429, f"{busy}; try again", headers={"Retry-After": "1"})
            except StoppedError as stopped:
                response = _refusal(503, str(stopped))
            except Exception:
                _log.exception("%s", request.url.path)
                response = _refusal(500, "the server has made a mistake; its log says which")
            metrics.observe(request.url.path, response.status_code, time.perf_counter() - start)
            return response

        return guarded

    return wrap


def _refusal(
    status: int, message: str, param: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse(error(message, status, param), status, headers)


async def _http_error(request: Request, wrong: Exception) -> Response:
    """No such path, or another method."""
    assert isinstance(wrong, HTTPException)
    return _refusal(wrong.status_code, wrong.detail, headers=dict(wrong.headers or {}))


def _check_key(request: Request, key: str | None) -> None:
    if key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Headers are read as Latin-1; compared in constant time.
    right = hmac.compare_digest(given.encode("latin-1"), key.encode())
    if scheme.lower() != "bearer" or not right:
        raise RefusedError(401, "expected the API key as 'Authorization: Bearer KEY'")


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


async def _events(response: dict[str, Any], usage: bool) -> AsyncIterator[str]:
    for chunk in chunks(response, usage):
        yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
    yield "data: [DONE]\n\n"
