"""The data types that every room shares: tools, calls, gold calls, records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..grammar import Dress

Equality = Literal["json", "bfcl"]


class DataError(ValueError):
    """Input that can't be used; the message is one line that says where and why."""


@dataclass(frozen=True)
class Tool:
    """One function that a query may call.

    `parameters` is kept as its owner wrote it: JSON Schema (`{"type": "object", "properties":
    {...}, "required": [...]}`) or xLAM's flat `{name: {"type", "description", ...}}`.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_json_schema(self) -> bool:
        """Whether `parameters` is a JSON Schema object rather than the flat form."""
        properties, type_ = self.parameters.get("properties"), self.parameters.get("type")
        if not isinstance(properties, Mapping):
            return False
        # Some leave the type out; in the flat form a parameter "properties" holds no schemas.
        return isinstance(type_, str | list) or (
            type_ is None and all(isinstance(schema, Mapping) for schema in properties.values())
        )

    @property
    def properties(self) -> Mapping[str, Any]:
        """Schema of every parameter by name, in order, whichever form `parameters` has."""
        return self.parameters["properties"] if self.is_json_schema else self.parameters

    @property
    def required(self) -> frozenset[str]:
        """Names of the parameters that every call must give."""
        if self.is_json_schema:
            return frozenset(self.parameters.get("required", ()))
        return frozenset(
            name
            for name, schema in self.parameters.items()
            if isinstance(schema, Mapping)
            and (
                schema["required"] is True
                if "required" in schema
                else "default" not in schema and "optional" not in str(schema.get("type", ""))
            )
        )

    def to_json(self) -> dict[str, Any]:
        """The tool as a prompt shows it."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            **self.extra,
        }


@dataclass(frozen=True)
class Call:
    """One function call, as a completion states it."""

    name: str
    arguments: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The call as a completion states it."""
        return {"name": self.name, "arguments": dict(self.arguments)}


@dataclass(frozen=True)
class GoldCall:
    """A call that is right: per parameter the values that are accepted, at least one each.

    `optional` names the parameters that may also be left out (BFCL's `""`); `extra` keeps the
    other keys of the answer, such as OpenAI's call id.
    """

    name: str
    arguments: Mapping[str, tuple[Any, ...]]
    optional: frozenset[str] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def exact(cls, call: Call, extra: Mapping[str, Any] | None = None) -> GoldCall:
        """The gold that accepts exactly `call`."""
        accepted = {name: (value,) for name, value in call.arguments.items()}
        return cls(call.name, accepted, extra=extra or {})

    @property
    def is_exact(self) -> bool:
        """Whether one call, and no other, is accepted."""
        return not self.optional and all(len(values) == 1 for values in self.arguments.values())

    def first(self) -> Call:
        """The call that takes the first accepted value of every parameter."""
        return Call(self.name, {name: values[0] for name, values in self.arguments.items()})


@dataclass(frozen=True)
class Record:
    """A query, its tools, and the gold calls.

    `messages` are `{"role", "content"}`, in a history also with `calls`, a list of `{"name",
    "arguments"}` that the message made; `answers` is `()` where no call is right and None where
    the gold is not known; `equality` says how values compare; `extra` keeps unknown keys.
    """

    id: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Tool, ...]
    answers: tuple[GoldCall, ...] | None
    equality: Equality = "json"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """Text of the last message."""
        return self.messages[-1]["content"]

    def with_(self, **changes: Any) -> Record:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def arguments_key(dress: Dress) -> str:
    """The key that a dress gives a call's arguments."""
    return "parameters" if dress == "llama" else "arguments"


def spell_call(call: Call, dress: Dress = "list") -> str:
    """One call as JSON, as a dress spells it."""
    spelled = {"name": call.name, arguments_key(dress): call.arguments}
    return json.dumps(spelled, ensure_ascii=False)


def dress_calls(spelled: Sequence[str], dress: Dress) -> str:
    """Calls, each written as JSON, in one dress."""
    if dress == "list":
        return "[" + ", ".join(spelled) + "]"
    if dress == "llama":
        return "; ".join(spelled)
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in spelled)


def spell_calls(calls: Sequence[Call], dress: Dress = "list") -> str:
    """Calls as a completion states them in one dress."""
    return dress_calls([spell_call(call, dress) for call in calls], dress)
