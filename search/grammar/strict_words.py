"""What single keywords of flat schemas say: types, listed values, bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from toolprm_jax.records import is_list, plain_schema_words

from . import schema as words

BOUNDLESS = 1 << 30
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LARGEST_STEP = 64  # of `multipleOf`, a state for each


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if is_list(one) and is_list(other):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def declared(schema: Mapping[str, Any]) -> int:
    """Bits of the types that a schema names."""
    return words.named_types(plain_schema_words(schema))


def listed_values(schema: Mapping[str, Any]) -> list[Any] | None:
    """The values that a schema lists; None where it lists none, or none of its own type."""
    values = [schema["const"]] if "const" in schema else None
    if is_list(schema.get("enum")) and schema["enum"]:
        both = schema["enum"]
        values = [v for v in both if values is None or any(same(v, w) for w in values)]
    if values is None:
        return None
    types = declared(schema)
    # An enum that has nothing of the declared type is meant for something else.
    return values if any(words.value_type(v) & types for v in values) or not values else None


def whole_bounds(flats: Iterable[Mapping[str, Any]]) -> tuple[int | None, int | None]:
    """The least and the largest integer that schemas allow."""
    low: int | None = None
    high: int | None = None
    for schema in flats:
        for word in BOUNDS:
            bound, is_low = schema.get(word), word.endswith("inimum")
            strict = word.startswith("exclusive")
            if bound is True and strict:  # as draft 4 has it
                bound = schema.get("minimum" if is_low else "maximum")
            if isinstance(bound, bool) or not isinstance(bound, int | float):
                continue
            if not math.isfinite(bound):
                continue
            if is_low:
                least = math.floor(bound) + 1 if strict else math.ceil(bound)
                low = least if low is None else max(low, least)
            else:
                most = math.ceil(bound) - 1 if strict else math.floor(bound)
                high = most if high is None else min(high, most)
    return low, high


def common_step(flats: Iterable[Mapping[str, Any]]) -> int:
    """The integer that numbers must be multiples of; 0 for none, 1 for one that is too large."""
    step = 0
    for schema in flats:
        factor = schema.get("multipleOf")
        if isinstance(factor, int | float) and not isinstance(factor, bool) and factor >= 1:
            is_whole = isinstance(factor, int) or factor.is_integer()
            step = math.lcm(step or 1, int(factor)) if is_whole else step
    return step if step <= _LARGEST_STEP else 1


def size_bounds(flats: Iterable[Mapping[str, Any]], least: str, most: str) -> tuple[int, int]:
    """The largest of the lower limits and the smallest of the upper ones."""
    low, high = 0, BOUNDLESS
    for schema in flats:
        for word in (least, most):
            limit = schema.get(word)
            if isinstance(limit, bool) or not isinstance(limit, int | float):
                continue
            if word == least:
                low = max(low, math.ceil(limit))
            else:
                high = min(high, math.floor(limit))
    return low, min(high, BOUNDLESS)


def within(value: float, schema: Mapping[str, Any]) -> bool:
    """Whether a listed number keeps to a schema's bounds."""
    checks = {
        "minimum": value.__ge__, "maximum": value.__le__,
        "exclusiveMinimum": value.__gt__, "exclusiveMaximum": value.__lt__,
    }  # fmt: skip
    for word, keeps in checks.items():
        bound = schema.get(word)
        if not isinstance(bound, bool) and isinstance(bound, int | float) and keeps(bound) is False:
            return False
    factor = schema.get("multipleOf")
    if isinstance(factor, int) and not isinstance(factor, bool) and factor > 0:
        return value % factor == 0
    return True


def spelled(value: float) -> str:
    """A number as JSON; 3.0 as 3."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return repr(value)
