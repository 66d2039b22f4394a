"""F1 of function names and of arguments, as ToolAlpaca and Seal-Tools are scored in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..records import Call, DataError, GoldCall, Record


class F1Counts(NamedTuple):
    """What names and arguments of one answer, or of several, add to an F1: integers."""

    right_names: int
    given_names: int
    gold_names: int
    right_arguments: int
    given_arguments: int
    gold_arguments: int


def _right_arguments(golds: Sequence[GoldCall], call: Call) -> int:
    """Arguments that the first gold of the call's name shares, of those that share any."""
    for gold in golds:
        if gold.name != call.name:
            continue
        right = sum(
            value != "" and str(value) in {str(choice) for choice in gold.arguments.get(name, ())}
            for name, value in call.arguments.items()
        )
        if right:
            return right
    return 0


def f1_counts(record: Record, calls: Sequence[Call] | None) -> F1Counts:
    """Counts of one answer.

    As the authors of Hammer count: a name is right where a gold has it, however often it is given;
    values are compared as Python prints them; empty strings are no arguments; what can't be read
    counts as one name that is wrong.

    Args:
      record: with gold.
      calls: the answer's; None where it can't be read.

    Raises:
      DataError: the record has no gold.

    Source: arXiv:2410.04587 (Hammer), its evaluation, which arXiv:2510.14703 takes over.
    """
    golds = record.answers
    if golds is None:
        raise DataError(f"record {record.id}: answers: expected a list of gold calls, found none")
    named = [call for call in calls or () if call.name in {gold.name for gold in golds}]
    return F1Counts(
        right_names=len(named),
        given_names=1 if calls is None else len(calls),
        gold_names=len(golds),
        right_arguments=sum(_right_arguments(golds, call) for call in named),
        given_arguments=sum(v != "" for call in calls or () for v in call.arguments.values()),
        gold_arguments=sum("" not in choices for g in golds for choices in g.arguments.values()),
    )
