"""The queries of a records file."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

from toolprm_jax.command import printable
from toolprm_jax.records import DataError, Record, Reject, read_records


def read_queries(path: str, format: str | None, limit: int | None) -> list[Record]:
    """The records of a file; those that can't be used are named on standard error.

    Raises:
      DataError: none can be used.
    """
    rejected: list[Reject] = []
    records = list(islice(read_records(Path(path), format, rejected.append), limit))
    for row in rejected:
        where = f"{row.source}:{row.line or row.id}"
        print(printable(f"{where}: left out: {row.reason}"), file=sys.stderr)
    if not records:
        why = f": {rejected[0].reason}" if rejected else ""
        raise DataError(f"{path}: no usable record{why}")
    return records
