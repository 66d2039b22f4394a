"""Flags and loading that the search commands share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax

from toolprm_jax.annotation.command import Parser
from toolprm_jax.annotation.jsonl import Reject
from toolprm_jax.annotation.readers import FORMATS, read_records
from toolprm_jax.annotation.records import DataError, Record
from toolprm_jax.model.load import LoadedModel, load
from toolprm_jax.model.sharding import param_shardings

from .sharded import search_mesh


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


def add_devices(parser: Parser) -> None:
    """Adds --tensor and --dtype."""
    parser.add_argument(
        "--tensor",
        type=whole_number(1),
        default=1,
        help="devices that share a model; queries are spread over the others",
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="of weights and caches (default: float32 on a CPU, else bfloat16)",
    )


def dtype_for(dtype: str | None, devices: Sequence[Any]) -> str:
    """What --dtype says, or what suits the devices."""
    return dtype or ("float32" if devices[0].platform == "cpu" else "bfloat16")


def load_spread(name: str, args: argparse.Namespace, template: str | None = None) -> LoadedModel:
    """Loads a model onto the devices that a search with these arguments uses.

    Args:
      name: as for `load`.
      args: of a command with `add_devices` and --batch_size.
      template: as for `load`.

    Raises:
      DataError: there is no such model, or there are fewer devices than --tensor.
    """
    mesh = search_mesh(args.batch_size, args.tensor)
    dtype = dtype_for(args.dtype, jax.local_devices())
    return load(name, template, dtype, partial(param_shardings, mesh))


def read_queries(path: str, format: str | None, limit: int | None) -> list[Record]:
    """The records of a file; those that can't be used are named on standard error.

    Raises:
      DataError: none can be used.
    """
    rejected: list[Reject] = []
    records = list(islice(read_records(Path(path), format, rejected.append), limit))
    for row in rejected:
        print(f"{row.source}:{row.line or row.id}: left out: {row.reason}", file=sys.stderr)
    if not records:
        raise DataError(f"{path}: no usable record")
    return records
