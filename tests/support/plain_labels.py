"""The definition of the labels by brute force, over calls as they are written."""

from __future__ import annotations

import itertools
import json
from typing import Any

from toolprm_jax.grammar.types import Dress
from toolprm_jax.records.types import GoldCall

Pairs = list[tuple[str, Any]]
Spelled = tuple[str, Pairs]  # a call as written: name and arguments, repeated ones included


def spell(calls: list[Spelled], dress: Dress = "list") -> str:
    written = []
    for name, pairs in calls:
        inner = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs)
        written.append(f'{{"name": "{name}", "arguments": {{{inner}}}}}')
    if dress == "list":
        return "[" + ", ".join(written) + "]"
    return "".join(f"<tool_call>{call}</tool_call>" for call in written)


def whole_call_equal(call: Spelled, gold: GoldCall) -> bool:
    name, pairs = call
    return (
        name == gold.name
        and len(dict(pairs)) == len(pairs)
        and dict(pairs).keys() == gold.arguments.keys()
        and all(value in gold.arguments[key] for key, value in pairs)
    )


def can_be_matched(calls: list[Spelled], golds: list[GoldCall]) -> bool:
    return len(calls) <= len(golds) and any(
        all(whole_call_equal(call, gold) for call, gold in zip(calls, some, strict=True))
        for some in itertools.permutations(golds, len(calls))
    )


def naive_labels(calls: list[Spelled], golds: list[GoldCall]) -> list[bool]:
    """The definition in words: a gold is unused iff the right calls so far can do without it."""
    labels: list[bool] = []
    right: list[Spelled] = []
    for name, pairs in calls:
        possible = [
            gold
            for at, gold in enumerate(golds)
            if gold.name == name and can_be_matched(right, golds[:at] + golds[at + 1 :])
        ]
        fine = [bool(possible)]
        seen: list[str] = []
        for key, value in pairs:
            equal = [g for g in possible if key in g.arguments and value in g.arguments[key]]
            fine.append(key not in seen and bool(equal))
            possible = equal if fine[-1] else possible
            seen.append(key)
        complete = any(set(gold.arguments) <= set(seen) for gold in possible)
        fine.append(all(fine) and complete)
        fine.append(any(whole_call_equal((name, pairs), gold) for gold in possible))
        if fine[-1]:
            right.append((name, pairs))
        labels += fine
    return [*labels, len(calls) == len(golds) and can_be_matched(calls, golds)]
