"""The data types that every room shares: tools, calls, gold calls, records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from ..grammar import Dress
from .parameters import is_json_schema, parameter_schemas, properties_of, required_parameters

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

    @cached_property
    def is_json_schema(self) -> bool:
        """Whether `parameters` is a JSON Schema object rather than the flat form."""
        return is_json_schema(self.parameters)

    @cached_property
    def properties(self) -> Mapping[str, Any]:
        """Schema of every parameter by name, in order, whichever form `parameters` has."""
        return parameter_schemas(self.parameters)

    @cached_property
    def required(self) -> frozenset[str]:
        """Names of the parameters that every call must give."""
        return required_parameters(self.parameters)

    @property
    def own_properties(self) -> Mapping[str, Any]:
        """Those of `properties` that stand in `parameters` itself, not behind a `$ref` or so."""
        return properties_of(self.parameters) if self.is_json_schema else self.properties

    def with_properties(self, schemas: Mapping[str, Any]) -> Tool:
        """A copy with other schemas for some of `own_properties`."""
        new = {name: schemas.get(name, schema) for name, schema in self.own_properties.items()}
        if self.is_json_schema:
            new = {"properties": new} if new else {}
        return replace(self, parameters={**self.parameters, **new})

    def to_json(self) -> dict[str, Any]:
        """The tool as a prompt shows it."""
        ours = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {**ours, **self.extra, **ours}  # in this order, and never replaced


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
