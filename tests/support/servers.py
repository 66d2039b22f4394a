"""Servers on a port of this machine, with an engine of tiny models or with one that is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import uvicorn

from search.core.config import SearchConfig
from search.serve.app import make_app
from search.serve.handlers import Service
from search.serve.worker import Worker
from toolprm_jax.records.types import Record

CONFIG = SearchConfig(num_beams=2, beam_width=2, schema="strict", trace=True)


@dataclass
class Told:
    """An engine whose queries are answered when a test says so."""

    rows: int = 1
    asked: dict[int, tuple[Record, dict[str, Any]]] = field(default_factory=dict)
    cancelled: list[int] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    failure: BaseException | None = None
    methods: tuple[str, ...] = ("greedy", "fine_grained")
    prefixes: Any = field(default_factory=lambda: SimpleNamespace(asked=11, reused=0, run=128))
    programs: Any = field(default_factory=lambda: SimpleNamespace(compilations=1))

    def warm_up(self) -> None:
        """Nothing to compile."""

    def submit(self, record: Record, **options: Any) -> int:
        """Takes a query."""
        with self.changed:
            number = len(self.asked)
            self.asked[number] = record, options
            self.changed.notify_all()
        return number

    def cancel(self, number: int) -> bool:
        """Gives one up."""
        with self.changed:
            self.cancelled.append(number)
            self.changed.notify_all()
        return True

    def step(self) -> dict[int, Any]:
        """What has been answered; as a search, it takes a moment."""
        with self.changed:
            self.changed.wait(0.01)
            if self.failure:
                raise self.failure
            done, self.answers = self.answers, {}
        return done

    def wait(self, condition: Any) -> None:
        """Until something holds."""
        with self.changed:
            assert self.changed.wait_for(condition, 30)


@contextlib.contextmanager
def serving(service: Service) -> Iterator[str]:
    """A server with a service; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = listening.getsockname()
    # Clients let go of a connection after 5 seconds; one that closes first would fail their next.
    config = uvicorn.Config(
        make_app(service), log_level="error", lifespan="on", timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
    assert not thread.is_alive()


def told_service(
    engine: Told, most_waiting: int = 4, config: SearchConfig = CONFIG, **options: Any
) -> Service:
    """A service with an engine that is told."""
    codec = SimpleNamespace(encode=lambda text: [0] * len(text))
    pair = SimpleNamespace(policy=SimpleNamespace(codec=codec))
    searcher: Any = SimpleNamespace(pair=pair, base=config)
    worker = Worker(engine, most_waiting)  # type: ignore[arg-type]
    return Service(worker, searcher, "tiny", **options)


def ask(address: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Sends a body, or asks for a page; status, headers, and what came back."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data, headers)
        got = connection.getresponse()
        text = got.read()
        is_json = (got.getheader("content-type") or "").startswith("application/json")
        return got.status, got.headers, json.loads(text) if is_json else text.decode()
    finally:
        connection.close()
