"""What clients send: checked, and as the engine takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from toolprm_jax.records import (
    DataError,
    Record,
    bare_functions,
    check_nesting,
    check_unicode,
    query_record,
)

from ..core import Method
from ..grammar import ANY_CALLS, CallCounts

MOST_MESSAGES, MOST_TOOLS = 512, 256


class NamedFunction(BaseModel):
    """The name in a `tool_choice`."""

    model_config = ConfigDict(extra="forbid")
    name: str


class NamedTool(BaseModel):
    """A `tool_choice` that names a function."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["function"]
    function: NamedFunction


class StreamOptions(BaseModel):
    """What a stream holds beside the answer."""

    model_config = ConfigDict(extra="ignore")
    include_usage: StrictBool = False


# Fields that are not supported, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "stop": ([],),
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
}


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`.

    Fields are OpenAI's; what is not supported may be sent only with a value that asks for nothing.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str | None = None
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    tools: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Ours: how to search, and whether the tree of decisions is wanted.
    method: Method | None = None
    search_tree: bool | None = None
    # Of no effect.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name, neutral in _NEUTRAL.items():
            if value.get(name) is not None and value[name] not in neutral:
                raise ValueError(f"{name} is not supported")
        return {name: given for name, given in value.items() if name not in _NEUTRAL}

    @model_validator(mode="after")
    def _together(self) -> ChatRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: expected only where stream is true")
        return self


class Query(NamedTuple):
    """A request as the engine takes it."""

    record: Record
    seed: int
    method: Method | None
    temperature: float | None
    top_p: float | None
    answers: int
    token_limit: int | None
    calls: CallCounts


def query_of(
    request: ChatRequest, *, num_beams: int, strict: bool, methods: Sequence[Method], trees: bool
) -> Query | None:
    """What a request asks the engine; None where no tool may be called.

    Args:
      request: of a client.
      num_beams: N, the most choices.
      strict: whether the engine holds answers to the tools' schemas.
      methods: how the engine can search.
      trees: whether it keeps trees.

    Raises:
      DataError: with the field and what was expected.
    """
    check_nesting([request.tools or []])
    choice, tools = request.tool_choice or "auto", bare_functions(request.tools or [])
    if isinstance(choice, NamedTool):
        tools = [tool for tool in tools if tool.get("name") == choice.function.name]
        if not tools:
            name = choice.function.name
            raise DataError(f"tool_choice: expected the name of one of the tools, found {name!r}")
    if choice == "required" and not tools:
        raise DataError("tool_choice: expected tools beside 'required'")
    if (request.n or 1) > num_beams:
        raise DataError(f"n: expected at most {num_beams}, the beams that are kept")
    if request.method is not None and request.method not in methods:
        known = ", ".join(methods)
        raise DataError(f"method: expected one of {known}; found {request.method!r}")
    if request.search_tree and not trees:
        raise DataError("search_tree: the server keeps none")
    if not strict and any(tool.get("strict") is True for tool in tools):
        raise DataError("tools: expected no 'strict': true, for the server ignores schemas")
    if choice == "none" or not tools:
        query_record(request.messages, tools or [{"name": "none"}])  # for its checks
        return None
    least = int(choice != "auto")
    most = 1 if request.parallel_tool_calls is False else ANY_CALLS[1]
    limits = [one for one in (request.max_tokens, request.max_completion_tokens) if one]
    return Query(
        query_record(request.messages, tools),
        (request.seed or 0) % (1 << 32),
        request.method,
        request.temperature,
        request.top_p,
        request.n or 1,
        min(limits, default=None),
        (least, most),
    )


class ShareRequest(BaseModel):
    """The body of `POST /generative_scoring`, in vLLM's form."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str | None = None
    query: str | list[int]
    items: Annotated[list[str] | list[list[int]], Field(min_length=1, max_length=64)]
    label_token_ids: Annotated[list[int], Field(min_length=1, max_length=64)]
    apply_softmax: bool = True
    item_first: bool = False

    def prompts(self, encode: Callable[[str], list[int]]) -> list[list[int]]:
        """The token ids of each item beside the query.

        Args:
          encode: a text's tokens.

        Raises:
          DataError: one of the two is text, the other token ids.
        """
        check_unicode([self.query, self.items])
        found = []
        for item in self.items:
            if isinstance(item, str) != isinstance(self.query, str):
                raise DataError("items: expected texts beside a text, token ids beside token ids")
            parts: list[Any] = [item, self.query] if self.item_first else [self.query, item]
            both = parts[0] + parts[1]
            found.append(encode(both) if isinstance(both, str) else both)
        return found


class ScoreRequest(BaseModel):
    """The body of `POST /v1/score`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str | None = None
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    tools: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_TOOLS)]
    completions: Annotated[list[str], Field(min_length=1, max_length=64)]
