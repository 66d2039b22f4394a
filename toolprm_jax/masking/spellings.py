"""One value for another in the spelling of a third: part of changing defaults."""

from __future__ import annotations

import json
import re
from typing import Any

from ..annotation import IGNORED, EqualBy, number_of, strings_equal

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_MOST_DIGITS = 15  # of a number that a float holds as it is written


def text_of(value: Any) -> str:
    """A value as a query would write it: strings bare, all else as JSON.

    Args:
      value: a JSON value.

    Returns:
      Its text.
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain_number(text: str) -> int | float | None:
    """The number that JSON writes as this very text, without an exponent; None for other texts."""
    if len(text) > _MOST_DIGITS or not _NUMBER.fullmatch(text):
        return None
    number = json.loads(text)
    return number if text_of(number) == text else None


def respell(value: Any, old: str, new: str, by: EqualBy) -> Any:
    """Puts `new` where a value is `old`, however it is spelled.

    What equals the old value by JSON, by BFCL's rules or by the schema equals the new one then, and
    what doesn't does not, so that a label is what it was: `02` for 2 becomes `07` for 7. The same
    the other way gives the value back, but for spellings that the other value has not.

    Args:
      value: a JSON value.
      old: a value's text; where `by` is "number" and it is a number's, a plain one's.
      new: another one's, each character of the kind of the old one's (`change_defaults`).
      by: how strings of the parameter are compared.

    Returns:
      The value; None where it is not the old one in any spelling.
    """
    number = plain_number(old)
    if is_number(value):
        if number is None or value != number:
            return None
        other = json.loads(new)
        return float(other) if isinstance(value, float) else other
    if not isinstance(value, str):
        return None
    if value == old:
        return new
    if by == "number":
        same = number is not None and is_number(number_of(value)) and number_of(value) == number
        return _spelled_number(value, old, new) if same else None
    return _spelled_string(value, old, new) if by == "string" else None


def _spelled_number(value: str, old: str, new: str) -> str:
    """`new` for `old` within a number's string; behind a space where it isn't within."""
    for found in re.finditer(re.escape(old), value):
        other = value[: found.start()] + new + value[found.end() :]
        if number_of(other) == number_of(new):
            return other
    return f" {new}"


def _spelled_string(value: str, old: str, new: str) -> str | None:
    """`new` in another case and punctuation of `old`; None where the letters are others."""
    if not strings_equal(old, value):
        return None
    letters = [IGNORED.sub("", text) for text in (old, new, value)]
    if len({*map(len, letters)}) > 1:  # `İ` has two letters in lower case
        return f" {new}"
    pairs = zip(letters[0], letters[1], strict=True)
    out = "".join(
        given if IGNORED.fullmatch(given) else _in_case(given, *next(pairs)) for given in value
    )
    return out if strings_equal(new, out) and out != new else f" {new}"


def _in_case(given: str, old: str, new: str) -> str:
    """A letter in place of the old one, which was given in its own case or another."""
    if given == old:
        return new
    if old == new:
        return given
    return new.upper() if given.isupper() else new.lower()
