"""Whole runs: all records, several methods, what each answered and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolprm_jax.progress import Progress
from toolprm_jax.records import DataError, Record

from ..core import Method, SearchConfig
from .answers import Answer
from .searcher import Searcher, Spent


@dataclass
class MethodRun:
    """All answers of one method, in the order of the records."""

    method: Method
    config: SearchConfig
    answers: list[Answer]
    spent: Spent


def run_methods(
    searcher: Searcher,
    records: Sequence[Record],
    methods: Sequence[Method],
    *,
    seed: int,
    batch_size: int,
    max_shapes: int = 4,
    progress: bool = True,
    profile: str | None = None,
) -> dict[Method, MethodRun]:
    """Answers all records by several methods.

    Args:
      searcher: models, N, M, temperature, limits.
      records: the queries.
      methods: which methods.
      seed: with the record's id it fixes every draw.
      batch_size: B at most.
      max_shapes: of the prompts.
      progress: whether a bar on standard error shows the rate and the time left.
      profile: as for `Searcher.batches`.

    Raises:
      DataError: a guided method without a PRM, or no records.
    """
    configs: dict[Method, SearchConfig] = {m: searcher.config_of(m) for m in methods}
    if not records:
        raise DataError("no records to search for")
    runs: dict[Method, MethodRun] = {
        method: MethodRun(method, config, [], Spent()) for method, config in configs.items()
    }
    places: list[int] = []
    total = len(records) * len(methods)
    with Progress(total, "answer", show=progress) as bar:
        for found in searcher.batches(
            records,
            configs,
            seed=seed,
            batch_size=batch_size,
            max_shapes=max_shapes,
            bar=bar,
            profile=profile,
        ):
            places += next(iter(found.values())).indices
            for method, run in runs.items():
                run.answers += found[method].answers
                run.spent.add(found[method].spent)
    order = sorted(range(len(places)), key=places.__getitem__)
    for run in runs.values():
        run.answers = [run.answers[place] for place in order]
    return runs
