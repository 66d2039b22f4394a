"""The queries of a records file."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

from toolprm_jax.records import DataError, Record, Reject, read_records


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
