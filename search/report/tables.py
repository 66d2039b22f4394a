"""What a comparison of methods looks like: the table, `results.json`, the picture of a search."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from toolprm_jax.records import atomic_text

from .picture import search_picture

RESULT_KEYS = (
    "method",
    "num_beams",
    "beam_width",
    "queries",
    "accuracy",
    "ci_low",
    "ci_high",
    "policy_tokens",
    "prm_tokens",
    "seconds",
)
DIFF_KEYS = ("diff", "diff_low", "diff_high")
_INTEGERS = {"num_beams", "beam_width", "queries", "policy_tokens", "prm_tokens"}


def write_json(path: str | Path, value: Any) -> None:
    """Writes a value as indented strict JSON, whole or not at all.

    Raises:
      ValueError: the value holds NaN or an infinity.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    if any("\ud800" <= char <= "\udfff" for char in text):  # these have no UTF-8
        text = json.dumps(value, indent=2, allow_nan=False)
    with atomic_text(path) as file:
        file.write(text + "\n")


def _checked(row: Mapping[str, Any], index: int) -> dict[str, Any]:
    keys = [*RESULT_KEYS, *(DIFF_KEYS if any(key in row for key in DIFF_KEYS) else ())]
    for key in keys:
        value: Any = row.get(key)
        if key == "method":
            ok, expected = isinstance(value, str), "a string"
        elif key in _INTEGERS:
            ok, expected = type(value) is int, "an integer"
        else:
            expected = "a finite number"
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            ok = is_number and math.isfinite(value)
        if not ok:
            raise ValueError(f"results row {index}: {key}: expected {expected}, got {value!r}")
    return dict(row)


def write_results(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes `results.json`, whole or not at all.

    Args:
      path: the file.
      rows: one per method, with the keys `RESULT_KEYS`, and `DIFF_KEYS` where a difference from
        greedy was measured. Accuracies are fractions, tokens are totals over all queries.

    Raises:
      ValueError: a key is missing or its value has the wrong type; the file is left as it was.
    """
    write_json(path, [_checked(row, index) for index, row in enumerate(rows)])


def _interval(row: Mapping[str, Any], keys: Sequence[str], spec: str) -> str:
    value, low, high = (format(100 * row[key], spec) for key in keys)
    return f"{value} [{low}, {high}]"


def results_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The comparison as a table for the terminal.

    Args:
      rows: as for `write_results`.

    Returns:
      One line per method; accuracies and intervals in per cent, the difference in points.

    Raises:
      ValueError: as for `write_results`.
    """
    checked = [_checked(row, index) for index, row in enumerate(rows)]
    counts = sorted({row["queries"] for row in checked})
    title = f"{' / '.join(f'{count:,}' for count in counts)} queries, intervals at 95 %"
    table = Table(title=title if counts else None, title_style="italic", header_style="bold")
    table.add_column("method", no_wrap=True)
    more = [key for key in ("judge", "schema", "metric") if any(key in row for row in checked)]
    for name in more:
        table.add_column(name, no_wrap=True)
    for name in ("N", "M", "accuracy %", "diff vs greedy", "policy tokens", "PRM tokens", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in checked:
        diff = "diff" in row
        table.add_row(
            row["method"],
            *(str(row.get(key, "")) for key in more),
            str(row["num_beams"]),
            str(row["beam_width"]),
            _interval(row, ("accuracy", "ci_low", "ci_high"), ".1f"),
            _interval(row, DIFF_KEYS, "+.1f") if diff else "",
            f"{row['policy_tokens']:,}",
            f"{row['prm_tokens']:,}",
            f"{row['seconds']:.1f}",
            style="bold" if row["method"] == "fine_grained" else None,
        )
    return table


def write_search_picture(path: str | Path, trace: Mapping[str, Any]) -> None:
    """Draws one search's tree of decisions as an HTML file that needs nothing else.

    Args:
      path: the file.
      trace: see `search.report.picture.search_picture`.

    Raises:
      ValueError: the trace's nodes don't form a tree.
    """
    picture = search_picture(trace)
    with atomic_text(path) as file:
        file.write(picture)
