"""Flags and loading that the search commands share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

from toolprm_jax.annotation.command import Parser
from toolprm_jax.annotation.jsonl import Reject
from toolprm_jax.annotation.readers import FORMATS, read_records
from toolprm_jax.annotation.records import DataError, Record


def whole_number(least: int) -> Callable[[str], int]:
    """An argparse type: an integer of at least `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected an integer >= {least}, found {text!r}")
        return value

    return parse


def _number(text: str) -> float:
    """What a text says as a number; NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def temperature(text: str) -> float:
    """An argparse type: a finite number of at least 0."""
    value = _number(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number >= 0, found {text!r}")
    return value


def finite(text: str) -> float:
    """An argparse type: a finite number."""
    value = _number(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}")
    return value


def probability(text: str) -> float:
    """An argparse type: a number above 0 and at most 1."""
    value = _number(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a number in (0, 1], found {text!r}")
    return value


def add_records(parser: Parser, required: bool = True) -> None:
    """Adds --records, --format and --limit."""
    parser.add_argument("--records", required=required, help="file of queries with their tools")
    parser.add_argument(
        "--format", choices=FORMATS, help="format of the records; recognised if not given"
    )
    parser.add_argument("--limit", type=whole_number(1), help="take only the first so many records")


def read_queries(path: str, format: str | None, limit: int | None) -> list[Record]:
    """The records of a file; those that can't be used are named on standard error.

    Raises:
      DataError: none can be used.
    """
    rejected: list[Reject] = []
    records: list[Record] = []
    for record in read_records(Path(path), format, rejected.append):
        records.append(record)
        if len(records) == limit:
            break
    for row in rejected:
        print(f"{row.source}:{row.line or row.id}: left out: {row.reason}", file=sys.stderr)
    if not records:
        raise DataError(f"{path}: no usable record")
    return records
