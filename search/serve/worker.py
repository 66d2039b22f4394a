"""The engine's thread: takes queries from the server's, and gives answers back."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core import Method
from ..host import Answer, Engine, Watch
from .requests import Query

_log = logging.getLogger(__name__)


class BusyError(Exception):
    """As many queries wait as may."""


class StoppedError(Exception):
    """The server is stopping, or its engine has failed."""


class _Asked(NamedTuple):
    query: Query
    watch: Watch | None


@dataclass
class _Job:
    work: Callable[[], Any] | _Asked
    done: Future[Any]


class Worker:
    """One thread that alone uses the engine.

    Attributes:
      failure: what ended the thread, None while it runs.
    """

    def __init__(self, engine: Engine, most_waiting: int) -> None:
        """Starts no thread yet.

        Args:
          engine: its programs are compiled when the thread starts.
          most_waiting: queries that have no row, at most.
        """
        self._engine = engine
        self._most = most_waiting
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._running: dict[int, Future[Answer]] = {}
        self._lock = threading.Lock()
        self._waiting = 0  # submitted, and not yet answered
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Compiles all that queries will need, then takes them."""
        self._engine.warm_up()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread when what runs is done."""
        self._inbox.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Queries that are not answered yet."""
        return self._waiting

    @property
    def compilations(self) -> int:
        """Programs compiled so far."""
        return self._engine.programs.compilations

    @property
    def methods(self) -> Sequence[Method]:
        """How the engine can search."""
        return self._engine.methods

    @property
    def prompt_tokens(self) -> dict[str, int]:
        """Tokens of prompts so far: all, and of these what a row still held, and what was run."""
        prefixes = self._engine.prefixes
        return {"asked": prefixes.asked, "reused": prefixes.reused, "run": prefixes.run}

    def submit(self, query: Query, watch: Watch | None = None) -> Future[Answer]:
        """Takes a query; cancelling the future gives it up and frees its row.

        Args:
          query: of a client.
          watch: as for `Engine.submit`; called in the engine's thread.

        Raises:
          BusyError: there is no room.
          StoppedError: the engine has failed.
        """
        return self._put(_Asked(query, watch))

    def call(self, work: Callable[[], Any]) -> Future[Any]:
        """Runs something else in the engine's thread, between two steps.

        Raises:
          BusyError: there is no room.
          StoppedError: the engine has failed.
        """
        return self._put(work)

    def _put(self, work: Callable[[], Any] | _Asked) -> Future[Any]:
        if self.failure is not None:
            raise StoppedError("the engine has failed")
        with self._lock:
            if self._waiting >= self._most + self._engine.rows:
                raise BusyError(f"{self._waiting} queries are waiting or being searched for")
            self._waiting += 1
        done: Future[Any] = Future()
        done.add_done_callback(self._left)
        self._inbox.put(_Job(work, done))
        return done

    def _left(self, _: Future[Any]) -> None:
        with self._lock:
            self._waiting -= 1

    def _run(self) -> None:
        try:
            while self._take():
                self._step()
            while self._running:
                self._step()
        except BaseException as error:
            _log.exception("the engine has failed")
            self.failure = error
            for future in self._running.values():
                _settle(future, StoppedError("the engine has failed"))
            while (job := self._inbox.get()) is not None:
                _settle(job.done, StoppedError("the engine has failed"))

    def _take(self) -> bool:
        """Takes what has come in, and waits for it where there is nothing else to do.

        False once the thread is to end.
        """
        while True:
            try:
                job = self._inbox.get(block=not self._running)
            except queue.Empty:
                return True
            if job is None:
                return False
            if job.done.cancelled():
                continue
            try:
                if isinstance(job.work, _Asked):
                    options = job.work.query._asdict()
                    record, watch = options.pop("record"), job.work.watch
                    number = self._engine.submit(record, **options, watch=watch)
                    self._running[number] = job.done
                else:
                    _settle(job.done, job.work())
            except Exception as error:  # of this request: the engine is as it was
                _settle(job.done, error)

    def _step(self) -> None:
        """Gives up what was cancelled, goes on with the others, and settles what is done."""
        for number, future in list(self._running.items()):
            if future.cancelled():
                self._engine.cancel(number)
                del self._running[number]
        for number, answer in self._engine.step().items():
            _settle(self._running.pop(number), answer)


def _settle(future: Future[Any], value: Any) -> None:
    """Sets a result or an exception, unless the future was cancelled meanwhile."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(value, BaseException):
        future.set_exception(value)
    else:
        future.set_result(value)
