"""A changed default keeps its spelling, and with it what equals it."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toolprm_jax.annotation.equivalence import schema_equal
from toolprm_jax.annotation.matching import strings_equal, values_equal
from toolprm_jax.masking.defaults import _like_character, swap_default
from toolprm_jax.masking.spellings import respell

TEXTS = st.one_of(
    st.text(string.ascii_letters + string.digits + " -./_'\"é", min_size=1, max_size=6),
    st.integers(-999, 999).map(str),
    st.decimals(-99, 99, places=2).map(str),
)
TYPES = ("string", "integer", "number", None)


@st.composite
def spelled(draw: st.DrawFn, text: str) -> Any:
    """A text as somebody else might have written it, or something near."""
    out = ""
    for char in text:
        case = draw(st.sampled_from([str, str, str.upper, str.lower, str.swapcase]))
        out += draw(st.sampled_from(["", "", "", "-", " ", "0"])) + case(char)
    return out + draw(st.sampled_from(["", "", ".0", "0", " ", "e0"]))


@given(TEXTS, st.integers(0, 2**32), st.data())
def test_what_equals_the_old_value_equals_the_new_one(text: str, seed: int, data: Any) -> None:
    how = random.Random(seed)
    new = "".join(_like_character(char, how) for char in text)
    assume(respell(text, new, new) is None)  # else it is no new value
    value = data.draw(spelled(text))
    other = swap_default({"old": text, "new": new}, value)
    assert values_equal(text, value) == values_equal(new, other), (new, value, other)
    assert strings_equal(text, value) == strings_equal(new, other), (new, value, other)
    for kind in TYPES:
        schema = {"type": kind} if kind else {}
        before, after = schema_equal(text, value, schema), schema_equal(new, other, schema)
        assert before == after, (new, value, other, kind)


@pytest.mark.parametrize(
    ("value", "old", "new", "found"),
    [
        ("02", "2", "7", "07"),
        ("2.0", "2", "7", "7.0"),
        ("2e0", "2", "7", "7e0"),
        (".5", "0.5", "0.7", "00.7"),
        (".5e1", "-5", "-7", None),
        ("-0", "0", "7", " 7"),
        (2.0, "2", "7", 7),
        ("new-york", "New York", "Nib Zawd", "nib-zawd"),
        ("NEW YORK", "New York", "Nib Zawd", "NIB ZAWD"),
        ('d"or', "d'or", "b'ex", 'b"ex'),
        ("20", "2", "7", None),
        ("-5", "5", "7", "-7"),
        (True, "1", "7", None),
        (["2"], "2", "7", None),
    ],
)
def test_the_spelling_stays(value: Any, old: str, new: str, found: Any) -> None:
    assert respell(value, old, new) == found
    if found is not None and found not in ("00.7", " 7"):  # else the spelling is lost
        assert respell(found, new, old) == value
