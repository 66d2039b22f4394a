"""The picture of one search: its tree of decisions as a self-contained HTML page with SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .picture_layout import BOX_W, LINE_H, Node, answer_path, layout, visible
from .picture_style import CSS

_MARGIN = 14.0
_SHORT = {
    "FUNC_NAME": "name",
    "ARG_VALUE": "value",
    "PARAM_FINISH": "args",
    "FUNC_FINISH": "call",
    "TOTAL_FINISH": "list",
}


def _safe(text: object) -> str:
    return escape(visible(str(text)))


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    # 0.996 must not read as certainty.
    return f"{math.floor(value * 1000) / 1000:.3f}" if 0.995 <= value < 1 else f"{value:.2f}"


def _p_class(p: float) -> str:
    return f"p{sum(p >= limit for limit in (0.2, 0.5, 0.8, 0.95))}"


def _states(raw: Mapping[str, Any]) -> str:
    names = ["kept" if raw["kept"] else "pruned"]
    names += [name for name in ("finished", "dead") if raw[name]]
    return ", ".join([*names, *(["as the gold"] if raw["gold"] else [])])


def _bars(node: Node, bottom: float) -> Iterable[str]:
    count = len(node.raw["p"])
    space = 6.0
    width = (BOX_W - 20 - space * (count - 1)) / max(count, 1)
    for k, (kind, p) in enumerate(zip(node.raw["kinds"], node.raw["p"], strict=False)):
        x = node.x + 10 + k * (width + space)
        label = _SHORT.get(kind, kind)
        number = _number(p)
        yield f'<text class="small sans" x="{x:.1f}" y="{bottom - 20:.1f}">{_safe(label)}</text>'
        # Four boundaries in one token leave no room for label and number side by side.
        row, anchor = (bottom - 20, x + width) if count <= 2 else (bottom - 1, x + width)
        yield (
            f'<text class="number sans" text-anchor="end" x="{anchor:.1f}" y="{row:.1f}">'
            f"{number}</text>"
        )
        y = bottom - (14 if count <= 2 else 16)
        yield (
            f'<rect class="track" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="5" rx="2.5"/>'
        )
        if p > 0:
            yield (
                f'<rect class="{_p_class(p)}" x="{x:.1f}" y="{y:.1f}" '
                f'width="{max(p * width, 2.5):.1f}" height="5" rx="2.5"/>'
            )


def _draw(node: Node) -> str:
    raw, top = node.raw, node.y - node.height / 2
    parts = [
        f'<a href="#n{raw["index"]}"><g class="node {node.style}" id="node-{raw["index"]}">',
        f"<title>{_safe(raw['text'])}\n{_states(raw)}, score {_number(raw['score'])}</title>",
        f'<rect class="box" x="{node.x:.1f}" y="{top:.1f}" width="{BOX_W}" '
        f'height="{node.height:.1f}" rx="9"/>',
        f'<text class="small sans" x="{node.x + 10:.1f}" y="{top + 16:.1f}">'
        f"{raw['count']} {'walker' if raw['count'] == 1 else 'walkers'}</text>",
        f'<text class="small sans" text-anchor="end" x="{node.x + BOX_W - 10:.1f}" '
        f'y="{top + 16:.1f}">score {_number(raw["score"])}</text>',
    ]
    mark_x = node.x + BOX_W / 2 - 10
    if raw["dead"]:
        parts.append(
            f'<text class="mark-dead sans" x="{mark_x:.1f}" y="{top + 16:.1f}">'
            "\N{MULTIPLICATION SIGN} dead</text>"
        )
    elif raw["gold"]:
        parts.append(
            f'<text class="mark-gold sans" x="{mark_x:.1f}" y="{top + 17:.1f}">'
            "\N{HEAVY CHECK MARK}</text>"
        )
    for k, line in enumerate(node.lines):
        parts.append(
            f'<text xml:space="preserve" x="{node.x + 10:.1f}" y="{top + 33 + k * LINE_H:.1f}">'
            f"{escape(line)}</text>"
        )
    parts.extend(_bars(node, top + node.height - 9))
    return "".join([*parts, "</g></a>"])


def _edge(x0: float, y0: float, node: Node) -> str:
    middle = (x0 + node.x) / 2
    return (
        f'<path class="edge {node.style}" d="M{x0:.1f},{y0:.1f} C{middle:.1f},{y0:.1f} '
        f'{middle:.1f},{node.y:.1f} {node.x:.1f},{node.y:.1f}"/>'
    )


def _tree(nodes: Sequence[Node], title: str) -> str:
    by_index = {node.raw["index"]: node for node in nodes}
    roots = [node for node in nodes if node.raw["parent"] == -1]
    # The answer's first decision is level with the root.
    root_y = next((node.y for node in roots if node.style == "path"), roots[0].y)
    width = max(node.x for node in nodes) + BOX_W + _MARGIN
    height = max(node.y + node.height / 2 for node in nodes) + _MARGIN
    order = ("pruned", "kept", "path")
    edges = []
    for node in sorted(nodes, key=lambda node: order.index(node.style)):
        parent = by_index.get(node.raw["parent"])
        x0, y0 = (parent.x + BOX_W, parent.y) if parent else (66.0, root_y)
        edges.append(_edge(x0, y0, node))
    heads = []
    for x in sorted({node.x for node in nodes}):
        column = [node.raw for node in nodes if node.x == x]
        walkers = sum(raw["count"] for raw in column)
        kept = sum(raw["kept"] for raw in column)
        heads.append(
            f'<text class="sans head" x="{x:.1f}" y="22">'
            f"Decision {column[0]['decision'] + 1}</text>"
            f'<text class="sans small" x="{x:.1f}" y="38">{walkers} explored, {len(column)} '
            f"different, {kept} kept</text>"
        )
    return (
        f'<svg class="tree" xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'aria-label="{_safe(title)}">'
        + "".join(heads)
        + f'<line class="rule" x1="0" y1="47" x2="{width:.0f}" y2="47"/>'
        + "".join(edges)
        + f'<rect class="box" x="8" y="{root_y - 15:.1f}" width="58" height="30" rx="15"/>'
        + f'<text class="sans" text-anchor="middle" x="37" y="{root_y + 4:.1f}">prompt</text>'
        + "".join(map(_draw, nodes))
        + "</svg>"
    )


def _swatch(inner: str) -> str:
    return f'<svg width="46" height="20" aria-hidden="true">{inner}</svg>'


def _legend() -> str:
    box = '<rect class="box" x="2" y="2" width="36" height="16" rx="5"/>'
    bars = "".join(
        f'<rect class="p{k}" x="{2 + 7.4 * k:.1f}" y="7" width="6.4" height="6" rx="2"/>'
        for k in range(5)
    )
    items = (
        (f'<g class="path">{box}</g>', "on the path of the answer"),
        (f"<g>{box}</g>", "kept"),
        (f'<g class="pruned">{box}</g>', "pruned"),
        (bars, "probability of +, from below 0.2 to 0.95 and above"),
        ('<text class="mark-gold" x="14" y="15">\N{HEAVY CHECK MARK}</text>', "as the gold"),
        (
            '<text class="mark-dead sans" x="3" y="14">\N{MULTIPLICATION SIGN} dead</text>',
            "breaks the grammar or a limit",
        ),
    )
    rows = "".join(f"<li>{_swatch(inner)}{text}</li>" for inner, text in items)
    return f'<ul class="legend">{rows}</ul>'


def _details(nodes: Sequence[Node]) -> str:
    rows = []
    for node in sorted(nodes, key=lambda node: (node.raw["decision"], node.y)):
        raw = node.raw
        scores = [f"{kind} {_number(p)}" for kind, p in zip(raw["kinds"], raw["p"], strict=False)]
        rows.append(
            f'<tr id="n{raw["index"]}" class="{node.style}">'
            f'<td class="n">{raw["decision"] + 1}</td>'
            f"<td><code>{_safe(raw['text'])}</code></td>"
            f"<td>{_safe(', '.join(scores or raw['kinds']))}</td>"
            f'<td class="n">{_number(raw["score"])}</td><td class="n">{raw["count"]}</td>'
            f"<td>{_states(raw)}</td></tr>"
        )
    return (
        '<div class="table"><table><thead><tr><th class="n">Decision</th><th>Text it added</th>'
        '<th>Boundaries, probability of +</th><th class="n">Score</th><th class="n">Walkers</th>'
        f"<th>State</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def search_picture(trace: Mapping[str, Any]) -> str:
    """One search's tree of decisions as an HTML page without scripts or external resources.

    Args:
      trace: `{"id", "query", "tools": [name], "gold": str, "method", "num_beams", "beam_width",
        "prm", "answer": index of a node, "nodes": [{"index", "parent" (-1: the prompt), "decision"
        (from 0), "text" (what this decision added), "kinds": [boundary names], "p": [probability
        of + per boundary, or empty], "score" (or None), "count" (walkers that arrived here),
        "kept", "dead", "finished", "gold": bool or None}]}`.

    Returns:
      The page; it is well-formed XML too.

    Raises:
      ValueError: the nodes don't form a tree with the answer in it.
    """
    path = answer_path(trace)
    raws = {node["index"]: node for node in trace["nodes"]}
    answer = raws[path[-1]]
    text = "".join(raws[index]["text"] for index in path).strip()
    verdict = {True: "right", False: "wrong", None: ""}[answer["gold"]]
    heading = {True: "Answer, as the gold", False: "Answer, not as the gold", None: "Answer"}
    unfinished = "" if answer["finished"] else ", unfinished"
    nodes = layout(trace)
    facts = {
        "Method": trace["method"],
        "Beams kept, N": trace["num_beams"],
        "Candidates explored a beam, M": trace["beam_width"],
        "Reward model": trace["prm"],
        "Score of the answer": _number(answer["score"]),
        "Tools": ", ".join(trace["tools"]) or "none",
    }
    rows = "".join(f"<div><dt>{k}</dt><dd>{_safe(v)}</dd></div>" for k, v in facts.items())
    title = f"Search tree of record {trace['id']}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{_safe(title)}</title><style>{CSS}</style></head><body><main><header>"
        f'<p class="eyebrow">{_safe(title)}</p>'
        f"<h1>{_safe(trace['query'])}</h1>"
        f'<div class="pair"><div class="panel {verdict}"><h3>{heading[answer["gold"]]}{unfinished}'
        f"</h3><code>{_safe(text)}</code></div>"
        f'<div class="panel"><h3>Gold</h3><code>{_safe(trace["gold"])}</code></div></div>'
        f'<dl class="facts">{rows}</dl></header>'
        f"<h2>The tree of decisions</h2>{_legend()}<figure>{_tree(nodes, title)}</figure>"
        f'<section class="prose"><h2>Every candidate</h2>{_details(nodes)}</section>'
        "</main></body></html>\n"
    )
