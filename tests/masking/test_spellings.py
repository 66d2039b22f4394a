"""A changed default keeps its spelling, and with it what equals it."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.annotation.equivalence import EqualBy
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.masking.masked import mask_record, unmask_record
from toolprm_jax.masking.spellings import respell
from toolprm_jax.records.types import GoldCall, Record, Tool

LETTERS = string.ascii_letters[:6] + string.digits[:4] + " -./_'\"éßİΣ٣eE+"
TEXTS = st.one_of(
    st.text(LETTERS, min_size=1, max_size=6),
    st.integers(-99, 99).map(str),
    st.decimals(-9, 9, places=1).map(str),
)
TYPES = (
    "string", "integer", "number", "any", "float", "Optional[float]", "List[str]", "str, optional",
    "Literal['a', 'b']", ["string", "null"], ["integer", "string"],
)  # fmt: skip


def as_value(text: str) -> Any:
    """A number where a text is one's in JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


@st.composite
def spelled(draw: st.DrawFn, text: str) -> Any:
    """A value as somebody else might have written it, or something near."""
    out = ""
    for char in text:
        case = draw(st.sampled_from([str, str, str, str.upper, str.lower, str.swapcase]))
        out += draw(st.sampled_from(["", "", "", "", "-", " ", "0"])) + case(char)
    out += draw(st.sampled_from(["", "", "", ".0", "0", " ", "e0"]))
    return as_value(out) if draw(st.booleans()) else out


@given(st.data())
def test_labels_are_what_they_were(data: Any) -> None:
    text = data.draw(TEXTS)
    default = as_value(text) if data.draw(st.booleans()) else text
    schema = {"type": data.draw(st.sampled_from(TYPES)), "default": default}
    firsts = st.one_of(st.just(text), st.just(as_value(text)), spelled(text), TEXTS)
    golds = tuple(
        GoldCall("f", {"p": tuple(data.draw(st.lists(firsts, min_size=1, max_size=2)))})
        for _ in range(data.draw(st.integers(1, 2)))
    )
    query = ({"role": "user", "content": "q"},)
    record = Record("r", query, (Tool("f", "", {"p": schema}),), golds)
    record = replace(record, equality=data.draw(st.sampled_from(["json", "bfcl"])))
    masked = mask_record(record, data.draw(st.integers(0, 9)))
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record
    others = [change["new"] for change in masked.map["defaults"]["changed"]]
    near = st.sampled_from([text, *others]).flatmap(spelled)
    calls = [{"name": "f", "arguments": {"p": data.draw(near)}} for _ in golds]
    completion = json.dumps(calls)
    for equivalence in (False, True):
        before = label_completion(record, completion, equivalence=equivalence)
        after = label_completion(
            masked.record, masked.completion(completion), equivalence=equivalence
        )
        assert [s.label for s in before.steps] == [s.label for s in after.steps], (
            record, masked.record.answers, completion, masked.completion(completion), equivalence,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "old", "new", "by", "found"),
    [
        ("02", "2", "7", "number", "07"),
        ("2.0", "2", "7", "number", "7.0"),
        ("2e0", "2", "7", "number", "7e0"),
        (".5", "0.5", "0.7", "number", " 0.7"),
        ("02", "2", "7", "string", None),
        ("02", "2", "7", "exact", None),
        (2.0, "2", "7", "number", 7.0),
        (2, "2", "7", "exact", 7),
        ("-5", "5", "7", "number", None),
        ("-5", "5", "7", "string", "-7"),
        ("new-york", "New York", "Nib Zawd", "string", "nib-zawd"),
        ("NEW YORK", "New York", "Nib Zawd", "string", "NIB ZAWD"),
        ("NEW YORK", "New York", "Nib Zawd", "exact", None),
        ("STRASSE", "Straße", "Blamße", "string", None),
        ("i\u0307zmir", "İzmir", "İnnup", "string", " İnnup"),
        ('d"or', "d'or", "b'ex", "string", 'b"ex'),
        ("20", "2", "7", "number", None),
        (True, "1", "7", "number", None),
        (["2"], "2", "7", "number", None),
        (3, "1٣", "4٣", "number", None),
        (7, "007", "004", "exact", None),
    ],
)
def test_the_spelling_stays(value: Any, old: str, new: str, by: EqualBy, found: Any) -> None:
    assert respell(value, old, new, by) == found
    assert type(respell(value, old, new, by)) is type(found)
    if found is not None and not str(found).startswith(" "):  # else the spelling is lost
        assert respell(found, new, old, by) == value
