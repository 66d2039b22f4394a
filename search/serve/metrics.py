"""What a server tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..host import Answer
from .worker import Worker

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)


class Metrics:
    """Counts of one server.

    Attributes:
      registry: what is collected.
    """

    def __init__(self, worker: Worker) -> None:
        """Watches a worker."""
        self.registry = own = CollectorRegistry()
        self._requests = Counter("toolprm_requests", "Requests.", ["path", "status"], registry=own)
        self._seconds = Histogram(
            "toolprm_request_seconds",
            "Time to a response.",
            ["path"],
            buckets=_SECONDS,
            registry=own,
        )
        self._tokens = Counter(
            "toolprm_tokens", "Tokens that were run or chosen.", ["of"], registry=own
        )
        waiting = Gauge("toolprm_queries", "Queries that are not answered yet.", registry=own)
        waiting.set_function(lambda: worker.waiting)
        prompts = Gauge(
            "toolprm_prompt_tokens",
            "Tokens of prompts: asked, of these reused from earlier prompts, run with padding.",
            ["what"],
            registry=own,
        )
        for what in worker.prompt_tokens:
            prompts.labels(what).set_function(lambda what=what: worker.prompt_tokens[what])
        compiled = Gauge("toolprm_compilations", "Programs compiled so far.", registry=own)
        compiled.set_function(lambda: worker.compilations)

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count(self, usage: dict[str, int], answer: Answer | None) -> None:
        """Counts an answer's tokens."""
        self._tokens.labels("prompt").inc(usage["prompt_tokens"])
        self._tokens.labels("completion").inc(usage["completion_tokens"])
        if answer is not None:
            self._tokens.labels("policy").inc(answer.cost["policy_tokens"])
            self._tokens.labels("prm").inc(answer.cost["prm_tokens"])
