"""The results table, `results.json`, and the picture of a search."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from search.report.picture import search_picture
from search.report.picture_layout import layout, spread, wrap
from search.report.tables import results_table, write_results, write_search_picture

GREEDY = {
    "method": "greedy",
    "num_beams": 1,
    "beam_width": 1,
    "queries": 200,
    "accuracy": 0.605,
    "ci_low": 0.54,
    "ci_high": 0.67,
    "policy_tokens": 12345,
    "prm_tokens": 0,
    "seconds": 3.25,
}
FINE = {
    **GREEDY,
    "method": "fine_grained",
    "num_beams": 4,
    "beam_width": 8,
    "prm_tokens": 67890,
    "diff": 0.055,
    "diff_low": 0.01,
    "diff_high": 0.1,
}
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
# No sandbox for root, and nothing that looks for a network.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


def make_node(index: int, parent: int, decision: int, text: str, **changes: Any) -> dict[str, Any]:
    node: dict[str, Any] = {
        "index": index,
        "parent": parent,
        "decision": decision,
        "text": text,
        "kinds": ["FUNC_NAME"],
        "p": [0.9],
        "score": 0.9,
        "count": 2,
        "kept": True,
        "dead": False,
        "finished": False,
        "gold": False,
    }
    return {**node, **changes}


def make_trace(nodes: list[dict[str, Any]], answer: int, **changes: Any) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "id": "r-1",
        "query": "What is 2 < 3 & who says so?",
        "tools": ["compare"],
        "gold": '[{"name": "compare", "arguments": {}}]',
        "method": "fine_grained",
        "num_beams": 2,
        "beam_width": 4,
        "prm": "embedded:prm",
        "answer": answer,
        "nodes": nodes,
    }
    return {**trace, **changes}


def small_trace(**changes: Any) -> dict[str, Any]:
    last = ["ARG_VALUE", "PARAM_FINISH", "FUNC_FINISH", "TOTAL_FINISH"]
    nodes = [
        make_node(0, -1, 0, '[{"name": "compare"', gold=True),
        make_node(1, -1, 0, '[{"name": "greet"', p=[0.3], score=0.3, kept=False),
        make_node(2, -1, 0, "[]]", kinds=[], p=[], score=None, dead=True, kept=False),
        make_node(3, 0, 1, ', "arguments": {"a": 2,', kinds=["ARG_VALUE"], gold=True),
        make_node(
            4, 3, 2, ' "b": 3}}]', kinds=last, p=[0.99, 0.98, 0.97, 0.96], finished=True, gold=True
        ),
    ]
    return make_trace(nodes, 4, **changes)


def parse(page: str) -> ET.Element:
    return ET.fromstring(page)


def drawn(page: str) -> dict[str, ET.Element]:
    found = [g for g in parse(page).iter(f"{SVG}g") if g.get("id", "").startswith("node-")]
    return {g.attrib["id"]: g for g in found}


def test_results_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "demo" / "results.json"
    write_results(path, [GREEDY, FINE])
    assert json.loads(path.read_text(encoding="utf-8")) == [GREEDY, FINE]
    assert [child.name for child in path.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"accuracy": float("nan")}, "accuracy"),
        ({"num_beams": 1.5}, "num_beams"),
        ({"method": None}, "method"),
        ({"queries": True}, "queries"),
        ({"diff": 0.1}, "diff_low"),
    ],
)
def test_a_bad_row_names_the_field_and_leaves_the_file(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    path = tmp_path / "results.json"
    write_results(path, [GREEDY])
    with pytest.raises(ValueError, match=rf"row 1: {says}"):
        write_results(path, [GREEDY, {**GREEDY, **change}])
    assert json.loads(path.read_text(encoding="utf-8")) == [GREEDY]
    assert [child.name for child in tmp_path.iterdir()] == ["results.json"]


def test_the_table_shows_every_figure() -> None:
    console = Console(file=io.StringIO(), width=160)
    console.print(results_table([GREEDY, FINE]))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    greedy = next(line for line in lines if "greedy" in line and "60.5" in line)
    fine = next(line for line in lines if "fine_grained" in line)
    assert "60.5 [54.0, 67.0]" in greedy
    assert "12,345" in greedy
    assert "+" not in greedy
    assert "+5.5 [+1.0, +10.0]" in fine
    assert "67,890" in fine


def test_the_picture_is_one_file_without_references(tmp_path: Path) -> None:
    path = tmp_path / "tree.html"
    write_search_picture(path, small_trace())
    root = parse(path.read_text(encoding="utf-8"))
    for element in root.iter():
        assert element.tag.rsplit("}")[-1] not in {"script", "img", "link", "iframe", "image"}
        for name, value in element.attrib.items():
            if name.rsplit("}")[-1] in {"href", "src"}:
                assert value.startswith("#")
    styles = "".join(style.text or "" for style in root.iter("style"))
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_picture_holds_every_node() -> None:
    trace = small_trace()
    page = search_picture(trace)
    nodes = drawn(page)
    rows = {row.get("id"): "".join(row.itertext()) for row in parse(page).iter("tr")}
    for node in trace["nodes"]:
        box = nodes[f"node-{node['index']}"]
        title = box.find(f"{SVG}title")
        assert title is not None
        assert (title.text or "").startswith(node["text"])
        assert node["text"] in rows[f"n{node['index']}"]
        numbers = [
            text.text for text in box.iter(f"{SVG}text") if text.get("class", "")[:6] == "number"
        ]
        assert numbers == [f"{p:.2f}" for p in node["p"]]
    assert len(nodes) == len(trace["nodes"])


def test_marks_and_styles_follow_the_trace() -> None:
    nodes = drawn(search_picture(small_trace()))
    classes = {name: box.attrib["class"].split()[1] for name, box in nodes.items()}
    assert classes == {
        "node-0": "path",
        "node-1": "pruned",
        "node-2": "pruned",
        "node-3": "path",
        "node-4": "path",
    }
    texts = {name: "".join(box.itertext()) for name, box in nodes.items()}
    assert [name for name, text in texts.items() if "\N{HEAVY CHECK MARK}" in text] == [
        "node-0",
        "node-3",
        "node-4",
    ]
    assert [name for name, text in texts.items() if "\N{MULTIPLICATION SIGN} dead" in text] == [
        "node-2"
    ]


def test_the_answer_is_the_text_of_its_path() -> None:
    root = parse(search_picture(small_trace()))
    panel = next(div for div in root.iter("div") if div.get("class") == "panel right")
    code = panel.find("code")
    assert code is not None
    assert code.text == '[{"name": "compare", "arguments": {"a": 2, "b": 3}}]'


def test_markup_in_the_data_stays_text() -> None:
    attack = '<script>alert("1")</script>'
    trace = small_trace(query=attack, gold=attack, tools=[attack], id=attack, prm=attack)
    trace["nodes"][1]["text"] = attack
    page = search_picture(trace)
    assert "<script" not in page
    heading = next(parse(page).iter("h1"))
    assert heading.text == attack
    assert attack in "".join(drawn(page)["node-1"].itertext())


@given(st.text(st.characters(), max_size=200), st.text(st.characters(), max_size=200))
def test_any_text_gives_a_page_that_parses_and_encodes(query: str, text: str) -> None:
    trace = small_trace(query=query)
    trace["nodes"][0]["text"] = text
    page = search_picture(trace)
    root = parse(page.encode("utf-8").decode("utf-8"))
    assert len(drawn(page)) == len(trace["nodes"])
    assert root.find(".//h1") is not None


@pytest.mark.parametrize("text", ["\ud800", "\x00\x1b[0m", "\ufffe", "\x85", "]]>", "-->"])
def test_text_that_xml_forbids_is_shown_by_stand_ins(text: str) -> None:
    trace = small_trace(query=text)
    trace["nodes"][0]["text"] = text
    assert len(drawn(search_picture(trace))) == len(trace["nodes"])


@pytest.mark.parametrize(
    ("nodes", "answer", "says"),
    [
        ([make_node(0, 7, 0, "a")], 0, "parent 7 is absent"),
        ([make_node(0, -1, 0, "a"), make_node(1, 0, 0, "b")], 1, "earlier decision"),
        ([make_node(0, -1, 0, "a")], 5, "answer: node 5"),
        ([make_node(0, -1, 0, "a"), make_node(0, -1, 0, "b")], 0, "different indices"),
        ([make_node(0, -1, 0, "a", p=[0.5, 0.5])], 0, "one p per boundary"),
        ([], 0, "answer: node 0"),
    ],
)
def test_nodes_that_are_no_tree_are_refused(
    nodes: list[dict[str, Any]], answer: int, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        search_picture(make_trace(nodes, answer))


@st.composite
def traces(draw: st.DrawFn) -> dict[str, Any]:
    """Random trees of up to 5 decisions."""
    nodes: list[dict[str, Any]] = []
    parents = [-1]
    for decision in range(draw(st.integers(1, 5))):
        column = []
        for _ in range(draw(st.integers(1, 6))):
            index = len(nodes)
            text = draw(st.text("ab 漢", min_size=1, max_size=90))
            kept = draw(st.booleans())
            parent = draw(st.sampled_from(parents))
            score = draw(st.floats(0, 1))
            p = draw(st.lists(st.floats(0, 1), max_size=5))
            node = make_node(index, parent, decision, text, kept=kept, score=score, p=p)
            nodes.append({**node, "kinds": ["ARG_VALUE"] * len(p)})
            column.append(index)
        parents = column
    return make_trace(nodes, draw(st.sampled_from(parents)))


@given(traces())
def test_boxes_do_not_overlap_and_edges_do_not_cross(trace: dict[str, Any]) -> None:
    placed = layout(trace)
    middle = {node.raw["index"]: node.y for node in placed} | {-1: 0.0}
    columns: dict[float, list[Any]] = {}
    for node in placed:
        columns.setdefault(node.x, []).append(node)
    for column in columns.values():
        column.sort(key=lambda node: node.y)
        for above, below in itertools.pairwise(column):
            assert above.y + above.height / 2 < below.y - below.height / 2
        parents = [middle[node.raw["parent"]] for node in column]
        assert parents == sorted(parents)
    assert min(node.y - node.height / 2 for node in placed) > 47  # below the column headings


@given(
    st.lists(
        st.tuples(st.floats(-300, 300), st.floats(10, 90), st.floats(0.5, 9)),
        min_size=1,
        max_size=7,
    )
)
def test_spread_is_the_weighted_least_squares_solution(
    boxes: list[tuple[float, float, float]],
) -> None:
    wanted, heights, pulls = (list(column) for column in zip(*boxes, strict=True))
    middles = spread(wanted, heights, pulls)
    gaps = [(a + b) / 2 + 12.0 for a, b in itertools.pairwise(heights)]
    for low, high, gap in zip(middles, middles[1:], gaps, strict=False):
        assert high - low >= gap - 1e-6
    # Optimality: a run of touching boxes can't gain by moving as a whole, nor can its upper part
    # gain by moving up (or its lower part by moving down), which would stay feasible.
    tight = [
        high - low < gap + 1e-6 for low, high, gap in zip(middles, middles[1:], gaps, strict=False)
    ]
    start = 0
    for end in range(1, len(boxes) + 1):
        if end < len(boxes) and tight[end - 1]:
            continue
        pull = [pulls[i] * (wanted[i] - middles[i]) for i in range(start, end)]
        assert abs(sum(pull)) < 1e-4
        for k in range(1, len(pull)):
            assert sum(pull[:k]) > -1e-4
        start = end


@given(st.text("ab c漢\u0301", max_size=300), st.integers(1, 4))
def test_wrapped_lines_fit(text: str, max_lines: int) -> None:
    lines = wrap(text, max_lines)
    assert 1 <= len(lines) <= max_lines
    for line in lines:
        assert sum(2 if char == "漢" else char != "\u0301" for char in line) <= 27


def test_wrapping_keeps_short_text_whole_and_the_ends_of_long_text() -> None:
    assert wrap('[{"name": "short"', 2) == ('[{"name": "short"',)
    assert "".join(wrap("origin and destination of the trip", 2)) == (
        "origin and destination of the trip"
    )
    lines = "".join(wrap("start " + "x" * 200 + " finish", 2))
    assert lines.startswith("start ")
    assert lines.endswith(" finish")
    assert lines.count("\N{HORIZONTAL ELLIPSIS}") == 1


def browse(folder: Path, address: str, *options: str) -> str:
    """What the headless browser prints for an address."""
    assert BROWSER is not None
    command = [BROWSER, *QUIET, f"--user-data-dir={folder / 'profile'}", *options, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt install chromium")
def test_a_browser_shows_the_picture_and_runs_nothing_in_it(tmp_path: Path) -> None:
    hostile = '"</text></svg><script>document.title = "run"</script><img src="x"/>'
    trace = small_trace(query=hostile)
    trace["nodes"][3]["text"] = hostile
    page = tmp_path / "tree.html"
    write_search_picture(page, trace)

    shown = browse(tmp_path, page.as_uri(), "--dump-dom")
    assert "<title>run" not in shown
    assert "<script" not in shown
    assert "<img" not in shown
    assert all(f'id="node-{node["index"]}"' in shown for node in trace["nodes"])

    def screen(address: str) -> Any:
        file = tmp_path / "screen.png"
        browse(tmp_path, address, f"--screenshot={file}", "--window-size=1400,900")
        return np.asarray(Image.open(file).convert("RGB"))

    plain = screen(page.as_uri())
    assert plain.shape == (900, 1400, 3)
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) > 20  # boxes, bars and text, no blank page
    # A click on a node's box goes to its fragment, which shows all that is known of the node.
    chosen = screen(f"{page.as_uri()}#n3")
    assert (plain != chosen).any()
