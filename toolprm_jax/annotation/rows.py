"""Rollouts of one record -> lines of the steps file: what every runner applies to every row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..grammar import Dress
from ..records import Record, Reject, Rejects, Row, rollouts_of
from .labels import Labelled, label_completion
from .split import SplitBy, split_of
from .statistics import Counts
from .steps_file import steps_line


@dataclass(frozen=True)
class Options:
    """How completions are labelled.

    Attributes:
      dress: how they write calls.
      ordered: whether call i must match gold i.
      equivalence: whether values that the schema calls equal are equal.
      split_by: what keeps the records that train from those that test.
    """

    dress: Dress = "list"
    ordered: bool = False
    equivalence: bool = False
    split_by: SplitBy = "tools"


def annotate_row(
    row: Row,
    find: Callable[[str], Record | None],
    options: Options,
    counts: Counts,
    rejects: Rejects,
) -> Iterator[str]:
    """Labels every completion of one row of a rollouts file, in order.

    Args:
      row: the row.
      find: the record of an id, or None.
      options: how completions are labelled.
      counts: counts the row's completions.
      rejects: receives the row where it can't be used, or its record is unknown or has no gold.

    Yields:
      One line of the steps file for each completion, without its end.

    Source: arXiv:2510.14703, data collection.
    """

    def reject(rejected: Reject) -> None:
        counts.rows += 1
        counts.completions += rejected.completions
        counts.rejected += rejected.completions
        rejects(rejected)

    rollouts = rollouts_of(row, reject)
    if rollouts is None:
        return
    record_id, completions, token_ids = rollouts
    record = find(record_id)
    if record is None or record.answers is None:
        reason = f"id: expected the id of a record, found {record_id!r}"
        if record is not None:
            reason = f"id: expected a record with answers, {record_id!r} has none"
        row.reject(reason, reject, completions=len(completions))
        return
    split = split_of(record, options.split_by)
    counts.completions += len(completions)
    known: dict[str, tuple[Labelled, str]] = {}  # samples of one policy repeat a lot
    for index, completion in enumerate(completions):
        if completion not in known:
            labelled = label_completion(
                record,
                completion,
                dress=options.dress,
                ordered=options.ordered,
                equivalence=options.equivalence,
            )
            line = steps_line(record_id, completion, labelled)
            known[completion] = labelled, line
        labelled, line = known[completion]
        counts.add(labelled, split)
        if token_ids is not None:
            line = f'{line[:-1]}, "token_ids": {json.dumps(token_ids[index])}}}'
        yield line
