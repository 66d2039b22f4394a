"""The tables and the picture of docs/results.md and docs/search.md, from the files in results/.

python -m search.studies.page [--results results] [--pages docs/results.md docs/search.md]
                              [--picture docs/figure_c.png]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolprm_jax.command import Parser, check_files, command
from toolprm_jax.records import DataError, atomic_text, read_json

from .figure import draw_figure_c

PAGES = ("docs/results.md", "docs/search.md")
_SCHEMAS = ("ignore", "prune", "strict")
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
# Accuracy in per cent, from the model card of google/functiongemma-270m-it.
FUNCTIONGEMMA = {
    "bfcl_simple": 61.6,
    "bfcl_multiple": 63.5,
    "bfcl_parallel": 39.0,
    "bfcl_irrelevance": 73.7,
}


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['accuracy']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"


def _difference(row: Mapping[str, Any]) -> str:
    """An answer's accuracy minus greedy's under the same schema, in points, where known."""
    if "diff" not in row:
        return ""
    diff, low, high = (f"{100 * row[key]:+.1f}" for key in ("diff", "diff_low", "diff_high"))
    return f"{diff} [{low}, {high}]"


def _method(row: Mapping[str, Any]) -> str:
    judge = "" if row["judge"] == "none" else f", {row['judge']}"
    size = "" if row["method"] == "greedy" else f", {row['num_beams']} x {row['beam_width']}"
    return f"{row['method']}{judge}{size}"


def _who(row: Mapping[str, Any]) -> str:
    return f"{_method(row)}, {row['schema']}"


def _counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Queries of each whole set."""
    found: dict[str, int] = {}
    for row in rows:
        found[row["dataset"]] = max(found.get(row["dataset"], 0), row["queries"])
    return found


def _of(row: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """A cell; with the number of queries where it is of the first ones alone."""
    part = row["queries"] < counts[row["dataset"]]
    return f"{_percent(row)} (first {row['queries']})" if part else _percent(row)


def searches(rows: Sequence[Mapping[str, Any]]) -> str:
    """Methods against data sets: per cent right, with intervals."""
    main = [row for row in rows if not row["metric"].startswith("f1")]
    counts = _counts(main)
    sets = list(counts)
    methods = list(dict.fromkeys(_who(row) for row in main))
    cells = {(_who(row), row["dataset"]): row for row in main}
    lines = []
    for who in methods:
        found = [cells.get((who, name)) for name in sets]
        lines.append([who, *(_of(row, counts) if row else "" for row in found)])
    gemma = [FUNCTIONGEMMA.get(name) for name in sets]
    if any(gemma):
        lines.append(["FunctionGemma 270M", *("" if g is None else f"{g:.1f}" for g in gemma)])
    return _markdown(["", *(f"{name} ({counts[name]})" for name in sets)], lines)


def differences(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each method minus greedy under the same schema, in points, and what an answer costs."""
    lines = []
    for row in rows:
        if row["metric"].startswith("f1"):
            continue
        n = row["queries"]
        cost = [f"{row[key] / n:.0f}" for key in ("policy_tokens", "prm_tokens")]
        flags = row["flags"]
        shares = [row["no_call"], flags.get("unfinished", 0), flags.get("closed", 0)]
        seconds = f"{row['seconds'] / n:.2f}"
        # Rows of before it was counted have none.
        kept = "" if row["any_right"] is None else f"{100 * row['any_right']:.1f}"
        told = [_difference(row), kept, *cost, seconds, *map(str, shares)]
        lines.append([row["dataset"], _who(row), *told])
    head = ["set", "method", "minus greedy", "any beam right", "policy tokens", "PRM tokens", "s"]
    return _markdown([*head, "no call", "unfinished", "closed"], lines)


def schemas(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the use of schemas does for BFCL's sets: right, unfinished, tokens of an answer."""
    found = {
        (row["dataset"], _method(row), row["schema"]): row
        for row in rows
        if row["metric"] == "bfcl" and row["method"] in ("greedy", "fine_grained")
    }
    counts, lines = _counts(found.values()), []
    for name, who in dict.fromkeys(key[:2] for key in found):
        mine = [found.get((name, who, schema)) for schema in _SCHEMAS]
        unfinished = [str(row["flags"].get("unfinished", 0)) if row else "-" for row in mine]
        tokens = [f"{row['policy_tokens'] / row['queries']:.0f}" if row else "-" for row in mine]
        told = [" / ".join(some) for some in (unfinished, tokens)]
        lines.append([name, who, *(_of(row, counts) if row else "" for row in mine), *told])
    return _markdown(["set", "method", *_SCHEMAS, "unfinished", "policy tokens"], lines)


def f1(rows: Sequence[Mapping[str, Any]]) -> str:
    """F1 of names and of arguments."""
    found = [row for row in rows if row["metric"].startswith("f1")]
    pairs: dict[tuple[str, str], dict[str, str]] = {}
    for row in found:
        pairs.setdefault((row["dataset"], _who(row)), {})[row["metric"]] = _percent(row)
    lines = [[*key, row["f1_names"], row["f1_arguments"]] for key, row in pairs.items()]
    if not lines:
        return "Not run yet.\n"
    return _markdown(["set", "method", "F1 of names", "F1 of arguments"], lines)


def figure_c(rows: Sequence[Mapping[str, Any]]) -> str:
    """Fine-grained search as M or N grows: per cent right, and what an answer costs."""
    lines = []
    for row in rows:
        greedy = row["method"] == "greedy"
        size = "greedy" if greedy else f"{row['num_beams']} x {row['beam_width']}"
        cost = [f"{row[key] / row['queries']:.0f}" for key in ("policy_tokens", "prm_tokens")]
        oracle = f"{100 * row['any_right']:.1f}"
        lines.append([row["dataset"], size, _percent(row), _difference(row), oracle, *cost])
    head = ["set", "N x M", "right, %", "minus greedy", "any beam right"]
    return _markdown([*head, "policy tokens", "PRM tokens"], lines)


def judges(table: Mapping[str, Mapping[str, Any]]) -> str:
    """Reward models against labelled completions; the names of the table are JUDGE/SET."""
    keys = ("loss", "accuracy", "trajectory_accuracy", "auc", "ece")
    keys += ("first_error_accuracy", "no_error_accuracy", "pairwise_accuracy")
    lines = []
    for name, row in table.items():
        judge, _, data = name.partition("/")
        values = [f"{row[key]:.3f}" if key in row else "" for key in keys]
        lines.append([data, judge, f"{row['trajectories']:,.0f}", *values])
    head = ["completions", "judge", "number", "loss", "step", "trajectory", "AUC"]
    return _markdown([*head, "calibration", "first error", "no error", "pairs"], sorted(lines))


# Name of a block -> file in results/, and what is made of it.
TABLES: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "searches": ("table_b.json", searches),
    "differences": ("table_b.json", differences),
    "schemas": ("table_b.json", schemas),
    "f1": ("table_b.json", f1),
    "figure_c": ("figure_c.json", figure_c),
    "judges": ("table_a.json", judges),
}


def filled(page: str, results: Path) -> str:
    """A page with its tables made anew.

    Raises:
      DataError: the page asks for a table that there isn't.
    """

    def block(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise DataError(f"expected a table of {', '.join(TABLES)}; found {found[2]!r}")
        file, make = TABLES[found[2]]
        return f"{found[1]}\n{make(read_json(results / file))}\n{found[4]}"

    return _BLOCK.sub(block, page)


def parser() -> Parser:
    """The command's arguments."""
    out = Parser("python -m search.studies.page", "Makes the tables and the picture anew.")
    out.add_argument("--results", default="results", help="folder of the JSON files")
    out.add_argument("--pages", nargs="+", default=PAGES, help="whose tables are replaced")
    out.add_argument("--picture", help="where to draw Figure C")
    return out


def _page(args: argparse.Namespace) -> int:
    for page in args.pages:
        check_files({"pages": page}, {})
        new = filled(Path(page).read_text(encoding="utf-8"), Path(args.results))
        with atomic_text(page) as file:
            file.write(new)
    if args.picture:
        draw_figure_c(read_json(Path(args.results, "figure_c.json")), args.picture)
    return 0


main = command(parser, _page)


if __name__ == "__main__":
    raise SystemExit(main())
