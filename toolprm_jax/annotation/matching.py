"""When values, calls and lists of calls are equal to the gold.

Two equalities: `json` (JSON values) and `bfcl` (the rules of the Berkeley Function-Calling
Leaderboard's AST checker for its Python categories, written anew).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..grammar import PartialCall
from ..records import (
    LANGUAGES,
    Call,
    DataError,
    Equality,
    GoldCall,
    Record,
    Tool,
    literal_value,
    plain_schema,
)

_STRING_TYPES = frozenset({None, "string", "any"})
_NUMBERS: dict[str, type] = {"integer": int, "float": float}
IGNORED = re.compile(r"[ ,./\-_*^]")  # punctuation that does not count in BFCL's strings


def values_equal(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal: `3 == 3.0`, `true != 1`, objects unordered, NaN never.

    Args:
      a: a parsed JSON value.
      b: a parsed JSON value.

    Returns:
      True iff they are the same value.

    Source: our choice.
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)):
        return isinstance(b, (int, float)) and a == b
    if isinstance(a, dict):
        return (
            isinstance(b, dict)
            and a.keys() == b.keys()
            and all(values_equal(item, b[key]) for key, item in a.items())
        )
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(values_equal, a, b))
    return type(a) is type(b) and a == b


def _standard(text: str) -> str:
    return IGNORED.sub("", text).lower().replace("'", '"')


def strings_equal(gold: str, value: Any) -> bool:
    """BFCL's equality of strings: case, spaces and the punctuation `,./-_*^` do not count."""
    return isinstance(value, str) and _standard(gold) == _standard(value)


def _object_accepted(gold: Mapping[str, Any], value: Any) -> bool:
    """BFCL's rule for objects: every leaf of the gold lists its acceptable values."""
    if not isinstance(value, dict) or not value.keys() <= gold.keys():
        return False
    for key, listed in gold.items():
        choices = listed if isinstance(listed, (list, tuple)) else (listed,)
        if key in value:
            # A plain list in the place of a list of choices is a value, too.
            if not values_equal(listed, value[key]) and not any(
                _element_equal(choice, value[key]) for choice in choices
            ):
                return False
        elif "" not in choices:
            return False
    return True


def _element_equal(gold: Any, value: Any) -> bool:
    """BFCL's rule inside containers: strings standardised, inner lists compared as they are."""
    if isinstance(gold, str):
        return strings_equal(gold, value)
    if isinstance(gold, dict):
        return _object_accepted(gold, value)
    return values_equal(gold, value)


def _type_name(schema: Any) -> str | None:
    name = schema.get("type") if isinstance(schema, dict) else None
    return name if isinstance(name, str) else None


def takes_strings(schema: Any) -> bool:
    """Whether BFCL's checker takes a parameter for one of strings, or of anything."""
    return _type_name(schema) in _STRING_TYPES


def _list_accepted(gold: Sequence[Any], value: Any, items: str | None) -> bool:
    if not isinstance(value, (list, tuple)) or len(gold) != len(value):
        return False
    # Numbers inside a list aren't converted: their type is the schema's or the first element's.
    if gold and items is not None and items in _NUMBERS:
        allowed = (_NUMBERS[items], type(gold[0]))
        if any(type(element) not in allowed for element in value):
            return False
    return all(map(_element_equal, gold, value))


def _bfcl_equal(gold: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether BFCL's checker takes `value` for the acceptable value `gold` of a parameter."""
    type_name = _type_name(schema)
    if isinstance(gold, str):
        # Where the schema wants no string, the gold is a variable's name, which counts literally.
        return strings_equal(gold, value) if takes_strings(schema) else gold == value
    if isinstance(gold, dict):
        return _object_accepted(gold, value)
    if isinstance(gold, (list, tuple)):
        return _list_accepted(gold, value, _type_name(schema.get("items")))
    # An integer stands for a float, but not the other way round.
    if type_name == "integer" and isinstance(value, float) and not isinstance(gold, float):
        return False
    return values_equal(gold, value)


def schema_of(tool: Tool | None, param: str) -> Mapping[str, Any]:
    """A parameter's schema, empty where it is not known."""
    schema = tool.properties.get(param) if tool is not None else None
    return schema if isinstance(schema, dict) else {}


def value_accepted(
    gold: GoldCall, param: str, value: Any, equality: Equality, tool: Tool | None = None
) -> bool:
    """Whether a gold call has this parameter with an equal value.

    Args:
      gold: the gold call.
      param: the parameter's name.
      value: the parsed JSON value.
      equality: "json" or "bfcl".
      tool: the called tool; under "bfcl" its schema says which types are converted.

    Returns:
      True iff the gold accepts the value.

    Source: arXiv:2510.14703, section 3 (exact match); BFCL's AST checker for "bfcl".
    """
    accepted = gold.arguments.get(param)
    if accepted is None:
        return False
    if equality == "json":
        return any(values_equal(choice, value) for choice in accepted)
    schema = schema_of(tool, param)
    literal = schema.get("literal")
    if isinstance(literal, Mapping) and literal.get("language") in LANGUAGES:
        if not isinstance(value, str):
            return False
        language = literal["language"]
        value = literal_value(value, literal, language)
        accepted = tuple(literal_value(choice, literal, language) for choice in accepted)
        schema = plain_schema(literal)
    if any(_bfcl_equal(choice, value, schema) for choice in accepted):
        return True
    # BFCL's "" ("may be left out") also accepts an empty string or an empty list.
    if param not in gold.optional or not accepted:
        return False
    return (value == "" and isinstance(accepted[0], str)) or (
        value == [] and isinstance(accepted[0], (list, tuple))
    )


def missing_parameters(
    gold: GoldCall, given: Iterable[str], equality: Equality, tool: Tool | None = None
) -> frozenset[str]:
    """The gold's parameters that must be given and are not in `given`.

    Under "bfcl" a parameter that the tool requires must be given even where the gold would allow
    to leave it out.
    """
    missing = gold.arguments.keys() - set(given)
    if not missing:
        return frozenset()
    optional = gold.optional
    if optional and equality == "bfcl" and tool is not None:
        optional = optional - tool.required
    return frozenset(missing) - optional


def call_matches(
    gold: GoldCall,
    call_name: str,
    pairs: Sequence[tuple[str, Any]],
    equality: Equality,
    tool: Tool | None = None,
) -> bool:
    """Whether a whole call equals a gold call.

    Args:
      gold: the gold call.
      call_name: the called function.
      pairs: the arguments in order; a repeated parameter matches nothing.
      equality: "json" or "bfcl".
      tool: the called tool, if known.

    Returns:
      True iff names, parameters and values match.
    """
    names = {name for name, _ in pairs}
    return (
        gold.name == call_name
        and len(names) == len(pairs)
        and all(value_accepted(gold, name, value, equality, tool) for name, value in pairs)
        and not missing_parameters(gold, names, equality, tool)
    )


def augment(
    call: int, accepts: Sequence[Sequence[int]], taken: dict[int, int], barred: set[int]
) -> bool:
    """Finds an augmenting path for `call` (bipartite matching, Kuhn) and applies it.

    Args:
      call: the call to match.
      accepts: the golds that accept each call.
      taken: gold -> call, changed in place on success.
      barred: golds that may not be used; those visited are added.

    Returns:
      True iff the call could be matched without unmatching another.
    """
    for gold in accepts[call]:
        if gold in barred:
            continue
        barred.add(gold)
        if gold not in taken or augment(taken[gold], accepts, taken, barred):
            taken[gold] = call
            return True
    return False


def _parts(call: Call | PartialCall) -> tuple[str, list[tuple[str, Any]]]:
    if isinstance(call, PartialCall):
        return call.name, call.pairs
    return call.name, list(call.arguments.items())


def match_calls(
    golds: Sequence[GoldCall],
    calls: Sequence[Call | PartialCall],
    equality: Equality,
    ordered: bool = False,
    tools: Mapping[str, Tool] | None = None,
) -> bool:
    """Whether calls and golds match one to one (maximum bipartite matching).

    Args:
      golds: the gold calls.
      calls: the calls.
      equality: "json" or "bfcl".
      ordered: whether call i must match gold i.
      tools: tools by name, if known.

    Returns:
      True iff a perfect matching exists.

    Source: arXiv:2510.14703, section 3; order-free by our choice, as in BFCL.
    """
    if len(golds) != len(calls):
        return False
    by_name = tools or {}
    accepts: list[list[int]] = []
    for index, call in enumerate(calls):
        name, pairs = _parts(call)
        tool = by_name.get(name)
        candidates = [index] if ordered else range(len(golds))
        accepts.append(
            [g for g in candidates if call_matches(golds[g], name, pairs, equality, tool)]
        )
    taken: dict[int, int] = {}
    return all(augment(call, accepts, taken, set()) for call in range(len(calls)))


def tools_by_name(record: Record) -> dict[str, Tool]:
    """A record's tools by name; the first of a name counts."""
    return {tool.name: tool for tool in reversed(record.tools)}


def exact_match(record: Record, calls: Sequence[Call | PartialCall], ordered: bool = False) -> bool:
    """Whether `calls` are the record's right answer.

    Args:
      record: a record with gold calls.
      calls: the calls of one completion.
      ordered: whether their order counts.

    Returns:
      True iff calls and golds match one to one.

    Raises:
      DataError: the record's gold is not known.
    """
    if record.answers is None:
        raise DataError(f"record {record.id}: answers: expected a list of gold calls, found none")
    return match_calls(record.answers, calls, record.equality, ordered, tools_by_name(record))
