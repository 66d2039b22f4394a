"""The tools of a batch of records as the arrays that a search is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from toolprm_jax.records import Record

from ..core import SchemaUse
from ..grammar import Rules, make_schema, make_strict, schema_size, strict_size


def rules_of(
    records: Sequence[Record], uses: Sequence[SchemaUse]
) -> Callable[[Sequence[Record]], Rules | None]:
    """How the tools of a batch become arrays, of one size for all batches of a run.

    Args:
      records: all that will be searched for.
      uses: what each method makes of schemas; those that use them use them alike.

    Raises:
      DataError: a record's tools are too large for strict decoding.
      ValueError: some methods prune by schemas, and others decode by them.
    """
    found = {use for use in uses if use != "ignore"}
    if len(found) > 1:
        raise ValueError(f"schema: expected one use of schemas, found {sorted(found)}")
    if "strict" in found:
        return partial(make_strict, size=strict_size(records))
    if "prune" in found:
        return partial(make_schema, size=schema_size(records))
    return lambda batch: None
