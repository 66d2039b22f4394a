"""What clients get: answers in OpenAI's form, with how sure they are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from toolprm_jax.records import Call

from ..host import Answer


def tool_calls(calls: tuple[Call, ...]) -> list[dict[str, Any]]:
    """Calls as a message of the assistant has them."""
    return [
        {
            "id": f"call_{uuid4().hex[:24]}",
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": json.dumps(call.arguments, ensure_ascii=False),
            },
        }
        for call in calls
    ]


def _choice(index: int, calls: tuple[Call, ...], reason: str, **more: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if calls:
        message["tool_calls"] = tool_calls(calls)
    return {
        "index": index, "message": message, "logprobs": None, "finish_reason": reason, **more
    }  # fmt: skip


def _reason(answer: Answer) -> str:
    if not answer.finished or "closed" in answer.flags:
        return "length"
    return "tool_calls" if answer.calls else "stop"


def new_head(model: str) -> dict[str, Any]:
    """What all chunks of an answer have in common, and its response."""
    return {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}


def chat_completion(
    head: dict[str, Any],
    answer: Answer | None,
    n: int,
    tokens: int,
    tree: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The response to a request.

    Args:
      head: from `new_head`.
      answer: of the engine; None where no tool might be called.
      n: choices that were asked for; as many as there are whole beams are given, at least one.
      tokens: of the completion that was chosen.
      tree: of the search, where it was asked for.
    """
    choices = [_choice(0, (), "stop")]
    prompt = 0
    search: dict[str, Any] = {}
    if answer is not None:
        prompt = answer.cost["policy_prompt_tokens"]
        search = {"method": answer.method, "flags": list(answer.flags), "cost": answer.cost}
        if tree is not None:
            search["tree"] = tree
        score = {"score": answer.to_json()["score"], "confidence": answer.confidence}
        choices = [_choice(0, answer.calls, _reason(answer), **score)]
        for beam in [beam for beam in answer.beams if beam.text != answer.text][: n - 1]:
            reason = "tool_calls" if beam.calls else "stop"
            choices.append(_choice(len(choices), beam.calls, reason, score=beam.score))
    return {
        **head,
        "object": "chat.completion",
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": tokens,
            "total_tokens": prompt + tokens,
        },
        "search": search,
    }


def _chunk(head: dict[str, Any], include_usage: bool, **more: Any) -> dict[str, Any]:
    kind = {"object": "chat.completion.chunk", "choices": []}
    return {**head, **kind, **({"usage": None} if include_usage else {}), **more}


def growing(head: dict[str, Any], tree: dict[str, Any], include_usage: bool) -> dict[str, Any]:
    """A chunk without a choice: the tree of a search that is under way."""
    return _chunk(head, include_usage, search={"tree": tree})


def chunks(response: dict[str, Any], include_usage: bool) -> Iterator[dict[str, Any]]:
    """A response as the deltas of a stream: the role, each call, the reason to end, the usage.

    They come when the search is over, for only then is the best beam known.
    """
    head = {key: response[key] for key in ("id", "created", "model")}

    def chunk(index: int, delta: dict[str, Any], reason: str | None, **more: Any) -> dict[str, Any]:
        choice = {
            "index": index, "delta": delta, "logprobs": None, "finish_reason": reason, **more
        }  # fmt: skip
        return _chunk(head, include_usage, choices=[choice])

    for choice in response["choices"]:
        index = choice["index"]
        yield chunk(index, {"role": "assistant", "content": None}, None)
        for place, call in enumerate(choice["message"].get("tool_calls", ())):
            yield chunk(index, {"tool_calls": [{"index": place, **call}]}, None)
        told = {key: choice[key] for key in ("score", "confidence") if key in choice}
        yield chunk(index, {}, choice["finish_reason"], **told)
    if "tree" in response["search"]:
        yield _chunk(head, include_usage, search=response["search"])
    if include_usage:
        yield _chunk(head, include_usage, usage=response["usage"])


def scores(model: str, found: list[float], tokens: int) -> dict[str, Any]:
    """Scores of items, as vLLM's generative scoring gives them; `tokens` were read."""
    return {
        "id": f"generative-scoring-{uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": [
            {"index": index, "object": "score", "score": one} for index, one in enumerate(found)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


def error(message: str, status: int, param: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's form."""
    kinds = {401: "authentication_error", 429: "rate_limit_error", 404: "not_found_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}
