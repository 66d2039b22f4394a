"""The call grammar against Python's own JSON reader."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_grammar import mutate, reference

from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import advance, explain, initial, parse_calls, run
from toolprm_jax.grammar.types import EOT, MAX_DEPTH, Dress, Kind, Site, pack, unpack

LIST, TOOL_CALL = tables("list"), tables("tool_call")
LLAMA = tables("llama")
DRESSES: list[Dress] = ["list", "tool_call", "llama"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
calls_strategy = st.lists(
    st.builds(
        lambda name, arguments: {"name": name, "arguments": arguments},
        st.text(),
        st.dictionaries(st.text(), values, max_size=3),
    ),
    max_size=3,
)


def spell(value: Any, draw: Any) -> str:
    """JSON with random white space and escapes, written token by token."""

    def space() -> str:
        return draw(st.text(" \t\n\r", max_size=1))

    if isinstance(value, dict):
        inner = ",".join(
            f"{space()}{json.dumps(k, ensure_ascii=draw(st.booleans()))}{space()}:{spell(v, draw)}"
            for k, v in value.items()
        )
        text = "{" + (inner or space()) + "}"
    elif isinstance(value, list):
        text = "[" + (",".join(spell(v, draw) for v in value) or space()) + "]"
    else:
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    return space() + text + space()


def dressed(calls: list[dict[str, Any]], dress: Dress, draw: Any) -> bytes:
    if dress == "list":
        text = spell(calls, draw)
        fence = draw(st.sampled_from(["", "```", "```json\n"]))
        return f"{fence}{text}{'```' if fence else ''}\n".encode()
    if dress == "llama":
        key = draw(st.sampled_from(["parameters", "arguments"]))
        spelled = [spell({"name": c["name"], key: c["arguments"]}, draw) for c in calls]
        return (
            draw(st.sampled_from(["", "\n", "<|python_tag|>" * bool(calls)])) + " ; ".join(spelled)
        ).encode()
    blocks = [f"<tool_call>{spell(call, draw)}</tool_call>" for call in calls]
    before = [
        "",
        "I call: ",
        "<tool_",
        "ä<<",
        "<think>so <tool_call></think>\n",
        "<th<think></think>",
    ]
    return (draw(st.sampled_from(before)) + "\n".join(blocks)).encode()


def expected_kinds(calls: list[dict[str, Any]]) -> list[Kind]:
    kinds: list[Kind] = []
    for call in calls:
        kinds += [Kind.FUNC_NAME, *[Kind.ARG_VALUE] * len(call["arguments"])]
        kinds += [Kind.PARAM_FINISH, Kind.FUNC_FINISH]
    return [*kinds, Kind.TOTAL_FINISH]


@st.composite
def completions(draw: Any) -> tuple[list[dict[str, Any]], Dress, bytes]:
    calls, dress = draw(calls_strategy), draw(st.sampled_from(DRESSES))
    return calls, dress, dressed(calls, dress, draw)


@given(completions())
def test_well_formed_text_is_accepted_with_the_right_decisions(completion: Any) -> None:
    calls, dress, data = completion
    result = run(tables(dress), data, eot=True)
    assert result.accepted
    assert not result.trailing
    assert result.died_at is None
    assert [kind for kind, _ in result.events] == expected_kinds(calls)
    parsed = parse_calls(tables(dress), data, result=result)
    assert [{"name": c.name, "arguments": dict(c.pairs)} for c in parsed] == calls
    assert all(call.closed and call.finished for call in parsed)


@given(completions(), st.lists(st.integers(0, 400)))
def test_splitting_the_text_changes_nothing(completion: Any, cuts: list[int]) -> None:
    _, dress, data = completion
    whole = run(tables(dress), data, eot=True)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    state, events = initial(tables(dress)), []
    for low, high in itertools.pairwise(edges):
        state, new = advance(tables(dress), state, data[low:high])
        events += [(kind, low + end) for kind, end in new]
    state, new = advance(tables(dress), state, [EOT])
    assert events + [(kind, len(data) + end) for kind, end in new] == whole.events
    assert state == whole.state


@given(completions())
def test_no_proper_prefix_of_an_answer_is_an_answer(completion: Any) -> None:
    _calls, dress, data = completion
    table = tables(dress)
    total = run(table, data, eot=True).events[-1][1]
    for cut in range(min(total, len(data))):
        result = run(table, data[:cut], eot=False)
        assert result.died_at is None
        assert not result.accepted
        if dress == "list":
            assert run(table, data[:cut], eot=True).died_at == cut


# --- against the strict reference --------------------------------------------------------------


def agrees(data: bytes) -> bool:
    result = run(LIST, data, eot=True)
    ours = [kind for kind, _ in result.events] if result.accepted and not result.trailing else None
    return ours == reference(data)


mutations = st.tuples(
    st.sampled_from(["insert", "delete", "replace", "copy"]),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(list(b'{}[]",:\\/ \t\n0123456789.eE+-truefalsnudDcC89abAB\x00\x1f\x7f'))
    | st.integers(0, 255),
)


@given(calls_strategy, st.data(), st.lists(mutations, min_size=1, max_size=3))
def test_mutated_text_is_accepted_iff_the_reference_accepts_it(
    calls: Any, data: Any, edits: Any
) -> None:
    text = spell(calls, data.draw).encode()
    for edit in edits:
        text = mutate(text, edit)
    assert agrees(text), text


NASTY = [
    b"0", b"-0", b"00", b"01", b"-", b"+1", b"1.", b".5", b"1.5e", b"1e+", b"1E-07", b"0e0",
    b"1e5.", b"-01", b"0x1", b"NaN", b"Infinity", b"-Infinity", b"nan", b"True", b"tru", b"nul",
    b"nulll", b'""', b'"', b"'a'", b'"\\x"', b'"\\/\\b\\f\\n\\r\\t\\"\\\\"',
    b'"\\u12"', b'"\\u12g4"', b'"\\ud83d\\ude00"', b'"\\uD83D\\uDE00"', b'"\\ud83d"', b'"\\ude00"',
    b'"\\ud83d\\u0041"', b'"\\ud83d\\ud83d"', b'"\\ud83dx"', b'"\\ud7ff\\ue000"', b'"\\u0000"',
    b'"\x00"', b'"\n"', b'"\x7f"', b'"\xc3\xa4"', b'"\xc3"', b'"\xc0\x80"', b'"\xc1\xbf"',
    b'"\xe0\x9f\xbf"', b'"\xe0\xa0\x80"', b'"\xed\x9f\xbf"', b'"\xed\xa0\x80"',
    b'"\xf0\x8f\xbf\xbf"', b"\xef\xbb\xbf1", b'"\xf0\x90\x80\x80"', b'"\xf4\x8f\xbf\xbf"',
    b'"\xf4\x90\x80\x80"', b'"\xf5\x80\x80\x80"',
    b'"\xff"', b'"\x80"', b"[]", b"[,]", b"[1,]", b"[1 2]", b"{}", b"{,}", b'{"a"}', b'{"a":}',
    b'{"a":1,}', b'{"a":1 "b":2}', b'{"a":1,"a":2}', b"{1:2}", b"[}", b"{]", b'[{"a":[]}]', b"[[]",
    b'{"a":1]', b"\x0c1", b"\xc2\xa01", b"1\x0b", b"/**/1", b"1//", b"",
]  # fmt: skip


@pytest.mark.parametrize("value", NASTY)
def test_values_are_rfc_8259_exactly(value: bytes) -> None:
    for around in (b"%s", b"[%s]", b'{"k": %s}', b"[1, %s , 2]"):
        data = b'[{"name": "f", "arguments": {"x": ' + around % value + b', "y": 1}}]'
        assert agrees(data), data


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_is_bounded(opening: bytes, closing: bytes) -> None:
    def nested(depth: int) -> bytes:
        inner = opening * depth + b"0" + closing * depth
        return b'[{"name": "f", "arguments": {"x": ' + inner + b"}}]"

    assert run(LIST, nested(MAX_DEPTH), eot=True).accepted
    deep = run(LIST, nested(MAX_DEPTH + 1), eot=True)
    assert deep.died_at == nested(0).index(b"0") + len(opening) * MAX_DEPTH
    assert "at most 32" in (explain(LIST, deep, nested(MAX_DEPTH + 1)) or "")


@pytest.mark.parametrize(
    ("text", "trailing"),
    [
        ("[] \n", False),
        ("[]```", True),
        ("```[]```", False),
        ("```json\n[]\n``` \n", False),
        ("```json\n[]", False),
        ("```json\n[]\n``", True),
        ("```json\n[]\n``` ```", True),
        ("[] The end.", True),
        ("[][]", True),
    ],
)
def test_text_after_the_list(text: str, trailing: bool) -> None:
    result = run(LIST, text.encode(), eot=True)
    assert (result.accepted, result.trailing, result.died_at) == (True, trailing, None)
    assert result.events == [(Kind.TOTAL_FINISH, text.index("]") + 1)]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 0),
        ("{}", 0),
        ("```python\n[]", 3),
        ("[,]", 1),
        ('[{"name": "f", "arguments": {}},]', 32),
        ('[{"arguments": {}, "name": "f"}]', 3),
        ('[{"name": "f", "parameters": {}}]', 16),
        ('[{"name": "f"}]', 13),
        ('[{"name": "f", "arguments": {}, "x": 1}]', 30),
        ('[{"name": 3, "arguments": {}}]', 10),
        ('[{"name": "f", "arguments": []}]', 28),
        ('[{"n\\u0061me": "f", "arguments": {}}]', 4),
        ("[", 1),
    ],
)
def test_what_is_no_list_of_calls_dies_where_it_goes_wrong(text: str, at: int) -> None:
    result = run(LIST, text.encode(), eot=True)
    assert result.died_at == at
    assert not result.accepted
    assert result.mode == LIST.dead
    assert (explain(LIST, result, text.encode()) or "").startswith(f"byte {at}: expected ")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("No tool fits. <tool_call", []),
        ('<tool_<tool_call>{"name": "f", "arguments": {}}</tool_call>', ["f"]),
        ('<<tool_call>{"name": "f", "arguments": {}}</tool_call> \n', ["f"]),
        ('ä {"name": "no"} <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', ["f"]),
    ],
)
def test_free_text_may_come_before_the_blocks(text: str, names: list[str]) -> None:
    result = run(TOOL_CALL, text.encode(), eot=True)
    assert result.accepted
    assert not result.trailing
    assert result.events[-1] == (Kind.TOTAL_FINISH, len(text.encode()))
    assert [call.name for call in parse_calls(TOOL_CALL, text.encode())] == names


@given(st.text("<tolca_>x"))
def test_the_opening_tag_is_found_wherever_it_is(text: str) -> None:
    state, _ = advance(TOOL_CALL, initial(TOOL_CALL), text.encode())
    found = text.find("<tool_call>")
    if found < 0:
        assert state.mode not in (TOOL_CALL.dead, TOOL_CALL.names.index("before_call"))
    else:
        state, _ = advance(TOOL_CALL, initial(TOOL_CALL), text[: found + 11].encode())
        assert TOOL_CALL.names[state.mode] == "before_call"


BLOCK = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


@pytest.mark.parametrize(
    "text",
    [
        BLOCK[:-1],
        "\ud800",
        BLOCK + "\ud800",
        BLOCK + " so <tool_call>no</tool_call>",
        BLOCK[:-12] + "<think></think></tool_call>",
    ],
)
def test_broken_blocks_die(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    assert run(TOOL_CALL, data, eot=True).died_at is not None


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (BLOCK + " done", 1),
        (BLOCK + "<|im_end|>", 1),
        (BLOCK + "<tool", 1),
        (BLOCK * 2 + "<<", 2),
        (BLOCK + "ä" + BLOCK, 2),
        (BLOCK + "<tool_ca" + BLOCK + "\n" + BLOCK, 3),
        (BLOCK + "<think>" + BLOCK + "</think>", 1),
        (BLOCK + "\n<think>again</think>" + BLOCK, 2),
    ],
)
def test_text_between_and_after_blocks_is_reported(text: str, calls: int) -> None:
    result = run(TOOL_CALL, text.encode(), eot=True)
    assert result.accepted
    assert result.trailing
    assert [kind for kind, _ in result.events].count(Kind.FUNC_FINISH) == calls
    assert len(parse_calls(TOOL_CALL, text.encode())) == calls


@given(st.lists(st.sampled_from(["<think>", "</think>", BLOCK, "<tool_call>", "<", "ä", " "])))
def test_thoughts_are_skipped_whole(parts: list[str]) -> None:
    thought = "".join(parts).replace("</think>", "")
    data = f"Hm.<think>{thought}</think>\n{BLOCK}".encode()
    result = run(TOOL_CALL, data, eot=True)
    assert result.accepted
    assert not result.trailing
    assert [call.name for call in parse_calls(TOOL_CALL, data)] == ["f"]


def test_llama_writes_parameters_for_arguments() -> None:
    data = b'{"name": "f", "parameters": {"x": 1}}; {"name": "g", "arguments": {}}'
    assert not run(LIST, b"[" + data.replace(b";", b",") + b"]", eot=True).accepted
    assert [c.pairs for c in parse_calls(LLAMA, data)] == [[("x", 1)], []]
    both = b'{"name": "f", "arguments": {}, "parameters": {}}'
    assert not run(LLAMA, both, eot=True).accepted


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("", True),
        ("Oslo is cold today: {x}", True),
        ("<|python_tag", True),
        ("<|python_tag|>", False),
        ('{"name": "f"', False),
        ('{"name": "f", "parameters": {}};', False),
        ('{"name": "f", "parameters": {}} so', False),
        ("ä\ud800", False),
    ],
)
def test_llama_text_is_no_call(text: str, accepted: bool) -> None:
    data = text.encode("utf-8", "surrogatepass")
    assert run(LLAMA, data, eot=True).accepted == accepted
    assert not any(call.finished for call in parse_calls(LLAMA, data)) or not accepted


def test_several_decisions_fire_on_one_byte_in_order() -> None:
    data = b'[{"name": "f", "arguments": {"x": "a"}}]'
    assert run(LIST, data, eot=True).events == [
        (Kind.FUNC_NAME, 13),
        (Kind.ARG_VALUE, 38),
        (Kind.PARAM_FINISH, 38),
        (Kind.FUNC_FINISH, 39),
        (Kind.TOTAL_FINISH, 40),
    ]


def test_a_number_ends_only_at_its_delimiter() -> None:
    state, events = advance(LIST, initial(LIST), b'[{"name": "f", "arguments": {"x": 3')
    assert [kind for kind, _ in events] == [Kind.FUNC_NAME]
    state, events = advance(LIST, state, b"0 ")
    assert events == []
    state, events = advance(LIST, state, b",")
    assert events == [(Kind.ARG_VALUE, 1)]


def test_partial_calls_and_repeated_parameters_are_kept() -> None:
    data = b'[{"name": "f", "arguments": {"x": 1, "x": [2], "y": tr'
    (call,) = parse_calls(LIST, data)
    assert (call.name, call.pairs, call.closed) == ("f", [("x", 1), ("x", [2])], False)


def test_an_integer_beyond_pythons_limit_equals_nothing() -> None:
    data = b'[{"name": "f", "arguments": {"x": ' + b"9" * 5000 + b"}}]"
    (call,) = parse_calls(LIST, data)
    assert call.pairs[0][1] != call.pairs[0][1]


@pytest.mark.parametrize("dress", DRESSES)
def test_tables_are_closed_and_dead_stays_dead(dress: Dress) -> None:
    table = tables(dress)
    assert len(table.transitions) == 3 * table.num_modes * 257
    assert len(set(table.names)) == table.num_modes == len(table.expects)
    for context in range(3):
        for mode in range(table.num_modes):
            for byte in range(257):
                entry = table.entry(context, mode, byte)
                target, op, event, event2, span = unpack(entry)
                linked = table.links[context][mode][byte]
                assert (linked is not None) == (entry == target != table.dead)
                assert linked is None or linked is table.links[context][target]
                assert pack(target, op, event, event2, span) == entry
                assert target < table.num_modes
                assert event <= 5
                assert event or not event2
                assert target != table.dead or entry == 0
                assert mode != table.dead or entry == 0
    assert tables(dress) is table


@pytest.mark.parametrize("dress", DRESSES)
def test_sites_say_what_modes_stand_in(dress: Dress) -> None:
    table = tables(dress)
    opening = {"list": "[", "tool_call": "<tool_call>", "llama": ""}[dress]
    state, _ = advance(table, initial(table), opening.encode())
    pieces = [
        ("{", Site.CALL), ('"name":', Site.NAME_START), ('"f', Site.NAME),
        ('","parameters":' if dress == "llama" else '","arguments":', Site.ARGS_START),
        ("{", Site.ARGS_OPEN), ('"k', Site.KEY), ('":', Site.VALUE), ("{", Site.OBJECT_OPEN),
        ('"i', Site.INNER_KEY), ('":', Site.VALUE), ("[", Site.ARRAY_OPEN), ('"t', Site.TEXT),
        ('"', Site.AFTER_VALUE), (",", Site.VALUE), ("1.5", Site.NUMBER), ("]", Site.AFTER_VALUE),
        (",", Site.INNER_NEXT), ('"j":1}', Site.AFTER_VALUE), (",", Site.ARGS_NEXT),
    ]  # fmt: skip
    for piece, site in pieces:
        state, _ = advance(table, state, piece.encode())
        assert table.sites[state.mode] is site, piece


def test_places_say_where_in_a_string_or_number_a_mode_stands() -> None:
    head = b'[{"name": "f", "arguments": {"x": '
    for text, place in {
        '"a': "BODY", '"\\': "ESC", '"\\u': "U1", '"\\u1': "U2", '"\\ud': "UD",
        '"\\ud8': "HI3", '"\\ud83d': "LO_ESC", '"\\ud83d\\': "LO_U", '"\\ud83d\\u': "LO1",
        "1": "NOWHERE", "1.": "NOWHERE", "1.5": "FRACTION", "1.5e": "EXPONENT",
    }.items():  # fmt: skip
        state, _ = advance(LIST, initial(LIST), head + text.encode())
        assert LIST.places[state.mode].name == place, text


def test_unknown_dresses_are_refused() -> None:
    with pytest.raises(ValueError, match="dress: expected"):
        tables("xml")  # pyright: ignore[reportArgumentType]
