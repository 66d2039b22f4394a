"""What went in and what came out, and the paper's table of it: printed, as JSON, as a picture."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from ..grammar import Kind
from ..records import atomic_text
from .labels import Labelled
from .split import SPLITS, Split


@dataclass
class Counts:
    """What went in and what came out; `completions` = `labelled` + `rejected`.

    `rejected` counts completions and `rows` the rejected rows of either file, for a row that is
    no JSON holds an unknown number of completions; `changed` counts the labels that the other
    setting of `equivalence` changes; `steps` and `trajectories` count what `labels` names.
    """

    records: int = 0
    without_rollouts: int = 0
    completions: int = 0
    labelled: int = 0
    rejected: int = 0
    rows: int = 0
    died: int = 0
    trailing: int = 0
    changed: int = 0
    steps: Counter[str] = field(default_factory=Counter)  # "split kind label"
    trajectories: Counter[str] = field(default_factory=Counter)  # "split label"

    def add(self, labelled: Labelled, split: Split) -> None:
        """Counts one labelled completion."""
        self.labelled += 1
        self.died += labelled.error is not None
        self.trailing += labelled.trailing
        self.changed += labelled.changed
        self.trajectories[f"{split} {_SIGN[labelled.correct]}"] += 1
        keys = _STEP_KEYS[split]
        for kind, _, label, _ in labelled.steps:
            self.steps[keys[kind][label]] += 1

    def merge(self, other: Counts) -> None:
        """Adds the counts of other completions."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)  # of integers and of Counters

    def to_state(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Counts:
        """The inverse of `to_state`."""
        counts = {name: Counter(state[name]) for name in ("steps", "trajectories")}
        return cls(**{**state, **counts})

    def signs(self, split: Split | None = None, kind: Kind | None = None) -> dict[str, int]:
        """Number of `+` and `-` decisions of a split and a kind, or of all where None."""
        found = {"+": 0, "-": 0}
        for key, count in self.steps.items():
            of_split, of_kind, sign = key.split(" ")
            if split in (None, of_split) and (kind is None or kind.name == of_kind):
                found[sign] += count
        return found

    def answers(self, split: Split | None = None) -> dict[str, int]:
        """Number of `+` and `-` trajectories of a split, or of all."""
        splits = SPLITS if split is None else (split,)
        return {sign: sum(self.trajectories[f"{name} {sign}"] for name in splits) for sign in "+-"}

    def _labels(self, split: Split | None = None) -> dict[str, Any]:
        return {
            "trajectories": self.answers(split),
            "steps": self.signs(split),
            "kinds": {kind.name: self.signs(split, kind) for kind in Kind},
        }

    def to_json(self) -> dict[str, Any]:
        """The object of the statistics file."""
        return {
            "records": self.records,
            "records_without_rollouts": self.without_rollouts,
            "completions": self.completions,
            "labelled": self.labelled,
            "rejected": self.rejected,
            "rejected_rows": self.rows,
            "died": self.died,
            "trailing_text": self.trailing,
            "equivalence_changes": self.changed,
            **self._labels(),
            "splits": {split: self._labels(split) for split in SPLITS},
        }


_SIGN = {True: "+", False: "-"}
_STEP_KEYS = {
    split: [[f"{split} {kind.name} {_SIGN[label]}" for label in (False, True)] for kind in Kind]
    for split in SPLITS
}


def statistics_table(counts: Counts) -> Table:
    """The paper's table: steps by kind and trajectories, of train and test, + and - and in all.

    Args:
      counts: of an annotation.

    Returns:
      A table for the terminal; "straddling" is left out where it is empty.

    Source: arXiv:2510.14703, table of the dataset's statistics.
    """
    table = Table("split", "", "+", "-", "total", "+ %")
    for column in table.columns[2:]:
        column.justify = "right"
    for split in SPLITS:
        rows = [(kind.name, counts.signs(split, kind)) for kind in Kind]
        rows += [("steps", counts.signs(split)), ("trajectories", counts.answers(split))]
        if split == "straddling" and not sum(rows[-1][1].values()):
            continue
        for at, (name, found) in enumerate(rows):
            plus, minus = found["+"], found["-"]
            total = plus + minus
            share = f"{100 * plus / total:.1f}" if total else ""
            cells = (f"{plus:,}", f"{minus:,}", f"{total:,}", share)
            style = "bold" if at >= len(Kind) else None
            table.add_row("" if at else split, name, *cells, style=style)
        table.add_section()
    return table


def write_picture(path: str | os.PathLike[str], counts: Counts) -> None:
    """Draws the table as bars: + and - of every kind of decision, train and test.

    Args:
      path: the picture; its suffix says the format (.png, .svg, .pdf).
      counts: of an annotation.
    """
    from matplotlib.figure import Figure  # slow to import, and only pictures need it

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    shown: tuple[Split, ...] = ("train", "test")
    for axes, split in zip(figure.subplots(1, 2), shown, strict=True):
        bars = [(kind.name, counts.signs(split, kind)) for kind in Kind]
        bars += [("steps", counts.signs(split)), ("trajectories", counts.answers(split))]
        names = [name for name, _ in bars][::-1]
        plus = [found["+"] for _, found in bars][::-1]
        minus = [found["-"] for _, found in bars][::-1]
        axes.barh(names, plus, color="#3b75af", label="+")
        axes.barh(names, minus, left=plus, color="#d1605e", label="\u2212")
        for y, (right, wrong) in enumerate(zip(plus, minus, strict=True)):
            if right + wrong:
                text = f" {right + wrong:,} ({100 * right / (right + wrong):.0f} % +)"
                axes.text(right + wrong, y, text, va="center", fontsize=8)
        axes.set_title(split, loc="left")
        axes.margins(x=0.32)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:], dpi=150)
    with atomic_text(path) as file:
        file.buffer.write(picture.getvalue())
