"""A server under clients: one JSON line on standard output.

    python benchmarks/serve.py [--quick]

The embedded pair behind `toolprm-serve`'s application on a port of this machine; held-out queries
of the corpus, each client asking one after another. `requests_per_s`, `p50_s` and `p95_s` are of
the most clients, `rows` has them all; `errors` are responses but 200, and
`compilations_after_warmup` what was compiled once the server was up.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import uvicorn
from held_out import held_out

from search import Engine, Searcher
from search.core import Execution
from search.serve import Service, Worker, make_app
from toolprm_jax.records import Record

CHAT = "/v1/chat/completions"
LONGEST = 512  # tokens of a prompt


def body_of(record: Record) -> bytes:
    """A request for a record."""
    tools = [{"type": "function", "function": tool.to_json()} for tool in record.tools]
    return json.dumps({"messages": list(record.messages), "tools": tools}).encode()


def ask(address: str, body: bytes) -> tuple[int, float]:
    """Status and seconds of a request."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=600)
    connection.request("POST", CHAT, body)
    status = connection.getresponse().status
    connection.close()
    return status, time.perf_counter() - start


def load_of(address: str, bodies: list[bytes], clients: int, requests: int) -> dict[str, Any]:
    """What so many clients see."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(lambda i: ask(address, bodies[i % len(bodies)]), range(requests)))
    took = time.perf_counter() - start
    seconds = [one for _, one in found]
    return {
        "clients": clients,
        "requests": requests,
        "requests_per_s": round(requests / took, 3),
        "p50_s": round(float(np.quantile(seconds, 0.5)), 3),
        "p95_s": round(float(np.quantile(seconds, 0.95)), 3),
        "errors": sum(status != 200 for status, _ in found),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="N = M = 2 and few requests")
    quick = parser.parse_args().quick
    width = 2 if quick else 4
    searcher = Searcher.load(
        num_beams=width,
        beam_width=width,
        max_tokens=96,
        max_step_tokens=48,
        pool_size=512,
        execution=Execution(pass_sizes=1, max_lanes=64),
    )
    engine = Engine(searcher.pair, searcher.base, rows=4 if quick else 8, longest=LONGEST)
    codec = searcher.pair.policy.codec
    records = held_out(codec, 16 if quick else 96, LONGEST // 2)
    records = [one for one in records if len(codec.prompt(one)) <= LONGEST][: 8 if quick else 64]
    service = Service(Worker(engine, 256), searcher, "toolprm", seconds=600.0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(service), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    start = time.perf_counter()
    thread.start()
    while not server.started:
        time.sleep(0.1)
    print(f"up after {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    compiled, rows = engine.programs.compilations, []
    address = "{}:{}".format(*listening.getsockname())
    bodies = [body_of(record) for record in records]
    for clients in (1, 4) if quick else (1, 8, 32):
        requests = len(bodies) if quick else max(16, 2 * clients)
        rows.append(load_of(address, bodies, clients, requests))
        print(rows[-1], file=sys.stderr, flush=True)
    server.should_exit = True
    thread.join()
    kept = ("requests_per_s", "p50_s", "p95_s")
    print(
        json.dumps(
            {
                **{key: rows[-1][key] for key in kept},
                "errors": sum(row["errors"] for row in rows),
                "compilations_after_warmup": engine.programs.compilations - compiled,
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
