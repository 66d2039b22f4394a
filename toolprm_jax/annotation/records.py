"""The data types that every room shares: tools, calls, gold calls, records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

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
        return isinstance(self.parameters.get("properties"), Mapping) and isinstance(
            self.parameters.get("type"), str
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

    `optional` names the parameters that may also be left out (BFCL's `""`).
    """

    name: str
    arguments: Mapping[str, tuple[Any, ...]]
    optional: frozenset[str] = frozenset()

    @classmethod
    def exact(cls, call: Call) -> GoldCall:
        """The gold that accepts exactly `call`."""
        return cls(call.name, {name: (value,) for name, value in call.arguments.items()})

    def first(self) -> Call:
        """The call that takes the first accepted value of every parameter."""
        return Call(self.name, {name: values[0] for name, values in self.arguments.items()})


@dataclass(frozen=True)
class Record:
    """A query, its tools, and the gold calls.

    `messages` are `{"role", "content"}`; `answers` is `()` where no call is right and None where
    the gold is not known; `equality` says how values compare; `extra` keeps unknown keys.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
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


def calls_json(calls: Sequence[Call]) -> str:
    """A list of calls as compact one-line JSON in the list dress."""
    return json.dumps([call.to_json() for call in calls], ensure_ascii=False)
