"""Completions -> labelled decisions: every decision is `+` or `-` by exact match with the gold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from ..grammar import (
    Dress,
    Kind,
    Run,
    explain,
    parse_argument,
    parse_name,
    run,
    tables,
)
from ..records import Call, DataError, Equality, GoldCall, Record, Tool
from .equivalence import schema_equal
from .matching import augment, missing_parameters, schema_of, tools_by_name, value_accepted

# Which decisions carry labels (arXiv:2510.14703, section 4: ToolPRM, C-PRM, ORM).
GRANULARITY: Mapping[str, frozenset[Kind]] = MappingProxyType(
    {
        "toolprm": frozenset(Kind),
        "cprm": frozenset({Kind.FUNC_FINISH, Kind.TOTAL_FINISH}),
        "orm": frozenset({Kind.TOTAL_FINISH}),
    }
)
_NAMES = [kind.name for kind in Kind]  # `kind.name` itself is a slow property


class Step(NamedTuple):
    """One decision: its kind, the byte offset just past its boundary, and its labels.

    `label` is the decision's own; `prefix` is False from the first False decision on.
    """

    kind: Kind
    end: int
    label: bool
    prefix: bool


@dataclass(frozen=True)
class Labelled:
    """A completion's decisions.

    Attributes:
      steps: the decisions in firing order.
      correct: whether the calls are the gold; equals the label of TOTAL_FINISH.
      error: why the completion died, in words, or None.
      trailing: whether other text follows the answer.
      calls: the whole calls that the completion spells.
      changed: how many labels differ where values that the schema calls equal count as equal
        (`equivalence`), whichever setting these are of.
    """

    steps: tuple[Step, ...]
    correct: bool
    error: str | None
    trailing: bool
    calls: tuple[Call, ...]
    changed: int = 0


class _Labeller:
    """Holds the calls of one completion against the gold calls that are still unused.

    Earlier calls that were `+` keep a matching with the golds. A gold counts as unused iff those
    calls can be matched without it, so that overlapping lists of acceptable values never let an
    early call block a later one; where nothing overlaps this is "no earlier call has used it".
    """

    def __init__(
        self,
        golds: Sequence[GoldCall],
        tools: Mapping[str, Tool],
        equality: Equality,
        ordered: bool,
        equivalence: bool,
    ) -> None:
        self.golds, self.tools = golds, tools
        self.equality: Equality = equality
        self.ordered, self.equivalence = ordered, equivalence
        self.index = -1  # of the current call
        self.tool: Tool | None = None
        self.possible: list[int] = []
        self.pairs: list[tuple[str, Any]] = []
        self.given: set[str] = set()
        self.right = False  # whether every decision inside the call so far was +
        self.accepts: list[list[int]] = []  # the golds of each + call
        self.taken: dict[int, int] = {}  # gold -> place in `accepts`

    def _unused(self, gold: int) -> bool:
        if gold not in self.taken:
            return True
        call = self.taken[gold]
        # Only the answer is wanted, hence the copy: the matching itself stays.
        return len(self.accepts[call]) > 1 and augment(call, self.accepts, dict(self.taken), {gold})

    def _accepts(self, gold: GoldCall, param: str, value: Any) -> bool:
        if value_accepted(gold, param, value, self.equality, self.tool):
            return True
        if not self.equivalence:
            return False
        schema = schema_of(self.tool, param)
        return any(schema_equal(choice, value, schema) for choice in gold.arguments.get(param, ()))

    def name(self, name: str) -> bool:
        """FUNC_NAME: some unused gold has this name."""
        self.index += 1
        self.tool = self.tools.get(name)
        self.pairs, self.given = [], set()
        candidates = range(len(self.golds))
        if self.ordered:
            candidates = range(self.index, min(self.index + 1, len(self.golds)))
        self.possible = [g for g in candidates if self.golds[g].name == name and self._unused(g)]
        self.right = bool(self.possible)
        return self.right

    def argument(self, param: str, value: Any) -> bool:
        """ARG_VALUE: some possible gold has an equal argument; narrows to those."""
        self.pairs.append((param, value))
        repeated = param in self.given
        self.given.add(param)
        equal = (
            []
            if repeated
            else [g for g in self.possible if self._accepts(self.golds[g], param, value)]
        )
        if equal:
            self.possible = equal
        else:
            self.right = False
        return bool(equal)

    def arguments_end(self) -> bool:
        """PARAM_FINISH: all arguments were + and some possible gold misses none."""
        if self.right:
            self.possible = [
                g
                for g in self.possible
                if not missing_parameters(self.golds[g], self.given, self.equality, self.tool)
            ]
            self.right = bool(self.possible)
        return self.right

    def call_end(self) -> bool:
        """FUNC_FINISH: the whole call equals an unused gold, which is then used."""
        if self.right:
            self.accepts.append(self.possible)
            augment(len(self.accepts) - 1, self.accepts, self.taken, set())
        return self.right

    def list_end(self) -> bool:
        """TOTAL_FINISH: calls and golds match one to one.

        Every + call is matched, so a perfect matching exists iff all calls are + and none of the
        golds is left.
        """
        return len(self.accepts) == self.index + 1 == len(self.golds)


def label_completion(
    record: Record,
    text: str | bytes,
    *,
    dress: Dress = "list",
    ordered: bool = False,
    complete: bool = True,
    equivalence: bool = False,
) -> Labelled:
    """Labels every decision of one completion.

    Args:
      record: a record whose gold calls are known.
      text: the completion; offsets count its UTF-8 bytes.
      dress: how calls are written.
      ordered: whether call i must match gold i.
      complete: whether the text ends here; a prefix does not die at its end.
      equivalence: whether values that the schema calls equal (`schema_equal`) are equal.

    Returns:
      The labelled decisions. A completion that dies gets one last TOTAL_FINISH `-` just past the
      byte that it died at (at its end where it died of ending).

    Raises:
      DataError: the record's gold is not known.

    Source: arXiv:2510.14703, section 3; narrowing of the possible golds is our choice.
    """
    if record.answers is None:
        raise DataError(f"record {record.id}: answers: expected a list of gold calls, found none")
    # A lone surrogate in a str becomes bytes that are no UTF-8, which the grammar then refuses.
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    tables_ = tables(dress)
    result = run(tables_, data, eot=complete)
    decisions = _decisions(result, data)
    labels = strict = _decide(record, decisions, ordered, equivalence=False)
    relaxed = strict
    if not all(strict) and _bends(record, decisions):
        relaxed = _decide(record, decisions, ordered, equivalence=True)
    if equivalence:
        labels = relaxed
    steps: list[Step] = []
    prefix = True
    for (kind, end, _), label in zip(decisions, labels, strict=True):
        prefix = prefix and label
        steps.append(Step(kind, end, label, prefix))
    finished = bool(decisions) and decisions[-1][0] is Kind.TOTAL_FINISH
    if result.died_at is not None:
        end = min(result.died_at + 1, len(data))
        steps.append(Step(Kind.TOTAL_FINISH, end, False, False))
    return Labelled(
        steps=tuple(steps),
        correct=finished and labels[-1],
        error=explain(tables_, result, data),
        trailing=result.trailing,
        calls=_whole_calls(decisions),
        changed=sum(a != b for a, b in zip(strict, relaxed, strict=True)),
    )


# A decision with what it chose: the function's name, (parameter, value), or None.
_Decision = tuple[Kind, int, Any]


def _decisions(result: Run, data: bytes) -> list[_Decision]:
    decisions: list[_Decision] = []
    for (kind, end), span in zip(result.events, result.spans, strict=True):
        chosen = None
        if kind is Kind.ARG_VALUE and span is not None:
            chosen = parse_argument(data, span)
        elif kind is Kind.FUNC_NAME and span is not None:
            chosen = parse_name(data, span)
        decisions.append((kind, end, chosen))
    return decisions


def _bends(record: Record, decisions: Sequence[_Decision]) -> bool:
    """Whether some argument equals some gold's by the schema alone; else that changes no label."""
    tools = tools_by_name(record)
    tool, golds = None, []
    for kind, _, chosen in decisions:
        if kind is Kind.FUNC_NAME:
            tool = tools.get(chosen)
            golds = [gold for gold in record.answers or () if gold.name == chosen]
        elif kind is Kind.ARG_VALUE:
            param, value = chosen
            schema = schema_of(tool, param)
            for gold in golds:
                if not value_accepted(gold, param, value, record.equality, tool) and any(
                    schema_equal(choice, value, schema) for choice in gold.arguments.get(param, ())
                ):
                    return True
    return False


def _decide(
    record: Record, decisions: Sequence[_Decision], ordered: bool, *, equivalence: bool
) -> list[bool]:
    """The label of every decision."""
    by_schema = record.equality == "bfcl" or equivalence
    labeller = _Labeller(
        record.answers or (),
        tools_by_name(record) if by_schema else {},
        record.equality,
        ordered,
        equivalence,
    )
    labels: list[bool] = []
    for kind, _, chosen in decisions:
        if kind is Kind.ARG_VALUE:
            labels.append(labeller.argument(*chosen))
        elif kind is Kind.FUNC_NAME:
            labels.append(labeller.name(chosen))
        elif kind is Kind.PARAM_FINISH:
            labels.append(labeller.arguments_end())
        elif kind is Kind.FUNC_FINISH:
            labels.append(labeller.call_end())
        else:
            labels.append(labeller.list_end())
    return labels


def _whole_calls(decisions: Sequence[_Decision]) -> tuple[Call, ...]:
    calls: list[Call] = []
    name, arguments = "", {}
    for kind, _, chosen in decisions:
        if kind is Kind.FUNC_NAME:
            name, arguments = chosen, {}
        elif kind is Kind.ARG_VALUE:
            arguments[chosen[0]] = chosen[1]
        elif kind is Kind.FUNC_FINISH:
            calls.append(Call(name, arguments))
    return tuple(calls)
