"""One value for another in the spelling of a third: part of changing defaults."""

from __future__ import annotations

import json
import re
from typing import Any

from ..annotation import IGNORED, number_of

NUMBER = re.compile(r"-?\d+(\.\d+)?")


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def respell(value: Any, old: str, new: str) -> Any:
    """Puts `new` where a value is `old`, however it is spelled.

    What `schema_equal` or BFCL's rules call equal to the old value is so to the new one, and what
    they don't isn't, so that a label is what it was: `02` for 2 becomes `07` for 7.

    Args:
      value: a JSON value.
      old: a value's text.
      new: another one's, each character of the kind of the old one's (`change_defaults`).

    Returns:
      The value, of the same JSON type; None where it is not the old one in any spelling.
    """
    if is_number(value):
        same = NUMBER.fullmatch(old) and value == json.loads(old)
        return json.loads(new) if same else None
    if not isinstance(value, str):
        return None
    if value == old:
        return new
    number, wanted = number_of(value), number_of(old)
    if is_number(number) and is_number(wanted) and number == wanted:
        return _spelled_number(value, old, new)
    return _aligned(value, old, new)


def _spelled_number(value: str, old: str, new: str) -> str:
    """`new` for `old` within a number's string, or another spelling where it isn't within."""
    for found in re.finditer(re.escape(old), value):
        other = value[: found.start()] + new + value[found.end() :]
        if number_of(other) == number_of(new):
            return other
    if IGNORED.sub("", value) == IGNORED.sub("", old):  # equal as strings too: `-0`
        return f" {new}"
    return f"-0{new[1:]}" if new.startswith("-") else f"0{new}"


def _aligned(value: str, old: str, new: str) -> str | None:
    """`new` in another case and punctuation of `old`; None where the letters are others."""
    letters = [IGNORED.sub("", text) for text in (old, new)]
    if len(IGNORED.sub("", value)) != len(letters[0]) or len(letters[0]) != len(letters[1]):
        return None
    pairs, out = zip(*letters, strict=True), []
    for given in value:
        if IGNORED.fullmatch(given):
            out.append(given)
            continue
        before, after = next(pairs)
        if given == before:
            out.append(after)
        elif before == after and {given, before} == {"'", '"'}:
            out.append(given)
        elif given.lower() == before.lower():
            out.append(after.upper() if given.isupper() else after.lower())
        else:
            return None
    return "".join(out)
