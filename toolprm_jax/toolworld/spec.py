"""How one tool of the embedded corpus is written down: parameters, value kinds, phrasings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from string import Formatter
from typing import Any, Literal, get_args

from ..records import Tool

# "taught" and "unseen" are two parts of "train": a policy that is taught the one makes its own
# mistakes on the other, from which a reward model learns.
Split = Literal["train", "heldout", "taught", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)
Sampler = Callable[[Random], tuple[Any, str]]


@dataclass(frozen=True)
class Kind:
    """A kind of value: its JSON Schema, and a sampler of (value, how the query says it).

    `is_list` marks texts such as `"a, b and c"`, after which no other "and" may follow.
    """

    schema: Mapping[str, Any]
    sample: Sampler
    is_list: bool = False


@dataclass(frozen=True)
class Param:
    """One parameter; `fragment` joins an optional one to its sentence, `{}` being the value."""

    name: str
    description: str
    kind: Kind
    required: bool
    fragment: str = "{}"
    default: Any = None

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the parameter."""
        schema = {"type": self.kind.schema["type"], "description": self.description}
        schema.update((key, value) for key, value in self.kind.schema.items() if key != "type")
        if self.default is not None:
            schema["default"] = self.default
        return schema

    def sample(self, rng: Random) -> tuple[Any, str]:
        """A value that isn't the default, and the words for it."""
        while True:
            value, text = self.kind.sample(rng)
            if self.default is None or value != self.default:
                return value, self.fragment.replace("{}", text)


@dataclass(frozen=True)
class Phrasing:
    """One way to ask for a tool: a template, and the names of its slots.

    A template that ends in `?` is a question, one that starts with `I` or `My` a statement, any
    other an order. Only orders can be joined by "and" or take a "please".
    """

    template: str
    slots: frozenset[str]

    @property
    def is_question(self) -> bool:
        """Whether the sentence ends in a question mark."""
        return self.template.endswith("?")

    @property
    def is_order(self) -> bool:
        """Whether the sentence is an imperative."""
        return not self.is_question and self.template.split(" ", 1)[0] not in ("I", "My")


@dataclass(frozen=True, eq=False)  # specs are compared by identity, which is fast
class ToolSpec:
    """One tool of the corpus with everything needed to write queries for it."""

    name: str
    description: str
    params: tuple[Param, ...]
    phrasings: tuple[Phrasing, ...]
    domain: str = ""
    split: Split = "train"

    @cached_property
    def tool(self) -> Tool:
        """The tool as a record shows it, parameters as JSON Schema."""
        parameters = {
            "type": "object",
            "properties": {param.name: param.schema() for param in self.params},
            "required": [param.name for param in self.params if param.required],
        }
        return Tool(self.name, self.description, parameters)


def required(name: str, description: str, kind: Kind) -> Param:
    """A parameter that every call gives.

    Args:
      name: of the parameter.
      description: two to six words, with the word that stands beside the value in queries.
      kind: of its values.

    Returns:
      The parameter.

    Source: our choice.
    """
    return Param(name, description, kind, required=True)


def optional(
    name: str, description: str, kind: Kind, fragment: str = " {}", default: Any = None
) -> Param:
    """A parameter that only some queries mention.

    Args:
      name: of the parameter.
      description: as for `required`.
      kind: of its values.
      fragment: how the query mentions it, with `{}` for the value.
      default: for the schema; queries never say it.

    Returns:
      The parameter.

    Source: our choice.
    """
    return Param(name, description, kind, False, fragment, default)


def tool(
    name: str, description: str, *params: Param, say: tuple[str, ...], heldout: bool = False
) -> ToolSpec:
    """One tool.

    Args:
      name: of the tool.
      description: three to nine words; every phrasing shares one of them.
      *params: its parameters, in schema order.
      say: its phrasings, templates with one `{slot}` per parameter.
      heldout: whether it is kept out of training.

    Returns:
      The tool, not yet in a domain.

    Raises:
      ValueError: a phrasing misses a required parameter or names one that doesn't exist.

    Source: our choice.
    """
    known = {param.name for param in params}
    needed = {param.name for param in params if param.required}
    phrasings = []
    for template in say:
        slots = frozenset(slot for _, slot, _, _ in Formatter().parse(template) if slot)
        if not needed <= slots <= known:
            raise ValueError(
                f"{name}: slots {sorted(slots)} of {template!r} don't fit {sorted(known)}"
            )
        phrasings.append(Phrasing(template, slots))
    return ToolSpec(
        name, description, params, tuple(phrasings), split="heldout" if heldout else "train"
    )


def domain(name: str, *specs: ToolSpec, heldout: bool = False) -> tuple[ToolSpec, ...]:
    """Tools that belong together.

    Args:
      name: of the domain.
      *specs: its tools.
      heldout: whether the whole domain is kept out of training.

    Returns:
      The tools, in order.

    Source: our choice.
    """
    return tuple(
        replace(spec, domain=name, split="heldout" if heldout else spec.split) for spec in specs
    )
