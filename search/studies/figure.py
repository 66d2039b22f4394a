"""Figure C, explore more but retain less: accuracy against tokens as M or N grows."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toolprm_jax.records import atomic_text

Rows = Sequence[Mapping[str, Any]]


class _Line(NamedTuple):
    """One of the two ways to spend more."""

    label: str
    fixed: str  # which of N and M stays 4
    grows: str
    color: str


_LINES = (
    _Line("explore: N = 4, M =", "num_beams", "beam_width", "#3b75af"),
    _Line("retain: M = 4, N =", "beam_width", "num_beams", "#c76d1e"),
)
_FIXED = 4


def sweep(rows: Rows, fixed: str, grows: str) -> list[Mapping[str, Any]]:
    """The fine-grained searches in which one of N and M is 4 and the other grows."""
    found = [row for row in rows if row["method"] == "fine_grained" and row[fixed] == _FIXED]
    return sorted(found, key=lambda row: row[grows])


def draw_figure_c(rows: Rows, path: str | os.PathLike[str]) -> None:
    """Draws a panel for each data set: the answer's accuracy with its interval, and any beam's.

    Args:
      rows: of results/figure_c.json, as `search.studies.compare` writes them.
      path: the picture; its suffix says the format (.png, .svg, .pdf).
    """
    from matplotlib.figure import Figure  # slow to import, and only pictures need it

    sets = list(dict.fromkeys(row["dataset"] for row in rows))
    figure = Figure(figsize=(4.8 * len(sets), 4.0), layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for axes, name in zip(panels, sets, strict=True):
        mine = [row for row in rows if row["dataset"] == name]
        for line in _LINES:
            points = sweep(mine, line.fixed, line.grows)
            tokens = [(row["policy_tokens"] + row["prm_tokens"]) / row["queries"] for row in points]
            right = [100 * row["accuracy"] for row in points]
            low, high = ([100 * row[key] for row in points] for key in ("ci_low", "ci_high"))
            oracle = [100 * row["any_right"] for row in points]
            sizes = ", ".join(str(row[line.grows]) for row in points)
            axes.fill_between(tokens, low, high, color=line.color, alpha=0.13, linewidth=0)
            axes.plot(tokens, right, "o-", color=line.color, label=f"{line.label} {sizes}")
            axes.plot(tokens, oracle, "o--", color=line.color, markersize=3, linewidth=1)
        for row in mine:
            if row["method"] == "greedy":
                axes.axhline(100 * row["accuracy"], color="#777777", linewidth=1, linestyle=":")
                axes.annotate(
                    "greedy", (1, 100 * row["accuracy"]), xycoords=("axes fraction", "data"),
                    ha="right", va="bottom", fontsize=8, color="#555555",
                )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:.0f}")
        axes.tick_params(axis="x", which="both", labelsize=8)
        axes.set_title(f"{name}, {mine[0]['queries']} queries", loc="left")
        axes.set_xlabel("tokens of both models for an answer, prompts apart")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    panels[0].set_ylabel("right, % (solid: answer, dashed: any beam)")
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:], dpi=150)
    with atomic_text(path) as file:
        file.buffer.write(picture.getvalue())
