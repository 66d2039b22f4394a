"""Speed and memory of `toolprm-annotate`: one JSON line on standard output.

    python benchmarks/annotate.py [--quick] [--records FILE] [--workers N]

Records of ToolAlpaca's size (the embedded corpus, filled up, unless --records names a file) with 9
rollouts each are annotated from file to file by one worker, rollouts that all differ and such as
policies sample (70 % right, so that many are equal) in turn, and by all workers. Rates are of the
rollouts that all differ, medians of the rounds; that per second of CPU time hardly suffers from
other work on the machine. `peak_mb` is the largest resident memory of the one process; it must not
be more than at a quarter of the size.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

from toolprm_jax.annotation import corruptions, gold_completion
from toolprm_jax.records import Record, read_records, record_to_json, write_jsonl
from toolprm_jax.toolworld import masked_corpus

ROLLOUTS = 9
# ToolAlpaca's mean record in the format `record`; see the docstring.
RECORD_BYTES = 1740

_PROGRAM = """
import json, resource, sys, time
from toolprm_jax.annotation.annotate import annotate
if __name__ == "__main__":
    records, rollouts, out, number = sys.argv[1:5]
    start = time.perf_counter()
    counts = annotate(records, rollouts, out, workers=int(number))
    seconds = time.perf_counter() - start
    own, workers = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(used.ru_utime + used.ru_stime for used in (own, workers))
    with open("/proc/self/status") as status:  # ru_maxrss begins with the parent's
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps([counts.labelled, seconds, cpu, peak, workers.ru_maxrss]))
"""


class Measured(NamedTuple):
    """One run in a fresh process."""

    trajectories: int
    seconds: float
    cpu_seconds: float  # of all processes, start included
    own_kb: int  # peak resident memory of the main process
    worker_kb: int  # of its largest worker

    @property
    def rate(self) -> float:
        """Trajectories per second."""
        return self.trajectories / self.seconds


def sized(records: list[Record]) -> Iterator[Record]:
    """The records over and over under new ids, filled up to the mean size."""
    lengths = [len(json.dumps(record_to_json(record))) for record in records]
    missing = max(0, RECORD_BYTES - sum(lengths) // len(lengths))
    for number in count():
        record = records[number % len(records)]
        extra = {**record.extra, "note": "x" * missing} if missing > 9 else record.extra
        yield record.with_(id=f"{record.id}-{number}", extra=extra)


def distinct(record: Record, rng: random.Random) -> list[str]:
    """The gold and wrong completions, all different."""
    texts = dict.fromkeys([gold_completion(record)])
    for _ in range(9):
        texts.update(dict.fromkeys(each.text for each in corruptions(record, rng)))
    # A record without calls has few mistakes to make: white space makes the rest differ.
    texts.update(dict.fromkeys(f"{' ' * at}[]" for at in range(1, ROLLOUTS)))
    return list(texts)[:ROLLOUTS]


def sampled(record: Record, rng: random.Random) -> list[str]:
    """The gold in 70 % of the cases, else a wrong completion."""
    wrong = [each.text for each in corruptions(record, rng)] or ["[]"]
    return [
        gold_completion(record) if rng.random() < 0.7 else rng.choice(wrong)
        for _ in range(ROLLOUTS)
    ]


def write_inputs(folder: Path, records: list[Record], number: int) -> dict[str, str]:
    """Writes so many records and their rollouts of both sorts; returns the paths by name."""
    paths = {name: str(folder / f"{name}.jsonl") for name in ("records", "distinct", "sampled")}
    write_jsonl(paths["records"], map(record_to_json, islice(sized(records), number)))
    for name, make in (("distinct", distinct), ("sampled", sampled)):
        rng = random.Random(0)
        texts = [make(record, rng) for record in records]
        write_jsonl(
            paths[name],
            (
                {"id": record.id, "completions": texts[at % len(texts)]}
                for at, record in enumerate(islice(sized(records), number))
            ),
        )
    return paths


def annotated(records: str, rollouts: str, workers: int) -> Measured:
    """Annotates the files."""
    out = Path(rollouts).with_suffix(".steps")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, records, rollouts, str(out), str(workers)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    out.unlink()
    return Measured(*json.loads(done.stdout))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under a minute")
    parser.add_argument("--records", help="records file in place of the embedded corpus")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    records = list(read_records(args.records) if args.records else masked_corpus(0, "train", 200))
    size, rounds = (3_000, 2) if args.quick else (60_000, 3)
    with tempfile.TemporaryDirectory() as name:
        paths = write_inputs(Path(name), records, size // 4)
        quarter = annotated(paths["records"], paths["distinct"], 1)
        print(f"{quarter.trajectories:,} trajectories: {quarter.rate:,.0f}/s", file=sys.stderr)
        paths = write_inputs(Path(name), records, size)
        runs: dict[str, list[Measured]] = {"distinct": [], "sampled": []}
        for kind in ["distinct", "sampled"] * rounds:
            runs[kind].append(annotated(paths["records"], paths[kind], 1))
            done = runs[kind][-1]
            print(f"{done.trajectories:,} {kind}: {done.rate:,.0f}/s", file=sys.stderr)
        together = annotated(paths["records"], paths["distinct"], args.workers)
        rates = {kind: statistics.median(run.rate for run in done) for kind, done in runs.items()}
        result = {
            "trajectories_per_s_per_core": round(rates["distinct"]),
            "trajectories_per_s_per_core_sampled": round(rates["sampled"]),
            "trajectories_per_cpu_s": round(
                statistics.median(run.trajectories / run.cpu_seconds for run in runs["distinct"])
            ),
            "trajectories_per_cpu_s_sampled": round(
                statistics.median(run.trajectories / run.cpu_seconds for run in runs["sampled"])
            ),
            "trajectories_per_s_all_workers": round(together.rate),
            "workers": args.workers,
            "peak_mb": round(max(run.own_kb for run in runs["distinct"]) / 1024, 1),
            "peak_mb_quarter": round(quarter.own_kb / 1024, 1),
            "peak_mb_all_workers": round(
                (together.own_kb + args.workers * together.worker_kb) / 1024, 1
            ),
            "trajectories": runs["distinct"][0].trajectories,
            "bytes_per_record": os.path.getsize(paths["records"]) // size,
            "bytes_per_completion": os.path.getsize(paths["distinct"]) // size // ROLLOUTS,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
