"""`toolprm-serve` as a process: killed, started again, and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers import ask

pytestmark = pytest.mark.slow
SMALL = ["--method=greedy", "--rows=2", "--longest=256", "--max-tokens=64", "--pool-size=128"]
TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
USER = {"role": "user", "content": "What is 2 + 3?"}
BODY = {"messages": [USER], "tools": [TOOL], "tool_choice": "required"}


@contextlib.contextmanager
def started(policy: str, port: int, errors: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is up."""
    argv = ["-m", "search.commands.serve", f"--policy={policy}", f"--port={port}", *SMALL]
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(errors.parent / "programs")}
    with errors.open("wb") as log:
        server = subprocess.Popen([sys.executable, *argv], stderr=log, env=env)
    try:
        while not _is_up(port):
            assert server.poll() is None, errors.read_text()
            time.sleep(0.2)  # it tells nobody that it is up
        yield server
    finally:
        server.kill()
        server.wait()


def _is_up(port: int) -> bool:
    try:
        return ask(f"127.0.0.1:{port}", "/health")[0] == 200
    except OSError:
        return False


def _answer(port: int) -> list[Any]:
    status, _, got = ask(f"127.0.0.1:{port}", "/v1/chat/completions", BODY)
    assert status == 200
    return [call["function"] for call in got["choices"][0]["message"]["tool_calls"]]


def test_a_killed_server_comes_up_again_and_a_stopped_one_ends_its_work(
    tiny_pair: Any, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with started(tiny_pair.policy, port, tmp_path / "first.txt") as server:
        before = _answer(port)
        server.send_signal(signal.SIGKILL)
        assert server.wait(60) == -signal.SIGKILL
        with pytest.raises(ConnectionRefusedError):
            ask(f"127.0.0.1:{port}", "/health")
    with started(tiny_pair.policy, port, tmp_path / "second.txt") as server:
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(_answer, port) for _ in range(4)]
            while "toolprm_queries 0.0" in ask(f"127.0.0.1:{port}", "/metrics")[2]:
                assert not all(one.done() for one in running)
            server.send_signal(signal.SIGTERM)
            assert [one.result() for one in running] == [before] * 4
        assert server.wait(60) in (0, -signal.SIGTERM)
    assert "Traceback" not in (tmp_path / "second.txt").read_text()
