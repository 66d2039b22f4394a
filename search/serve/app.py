"""The routes; the key, errors in OpenAI's form, and how long each request took."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib.resources import files

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from .errors import RefusedError, refusal, told
from .handlers import Service, chat, score, share
from .metrics import Metrics


def make_app(service: Service) -> Starlette:
    """The application of a service; its engine starts and stops with it."""
    metrics = Metrics(service.worker)

    async def models(request: Request) -> Response:
        model = {"id": service.name, "object": "model", "created": 0, "owned_by": "toolprm-jax"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(request: Request) -> Response:
        failed = service.worker.failure is not None
        return JSONResponse({"status": "failed" if failed else "ok"}, 503 if failed else 200)

    async def counts(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def page(request: Request) -> Response:
        return HTMLResponse(files("search.serve").joinpath("page.html").read_text("utf-8"))

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
            Route("/metrics", counts),
            Route("/v1/models", guarded(models)),
            Route(
                "/v1/chat/completions", guarded(partial(chat, service, metrics)), methods=["POST"]
            ),
            Route("/v1/score", guarded(partial(score, service)), methods=["POST"]),
            Route("/generative_scoring", guarded(partial(share, service)), methods=["POST"]),
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

            def ended(status: int) -> None:
                metrics.observe(request.url.path, status, time.perf_counter() - start)

            request.state.ended = ended
            try:
                _check_key(request, service.api_key)
                response = await handler(request)
            except Exception as wrong:
                response = refusal(*told(wrong))
            if not isinstance(response, StreamingResponse):  # which says itself when it ends
                ended(response.status_code)
            return response

        return guarded

    return wrap


async def _http_error(request: Request, wrong: Exception) -> Response:
    """No such path, or another method."""
    assert isinstance(wrong, HTTPException)
    return refusal(wrong.detail, wrong.status_code, headers=dict(wrong.headers or {}))


def _check_key(request: Request, key: str | None) -> None:
    if key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Headers are read as Latin-1; compared in constant time.
    right = hmac.compare_digest(given.encode("latin-1"), key.encode())
    if scheme.lower() != "bearer" or not right:
        raise RefusedError(401, "expected the API key as 'Authorization: Bearer KEY'")
