"""Annotation of files: in shards, on all cores, in constant memory, resumable.

The rollouts file is cut into shards of whole rows by their bytes alone, so the cuts don't depend on
the number of workers. What a shard gives is written beside the output, in `OUT.parts`, and its
manifest last; the manifest holds a hash of all that the result depends on, and of the result. A
restarted run redoes the shards whose manifest or whose parts don't match, then joins all of them in
order.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from ..records import (
    DataError,
    Position,
    Record,
    Reject,
    answers_file,
    atomic_text,
    atomic_writer,
    checked_rollouts,
    open_rows,
    read_json,
    read_records,
    row_of,
    row_spans,
    spans_from,
    write_jsonl,
)
from .rows import Options, annotate_row
from .statistics import Counts
from .store import RecordStore

SHARD_BYTES = 2 << 20
_VERSION = 1  # of the labels: a higher one makes a restarted run redo what older code labelled


class Shard(NamedTuple):
    """Rows of a rollouts file that one worker labels at a time.

    `end` is the offset of the row after the last, None at the end of the file; `key` is a hash of
    all that the result depends on.
    """

    number: int
    rollouts: str
    start: Position
    end: int | None
    key: str
    parts: Path
    options: Options

    def path(self, suffix: str) -> Path:
        """Where a part of the result lies."""
        return self.parts / f"{self.number:08d}.{suffix}"

    @property
    def done(self) -> bool:
        """Whether the result is there, whole, and that of these inputs."""
        return _manifest(self.path("json"), self.key) is not None


def parts_of(out: str | os.PathLike[str]) -> Path:
    """The folder of the unfinished output `out`."""
    return Path(f"{os.path.realpath(out)}.parts")


def build_store(
    parts: Path,
    records: str,
    format: str | None,
    found: Callable[[str], None] | None = None,
) -> tuple[str, int]:
    """Puts the records into the store of `parts`, once.

    Args:
      parts: the folder of the unfinished output.
      records: the records file.
      format: its format; recognised if None.
      found: receives the format where it was recognised.

    Returns:
      A hash of what the store depends on, and how many rows were rejected.

    Raises:
      DataError: the file can't be read.
    """
    key = _records_key(records, format)
    manifest = _manifest(parts / "records.json", key)
    if manifest is None:
        rejected = 0
        recognised: list[str] = []
        with (
            atomic_writer(parts / "records.rejects.jsonl") as write,
            RecordStore(parts / "records.sqlite", new=True) as store,
        ):

            def reject(row: Reject) -> None:
                nonlocal rejected
                rejected += 1
                write(row.to_json())

            read = read_records(records, format, reject, recognised.append, known=store)
            store.add(tqdm(read, desc="records", unit=" records", disable=None))
        manifest = {"rejected": rejected, "format": recognised}
        _finish(parts / "records.json", key, manifest, ["records.rejects.jsonl", "records.sqlite"])
    if found is not None:
        for name in manifest["format"]:
            found(name)
    return key, manifest["rejected"]


def annotate_shards(
    rollouts: str,
    parts: Path,
    records_key: str,
    options: Options,
    *,
    workers: int,
    shard_bytes: int = SHARD_BYTES,
) -> tuple[Counts, Sequence[Shard]]:
    """Labels the shards that are not done yet.

    Args:
      rollouts: the rollouts file.
      parts: the folder of the unfinished output, with its store.
      records_key: from `build_store`.
      options: how completions are labelled.
      workers: processes; 1 works in this one.
      shard_bytes: about how long a shard is.

    Returns:
      The counts of all shards, done before or now, and the shards in order.

    Raises:
      DataError: the file can't be read.
    """
    shards = _plan(rollouts, parts, records_key, options, shard_bytes)
    counts, all_shards = Counts(), []
    with RecordStore(parts / "records.sqlite") as store:
        counts.records = len(store)
    seen = bytearray(counts.records // 8 + 1)
    size = os.path.getsize(rollouts)
    bar = tqdm(total=size, desc="rollouts", unit="B", unit_scale=True, disable=None)
    with bar:
        for shard in _finished(shards, workers):
            manifest = _manifest(shard.path("json"), shard.key)
            if manifest is None:
                raise DataError(f"{shard.parts}: shard {shard.number} vanished while it was used")
            counts.merge(Counts.from_state(manifest["counts"]))
            for first, last in manifest["seen"]:
                for number in range(first, last + 1):
                    seen[number >> 3] |= 1 << (number & 7)
            all_shards.append(shard)
            bar.update((size if shard.end is None else shard.end) - bar.n)
            bar.set_postfix_str(f"{counts.completions:,} completions", refresh=False)
    counts.without_rollouts = counts.records - sum(byte.bit_count() for byte in seen)
    return counts, all_shards


def join(paths: Iterable[Path], out: str | os.PathLike[str]) -> None:
    """Writes files after each other into `out`, which appears whole or not at all."""
    with atomic_text(out) as file:
        for path in paths:
            with path.open("rb") as part:
                shutil.copyfileobj(part, file.buffer, 1 << 20)


def _manifest(path: Path, key: str) -> dict[str, Any] | None:
    """What was noted when the files beside it were finished; None unless all are as they were."""
    try:
        digest, noted = read_json(path)
        if digest != _hash(noted) or noted["key"] != key:
            return None
        digests = {name: _digest(path.parent / name) for name in noted["files"]}
    except (FileNotFoundError, TypeError, ValueError):
        return None
    return noted if noted["files"] == digests else None


def _finish(path: Path, key: str, noted: dict[str, Any], names: Iterable[str]) -> None:
    files = {name: _digest(path.parent / name) for name in names}
    whole = {"key": key, "files": files, **noted}
    write_jsonl(path, [[_hash(whole), whole]])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(*values: Any) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *values]).encode()).hexdigest()


def _records_key(records: str, format: str | None) -> str:
    digests = []
    # BFCL's answers lie in another file.
    for path in (Path(records), answers_file(Path(records))):
        if path.is_file():
            digests.append(_digest(path))
    return _hash(records, format, digests)


def _plan(
    rollouts: str, parts: Path, records_key: str, options: Options, shard_bytes: int
) -> Iterator[Shard]:
    with open_rows(checked_rollouts(rollouts)) as file:
        number, start, size, digest = 0, None, 0, hashlib.sha256()

        def shard(end: int | None) -> Shard:
            assert start is not None
            key = _hash(records_key, rollouts, asdict(options), start, digest.hexdigest())
            return Shard(number, rollouts, start, end, key, parts, options)

        for span in row_spans(file, rollouts):
            if start is not None and size >= shard_bytes:
                yield shard(span.start.offset)
                number, start, size, digest = number + 1, None, 0, hashlib.sha256()
            start = start or span.start
            size += len(span.data)
            digest.update(span.data)
        if start is None:
            raise DataError(f"{rollouts}: the file holds no rows")
        yield shard(None)


def _annotate_shard(shard: Shard) -> None:
    counts = Counts()
    seen: list[list[int]] = []  # ranges of record numbers, ends included

    with RecordStore(shard.parts / "records.sqlite") as store:

        def find(record_id: str) -> Record | None:
            got = store.get(record_id)
            if got is None:
                return None
            number, record = got
            if record.answers is not None:
                if seen and seen[-1][1] in (number - 1, number):
                    seen[-1][1] = number
                else:
                    seen.append([number, number])
            return record

        with (
            open_rows(shard.rollouts) as file,
            atomic_text(shard.path("steps.jsonl")) as steps,
            atomic_writer(shard.path("rejects.jsonl")) as write_reject,
        ):
            for span in spans_from(file, shard.rollouts, shard.start, shard.end):
                row = row_of(shard.rollouts, span)
                for line in annotate_row(
                    row,
                    find,
                    shard.options,
                    counts,
                    lambda rejected: write_reject(rejected.to_json()),
                ):
                    print(line, file=steps)
    names = [shard.path(suffix).name for suffix in ("steps.jsonl", "rejects.jsonl")]
    noted = {"counts": counts.to_state(), "seen": seen}
    _finish(shard.path("json"), shard.key, noted, names)


def _finished(shards: Iterator[Shard], workers: int) -> Iterator[Shard]:
    """The shards in order, each labelled by now."""
    first = list(islice(shards, 2))
    # Processes take a moment to start: one shard is done sooner without.
    if workers == 1 or len(first) == 1:
        for shard in chain(first, shards):
            if not shard.done:
                _annotate_shard(shard)
            yield shard
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    waiting: deque[tuple[Shard, Future[None] | None]] = deque()
    try:
        for shard in chain(first, shards):
            waiting.append((shard, None if shard.done else pool.submit(_annotate_shard, shard)))
            if len(waiting) > 2 * workers:
                yield _wait(*waiting.popleft())
        while waiting:
            yield _wait(*waiting.popleft())
    except BrokenProcessPool:
        raise DataError(
            "a worker was killed, maybe for want of memory; the same command goes on from here"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _wait(shard: Shard, future: Future[None] | None) -> Shard:
    if future is not None:
        future.result()
    return shard


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the main process ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends a worker whose main process was killed: the pool's queue would keep it waiting."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
